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
        self.complete.unwrap_or(self.first + self.length)
    }

    /// Whether a range of the representation lies in it.
    #[must_use]
    pub fn holds(&self, range: &Range<u64>) -> bool {
        range.start >= self.first && range.end <= self.first + self.length
    }
}
