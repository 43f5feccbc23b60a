//! Request and response heads (RFC 9112 §2-§6).

use base::limits::{FIELDS_MAX, HEAD_BYTES_DEFAULT, TARGET_BYTES_MAX};

use crate::body::BodyLength;
use crate::field::Fields;
use crate::line::{self, Stop};

/// What came of reading a head from the bytes received so far.
#[derive(Debug)]
pub enum Parsed<T> {
    /// The head is complete.
    Whole(T),
    /// More bytes are needed; none was wrong so far and no bound is passed.
    Partial,
    /// The bytes are no message: answer with the status and end the connection.
    Refused(Refusal),
}

/// Why bytes were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status to answer with (towards a client; from an origin it is a 502).
    pub status: u16,
    /// What was wrong, for the log and the answer's body; one of a fixed set.
    pub reason: &'static str,
}

/// Bounds of a head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head; beyond: 431 (414 while the request line is not complete). Above
    /// [`HEAD_BYTES_CEILING`] it counts as that.
    pub head_bytes: usize,
    /// Bytes of the target; beyond: 414.
    pub target_bytes: usize,
    /// Fields; beyond: 431. Above [`FIELDS_MAX`] it counts as that.
    pub fields: usize,
}

/// Bytes of a head, whatever [`HeadLimits`] say: offsets into it are 32 bits wide.
pub const HEAD_BYTES_CEILING: usize = 1 << 30;

/// HTTP/1.0 or HTTP/1.1 (a higher minor version is read as 1.1, RFC 9110 §2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// A request method (RFC 9110 §9). Case-sensitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Patch,
    Options,
    Trace,
    Connect,
    /// Any other token; its bytes are in [`Request::method_bytes`].
    Other,
}

/// What a request asks for (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Origin-form or absolute-form: [`Request::path_and_query`] says what.
    Path,
    /// `*`, with OPTIONS only.
    Asterisk,
}

/// What the `Connection` field asks for, over all its lines (RFC 9110 §7.6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// `close`
    pub close: bool,
    /// `keep-alive`
    pub keep_alive: bool,
    /// `upgrade`; never from an HTTP/1.0 client (RFC 9110 §7.8).
    pub upgrade: bool,
    /// Other options: fields of those names are hop-by-hop and must not pass; see [`Fields::is_listed`].
    pub others: bool,
}

/// A request head, checked: framing, Host, target and fields obey RFC 9112.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Bytes of the head, a skipped empty line before it and the empty line after it included.
    pub length: usize,
    /// The method.
    pub method: Method,
    /// The method as written.
    pub method_bytes: &'a [u8],
    /// The version.
    pub version: Version,
    /// The target's form.
    pub target: Target,
    /// Path and query byte for byte (`/` for an absolute-form without path; `*` for the asterisk).
    pub path_and_query: &'a [u8],
    /// The authority: from an absolute-form target, else the Host field; empty where HTTP/1.0 sent none. As written.
    pub host: &'a [u8],
    /// How long the body is.
    pub body: BodyLength,
    /// Connection options.
    pub connection: Connection,
    /// Whether an HTTP/1.1 client sent `Expect: 100-continue` (any other expectation was refused with 417).
    pub expects_continue: bool,
    /// All fields, in order.
    pub fields: Fields<'a>,
}

/// A response head, checked.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// Bytes of the head, the empty line after it included.
    pub length: usize,
    /// The version.
    pub version: Version,
    /// The status, 100 to 999.
    pub status: u16,
    /// The reason phrase as written; may be empty.
    pub reason: &'a [u8],
    /// Connection options.
    pub connection: Connection,
    /// All fields, in order.
    pub fields: Fields<'a>,
    pub(crate) chunked: bool,
    pub(crate) content_length: Option<u64>,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            head_bytes: HEAD_BYTES_DEFAULT,
            target_bytes: TARGET_BYTES_MAX,
            fields: FIELDS_MAX,
        }
    }
}

impl Method {
    /// Whether it asks for no change (RFC 9110 §9.2.1). Unknown methods may.
    #[must_use]
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace)
    }

    /// Whether doing it twice is doing it once (RFC 9110 §9.2.2), so that it may be repeated on another connection.
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Self::Put | Self::Delete)
    }

    #[inline]
    pub(crate) fn of(text: &[u8]) -> Self {
        match text {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"PATCH" => Self::Patch,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}

impl Request<'_> {
    /// Whether the client's connection may carry another request (RFC 9112 §9.3).
    #[inline]
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        keeps_alive(self.version, self.connection)
    }
}

impl Response<'_> {
    /// How long the body is, given the request's method (RFC 9112 §6.3): none for HEAD, 1xx, 204, 304.
    #[inline]
    #[must_use]
    pub fn body(&self, request: Method) -> BodyLength {
        match (request, self.status) {
            (Method::Head, _) | (_, 100..200 | 204 | 304) => BodyLength::Empty,
            _ if self.chunked => BodyLength::Chunked,
            _ => self
                .content_length
                .map_or(BodyLength::UntilClose, BodyLength::Length),
        }
    }

    /// The declared Content-Length, also where there is no body (HEAD).
    #[inline]
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Whether the origin's connection can carry another request after this answer, once its body was read to an end
    /// that is not the connection's. Never after 101, nor after a 204 that announces a body (RFC 9110 §8.6, RFC 9112
    /// §6.1): it may come yet, where the next answer is looked for.
    #[inline]
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        let goes_on = match self.status {
            101 => false,
            204 => !self.chunked && self.content_length.is_none_or(|length| length == 0),
            _ => true,
        };
        goes_on && keeps_alive(self.version, self.connection)
    }
}

#[inline]
fn keeps_alive(version: Version, connection: Connection) -> bool {
    match version {
        Version::Http11 => !connection.close,
        Version::Http10 => connection.keep_alive && !connection.close,
    }
}

/// The bytes that may belong to the head: nothing beyond the bound is looked at, so a verdict does not depend on it.
#[inline]
pub(crate) fn window<'a>(bytes: &'a [u8], limits: &HeadLimits) -> &'a [u8] {
    let bound = limits.head_bytes.min(HEAD_BYTES_CEILING);
    bytes.get(..bound).unwrap_or(bytes)
}

/// A head that fills the window without ending is too long.
#[cold]
pub(crate) fn partial<T>(
    head: &[u8],
    limits: &HeadLimits,
    too_long: &'static Refusal,
) -> Parsed<T> {
    if head.len() < limits.head_bytes.min(HEAD_BYTES_CEILING) {
        Parsed::Partial
    } else {
        Parsed::Refused(*too_long)
    }
}

/// The version at `at` and where it ends (RFC 9112 §2.3); no version where the major one is not 1.
#[inline]
pub(crate) fn version(head: &[u8], at: usize) -> Result<(Option<Version>, usize), Stop> {
    const SHAPE: &[u8; 8] = b"HTTP/1.1";
    let rest = head.get(at..).unwrap_or_default();
    if rest.first_chunk() == Some(SHAPE) {
        return Ok((Some(Version::Http11), at + SHAPE.len()));
    }
    for (&byte, &shape) in rest.iter().zip(SHAPE) {
        let fits = if shape == b'1' {
            byte.is_ascii_digit()
        } else {
            byte == shape
        };
        if !fits {
            return Err((&line::VERSION).into());
        }
    }
    let version = match rest.first_chunk::<8>() {
        None => return Err(Stop::Partial),
        Some(b"HTTP/1.0") => Some(Version::Http10),
        Some([_, _, _, _, _, b'1', ..]) => Some(Version::Http11),
        Some(_) => None,
    };
    Ok((version, at + SHAPE.len()))
}
