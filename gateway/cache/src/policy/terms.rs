//! What is kept of an answer beside its head.

use std::ops::Range;

use base::Wall;
use http::{Name, Response, date};

use super::directives::Directives;
use super::fields::{kept, line_length, value_offset};
use super::{Lifetime, Rules};

/// Everything that the use of a stored answer depends on, but for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// When it is fresh.
    pub lifetime: Lifetime,
    /// Its `Date`, or when it was received.
    pub date: Wall,
    /// Nobody said for how long it is fresh; it was guessed (RFC 9111 §4.2.2) or configured.
    pub heuristic: bool,
    /// To be validated at each use (§5.2.2.4).
    pub no_cache: bool,
    /// Never used stale (§5.2.2.2, §5.2.2.8, §5.2.2.10).
    pub must_revalidate: bool,
    /// A client's `max-age` does not ask for validation while it is fresh (RFC 8246).
    pub immutable: bool,
    /// Seconds past freshness in which it may be used while it is validated (RFC 5861 §3); 0: none.
    pub stale_while_revalidate: u64,
    /// Seconds past freshness in which it may be used where validation fails (RFC 5861 §4), if it says so.
    pub stale_if_error: Option<u64>,
    /// Where its `ETag` is; one that is empty or given twice is none.
    pub etag: Option<Place>,
    /// Its `Last-Modified`; one that is no date or given twice is none.
    pub last_modified: Option<LastModified>,
}

/// A date and where it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastModified {
    /// The date.
    pub at: Wall,
    /// The value as written.
    pub value: Place,
}

/// Where a value lies in the stored lines ([`head_fields`](super::head_fields)) that the terms were made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    start: u32,
    end: u32,
}

impl Place {
    /// The bytes there; none where the lines are others.
    #[must_use]
    pub fn of(self, head_fields: &[u8]) -> &[u8] {
        let range = self.start as usize..self.end as usize;
        head_fields.get(range).unwrap_or_default()
    }

    /// Heads are shorter than 2^32 bytes ([`http::head::HEAD_BYTES_CEILING`]).
    fn new(range: Range<usize>) -> Option<Self> {
        Some(Self {
            start: u32::try_from(range.start).ok()?,
            end: u32::try_from(range.end).ok()?,
        })
    }
}

impl Terms {
    /// Whether a 304 could be got for it.
    #[must_use]
    pub fn has_validator(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some()
    }

    /// Whether it may never be used stale, whatever the trouble: where validation fails the answer is a 504 (§5.2.2.2).
    #[must_use]
    pub fn forbids_stale(&self) -> bool {
        self.no_cache || self.must_revalidate
    }
}

/// What of the stored lines the terms need.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) etag: Option<Place>,
    pub(super) last_modified: Option<LastModified>,
    pub(super) set_cookie: bool,
}

impl Found {
    pub(super) fn of(
        response: &Response<'_>,
        directives: &Directives,
        received: Wall,
        rules: &Rules,
    ) -> Self {
        let mut found = Self::default();
        let mut at = 0;
        for (name, written, value) in kept(response, directives, rules) {
            let start = at + value_offset(written);
            let place = || Place::new(start..start + value.len());
            let is_only = !response.fields.is_repeated(name);
            match name {
                Name::ETag if is_only && !value.is_empty() => found.etag = place(),
                Name::LastModified if is_only => {
                    let date = date::parse(value, received).zip(place());
                    found.last_modified = date.map(|(at, value)| LastModified { at, value });
                }
                Name::SetCookie => found.set_cookie = true,
                _ => {}
            }
            at += line_length(written, value);
        }
        found
    }
}
