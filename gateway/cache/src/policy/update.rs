//! Validation at the origin, and what its answers change in what is stored (RFC 9111 §3.2, §4.3).

use std::ops::Range;

use base::Wall;
use base::limits::FIELDS_MAX;
use http::etag::EntityTag;
use http::head::HEAD_BYTES_CEILING;
use http::write::Decimal;
use http::{FieldTable, Fields, HeadLimits, Name, Parsed, Response, parse_response};

use super::directives::Directives;
use super::fields::{head_fields as lines_to_store, push_line, stored_lines};
use super::freshness::{date_of, explicit};
use super::storing;
use super::{Reason, RequestFacts, Rules, SetCookie, Terms};

/// The field lines that ask the origin whether a stored answer still holds (§4.3.1), validators byte for byte as stored:
/// `If-None-Match` and `If-Modified-Since`, as far as there is what they need.
#[must_use]
pub fn validators(terms: &Terms, head_fields: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    if let Some(etag) = terms.etag {
        push_line(&mut lines, b"If-None-Match", etag.of(head_fields));
    }
    if let Some(modified) = terms.last_modified {
        let value = modified.value.of(head_fields);
        push_line(&mut lines, b"If-Modified-Since", value);
    }
    lines
}

/// The field lines that ask the origin for a range of a stored part's representation, or for the whole should that be another
/// by now (RFC 9110 §13.1.5). None where the part has no `ETag`.
#[must_use]
pub fn range_if_same(terms: &Terms, head_fields: &[u8], range: &Range<u64>) -> Vec<u8> {
    let mut lines = Vec::new();
    if let Some(etag) = terms.etag {
        let (first, last) = (Decimal::new(range.start), Decimal::new(range.end - 1));
        let range = [b"bytes=", first.bytes(), b"-", last.bytes()].concat();
        push_line(&mut lines, b"Range", &range);
        push_line(&mut lines, b"If-Range", etag.of(head_fields));
    }
    lines
}

/// Whether a 304 to [`validators`] speaks of that stored answer (§4.3.4). A strong validator decides alone; else the weak
/// ones do, one of which is to match and none to differ. One without any speaks of what was asked about: the request had
/// no other validators.
#[must_use]
pub fn speaks_of(response: &Response<'_>, terms: &Terms, head_fields: &[u8]) -> bool {
    let fields = &response.fields;
    let stored_tag = terms.etag.map(|etag| etag.of(head_fields));
    let tag = fields.first(Name::ETag);
    if let Some(strong) = tag.and_then(EntityTag::parse).filter(|tag| !tag.weak) {
        let stored = stored_tag.and_then(EntityTag::parse);
        return stored.is_some_and(|stored| stored.matches_strong(strong));
    }
    let stored_date = terms.last_modified.map(|date| date.value.of(head_fields));
    let date = fields.first(Name::LastModified);
    let verdicts = [
        compared(tag, stored_tag, is_same_tag),
        compared(date, stored_date, |new, old| new == old),
    ];
    let is_silent = tag.is_none() && date.is_none();
    is_silent || verdicts.contains(&Some(true)) && !verdicts.contains(&Some(false))
}

/// The field lines and terms of a stored answer after a 304, or a HEAD's 200 ([`HeadSays::Update`]), to the request of
/// these facts (§3.2, §4.3.4, §4.3.5). The lines are those of the stored answer, with each field that the new one brings
/// in place of all of that name; but what says how the stored body is coded or cut stays with the body: `Content-Length`
/// is not stored, `Content-Encoding` and `Content-Range` are not updated. The terms are those of an answer with the new
/// lines and `Age` that arrived now.
///
/// With a reason for terms the answer is no longer to be stored; it still answers the request that led here.
pub fn freshened(
    facts: &RequestFacts,
    (status, head_fields): (u16, &[u8]),
    response: &Response<'_>,
    (requested, received): (Wall, Wall),
    rules: &Rules,
) -> (Vec<u8>, Result<Terms, Reason>) {
    let mut new = lines_to_store(response, received, rules);
    if !shares_cookies(response, received, rules) {
        new = without_cookies(&new);
    }
    let merged = merged(head_fields, &new);
    let text = whole_head(status, &merged, &response.fields);
    let limits = HeadLimits {
        head_bytes: HEAD_BYTES_CEILING,
        fields: FIELDS_MAX,
        ..HeadLimits::default()
    };
    let mut table = FieldTable::new();
    // Read as if the origin had sent it so, that one set of rules judges both.
    let Parsed::Whole(whole) = parse_response(&text, &mut table, &limits) else {
        return (merged, Err(Reason::TooLarge));
    };
    let terms = storing::terms(facts.authorization, &whole, requested, received, rules);
    (lines_to_store(&whole, received, rules), terms)
}

/// Whether a cookie beside the confirmation of a stored answer is stored with it: not where it comes without a lifetime of its
/// own, for then nobody said that others may have it (§7.3).
pub(super) fn shares_cookies(response: &Response<'_>, received: Wall, rules: &Rules) -> bool {
    let directives = Directives::of(&response.fields, rules);
    let date = date_of(&response.fields, received);
    let lasts = || explicit(&response.fields, &directives, date, received).is_some();
    rules.set_cookie != SetCookie::Store || !response.fields.has(Name::SetCookie) || lasts()
}

fn without_cookies(lines: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(lines.len());
    for (name, written, value) in stored_lines(lines) {
        if name != Name::SetCookie {
            push_line(&mut kept, written, value);
        }
    }
    kept
}

/// What a HEAD's answer says of the stored answer to a GET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadSays {
    /// It is as stored: [`freshened`] by the answer.
    Update,
    /// It is another now: validate, or forget it.
    Invalidate,
    /// The answer says nothing of it, not being a 200.
    Nothing,
}

/// What an answer to HEAD says of a stored 200 with these terms, lines and bytes of body (§4.3.5): whether every validator
/// and `Content-Length` that it brings is as stored.
#[must_use]
pub fn head_says(
    response: &Response<'_>,
    terms: &Terms,
    head_fields: &[u8],
    length: Option<u64>,
) -> HeadSays {
    if response.status != 200 {
        return HeadSays::Nothing;
    }
    let fields = &response.fields;
    let tag = terms.etag.map(|etag| etag.of(head_fields));
    let date = terms.last_modified.map(|date| date.value.of(head_fields));
    let is_as_stored = |new: Option<&[u8]>, stored| new.is_none() || new == stored;
    let is_same = is_as_stored(fields.first(Name::ETag), tag)
        && is_as_stored(fields.first(Name::LastModified), date)
        && (response.content_length().is_none() || response.content_length() == length);
    if is_same {
        HeadSays::Update
    } else {
        HeadSays::Invalidate
    }
}

/// Whether two validators match, where both are there; `None` where the new answer brings none.
fn compared(
    new: Option<&[u8]>,
    stored: Option<&[u8]>,
    is_same: impl Fn(&[u8], &[u8]) -> bool,
) -> Option<bool> {
    Some(is_same(new?, stored?))
}

/// By weak comparison; what is no entity tag by its bytes.
fn is_same_tag(new: &[u8], stored: &[u8]) -> bool {
    match (EntityTag::parse(new), EntityTag::parse(stored)) {
        (Some(new), Some(stored)) => new.matches_weak(stored),
        _ => new == stored,
    }
}

/// The stored lines that the new ones do not replace, and the new ones.
fn merged(stored: &[u8], new: &[u8]) -> Vec<u8> {
    let replaces = |name: Name, written: &[u8]| {
        !describes_body(name)
            && stored_lines(new).any(|(_, other, _)| other.eq_ignore_ascii_case(written))
    };
    let mut lines = Vec::with_capacity(stored.len() + new.len());
    for (name, written, value) in stored_lines(stored) {
        if !replaces(name, written) {
            push_line(&mut lines, written, value);
        }
    }
    for (name, written, value) in stored_lines(new) {
        if !describes_body(name) {
            push_line(&mut lines, written, value);
        }
    }
    lines
}

fn describes_body(name: Name) -> bool {
    matches!(name, Name::ContentEncoding | Name::ContentRange)
}

/// A head of these lines, with the `Age` of the answer that they were freshened by.
fn whole_head(status: u16, lines: &[u8], newer: &Fields<'_>) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} \r\n").into_bytes();
    text.extend_from_slice(lines);
    for age in newer.all(Name::Age) {
        push_line(&mut text, b"Age", age);
    }
    text.extend_from_slice(b"\r\n");
    text
}
