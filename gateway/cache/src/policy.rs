//! RFC 9111 as pure functions: what may be stored and on which terms, what a stored answer may answer, how it is
//! validated and freshened, and what invalidates it. No clock: every time comes in.
//!
//! An answer's [`Terms`] are taken when it arrives ([`storable`], with the lines that [`head_fields`] keeps) and again
//! from each 304 ([`freshened`]); a request's [`RequestFacts`] and the terms decide its use ([`reuse`],
//! [`stale_on_error`]).

mod conditions;
mod directives;
mod fields;
mod freshness;
mod invalidation;
mod parts;
mod request;
mod reuse;
mod storing;
mod terms;
mod update;

pub use conditions::{in_not_modified, is_not_modified, range_applies};
pub use fields::{head_fields, own_fields, stored_lines};
pub use freshness::Lifetime;
pub use invalidation::{invalidated_targets, invalidates};
pub use request::RequestFacts;
pub use reuse::{Reuse, Trouble, Why, reuse, stale_on_error};
pub use storing::{part, storable, storable_post};
pub use terms::{LastModified, Place, Terms};
pub use update::{HeadSays, freshened, head_says, range_if_same, speaks_of, validators};

/// What configuration decides for a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The directives of requests (RFC 9111 §5.2.1, §5.4) are honoured; else they are as if absent.
    pub obey_requests: bool,
    /// `CDN-Cache-Control` is obeyed (RFC 9213); else it is a field like any other.
    pub targeted: bool,
    /// Of the time between `Last-Modified` and `Date`, how much a heuristic lifetime is (RFC 9111 §4.2.2), in percent.
    pub heuristic_percent: u64,
    /// The longest heuristic lifetime, in seconds.
    pub heuristic_max: u64,
    /// Seconds that a 404, 405, 410, 414 or 501 without explicit freshness is fresh for; 0: as any other answer.
    pub negative_ttl: u64,
    /// Seconds past its freshness for which an answer may be served while the origin cannot be reached (RFC 9111
    /// §4.2.4), where neither it nor the request says otherwise.
    pub stale_grace: u64,
    /// What becomes of `Set-Cookie`.
    pub set_cookie: SetCookie,
    /// A request for a range of what is not stored fetches the whole of it; else the range as asked.
    pub fetch_whole: bool,
}

/// What becomes of an answer with `Set-Cookie`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetCookie {
    /// It is stored with it, where it is explicitly fresh: RFC 9111 §7.3 leaves that to the origin's directives. One that
    /// gives a cookie and a lifetime by mistake gives everyone the same cookie.
    #[default]
    Store,
    /// It is stored without it.
    Strip,
    /// It is not stored.
    Refuse,
}

impl Default for Rules {
    /// As RFC 9111 has it. The heuristic is the tenth that §4.2.2 calls typical, for a day at most; the grace is an hour:
    /// most outages are over by then, and few answers are wrong by then.
    fn default() -> Self {
        Self {
            obey_requests: true,
            targeted: true,
            heuristic_percent: 10,
            heuristic_max: 86_400,
            negative_ttl: 0,
            stale_grace: 3_600,
            set_cookie: SetCookie::Store,
            fetch_whole: false,
        }
    }
}

/// Why an answer is not stored, or a request not answered from the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Reason {
    Method,
    NoStore,
    Private,
    /// It must be validated at each use and brings nothing to validate it with.
    NoCache,
    Authorization,
    /// It brings no lifetime, and none may be guessed.
    NoExplicitFreshness,
    /// It is stale on arrival and brings nothing to validate it with.
    NotFresh,
    Status,
    Vary,
    Range,
    TooLarge,
    SetCookie,
    RequestNoStore,
    RequestBody,
    /// The request has conditions that only the origin may judge.
    Condition,
}

impl Reason {
    /// Every reason, for tables of counters.
    pub const ALL: [Self; 15] = [
        Self::Method,
        Self::NoStore,
        Self::Private,
        Self::NoCache,
        Self::Authorization,
        Self::NoExplicitFreshness,
        Self::NotFresh,
        Self::Status,
        Self::Vary,
        Self::Range,
        Self::TooLarge,
        Self::SetCookie,
        Self::RequestNoStore,
        Self::RequestBody,
        Self::Condition,
    ];

    /// Whether it lies in the answer, so that the next one to the same request will hardly be stored either.
    #[must_use]
    pub fn is_of_answer(self) -> bool {
        !matches!(
            self,
            Self::Method | Self::Range | Self::RequestNoStore | Self::RequestBody | Self::Condition
        )
    }

    /// The word for `Cache-Status` `detail` and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::NoCache => "no-cache",
            Self::Authorization => "authorization",
            Self::NoExplicitFreshness => "no-explicit-freshness",
            Self::NotFresh => "not-fresh",
            Self::Status => "status",
            Self::Vary => "vary",
            Self::Range => "range",
            Self::TooLarge => "too-large",
            Self::SetCookie => "set-cookie",
            Self::RequestNoStore => "request-no-store",
            Self::RequestBody => "request-body",
            Self::Condition => "condition",
        }
    }
}
