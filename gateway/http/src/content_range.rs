//! `Content-Range` in bytes (RFC 9110 §14.4).

use crate::scan::number;
use crate::write::Decimal;

/// Where a part lies, or that none was to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentRange {
    /// Of a 206 or one of its parts: `bytes first-last/complete`.
    Satisfied {
        /// The first byte's place.
        first: u64,
        /// The last byte's place, not before `first`.
        last: u64,
        /// The length of the whole, beyond `last`; `None` for `*`, when it is not known.
        complete: Option<u64>,
    },
    /// Of a 416: `bytes */complete`.
    Unsatisfied {
        /// The length of the whole.
        complete: u64,
    },
}

impl ContentRange {
    /// Reads a field's value. `None` where it is invalid or of another unit: who got it must not put parts together.
    /// Places of 2^64-1 and beyond are invalid.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (unit, rest) = value.split_at_checked(UNIT.len())?;
        let slash = rest.iter().position(|&byte| byte == b'/')?;
        let (range, complete) = rest.split_at_checked(slash)?;
        let complete = complete.get(1..)?;
        if !unit.eq_ignore_ascii_case(UNIT) {
            return None;
        }
        if range == b"*" {
            let complete = place(complete)?;
            return Some(Self::Unsatisfied { complete });
        }
        let dash = range.iter().position(|&byte| byte == b'-')?;
        let (first, last) = range.split_at_checked(dash)?;
        let (first, last) = (place(first)?, place(last.get(1..)?)?);
        let complete = match complete {
            b"*" => None,
            length => Some(place(length)?),
        };
        let is_valid = first <= last && complete.is_none_or(|length| last < length);
        is_valid.then_some(Self::Satisfied {
            first,
            last,
            complete,
        })
    }

    /// The field's value.
    #[must_use]
    pub fn format(self) -> ContentRangeText {
        let mut text = ContentRangeText {
            bytes: [0; TEXT_BYTES],
            len: 0,
        };
        text.push(UNIT);
        let complete = match self {
            Self::Satisfied {
                first,
                last,
                complete,
            } => {
                text.push(Decimal::new(first).bytes());
                text.push(b"-");
                text.push(Decimal::new(last).bytes());
                complete
            }
            Self::Unsatisfied { complete } => {
                text.push(b"*");
                Some(complete)
            }
        };
        text.push(b"/");
        match complete {
            Some(length) => text.push(Decimal::new(length).bytes()),
            None => text.push(b"*"),
        }
        text
    }
}

/// A value of `Content-Range`, on the stack.
#[derive(Clone, Copy, Debug)]
pub struct ContentRangeText {
    bytes: [u8; TEXT_BYTES],
    len: usize,
}

impl ContentRangeText {
    /// The value.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Of the parts that [`TEXT_BYTES`] counts, so there is room.
    fn push(&mut self, part: &[u8]) {
        let room = self.bytes.iter_mut().skip(self.len);
        for (place, &byte) in room.zip(part) {
            *place = byte;
            self.len += 1;
        }
    }
}

const UNIT: &[u8] = b"bytes ";
/// The unit, three numbers, and the signs between them.
const TEXT_BYTES: usize = UNIT.len() + 3 * 20 + 2;

fn place(text: &[u8]) -> Option<u64> {
    number(text).filter(|&place| place < u64::MAX)
}
