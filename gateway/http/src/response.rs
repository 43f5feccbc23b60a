//! Reading response heads (RFC 9112 §4).

use crate::field::FieldTable;
use crate::framing::{Framing, connection, framing};
use crate::head::{HeadLimits, Parsed, Refusal, Response, partial, version, window};
use crate::line::{self, Stop, end_of_line};
use crate::scan;

/// Reads a response head from the start of `bytes`. Every refusal is a 502. A head that [`crate::repair_response`] may
/// put right is `Partial` until it is complete.
#[inline]
pub fn parse_response<'a>(
    bytes: &'a [u8],
    table: &'a mut FieldTable,
    limits: &HeadLimits,
) -> Parsed<Response<'a>> {
    let head = window(bytes, limits);
    match response(head, table, limits) {
        Ok(response) => Parsed::Whole(response),
        Err(Stop::Partial) => bad_gateway(partial(head, limits, &line::HEAD_TOO_LONG)),
        Err(Stop::Refused(refusal)) if may_be_repaired(head, refusal) => {
            bad_gateway(partial(head, limits, &line::HEAD_TOO_LONG))
        }
        Err(Stop::Refused(refusal)) => bad_gateway(Parsed::Refused(*refusal)),
    }
}

/// `HTTP-version SP status-code SP [ reason-phrase ] CRLF` (RFC 9112 §4), and the fields. The space before an absent
/// phrase may be absent too, as it is from many origins.
#[inline]
fn response<'a>(
    head: &'a [u8],
    table: &'a mut FieldTable,
    limits: &HeadLimits,
) -> Result<Response<'a>, Stop> {
    let (version, version_end) = version(head, 0)?;
    let version = version.ok_or(&line::VERSION_MAJOR)?;
    let (status, status_end) = status(head, version_end)?;
    let (phrase_start, phrase_end) = match head.get(status_end) {
        Some(b' ') => (status_end + 1, scan::value_end(head, status_end + 1)),
        _ => (status_end, status_end),
    };
    let fields_start = end_of_line(head, phrase_end, &line::STATUS)?;
    let length = table.read(head, fields_start, limits.fields)?;
    let fields = table.view(head);
    let Framing {
        chunked,
        content_length,
    } = framing(version, &fields)?;
    let announces_body = chunked || content_length.is_some_and(|length| length > 0);
    // RFC 9110 §8.6, RFC 9112 §6.1: where that body would be, the next head is looked for.
    if status < 200 && announces_body {
        return Err((&line::BODY_OF_INTERIM).into());
    }
    Ok(Response {
        length,
        version,
        status,
        reason: head.get(phrase_start..phrase_end).unwrap_or_default(),
        connection: connection(&fields),
        fields,
        chunked,
        content_length,
    })
}

/// A space and three digits, of which the first is not zero; and where they end.
#[inline]
fn status(head: &[u8], at: usize) -> Result<(u16, usize), Stop> {
    let rest = head.get(at..).unwrap_or_default();
    let mut status = 0;
    for (place, &byte) in rest.iter().take(4).enumerate() {
        let fits = match place {
            0 => byte == b' ',
            1 => byte.is_ascii_digit() && byte != b'0',
            _ => byte.is_ascii_digit(),
        };
        if !fits {
            return Err((&line::STATUS).into());
        }
        if place > 0 {
            status = status * 10 + u16::from(byte - b'0');
        }
    }
    if rest.len() < 4 {
        Err(Stop::Partial)
    } else {
        Ok((status, at + 4))
    }
}

/// Whether the fault is one that [`crate::repair_response`] looks at, but for which it needs the rest of the head.
#[cold]
fn may_be_repaired(head: &[u8], refusal: &'static Refusal) -> bool {
    let is_repairable = *refusal == line::BLANK_COLON || *refusal == line::FOLDED;
    is_repairable && memchr::memmem::find(head, b"\r\n\r\n").is_none()
}

#[cold]
fn bad_gateway<T>(parsed: Parsed<T>) -> Parsed<T> {
    match parsed {
        Parsed::Refused(refusal) => Parsed::Refused(Refusal {
            status: 502,
            ..refusal
        }),
        other => other,
    }
}
