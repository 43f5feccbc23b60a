//! What may be stored, and on which terms (RFC 9111 §3, §4.2).

use base::Wall;
use http::vary::Vary;
use http::{Method, Name, Response};

use crate::Part;

use super::directives::Directives;
use super::freshness::{date_of, explicit, initial_age_ms};
use super::terms::Found;
use super::{Lifetime, Reason, RequestFacts, Rules, SetCookie, Terms, invalidation, parts};

/// Whether the answer may be stored, and on which terms (RFC 9111 §3, §4.2). `requested` is when the request was sent,
/// `received` when the answer's head was there. The lines to store are [`head_fields`](super::head_fields) by the same
/// rules.
///
/// What is stale on arrival is stored where it can be validated or is allowed to be used stale.
///
/// # Errors
/// The reason it may not.
pub fn storable(
    request: &RequestFacts,
    response: &Response<'_>,
    requested: Wall,
    received: Wall,
    rules: &Rules,
) -> Result<Terms, Reason> {
    for_this_request(request, response.status)?;
    terms(request.authorization, response, requested, received, rules)
}

/// The part that an answer brings which is storable; `None` of a whole one.
#[must_use]
pub fn part(response: &Response<'_>) -> Option<Part> {
    parts::brought(response).filter(|_| response.status == PARTIAL_CONTENT)
}

/// May an answer to POST be stored, to answer GET: a 200 that is explicitly fresh and says by `Content-Location` that it
/// is what the target is now (RFC 9110 §9.3.3). `scheme`, `host` and `target` are the request's.
///
/// # Errors
/// The reason it may not.
pub fn storable_post(
    request: &RequestFacts,
    response: &Response<'_>,
    (scheme, host, target): (&str, &[u8], &[u8]),
    (requested, received): (Wall, Wall),
    rules: &Rules,
) -> Result<Terms, Reason> {
    let is_target = invalidation::is_located_at(response, scheme, host, target);
    if request.method != Method::Post || response.status != 200 || !is_target {
        return Err(Reason::Method);
    }
    if request.no_store {
        return Err(Reason::RequestNoStore);
    }
    let terms = terms(request.authorization, response, requested, received, rules)?;
    match !terms.heuristic && terms.lifetime.was_fresh() {
        true => Ok(terms),
        false => Err(Reason::NoExplicitFreshness),
    }
}

/// The same, of an answer of which the request's method, body and conditions are not asked.
pub(super) fn terms(
    authorization: bool,
    response: &Response<'_>,
    requested: Wall,
    received: Wall,
    rules: &Rules,
) -> Result<Terms, Reason> {
    let directives = Directives::of(&response.fields, rules);
    of_this_kind(response, &directives)?;
    for_everyone(authorization, &directives)?;
    let found = Found::of(response, &directives, received, rules);
    let times = (requested, received);
    let (terms, is_lasting) = read_terms(response, &directives, found, times, rules);
    if response.fields.has(Name::SetCookie) {
        let is_allowed = !terms.heuristic && terms.lifetime.was_fresh();
        if found.set_cookie && !is_allowed || rules.set_cookie == SetCookie::Refuse {
            return Err(Reason::SetCookie);
        }
    }
    is_of_use(&terms, is_lasting)?;
    Ok(terms)
}

/// What the request has against storing (§3). An answer to HEAD brings no body to store; one to a request with a body, a
/// range or conditions may depend on them.
fn for_this_request(request: &RequestFacts, status: u16) -> Result<(), Reason> {
    if request.method != Method::Get {
        return Err(Reason::Method);
    }
    if request.body {
        return Err(Reason::RequestBody);
    }
    let is_of_range = matches!(status, PARTIAL_CONTENT | RANGE_NOT_SATISFIABLE);
    if request.range != (status == PARTIAL_CONTENT) && is_of_range {
        return Err(Reason::Range);
    }
    // To If-Range it leaves out what its client knows (RFC 9110 §15.3.7).
    if request.conditional && status == PARTIAL_CONTENT {
        return Err(Reason::Range);
    }
    if request.precondition {
        return Err(Reason::Condition);
    }
    if request.no_store {
        return Err(Reason::RequestNoStore);
    }
    Ok(())
}

/// What the status and the fields other than the directives have against it.
fn of_this_kind(response: &Response<'_>, directives: &Directives) -> Result<(), Reason> {
    let fields = &response.fields;
    if response.status == PARTIAL_CONTENT && parts::brought(response).is_none() {
        return Err(Reason::Range);
    }
    // §3: a final status; §5.2.2.3: only what is understood, where that is asked for.
    let is_storable = response.status >= 200 && !NEVER_STORED.contains(&response.status);
    let must_understand = directives.control.must_understand;
    if !is_storable || must_understand && !UNDERSTOOD.contains(&response.status) {
        return Err(Reason::Status);
    }
    if fields.has(Name::Vary) && Vary::read(fields.all(Name::Vary)) == Vary::Any {
        return Err(Reason::Vary);
    }
    Ok(())
}

/// What the directives have against it in a shared cache (§3, §3.5, §5.2.2).
fn for_everyone(authorization: bool, directives: &Directives) -> Result<(), Reason> {
    let control = &directives.control;
    // §5.2.2.3: who understands the status does not obey the no-store beside must-understand.
    if control.no_store && !control.must_understand {
        return Err(Reason::NoStore);
    }
    if directives.private() {
        return Err(Reason::Private);
    }
    let shared =
        control.public || control.must_revalidate || matches!(control.s_maxage, Some(Ok(_)));
    if authorization && !shared {
        return Err(Reason::Authorization);
    }
    Ok(())
}

/// The terms, and whether the answer has a lifetime at all, be it 0.
fn read_terms(
    response: &Response<'_>,
    directives: &Directives,
    found: Found,
    (requested, received): (Wall, Wall),
    rules: &Rules,
) -> (Terms, bool) {
    let fields = &response.fields;
    let control = &directives.control;
    let date = date_of(fields, received);
    let brought = explicit(fields, directives, date, received);
    let modified = found.last_modified.map(|modified| modified.at);
    let guessed = || guessed(response.status, control.public, date, modified, rules);
    let lasting = brought.or_else(guessed);
    let no_cache = directives.no_cache();
    let may_be_stale = !no_cache && !directives.must_revalidate();
    let window = |seconds: Option<Result<u64, ()>>| seconds.filter(|_| may_be_stale);
    let terms = Terms {
        lifetime: Lifetime {
            received,
            initial_age_ms: initial_age_ms(fields, date, requested, received),
            fresh_for: lasting.unwrap_or(0),
        },
        date,
        heuristic: brought.is_none(),
        no_cache,
        must_revalidate: directives.must_revalidate(),
        immutable: control.immutable,
        stale_while_revalidate: window(control.stale_while_revalidate)
            .and_then(Result::ok)
            .unwrap_or(0),
        stale_if_error: window(control.stale_if_error).map(|seconds| seconds.unwrap_or(0)),
        etag: found.etag,
        last_modified: found.last_modified,
    };
    // §3: without a lifetime, only what a heuristic may be used for.
    let may_guess = control.public || HEURISTIC.contains(&response.status);
    (terms, lasting.is_some() || no_cache && may_guess)
}

/// A lifetime for an answer that brings none: configured for errors of the client's, else by §4.2.2 for the statuses
/// that allow it and whatever is `public`.
fn guessed(
    status: u16,
    public: bool,
    date: Wall,
    modified: Option<Wall>,
    rules: &Rules,
) -> Option<u64> {
    if rules.negative_ttl > 0 && NEGATIVE.contains(&status) {
        return Some(rules.negative_ttl);
    }
    if !public && !HEURISTIC.contains(&status) {
        return None;
    }
    let unchanged = (date - modified?).as_secs();
    let part = unchanged.saturating_mul(rules.heuristic_percent) / 100;
    Some(part.min(rules.heuristic_max)).filter(|&seconds| seconds > 0)
}

/// Whether it could ever answer a request.
fn is_of_use(terms: &Terms, is_lasting: bool) -> Result<(), Reason> {
    let lifetime = &terms.lifetime;
    if !is_lasting {
        return Err(Reason::NoExplicitFreshness);
    }
    if terms.no_cache {
        return terms.has_validator().then_some(()).ok_or(Reason::NoCache);
    }
    let window = terms
        .stale_while_revalidate
        .max(terms.stale_if_error.unwrap_or(0));
    let is_used_stale = lifetime.stale_for(lifetime.received) < window;
    let is_validated = terms.has_validator() && !terms.heuristic;
    (lifetime.was_fresh() || is_used_stale || is_validated)
        .then_some(())
        .ok_or(Reason::NotFresh)
}

const PARTIAL_CONTENT: u16 = 206;
const RANGE_NOT_SATISFIABLE: u16 = 416;

/// 304 says something of another answer (RFC 9111 §3); the others are a moment's word to one client, and "must not be
/// stored by a cache" (RFC 6585 §3-§6).
const NEVER_STORED: [u16; 5] = [304, 428, 429, 431, 511];

/// Statuses whose caching rules are obeyed here, of those defined by RFC 9110 §15 and RFC 7725.
const UNDERSTOOD: [u16; 21] = [
    200, 203, 204, 300, 301, 302, 303, 307, 308, 400, 403, 404, 405, 410, 414, 451, 500, 501, 502,
    503, 504,
];

/// Heuristically cacheable statuses (RFC 9110 §15.1).
const HEURISTIC: [u16; 12] = [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501];

/// Those of them that are errors.
const NEGATIVE: [u16; 5] = [404, 405, 410, 414, 501];
