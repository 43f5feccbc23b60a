//! What of a request matters to the cache.

use http::cache_control::CacheControl;
use http::{BodyLength, Fields, Method, Name, Request};

use super::{Reason, Rules};

/// What of a request matters for storing and reusing; small, kept beside a fetch while the head's bytes are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    /// The method.
    pub method: Method,
    /// There is a body.
    pub body: bool,
    /// `Authorization` is there. Such a request may be answered from the store (RFC 9111 §3.5 restrains what is stored
    /// for it, not what answers it).
    pub authorization: bool,
    /// `Range` is there, with GET: with other methods it means nothing (RFC 9110 §14.2).
    pub range: bool,
    /// `If-None-Match`, `If-Modified-Since` or `If-Range` is there, which a stored answer may be judged by.
    pub conditional: bool,
    /// `If-Match` or `If-Unmodified-Since` is there, which the origin judges.
    pub precondition: bool,
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`, or `Pragma: no-cache` without Cache-Control (§5.4): nothing stored without validation.
    pub no_cache: bool,
    /// `only-if-cached`: 504 instead of a fetch.
    pub only_if_cached: bool,
    /// The greatest age, in seconds; 0 asks for validation, and so does a value that cannot be read.
    pub max_age: Option<u64>,
    /// Seconds past its freshness for which an answer will do; `u64::MAX`: any.
    pub max_stale: Option<u64>,
    /// Seconds for which the answer shall remain fresh; without end where the value cannot be read.
    pub min_fresh: Option<u64>,
    /// Seconds past its freshness for which an answer will do instead of an error (RFC 5861 §4).
    pub stale_if_error: Option<u64>,
    plain: bool,
}

/// The fields that say anything of it.
const TELLING: u64 = Name::Authorization.bit()
    | Name::Range.bit()
    | Name::CacheControl.bit()
    | Name::Pragma.bit()
    | OWN_CONDITIONS
    | ORIGIN_CONDITIONS;

const OWN_CONDITIONS: u64 =
    Name::IfNoneMatch.bit() | Name::IfModifiedSince.bit() | Name::IfRange.bit();
const ORIGIN_CONDITIONS: u64 = Name::IfMatch.bit() | Name::IfUnmodifiedSince.bit();

impl RequestFacts {
    /// Reads them off a request. Cheap when no field that matters is there (one bit test).
    #[must_use]
    #[inline]
    pub fn of(request: &Request<'_>, rules: &Rules) -> Self {
        let body = request.body != BodyLength::Empty && request.body != BodyLength::Length(0);
        let mut facts = Self::bare(request.method, body);
        if request.fields.has_any(TELLING) {
            facts.read(&request.fields, rules);
        }
        facts
    }

    /// A GET or HEAD of which nothing else here is true: whatever is fresh answers it.
    #[must_use]
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// Whether the store may be looked at for it: GET or HEAD, no body, nothing against it.
    ///
    /// # Errors
    /// The reason it may not.
    #[inline]
    pub fn cacheable(&self) -> Result<(), Reason> {
        match self {
            Self { plain: true, .. } => Ok(()),
            Self { method, .. } if !matches!(method, Method::Get | Method::Head) => {
                Err(Reason::Method)
            }
            Self { body: true, .. } => Err(Reason::RequestBody),
            Self { no_store: true, .. } => Err(Reason::RequestNoStore),
            Self {
                precondition: true, ..
            } => Err(Reason::Condition),
            _ => Ok(()),
        }
    }

    /// Whether no other request should wait for its fetch, nor it for another's: the answer is likely its own, or one that
    /// was asked for before it came is not what it wants. Where the fetch `validates` what is stored, its range and
    /// conditions stay here and do not matter.
    #[must_use]
    pub fn is_unshared(&self, validates: bool) -> bool {
        let is_own = !validates && (self.range || self.conditional);
        let wants_newest = self.no_cache || self.max_age.is_some() || self.min_fresh.is_some();
        self.method != Method::Get
            || self.body
            || is_own
            || wants_newest
            || self.authorization
            || self.precondition
            || self.no_store
    }

    #[cold]
    fn read(&mut self, fields: &Fields<'_>, rules: &Rules) {
        self.authorization = fields.has(Name::Authorization);
        self.range = fields.has(Name::Range) && self.method == Method::Get;
        self.conditional = fields.has_any(OWN_CONDITIONS);
        self.precondition = fields.has_any(ORIGIN_CONDITIONS);
        if rules.obey_requests {
            self.read_directives(fields);
        }
        self.plain &= *self == Self::bare(self.method, self.body);
    }

    /// With nothing but a method and perhaps a body.
    #[inline]
    fn bare(method: Method, body: bool) -> Self {
        Self {
            method,
            body,
            authorization: false,
            range: false,
            conditional: false,
            precondition: false,
            no_store: false,
            no_cache: false,
            only_if_cached: false,
            max_age: None,
            max_stale: None,
            min_fresh: None,
            stale_if_error: None,
            plain: matches!(method, Method::Get | Method::Head) && !body,
        }
    }

    /// RFC 9111 §5.2.1, §5.4. A limit with a value it cannot have asks for no less than a good one, a leave for nothing.
    fn read_directives(&mut self, fields: &Fields<'_>) {
        let control = CacheControl::read(fields.all(Name::CacheControl));
        let pragma =
            !fields.has(Name::CacheControl) && fields.all(Name::Pragma).any(pragma_no_cache);
        self.no_store = control.no_store;
        self.no_cache = control.no_cache || pragma;
        self.only_if_cached = control.only_if_cached;
        self.max_age = control.max_age.map(|seconds| seconds.unwrap_or(0));
        self.max_stale = control.max_stale.and_then(Result::ok);
        self.min_fresh = control.min_fresh.map(|seconds| seconds.unwrap_or(u64::MAX));
        self.stale_if_error = control.stale_if_error.and_then(Result::ok);
    }
}

fn pragma_no_cache(line: &[u8]) -> bool {
    line.split(|byte| *byte == b',')
        .any(|pragma| pragma.trim_ascii().eq_ignore_ascii_case(b"no-cache"))
}
