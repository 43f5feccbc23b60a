//! The policy beside `http-cache-semantics`, an implementation of the same rules by others. Compared is what both claim: answers
//! to GET of the statuses it knows, with directives spelt as it reads them, made in the second they arrive. Where it
//! deviates on purpose it is not asked: it refuses `Set-Cookie` and `proxy-revalidate`, and it calls an answer that is
//! stale at once storable, which is here stored only where it can be validated. Of requests' directives `max-stale` is
//! not, for it takes the limit itself for too much, nor `max-age=0`.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod heads;

use std::time::{Duration, SystemTime};

use base::Wall;
use cache::policy::{self, Reuse};
use heads::{RECEIVED, get, request, storable};
use http_cache_semantics::{CacheOptions, CachePolicy};
use proptest::prelude::*;

fn line(name: &'static str, values: &'static [&'static str]) -> BoxedStrategy<Option<String>> {
    let value = prop::sample::select(values);
    prop::option::of(value.prop_map(move |value| format!("{name}: {value}"))).boxed()
}

const LIFETIMES: &[&str] = &["", "max-age=0", "max-age=10", "max-age=\"20\"", "max-age=x"];
const SHARED: &[&str] = &["", "s-maxage=0", "s-maxage=15", "s-maxage=y"];
const OTHERS: &[&str] = &[
    "public",
    "private",
    "no-store",
    "no-cache",
    "must-revalidate",
    "x=1",
];
const EXPIRES: &[&str] = &[
    "0",
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 08:49:57 GMT",
    "Sun, 06 Nov 1984 08:49:57 GMT",
];
const MODIFIED: &[&str] = &[
    "Sun, 06 Nov 1994 08:47:57 GMT",
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 09:49:37 GMT",
    "Sat, 05 Nov 1994 08:49:37 GMT",
];
const ASKED: &[&str] = &[
    "",
    "no-cache",
    "max-age=1",
    "max-age=12",
    "min-fresh=1",
    "min-fresh=12",
];
const STATUSES: &[u16] = &[
    200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414,
];

fn directives() -> BoxedStrategy<Option<String>> {
    let lifetimes = prop::sample::select(LIFETIMES);
    let shared = prop::sample::select(SHARED);
    let others = prop::sample::subsequence(OTHERS, 0..=2);
    (lifetimes, shared, others)
        .prop_map(|(lifetime, shared, mut all)| {
            all.extend([lifetime, shared]);
            all.retain(|directive| !directive.is_empty());
            (!all.is_empty()).then(|| format!("Cache-Control: {}", all.join(", ")))
        })
        .boxed()
}

fn answer() -> impl Strategy<Value = Vec<String>> {
    let lines = (
        directives(),
        line("Expires", EXPIRES),
        line("Age", &["0", "5", "12", "1.5", "x"]),
        line("Date", &["Sun, 06 Nov 1994 08:49:37 GMT"]),
        line("Last-Modified", MODIFIED),
    );
    lines.prop_map(|(a, b, c, d, e)| [a, b, c, d, e].into_iter().flatten().collect())
}

fn their_request(authorization: bool, control: &str) -> http_types::Request<()> {
    let mut request = http_types::Request::get("http://h/a");
    if authorization {
        request = request.header("authorization", "x");
    }
    if !control.is_empty() {
        request = request.header("cache-control", control);
    }
    request.body(()).unwrap()
}

fn oracle(authorization: bool, control: &str, status: u16, lines: &[String]) -> CachePolicy {
    let mut response = http_types::Response::builder().status(status);
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        response = response.header(name, value);
    }
    let options = CacheOptions {
        cache_heuristic: 0.1,
        ..CacheOptions::default()
    };
    let (request, response) = (
        their_request(authorization, control),
        response.body(()).unwrap(),
    );
    CachePolicy::new_options(&request, &response, at(0), options)
}

fn at(later: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(RECEIVED.as_secs() + later)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn two_implementations_agree(
        authorization: bool,
        no_store in prop::bool::weighted(0.1),
        status in prop::sample::select(STATUSES),
        lines in answer(),
        later in 0..25_u64,
        asked in prop::sample::select(ASKED),
    ) {
        let control = if no_store { "Cache-Control: no-store" } else { "X: y" };
        let authorized = if authorization { "Authorization: x" } else { "X: y" };
        let facts = request("GET", &[control, authorized]);
        let borrowed: Vec<_> = lines.iter().map(String::as_str).collect();
        let ours = storable(&facts, status, &borrowed);
        let control = if no_store { "no-store" } else { "" };
        let theirs = oracle(authorization, control, status, &lines);

        let (is_storable, is_fresh) = (theirs.is_storable(), !theirs.is_stale(at(0)));
        let ours_is_fresh = ours.is_ok_and(|terms| !terms.no_cache && terms.lifetime.was_fresh());
        prop_assert_eq!(ours_is_fresh, is_storable && is_fresh, "{:?}", ours);
        prop_assert!(ours.is_err() || is_storable, "{:?}", ours);
        let Ok(terms) = ours else { return Ok(()) };
        let (now, then) = (Wall::from_secs(RECEIVED.as_secs() + later), at(later));
        prop_assert_eq!(terms.lifetime.age(now), theirs.age(then).as_secs());
        if !terms.no_cache {
            let left = terms.lifetime.fresh_for.saturating_sub(terms.lifetime.age(now));
            prop_assert_eq!(left, theirs.time_to_live(then).as_secs());
        }
        let again = get(asked);
        let reuse = policy::reuse(&again, &terms, now);
        let theirs = theirs.before_request(&their_request(false, asked), then);
        prop_assert_eq!(reuse == Reuse::Fresh, theirs.satisfies_without_revalidation());
    }
}
