//! What of a request matters to the cache.

use http::cache_control::CacheControl;
use http::{BodyLength, Fields, Method, Name, Request};

use super::Reason;

/// What of a request matters for storing and reusing; small, kept beside a fetch while the head's bytes are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    /// The method.
    pub method: Method,
    /// `Authorization` is there. Such a request may be answered from the store (RFC 9111 §3.5 restrains what is stored
    /// for it, not what answers it), but its own answer is mostly its own: whether it waits for others' is the caller's
    /// question.
    pub authorization: bool,
    /// `Range` is there.
    pub range: bool,
    /// `Cache-Control: no-store`.
    pub no_store: bool,
    /// The request does not want a stored answer unvalidated: `no-cache`, `max-age=0`, `Pragma: no-cache` (without
    /// Cache-Control), `min-fresh` or `max-age` that a stored answer's age cannot be asked here.
    pub no_cache: bool,
    /// `only-if-cached`: 504 instead of a fetch.
    pub only_if_cached: bool,
    /// There is a body.
    pub body: bool,
}

/// The fields that say anything of it.
const TELLING: u64 =
    Name::Authorization.bit() | Name::Range.bit() | Name::CacheControl.bit() | Name::Pragma.bit();

impl RequestFacts {
    /// Reads them off a request. Cheap when no field that matters is there (one bit test).
    #[must_use]
    #[inline]
    pub fn of(request: &Request<'_>) -> Self {
        let mut facts = Self {
            method: request.method,
            authorization: false,
            range: false,
            no_store: false,
            no_cache: false,
            only_if_cached: false,
            body: request.body != BodyLength::Empty && request.body != BodyLength::Length(0),
        };
        if request.fields.has_any(TELLING) {
            facts.read(&request.fields);
        }
        facts
    }

    /// Whether the request may be answered from the store and collapsed with others: GET or HEAD, no body, nothing
    /// against it.
    ///
    /// # Errors
    /// The reason it may not.
    #[inline]
    pub fn cacheable(&self) -> Result<(), Reason> {
        match self {
            Self { method, .. } if !matches!(method, Method::Get | Method::Head) => {
                Err(Reason::Method)
            }
            Self { body: true, .. } => Err(Reason::RequestBody),
            Self { range: true, .. } => Err(Reason::Range),
            Self { no_store: true, .. } => Err(Reason::RequestNoStore),
            Self { no_cache: true, .. } => Err(Reason::NoCache),
            _ => Ok(()),
        }
    }

    /// RFC 9111 §5.2.1, §5.4. A directive that is there with a value it cannot have asks for no less than a good one.
    fn read(&mut self, fields: &Fields<'_>) {
        let control = CacheControl::read(fields.all(Name::CacheControl));
        let pragma =
            !fields.has(Name::CacheControl) && fields.all(Name::Pragma).any(pragma_no_cache);
        self.authorization = fields.has(Name::Authorization);
        self.range = fields.has(Name::Range);
        self.no_store = control.no_store;
        self.no_cache =
            control.no_cache || control.max_age.is_some() || control.min_fresh.is_some() || pragma;
        self.only_if_cached = control.only_if_cached;
    }
}

fn pragma_no_cache(line: &[u8]) -> bool {
    line.split(|byte| *byte == b',')
        .any(|pragma| pragma.trim_ascii().eq_ignore_ascii_case(b"no-cache"))
}
