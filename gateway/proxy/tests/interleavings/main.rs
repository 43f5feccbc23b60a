//! Random stories of two shards of one node, each answer held against what the origin said.
//!
//! A story is drawn from its seed: clients that ask for parts, with conditions, for variants, with unsafe methods, several
//! requests in one packet or one in two; an origin that changes its mind, answers in pieces, in errors, in chunks, until the
//! end of the connection; sends that do not finish, clients that leave, connections that break, time that passes, little
//! memory, few connections. The shards turn in any order. Claimed:
//!
//! - Every answer belongs to its client's oldest open request, and is framed as its head says.
//! - Its bytes are those of the representation that its entity tag names: whole, or the very parts that were asked for.
//! - It is of the target and of the variant that were asked for; what is private, and every cookie, is its owner's alone.
//! - 304 is for who has the representation, 206 and 416 for who asked for parts.
//! - What is served without a request to the origin is fresh, or says why it is not; and what the origin said before an
//!   unsafe request succeeded answers nothing that was asked afterwards.
//! - Nobody is cut or told of an error of the gateway's own, unless something broke or no room was left.
//! - The origin gets one request at a time on a connection.
//! - In the end every client has its answers, and no fetch and no receive buffer is left.
//!
//! `SEED` and `COUNT` choose the stories (`docs/testing.md`).

mod chance;
mod claims;
mod client;
mod log;
mod origin;
#[path = "../paper/mod.rs"]
mod paper;
mod story;
mod wire;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use story::Story;

const STORIES: u64 = 600;
const STEPS: usize = 250;

/// What so many stories must have come upon, or they claim less than they seem to.
const MET: [&str; 13] = [
    "a whole",
    "a hit",
    "a stale hit",
    "a part",
    "several parts",
    "not modified",
    "an answer to HEAD",
    "an answer to POST",
    "an error of the origin",
    "no part of it",
    "nothing stored",
    "a purge",
    "a cut",
];

/// Why a story is not as it should be, and what led there.
struct Failure {
    why: String,
    log: String,
}

#[test]
fn whatever_happens_in_whatever_order_every_byte_is_the_origins() {
    let first = number("SEED").unwrap_or(0);
    let count = number("COUNT").unwrap_or(STORIES);
    let mut met = BTreeMap::new();
    for seed in first..first.saturating_add(count) {
        if let Err(failure) = tell(seed, STEPS, &mut met) {
            tell_shortest(seed, failure);
        }
    }
    eprintln!("{met:?}");
    if count >= STORIES {
        for kind in MET {
            assert!(met.contains_key(kind), "no story met {kind}");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("SEED and COUNT are numbers"))
}

/// A story and its end; a panic of the proxy is a failure of the story.
fn tell(seed: u64, steps: usize, met: &mut BTreeMap<&'static str, u64>) -> Result<(), Failure> {
    let mut story = Story::new(seed);
    let told = catch_unwind(AssertUnwindSafe(|| story.tell(steps)));
    let why = match told {
        Ok(Ok(())) => {
            for (kind, times) in &story.met {
                *met.entry(kind).or_default() += times;
            }
            return Ok(());
        }
        Ok(Err(why)) => why,
        Err(panic) => match panic.downcast::<String>() {
            Ok(why) => format!("a panic: {why}"),
            Err(_) => "a panic, told above".to_owned(),
        },
    };
    let log = story.log.to_string();
    Err(Failure { why, log })
}

/// Fails with the fewest steps found that still do: a story's beginning does not depend on its length.
fn tell_shortest(seed: u64, mut failure: Failure) -> ! {
    let (mut good, mut bad) = (0, STEPS);
    while good + 1 < bad {
        let steps = usize::midpoint(good, bad);
        match tell(seed, steps, &mut BTreeMap::new()) {
            Ok(()) => good = steps,
            Err(shorter) => (bad, failure) = (steps, shorter),
        }
    }
    let Failure { why, log } = failure;
    panic!("\n{log}SEED={seed} COUNT=1, {bad} steps: {why}");
}
