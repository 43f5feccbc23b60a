//! What is sent: the same request each time, or requests drawn from a key space and from two targets.

use std::sync::atomic::{AtomicU64, Ordering};

use super::arguments::{LoadArguments, Usage};
use super::random::Random;
use super::zipf::Zipf;

/// Where a key goes.
const PLACE: &str = "{key}";
/// Keeps the draws apart from the arrivals, which begin with the same seed.
const SEED: u64 = 0x6b65_7973;

/// The requests of a run.
pub(crate) enum Requests {
    /// Always the same bytes, as often in a row as are ever sent at once.
    Same { row: &'static [u8], each: usize },
    /// Every one by itself.
    Drawn(Drawn),
}

/// Requests that differ.
pub(crate) struct Drawn {
    main: Template,
    /// Another target, and the share of the requests that go there.
    mixed: Option<(f64, Template)>,
    keys: u64,
    popularity: Popularity,
    /// The key that is next where each comes once.
    next: AtomicU64,
}

/// A request and where its key goes.
struct Template {
    before: Vec<u8>,
    /// None where no key goes in.
    after: Option<Vec<u8>>,
}

enum Popularity {
    Uniform,
    Zipf(Zipf),
    /// In order, once.
    Each,
}

impl Requests {
    /// From the whole requests as they are written, with places for keys.
    pub(crate) fn new(
        arguments: &LoadArguments,
        main: &[u8],
        mixed: Option<(f64, &[u8])>,
    ) -> Result<Self, Usage> {
        let keyed = has_place(main) || mixed.is_some_and(|(_, request)| has_place(request));
        match arguments.keys {
            Some(_) if !keyed => return Err(Usage(format!("--keys needs {PLACE} in the URL"))),
            None if keyed => return Err(Usage(format!("{PLACE} in the URL needs --keys"))),
            _ => {}
        }
        if !keyed && mixed.is_none() {
            return Ok(Self::Same {
                // Once a run: the drivers send it from where it lies.
                row: main.repeat(arguments.pipeline as usize).leak(),
                each: main.len(),
            });
        }
        let keys = arguments.keys.unwrap_or(1);
        let popularity = match (arguments.zipf, arguments.each) {
            (Some(exponent), _) => Popularity::Zipf(Zipf::new(keys, exponent)),
            (None, true) => Popularity::Each,
            (None, false) => Popularity::Uniform,
        };
        Ok(Self::Drawn(Drawn {
            main: Template::new(main),
            mixed: mixed.map(|(share, request)| (share, Template::new(request))),
            keys,
            popularity,
            next: AtomicU64::new(0),
        }))
    }

    /// One of each kind, and two where there are more keys than one: are their answers the same?
    pub(crate) fn samples(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Same { row, each } => vec![row[..*each].to_vec(); 2],
            Self::Drawn(drawn) => {
                let write = |template: &Template, key| {
                    let mut request = Vec::new();
                    template.write(key, &mut request);
                    request
                };
                let mut samples = vec![
                    write(&drawn.main, 0),
                    write(&drawn.main, 1.min(drawn.keys - 1)),
                ];
                samples.extend(drawn.mixed.iter().map(|(_, template)| write(template, 0)));
                samples
            }
        }
    }
}

impl Drawn {
    /// Where one thread's draws begin.
    pub(crate) fn random(seed: u64, thread: u32) -> Random {
        Random::new(seed ^ SEED ^ (u64::from(thread) << 32))
    }

    /// So many requests in a row, as many as there still are, and their count.
    #[inline]
    pub(crate) fn draw(&self, count: u32, random: &mut Random) -> (Box<[u8]>, u32) {
        let mut bytes = Vec::with_capacity(count as usize * (self.main.bytes_max()));
        let mut drawn = 0;
        while drawn < count {
            let (template, key) = match &self.popularity {
                Popularity::Each => {
                    let key = self.next.fetch_add(1, Ordering::Relaxed);
                    if key >= self.keys {
                        break;
                    }
                    (&self.main, key)
                }
                Popularity::Uniform => (self.target(random), random.below(self.keys)),
                Popularity::Zipf(zipf) => (self.target(random), zipf.draw(random) - 1),
            };
            template.write(key, &mut bytes);
            drawn += 1;
        }
        (bytes.into_boxed_slice(), drawn)
    }

    /// Whether every key was asked for that should be.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.popularity, Popularity::Each)
            && self.next.load(Ordering::Relaxed) >= self.keys
    }

    #[inline]
    fn target(&self, random: &mut Random) -> &Template {
        match &self.mixed {
            Some((share, template)) if random.unit() <= *share => template,
            _ => &self.main,
        }
    }
}

impl Template {
    /// The first place is the one in the target: a method has none.
    fn new(request: &[u8]) -> Self {
        let at = request
            .windows(PLACE.len())
            .position(|window| window == PLACE.as_bytes())
            .filter(|_| has_place(request));
        match at {
            Some(at) => Self {
                before: request[..at].to_vec(),
                after: Some(request[at + PLACE.len()..].to_vec()),
            },
            None => Self {
                before: request.to_vec(),
                after: None,
            },
        }
    }

    fn bytes_max(&self) -> usize {
        const DIGITS_MAX: usize = 20;
        self.before.len() + self.after.as_ref().map_or(0, Vec::len) + DIGITS_MAX
    }

    #[inline]
    fn write(&self, key: u64, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.before);
        if let Some(after) = &self.after {
            digits(key, bytes);
            bytes.extend_from_slice(after);
        }
    }
}

/// Whether the target has a place: it stands in the first line.
fn has_place(request: &[u8]) -> bool {
    let line = request.split(|byte| *byte == b'\n').next();
    line.is_some_and(|line| {
        line.windows(PLACE.len())
            .any(|window| window == PLACE.as_bytes())
    })
}

#[inline]
fn digits(mut number: u64, bytes: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    bytes.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(change: impl FnOnce(&mut LoadArguments)) -> LoadArguments {
        let mut arguments = LoadArguments::default();
        change(&mut arguments);
        arguments
    }

    fn drawn(requests: Requests) -> Drawn {
        match requests {
            Requests::Drawn(drawn) => drawn,
            Requests::Same { .. } => panic!("not drawn"),
        }
    }

    #[test]
    fn the_same_request_is_a_row_of_bytes() {
        let arguments = arguments(|arguments| arguments.pipeline = 3);
        let requests = Requests::new(&arguments, b"GET / ", None).unwrap();
        assert_eq!(requests.samples(), vec![b"GET / ".to_vec(); 2]);
        let Requests::Same { row, each } = requests else {
            panic!("drawn")
        };
        assert_eq!((row, each), (&b"GET / GET / GET / "[..], 6));
    }

    #[test]
    fn each_key_comes_once_and_then_nothing() {
        let arguments = arguments(|arguments| (arguments.keys, arguments.each) = (Some(12), true));
        let requests = Requests::new(&arguments, b"GET /{key}.\n{key}", None).unwrap();
        assert_eq!(
            requests.samples(),
            [b"GET /0.\n{key}".to_vec(), b"GET /1.\n{key}".to_vec()]
        );
        let drawn = drawn(requests);
        let mut random = Drawn::random(1, 0);
        let (bytes, count) = drawn.draw(10, &mut random);
        assert!(bytes.starts_with(b"GET /0.\n{key}GET /1.\n{key}") && count == 10);
        assert!(!drawn.is_over());
        let (bytes, count) = drawn.draw(10, &mut random);
        assert_eq!(
            (&*bytes, count),
            (&b"GET /10.\n{key}GET /11.\n{key}"[..], 2)
        );
        assert!(drawn.is_over());
        assert_eq!(drawn.draw(1, &mut random).1, 0);
    }

    #[test]
    fn a_share_goes_to_the_other_target_and_keys_are_seeded() {
        let arguments = arguments(|arguments| arguments.keys = Some(1_000));
        let text = || {
            let drawn = drawn(Requests::new(&arguments, b"a{key} ", Some((0.25, b"b"))).unwrap());
            let mut random = Drawn::random(7, 0);
            let (bytes, count) = drawn.draw(10_000, &mut random);
            assert_eq!(count, 10_000);
            String::from_utf8(bytes.into_vec()).unwrap()
        };
        let first = text();
        assert_eq!(first, text());
        let mixed = first.bytes().filter(|byte| *byte == b'b').count();
        assert!((2_300..2_700).contains(&mixed), "{mixed}");
        let keys = first.split(['a', 'b', ' ']).filter(|key| !key.is_empty());
        assert!(
            keys.map(|key| key.parse::<u64>().unwrap())
                .all(|key| key < 1_000)
        );
    }

    #[test]
    fn keys_and_places_belong_together() {
        let with = arguments(|arguments| arguments.keys = Some(5));
        assert!(Requests::new(&with, b"GET / {key}\n", None).is_ok());
        assert!(Requests::new(&with, b"GET /\n{key}", None).is_err());
        let without = arguments(|_| ());
        assert!(Requests::new(&without, b"GET /{key}\n", None).is_err());
        assert!(Requests::new(&without, b"GET /\n{key}", None).is_ok());
    }
}
