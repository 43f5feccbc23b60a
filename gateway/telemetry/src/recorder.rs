//! The flight recorder: what is known of requests that took long, failed or were drawn, and of turns of the loop that took
//! long. Rings of fixed size, one writer, any reader; what is overwritten while it is read is left out.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use base::{Completion, Driver, RouteId, Span, Stamp, Taken};

use crate::{CacheLabel, MethodLabel, RouteLabel, Spent, Stage};

/// Entries of each ring.
const SLOW_ENTRIES: usize = 2048;
const ERROR_ENTRIES: usize = 1024;
const DRAWN_ENTRIES: usize = 1024;
const TURN_ENTRIES: usize = 256;

const REQUEST_WORDS: usize = 21;
const TURN_WORDS: usize = 7;
const GAP_ENTRIES: usize = 4096;
const GAP_WORDS: usize = 2;

/// Why a request was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// It took longer than its threshold.
    Slow,
    /// It was answered 5xx, or its answer did not get out whole.
    Error,
    /// One in so many.
    Drawn,
}

/// The trace that a request belongs to (W3C Trace Context); all zeroes: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// `trace-id`.
    pub id: u128,
    /// `parent-id`.
    pub parent: u64,
}

/// A request as written down. Alike pipelined requests that left together are one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Why.
    pub cause: Cause,
    /// When its last byte was taken by the kernel.
    pub end: Stamp,
    /// From when its first byte could have been seen.
    pub duration: Span,
    /// What it spent in each stage; of several alike requests their mean.
    pub spent: Spent,
    /// Requests in the entry.
    pub count: u32,
    /// Its method.
    pub method: MethodLabel,
    /// The status answered; 499 where the client gave up.
    pub status: u16,
    /// Its route.
    pub route: RouteLabel,
    /// How the cache took part.
    pub cache: CacheLabel,
    /// Hash of the key; 0 where none was made.
    pub key: u64,
    /// The connection's number on its shard.
    pub connection: u64,
    /// Bytes answered, heads included, of all in the entry.
    pub sent_bytes: u64,
    /// Bytes of the request's body.
    pub body_bytes: u64,
    /// What the turn of the loop that took it up had to do: completions.
    pub backlog: u32,
    /// The upstream that was asked, by its place in the configuration.
    pub upstream: Option<u16>,
    /// Its trace.
    pub trace: Trace,
}

/// A turn of the loop that took long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LongTurn {
    /// When the next one began.
    pub end: Stamp,
    /// What it took, without sleep.
    pub busy: Span,
    /// Of that, asking the index.
    pub index: Span,
    /// Completions it handled: bytes received, messages sent, connections accepted, others.
    pub received: u32,
    /// Messages sent.
    pub sent: u32,
    /// Connections accepted.
    pub accepted: u32,
    /// Other completions.
    pub others: u32,
    /// Messages from other threads.
    pub mail: u32,
}

/// A shard's recorder. About 1 MiB, taken when the cells are made.
pub struct Recorder {
    slow: Ring<REQUEST_WORDS>,
    errors: Ring<REQUEST_WORDS>,
    drawn: Ring<REQUEST_WORDS>,
    turns: Ring<TURN_WORDS>,
    gaps: Ring<GAP_WORDS>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self {
            slow: Ring::new(SLOW_ENTRIES),
            errors: Ring::new(ERROR_ENTRIES),
            drawn: Ring::new(DRAWN_ENTRIES),
            turns: Ring::new(TURN_ENTRIES),
            gaps: Ring::new(GAP_ENTRIES),
        }
    }

    /// Writes a request down, over the oldest of its cause. The owning shard only.
    pub fn note(&self, noted: &Noted) {
        self.of(noted.cause).push(&noted.words());
    }

    /// Writes a turn down. The owning shard only.
    pub fn note_turn(&self, turn: &LongTurn) {
        self.turns.push(&turn.words());
    }

    /// Writes down that the CPU was taken. The owning shard only.
    pub fn note_gap(&self, taken: Taken) {
        self.gaps.push(&[taken.from.0, taken.until.0]);
    }

    /// Requests written down for this cause since start, those overwritten included.
    #[must_use]
    pub fn count(&self, cause: Cause) -> u64 {
        self.of(cause).count()
    }

    /// Long turns since start, those overwritten included.
    #[must_use]
    pub fn turn_count(&self) -> u64 {
        self.turns.count()
    }

    /// The requests still held, of each cause the oldest first.
    pub fn requests(&self) -> impl Iterator<Item = Noted> {
        let causes = [Cause::Slow, Cause::Error, Cause::Drawn];
        let all = causes.into_iter().flat_map(|cause| {
            let held = self.of(cause).held();
            held.map(move |words| Noted::from_words(cause, &words))
        });
        all.flatten()
    }

    /// The long turns still held, the oldest first.
    pub fn turns(&self) -> impl Iterator<Item = LongTurn> {
        self.turns.held().map(|words| LongTurn::from_words(&words))
    }

    /// When the CPU was taken, as far as it is still held, the oldest first.
    pub fn gaps(&self) -> impl Iterator<Item = Taken> {
        self.gaps.held().map(|[from, until]| Taken {
            from: Stamp(from),
            until: Stamp(until),
        })
    }

    fn of(&self, cause: Cause) -> &Ring<REQUEST_WORDS> {
        match cause {
            Cause::Slow => &self.slow,
            Cause::Error => &self.errors,
            Cause::Drawn => &self.drawn,
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

/// Slots that one thread writes round and round.
///
/// Invariant: while a slot's version is odd its words are being written. A reader that finds the same even version before
/// and after has words of one entry.
struct Ring<const WORDS: usize> {
    slots: Box<[Slot<WORDS>]>,
    /// Entries pushed since start.
    pushed: AtomicU64,
}

struct Slot<const WORDS: usize> {
    version: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl<const WORDS: usize> Ring<WORDS> {
    fn new(entries: usize) -> Self {
        let slot = |_| Slot {
            version: AtomicU64::new(0),
            words: [const { AtomicU64::new(0) }; WORDS],
        };
        Self {
            slots: (0..entries).map(slot).collect(),
            pushed: AtomicU64::new(0),
        }
    }

    fn push(&self, words: &[u64; WORDS]) {
        let pushed = self.count();
        let Some(slot) = self.slots.get(pushed as usize % self.slots.len().max(1)) else {
            return;
        };
        let version = slot.version.load(Ordering::Relaxed);
        slot.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        for (cell, word) in slot.words.iter().zip(words) {
            cell.store(*word, Ordering::Relaxed);
        }
        slot.version.store(version + 2, Ordering::Release);
        self.pushed.store(pushed + 1, Ordering::Release);
    }

    fn count(&self) -> u64 {
        self.pushed.load(Ordering::Acquire)
    }

    /// The entries still held, the oldest first.
    fn held(&self) -> impl Iterator<Item = [u64; WORDS]> {
        let pushed = self.count();
        let oldest = pushed.saturating_sub(self.slots.len() as u64);
        (oldest..pushed).filter_map(|at| self.slots.get(at as usize % self.slots.len())?.read())
    }
}

impl<const WORDS: usize> Slot<WORDS> {
    fn read(&self) -> Option<[u64; WORDS]> {
        let before = self.version.load(Ordering::Acquire);
        let words = std::array::from_fn(|at| {
            let cell = self.words.get(at);
            cell.map_or(0, |cell| cell.load(Ordering::Relaxed))
        });
        fence(Ordering::Acquire);
        let after = self.version.load(Ordering::Relaxed);
        (before == after && before.is_multiple_of(2) && before > 0).then_some(words)
    }
}

/// A route's label in 32 bits.
fn route_word(route: RouteLabel) -> u32 {
    match route {
        RouteLabel::Route(RouteId(id)) => u32::from(id),
        RouteLabel::Internal => u32::MAX,
        RouteLabel::NoMatch => u32::MAX - 1,
        RouteLabel::Invalid => u32::MAX - 2,
    }
}

fn route_of(word: u32) -> RouteLabel {
    match word {
        u32::MAX => RouteLabel::Internal,
        word if word == u32::MAX - 1 => RouteLabel::NoMatch,
        word => {
            u16::try_from(word).map_or(RouteLabel::Invalid, |id| RouteLabel::Route(RouteId(id)))
        }
    }
}

fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn halves(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

impl Noted {
    fn words(&self) -> [u64; REQUEST_WORDS] {
        let [high, low] = [(self.trace.id >> 64) as u64, self.trace.id as u64];
        let labels = [self.method as u8, self.cache as u8, 0, 0];
        let upstream = self.upstream.map_or(u32::MAX, u32::from);
        let mut words = [0; REQUEST_WORDS];
        let facts = [
            self.end.0,
            self.duration.0,
            pair(u32::from(self.status), u32::from_be_bytes(labels)),
            pair(route_word(self.route), self.count),
            self.key,
            self.connection,
            self.sent_bytes,
            self.body_bytes,
            pair(self.backlog, upstream),
            high,
            low,
            self.trace.parent,
        ];
        let stages = Stage::ALL.map(|stage| self.spent.of(stage));
        for (word, fact) in words.iter_mut().zip(facts.into_iter().chain(stages)) {
            *word = fact;
        }
        words
    }

    fn from_words(cause: Cause, words: &[u64; REQUEST_WORDS]) -> Option<Self> {
        let [
            end,
            duration,
            status,
            route,
            key,
            connection,
            sent,
            body,
            backlog,
            high,
            low,
            parent,
            ..,
        ] = *words;
        let (status, labels) = halves(status);
        let [method, cache, ..] = labels.to_be_bytes();
        let (route, count) = halves(route);
        let (backlog, upstream) = halves(backlog);
        let mut spent = Spent::default();
        for (stage, ns) in Stage::ALL.into_iter().zip(words.iter().skip(12)) {
            if *ns > 0 {
                spent.add(stage, Span(*ns));
            }
        }
        Some(Self {
            cause,
            end: Stamp(end),
            duration: Span(duration),
            spent,
            count,
            method: *MethodLabel::ALL.get(usize::from(method))?,
            status: u16::try_from(status).ok()?,
            route: route_of(route),
            cache: *CacheLabel::ALL.get(usize::from(cache))?,
            key,
            connection,
            sent_bytes: sent,
            body_bytes: body,
            backlog,
            upstream: u16::try_from(upstream).ok(),
            trace: Trace {
                id: u128::from(high) << 64 | u128::from(low),
                parent,
            },
        })
    }
}

impl LongTurn {
    /// Counts a completion that the turn handles.
    #[inline]
    pub fn see<D: Driver>(&mut self, completion: &Completion<D>) {
        let count = match completion {
            Completion::Received { .. } => &mut self.received,
            Completion::Sent { .. } => &mut self.sent,
            Completion::Accepted { .. } => &mut self.accepted,
            _ => &mut self.others,
        };
        *count += 1;
    }

    fn words(&self) -> [u64; TURN_WORDS] {
        [
            self.end.0,
            self.busy.0,
            self.index.0,
            pair(self.received, self.sent),
            pair(self.accepted, self.others),
            u64::from(self.mail),
            0,
        ]
    }

    fn from_words(words: &[u64; TURN_WORDS]) -> Self {
        let [end, busy, index, moved, others, mail, _] = *words;
        let (received, sent) = halves(moved);
        let (accepted, others) = halves(others);
        Self {
            end: Stamp(end),
            busy: Span(busy),
            index: Span(index),
            received,
            sent,
            accepted,
            others,
            mail: mail as u32,
        }
    }
}

impl Trace {
    pub(crate) fn id_text(&self) -> String {
        format!("{:032x}", self.id)
    }

    /// What a `traceparent` says (W3C Trace Context §3.2); none where it cannot be read.
    #[must_use]
    pub fn of(traceparent: &[u8]) -> Self {
        // version 2, "-", trace-id 32, "-", parent-id 16, "-", flags 2; later versions may go on behind another dash.
        let parse = || {
            let (version, rest) = field(traceparent, 2)?;
            let (id, rest) = field(rest, 32)?;
            let (parent, rest) = field(rest, 16)?;
            hex(rest.get(..2)?)?;
            let is_whole = rest.len() == 2 || version != b"00" && rest.get(2) == Some(&b'-');
            let is_known = hex(version)? != 0xff;
            let (id, parent) = (hex(id)?, u64::try_from(hex(parent)?).ok()?);
            (is_whole && is_known && id != 0 && parent != 0).then_some(Self { id, parent })
        };
        parse().unwrap_or_default()
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_some(self) -> bool {
        self.id != 0
    }
}

/// The first `length` bytes of a text that go before a dash, and what follows that.
fn field(text: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let (field, rest) = text.split_at_checked(length)?;
    Some((field, rest.strip_prefix(b"-")?))
}

/// Lower-case hexadecimal digits, at most 32.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noted(cause: Cause, seed: u64) -> Noted {
        let mut spent = Spent::default();
        for (stage, at) in Stage::ALL.into_iter().zip(1..) {
            spent.add(stage, Span(seed.wrapping_mul(at) % 1_000_000 + 1));
        }
        Noted {
            cause,
            end: Stamp(seed),
            duration: Span(seed ^ 1),
            spent,
            count: seed as u32,
            method: MethodLabel::ALL[seed as usize % MethodLabel::ALL.len()],
            status: seed as u16,
            route: [
                RouteLabel::Route(RouteId(seed as u16)),
                RouteLabel::Internal,
                RouteLabel::NoMatch,
                RouteLabel::Invalid,
            ][seed as usize % 4],
            cache: CacheLabel::ALL[seed as usize % CacheLabel::ALL.len()],
            key: seed.rotate_left(7),
            connection: seed.rotate_left(13),
            sent_bytes: seed >> 3,
            body_bytes: seed >> 5,
            backlog: seed as u32,
            upstream: (!seed.is_multiple_of(3)).then_some(seed as u16),
            trace: Trace {
                id: u128::from(seed) << 64 | u128::from(!seed),
                parent: seed,
            },
        }
    }

    proptest! {
        #[test]
        fn what_is_written_down_reads_back(seed in any::<u64>()) {
            let recorder = Recorder::new();
            for cause in [Cause::Slow, Cause::Error, Cause::Drawn] {
                recorder.note(&noted(cause, seed));
            }
            let causes = [Cause::Slow, Cause::Error, Cause::Drawn];
            let read: Vec<_> = recorder.requests().collect();
            prop_assert_eq!(read, causes.map(|cause| noted(cause, seed)));
        }
    }

    #[test]
    fn the_oldest_are_written_over_and_counted() {
        let recorder = Recorder::new();
        let all = DRAWN_ENTRIES as u64 + 10;
        for seed in 1..=all {
            recorder.note(&noted(Cause::Drawn, seed));
        }
        recorder.note(&noted(Cause::Slow, 7));
        let drawn = || {
            recorder
                .requests()
                .filter(|noted| noted.cause == Cause::Drawn)
        };
        assert_eq!(drawn().count(), DRAWN_ENTRIES);
        assert_eq!(drawn().next(), Some(noted(Cause::Drawn, 11)));
        assert_eq!(drawn().last(), Some(noted(Cause::Drawn, all)));
        let counts = [Cause::Slow, Cause::Error, Cause::Drawn].map(|cause| recorder.count(cause));
        assert_eq!(counts, [1, 0, all]);
    }

    #[test]
    fn a_reader_beside_the_writer_sees_whole_entries_alone() {
        let recorder = Recorder::new();
        std::thread::scope(|scope| {
            scope.spawn(|| (1..200_000).for_each(|seed| recorder.note(&noted(Cause::Slow, seed))));
            let mut seen = 0;
            while recorder.count(Cause::Slow) < 199_999 {
                for entry in recorder.requests() {
                    assert_eq!(entry, noted(Cause::Slow, entry.end.0));
                    seen += 1;
                }
            }
            assert!(seen > 0);
        });
    }

    #[test]
    fn a_traceparent_is_read_by_its_grammar() {
        let (id, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let known = Trace {
            id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            parent: 0xb7ad_6b71_6920_3331,
        };
        let none = Trace::default();
        for (text, trace) in [
            (format!("00-{id}-{parent}-01"), known),
            (format!("cc-{id}-{parent}-01-what-comes-later"), known),
            (format!("cc-{id}-{parent}-01."), none),
            (format!("00-{id}-{parent}-01-more"), none),
            (format!("ff-{id}-{parent}-01"), none),
            (format!("00-{id}-{parent}"), none),
            (format!("00-{id}-{parent}-"), none),
            (format!("00-{id}-{parent}-0g"), none),
            (format!("00-{}-{parent}-01", id.to_uppercase()), none),
            (format!("00-{}-{parent}-01", "0".repeat(32)), none),
            (format!("00-{id}-{}-01", "0".repeat(16)), none),
            (String::new(), none),
        ] {
            assert_eq!(Trace::of(text.as_bytes()), trace, "{text}");
        }
    }
}
