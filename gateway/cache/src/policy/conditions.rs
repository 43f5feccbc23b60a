//! A client's conditions, judged by a stored answer (RFC 9110 §13, RFC 9111 §4.3.2).

use base::Wall;
use http::etag::{EntityTag, EntityTags};
use http::{Fields, Name, date};

use super::{LastModified, Terms};

/// Whether a GET or HEAD with these fields is answered 304 where a stored 200 of these terms and lines answers it (RFC
/// 9110 §13.2.2): by `If-None-Match`, else by `If-Modified-Since`, against `Date` where there is no `Last-Modified` (RFC
/// 9111 §4.3.2).
#[must_use]
pub fn is_not_modified(request_fields: &Fields<'_>, terms: &Terms, head_fields: &[u8]) -> bool {
    if request_fields.has(Name::IfNoneMatch) {
        let stored = terms.etag.map(|etag| etag.of(head_fields));
        return EntityTags::new(request_fields.all(Name::IfNoneMatch)).match_weak(stored);
    }
    let modified = terms
        .last_modified
        .map_or(terms.date, |modified| modified.at);
    only(request_fields, Name::IfModifiedSince)
        .and_then(|since| date::parse(since, century(terms)))
        .is_some_and(|since| modified <= since)
}

/// Whether the `Range` of a GET with these fields counts where a stored 200 of these terms and lines answers it (RFC 9110
/// §13.1.5): there is no `If-Range`, or it matches strongly.
#[must_use]
pub fn range_applies(request_fields: &Fields<'_>, terms: &Terms, head_fields: &[u8]) -> bool {
    if !request_fields.has(Name::IfRange) {
        return true;
    }
    let Some(condition) = only(request_fields, Name::IfRange) else {
        return false;
    };
    if let Some(asked) = EntityTag::parse(condition) {
        let stored = terms.etag.map(|etag| etag.of(head_fields));
        let stored = stored.and_then(EntityTag::parse);
        return stored.is_some_and(|stored| stored.matches_strong(asked));
    }
    let asked = date::parse(condition, century(terms));
    terms
        .last_modified
        .filter(|modified| is_strong(modified, terms))
        .is_some_and(|modified| Some(modified.at) == asked)
}

/// Whether a stored field goes into a 304 (RFC 9110 §15.4.5). `Last-Modified` does where there is no `ETag`, to guide the
/// client's cache.
#[must_use]
pub fn in_not_modified(name: Name, terms: &Terms) -> bool {
    match name {
        Name::CacheControl
        | Name::CdnCacheControl
        | Name::ContentLocation
        | Name::Date
        | Name::ETag
        | Name::Expires
        | Name::Vary => true,
        Name::LastModified => terms.etag.is_none(),
        _ => false,
    }
}

/// RFC 9110 §8.8.2.2: of the two dates, by one clock, the answer's is at least a second later.
fn is_strong(modified: &LastModified, terms: &Terms) -> bool {
    modified.at < terms.date
}

/// The value of a field that is there once.
fn only<'a>(fields: &Fields<'a>, name: Name) -> Option<&'a [u8]> {
    fields.first(name).filter(|_| !fields.is_repeated(name))
}

/// What two-digit years are read by.
fn century(terms: &Terms) -> Wall {
    terms.lifetime.received
}
