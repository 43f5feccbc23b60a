//! Fields of a head: where they lie, and which of them the gateway knows by name.

use base::limits::FIELDS_MAX;

use crate::line::{self, Stop, end_of_line, field_line};
use crate::scan;

/// Field names that the gateway acts on; every other is [`Name::Other`]. The discriminant is a bit in a set of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // each is the field of that name
pub enum Name {
    /// Any name not listed here.
    Other = 0,
    Accept,
    AcceptEncoding,
    AcceptLanguage,
    Age,
    Authorization,
    CacheControl,
    CacheStatus,
    CdnCacheControl,
    Connection,
    ContentEncoding,
    ContentLength,
    ContentLanguage,
    ContentLocation,
    ContentRange,
    ContentType,
    Cookie,
    Date,
    ETag,
    Expect,
    Expires,
    Forwarded,
    Host,
    IfMatch,
    IfModifiedSince,
    IfNoneMatch,
    IfRange,
    IfUnmodifiedSince,
    KeepAlive,
    LastModified,
    Location,
    MaxForwards,
    Pragma,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    ProxyAuthenticationInfo,
    Range,
    RetryAfter,
    SetCookie,
    Te,
    Traceparent,
    Trailer,
    TransferEncoding,
    Upgrade,
    Vary,
    Via,
    XForwardedFor,
    XRequestId,
    Http2Settings,
    Warning,
    XForwardedProto,
    XForwardedHost,
}

/// Where a field lies, as offsets from the head's first byte.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Which.
    pub name: Name,
    /// The name as written: start and end.
    pub name_at: (u32, u32),
    /// The value without surrounding white space: start and end.
    pub value_at: (u32, u32),
}

/// Storage for the fields of one head, reused from head to head so that parsing allocates nothing.
#[derive(Debug)]
pub struct FieldTable {
    /// Never holds more than [`FIELDS_MAX`], its capacity from the start.
    fields: Vec<Field>,
    seen: u64,
    repeated: u64,
}

/// The fields of a parsed head, in order.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    pub(crate) head: &'a [u8],
    pub(crate) fields: &'a [Field],
    /// Bit per [`Name`] seen.
    pub(crate) seen: u64,
    /// Bit per [`Name`] seen on several lines.
    pub(crate) repeated: u64,
}

impl FieldTable {
    /// A table with room for [`FIELDS_MAX`] fields.
    #[must_use]
    pub fn new() -> Self {
        Self {
            fields: Vec::with_capacity(FIELDS_MAX),
            seen: 0,
            repeated: 0,
        }
    }

    /// Reads field lines from `at` to the empty line after them, and where that line ends. More than `limit` (and never
    /// more than the table's room) are refused.
    #[inline]
    pub(crate) fn read(&mut self, head: &[u8], mut at: usize, limit: usize) -> Result<usize, Stop> {
        let limit = limit.min(FIELDS_MAX);
        self.fields.clear();
        self.seen = 0;
        self.repeated = 0;
        loop {
            match head.get(at) {
                None => return Err(Stop::Partial),
                Some(b'\r') => return end_of_line(head, at, &line::LINE_END),
                Some(b' ' | b'\t') if self.fields.is_empty() => {
                    return Err((&line::BLANK_FIRST).into());
                }
                Some(_) if self.fields.len() == limit => {
                    return Err((&line::FIELDS_TOO_MANY).into());
                }
                Some(_) => {}
            }
            let (field, next) = field_line(head, at)?;
            self.push(field);
            at = next;
        }
    }

    /// What was read from `head`.
    #[inline]
    pub(crate) fn view<'a>(&'a self, head: &'a [u8]) -> Fields<'a> {
        Fields {
            head,
            fields: &self.fields,
            seen: self.seen,
            repeated: self.repeated,
        }
    }

    #[inline]
    fn push(&mut self, field: Field) {
        let bit = field.name.bit();
        self.repeated |= self.seen & bit;
        self.seen |= bit;
        self.fields.push(field);
    }
}

impl Default for FieldTable {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Fields<'a> {
    /// Whether a known field is there at all. Constant time.
    #[inline]
    #[must_use]
    pub fn has(&self, name: Name) -> bool {
        self.seen & name.bit() != 0
    }

    /// Whether any of the names in `set` ([`Name::bit`]s) is there. Constant time.
    #[inline]
    #[must_use]
    pub fn has_any(&self, set: u64) -> bool {
        self.seen & set != 0
    }

    /// Whether a known field is there on more than one line. Constant time.
    #[inline]
    #[must_use]
    pub fn is_repeated(&self, name: Name) -> bool {
        self.repeated & name.bit() != 0
    }

    /// How many field lines there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field line.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The first value of a known field.
    #[inline]
    #[must_use]
    pub fn first(&self, name: Name) -> Option<&'a [u8]> {
        if self.has(name) {
            self.all(name).next()
        } else {
            None
        }
    }

    /// Every value of a known field, line by line.
    pub fn all(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let head = self.head;
        self.fields
            .iter()
            .filter(move |field| field.name == name)
            .map(move |field| part(head, field.value_at))
    }

    /// Every field: known name, name as written, value.
    pub fn iter(&self) -> impl Iterator<Item = (Name, &'a [u8], &'a [u8])> + Clone + use<'a> {
        let head = self.head;
        self.fields.iter().map(move |field| {
            (
                field.name,
                part(head, field.name_at),
                part(head, field.value_at),
            )
        })
    }

    /// Whether `Connection` lists `name`, in any case: the field is for this connection alone and does not pass (RFC
    /// 9110 §7.6.1). Whoever forwards must write framing and Host itself, listed or not.
    #[must_use]
    pub fn is_listed(&self, name: &[u8]) -> bool {
        self.has(Name::Connection)
            && self
                .all(Name::Connection)
                .flat_map(scan::members)
                .any(|option| option.eq_ignore_ascii_case(name))
    }
}

/// Whether `text` is a field's name: a token (RFC 9110 §5.1).
#[must_use]
pub fn is_field_name(text: &[u8]) -> bool {
    scan::is_whole_token(text)
}

/// Whether `text` may be a field's value: without controls but tabs (RFC 9110 §5.5).
#[must_use]
pub fn is_field_value(text: &[u8]) -> bool {
    scan::value_end(text, 0) == text.len()
}

#[inline]
fn part(head: &[u8], (start, end): (u32, u32)) -> &[u8] {
    head.get(start as usize..end as usize).unwrap_or_default()
}
