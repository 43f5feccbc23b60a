//! Reading request heads (RFC 9112 §3, RFC 9110 §7).

use crate::authority::is_authority;
use crate::body::BodyLength;
use crate::field::{FieldTable, Fields, Name};
use crate::framing::{Framing, connection, framing};
use crate::head::{
    HeadLimits, Method, Parsed, Refusal, Request, Target, Version, partial, version, window,
};
use crate::line::{self, Stop, end_of_line};
use crate::scan;

/// Reads a request head from the start of `bytes`. One empty line before it is skipped (RFC 9112 §2.2).
///
/// The verdict on bytes never changes when more arrive: `Partial` aside, every longer input gets the same one.
#[inline]
pub fn parse_request<'a>(
    bytes: &'a [u8],
    table: &'a mut FieldTable,
    limits: &HeadLimits,
) -> Parsed<Request<'a>> {
    let head = window(bytes, limits);
    let line = match request_line(head, limits) {
        Ok(line) => line,
        Err(Stop::Partial) => return partial(head, limits, &line::REQUEST_LINE_TOO_LONG),
        Err(Stop::Refused(refusal)) => return Parsed::Refused(*refusal),
    };
    let length = match table.read(head, line.length, limits.fields) {
        Ok(length) => length,
        Err(Stop::Partial) => return partial(head, limits, &line::HEAD_TOO_LONG),
        Err(Stop::Refused(refusal)) => return Parsed::Refused(*refusal),
    };
    match request(line, length, table.view(head)) {
        Ok(request) => Parsed::Whole(request),
        Err(refusal) => Parsed::Refused(*refusal),
    }
}

/// A request line, its target not yet judged.
struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: Version,
    /// Bytes up to the first field line.
    length: usize,
}

/// `method SP request-target SP HTTP-version CRLF` (RFC 9112 §3).
#[inline]
fn request_line<'a>(head: &'a [u8], limits: &HeadLimits) -> Result<RequestLine<'a>, Stop> {
    let start = match head.first() {
        Some(b'\r') => end_of_line(head, 0, &line::METHOD)?,
        _ => 0,
    };
    let method_end = scan::token_end(head, start);
    match head.get(method_end) {
        None => return Err(Stop::Partial),
        Some(b' ') if method_end > start => {}
        Some(b'\n') => return Err((&line::BARE_LF).into()),
        Some(_) => return Err((&line::METHOD).into()),
    }
    let target_start = method_end + 1;
    let target_end = target_end(head, target_start, limits.target_bytes)?;
    let (version, version_end) = version(head, target_end + 1)?;
    let length = end_of_line(head, version_end, &line::VERSION)?;
    Ok(RequestLine {
        method: head.get(start..method_end).unwrap_or_default(),
        target: head.get(target_start..target_end).unwrap_or_default(),
        version: version.ok_or(&line::VERSION_MAJOR)?,
        length,
    })
}

/// The space that ends the target. No byte beyond the bound is looked at, but for that space.
#[inline]
fn target_end(head: &[u8], start: usize, bound: usize) -> Result<usize, Stop> {
    let bound = start.saturating_add(bound).saturating_add(1);
    let head = head.get(..bound).unwrap_or(head);
    let end = scan::target_end(head, start);
    match head.get(end) {
        None if head.len() == bound => Err((&line::TARGET_TOO_LONG).into()),
        None => Err(Stop::Partial),
        Some(b' ') if end > start => Ok(end),
        Some(b' ') => Err((&line::TARGET).into()),
        Some(_) => Err((&line::TARGET_BYTE).into()),
    }
}

/// Judges what only the whole head tells.
#[inline]
fn request<'a>(
    line: RequestLine<'a>,
    length: usize,
    fields: Fields<'a>,
) -> Result<Request<'a>, &'static Refusal> {
    let method = Method::of(line.method);
    let host = host(line.version, &fields)?;
    let (target, path_and_query, authority) = target(method, line.target)?;
    let framing = framing(line.version, &fields)?;
    let mut connection = connection(&fields);
    // RFC 9110 §7.8
    connection.upgrade &= line.version == Version::Http11;
    Ok(Request {
        length,
        method,
        method_bytes: line.method,
        version: line.version,
        target,
        path_and_query,
        host: authority.unwrap_or(host),
        body: request_body(framing),
        connection,
        expects_continue: expects_continue(line.version, &fields)?,
        fields,
    })
}

/// The one Host that every HTTP/1.1 request has, possibly empty (RFC 9112 §3.2).
#[inline]
fn host<'a>(version: Version, fields: &Fields<'a>) -> Result<&'a [u8], &'static Refusal> {
    if fields.is_repeated(Name::Host) {
        return Err(&line::HOST_REPEATED);
    }
    match fields.first(Name::Host) {
        Some(host) if host.is_empty() || is_authority(host) => Ok(host),
        Some(_) => Err(&line::HOST_MALFORMED),
        None if version == Version::Http10 => Ok(b""),
        None => Err(&line::HOST_MISSING),
    }
}

/// A target's form, its path and query, and the authority of an absolute one (RFC 9112 §3.2).
type ReadTarget<'a> = (Target, &'a [u8], Option<&'a [u8]>);

#[inline]
fn target(method: Method, text: &[u8]) -> Result<ReadTarget<'_>, &'static Refusal> {
    match (method, text) {
        (Method::Connect, _) => Err(&line::CONNECT),
        (_, [b'/', ..]) => Ok((Target::Path, text, None)),
        (Method::Options, b"*") => Ok((Target::Asterisk, text, None)),
        _ => absolute_target(method, text),
    }
}

/// `http://authority/path?query`. A query without a path would have to be forwarded with a slash that is not among the
/// bytes received, and is refused. OPTIONS without a path is about the server (RFC 9112 §3.2.4).
#[cold]
fn absolute_target(method: Method, text: &[u8]) -> Result<ReadTarget<'_>, &'static Refusal> {
    let rest = [b"http://".as_slice(), b"https://"]
        .into_iter()
        .find_map(|scheme| {
            let (start, rest) = text.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        })
        .ok_or(&line::TARGET_FORM)?;
    let end = rest
        .iter()
        .position(|&byte| byte == b'/' || byte == b'?')
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !is_authority(authority) || path.first() == Some(&b'?') {
        return Err(&line::TARGET);
    }
    Ok(match (method, path) {
        (Method::Options, []) => (Target::Asterisk, b"*", Some(authority)),
        (_, []) => (Target::Path, b"/", Some(authority)),
        _ => (Target::Path, path, Some(authority)),
    })
}

#[inline]
fn request_body(framing: Framing) -> BodyLength {
    match framing.content_length {
        _ if framing.chunked => BodyLength::Chunked,
        Some(length) => BodyLength::Length(length),
        None => BodyLength::Empty,
    }
}

/// An HTTP/1.0 client's wish for a 100 is ignored, for it cannot read one (RFC 9110 §10.1.1).
#[inline]
fn expects_continue(version: Version, fields: &Fields<'_>) -> Result<bool, &'static Refusal> {
    if !fields.has(Name::Expect) {
        return Ok(false);
    }
    let is_known = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
    if !fields.all(Name::Expect).all(is_known) {
        return Err(&line::EXPECTATION);
    }
    Ok(version == Version::Http11)
}
