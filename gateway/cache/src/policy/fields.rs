//! The fields of an answer as they are stored.

use base::Wall;
use http::{Name, Response, date};

use super::directives::Directives;
use super::update::shares_cookies;
use super::{Rules, SetCookie};

/// The field lines to store of an answer, `Name: value\r\n` each, names and values byte for byte and in order. Left out
/// are hop-by-hop fields and what `Connection` lists (RFC 9111 §3.1, RFC 9110 §7.6.1), framing fields (the body's length
/// is known anew with every answer), `Age` and `X-Request-Id` (of every answer's own), what a qualified `no-cache` or
/// `private` names, and `Set-Cookie` where the rules strip it. An answer without `Date` gets that of its arrival, `now`
/// (RFC 9110 §6.6.1).
#[must_use]
pub fn head_fields(response: &Response<'_>, now: Wall, rules: &Rules) -> Vec<u8> {
    let directives = Directives::of(&response.fields, rules);
    let mut lines = Vec::with_capacity(response.length);
    let mut dated = false;
    for (name, written, value) in kept(response, &directives, rules) {
        dated |= name == Name::Date;
        push_line(&mut lines, written, value);
    }
    if !dated {
        push_line(&mut lines, b"Date", &date::format(now));
    }
    lines
}

/// The field lines of an answer that [`head_fields`] leaves out although a client may have them: they are for whose request it
/// answers alone. Of one that updates a stored answer, as it arrives `now`, these are its cookies too, unless it brings a
/// lifetime.
#[must_use]
pub fn own_fields(response: &Response<'_>, updates: bool, now: Wall, rules: &Rules) -> Vec<u8> {
    let directives = Directives::of(&response.fields, rules);
    let keeps_cookies = !updates || shares_cookies(response, now, rules);
    let mut lines = Vec::new();
    for (name, written, value) in response.fields.iter() {
        let is_own = name == Name::SetCookie && !keeps_cookies
            || is_own(response, &directives, rules, name, written);
        if is_own && !is_hop_s(response, name, written) {
            push_line(&mut lines, written, value);
        }
    }
    lines
}

/// Stored field lines one by one: known name, name as written, value.
pub fn stored_lines(head_fields: &[u8]) -> impl Iterator<Item = (Name, &[u8], &[u8])> {
    head_fields
        .split_inclusive(|&byte| byte == b'\n')
        .filter_map(|line| {
            let line = line.strip_suffix(LINE_END)?;
            let colon = line.iter().position(|&byte| byte == b':')?;
            let (name, value) = line.split_at_checked(colon)?;
            Some((Name::of(name), name, value.strip_prefix(SEPARATOR)?))
        })
}

/// The fields that [`head_fields`] stores, but for an added Date.
pub(super) fn kept<'a>(
    response: &Response<'a>,
    directives: &Directives,
    rules: &Rules,
) -> impl Iterator<Item = (Name, &'a [u8], &'a [u8])> {
    response.fields.iter().filter(move |&(name, written, _)| {
        !is_hop_s(response, name, written) && !is_own(response, directives, rules, name, written)
    })
}

/// Whether a field speaks of this connection, this message or this range alone.
fn is_hop_s(response: &Response<'_>, name: Name, written: &[u8]) -> bool {
    // Of a part it is written anew with every range.
    let is_range = name == Name::ContentRange && response.status == 206;
    let is_listed = || !decides_reuse(name) && response.fields.is_listed(written);
    is_left_out(name) || is_range || is_listed()
}

/// Whether a field is for whose request was answered alone, by the answer's word or the route's.
fn is_own(
    response: &Response<'_>,
    directives: &Directives,
    rules: &Rules,
    name: Name,
    written: &[u8],
) -> bool {
    let is_stripped = rules.set_cookie == SetCookie::Strip && name == Name::SetCookie;
    is_stripped || !decides_reuse(name) && directives.withholds(&response.fields, written)
}

/// Bytes of a field's stored line before its value.
pub(super) fn value_offset(written: &[u8]) -> usize {
    written.len() + SEPARATOR.len()
}

/// Bytes of a field's stored line.
pub(super) fn line_length(written: &[u8], value: &[u8]) -> usize {
    value_offset(written) + value.len() + LINE_END.len()
}

pub(super) fn push_line(lines: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, SEPARATOR, value, LINE_END] {
        lines.extend_from_slice(part);
    }
}

const SEPARATOR: &[u8] = b": ";
const LINE_END: &[u8] = b"\r\n";

/// What is never named away ("Cache-Control is never appropriate as a connection option", RFC 9110 §7.6.1): the terms
/// after a 304 are read from the stored lines, and may not grow laxer for want of one.
fn decides_reuse(name: Name) -> bool {
    matches!(
        name,
        Name::CacheControl | Name::CdnCacheControl | Name::Expires | Name::Vary
    )
}

fn is_left_out(name: Name) -> bool {
    matches!(
        name,
        Name::Age
            | Name::Connection
            | Name::ContentLength
            | Name::KeepAlive
            | Name::ProxyAuthenticate
            | Name::ProxyAuthenticationInfo
            | Name::ProxyAuthorization
            | Name::ProxyConnection
            | Name::Te
            | Name::Trailer
            | Name::TransferEncoding
            | Name::Upgrade
            | Name::XRequestId
    )
}
