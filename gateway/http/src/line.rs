//! Lines of a head: what ends them, what a field line is (RFC 9112 §2.2, §5), and every reason for which bytes are
//! refused.

use crate::field::{Field, Name};
use crate::head::Refusal;
use crate::scan;

/// Why reading ends before the head does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    /// The bytes end first.
    Partial,
    /// They are no message.
    Refused(&'static Refusal),
}

impl From<&'static Refusal> for Stop {
    fn from(refusal: &'static Refusal) -> Self {
        Self::Refused(refusal)
    }
}

macro_rules! refusals {
    ($($name:ident = $status:literal $reason:literal;)*) => {
        $(pub(crate) static $name: Refusal = Refusal { status: $status, reason: $reason };)*
    };
}

refusals! {
    BARE_CR = 400 "carriage return without line feed";
    BARE_LF = 400 "line feed without carriage return";
    LINE_END = 400 "line does not end in CRLF";
    METHOD = 400 "method is no token";
    TARGET = 400 "malformed request target";
    TARGET_BYTE = 400 "forbidden byte in request target";
    TARGET_FORM = 400 "request target in no known form";
    TARGET_TOO_LONG = 414 "request target too long";
    REQUEST_LINE_TOO_LONG = 414 "request line too long";
    VERSION = 400 "malformed HTTP version";
    VERSION_MAJOR = 505 "HTTP version other than 1";
    CONNECT = 501 "CONNECT is not offered";
    STATUS = 400 "malformed status code";
    FIELD_NAME = 400 "field name is no token";
    FIELD_VALUE = 400 "control byte in field value";
    BLANK_FIRST = 400 "white space before the first field";
    FOLDED = 400 "folded field line";
    BLANK_COLON = 400 "white space between field name and colon";
    HEAD_TOO_LONG = 431 "head too long";
    FIELDS_TOO_MANY = 431 "too many fields";
    HOST_MISSING = 400 "Host is missing";
    HOST_REPEATED = 400 "Host more than once";
    HOST_MALFORMED = 400 "malformed Host";
    LENGTH_MALFORMED = 400 "malformed Content-Length";
    LENGTHS_DIFFER = 400 "Content-Length values differ";
    LENGTH_AND_CODING = 400 "Content-Length together with Transfer-Encoding";
    CODING_MALFORMED = 400 "malformed Transfer-Encoding";
    CODING_REPEATED = 400 "chunked more than once";
    CODING_UNKNOWN = 501 "transfer coding other than chunked";
    CODING_IN_HTTP10 = 400 "Transfer-Encoding in HTTP/1.0";
    BODY_OF_INTERIM = 400 "interim response announces a body";
    EXPECTATION = 417 "expectation other than 100-continue";
    CHUNK_SIZE = 400 "malformed chunk size";
    CHUNK_LINE = 400 "malformed chunk extension";
    CHUNK_LINE_TOO_LONG = 400 "chunk-size line too long";
    CHUNK_END = 400 "chunk data longer than its size";
    TRAILER = 400 "malformed trailer field";
    TRAILERS_TOO_LONG = 400 "trailer section too long";
    BODY_REFUSED = 400 "body was refused before";
}

/// Passes over the CRLF at `at`; `otherwise` is the verdict on any byte that ends no line at all.
#[inline]
pub(crate) fn end_of_line(
    bytes: &[u8],
    at: usize,
    otherwise: &'static Refusal,
) -> Result<usize, Stop> {
    match bytes.get(at) {
        None => Err(Stop::Partial),
        Some(b'\r') => match bytes.get(at + 1) {
            None => Err(Stop::Partial),
            Some(b'\n') => Ok(at + 2),
            Some(_) => Err((&BARE_CR).into()),
        },
        Some(b'\n') => Err((&BARE_LF).into()),
        Some(_) => Err(otherwise.into()),
    }
}

/// Reads the field line at `at`, and where the next line begins.
#[inline]
pub(crate) fn field_line(bytes: &[u8], at: usize) -> Result<(Field, usize), Stop> {
    let colon = scan::token_end(bytes, at);
    match bytes.get(colon) {
        None => return Err(Stop::Partial),
        Some(b':') if colon > at => {}
        Some(&byte) => return Err(no_name(byte, colon == at)),
    }
    let start = scan::blank_end(bytes, colon + 1);
    let stop = scan::value_end(bytes, start);
    let next = end_of_line(bytes, stop, &FIELD_VALUE)?;
    let value = scan::trim_end(bytes.get(start..stop).unwrap_or_default());
    let field = Field {
        name: Name::of(bytes.get(at..colon).unwrap_or_default()),
        name_at: (offset(at), offset(colon)),
        value_at: (offset(start), offset(start + value.len())),
    };
    Ok((field, next))
}

#[cold]
fn no_name(byte: u8, is_empty: bool) -> Stop {
    let refusal = match byte {
        b' ' | b'\t' if is_empty => &FOLDED,
        b' ' | b'\t' => &BLANK_COLON,
        b'\n' => &BARE_LF,
        _ => &FIELD_NAME,
    };
    refusal.into()
}

/// Nothing is lost: no head is longer than [`crate::head::HEAD_BYTES_CEILING`], no trailer section than its own bound.
#[inline]
fn offset(at: usize) -> u32 {
    at as u32
}
