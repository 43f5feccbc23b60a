//! The policy beside `http-cache-semantics`, an implementation of the same rules by others. Compared is what both claim: answers
//! to GET of the statuses it knows, with directives spelt as it reads them, made in the second they arrive. Where it
//! deviates on purpose it is not asked: it refuses `Set-Cookie` and `proxy-revalidate`, and it calls an answer without a
//! lifetime storable and stale, which is here not stored at all.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod heads;

use std::time::{Duration, SystemTime};

use base::Wall;
use heads::{RECEIVED, request, storable};
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
    );
    lines.prop_map(|(a, b, c, d)| [a, b, c, d].into_iter().flatten().collect())
}

fn oracle(authorization: bool, no_store: bool, status: u16, lines: &[String]) -> CachePolicy {
    let mut request = http_types::Request::get("http://h/a");
    if authorization {
        request = request.header("authorization", "x");
    }
    if no_store {
        request = request.header("cache-control", "no-store");
    }
    let mut response = http_types::Response::builder().status(status);
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        response = response.header(name, value);
    }
    let options = CacheOptions {
        cache_heuristic: 0.0,
        ..CacheOptions::default()
    };
    let (request, response) = (request.body(()).unwrap(), response.body(()).unwrap());
    CachePolicy::new_options(&request, &response, at(0), options)
}

fn at(later: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(RECEIVED.0 + later)
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
    ) {
        let control = if no_store { "Cache-Control: no-store" } else { "X: y" };
        let authorized = if authorization { "Authorization: x" } else { "X: y" };
        let facts = request("GET", &[control, authorized]);
        let borrowed: Vec<_> = lines.iter().map(String::as_str).collect();
        let ours = storable(&facts, status, &borrowed);
        let theirs = oracle(authorization, no_store, status, &lines);

        let stored = theirs.is_storable() && !theirs.is_stale(at(0));
        prop_assert_eq!(ours.is_ok(), stored, "{:?}", ours);
        if let Ok(lifetime) = ours {
            let now = Wall(RECEIVED.0 + later);
            prop_assert_eq!(lifetime.is_fresh(now), !theirs.is_stale(at(later)));
            prop_assert_eq!(lifetime.age(now), theirs.age(at(later)).as_secs());
            let left = lifetime.fresh_for.saturating_sub(lifetime.age(now));
            prop_assert_eq!(left, theirs.time_to_live(at(later)).as_secs());
        }
    }
}
