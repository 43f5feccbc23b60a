//! The fields of an answer as they are stored.

use base::Wall;
use http::{Name, Response, date};

/// The field lines to store of an answer, `Name: value\r\n` each, names and values byte for byte and in order. Left out
/// are hop-by-hop fields and what `Connection` lists (RFC 9111 §3.1, RFC 9110 §7.6.1), framing fields (the body's length
/// is known anew with every answer), and `Age` and `X-Request-Id` (of every answer's own). An answer without `Date` gets that
/// of its arrival, `now` (RFC 9110 §6.6.1).
#[must_use]
pub fn head_fields(response: &Response<'_>, now: Wall) -> Vec<u8> {
    let mut lines = Vec::with_capacity(response.length);
    let mut dated = false;
    for (name, written, value) in response.fields.iter() {
        if is_left_out(name) || response.fields.is_listed(written) {
            continue;
        }
        dated |= name == Name::Date;
        push_line(&mut lines, written, value);
    }
    if !dated {
        push_line(&mut lines, b"Date", &date::format(now));
    }
    lines
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

fn push_line(lines: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        lines.extend_from_slice(part);
    }
}
