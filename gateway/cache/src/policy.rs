//! RFC 9111 as pure functions: what may be stored, for how long it is fresh, and why not. For now the part that is safe:
//! explicit freshness only, and whatever is not understood is not stored.

mod fields;
mod freshness;
mod request;

use base::Wall;
use http::cache_control::CacheControl;
use http::{Method, Name, Response};

pub use fields::head_fields;
pub use freshness::Lifetime;
pub use request::RequestFacts;

/// Why an answer is not stored, or a request not answered from the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Reason {
    Method,
    NoStore,
    Private,
    NoCache,
    Authorization,
    NoExplicitFreshness,
    NotFresh,
    Status,
    Vary,
    Range,
    TooLarge,
    /// `CDN-Cache-Control` is there, which may say anything and is not read yet.
    Targeted,
    RequestNoStore,
    RequestBody,
}

impl Reason {
    /// Every reason, for tables of counters.
    pub const ALL: [Self; 14] = [
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
        Self::Targeted,
        Self::RequestNoStore,
        Self::RequestBody,
    ];

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
            Self::Targeted => "targeted",
            Self::RequestNoStore => "request-no-store",
            Self::RequestBody => "request-body",
        }
    }
}

/// Whether and for how long the answer may be stored (RFC 9111 §3, §4.2.1). `requested` is when the request was sent,
/// `received` when the answer's head was there.
///
/// # Errors
/// The reason it may not.
pub fn storable(
    request: &RequestFacts,
    response: &Response<'_>,
    requested: Wall,
    received: Wall,
) -> Result<Lifetime, Reason> {
    for_this_request(request)?;
    let control = CacheControl::read(response.fields.all(Name::CacheControl));
    of_this_kind(response, &control)?;
    for_everyone(request, &control)?;
    Lifetime::of(response, &control, requested, received)
}

/// What the request has against storing (§3). An answer to HEAD brings no body to store; one to a request with a body or a
/// range may depend on it.
fn for_this_request(request: &RequestFacts) -> Result<(), Reason> {
    if request.method != Method::Get {
        return Err(Reason::Method);
    }
    if request.body {
        return Err(Reason::RequestBody);
    }
    if request.range {
        return Err(Reason::Range);
    }
    if request.no_store {
        return Err(Reason::RequestNoStore);
    }
    Ok(())
}

/// What the status and the fields other than Cache-Control have against it.
fn of_this_kind(response: &Response<'_>, control: &CacheControl) -> Result<(), Reason> {
    let fields = &response.fields;
    if response.status == PARTIAL_CONTENT || fields.has(Name::ContentRange) {
        return Err(Reason::Range);
    }
    // §3: a final status; §5.2.2.3: only what is understood, where that is asked for.
    let storable = response.status >= 200 && !NEVER_STORED.contains(&response.status);
    if !storable || control.must_understand && !UNDERSTOOD.contains(&response.status) {
        return Err(Reason::Status);
    }
    if fields.has(Name::Vary) {
        return Err(Reason::Vary);
    }
    if fields.has(Name::CdnCacheControl) {
        return Err(Reason::Targeted);
    }
    Ok(())
}

/// What Cache-Control has against it in a shared cache (§3, §3.5, §5.2.2).
fn for_everyone(request: &RequestFacts, control: &CacheControl) -> Result<(), Reason> {
    if control.no_store {
        return Err(Reason::NoStore);
    }
    if control.private {
        return Err(Reason::Private);
    }
    if control.no_cache {
        return Err(Reason::NoCache);
    }
    let shared =
        control.public || control.must_revalidate || matches!(control.s_maxage, Some(Ok(_)));
    if request.authorization && !shared {
        return Err(Reason::Authorization);
    }
    Ok(())
}

const PARTIAL_CONTENT: u16 = 206;
/// 304 says something of another answer (RFC 9111 §3); the others are a moment's word to one client, and "must not be
/// stored by a cache" (RFC 6585 §3-§6).
const NEVER_STORED: [u16; 5] = [304, 428, 429, 431, 511];

/// Statuses whose caching rules are obeyed here, of those defined by RFC 9110 §15 and RFC 7725.
const UNDERSTOOD: [u16; 21] = [
    200, 203, 204, 300, 301, 302, 303, 307, 308, 400, 403, 404, 405, 410, 414, 451, 500, 501, 502,
    503, 504,
];
