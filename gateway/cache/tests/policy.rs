//! What may be stored and for how long it is fresh, rule by rule (RFC 9111 §3, §4.2).

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod heads;

use base::Wall;
use cache::policy::{Lifetime, Reason, RequestFacts, Rules, SetCookie, storable as judge};
use heads::{DATE, MODIFIED, RECEIVED, later, request, storable, storable_by, stored, with_answer};

fn get() -> RequestFacts {
    request("GET", &[])
}

/// Seconds that an answer to a plain GET stays fresh from its arrival on.
fn left(lines: &[&str]) -> Result<u64, Reason> {
    storable(&get(), 200, lines).map(|terms| {
        terms
            .lifetime
            .fresh_for
            .saturating_sub(terms.lifetime.initial_age_ms / 1_000)
    })
}

fn lifetime(lines: &[&str]) -> Lifetime {
    storable(&get(), 200, lines).unwrap().lifetime
}

#[test]
fn the_lifetime_comes_from_the_first_of_its_sources() {
    let expires = "Expires: Sun, 06 Nov 1994 08:59:37 GMT";
    for (lines, expected) in [
        (&["Cache-Control: max-age=60"][..], Ok(60)),
        (&["cache-control: MAX-AGE=60"], Ok(60)),
        (&["Cache-Control: max-age=\"60\""], Ok(60)),
        (&["Cache-Control: s-maxage=30, max-age=60"], Ok(30)),
        (&["Cache-Control: s-maxage=60, max-age=30"], Ok(60)),
        (
            &["Cache-Control: max-age=60", "Cache-Control: s-maxage=30"],
            Ok(30),
        ),
        (&["Cache-Control: max-age=60", expires], Ok(60)),
        (&["Cache-Control: max-age=60, max-age=20"], Ok(20)),
        (&["Cache-Control: max-age=60, x=\"max-age=20\""], Ok(60)),
        (&["Cache-Control: a=b, max-age=60, c"], Ok(60)),
        (&["Cache-Control: public", expires, DATE], Ok(600)),
        (&[expires], Ok(600)),
        (&[expires, "Date: Sun, 06 Nov 1994 08:49:27 GMT"], Ok(600)),
        (&[expires, "Date: yesterday"], Ok(600)),
        (&["Pragma: no-cache", "Cache-Control: max-age=60"], Ok(60)),
        (&["Set-Cookie: a=b", "Cache-Control: max-age=60"], Ok(60)),
        (&[DATE], Err(Reason::NoExplicitFreshness)),
        (&[DATE, "ETag: \"x\""], Err(Reason::NoExplicitFreshness)),
        (&["Cache-Control: public"], Err(Reason::NoExplicitFreshness)),
        (
            &["Cache-Control: x=\"max-age=60\""],
            Err(Reason::NoExplicitFreshness),
        ),
    ] {
        assert_eq!(left(lines), expected, "{lines:?}");
        let mut backwards = lines.to_vec();
        backwards.reverse();
        assert_eq!(left(&backwards), expected, "{backwards:?}");
    }
}

#[test]
fn a_lifetime_that_cannot_be_read_is_none_at_all() {
    for line in [
        "Cache-Control: max-age=0",
        "Cache-Control: max-age=-1",
        "Cache-Control: max-age=1.5",
        "Cache-Control: max-age='60'",
        "Cache-Control: max-age=60s",
        "Cache-Control: max-age",
        "Cache-Control: max-age=",
        "Cache-Control: max-age=60, max-age=x",
        "Cache-Control: s-maxage=x, max-age=60",
        "Cache-Control: s-maxage=0, max-age=60",
        "Expires: 0",
        "Expires: -1",
        "Expires: ",
        "Expires: Sun, 06 Nov 1994 08:49:37 GMT",
        "Expires: Sun, 06 Nov 1994 08:49:36 GMT",
        "Expires: Sun, 06 Nov 2094 08:59:37 PST",
        "Expires: Sun 06 Nov 2094 08:59:37 GMT",
        "Expires: Sun, 06 Nov 94 08:59:37 GMT",
        "Expires: Sun,  06 Nov 2094 08:59:37 GMT",
        "Expires: Sun, 06-Nov-2094 08:59:37 GMT",
        "Expires: Sun, 06 Nov 2094 08.59.37 GMT",
        "Expires: Sun, 06 Nov 2094 8:59:37 GMT",
    ] {
        assert_eq!(left(&[line, DATE]), Err(Reason::NotFresh), "{line}");
        let other = "Expires: Sun, 06 Nov 2094 08:59:37 GMT";
        assert_eq!(left(&[line, DATE, other]), Err(Reason::NotFresh), "{line}");
        // Nor is it guessed then, be there something to guess from.
        assert_eq!(left(&[line, DATE, MODIFIED]), Ok(0), "{line}");
    }
}

#[test]
fn expires_is_read_in_every_form_of_a_date() {
    for line in [
        "Expires: Sun, 06 Nov 1994 08:59:37 GMT",
        "expires: sun, 06 nov 1994 08:59:37 gmt",
        "Expires: Sunday, 06-Nov-94 08:59:37 GMT",
        "Expires: Sun Nov  6 08:59:37 1994",
    ] {
        assert_eq!(left(&[line, DATE]), Ok(600), "{line}");
    }
    let far = left(&["Expires: Thu, 31 Dec 9998 23:59:59 GMT", DATE]).unwrap();
    assert!(far > 1 << 32);
}

#[test]
fn huge_lifetimes_saturate_and_stay_fresh() {
    for digits in ["2147483648", "4294967296", "99999999999999999999999999"] {
        let line = format!("Cache-Control: max-age={digits}");
        assert!(
            lifetime(&[&line]).is_fresh(later(1_000_000_000)),
            "{digits}"
        );
    }
}

#[test]
fn age_counts_from_where_the_answer_was_made() {
    for (lines, age) in [
        (&[][..], 0),
        (&["Age: 10"], 10),
        (&["Age: 10, 20"], 10),
        (&["Age: 10", "Age: 20"], 10),
        (&["Age:  7 "], 7),
        (&["Age: ten"], 0),
        (&["Age: -10"], 0),
        (&["Age: 1.5"], 0),
        (&["Age: 10a"], 0),
        (&["Age: "], 0),
        (&["Date: Sun, 06 Nov 1994 08:49:17 GMT"], 20),
        (&["Date: Sun, 06 Nov 1994 08:49:17 GMT", "Age: 30"], 30),
        (&["Date: Sun, 06 Nov 1994 08:49:17 GMT", "Age: 10"], 20),
        (&["Date: Sun, 06 Nov 1994 08:50:37 GMT"], 0),
        (&["Date: nonsense", "Age: 3"], 3),
    ] {
        let lifetime = lifetime(&[lines, &["Cache-Control: max-age=60"]].concat());
        assert_eq!(lifetime.initial_age_ms, age * 1_000, "{lines:?}");
        assert_eq!(lifetime.age(later(5)), age + 5);
        assert!(lifetime.is_fresh(later(59 - age)));
        assert_eq!(lifetime.stale_for(later(59 - age)), 0);
        assert!(!lifetime.is_fresh(later(60 - age)));
        assert_eq!(lifetime.stale_for(later(70 - age)), 10);
    }
}

#[test]
fn the_time_an_answer_took_is_part_of_its_age() {
    let lines = ["Cache-Control: max-age=60", "Age: 10"];
    let requested = Wall::from_secs(RECEIVED.as_secs() - 4);
    let rules = Rules::default();
    let terms = with_answer(200, &lines, |r| {
        judge(&get(), r, requested, RECEIVED, &rules)
    });
    assert_eq!(terms.unwrap().lifetime.initial_age_ms, 14_000);
}

/// A lifetime of a second is a second, wherever in the second it begins and whichever second the origin's clock shows.
#[test]
fn a_second_border_between_the_request_and_the_answer_costs_no_second() {
    let rules = Rules::default();
    for date in [
        "X: y",
        "Date: Sun, 06 Nov 1994 08:49:36 GMT",
        "Date: Sun, 06 Nov 1994 08:49:37 GMT",
    ] {
        let (requested, received) = (Wall(RECEIVED.0 - 30), Wall(RECEIVED.0 + 20));
        let terms = with_answer(200, &["Cache-Control: max-age=1", date], |r| {
            judge(&get(), r, requested, received, &rules)
        });
        let lifetime = terms.unwrap().lifetime;
        assert!(
            lifetime.was_fresh() && lifetime.is_fresh(Wall(received.0 + 949)),
            "{date}"
        );
        assert!(!lifetime.is_fresh(Wall(received.0 + 950)), "{date}");
    }
}

#[test]
fn ages_at_and_beyond_two_to_the_31_are_stale() {
    for age in [
        "2147483648",
        "2147483649",
        "4294967297",
        "99999999999999999999999",
    ] {
        let age = format!("Age: {age}");
        let lines = ["Cache-Control: max-age=99999999999", &age];
        assert_eq!(left(&lines), Err(Reason::NotFresh), "{age}");
    }
    let old = lifetime(&["Cache-Control: max-age=99999999999", "Age: 2147483647"]);
    assert!(old.is_fresh(RECEIVED));
    assert!(!old.is_fresh(later(1)));
    assert_eq!(old.stale_for(later(1)), u64::MAX);
    assert_eq!(old.age(Wall::from_secs(u64::MAX)), 1 << 31);
}

#[test]
fn a_clock_set_back_makes_nothing_older_or_younger_than_it_arrived() {
    let lifetime = Lifetime {
        received: RECEIVED,
        initial_age_ms: 10_000,
        fresh_for: 60,
    };
    assert_eq!(
        lifetime.age(Wall::from_secs(RECEIVED.as_secs() - 1_000)),
        10
    );
    assert!(lifetime.is_fresh(Wall::from_secs(0)));
}

#[test]
fn a_lifetime_is_guessed_where_that_is_allowed() {
    for status in 200..=999 {
        for control in ["X: y", "Cache-Control: public", "Cache-Control: x"] {
            let guessable = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];
            let refused = [206, 304, 428, 429, 431, 511].contains(&status);
            let is_public = control.ends_with("public");
            let is_guessed = guessable.contains(&status) || is_public && !refused;
            let found = storable(&get(), status, &[DATE, MODIFIED, control]);
            assert_eq!(found.is_ok(), is_guessed, "{status} {control}: {found:?}");
            if let Ok(terms) = found {
                assert!(terms.heuristic);
                assert_eq!(terms.lifetime.fresh_for, 100, "{status}");
            }
            let bare = storable(&get(), status, &[DATE, control]);
            assert!(bare.is_err(), "{status} {control}: {bare:?}");
        }
    }
}

#[test]
fn a_guess_is_a_part_of_the_unchanged_time_and_bounded() {
    let rules = |heuristic_percent, heuristic_max| Rules {
        heuristic_percent,
        heuristic_max,
        ..Rules::default()
    };
    let old = "Last-Modified: Sun, 06 Nov 1904 08:49:37 GMT";
    let none = Err(Reason::NoExplicitFreshness);
    for (rules, modified, expected) in [
        (rules(10, 86_400), MODIFIED, Ok(100)),
        (rules(50, 86_400), MODIFIED, Ok(500)),
        (rules(10, 30), MODIFIED, Ok(30)),
        (rules(10, 86_400), old, Ok(86_400)),
        (rules(0, 86_400), old, none),
        (rules(10, 0), old, none),
        (rules(u64::MAX, u64::MAX), old, Ok(u64::MAX / 100)),
        (
            rules(10, 86_400),
            "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT",
            none,
        ),
        (
            rules(10, 86_400),
            "Last-Modified: Sun, 06 Nov 2094 08:49:37 GMT",
            none,
        ),
        (rules(10, 86_400), "Last-Modified: once", none),
    ] {
        let found = storable_by(&rules, &get(), 200, &[DATE, modified]);
        let found = found.map(|terms| terms.lifetime.fresh_for);
        assert_eq!(found, expected, "{rules:?} {modified}");
    }
    let twice = storable(&get(), 200, &[DATE, MODIFIED, old]);
    assert_eq!(twice.unwrap_err(), Reason::NoExplicitFreshness);
    let aged = storable(&get(), 200, &[DATE, MODIFIED, "Age: 100"]);
    assert_eq!(aged.unwrap_err(), Reason::NotFresh);
}

#[test]
fn clients_errors_are_kept_for_a_configured_time() {
    let rules = Rules {
        negative_ttl: 7,
        ..Rules::default()
    };
    for status in 200..=599 {
        let found = storable_by(&rules, &get(), status, &[DATE]);
        let is_negative = [404, 405, 410, 414, 501].contains(&status);
        assert_eq!(found.is_ok(), is_negative, "{status}: {found:?}");
        assert!(found.is_err() || found.unwrap().lifetime.fresh_for == 7);
    }
    for (lines, expected) in [
        (&["Cache-Control: max-age=60"][..], Ok(60)),
        (&[DATE, MODIFIED], Ok(7)),
        (&["Cache-Control: max-age=0"], Err(Reason::NotFresh)),
        (&["Cache-Control: no-store"], Err(Reason::NoStore)),
        (&["Expires: 0"], Err(Reason::NotFresh)),
        (&["Set-Cookie: a=b"], Err(Reason::SetCookie)),
        (&["Age: 7"], Err(Reason::NotFresh)),
    ] {
        let found = storable_by(&rules, &get(), 404, lines);
        let found = found.map(|terms| terms.lifetime.fresh_for);
        assert_eq!(found, expected, "{lines:?}");
    }
}

#[test]
fn what_may_not_be_stored_says_why() {
    for (lines, reason) in [
        (&["Cache-Control: no-store"][..], Reason::NoStore),
        (&["Cache-Control: NO-STORE, max-age=60"], Reason::NoStore),
        (&["Cache-Control: x=\"unended"], Reason::NoStore),
        (&["Cache-Control: private"], Reason::Private),
        (&["Cache-Control: private=\"\""], Reason::Private),
        (&["Cache-Control: private, private=\"a\""], Reason::Private),
        (&["Cache-Control: no-cache"], Reason::NoCache),
        (&["Vary: *"], Reason::Vary),
        (&["Vary: Accept, *"], Reason::Vary),
        (&["Vary: *, Accept"], Reason::Vary),
        (&["Vary: Accept", "Vary: *"], Reason::Vary),
        (&["Age: 60"], Reason::NotFresh),
    ] {
        let lines = [&["Cache-Control: max-age=60"], lines].concat();
        assert_eq!(left(&lines), Err(reason), "{lines:?}");
    }
    for line in [
        "Vary: Accept",
        "Vary: Accept, Cookie",
        "Vary:",
        // Says something of a 206 and a 416 alone (RFC 9110 §14.4).
        "Content-Range: bytes 0-1/2",
    ] {
        assert_eq!(left(&["Cache-Control: max-age=60", line]), Ok(60), "{line}");
    }
}

#[test]
fn what_is_never_fresh_is_stored_where_it_can_be_of_use() {
    let tag = "ETag: \"x\"";
    for (lines, expected) in [
        (&["Cache-Control: no-cache", tag][..], Ok(())),
        (&["Cache-Control: no-cache", MODIFIED], Ok(())),
        (&["Cache-Control: no-cache, max-age=60", tag], Ok(())),
        (
            &["Cache-Control: no-cache, max-age=60"],
            Err(Reason::NoCache),
        ),
        (&["Cache-Control: no-cache"], Err(Reason::NoCache)),
        (&["Cache-Control: max-age=0", tag], Ok(())),
        (&["Cache-Control: max-age=0, must-revalidate", tag], Ok(())),
        (&["Expires: 0", MODIFIED], Ok(())),
        (&["Cache-Control: max-age=60", "Age: 70", tag], Ok(())),
        (
            &["Cache-Control: max-age=0, stale-while-revalidate=9"],
            Ok(()),
        ),
        (&["Cache-Control: max-age=0, stale-if-error=9"], Ok(())),
        (
            &[
                "Cache-Control: max-age=0, stale-while-revalidate=9",
                "Age: 9",
            ],
            Err(Reason::NotFresh),
        ),
        (
            &["Cache-Control: max-age=0, must-revalidate, stale-if-error=9"],
            Err(Reason::NotFresh),
        ),
        (
            &["Cache-Control: s-maxage=0, stale-while-revalidate=9"],
            Err(Reason::NotFresh),
        ),
        (
            &["Cache-Control: max-age=0", "ETag: "],
            Err(Reason::NotFresh),
        ),
    ] {
        let found = storable(&get(), 200, lines).map(|_| ());
        assert_eq!(found, expected, "{lines:?}");
    }
    let server_error = storable(&get(), 500, &["Cache-Control: no-cache", tag]);
    assert_eq!(server_error.unwrap_err(), Reason::NoExplicitFreshness);
}

#[test]
fn every_final_status_is_stored_with_a_lifetime_but_six() {
    let lines = ["Cache-Control: max-age=60"];
    for status in 100..=999 {
        let expected = match status {
            100..200 | 304 | 428 | 429 | 431 | 511 => Err(Reason::Status),
            206 => Err(Reason::Range),
            _ => Ok(()),
        };
        let found = storable(&get(), status, &lines).map(|_| ());
        assert_eq!(found, expected, "{status}");
        assert!(storable(&get(), status, &[DATE]).is_err(), "{status}");
    }
}

#[test]
fn a_status_that_must_be_understood_is() {
    for control in ["must-understand", "no-store, must-understand"] {
        let line = format!("Cache-Control: {control}, max-age=60");
        for (status, stored) in [
            (200, true),
            (404, true),
            (299, false),
            (499, false),
            (999, false),
        ] {
            let found = storable(&get(), status, &[&line]);
            assert_eq!(found.is_ok(), stored, "{status} {control}: {found:?}");
        }
    }
}

#[test]
fn an_answer_to_authorization_is_stored_where_that_is_said() {
    let facts = request("GET", &["Authorization: Basic eA=="]);
    for (control, stored) in [
        ("max-age=60", false),
        ("max-age=60, public", true),
        ("max-age=60, must-revalidate", true),
        ("s-maxage=60", true),
        ("s-maxage=x, max-age=60", false),
        ("max-age=60, proxy-revalidate", false),
    ] {
        let line = format!("Cache-Control: {control}");
        let found = storable(&facts, 200, &[&line]);
        assert_eq!(found.is_ok(), stored, "{control}: {found:?}");
        assert!(stored || found == Err(Reason::Authorization));
    }
}

#[test]
fn requests_that_forbid_storing_do() {
    let answer = ["Cache-Control: max-age=60"];
    for (method, lines, reason) in [
        ("HEAD", &[][..], Reason::Method),
        ("POST", &["Content-Length: 0"], Reason::Method),
        ("PROPFIND", &[], Reason::Method),
        ("get", &[], Reason::Method),
        ("GET", &["Cache-Control: no-store"], Reason::RequestNoStore),
        ("GET", &["If-Match: \"x\""], Reason::Condition),
        ("GET", &["Content-Length: 1"], Reason::RequestBody),
        ("GET", &["Transfer-Encoding: chunked"], Reason::RequestBody),
    ] {
        let found = storable(&request(method, lines), 200, &answer);
        assert_eq!(found.unwrap_err(), reason, "{method} {lines:?}");
    }
    for lines in [
        &["Cache-Control: no-cache"][..],
        &["Content-Length: 0"],
        &["Cookie: a=b"],
        &["If-None-Match: \"x\""],
        &["Range: bytes=0-1"],
    ] {
        let found = storable(&request("GET", lines), 200, &answer);
        assert!(found.is_ok(), "{lines:?}");
    }
    for status in [206, 416] {
        let found = storable(&request("GET", &["Range: bytes=0-1"]), status, &answer);
        assert_eq!(found.unwrap_err(), Reason::Range, "{status}");
    }
}

#[test]
fn a_cookie_is_stored_with_what_says_how_long_it_is_fresh() {
    let rules = |set_cookie| Rules {
        set_cookie,
        ..Rules::default()
    };
    let (tag, cookie) = ("ETag: \"x\"", "Set-Cookie: a=b");
    let refused = Err(Reason::SetCookie);
    for (lines, store, strip) in [
        (&["Cache-Control: max-age=60"][..], Ok(()), Ok(())),
        (&["Expires: Sun, 06 Nov 1994 08:59:37 GMT"], Ok(()), Ok(())),
        (&[DATE, MODIFIED], refused, Ok(())),
        (&["Cache-Control: no-cache", tag], refused, Ok(())),
        (&["Cache-Control: max-age=0", tag], refused, Ok(())),
        (
            &["Cache-Control: no-cache=\"set-cookie\"", MODIFIED],
            Ok(()),
            Ok(()),
        ),
    ] {
        let lines = [lines, &[cookie]].concat();
        for (set_cookie, expected) in [
            (SetCookie::Store, store),
            (SetCookie::Strip, strip),
            (SetCookie::Refuse, refused),
        ] {
            let found = storable_by(&rules(set_cookie), &get(), 200, &lines);
            assert_eq!(found.map(|_| ()), expected, "{set_cookie:?} {lines:?}");
        }
    }
}

#[test]
fn terms_say_what_the_answer_allows() {
    let terms =
        |control: &str| stored(&[&format!("Cache-Control: {control}"), "ETag: \"x\""]).terms;
    let plain = terms("max-age=60");
    assert!(!plain.no_cache && !plain.must_revalidate && !plain.immutable && !plain.heuristic);
    assert_eq!(
        (plain.stale_while_revalidate, plain.stale_if_error),
        (0, None)
    );
    assert!(terms("no-cache").no_cache);
    assert!(!terms("max-age=60, no-cache=\"a\"").no_cache);
    assert!(terms("max-age=60, immutable").immutable);
    for control in [
        "must-revalidate",
        "proxy-revalidate",
        "s-maxage=9",
        "s-maxage=x",
        "no-cache",
    ] {
        let line = format!("{control}, max-age=60, stale-while-revalidate=5, stale-if-error=6");
        let terms = terms(&line);
        assert!(terms.forbids_stale(), "{control}");
        assert_eq!(
            (terms.stale_while_revalidate, terms.stale_if_error),
            (0, None)
        );
    }
    let windows = terms("max-age=60, stale-while-revalidate=5, stale-if-error=6");
    assert_eq!(
        (windows.stale_while_revalidate, windows.stale_if_error),
        (5, Some(6))
    );
    let unreadable = terms("max-age=60, stale-while-revalidate=x, stale-if-error=-6");
    assert_eq!(
        (unreadable.stale_while_revalidate, unreadable.stale_if_error),
        (0, Some(0))
    );
}

#[test]
fn directives_for_us_stand_for_all_others() {
    let none = Reason::NoExplicitFreshness;
    for (targeted, lines, expected) in [
        ("max-age=30", &["Cache-Control: max-age=60"][..], Ok(30)),
        ("max-age=30", &["Cache-Control: no-store"], Ok(30)),
        ("max-age=30", &["Cache-Control: private"], Ok(30)),
        ("max-age=30", &["Expires: 0"], Ok(30)),
        ("max-age=30", &["Age: 10"], Ok(20)),
        ("max-age=30, unknown=(a b);c", &[], Ok(30)),
        (
            "no-store",
            &["Cache-Control: max-age=60"],
            Err(Reason::NoStore),
        ),
        (
            "private",
            &["Cache-Control: max-age=60"],
            Err(Reason::Private),
        ),
        (
            "no-cache",
            &["Cache-Control: max-age=60"],
            Err(Reason::NoCache),
        ),
        (
            "max-age=0",
            &["Cache-Control: max-age=60"],
            Err(Reason::NotFresh),
        ),
        (
            "max-age=-1",
            &["Cache-Control: max-age=60"],
            Err(Reason::NotFresh),
        ),
        ("public", &["Cache-Control: max-age=60"], Err(none)),
        (
            "public",
            &["Expires: Sun, 06 Nov 1994 08:59:37 GMT"],
            Err(none),
        ),
        // As if absent.
        ("", &["Cache-Control: max-age=60"], Ok(60)),
        ("max-age=\"30\"", &["Cache-Control: max-age=60"], Ok(60)),
        ("max-age=30.0", &["Cache-Control: max-age=60"], Ok(60)),
        ("MAX-AGE=30", &["Cache-Control: max-age=60"], Ok(60)),
        ("max-age=30,", &["Cache-Control: max-age=60"], Ok(60)),
        ("no-store=1", &["Cache-Control: max-age=60"], Ok(60)),
    ] {
        let line = format!("CDN-Cache-Control: {targeted}");
        let lines = [&[&*line], lines].concat();
        assert_eq!(left(&lines), expected, "{lines:?}");
    }
    let rules = Rules {
        targeted: false,
        ..Rules::default()
    };
    let both = ["CDN-Cache-Control: no-store", "Cache-Control: max-age=60"];
    assert!(storable_by(&rules, &get(), 200, &both).is_ok());
}

#[test]
fn reasons_are_words_of_their_own() {
    let words: std::collections::HashSet<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
    assert_eq!(words.len(), Reason::ALL.len());
    let plain = |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    assert!(words.iter().all(plain));
}
