//! RFC 9111, rule by rule.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod heads;

use base::Wall;
use cache::policy::{Lifetime, Reason, RequestFacts, head_fields, storable as judge};
use heads::{RECEIVED, request, storable, with_answer};

const DATE: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT";

fn get() -> RequestFacts {
    request("GET", &[])
}

/// Seconds that an answer to a plain GET stays fresh from its arrival on.
fn left(lines: &[&str]) -> Result<u64, Reason> {
    storable(&get(), 200, lines).map(|lifetime| lifetime.fresh_for - lifetime.initial_age)
}

#[test]
fn the_lifetime_comes_from_the_first_of_its_sources() {
    let expires = "Expires: Sun, 06 Nov 1994 08:59:37 GMT";
    for (lines, expected) in [
        (&["Cache-Control: max-age=60"][..], Ok(60)),
        (&["cache-control: MAX-AGE=60"], Ok(60)),
        (&["Cache-Control: max-age=\"60\""], Ok(60)),
        (&["Cache-Control: s-maxage=30, max-age=60"], Ok(30)),
        (
            &["Cache-Control: max-age=60", "Cache-Control: s-maxage=30"],
            Ok(30),
        ),
        (&["Cache-Control: max-age=60", expires], Ok(60)),
        (&["Cache-Control: max-age=60, max-age=20"], Ok(20)),
        (&["Cache-Control: public", expires, DATE], Ok(600)),
        (&[expires], Ok(600)),
        (&[expires, "Date: Sun, 06 Nov 1994 08:49:27 GMT"], Ok(600)),
        (&[expires, "Date: yesterday"], Ok(600)),
        (&["Pragma: no-cache", "Cache-Control: max-age=60"], Ok(60)),
        (&["Set-Cookie: a=b", "Cache-Control: max-age=60"], Ok(60)),
        (&[DATE], Err(Reason::NoExplicitFreshness)),
        (&["Cache-Control: public"], Err(Reason::NoExplicitFreshness)),
        (
            &["Cache-Control: x=\"max-age=60\""],
            Err(Reason::NoExplicitFreshness),
        ),
        (
            &["Last-Modified: Sun, 06 Nov 1984 08:49:37 GMT"],
            Err(Reason::NoExplicitFreshness),
        ),
    ] {
        assert_eq!(left(lines), expected, "{lines:?}");
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
        assert_eq!(
            left(&[line, DATE, "Expires: Sun, 06 Nov 2094 08:59:37 GMT"]),
            Err(Reason::NotFresh)
        );
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
        let lifetime = storable(&get(), 200, &[&line]).unwrap();
        assert!(
            lifetime.is_fresh(Wall(RECEIVED.0 + 1_000_000_000)),
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
        let lines = [lines, &["Cache-Control: max-age=60"]].concat();
        let lifetime = storable(&get(), 200, &lines).unwrap();
        assert_eq!(lifetime.initial_age, age, "{lines:?}");
        assert_eq!(lifetime.age(Wall(RECEIVED.0 + 5)), age + 5);
        assert!(lifetime.is_fresh(Wall(RECEIVED.0 + 59 - age)));
        assert!(!lifetime.is_fresh(Wall(RECEIVED.0 + 60 - age)));
    }
}

#[test]
fn the_time_an_answer_took_is_part_of_its_age() {
    let lines = ["Cache-Control: max-age=60", "Age: 10"];
    let requested = Wall(RECEIVED.0 - 4);
    let lifetime = with_answer(200, &lines, |r| judge(&get(), r, requested, RECEIVED));
    assert_eq!(lifetime.unwrap().initial_age, 14);
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
    let old = ["Cache-Control: max-age=99999999999", "Age: 2147483647"];
    let lifetime = storable(&get(), 200, &old).unwrap();
    assert!(lifetime.is_fresh(RECEIVED));
    assert!(!lifetime.is_fresh(Wall(RECEIVED.0 + 1)));
    assert_eq!(lifetime.age(Wall(u64::MAX)), 1 << 31);
}

#[test]
fn a_clock_set_back_makes_nothing_older_or_younger_than_it_arrived() {
    let lifetime = Lifetime {
        received: RECEIVED,
        initial_age: 10,
        fresh_for: 60,
    };
    assert_eq!(lifetime.age(Wall(RECEIVED.0 - 1_000)), 10);
    assert!(lifetime.is_fresh(Wall(0)));
}

#[test]
fn what_may_not_be_stored_says_why() {
    for (lines, reason) in [
        (&["Cache-Control: no-store"][..], Reason::NoStore),
        (&["Cache-Control: NO-STORE, max-age=60"], Reason::NoStore),
        (&["Cache-Control: private"], Reason::Private),
        (&["Cache-Control: private=\"set-cookie\""], Reason::Private),
        (&["Cache-Control: no-cache"], Reason::NoCache),
        (&["Cache-Control: no-cache=\"set-cookie\""], Reason::NoCache),
        (&["Vary: Accept-Encoding"], Reason::Vary),
        (&["Vary: *"], Reason::Vary),
        (&["CDN-Cache-Control: max-age=60"], Reason::Targeted),
        (&["Content-Range: bytes 0-1/2"], Reason::Range),
        (&["Age: 60"], Reason::NotFresh),
    ] {
        let lines = [&["Cache-Control: max-age=60"], lines].concat();
        assert_eq!(left(&lines), Err(reason), "{lines:?}");
    }
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
    let lines = ["Cache-Control: must-understand, max-age=60"];
    for (status, stored) in [
        (200, true),
        (404, true),
        (299, false),
        (499, false),
        (999, false),
    ] {
        let found = storable(&get(), status, &lines);
        assert_eq!(found.is_ok(), stored, "{status}: {found:?}");
    }
    let both = ["Cache-Control: must-understand, no-store, max-age=60"];
    assert_eq!(left(&both), Err(Reason::NoStore));
}

#[test]
fn an_answer_to_authorization_is_stored_where_that_is_said() {
    let facts = request("GET", &["Authorization: Basic eA=="]);
    for (control, stored) in [
        ("max-age=60", false),
        ("max-age=60, public", true),
        ("max-age=60, must-revalidate", true),
        ("s-maxage=60", true),
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
        ("GET", &["Range: bytes=0-1"], Reason::Range),
        ("GET", &["Content-Length: 1"], Reason::RequestBody),
        ("GET", &["Transfer-Encoding: chunked"], Reason::RequestBody),
    ] {
        let facts = request(method, lines);
        assert_eq!(
            storable(&facts, 200, &answer),
            Err(reason),
            "{method} {lines:?}"
        );
    }
    for lines in [
        &["Cache-Control: no-cache"][..],
        &["Content-Length: 0"],
        &["Cookie: a=b"],
    ] {
        assert!(
            storable(&request("GET", lines), 200, &answer).is_ok(),
            "{lines:?}"
        );
    }
}

#[test]
fn requests_that_are_not_answered_from_the_store_say_why() {
    for (method, lines, expected) in [
        ("GET", &[][..], Ok(())),
        ("HEAD", &[], Ok(())),
        ("GET", &["Content-Length: 0"], Ok(())),
        ("GET", &["Cookie: a=b"], Ok(())),
        ("GET", &["Authorization: Basic eA=="], Ok(())),
        ("GET", &["Cache-Control: max-stale=60"], Ok(())),
        ("GET", &["Cache-Control: only-if-cached"], Ok(())),
        ("GET", &["Cache-Control: x", "Pragma: no-cache"], Ok(())),
        ("GET", &["Pragma: x, No-Cache"], Err(Reason::NoCache)),
        ("GET", &["Cache-Control: no-cache"], Err(Reason::NoCache)),
        ("GET", &["Cache-Control: max-age=0"], Err(Reason::NoCache)),
        ("GET", &["Cache-Control: max-age=x"], Err(Reason::NoCache)),
        (
            "GET",
            &["Cache-Control: min-fresh=10"],
            Err(Reason::NoCache),
        ),
        (
            "GET",
            &["Cache-Control: no-store"],
            Err(Reason::RequestNoStore),
        ),
        ("GET", &["Range: bytes=0-1"], Err(Reason::Range)),
        ("HEAD", &["Content-Length: 1"], Err(Reason::RequestBody)),
        ("POST", &["Content-Length: 0"], Err(Reason::Method)),
        ("OPTIONS", &[], Err(Reason::Method)),
    ] {
        let found = request(method, lines).cacheable();
        assert_eq!(found, expected, "{method} {lines:?}");
    }
    let facts = request(
        "GET",
        &["Cache-Control: only-if-cached", "Authorization: x"],
    );
    assert!(facts.only_if_cached && facts.authorization);
}

#[test]
fn reasons_are_words_of_their_own() {
    let words: std::collections::HashSet<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
    assert_eq!(words.len(), Reason::ALL.len());
    let plain = |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    assert!(words.iter().all(plain));
}

fn fields(lines: &[&str]) -> String {
    let kept = with_answer(200, lines, |response| head_fields(response, RECEIVED));
    String::from_utf8(kept).unwrap()
}

#[test]
fn end_to_end_fields_are_stored_as_they_came() {
    let lines = [
        "eTag:\"x\"",
        "X-Odd:   inner  space   ",
        "Set-Cookie: a=b",
        "Set-Cookie: c=d",
        "Date: whenever",
        "X-Empty:",
        "Content-Type: text/plain",
    ];
    assert_eq!(
        fields(&lines),
        "eTag: \"x\"\r\nX-Odd: inner  space\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\
         Date: whenever\r\nX-Empty: \r\nContent-Type: text/plain\r\n"
    );
}

#[test]
fn hop_by_hop_and_framing_fields_are_not_stored() {
    let lines = [
        DATE,
        "Connection: close, X-Hop",
        "connection: x-other",
        "x-hop: 1",
        "X-Other: 2",
        "X-Kept: 3",
        "Keep-Alive: timeout=5",
        "Proxy-Authenticate: Basic",
        "Proxy-Authentication-Info: x",
        "Proxy-Authorization: x",
        "Proxy-Connection: close",
        "TE: trailers",
        "Trailer: X-Sum",
        "Transfer-Encoding: chunked",
        "Upgrade: h2c",
        "Age: 5",
    ];
    assert_eq!(fields(&lines), format!("{DATE}\r\nX-Kept: 3\r\n"));
    assert_eq!(fields(&[DATE, "Content-Length: 5"]), format!("{DATE}\r\n"));
}

#[test]
fn an_answer_without_a_date_gets_that_of_its_arrival() {
    assert_eq!(fields(&["X: y"]), format!("X: y\r\n{DATE}\r\n"));
    let listed = ["Date: Sun, 06 Nov 1984 08:49:37 GMT", "Connection: date"];
    assert_eq!(fields(&listed), format!("{DATE}\r\n"));
}
