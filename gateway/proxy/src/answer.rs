//! Heads of answers to clients.

use std::collections::VecDeque;
use std::ops::Range;

use base::{Memory, Wall, limits};
use cache::Object;
use cache::policy;
use http::content_range::ContentRange;
use http::date::{self, DATE_BYTES};
use http::write::{Decimal, reason_phrase};
use http::{Fields, Name, Response, Version};

use crate::client::{Asked, Framing};
use crate::present::Served;

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
    /// When the second began.
    at: Wall,
    text: [u8; DATE_BYTES],
}

impl DateCache {
    pub(crate) fn new() -> Self {
        Self {
            at: Wall::from_secs(0),
            text: date::format(Wall::from_secs(0)),
        }
    }

    pub(crate) fn at(&mut self, now: Wall) -> &[u8; DATE_BYTES] {
        if now.0.wrapping_sub(self.at.0) >= 1_000 {
            self.at = Wall::from_secs(now.as_secs());
            self.text = date::format(now);
        }
        &self.text
    }
}

/// How an answer was come by, as `Cache-Status` tells it (RFC 9211 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// `fwd`; none of a hit.
    pub(crate) forwarded: Option<&'static str>,
    /// `fwd-status`, where it is not that of the answer.
    pub(crate) forward_status: Option<u16>,
    pub(crate) stored: bool,
    pub(crate) collapsed: bool,
    pub(crate) detail: Option<&'static str>,
}

impl Told {
    pub(crate) fn forwarded(why: &'static str, detail: Option<&'static str>) -> Self {
        Self {
            forwarded: Some(why),
            forward_status: None,
            stored: false,
            collapsed: false,
            detail,
        }
    }

    pub(crate) fn hit(served: Served) -> Self {
        Self {
            forwarded: None,
            ..Self::forwarded("", served.detail())
        }
    }
}

/// How old a stored answer is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) age: u64,
    pub(crate) fresh_for: u64,
    /// Why it serves although it is stale.
    pub(crate) stale: Option<&'static str>,
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
    life: Life,
    asked: &Asked,
    request_id: &[u8],
) {
    out.put(prefix);
    ttl(out, life.age, life.fresh_for);
    if let Some(stale) = life.stale {
        out.put(b"; detail=");
        out.put(stale.as_bytes());
    }
    out.put(b"\r\nAge: ");
    out.put(Decimal::new(life.age).bytes());
    out.put(b"\r\nX-Request-Id: ");
    out.put(request_id);
    out.put(b"\r\n");
    end(out, asked, Framing::Length);
}

/// Seconds of freshness left, less than none of what is stale (RFC 9211 §2.7).
#[inline]
fn ttl(out: &mut impl Sink, age: u64, fresh_for: u64) {
    if age > fresh_for {
        out.put(b"-");
    }
    out.put(Decimal::new(fresh_for.abs_diff(age)).bytes());
}

/// The head of a stored answer that is not a plain hit: the status line, its fields, then what is ours.
pub(crate) fn stored_head<M: Memory>(
    out: &mut impl Sink,
    object: &Object<M>,
    now: Wall,
    told: Told,
    asked: &Asked,
    request_id: &[u8],
) -> Framing {
    status_line(out, object.head.status, b"");
    out.put(&object.head.fields);
    let framing = match says_length(object.head.status) {
        true => framing_fields(out, object.body.length(), asked),
        false => Framing::Length,
    };
    of_store(out, object, now, told, request_id);
    end(out, asked, framing);
    framing
}

/// What is ours in the head of a stored answer.
fn of_store<M: Memory>(
    out: &mut impl Sink,
    object: &Object<M>,
    now: Wall,
    told: Told,
    request_id: &[u8],
) {
    let lifetime = &object.terms.lifetime;
    let age = lifetime.age(now);
    out.put(b"Via: 1.1 ultragate\r\nAge: ");
    out.put(Decimal::new(age).bytes());
    out.put(b"\r\n");
    ours(out, told, Some((age, lifetime.fresh_for)), request_id);
}

/// 304 for a stored answer (RFC 9110 §15.4.5).
pub(crate) fn not_modified_head<M: Memory>(
    put: &mut dyn FnMut(&[u8]),
    object: &Object<M>,
    now: Wall,
    told: Told,
    asked: &Asked,
    request_id: &[u8],
) {
    let out = &mut Put(put);
    status_line(out, 304, b"");
    for (of, name, value) in policy::stored_lines(&object.head.fields) {
        if policy::in_not_modified(of, &object.terms) {
            field(out, name, value);
        }
    }
    of_store(out, object, now, told, request_id);
    end(out, asked, Framing::Length);
}

/// A sink behind a pointer.
struct Put<'a>(&'a mut dyn FnMut(&[u8]));

impl Sink for Put<'_> {
    fn put(&mut self, bytes: &[u8]) {
        (self.0)(bytes);
    }
}

/// 416 for a stored answer of `length` bytes (RFC 9110 §15.5.17).
pub(crate) fn unsatisfiable_head<M: Memory>(
    out: &mut Vec<u8>,
    object: &Object<M>,
    length: u64,
    now: Wall,
    told: Told,
    asked: &Asked,
    request_id: &[u8],
) {
    status_line(out, 416, b"");
    if let Some(date) = object.head.field(Name::Date) {
        field(out, b"Date", date);
    }
    let range = ContentRange::Unsatisfied { complete: length };
    field(out, b"Content-Range", range.format().bytes());
    length_field(out, 0);
    of_store(out, object, now, told, request_id);
    end(out, asked, Framing::Length);
}

/// What is the same in the heads of parts.
pub(crate) struct PartHead<'a> {
    pub(crate) now: Wall,
    pub(crate) told: Told,
    pub(crate) asked: &'a Asked,
    pub(crate) id: &'a [u8],
}

/// 206 with one part (RFC 9110 §15.3.7.1).
pub(crate) fn part_head<M: Memory>(
    out: &mut Vec<u8>,
    object: &Object<M>,
    part: &Range<u64>,
    length: Option<u64>,
    about: &PartHead<'_>,
) {
    status_line(out, 206, b"");
    out.put(&object.head.fields);
    field(
        out,
        b"Content-Range",
        content_range(part, length).format().bytes(),
    );
    length_field(out, part.end - part.start);
    of_store(out, object, about.now, about.told, about.id);
    end(out, about.asked, Framing::Length);
}

/// 206 with several parts (RFC 9110 §15.3.7.2), whose bytes are `total`.
pub(crate) fn multipart_head<M: Memory>(
    out: &mut Vec<u8>,
    object: &Object<M>,
    total: u64,
    about: &PartHead<'_>,
) {
    status_line(out, 206, b"");
    for (of, name, value) in policy::stored_lines(&object.head.fields) {
        if of != Name::ContentType {
            field(out, name, value);
        }
    }
    out.put(b"Content-Type: multipart/byteranges; boundary=");
    out.put(&boundary(about.id));
    out.put(b"\r\n");
    length_field(out, total);
    of_store(out, object, about.now, about.told, about.id);
    end(out, about.asked, Framing::Length);
}

/// The pieces of a multipart body: what goes before each part, and behind the last. The stored body begins at `first`.
pub(crate) fn multipart(
    parts: &[Range<u64>],
    first: u64,
    length: Option<u64>,
    content_type: Option<&[u8]>,
    id: &[u8],
) -> VecDeque<(Box<[u8]>, Range<u64>)> {
    let boundary = boundary(id);
    let mut pieces = VecDeque::with_capacity(parts.len() + 1);
    for part in parts {
        let mut before = Vec::with_capacity(128);
        before.put(b"\r\n--");
        before.put(&boundary);
        before.put(b"\r\n");
        if let Some(content_type) = content_type {
            field(&mut before, b"Content-Type", content_type);
        }
        field(
            &mut before,
            b"Content-Range",
            content_range(part, length).format().bytes(),
        );
        before.put(b"\r\n");
        let range = part.start - first..part.end - first;
        pieces.push_back((before.into_boxed_slice(), range));
    }
    let mut end = Vec::with_capacity(boundary.len() + 8);
    end.put(b"\r\n--");
    end.put(&boundary);
    end.put(b"--\r\n");
    pieces.push_back((end.into_boxed_slice(), 0..0));
    pieces
}

/// Differs from request to request, so that no stored body holds it but by design of who chose the request's id, who gets
/// it himself.
fn boundary(id: &[u8]) -> Vec<u8> {
    let mut boundary = b"ultragate-".to_vec();
    let token = id.iter().filter(|byte| byte.is_ascii_alphanumeric());
    boundary.extend(token.take(48));
    boundary
}

fn content_range(part: &Range<u64>, length: Option<u64>) -> ContentRange {
    ContentRange::Satisfied {
        first: part.start,
        last: part.end.saturating_sub(1),
        complete: length,
    }
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
    ours(out, told, None, request_id);
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
        Some(told) => ours(out, told, None, request_id),
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

/// `life` is the age and the freshness of what the store has of it.
fn ours(out: &mut impl Sink, told: Told, life: Option<(u64, u64)>, request_id: &[u8]) {
    match told.forwarded {
        Some(why) => {
            out.put(b"Cache-Status: ultragate; fwd=");
            out.put(why.as_bytes());
        }
        None => out.put(b"Cache-Status: ultragate; hit"),
    }
    if let Some(status) = told.forward_status {
        out.put(b"; fwd-status=");
        out.put(Decimal::new(u64::from(status)).bytes());
    }
    if told.stored {
        out.put(b"; stored");
    }
    if told.collapsed {
        out.put(b"; collapsed");
    }
    if let Some((age, fresh_for)) = life {
        out.put(b"; ttl=");
        ttl(out, age, fresh_for);
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
