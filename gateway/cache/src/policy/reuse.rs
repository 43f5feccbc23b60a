//! Whether a stored answer may answer a request (RFC 9111 §4.2, §5.2.1, RFC 5861).

use base::Wall;

use super::{RequestFacts, Rules, Terms};

/// Whether a stored answer may answer a request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It is fresh.
    Fresh,
    /// It is stale, and the request allows that (`max-stale`).
    StaleAllowed,
    /// It is stale, and may be used at once while it is validated (RFC 5861 §3).
    StaleWhileRevalidate,
    /// Only after validation.
    Validate(Why),
}

/// Why a stored answer is to be validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is stale.
    Stale,
    /// It is fresh, but not as the request wants it: `no-cache`, `max-age`, `min-fresh`.
    Request,
    /// Its own `no-cache`.
    NoCache,
}

impl Why {
    /// The `fwd` parameter (RFC 9211 §2.2). What is always to be validated is never fresh.
    #[must_use]
    pub fn fwd(self) -> &'static str {
        match self {
            Self::Stale | Self::NoCache => "stale",
            Self::Request => "request",
        }
    }
}

/// Why the origin has not answered a validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No answer: the connection was refused or reset, or time ran out.
    Unreachable,
    /// An answer with this status.
    Status(u16),
}

/// Whether the stored answer of these terms may answer the request at `now`.
#[must_use]
#[inline]
pub fn reuse(facts: &RequestFacts, terms: &Terms, now: Wall) -> Reuse {
    if facts.is_plain() && !terms.no_cache && terms.lifetime.is_fresh(now) {
        return Reuse::Fresh;
    }
    judged(facts, terms, now)
}

/// Whether the stored answer may be used although its validation failed, and the word for it. Where it is `None` and
/// [`Terms::forbids_stale`], the answer is a 504 (RFC 9111 §5.2.2.2).
///
/// `stale-if-error`, the answer's or the request's, is for [`Trouble::Unreachable`] and 500, 502, 503, 504, "regardless
/// of other freshness information" (RFC 5861 §4). The rules' grace is for `Unreachable` alone, and for what once was
/// fresh and says nothing itself of how stale it may be used; a client that limits the age wants nothing stale (RFC 9111
/// §5.2.1.1).
#[must_use]
pub fn stale_on_error(
    facts: &RequestFacts,
    terms: &Terms,
    now: Wall,
    trouble: Trouble,
    rules: &Rules,
) -> Option<&'static str> {
    if terms.forbids_stale() || facts.no_cache {
        return None;
    }
    let stale_for = terms.lifetime.stale_for(now);
    let allowed = terms.stale_if_error.max(facts.stale_if_error).unwrap_or(0);
    if trouble.is_error() && stale_for < allowed {
        return Some("stale-if-error");
    }
    let is_limited = facts.max_age.is_some() || facts.min_fresh.is_some();
    let is_silent = terms.stale_if_error.is_none() && terms.stale_while_revalidate == 0;
    let is_graced = trouble == Trouble::Unreachable
        && stale_for < rules.stale_grace
        && terms.lifetime.was_fresh()
        && is_silent
        && !is_limited;
    is_graced.then_some("stale-grace")
}

impl Trouble {
    /// RFC 5861 §4
    fn is_error(self) -> bool {
        matches!(
            self,
            Self::Unreachable | Self::Status(500 | 502 | 503 | 504)
        )
    }
}

/// The rule without the short cut.
#[cold]
fn judged(facts: &RequestFacts, terms: &Terms, now: Wall) -> Reuse {
    let lifetime = &terms.lifetime;
    let is_fresh = lifetime.is_fresh(now);
    if terms.no_cache {
        return Reuse::Validate(Why::NoCache);
    }
    if is_refused(facts, terms, now) {
        let why = if is_fresh { Why::Request } else { Why::Stale };
        return Reuse::Validate(why);
    }
    let stale_for = lifetime.stale_for(now);
    if is_fresh {
        Reuse::Fresh
    } else if terms.must_revalidate {
        Reuse::Validate(Why::Stale)
    } else if facts.max_stale.is_some_and(|most| stale_for <= most) {
        Reuse::StaleAllowed
    } else if facts.max_age.is_none() && stale_for < terms.stale_while_revalidate {
        Reuse::StaleWhileRevalidate
    } else {
        Reuse::Validate(Why::Stale)
    }
}

/// §5.2.1.1, §5.2.1.3, §5.2.1.4. Ages are whole seconds, so that `max-age=0` would be met in an answer's first one; who
/// sends it reloads. Of an immutable answer a reload asks nothing (RFC 8246 §2), unless by `no-cache`.
fn is_refused(facts: &RequestFacts, terms: &Terms, now: Wall) -> bool {
    let lifetime = &terms.lifetime;
    let age = lifetime.age(now);
    let is_settled = terms.immutable && lifetime.is_fresh(now);
    let is_too_old = |most| age > most || most == 0;
    let ends_too_soon = |least| lifetime.fresh_for < age.saturating_add(least);
    facts.no_cache
        || !is_settled && facts.max_age.is_some_and(is_too_old)
        || facts.min_fresh.is_some_and(ends_too_soon)
}
