//! Heads of answers to clients.

use base::{Memory, Wall, limits};
use cache::Object;
use http::date::{self, DATE_BYTES};
use http::write::{Decimal, reason_phrase};
use http::{Fields, Name, Response, Version};

use crate::client::{Asked, Framing};

/// Bytes that an answer's head takes at most beyond the stored or passed fields and the request id.
pub(crate) const HEAD_ROOM: usize = 384;
/// Bytes that a hit's head takes at most behind its prefix, the request id aside.
pub(crate) const HIT_ROOM: usize = 112;
/// Bytes of a client's own request id that are taken over; longer ones are replaced.
pub(crate) const REQUEST_ID_MAX: usize = 128;

/// Something to write a head into.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// The unwritten rest of a scratch buffer, in which room was reserved for all that is put.
pub(crate) struct Reserved<'a> {
    room: &'a mut [u8],
    used: usize,
}

impl<'a> Reserved<'a> {
    pub(crate) fn new(room: &'a mut [u8]) -> Self {
        Self { room, used: 0 }
    }

    /// Bytes put so far.
    pub(crate) fn used(&self) -> usize {
        self.used
    }
}

impl Sink for Reserved<'_> {
    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        let end = self.used + bytes.len();
        let Some(room) = self.room.get_mut(self.used..end) else {
            debug_assert!(false, "room was reserved");
            return;
        };
        room.copy_from_slice(bytes);
        self.used = end;
    }
}

/// The `Date` of this second, formatted once.
pub(crate) struct DateCache {
    at: Wall,
    text: [u8; DATE_BYTES],
}

impl DateCache {
    pub(crate) fn new() -> Self {
        Self {
            at: Wall(0),
            text: date::format(Wall(0)),
        }
    }

    pub(crate) fn at(&mut self, now: Wall) -> &[u8; DATE_BYTES] {
        if self.at != now {
            self.at = now;
            self.text = date::format(now);
        }
        &self.text
    }
}

/// How an answer that is not a hit was come by, as `Cache-Status` tells it (RFC 9211 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// `fwd`
    pub(crate) why: &'static str,
    pub(crate) stored: bool,
    pub(crate) collapsed: bool,
    pub(crate) detail: Option<&'static str>,
}

impl Told {
    pub(crate) fn forwarded(why: &'static str, detail: Option<&'static str>) -> Self {
        Self {
            why,
            stored: false,
            collapsed: false,
            detail,
        }
    }
}

/// The part of a hit's head that is the same every time: up to the number that follows `ttl=`.
pub(crate) fn hit_prefix<M: Memory>(object: &Object<M>) -> Vec<u8> {
    let mut out = Vec::with_capacity(object.head.fields.len() + HEAD_ROOM);
    status_line(&mut out, object.head.status, b"");
    out.put(&object.head.fields);
    out.put(b"Via: 1.1 ultragate\r\n");
    if let Some(length) = object.body.length()
        && says_length(object.head.status)
    {
        length_field(&mut out, length);
    }
    out.put(b"Cache-Status: ultragate; hit; ttl=");
    out
}

/// The head of a hit behind its prefix.
#[inline]
pub(crate) fn hit_head(
    out: &mut impl Sink,
    prefix: &[u8],
    age: u64,
    ttl: u64,
    asked: &Asked,
    request_id: &[u8],
) {
    out.put(prefix);
    out.put(Decimal::new(ttl).bytes());
    out.put(b"\r\nAge: ");
    out.put(Decimal::new(age).bytes());
    out.put(b"\r\nX-Request-Id: ");
    out.put(request_id);
    out.put(b"\r\n");
    end(out, asked, Framing::Length);
}

/// The head of a stored answer that is not a hit: the status line, its fields, then what is ours.
pub(crate) fn stored_head<M: Memory>(
    out: &mut impl Sink,
    object: &Object<M>,
    length: Option<u64>,
    age: u64,
    told: Told,
    asked: &Asked,
    request_id: &[u8],
) -> Framing {
    status_line(out, object.head.status, b"");
    out.put(&object.head.fields);
    out.put(b"Via: 1.1 ultragate\r\nAge: ");
    out.put(Decimal::new(age).bytes());
    out.put(b"\r\n");
    let framing = match says_length(object.head.status) {
        true => framing_fields(out, length, asked),
        false => Framing::Length,
    };
    ours(out, told, request_id);
    end(out, asked, framing);
    framing
}

/// Whether an answer of this status may tell a length (RFC 9110 §8.6).
pub(crate) fn says_length(status: u16) -> bool {
    status != 204
}

/// The head of an origin's answer passed on.
pub(crate) fn passed_head(
    out: &mut Vec<u8>,
    response: &Response<'_>,
    length: PassedLength,
    date: &[u8],
    told: Told,
    asked: &Asked,
    request_id: &[u8],
) -> Framing {
    status_line(out, response.status, response.reason);
    passed_fields(out, &response.fields);
    if !response.fields.has(Name::Date) {
        field(out, b"Date", date);
    }
    out.put(match response.version {
        Version::Http11 => b"Via: 1.1 ultragate\r\n",
        Version::Http10 => b"Via: 1.0 ultragate\r\n",
    });
    let framing = match length {
        PassedLength::NoBody(declared) => {
            if let Some(declared) = declared {
                length_field(out, declared);
            }
            Framing::Length
        }
        PassedLength::Body(length) => framing_fields(out, length, asked),
    };
    ours(out, told, request_id);
    end(out, asked, framing);
    framing
}

/// What an origin's answer says of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PassedLength {
    /// None follows (HEAD, 204, 304); the length it would have, if declared and allowed.
    NoBody(Option<u64>),
    /// One follows, of a known length or not.
    Body(Option<u64>),
}

/// An interim answer passed on (RFC 9110 §15.2): no framing, no fields of ours.
pub(crate) fn interim_head(out: &mut Vec<u8>, response: &Response<'_>) {
    status_line(out, response.status, response.reason);
    passed_fields(out, &response.fields);
    out.put(b"\r\n");
}

/// The 101 of an origin: its upgrade is the client's (RFC 9110 §7.8).
pub(crate) fn switching_head(out: &mut Vec<u8>, response: &Response<'_>, request_id: &[u8]) {
    status_line(out, response.status, response.reason);
    passed_fields(out, &response.fields);
    for value in response.fields.all(Name::Upgrade) {
        field(out, b"Upgrade", value);
    }
    field(out, b"X-Request-Id", request_id);
    out.put(b"Via: 1.1 ultragate\r\nConnection: upgrade\r\n\r\n");
}

/// A whole answer of the gateway's own.
pub(crate) struct Own<'a> {
    pub(crate) status: u16,
    pub(crate) content_type: &'a [u8],
    pub(crate) body: &'a [u8],
    pub(crate) told: Option<Told>,
}

/// Writes an answer of the gateway's own. `no-store`: it speaks of this moment.
pub(crate) fn own(
    out: &mut impl Sink,
    answer: &Own<'_>,
    date: &[u8],
    asked: &Asked,
    request_id: &[u8],
) {
    status_line(out, answer.status, b"");
    field(out, b"Date", date);
    field(out, b"Content-Type", answer.content_type);
    out.put(b"Cache-Control: no-store\r\n");
    if matches!(answer.status, 429 | 503) {
        out.put(b"Retry-After: 1\r\n");
    }
    length_field(out, answer.body.len() as u64);
    match answer.told {
        Some(told) => ours(out, told, request_id),
        None => field(out, b"X-Request-Id", request_id),
    }
    end(out, asked, Framing::Length);
    if !asked.head_only {
        out.put(answer.body);
    }
}

/// Bytes that [`own`] writes at most.
pub(crate) fn own_room(answer: &Own<'_>) -> usize {
    HEAD_ROOM + REQUEST_ID_MAX + answer.body.len()
}

/// The body of an error answer.
pub(crate) fn error_body(status: u16, reason: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(64);
    body.put(Decimal::new(u64::from(status)).bytes());
    body.put(b" ");
    body.put(reason_phrase(status).as_bytes());
    body.put(b": ");
    body.put(reason.as_bytes());
    body.put(b"\n");
    body
}

/// Whether a field belongs to one connection, or to the framing we write ourselves, and does not pass
/// (RFC 9110 §7.6.1).
pub(crate) fn stays(name: Name) -> bool {
    matches!(
        name,
        Name::Connection
            | Name::KeepAlive
            | Name::ProxyConnection
            | Name::ProxyAuthenticate
            | Name::ProxyAuthorization
            | Name::ProxyAuthenticationInfo
            | Name::Te
            | Name::TransferEncoding
            | Name::Upgrade
            | Name::ContentLength
            | Name::Http2Settings
    )
}

pub(crate) fn field(out: &mut impl Sink, name: &[u8], value: &[u8]) {
    out.put(name);
    out.put(b": ");
    out.put(value);
    out.put(b"\r\n");
}

fn passed_fields(out: &mut Vec<u8>, fields: &Fields<'_>) {
    for (name, written, value) in fields.iter() {
        if stays(name) || name == Name::XRequestId || fields.is_listed(written) {
            continue;
        }
        field(out, written, value);
    }
}

#[inline]
fn status_line(out: &mut impl Sink, status: u16, reason: &[u8]) {
    if status == 200 && (reason.is_empty() || reason == b"OK") {
        return out.put(b"HTTP/1.1 200 OK\r\n");
    }
    out.put(b"HTTP/1.1 ");
    out.put(Decimal::new(u64::from(status)).bytes());
    out.put(b" ");
    if reason.is_empty() {
        out.put(reason_phrase(status).as_bytes());
    } else {
        out.put(reason);
    }
    out.put(b"\r\n");
}

/// The field that tells where the body ends, and how that is. Statuses that forbid a body never come here with one.
fn framing_fields(out: &mut impl Sink, length: Option<u64>, asked: &Asked) -> Framing {
    match length {
        Some(length) => {
            length_field(out, length);
            Framing::Length
        }
        None if asked.head_only => Framing::Length,
        None if asked.version == Version::Http11 => {
            out.put(b"Transfer-Encoding: chunked\r\n");
            Framing::Chunked
        }
        None => Framing::Close,
    }
}

#[inline]
fn length_field(out: &mut impl Sink, length: u64) {
    out.put(b"Content-Length: ");
    out.put(Decimal::new(length).bytes());
    out.put(b"\r\n");
}

#[inline]
fn ours(out: &mut impl Sink, told: Told, request_id: &[u8]) {
    out.put(b"Cache-Status: ultragate; fwd=");
    out.put(told.why.as_bytes());
    if told.stored {
        out.put(b"; stored");
    }
    if told.collapsed {
        out.put(b"; collapsed");
    }
    if let Some(detail) = told.detail {
        out.put(b"; detail=");
        out.put(detail.as_bytes());
    }
    out.put(b"\r\nX-Request-Id: ");
    out.put(request_id);
    out.put(b"\r\n");
}

#[inline]
fn end(out: &mut impl Sink, asked: &Asked, framing: Framing) {
    if !asked.keep_alive || framing == Framing::Close {
        out.put(b"Connection: close\r\n\r\n");
    } else if asked.version == Version::Http10 {
        out.put(b"Connection: keep-alive\r\n\r\n");
    } else {
        out.put(b"\r\n");
    }
}

const _: () =
    assert!(HEAD_ROOM + REQUEST_ID_MAX + limits::COPY_BODY_BYTES_MAX < limits::SCRATCH_BYTES);
