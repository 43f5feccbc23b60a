//! Lists of weighted members, `Accept-Language` and its like (RFC 9110 §12.4.2).

use crate::scan::{compare_in_any_case, is_whole_token, members, trim};

/// Members of one list; a longer one is not read.
const MEMBERS_MAX: usize = 32;

/// A member with its weight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weighted<'a> {
    /// A token, as written.
    pub(crate) name: &'a [u8],
    /// 0 to 1000.
    pub(crate) thousandths: u16,
}

/// The members of all lines of a field, empty ones left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WeightedList<'a> {
    members: [Weighted<'a>; MEMBERS_MAX],
    len: usize,
}

impl<'a> WeightedList<'a> {
    /// `None` where a member is malformed or there are too many.
    pub(crate) fn read(lines: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut list = Self {
            members: [Weighted {
                name: b"",
                thousandths: 0,
            }; MEMBERS_MAX],
            len: 0,
        };
        for text in lines.flat_map(members).filter(|text| !text.is_empty()) {
            *list.members.get_mut(list.len)? = Weighted::parse(text)?;
            list.len += 1;
        }
        Some(list)
    }

    pub(crate) fn as_slice(&self) -> &[Weighted<'a>] {
        self.members.get(..self.len).unwrap_or_default()
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [Weighted<'a>] {
        self.members.get_mut(..self.len).unwrap_or_default()
    }
}

impl<'a> Weighted<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let end = text.iter().position(|&byte| byte == b';');
        let (name, weight) = text.split_at_checked(end.unwrap_or(text.len()))?;
        let name = trim(name);
        let thousandths = match weight {
            [] => 1000,
            [_, weight @ ..] => qvalue(trim(weight))?,
        };
        is_whole_token(name).then_some(Self { name, thousandths })
    }

    /// Whether it is the one of this name in lower case.
    pub(crate) fn is(&self, name: &[u8]) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Heaviest first, those of one weight by name.
    pub(crate) fn compare(&self, other: &Self) -> core::cmp::Ordering {
        let by_weight = other.thousandths.cmp(&self.thousandths);
        by_weight.then_with(|| compare_in_any_case(self.name, other.name))
    }
}

/// `q=` and a number from 0 to 1 of at most three places, in thousandths.
fn qvalue(text: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', whole, rest @ ..] = text else {
        return None;
    };
    let places = match rest {
        [] => rest,
        [b'.', places @ ..] if places.len() <= 3 => places,
        _ => return None,
    };
    let mut thousandths = 0;
    for at in 0..3 {
        let digit = places.get(at).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        thousandths = thousandths * 10 + u16::from(digit - b'0');
    }
    match whole {
        b'0' => Some(thousandths),
        b'1' if thousandths == 0 => Some(1000),
        _ => None,
    }
}
