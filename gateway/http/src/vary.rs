//! `Vary` (RFC 9110 §12.5.5).

use crate::scan::{compare_in_any_case, is_whole_token, members};

/// Names that a `Vary` may have; one with more is read as `*`. Origins name one to five.
pub const VARY_NAMES_MAX: usize = 16;

/// What an answer depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // a box would allocate on the hit path
pub enum Vary<'a> {
    /// `*`, or what cannot be told: never reused.
    Any,
    /// The fields of these names.
    Names(VaryNames<'a>),
}

/// Field names as written, each once in whatever case, sorted without regard to it.
#[derive(Clone, Copy, Debug)]
pub struct VaryNames<'a> {
    names: [&'a [u8]; VARY_NAMES_MAX],
    len: usize,
}

impl<'a> Vary<'a> {
    /// Reads all lines of the field. A member that is no token, and more than [`VARY_NAMES_MAX`] names, are read as `*`.
    #[must_use]
    pub fn read(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut names = VaryNames {
            names: [b""; VARY_NAMES_MAX],
            len: 0,
        };
        for name in lines.flat_map(members).filter(|name| !name.is_empty()) {
            if name == b"*" || !is_whole_token(name) || !names.insert(name) {
                return Self::Any;
            }
        }
        Self::Names(names)
    }
}

impl<'a> VaryNames<'a> {
    /// The names.
    #[must_use]
    pub fn as_slice(&self) -> &[&'a [u8]] {
        self.names.get(..self.len).unwrap_or_default()
    }

    /// False where there is no room.
    fn insert(&mut self, name: &'a [u8]) -> bool {
        let found = self
            .as_slice()
            .binary_search_by(|other| compare_in_any_case(other, name));
        let Err(at) = found else { return true };
        if self.len == VARY_NAMES_MAX {
            return false;
        }
        self.len += 1;
        if let Some(tail) = self.names.get_mut(at..self.len) {
            tail.rotate_right(1);
            if let Some(place) = tail.first_mut() {
                *place = name;
            }
        }
        true
    }
}

impl PartialEq for VaryNames<'_> {
    fn eq(&self, other: &Self) -> bool {
        let mut pairs = self.as_slice().iter().zip(other.as_slice());
        self.len == other.len && pairs.all(|(one, other)| one.eq_ignore_ascii_case(other))
    }
}

impl Eq for VaryNames<'_> {}
