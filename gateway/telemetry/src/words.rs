//! Counts by word: labels whose values are the words of `Cache-Status`.

use crate::Counter;

/// Why the origin was asked (`fwd` of `Cache-Status`, RFC 9211 §2.2).
pub const FORWARDS: &[&str] = &[
    "uri-miss",
    "vary-miss",
    "stale",
    "request",
    "partial",
    "bypass",
    "method",
];

/// Why an answer was not stored, or the store not asked.
pub const NOT_STORED: &[&str] = &[
    "route",
    "upgrade",
    "method",
    "request-body",
    "request-no-store",
    "condition",
    "no-store",
    "private",
    "no-cache",
    "authorization",
    "no-explicit-freshness",
    "not-fresh",
    "status",
    "vary",
    "range",
    "too-large",
    "set-cookie",
    "storage-full",
];

/// Why a stale answer was served.
pub const SERVED_STALE: &[&str] = &[
    "max-stale",
    "stale-while-revalidate",
    "stale-if-error",
    "stale-grace",
];

/// Why a connection was ended that had to begin with a PROXY header.
pub const PROXY_PROTOCOL: &[&str] = &[
    "missing",
    "malformed",
    "too_long",
    "untrusted",
    "late",
    "cut_off",
];

/// A counter for each word of a set. One writer.
#[derive(Debug)]
pub struct Words {
    words: &'static [&'static str],
    counts: Box<[Counter]>,
}

impl Words {
    pub(crate) fn new(words: &'static [&'static str]) -> Self {
        Self {
            words,
            counts: words.iter().map(|_| Counter::default()).collect(),
        }
    }

    /// Counts one. Not for the hit path: the set is searched. The owning shard only.
    pub fn add(&self, word: &str) {
        let at = self.words.iter().position(|known| *known == word);
        debug_assert!(at.is_some(), "{word} is not in its set");
        if let Some(count) = at.and_then(|at| self.counts.get(at)) {
            count.add(1);
        }
    }

    /// The words that were counted.
    pub(crate) fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.counts.iter().map(Counter::read);
        let all = self.words.iter().copied().zip(counts);
        all.filter(|(_, count)| *count > 0)
    }
}
