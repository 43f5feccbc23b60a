//! Validation at the origin (RFC 9111 §3.2, §4.3).

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod heads;

use cache::policy::{
    self, HeadSays, Reason, Rules, SetCookie, Terms, freshened, head_says, speaks_of, validators,
};
use heads::{DATE, MODIFIED, Stored, later, request, stored, with_answer};
use proptest::prelude::*;

const FRESH: &str = "Cache-Control: max-age=60";
const LATER: &str = "Date: Sun, 06 Nov 1994 08:51:17 GMT";

#[test]
fn every_validator_goes_to_the_origin_as_it_came() {
    let modified = "If-Modified-Since: Sun, 06 Nov 1994 08:32:57 GMT\r\n";
    for (lines, expected) in [
        (&["ETag: \"a\""][..], "If-None-Match: \"a\"\r\n".into()),
        (&["ETag: W/\"a\""], "If-None-Match: W/\"a\"\r\n".into()),
        (&["ETag: a"], "If-None-Match: a\r\n".into()),
        (&[MODIFIED], String::from(modified)),
        (
            &[MODIFIED, "ETag: \"\""],
            format!("If-None-Match: \"\"\r\n{modified}"),
        ),
        (
            &["Last-Modified: sunday, 06-nov-94 08:32:57 gmt"],
            "If-Modified-Since: sunday, 06-nov-94 08:32:57 gmt\r\n".into(),
        ),
        (&["X: y"], String::new()),
    ] {
        let stored = stored(&[&[FRESH], lines].concat());
        let found = validators(&stored.terms, &stored.fields);
        assert_eq!(String::from_utf8(found).unwrap(), expected);
    }
}

#[test]
fn a_304_speaks_of_what_its_validators_name() {
    let (old, other) = (MODIFIED, "Last-Modified: Sun, 06 Nov 1994 08:32:58 GMT");
    for (held, brought, expected) in [
        (&["ETag: \"a\""][..], &["ETag: \"a\""][..], true),
        (&["ETag: \"a\""], &["ETag: \"b\""], false),
        (&["ETag: \"a\""], &["ETag: W/\"a\""], true),
        (&["ETag: \"a\""], &["ETag: W/\"b\""], false),
        (&["ETag: W/\"a\""], &["ETag: \"a\""], false),
        (&["ETag: W/\"a\""], &["ETag: W/\"a\""], true),
        (&["ETag: a"], &["ETag: a"], true),
        (&["ETag: a"], &["ETag: b"], false),
        (&["ETag: \"a\"", old], &["ETag: \"a\"", other], true),
        (&["ETag: \"a\"", old], &["ETag: \"b\"", old], false),
        (&["ETag: \"a\"", old], &["ETag: W/\"b\"", old], false),
        (&["ETag: \"a\"", old], &["ETag: W/\"a\"", other], false),
        (&["ETag: \"a\"", old], &[old], true),
        (&["ETag: \"a\"", old], &[other], false),
        (&[old], &[old], true),
        (&[old], &[other], false),
        (&[old], &["ETag: \"a\"", old], false),
        (&[old], &["ETag: W/\"a\"", old], true),
        (&[old], &["ETag: W/\"a\""], false),
        (&["ETag: \"a\""], &[], true),
        (&[old], &[], true),
    ] {
        let stored = stored(&[&[FRESH], held].concat());
        let found = with_answer(304, brought, |response| {
            speaks_of(response, &stored.terms, &stored.fields)
        });
        assert_eq!(found, expected, "{held:?} {brought:?}");
    }
}

/// Freshened by a 304 that arrived 100 seconds later.
fn after(stored: &Stored, lines: &[&str]) -> (String, Result<Terms, Reason>) {
    after_by(&Rules::default(), &[], stored, lines)
}

fn after_by(
    rules: &Rules,
    asked: &[&str],
    stored: &Stored,
    lines: &[&str],
) -> (String, Result<Terms, Reason>) {
    let facts = request("GET", asked);
    let now = later(100);
    let (fields, terms) = with_answer(304, lines, |response| {
        let head = (stored.status, &stored.fields[..]);
        freshened(&facts, head, response, (now, now), rules)
    });
    (String::from_utf8(fields).unwrap(), terms)
}

#[test]
fn a_304_replaces_what_it_brings_and_leaves_the_rest() {
    let stored = stored(&[
        FRESH,
        DATE,
        "ETag: \"a\"",
        "X-Kept: 1",
        "X-Many: 1",
        "x-many: 2",
        "Content-Type: text/plain",
        "Content-Encoding: gzip",
    ]);
    let (fields, terms) = after(
        &stored,
        &[
            LATER,
            "etag: \"a\"",
            "X-MANY: 3",
            "X-New: 4",
            "X-New: 5",
            "Content-Type: text/html",
            "Content-Encoding: br",
            "Content-Length: 77",
            "Content-Range: bytes 0-1/2",
            "Connection: x-hop",
            "X-Hop: 1",
            "Age: 3",
            "Keep-Alive: x",
        ],
    );
    let expected = [
        FRESH,
        "X-Kept: 1",
        "Content-Encoding: gzip",
        LATER,
        "etag: \"a\"",
        "X-MANY: 3",
        "X-New: 4",
        "X-New: 5",
        "Content-Type: text/html",
    ];
    assert_eq!(fields, expected.join("\r\n") + "\r\n");
    let terms = terms.unwrap();
    assert_eq!(terms.etag.unwrap().of(fields.as_bytes()), b"\"a\"");
    assert_eq!(terms.lifetime.received, later(100));
    assert_eq!(terms.lifetime.initial_age_ms, 3_000);
    assert_eq!(terms.lifetime.fresh_for, 60);
}

#[test]
fn freshness_restarts_from_the_merged_head() {
    let expires = "Expires: Sun, 06 Nov 1994 08:59:37 GMT";
    for (held, brought, expected) in [
        (FRESH, &[][..], Ok((0, 60))),
        (FRESH, &[LATER], Ok((0, 60))),
        (FRESH, &["Age: 50"], Ok((50, 60))),
        (FRESH, &["Cache-Control: max-age=7"], Ok((0, 7))),
        (FRESH, &[expires], Ok((0, 60))),
        (expires, &[LATER], Ok((0, 500))),
        (expires, &[], Ok((0, 500))),
        (expires, &["Expires: 0"], Ok((0, 0))),
        (FRESH, &[DATE], Ok((100, 60))),
        (FRESH, &["Cache-Control: no-store"], Err(Reason::NoStore)),
        (FRESH, &["Cache-Control: private"], Err(Reason::Private)),
        (FRESH, &["Vary: *"], Err(Reason::Vary)),
        (
            FRESH,
            &["CDN-Cache-Control: no-store"],
            Err(Reason::NoStore),
        ),
        (FRESH, &["CDN-Cache-Control: max-age=5"], Ok((0, 5))),
        (
            "CDN-Cache-Control: max-age=5",
            &["Cache-Control: no-store"],
            Ok((0, 5)),
        ),
    ] {
        let stored = stored(&[held, "ETag: \"a\"", DATE]);
        let (fields, terms) = after(&stored, brought);
        let found = terms.map(|t| (t.lifetime.initial_age_ms / 1_000, t.lifetime.fresh_for));
        assert_eq!(found, expected, "{held} {brought:?}");
        assert!(fields.contains("ETag: \"a\"\r\n"), "{fields}");
        for line in brought.iter().filter(|line| !line.starts_with("Age")) {
            assert!(fields.contains(line), "{fields}");
        }
    }
}

#[test]
fn a_304_without_a_date_is_dated_by_its_arrival() {
    let stored = stored(&[FRESH, DATE, "ETag: \"a\""]);
    let (fields, terms) = after(&stored, &["ETag: \"a\""]);
    assert!(fields.contains(LATER) && !fields.contains(DATE), "{fields}");
    assert_eq!(terms.unwrap().date, later(100));
}

#[test]
fn a_304_is_held_to_the_rules_of_an_answer() {
    let held = stored(&[FRESH, "ETag: \"a\"", "X-A: 1"]);
    let authorized = ["Authorization: x"];
    let rules = Rules::default();
    let (_, terms) = after_by(&rules, &authorized, &held, &[]);
    assert_eq!(terms.unwrap_err(), Reason::Authorization);

    let cookie = ["Set-Cookie: a=b"];
    let by = |set_cookie| Rules {
        set_cookie,
        ..Rules::default()
    };
    let (fields, terms) = after_by(&by(SetCookie::Strip), &[], &held, &cookie);
    assert!(terms.is_ok() && !fields.contains("Set-Cookie"), "{fields}");
    let (_, terms) = after_by(&by(SetCookie::Refuse), &[], &held, &cookie);
    assert_eq!(terms.unwrap_err(), Reason::SetCookie);

    // Whose it is who asked, unless the origin says for how long others may have it.
    let (fields, terms) = after_by(&rules, &[], &held, &cookie);
    assert!(terms.is_ok() && !fields.contains("Set-Cookie"), "{fields}");
    let (fields, _) = after_by(&rules, &[], &held, &["Set-Cookie: a=b", FRESH]);
    assert!(fields.contains("Set-Cookie: a=b"), "{fields}");

    let named = ["Cache-Control: max-age=60, private=\"x-a\""];
    let (fields, terms) = after(&held, &named);
    assert!(terms.is_ok() && !fields.contains("X-A"), "{fields}");

    // Neither is it judged as a fetch would be: the stored answer is that of a plain GET.
    for asked in ["Range: bytes=0-1", "Cache-Control: no-store", "If-Match: x"] {
        let (_, terms) = after_by(&rules, &[asked], &held, &[]);
        assert!(terms.is_ok(), "{asked}");
    }
}

#[test]
fn a_head_that_grows_with_every_304_is_dropped_in_time() {
    let mut stored = stored(&[FRESH, "ETag: \"a\""]);
    for turn in 0..20 {
        let lines: Vec<_> = (0..20).map(|line| format!("X-{turn}-{line}: y")).collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let (fields, terms) = after(&stored, &lines);
        match terms {
            Ok(terms) => {
                stored.terms = terms;
                stored.fields = fields.into_bytes();
            }
            Err(reason) => {
                assert_eq!(reason, Reason::TooLarge);
                assert!(fields.contains(&format!("X-{turn}-0: y")));
                return;
            }
        }
    }
    panic!("nothing bounds the head");
}

#[test]
fn a_head_confirms_or_refutes_what_is_stored() {
    let held = stored(&[FRESH, DATE, "ETag: \"a\"", MODIFIED]);
    let bare = stored(&[FRESH, DATE]);
    let says = |stored: &Stored, status, lines: &[&str]| {
        with_answer(status, lines, |response| {
            head_says(response, &stored.terms, &stored.fields, Some(7))
        })
    };
    let (same, other) = (HeadSays::Update, HeadSays::Invalidate);
    for (lines, expected) in [
        (&["ETag: \"a\"", MODIFIED, "Content-Length: 7"][..], same),
        (&["ETag: \"a\""], same),
        (&[MODIFIED], same),
        (&["Content-Length: 7"], same),
        (&[], same),
        (&["ETag: \"b\""], other),
        (&["ETag: W/\"a\""], other),
        (&["ETag: \"a\"", "Content-Length: 8"], other),
        (&["Last-Modified: Sun, 06 Nov 1994 08:32:58 GMT"], other),
        (&["Content-Length: 8"], other),
    ] {
        assert_eq!(says(&held, 200, lines), expected, "{lines:?}");
        for status in [204, 304, 404, 500] {
            assert_eq!(says(&held, status, lines), HeadSays::Nothing);
        }
    }
    assert_eq!(says(&bare, 200, &["ETag: \"a\""]), other);
    assert_eq!(says(&bare, 200, &["Content-Length: 7"]), same);
}

#[test]
fn a_heads_200_freshens_as_a_304_does() {
    let stored = stored(&[FRESH, DATE, "ETag: \"a\"", "Content-Encoding: gzip"]);
    let facts = request("HEAD", &[]);
    let lines = [LATER, "ETag: \"a\"", "Content-Length: 7", "X-New: 1"];
    let (fields, terms) = with_answer(200, &lines, |response| {
        let head = (stored.status, &stored.fields[..]);
        let times = (later(100), later(100));
        freshened(&facts, head, response, times, &Rules::default())
    });
    let expected = [
        FRESH,
        "Content-Encoding: gzip",
        LATER,
        "ETag: \"a\"",
        "X-New: 1",
    ];
    assert_eq!(
        String::from_utf8(fields).unwrap(),
        expected.join("\r\n") + "\r\n"
    );
    let terms = terms.unwrap();
    assert!(terms.lifetime.is_fresh(later(159)));
    let plain = request("GET", &[]);
    assert_eq!(
        policy::reuse(&plain, &terms, later(159)),
        policy::Reuse::Fresh
    );
}

proptest! {
    /// Lines that are none of ours are no reason to panic, nor to store what cannot be read back.
    #[test]
    fn lines_of_any_bytes_are_read_or_refused(lines: Vec<u8>, brought in "[!-~]{0,20}") {
        let mut stored = stored(&[FRESH, "ETag: \"a\"", MODIFIED]);
        stored.fields.extend_from_slice(&lines);
        let line = format!("X: {brought}");
        let facts = request("GET", &[]);
        let now = later(100);
        let (fields, _) = with_answer(304, &[&line], |response| {
            let head = (stored.status, &stored.fields[..]);
            freshened(&facts, head, response, (now, now), &Rules::default())
        });
        let count = fields.windows(2).filter(|pair| *pair == b"\r\n").count();
        prop_assert_eq!(policy::stored_lines(&fields).count(), count);
        let _ = validators(&stored.terms, &lines);
    }
}
