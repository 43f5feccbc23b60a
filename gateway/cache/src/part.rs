//! Parts of representations (RFC 9110 §14).

use std::ops::Range;

/// Where a stored part lies in the representation that it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The place of its first byte.
    pub first: u64,
    /// Its bytes.
    pub length: u64,
    /// The length of the whole. `None` where the origin's word of it does not fit what came; the part reaches the end then.
    pub complete: Option<u64>,
}

impl Part {
    /// The length that ranges are resolved by.
    #[must_use]
    pub fn whole(&self) -> u64 {
        self.complete.unwrap_or(self.end())
    }

    /// The place behind its last byte.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + self.length
    }

    /// Whether it is all of the representation.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.first == 0 && self.complete == Some(self.length)
    }

    /// Whether a range of the representation lies in it.
    #[must_use]
    pub fn holds(&self, range: &Range<u64>) -> bool {
        range.start >= self.first && range.end <= self.end()
    }

    /// What is missing of a range that begins or ends in it, if that is one piece.
    #[must_use]
    pub fn lacks(&self, range: &Range<u64>) -> Option<Range<u64>> {
        let is_in = |at: u64| (self.first..self.end()).contains(&at);
        match (is_in(range.start), range.end > 0 && is_in(range.end - 1)) {
            (true, false) => Some(self.end()..range.end),
            (false, true) => Some(range.start..self.first),
            _ => None,
        }
    }
}
