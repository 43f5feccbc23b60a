//! The policy beside a model of RFC 9111 that knows no text: generated histories of an answer, requests at later times,
//! and 304s, in which both must say the same at every step.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod heads;

use base::Wall;
use cache::policy::{self, Reuse, Rules, Terms, Trouble, Why};
use heads::{RECEIVED, request, with_answer};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Directive {
    MaxAge(u64),
    SMaxAge(u64),
    Public,
    Private,
    NoStore,
    NoCache,
    MustRevalidate,
    ProxyRevalidate,
    StaleWhileRevalidate(u64),
    StaleIfError(u64),
    Immutable,
}
use Directive::*;

/// An answer; dates in seconds since the epoch.
#[derive(Clone, Debug)]
struct Answer {
    status: u16,
    directives: Vec<Directive>,
    date: Option<u64>,
    age: Option<u64>,
    expires: Option<u64>,
    modified: Option<u64>,
    tag: bool,
    cookie: bool,
}

/// What a 304 brings.
#[derive(Clone, Debug)]
struct Update {
    directives: Option<Vec<Directive>>,
    date: Option<u64>,
    age: Option<u64>,
    expires: Option<u64>,
}

#[derive(Clone, Debug)]
struct Asked {
    authorization: bool,
    no_cache: bool,
    max_age: Option<u64>,
    min_fresh: Option<u64>,
    max_stale: Option<u64>,
    stale_if_error: Option<u64>,
}

/// A request `wait` milliseconds after the step before; then perhaps a 304 that took so many.
#[derive(Clone, Debug)]
struct Step {
    wait: u64,
    asked: Asked,
    trouble: Option<u16>,
    validated: Option<(u64, Update)>,
}

/// A stored answer as RFC 9111 sees it: the answer, when it was asked for and when it came, in milliseconds.
#[derive(Clone, Debug)]
struct Model {
    answer: Answer,
    requested: u64,
    received: u64,
}

impl Model {
    fn has(&self, directive: Directive) -> bool {
        self.answer.directives.contains(&directive)
    }

    /// The smallest argument of a directive.
    fn least(&self, argument: impl Fn(Directive) -> Option<u64>) -> Option<u64> {
        let directives = self.answer.directives.iter();
        directives
            .filter_map(|&directive| argument(directive))
            .min()
    }

    fn shared_age(&self) -> Option<u64> {
        self.least(|directive| match directive {
            SMaxAge(seconds) => Some(seconds),
            _ => None,
        })
    }

    fn date(&self) -> u64 {
        self.answer.date.unwrap_or(self.received / 1_000)
    }

    /// §4.2.1, the first that matches.
    fn explicit(&self) -> Option<u64> {
        let private = self.least(|directive| match directive {
            MaxAge(seconds) => Some(seconds),
            _ => None,
        });
        let expires = self.answer.expires;
        let until = expires.map(|at| {
            if at > self.date() {
                at - self.date()
            } else {
                0
            }
        });
        self.shared_age().or(private).or(until)
    }

    fn may_guess(&self) -> bool {
        [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501].contains(&self.answer.status)
            || self.has(Public)
    }

    /// §4.2.2
    fn guess(&self) -> Option<u64> {
        let modified = self.answer.modified.filter(|_| self.may_guess())?;
        let tenth = (self.date().max(modified) - modified) / 10;
        Some(tenth.min(86_400)).filter(|&seconds| seconds > 0)
    }

    fn lifetime(&self) -> u64 {
        self.explicit().or(self.guess()).unwrap_or(0)
    }

    /// §4.2.3, in its own words, but for a `Date` that is no older than the request: it was rounded down, so it says nothing.
    fn age(&self, now: u64) -> u64 {
        let (asked, came) = (self.requested / 1_000, self.received / 1_000);
        let apparent_age = if self.date() < asked {
            came - self.date()
        } else {
            0
        };
        let response_delay = self.received - self.requested;
        let corrected_age_value = self.answer.age.unwrap_or(0) * 1_000 + response_delay;
        let corrected_initial_age = (apparent_age * 1_000).max(corrected_age_value);
        let resident_time = now - self.received;
        (corrected_initial_age + resident_time) / 1_000
    }

    fn is_fresh(&self, now: u64) -> bool {
        self.lifetime() > self.age(now)
    }

    fn stale_for(&self, now: u64) -> u64 {
        self.age(now).max(self.lifetime()) - self.lifetime()
    }

    fn is_never_stale(&self) -> bool {
        self.has(MustRevalidate) || self.has(ProxyRevalidate) || self.shared_age().is_some()
    }

    fn window(&self, argument: impl Fn(Directive) -> Option<u64>) -> Option<u64> {
        let may_be_stale = !self.is_never_stale() && !self.has(NoCache);
        self.least(argument).filter(|_| may_be_stale)
    }

    fn while_revalidate(&self) -> u64 {
        let window = self.window(|directive| match directive {
            StaleWhileRevalidate(seconds) => Some(seconds),
            _ => None,
        });
        window.unwrap_or(0)
    }

    fn if_error(&self) -> Option<u64> {
        self.window(|directive| match directive {
            StaleIfError(seconds) => Some(seconds),
            _ => None,
        })
    }

    /// §3, and what is of no use.
    fn is_storable(&self, authorization: bool) -> bool {
        let is_shared = self.has(Public) || self.has(MustRevalidate) || self.shared_age().is_some();
        if self.has(NoStore) || self.has(Private) || authorization && !is_shared {
            return false;
        }
        let was_fresh = self.is_fresh(self.received);
        if self.answer.cookie && !(was_fresh && self.explicit().is_some()) {
            return false;
        }
        let validator = self.answer.tag || self.answer.modified.is_some();
        if self.has(NoCache) {
            return validator && (self.explicit().is_some() || self.may_guess());
        }
        let stale_for = self.stale_for(self.received);
        let is_used_stale =
            stale_for < self.while_revalidate() || stale_for < self.if_error().unwrap_or(0);
        match (self.explicit(), self.guess()) {
            (Some(_), _) => was_fresh || validator || is_used_stale,
            (None, Some(_)) => was_fresh || is_used_stale,
            (None, None) => false,
        }
    }

    fn reuse(&self, asked: &Asked, now: u64) -> Reuse {
        let (age, is_fresh) = (self.age(now), self.is_fresh(now));
        if self.has(NoCache) {
            return Reuse::Validate(Why::NoCache);
        }
        let is_reload = asked.max_age.is_some_and(|most| most == 0 || age > most);
        let is_brief = asked
            .min_fresh
            .is_some_and(|least| self.lifetime() < age + least);
        let is_settled = is_fresh && self.has(Immutable);
        if asked.no_cache || is_brief || is_reload && !is_settled {
            return Reuse::Validate(if is_fresh { Why::Request } else { Why::Stale });
        }
        if is_fresh {
            return Reuse::Fresh;
        }
        if !self.is_never_stale() {
            if asked
                .max_stale
                .is_some_and(|most| self.stale_for(now) <= most)
            {
                return Reuse::StaleAllowed;
            }
            if asked.max_age.is_none() && self.stale_for(now) < self.while_revalidate() {
                return Reuse::StaleWhileRevalidate;
            }
        }
        Reuse::Validate(Why::Stale)
    }

    /// RFC 5861 §4, and a grace of 3,600 seconds.
    fn may_use_on_error(&self, asked: &Asked, now: u64, status: Option<u16>) -> bool {
        let is_forbidden = self.has(NoCache) || self.is_never_stale() || asked.no_cache;
        let is_error = status.is_none_or(|status| [500, 502, 503, 504].contains(&status));
        if is_forbidden || !is_error {
            return false;
        }
        let stale_for = self.stale_for(now);
        let windows = [self.if_error(), asked.stale_if_error];
        if windows
            .into_iter()
            .flatten()
            .any(|window| stale_for < window)
        {
            return true;
        }
        let is_silent = self.if_error().is_none() && self.while_revalidate() == 0;
        let wants_fresh = asked.max_age.is_some() || asked.min_fresh.is_some();
        let was_fresh = self.is_fresh(self.received);
        status.is_none() && is_silent && was_fresh && !wants_fresh && stale_for < 3_600
    }

    /// §3.2
    fn freshened(&self, update: &Update, requested: u64, received: u64) -> Self {
        let old = self.answer.clone();
        Self {
            answer: Answer {
                directives: update.directives.clone().unwrap_or(old.directives),
                date: Some(update.date.unwrap_or(received / 1_000)),
                age: update.age,
                expires: update.expires.or(old.expires),
                ..old
            },
            requested,
            received,
        }
    }
}

fn directive_text(directive: &Directive) -> String {
    match directive {
        MaxAge(seconds) => format!("max-age={seconds}"),
        SMaxAge(seconds) => format!("s-maxage={seconds}"),
        Public => "public".into(),
        Private => "private".into(),
        NoStore => "no-store".into(),
        NoCache => "no-cache".into(),
        MustRevalidate => "must-revalidate".into(),
        ProxyRevalidate => "proxy-revalidate".into(),
        StaleWhileRevalidate(seconds) => format!("stale-while-revalidate={seconds}"),
        StaleIfError(seconds) => format!("stale-if-error={seconds}"),
        Immutable => "immutable".into(),
    }
}

fn dated(name: &str, at: Option<u64>) -> Option<String> {
    let text = http::date::format(Wall::from_secs(at?));
    Some(format!("{name}: {}", std::str::from_utf8(&text).unwrap()))
}

fn control(directives: &[Directive]) -> Option<String> {
    let all: Vec<_> = directives.iter().map(directive_text).collect();
    (!all.is_empty()).then(|| format!("Cache-Control: {}", all.join(", ")))
}

fn flag(is_there: bool, line: &str) -> Option<String> {
    is_there.then(|| line.into())
}

impl Answer {
    fn lines(&self) -> Vec<String> {
        let lines = [
            control(&self.directives),
            dated("Date", self.date),
            self.age.map(|age| format!("Age: {age}")),
            dated("Expires", self.expires),
            dated("Last-Modified", self.modified),
            flag(self.tag, "ETag: \"x\""),
            flag(self.cookie, "Set-Cookie: a=b"),
        ];
        lines.into_iter().flatten().collect()
    }
}

impl Update {
    fn lines(&self) -> Vec<String> {
        let lines = [
            self.directives.as_deref().and_then(control),
            dated("Date", self.date),
            self.age.map(|age| format!("Age: {age}")),
            dated("Expires", self.expires),
        ];
        lines.into_iter().flatten().collect()
    }
}

impl Asked {
    fn facts(&self) -> policy::RequestFacts {
        let argument = |name: &str, seconds: Option<u64>| seconds.map(|s| format!("{name}={s}"));
        let max_stale = match self.max_stale {
            Some(u64::MAX) => Some("max-stale".into()),
            other => argument("max-stale", other),
        };
        let directives = [
            flag(self.no_cache, "no-cache"),
            argument("max-age", self.max_age),
            argument("min-fresh", self.min_fresh),
            max_stale,
            argument("stale-if-error", self.stale_if_error),
        ];
        let directives: Vec<_> = directives.into_iter().flatten().collect();
        let control = format!("Cache-Control: {}", directives.join(", "));
        let lines: &[&str] = match (directives.is_empty(), self.authorization) {
            (true, false) => &[],
            (true, true) => &["Authorization: x"],
            (false, false) => &[&control],
            (false, true) => &[&control, "Authorization: x"],
        };
        request("GET", lines)
    }
}

fn directives() -> impl Strategy<Value = Vec<Directive>> {
    let seconds = || 0..20_u64;
    let lasting = prop_oneof![
        4 => seconds().prop_map(MaxAge),
        1 => seconds().prop_map(SMaxAge),
        1 => Just(Public),
    ];
    let other = prop_oneof![
        1 => Just(Public),
        1 => Just(Private),
        1 => Just(NoStore),
        2 => Just(NoCache),
        2 => Just(MustRevalidate),
        1 => Just(ProxyRevalidate),
        4 => seconds().prop_map(StaleWhileRevalidate),
        4 => seconds().prop_map(StaleIfError),
        2 => Just(Immutable),
    ];
    let lists = (
        prop::collection::vec(lasting, 0..3),
        prop::collection::vec(other, 0..3),
    );
    lists
        .prop_map(|(first, second)| [first, second].concat())
        .prop_shuffle()
}

/// Around when the first answer arrives.
fn moment() -> impl Strategy<Value = Option<u64>> {
    prop::option::of(RECEIVED.as_secs() - 20..RECEIVED.as_secs() + 60)
}

fn answer() -> impl Strategy<Value = Answer> {
    const STATUSES: &[u16] = &[200, 200, 200, 203, 301, 302, 404, 410, 500, 599];
    let modified = prop::option::of(RECEIVED.as_secs() - 400..RECEIVED.as_secs() + 5);
    let age = prop::option::of(0..12_u64);
    let rare = prop::bool::weighted(0.15);
    (
        prop::sample::select(STATUSES),
        directives(),
        (moment(), age, moment(), modified),
        any::<bool>(),
        rare,
    )
        .prop_map(|(status, directives, times, tag, cookie)| Answer {
            status,
            directives,
            date: times.0,
            age: times.1,
            expires: times.2,
            modified: times.3,
            tag,
            cookie,
        })
}

fn asked() -> impl Strategy<Value = Asked> {
    let rarely = || prop::bool::weighted(0.1);
    let seconds = || prop::option::weighted(0.2, 0..25_u64);
    let max_stale = prop_oneof![
        6 => Just(None),
        1 => Just(Some(u64::MAX)),
        2 => (0..20_u64).prop_map(Some),
    ];
    (
        rarely(),
        rarely(),
        seconds(),
        seconds(),
        max_stale,
        seconds(),
    )
        .prop_map(
            |(authorization, no_cache, max_age, min_fresh, max_stale, stale_if_error)| Asked {
                authorization,
                no_cache,
                max_age,
                min_fresh,
                max_stale,
                stale_if_error,
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![6 => 0..12_000_u64, 1 => 3_590_000..3_610_000_u64];
    let trouble = prop::option::of(prop::sample::select(
        &[404_u16, 500, 501, 502, 503, 504][..],
    ));
    let age = || prop::option::of(0..12_u64);
    let update = (prop::option::of(directives()), moment(), age(), moment());
    let update = update.prop_map(|(directives, date, age, expires)| Update {
        // A field without directives is not sent.
        directives: directives.filter(|directives| !directives.is_empty()),
        date,
        age,
        expires,
    });
    let validated = prop::option::weighted(0.3, (0..5_000_u64, update));
    (wait, asked(), trouble, validated).prop_map(|(wait, asked, trouble, validated)| Step {
        wait,
        asked,
        trouble,
        validated,
    })
}

fn borrowed(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).collect()
}

fn agree(model: &Model, terms: &Terms, step: &Step, now: u64) -> Result<(), TestCaseError> {
    let facts = step.asked.facts();
    let lifetime = terms.lifetime;
    prop_assert_eq!(lifetime.age(Wall(now)), model.age(now), "age");
    prop_assert_eq!(lifetime.is_fresh(Wall(now)), model.is_fresh(now), "fresh");
    let found = policy::reuse(&facts, terms, Wall(now));
    prop_assert_eq!(found, model.reuse(&step.asked, now), "reuse");
    let trouble = step.trouble.map_or(Trouble::Unreachable, Trouble::Status);
    let found = policy::stale_on_error(&facts, terms, Wall(now), trouble, &Rules::default());
    let expected = model.may_use_on_error(&step.asked, now, step.trouble);
    prop_assert_eq!(found.is_some(), expected, "{:?}", found);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6_000))]
    #[test]
    fn histories_are_as_the_model_has_them(
        first in asked(),
        answer in answer(),
        fraction in 0..1_000_u64,
        delay in 0..5_000_u64,
        steps in prop::collection::vec(step(), 1..8),
    ) {
        let rules = Rules::default();
        let mut now = RECEIVED.0 + fraction;
        let (requested, received) = (Wall(now - delay), Wall(now));
        let mut model = Model { answer, requested: requested.0, received: now };
        let status = model.answer.status;
        let lines = model.answer.lines();
        let (stored, mut fields) = with_answer(status, &borrowed(&lines), |response| {
            let facts = first.facts();
            let terms = policy::storable(&facts, response, requested, received, &rules);
            (terms, policy::head_fields(response, received, &rules))
        });
        prop_assert_eq!(stored.is_ok(), model.is_storable(first.authorization), "{:?}", stored);
        let Ok(mut terms) = stored else { return Ok(()) };
        for step in steps {
            now += step.wait;
            agree(&model, &terms, &step, now)?;
            let Some((delay, update)) = step.validated else { continue };
            let asked_at = Wall(now);
            now += delay;
            model = model.freshened(&update, asked_at.0, now);
            let (merged, fresh) = with_answer(304, &borrowed(&update.lines()), |response| {
                let times = (asked_at, Wall(now));
                policy::freshened(&step.asked.facts(), (status, &fields), response, times, &rules)
            });
            let expected = model.is_storable(step.asked.authorization);
            prop_assert_eq!(fresh.is_ok(), expected, "{:?}", fresh);
            let Ok(fresh) = fresh else { break };
            (terms, fields) = (fresh, merged);
        }
    }
}
