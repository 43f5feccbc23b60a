//! When a stored answer may be used (RFC 9111 §4.2.4, §5.2.1, RFC 5861, RFC 8246).

mod heads;

use cache::policy::{self, Reuse, Rules, Trouble, Why};
use heads::{get, later, request, stored};

const STALE: Reuse = Reuse::Validate(Why::Stale);
const REQUEST: Reuse = Reuse::Validate(Why::Request);
const NO_CACHE: Reuse = Reuse::Validate(Why::NoCache);

/// An answer with these directives and a validator, asked for with those, at an age.
fn reuse(response: &str, asked: &str, age: u64) -> Reuse {
    let control = format!("Cache-Control: {response}");
    let stored = stored(&[&control, "ETag: \"x\""]);
    policy::reuse(&get(asked), &stored.terms, later(age))
}

#[test]
fn a_request_decides_what_is_fresh_enough() {
    let minute = "max-age=60";
    for (response, asked, age, expected) in [
        (minute, "", 0, Reuse::Fresh),
        (minute, "", 59, Reuse::Fresh),
        (minute, "", 60, STALE),
        (minute, "unknown=1", 59, Reuse::Fresh),
        (minute, "no-cache", 0, REQUEST),
        (minute, "no-cache", 60, STALE),
        (minute, "max-age=0", 0, REQUEST),
        (minute, "max-age=x", 0, REQUEST),
        (minute, "max-age=10", 10, Reuse::Fresh),
        (minute, "max-age=10", 11, REQUEST),
        (minute, "max-age=100", 60, STALE),
        (minute, "min-fresh=10", 50, Reuse::Fresh),
        (minute, "min-fresh=10", 51, REQUEST),
        (minute, "min-fresh=10", 60, STALE),
        (minute, "min-fresh=x", 0, REQUEST),
        (minute, "max-stale", 60, Reuse::StaleAllowed),
        (minute, "max-stale", 1_000_000, Reuse::StaleAllowed),
        (minute, "max-stale", 1 << 31, Reuse::StaleAllowed),
        (minute, "max-stale=10", 59, Reuse::Fresh),
        (minute, "max-stale=10", 70, Reuse::StaleAllowed),
        (minute, "max-stale=10", 71, STALE),
        (minute, "max-stale=x", 60, STALE),
        (minute, "max-stale=10, max-age=100", 70, Reuse::StaleAllowed),
        (minute, "max-stale=10, max-age=60", 61, STALE),
        (minute, "max-stale, no-cache", 0, REQUEST),
        (minute, "only-if-cached", 59, Reuse::Fresh),
        (minute, "only-if-cached", 60, STALE),
        (minute, "stale-if-error=100", 60, STALE),
    ] {
        let found = reuse(response, asked, age);
        assert_eq!(found, expected, "{response} | {asked} | {age}");
    }
}

#[test]
fn what_forbids_stale_use_forbids_it_to_all() {
    for directive in [
        "must-revalidate, max-age=60",
        "proxy-revalidate, max-age=60",
        "s-maxage=60",
    ] {
        let response = format!("{directive}, stale-while-revalidate=100");
        assert_eq!(reuse(&response, "", 59), Reuse::Fresh);
        for asked in ["", "max-stale", "max-stale=1000"] {
            assert_eq!(reuse(&response, asked, 60), STALE, "{response} | {asked}");
        }
    }
    for asked in ["", "max-stale", "max-age=100", "min-fresh=1"] {
        for response in ["no-cache, max-age=60", "no-cache"] {
            for age in [0, 59, 60, 1_000] {
                assert_eq!(reuse(response, asked, age), NO_CACHE, "{response} {asked}");
            }
        }
    }
    let qualified = "no-cache=\"set-cookie\", max-age=60";
    assert_eq!(reuse(qualified, "", 59), Reuse::Fresh);
}

#[test]
fn stale_while_revalidate_ends_to_the_second() {
    let response = "max-age=60, stale-while-revalidate=10";
    for (asked, age, expected) in [
        ("", 59, Reuse::Fresh),
        ("", 60, Reuse::StaleWhileRevalidate),
        ("", 69, Reuse::StaleWhileRevalidate),
        ("", 70, STALE),
        ("max-stale=5", 65, Reuse::StaleAllowed),
        ("max-stale=5", 66, Reuse::StaleWhileRevalidate),
        ("max-age=100", 65, STALE),
        ("min-fresh=1", 65, STALE),
        ("no-cache", 65, STALE),
    ] {
        assert_eq!(reuse(response, asked, age), expected, "{asked} | {age}");
    }
    assert_eq!(reuse("max-age=60, stale-while-revalidate=x", "", 60), STALE);
    let endless = "max-age=60, stale-while-revalidate=99999999999999999999";
    assert_eq!(reuse(endless, "", 1 << 30), Reuse::StaleWhileRevalidate);
    assert_eq!(reuse(endless, "", 1 << 31), STALE);
}

#[test]
fn a_reload_of_what_is_immutable_asks_nothing() {
    let response = "max-age=60, immutable";
    for (asked, age, expected) in [
        ("max-age=0", 0, Reuse::Fresh),
        ("max-age=0", 59, Reuse::Fresh),
        ("max-age=0", 60, STALE),
        ("no-cache", 0, REQUEST),
        ("min-fresh=10", 55, REQUEST),
    ] {
        assert_eq!(reuse(response, asked, age), expected, "{asked} | {age}");
    }
    assert_eq!(
        reuse("max-age=60, immutable=x", "max-age=0", 0),
        Reuse::Fresh
    );
    assert_eq!(reuse("no-cache, immutable", "max-age=0", 0), NO_CACHE);
}

#[test]
fn reasons_to_validate_have_the_words_of_cache_status() {
    assert_eq!(Why::Stale.fwd(), "stale");
    assert_eq!(Why::NoCache.fwd(), "stale");
    assert_eq!(Why::Request.fwd(), "request");
}

/// Whether it may be used after trouble.
fn on_error(response: &str, asked: &str, age: u64, trouble: Trouble) -> Option<&'static str> {
    let control = format!("Cache-Control: {response}");
    let stored = stored(&[&control, "ETag: \"x\""]);
    let rules = Rules {
        stale_grace: 100,
        ..Rules::default()
    };
    policy::stale_on_error(&get(asked), &stored.terms, later(age), trouble, &rules)
}

#[test]
fn stale_if_error_is_for_errors_and_its_time() {
    let word = Some("stale-if-error");
    for (response, asked) in [
        ("max-age=60, stale-if-error=10", ""),
        ("max-age=60", "stale-if-error=10"),
        ("max-age=60, stale-if-error=0", "stale-if-error=10"),
        ("max-age=60, stale-if-error=10", "max-age=0"),
        ("max-age=60, stale-if-error=10", "stale-if-error=5"),
    ] {
        for status in 500..600 {
            let trouble = Trouble::Status(status);
            let is_error = [500, 502, 503, 504].contains(&status);
            let found = on_error(response, asked, 69, trouble);
            assert_eq!(found, word.filter(|_| is_error), "{response} {status}");
            assert_eq!(on_error(response, asked, 70, trouble), None, "{response}");
        }
        for status in [200, 304, 404, 429] {
            let found = on_error(response, asked, 60, Trouble::Status(status));
            assert_eq!(found, None, "{status}");
        }
        assert_eq!(on_error(response, asked, 69, Trouble::Unreachable), word);
    }
}

#[test]
fn grace_is_for_origins_out_of_reach_alone() {
    let word = Some("stale-grace");
    for (response, asked, age, expected) in [
        ("max-age=60", "", 60, word),
        ("max-age=60", "", 159, word),
        ("max-age=60", "", 160, None),
        ("max-age=60", "max-age=0", 10, None),
        ("max-age=60", "max-age=1000", 60, None),
        ("max-age=60", "min-fresh=1", 60, None),
        ("max-age=60", "no-cache", 10, None),
        ("max-age=60, stale-if-error=5", "", 65, None),
        ("max-age=60, stale-if-error=0", "", 60, None),
        ("max-age=60, stale-while-revalidate=5", "", 65, None),
        ("max-age=0", "", 0, None),
        ("max-age=60", "", 1 << 31, None),
    ] {
        let found = on_error(response, asked, age, Trouble::Unreachable);
        assert_eq!(found, expected, "{response} | {asked} | {age}");
        for status in [500, 502, 503, 504] {
            let found = on_error(response, asked, age, Trouble::Status(status));
            assert_eq!(found, None, "{response} | {asked} | {status}");
        }
    }
}

#[test]
fn no_trouble_makes_use_of_what_forbids_it() {
    for response in [
        "no-cache, max-age=60, stale-if-error=1000",
        "must-revalidate, max-age=60, stale-if-error=1000",
        "proxy-revalidate, max-age=60, stale-if-error=1000",
        "s-maxage=60, stale-if-error=1000",
    ] {
        for asked in ["", "max-stale", "stale-if-error=1000"] {
            for trouble in [Trouble::Unreachable, Trouble::Status(503)] {
                let found = on_error(response, asked, 60, trouble);
                assert_eq!(found, None, "{response} | {asked}");
            }
        }
    }
    let asked = "no-cache, stale-if-error=1000";
    assert_eq!(
        on_error("max-age=60", asked, 60, Trouble::Unreachable),
        None
    );
}

#[test]
fn a_head_is_answered_by_the_same_rules() {
    let stored = stored(&["Cache-Control: max-age=60"]);
    let facts = request("HEAD", &[]);
    assert_eq!(
        policy::reuse(&facts, &stored.terms, later(59)),
        Reuse::Fresh
    );
    assert_eq!(policy::reuse(&facts, &stored.terms, later(60)), STALE);
}
