//! Clients of a storm, who know what every answer must be.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::client::Client;
use crate::clock::Stopwatch;
use crate::message::{ask_with, get};
use crate::response::{Broken, Response};

use super::random::{Random, body_of};

/// Targets that are asked for again and again.
pub(super) const TARGETS: u64 = 120;
/// Requests on a connection, on average, before its client begins another.
const STAYS: u64 = 50;
/// What the targets keep to in the cache is answered within this, or counted.
const FAST_US: u64 = 1_000;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// What is stored and stays fresh, of an origin that is well.
    Steady,
    /// What may be stored for a moment, of origins in the storm.
    Hit,
    /// What may not be stored, of origins in the storm.
    Miss,
    /// Bodies sent to origins in the storm.
    Upload,
    /// Clients that leave in the middle of answers of either kind.
    Quitter,
}

impl Kind {
    /// As the table calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Steady => "steady",
            Kind::Hit => "hit",
            Kind::Miss => "miss",
            Kind::Upload => "upload",
            Kind::Quitter => "quitter",
        }
    }

    fn target(self, random: &mut Random) -> String {
        match self {
            Kind::Steady => format!("/steady/{}", random.below(TARGETS)),
            Kind::Hit => format!("/hit/{}", random.below(TARGETS)),
            Kind::Miss => format!("/miss/{}", random.draw()),
            Kind::Upload => format!("/upload/{}", random.draw()),
            Kind::Quitter if random.below(2) == 0 => Kind::Hit.target(random),
            Kind::Quitter => Kind::Miss.target(random),
        }
    }
}

/// What came of one kind's requests.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests sent.
    pub requests: u64,
    /// By what the client saw: `200`, another status, `cut` inside the answer, `unanswered`, `late`.
    pub answers: BTreeMap<String, u64>,
    /// Answers that looked whole and were not, or were none of HTTP's: the first of them in words.
    pub wrong: u64,
    /// See there.
    pub first_wrong: Option<String>,
    /// Answers that said they came out of the cache.
    pub cached: u64,
    /// Of those, those that took longer than a millisecond, seen from here.
    pub cached_slow: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Tally) {
        self.requests += other.requests;
        self.wrong += other.wrong;
        self.first_wrong = self.first_wrong.take().or(other.first_wrong);
        self.cached += other.cached;
        self.cached_slow += other.cached_slow;
        for (class, count) in other.answers {
            *self.answers.entry(class).or_default() += count;
        }
    }

    fn class(&mut self, class: impl Into<String>) {
        *self.answers.entry(class.into()).or_default() += 1;
    }

    fn wrong(&mut self, target: &str, why: &str) {
        self.wrong += 1;
        self.class("wrong");
        self.first_wrong
            .get_or_insert_with(|| format!("{target}: {why}"));
    }

    /// Judges an answer; whether its connection may carry another request.
    fn judge(&mut self, target: &str, answered: Result<Response, Broken>) -> bool {
        match answered {
            Ok(answer) if answer.status == 200 => {
                match fault(target, &answer) {
                    None => self.class("200"),
                    Some(why) => self.wrong(target, &why),
                }
                !is_last(&answer)
            }
            Ok(answer) => {
                self.class(answer.status.to_string());
                !is_last(&answer)
            }
            Err(Broken::Malformed(why)) => {
                self.wrong(target, &why);
                false
            }
            Err(Broken::Truncated) => {
                self.class("cut");
                false
            }
            Err(Broken::Closed | Broken::Reset) => {
                self.class("unanswered or reset");
                false
            }
            Err(Broken::Late) => {
                self.class("late");
                false
            }
        }
    }
}

/// What is wrong with a whole 200.
fn fault(target: &str, answer: &Response) -> Option<String> {
    let body = body_of(target);
    let length = match answer.field("x-lie") {
        // The origin said so, and the rest of its body must never be seen.
        Some(_) => body.len() / 2,
        None => body.len(),
    };
    let about = answer.field("x-target");
    if about != Some(target) {
        return Some(format!("an answer about {about:?}"));
    }
    (answer.body != body[..length]).then(|| {
        let same = answer.body.iter().zip(&body);
        let same = same.take_while(|(got, wanted)| got == wanted).count();
        let got = answer.body.len();
        format!("{got} bytes of {length}, {same} of them right")
    })
}

fn is_last(answer: &Response) -> bool {
    answer
        .field("connection")
        .is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

/// Asks until it is over.
pub(super) fn run(kind: Kind, at: SocketAddr, seed: u64, over: &AtomicBool) -> Tally {
    let mut random = Random::of(seed);
    let mut tally = Tally::default();
    let mut client = None;
    while !over.load(Ordering::SeqCst) {
        let connected = client.get_or_insert_with(|| Client::connect(at));
        tally.requests += 1;
        let goes_on = match kind {
            Kind::Quitter => quit(&mut tally, connected, &mut random),
            _ => ask(&mut tally, kind, connected, &mut random),
        };
        if !goes_on || random.below(STAYS) == 0 {
            client = None;
        }
    }
    tally
}

fn ask(tally: &mut Tally, kind: Kind, client: &mut Client, random: &mut Random) -> bool {
    let target = kind.target(random);
    let request = match kind {
        Kind::Upload => {
            let body = body_of(&target);
            let length = format!("Content-Length: {}\r\n", body.len());
            [ask_with("POST", &target, &length).as_bytes(), &body].concat()
        }
        _ => get(&target).into_bytes(),
    };
    let watch = Stopwatch::start();
    let answered = client.ask_quietly(request);
    let took = watch.microseconds();
    if let Ok(answer) = &answered
        && answer
            .field("cache-status")
            .is_some_and(|said| said.contains("; hit"))
    {
        tally.cached += 1;
        tally.cached_slow += u64::from(took > FAST_US);
    }
    tally.judge(&target, answered)
}

/// Leaves before the answer, after its head, or inside its body.
fn quit(tally: &mut Tally, client: &mut Client, random: &mut Random) -> bool {
    let target = Kind::Quitter.target(random);
    client.send(get(&target));
    if random.below(3) > 0 && client.head().is_ok() && random.below(2) == 0 {
        // However much there is of it.
        let _ = client.bytes(8);
    }
    tally.class("left");
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::{Next, Origin};

    fn judged(target: &'static str, answer: Vec<u8>) -> Tally {
        let origin = Origin::start(move |_, wire| {
            wire.send(&answer);
            Next::Close
        });
        let mut tally = Tally::default();
        let answered = Client::connect(origin.address()).ask_quietly(get(target));
        tally.judge(target, answered);
        tally
    }

    fn answer(target: &str, fields: &str, body: &[u8]) -> Vec<u8> {
        crate::message::ok(&format!("X-Target: {target}\r\n{fields}"), body)
    }

    #[test]
    fn every_wrong_byte_is_seen() {
        let right = body_of("/a");
        assert_eq!(judged("/a", answer("/a", "", &right)).wrong, 0);
        let lie = answer("/a", "X-Lie: less\r\n", &right[..right.len() / 2]);
        assert_eq!(judged("/a", lie).wrong, 0);
        let mut changed = right.clone();
        changed[right.len() / 2] ^= 1;
        let longer = [&right[..], b"x"].concat();
        let shorter = &right[..right.len() - 1];
        let of_another = body_of("/b");
        for body in [&changed[..], &longer, shorter, &of_another] {
            let tally = judged("/a", answer("/a", "", body));
            assert_eq!(tally.wrong, 1, "{tally:?}");
        }
        assert_eq!(judged("/a", answer("/b", "", &right)).wrong, 1);
        assert_eq!(judged("/a", b"HTTP/1.1 2 x\r\n\r\n".to_vec()).wrong, 1);
    }

    #[test]
    fn what_is_visibly_not_whole_is_not_wrong() {
        let mut cut = answer("/a", "", &body_of("/a"));
        cut.truncate(cut.len() - 1);
        for (bytes, class) in [(cut, "cut"), (Vec::new(), "unanswered or reset")] {
            let tally = judged("/a", bytes);
            assert_eq!((tally.wrong, tally.answers[class]), (0, 1));
        }
    }
}
