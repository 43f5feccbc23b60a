//! A stored answer: its head, its terms, and a body that every shard may read while one writer appends to it.

use std::sync::atomic::{AtomicU64, Ordering};

use base::Memory;
use http::Name;
use http::etag::EntityTag;

use crate::policy::{Terms, stored_lines};
use crate::{Body, Key, Part, Variant};

/// Bytes of a store's index for one object: an entry of 48, two to four places of 8 in the table, a ghost.
const INDEX_BYTES: usize = 96;

/// A stored answer. Immutable but for the growing body.
pub struct Object<M: Memory> {
    /// The key it is stored under.
    pub key: Key,
    /// Status and fields.
    pub head: Head,
    /// When and for whom it may be used.
    pub terms: Terms,
    /// The requests it is for.
    pub variant: Variant,
    /// What of the representation it is; `None`: the whole.
    pub part: Option<Part>,
    /// The body.
    pub body: Body<M>,
    /// Its place among all heads that arrived or were updated in this process.
    order: u64,
}

/// The last place given out.
static LAST_ORDER: AtomicU64 = AtomicU64::new(0);

fn next_order() -> u64 {
    LAST_ORDER.fetch_add(1, Ordering::Relaxed) + 1
}

/// Status and fields as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// The field lines to replay, `Name: value\r\n` each, without hop-by-hop fields, framing fields, `Age`,
    /// and with a `Date` (RFC 9111 §3.1); [`policy::head_fields`](crate::policy::head_fields) makes them.
    pub fields: Box<[u8]>,
}

impl<M: Memory> Object<M> {
    /// A whole answer with this body.
    #[must_use]
    pub fn new(key: Key, head: Head, terms: Terms, variant: Variant, body: Body<M>) -> Self {
        Self {
            key,
            head,
            terms,
            variant,
            part: None,
            body,
            order: next_order(),
        }
    }

    /// The same as a part of one; from first byte to last it is the whole (RFC 9110 §15.3.7.3).
    #[must_use]
    pub fn of_part(mut self, part: Option<Part>) -> Self {
        self.part = part.filter(|part| !part.is_whole());
        if part.is_some() && self.part.is_none() {
            self.head.status = 200;
        }
        self
    }

    /// The same answer after a validation: another head, other terms, perhaps for other requests, the body shared (RFC 9111
    /// §4.3.4).
    #[must_use]
    pub fn freshened(&self, fields: Box<[u8]>, terms: Terms, variant: Variant) -> Self {
        Self {
            key: self.key.clone(),
            head: Head {
                status: self.head.status,
                fields,
            },
            terms,
            variant,
            part: self.part,
            body: self.body.clone(),
            order: next_order(),
        }
    }

    /// This part and an older one that it adjoins or overlaps, as one part or as the whole (RFC 9110 §15.3.7.3): the head and
    /// terms are this one's. `None` where they do not go together.
    #[must_use]
    pub fn joined(&self, older: &Self) -> Option<Self> {
        let (new, old) = (self.part?, older.part?);
        let complete = new.complete?;
        let touches = new.first <= old.end() && old.first <= new.end();
        let fits = touches && old.complete == Some(complete) && self.variant == older.variant;
        if !fits || !self.is_same_state(older) {
            return None;
        }
        let (first, end) = (new.first.min(old.first), new.end().max(old.end()));
        let before = 0..new.first - first;
        let behind = new.end().min(old.end()) - old.first.min(new.end())..old.length;
        let ranges = [
            (&older.body, before),
            (&self.body, 0..new.length),
            (&older.body, behind),
        ];
        let body = Body::joined(ranges.into_iter().filter(|(_, range)| !range.is_empty()))?;
        let is_whole = first == 0 && end == complete;
        Some(Self {
            key: self.key.clone(),
            head: Head {
                status: if is_whole { 200 } else { self.head.status },
                fields: self.head.fields.clone(),
            },
            terms: self.terms,
            variant: self.variant.clone(),
            part: (!is_whole).then_some(Part {
                first,
                length: end - first,
                complete: Some(complete),
            }),
            body,
            order: self.order,
        })
    }

    /// Whether its head came after the other's.
    #[must_use]
    pub fn is_later(&self, other: &Self) -> bool {
        self.order > other.order
    }

    /// Whether both are of one state of the representation: they have the same strong validator (RFC 9110 §15.3.7.3).
    #[must_use]
    pub fn is_same_state(&self, other: &Self) -> bool {
        let tag = self.strong_tag();
        tag.is_some() && tag == other.strong_tag()
    }

    /// Whether ranges of one state of the representation can be asked for (RFC 9110 §13.1.5).
    #[must_use]
    pub fn has_strong_tag(&self) -> bool {
        self.strong_tag().is_some()
    }

    /// Whether `tag`, as written, is this answer's strong validator.
    #[must_use]
    pub fn has_tag(&self, tag: &[u8]) -> bool {
        let tag = EntityTag::parse(tag).filter(|tag| !tag.weak);
        tag.is_some() && tag.map(|tag| tag.opaque) == self.strong_tag()
    }

    fn strong_tag(&self) -> Option<&[u8]> {
        let tag = EntityTag::parse(self.terms.etag?.of(&self.head.fields))?;
        (!tag.weak).then_some(tag.opaque)
    }

    /// True bytes this object holds: extents' capacity, head, key, its own size and its share of the index. For the
    /// store's weigher.
    #[must_use]
    pub fn cost_bytes(&self) -> u64 {
        let itself = size_of::<Self>()
            + self.key.heap_bytes()
            + self.head.fields.len()
            + self.variant.heap_bytes();
        self.body.cost_bytes() + (itself + INDEX_BYTES) as u64
    }
}

impl Head {
    /// The first line's value of a stored field.
    #[must_use]
    pub fn field(&self, name: Name) -> Option<&[u8]> {
        stored_lines(&self.fields).find_map(|(of, _, value)| (of == name).then_some(value))
    }

    /// The language of the body, where it is of one alone.
    pub(crate) fn content_language(&self) -> Option<&[u8]> {
        let mut lines =
            stored_lines(&self.fields).filter(|(of, _, _)| *of == Name::ContentLanguage);
        let (_, _, language) = lines.next()?;
        (lines.next().is_none() && !language.contains(&b',')).then_some(language)
    }
}
