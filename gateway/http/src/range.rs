//! `Range` in bytes (RFC 9110 §14.1.1, §14.1.2, §14.2).

use core::ops::Range;

use crate::scan::{members, number};

/// Ranges of one field; a field with more is ignored (§17.15). Who reads on wants one or two; sixteen parts of a
/// multipart answer have small heads beside what they carry.
pub const RANGES_MAX: usize = 16;

/// What a `Range` field asks for, before the length is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranges {
    specs: [Spec; RANGES_MAX],
    len: usize,
}

/// What a `Range` field asks for, of a representation of known length.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // a box would allocate on the hit path
pub enum Resolved {
    /// The field is ignored: more than two of its ranges overlap (§14.2), or a suffix of nothing is asked for, which is
    /// satisfiable but has no `Content-Range`.
    Whole,
    /// 416.
    Unsatisfiable,
    /// 206.
    Parts(Parts),
}

/// The satisfiable ranges in the order asked for, at least one, first byte to the byte after the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    parts: [Range<u64>; RANGES_MAX],
    len: usize,
}

/// Positions beyond 2^64-1 are 2^64-1, where nothing lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spec {
    /// `first-last`, both included; `last` is `u64::MAX` for `first-`.
    Int { first: u64, last: u64 },
    /// `-length`
    Suffix(u64),
}

impl Ranges {
    /// Reads the value of the field, which is to be there once. `None`: the field is ignored, being malformed, of another
    /// unit, or of more than [`RANGES_MAX`] ranges. Blanks may stand around members only, as in the examples of §14.1.2.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let equals = value.iter().position(|&byte| byte == b'=')?;
        let (unit, set) = value.split_at_checked(equals)?;
        if !unit.eq_ignore_ascii_case(b"bytes") {
            return None;
        }
        let mut ranges = Self {
            specs: [Spec::Suffix(0); RANGES_MAX],
            len: 0,
        };
        for member in members(set.get(1..)?).filter(|member| !member.is_empty()) {
            *ranges.specs.get_mut(ranges.len)? = Spec::parse(member)?;
            ranges.len += 1;
        }
        (ranges.len > 0).then_some(ranges)
    }

    /// What is asked for of `length` bytes.
    #[must_use]
    pub fn resolve(&self, length: u64) -> Resolved {
        let mut parts = Parts {
            parts: [const { 0..0 }; RANGES_MAX],
            len: 0,
        };
        let specs = self.specs.get(..self.len).unwrap_or_default();
        for (place, part) in parts
            .parts
            .iter_mut()
            .zip(specs.iter().filter_map(|spec| spec.resolve(length)))
        {
            *place = part;
            parts.len += 1;
        }
        match parts.as_slice() {
            [] => Resolved::Unsatisfiable,
            [first, ..] if first.is_empty() => Resolved::Whole,
            found if overlapping(found) > 2 => Resolved::Whole,
            _ => Resolved::Parts(parts),
        }
    }
}

impl Parts {
    /// The ranges.
    #[must_use]
    pub fn as_slice(&self) -> &[Range<u64>] {
        self.parts.get(..self.len).unwrap_or_default()
    }
}

impl Spec {
    fn parse(text: &[u8]) -> Option<Self> {
        let dash = text.iter().position(|&byte| byte == b'-')?;
        let (first, last) = text.split_at_checked(dash)?;
        let last = last.get(1..)?;
        match (first, last) {
            (b"", length) => Some(Self::Suffix(number(length)?)),
            (first, last) => {
                let first = number(first)?;
                let last = if last.is_empty() {
                    u64::MAX
                } else {
                    number(last)?
                };
                (first <= last).then_some(Self::Int { first, last })
            }
        }
    }

    /// `None`: unsatisfiable. Empty only where the representation is.
    fn resolve(self, length: u64) -> Option<Range<u64>> {
        match self {
            Self::Int { first, last } => {
                (first < length).then(|| first..last.saturating_add(1).min(length))
            }
            Self::Suffix(0) => None,
            Self::Suffix(suffix) => Some(length.saturating_sub(suffix)..length),
        }
    }
}

/// How many share a byte with another.
fn overlapping(parts: &[Range<u64>]) -> usize {
    let overlaps = |at: usize, part: &Range<u64>| {
        let mut others = parts.iter().enumerate().filter(|(other, _)| *other != at);
        others.any(|(_, other)| part.start < other.end && other.start < part.end)
    };
    let parts = parts.iter().enumerate();
    parts.filter(|(at, part)| overlaps(*at, part)).count()
}
