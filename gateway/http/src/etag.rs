//! Entity tags (RFC 9110 §8.8.3), and the lists of them in `If-Match` and `If-None-Match` (§13.1.1, §13.1.2).

use crate::scan::{blank_end, trim};

/// An entity tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    /// Marked `W/`, in upper case only.
    pub weak: bool,
    /// What stands in the quotes; a backslash in it is itself.
    pub opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// Reads all of `value`; `None` for what is no entity tag, as one without quotes.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (weak, quoted) = match value.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, value),
        };
        let opaque = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let is_tag = opaque.iter().all(|&byte| is_etagc(byte));
        is_tag.then_some(Self { weak, opaque })
    }

    /// Strong comparison (§8.8.3.2).
    #[must_use]
    pub fn matches_strong(self, other: EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// Weak comparison (§8.8.3.2).
    #[must_use]
    pub fn matches_weak(self, other: EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }
}

/// A member of a list of entity tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagMember<'a> {
    /// `*`, which means any only where it is the whole field.
    Any,
    /// An entity tag.
    Tag(EntityTag<'a>),
    /// Anything else, as written: a tag without quotes, or a quote that does not end with all that follows it.
    Malformed(&'a [u8]),
}

/// The members of all lines of `If-Match` or `If-None-Match`, empty ones left out. A comma in quotes parts nothing.
#[derive(Clone, Debug)]
pub struct EntityTags<'a, L> {
    lines: L,
    rest: &'a [u8],
}

impl<'a, L: Iterator<Item = &'a [u8]>> EntityTags<'a, L> {
    /// Over these lines.
    pub fn new(lines: L) -> Self {
        Self { lines, rest: b"" }
    }

    /// Whether a member matches the stored `ETag` value by weak comparison, or the field is `*`, for a representation
    /// that is there: the answer to `If-None-Match` is then 304.
    ///
    /// What is malformed matches nothing, so that at worst a body is sent that was not needed; but a stored value that
    /// is no entity tag itself is matched by the same bytes.
    #[must_use]
    pub fn match_weak(self, stored: Option<&[u8]>) -> bool {
        self.any(stored, |member, stored, tag| match (member, tag) {
            (TagMember::Tag(member), Some(tag)) => member.matches_weak(tag),
            (TagMember::Malformed(raw), None) => raw == stored,
            _ => false,
        })
    }

    /// The same by strong comparison, as `If-Match` asks for. What is no entity tag, stored or asked for, matches
    /// nothing: it says nothing of its strength.
    #[must_use]
    pub fn match_strong(self, stored: Option<&[u8]>) -> bool {
        self.any(stored, |member, _, tag| match (member, tag) {
            (TagMember::Tag(member), Some(tag)) => member.matches_strong(tag),
            _ => false,
        })
    }

    fn any(
        self,
        stored: Option<&[u8]>,
        is_match: impl Fn(TagMember<'a>, &[u8], Option<EntityTag<'_>>) -> bool,
    ) -> bool {
        let tag = stored.and_then(EntityTag::parse);
        let mut members = self.peekable();
        let first = members.next();
        if first == Some(TagMember::Any) && members.peek().is_none() {
            return true;
        }
        let Some(stored) = stored else { return false };
        first
            .into_iter()
            .chain(members)
            .any(|member| is_match(member, stored, tag))
    }
}

impl<'a, L: Iterator<Item = &'a [u8]>> Iterator for EntityTags<'a, L> {
    type Item = TagMember<'a>;

    fn next(&mut self) -> Option<TagMember<'a>> {
        loop {
            let start = blank_end(self.rest, 0);
            self.rest = self.rest.get(start..).unwrap_or_default();
            if self.rest.is_empty() {
                self.rest = self.lines.next()?;
                continue;
            }
            let (member, rest) = first_member(self.rest);
            self.rest = rest;
            match member {
                b"" => {}
                b"*" => return Some(TagMember::Any),
                raw => {
                    let tag = EntityTag::parse(raw).map(TagMember::Tag);
                    return Some(tag.unwrap_or(TagMember::Malformed(raw)));
                }
            }
        }
    }
}

/// The member at the start of `text`, trimmed, and what follows its comma.
fn first_member(text: &[u8]) -> (&[u8], &[u8]) {
    let mut is_quoted = false;
    let comma = text.iter().position(|&byte| {
        is_quoted ^= byte == b'"';
        byte == b',' && !is_quoted
    });
    match comma.and_then(|at| text.split_at_checked(at)) {
        Some((member, rest)) => (trim(member), rest.get(1..).unwrap_or_default()),
        None => (trim(text), b""),
    }
}

/// `etagc`: visible but for the quote, or beyond ASCII.
fn is_etagc(byte: u8) -> bool {
    byte == b'!' || (byte > b'"' && byte != 0x7f)
}
