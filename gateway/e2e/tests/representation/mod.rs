//! An origin that knows ranges, and what is to come of them.

use std::sync::{Arc, Mutex};

use e2e::{Client, Next, Origin, Request, Response, answer, get_with, ok};

/// Bytes of every state of it.
pub(crate) const LENGTH: usize = 10_000;
/// For stories with a Date of long ago too.
pub(crate) const FRESH: &str = "Cache-Control: max-age=9999999999\r\n";
pub(crate) const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// What an origin has at every path: which state of it, and the fields that go with it.
#[derive(Clone)]
struct State {
    number: u8,
    fields: String,
}

/// An origin's representation, which a story may change under it.
#[derive(Clone)]
pub(crate) struct Representation(Arc<Mutex<State>>);

impl Representation {
    pub(crate) fn new(number: u8, fields: &str) -> Representation {
        let state = Representation(Arc::new(Mutex::new(State {
            number,
            fields: String::new(),
        })));
        state.change(number, fields);
        state
    }

    pub(crate) fn tagged(number: u8) -> Representation {
        Representation::new(number, &format!("ETag: \"{number}\"\r\n"))
    }

    pub(crate) fn change(&self, number: u8, fields: &str) {
        *self.0.lock().expect("no panic") = State {
            number,
            fields: format!("{FRESH}Content-Type: text/plain\r\nX-State: {number}\r\n{fields}"),
        };
    }

    /// The answer of an origin that knows ranges and If-Range.
    pub(crate) fn answer(&self, request: &Request) -> Vec<u8> {
        let state = self.0.lock().expect("no panic").clone();
        let body = body(state.number);
        let tag = state
            .fields
            .lines()
            .find_map(|line| line.strip_prefix("ETag: "));
        let is_same = request
            .field("if-range")
            .is_none_or(|asked| Some(asked) == tag);
        let range = request.field("range").filter(|_| is_same).and_then(range);
        let Some((first, end)) = range else {
            return ok(&state.fields, body);
        };
        if first >= LENGTH {
            return answer(416, &format!("Content-Range: bytes */{LENGTH}\r\n"), "");
        }
        let part = &body[first..end];
        let place = format!("Content-Range: bytes {first}-{}/{LENGTH}\r\n", end - 1);
        answer(206, &(state.fields + &place), part)
    }

    pub(crate) fn origin(&self) -> Origin {
        let own = self.clone();
        Origin::start(move |request, wire| {
            wire.send(own.answer(request));
            Next::Keep
        })
    }
}

/// One state's bytes.
pub(crate) fn body(number: u8) -> Vec<u8> {
    // The golden ratio's bits spread each place's number over all of a word (Knuth, TAOCP 3, §6.4).
    let byte = |at: usize| {
        let place = at as u64 + (u64::from(number) << 32);
        place.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]
    };
    (0..LENGTH).map(byte).collect()
}

/// First byte and the byte behind the last.
fn range(text: &str) -> Option<(usize, usize)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    match (first.parse::<usize>().ok(), last.parse::<usize>().ok()) {
        (Some(first), last) => Some((first, last.map_or(LENGTH, |last| LENGTH.min(last + 1)))),
        (None, Some(suffix)) => Some((LENGTH - suffix.min(LENGTH), LENGTH)),
        (None, None) => None,
    }
}

pub(crate) fn part(client: &mut Client, bytes: &str) -> Response {
    client.ask(get_with("/", &format!("Range: bytes={bytes}\r\n")))
}

/// Claims that an answer is these bytes of that state.
pub(crate) fn expect(answer: &Response, number: u8, first: usize, end: usize) {
    assert_eq!(answer.status, 206, "{:?}", answer.fields);
    let place = format!("bytes {first}-{}/{LENGTH}", end - 1);
    assert_eq!(answer.field("content-range"), Some(place.as_str()));
    assert_eq!(answer.field("x-state"), Some(number.to_string().as_str()));
    assert!(
        answer.body == body(number)[first..end],
        "wrong bytes of {place}"
    );
}

/// Claims that an answer is the whole of that state.
pub(crate) fn expect_whole(answer: &Response, number: u8) {
    assert_eq!(answer.status, 200, "{:?}", answer.fields);
    assert_eq!(answer.field("content-range"), None);
    assert_eq!(answer.field("x-state"), Some(number.to_string().as_str()));
    assert!(answer.body == body(number), "wrong bytes of the whole");
}

/// Content-Type, Content-Range and bytes of a part.
pub(crate) type Piece = (Option<String>, Option<String>, Vec<u8>);

pub(crate) fn piece(number: u8, first: usize, end: usize) -> Piece {
    let place = format!("bytes {first}-{}/{LENGTH}", end - 1);
    let bytes = body(number)[first..end].to_vec();
    (Some("text/plain".to_owned()), Some(place), bytes)
}

/// The parts of a multipart/byteranges answer, read by its boundary (RFC 2046 §5.1.1).
pub(crate) fn parts(answer: &Response) -> Vec<Piece> {
    let kind = answer.field("content-type").unwrap_or_default();
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap_or_else(|| panic!("{kind}"));
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    // The first delimiter may stand without its line end.
    let text = [
        b"\r\n".as_slice(),
        answer.body.strip_prefix(b"\r\n").unwrap_or(&answer.body),
    ];
    let mut pieces = split(&text.concat(), &delimiter);
    assert_eq!(
        pieces.first().map(Vec::len),
        Some(0),
        "nothing before the parts"
    );
    assert_eq!(
        pieces.pop().as_deref(),
        Some(&b"--\r\n"[..]),
        "the last delimiter"
    );
    let read = |piece: &Vec<u8>| {
        let mut halves = split(piece, b"\r\n\r\n");
        let bytes = halves.pop().unwrap_or_default();
        let head = String::from_utf8_lossy(&halves.concat()).into_owned();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let owned = |name: &str| field(name).map(|value| value.trim().to_owned());
        (owned("Content-Type:"), owned("Content-Range:"), bytes)
    };
    pieces.iter().skip(1).map(read).collect()
}

fn split(bytes: &[u8], by: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = vec![Vec::new()];
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(by) {
            pieces.push(Vec::new());
            at += by.len();
        } else {
            pieces.last_mut().expect("one at least").push(bytes[at]);
            at += 1;
        }
    }
    pieces
}
