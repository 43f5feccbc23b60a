//! What the framing fields and the connection fields say (RFC 9112 §6, §9.3; RFC 9110 §7.6.1, §8.6).

use crate::field::{Fields, Name};
use crate::head::{Connection, Refusal, Version};
use crate::line;
use crate::scan::{is_token, members, trim};

/// What a head says about its body, before the method or status has its say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Framing {
    pub(crate) chunked: bool,
    pub(crate) content_length: Option<u64>,
}

/// Reads `Content-Length` and `Transfer-Encoding`. Refuses both together, codings other than `chunked` and any coding
/// in HTTP/1.0, where somebody on the way may not have understood it (RFC 9112 §6.1).
#[inline]
pub(crate) fn framing(version: Version, fields: &Fields<'_>) -> Result<Framing, &'static Refusal> {
    if !fields.has_any(Name::ContentLength.bit() | Name::TransferEncoding.bit()) {
        return Ok(Framing::default());
    }
    let content_length = content_length(fields)?;
    let chunked = fields.has(Name::TransferEncoding);
    if chunked {
        if version == Version::Http10 {
            return Err(&line::CODING_IN_HTTP10);
        }
        if content_length.is_some() {
            return Err(&line::LENGTH_AND_CODING);
        }
        only_chunked(fields)?;
    }
    Ok(Framing {
        chunked,
        content_length,
    })
}

/// What the `Connection` lines ask for.
#[inline]
pub(crate) fn connection(fields: &Fields<'_>) -> Connection {
    let mut connection = Connection::default();
    if !fields.has(Name::Connection) {
        return connection;
    }
    for option in fields.all(Name::Connection).flat_map(members) {
        let is = |text: &[u8]| option.eq_ignore_ascii_case(text);
        if is(b"close") {
            connection.close = true;
        } else if is(b"keep-alive") {
            connection.keep_alive = true;
        } else if is(b"upgrade") {
            connection.upgrade = true;
        } else if !option.is_empty() {
            connection.others = true;
        }
    }
    connection
}

/// Repeated and listed values must all be the same number (RFC 9112 §6.3, item 5).
fn content_length(fields: &Fields<'_>) -> Result<Option<u64>, &'static Refusal> {
    let mut length = None;
    for member in fields.all(Name::ContentLength).flat_map(members) {
        let value = decimal(member).ok_or(&line::LENGTH_MALFORMED)?;
        if length.is_some_and(|other| other != value) {
            return Err(&line::LENGTHS_DIFFER);
        }
        length = Some(value);
    }
    Ok(length)
}

/// `1*DIGIT`, without overflow.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// Exactly one `chunked`, without parameters, over all lines.
fn only_chunked(fields: &Fields<'_>) -> Result<(), &'static Refusal> {
    let mut count = 0usize;
    for coding in fields.all(Name::TransferEncoding).flat_map(members) {
        if coding.eq_ignore_ascii_case(b"chunked") {
            count += 1;
        } else {
            return Err(not_chunked(coding));
        }
    }
    if count == 1 {
        Ok(())
    } else {
        Err(&line::CODING_REPEATED)
    }
}

/// A coding that may exist somewhere is not implemented here; `chunked` with anything added is an attempt to be read in
/// two ways, and what is no token is no coding.
fn not_chunked(coding: &[u8]) -> &'static Refusal {
    let name = coding
        .split(|&byte| byte == b';')
        .next()
        .unwrap_or_default();
    let name = trim(name);
    let is_token = !name.is_empty() && name.iter().all(|&byte| is_token(byte));
    if is_token && !name.eq_ignore_ascii_case(b"chunked") {
        &line::CODING_UNKNOWN
    } else {
        &line::CODING_MALFORMED
    }
}
