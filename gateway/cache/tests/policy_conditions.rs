//! A client's conditions against what is stored (RFC 9110 §13, RFC 9111 §4.3.2).

mod heads;

use cache::policy::{in_not_modified, is_not_modified, range_applies, stored_lines};
use heads::{DATE, MODIFIED, Stored, stored, with_request};

const FRESH: &str = "Cache-Control: max-age=60";

fn not_modified(stored: &Stored, lines: &[&str]) -> bool {
    with_request("GET", lines, |request| {
        is_not_modified(&request.fields, &stored.terms, &stored.fields)
    })
}

fn applies(stored: &Stored, lines: &[&str]) -> bool {
    with_request("GET", lines, |request| {
        range_applies(&request.fields, &stored.terms, &stored.fields)
    })
}

#[test]
fn tags_are_compared_weakly_wherever_they_stand() {
    for etag in ["\"a\"", "W/\"a\""] {
        let stored = stored(&[FRESH, &format!("ETag: {etag}")]);
        for (lines, expected) in [
            (&["If-None-Match: \"a\""][..], true),
            (&["If-None-Match: W/\"a\""], true),
            (&["if-none-match:\"a\""], true),
            (&["If-None-Match: \"a\", \"b\", \"c\""], true),
            (&["If-None-Match: \"b\", \"a\", \"c\""], true),
            (&["If-None-Match: \"b\",W/\"c\" , W/\"a\""], true),
            (&["If-None-Match: \"b\"", "If-None-Match: \"a\""], true),
            (&["If-None-Match: *"], true),
            (&["If-None-Match: \"b\""], false),
            (&["If-None-Match: \"A\""], false),
            (&["If-None-Match: a"], false),
            (&["If-None-Match: w/\"a\""], false),
            (&["If-None-Match: \"b, \"a\""], false),
            (&["If-None-Match:"], false),
            (&[], false),
        ] {
            assert_eq!(not_modified(&stored, lines), expected, "{etag} {lines:?}");
        }
    }
    let tagless = stored(&[FRESH]);
    assert!(not_modified(&tagless, &["If-None-Match: *"]));
    assert!(!not_modified(&tagless, &["If-None-Match: \"a\""]));
    let unquoted = stored(&[FRESH, "ETag: a"]);
    assert!(not_modified(&unquoted, &["If-None-Match: a"]));
    assert!(!not_modified(&unquoted, &["If-None-Match: \"a\""]));
}

#[test]
fn dates_count_in_three_forms_and_where_no_tag_is_asked() {
    let stored = stored(&[FRESH, DATE, MODIFIED, "ETag: \"a\""]);
    for (since, expected) in [
        ("Sun, 06 Nov 1994 08:32:57 GMT", true),
        ("Sunday, 06-Nov-94 08:32:57 GMT", true),
        ("Sun Nov  6 08:32:57 1994", true),
        ("Sun, 06 Nov 1994 08:32:58 GMT", true),
        ("Sun, 06 Nov 2094 08:32:57 GMT", true),
        ("Sun, 06 Nov 1994 08:32:56 GMT", false),
        ("Sun, 06 Nov 1994 08:32:57 PST", false),
        ("yesterday", false),
        ("", false),
    ] {
        let line = format!("If-Modified-Since: {since}");
        assert_eq!(not_modified(&stored, &[&line]), expected, "{since}");
        assert!(!not_modified(&stored, &[&line, "If-None-Match: \"b\""]));
        assert!(not_modified(&stored, &[&line, "If-None-Match: \"a\""]));
        assert!(!not_modified(&stored, &[&line, &line]), "twice {since}");
    }
}

#[test]
fn without_last_modified_the_date_is_compared() {
    let dated = stored(&[FRESH, DATE]);
    let at = |time: &str| format!("If-Modified-Since: Sun, 06 Nov 1994 {time} GMT");
    assert!(not_modified(&dated, &[&at("08:49:37")]));
    assert!(!not_modified(&dated, &[&at("08:49:36")]));
    let dateless = stored(&[FRESH]);
    assert!(not_modified(&dateless, &[&at("08:49:37")]));
    assert!(!not_modified(&dateless, &[&at("08:49:36")]));
}

#[test]
fn a_range_counts_if_its_condition_matches_strongly() {
    let strong = stored(&[FRESH, DATE, MODIFIED, "ETag: \"a\""]);
    let weak = stored(&[FRESH, DATE, MODIFIED, "ETag: W/\"a\""]);
    let bare = stored(&[FRESH, DATE]);
    let date = "If-Range: Sun, 06 Nov 1994 08:32:57 GMT";
    for (line, with_strong, with_weak, with_none) in [
        ("X: y", true, true, true),
        ("If-Range: \"a\"", true, false, false),
        ("If-Range: W/\"a\"", false, false, false),
        ("If-Range: \"b\"", false, false, false),
        ("If-Range: a", false, false, false),
        ("If-Range:", false, false, false),
        ("If-Range: \"a\", \"b\"", false, false, false),
        (date, true, true, false),
        ("If-Range: Sun Nov  6 08:32:57 1994", true, true, false),
        (
            "If-Range: Sun, 06 Nov 1994 08:32:58 GMT",
            false,
            false,
            false,
        ),
        (
            "If-Range: Sun, 06 Nov 1994 08:32:56 GMT",
            false,
            false,
            false,
        ),
        (
            "If-Range: Sun, 06 Nov 2094 08:32:57 GMT",
            false,
            false,
            false,
        ),
    ] {
        let lines = ["Range: bytes=0-1", line];
        assert_eq!(applies(&strong, &lines), with_strong, "{line}");
        assert_eq!(applies(&weak, &lines), with_weak, "{line}");
        assert_eq!(applies(&bare, &lines), with_none, "{line}");
    }
    assert!(!applies(&strong, &["If-Range: \"a\"", "If-Range: \"a\""]));
}

#[test]
fn a_date_of_the_answers_own_second_is_weak() {
    let modified = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
    let condition = "If-Range: Sun, 06 Nov 1994 08:49:37 GMT";
    assert!(!applies(&stored(&[FRESH, DATE, modified]), &[condition]));
    let next = "Date: Sun, 06 Nov 1994 08:49:38 GMT";
    assert!(applies(&stored(&[FRESH, next, modified]), &[condition]));
}

#[test]
fn a_304_brings_what_guides_a_cache() {
    let all = [
        "ETag: \"a\"",
        DATE,
        FRESH,
        "CDN-Cache-Control: max-age=60",
        "Content-Location: /a",
        "Expires: 0",
        "Vary: Accept",
        MODIFIED,
        "Content-Type: text/plain",
        "Content-Encoding: gzip",
        "Set-Cookie: a=b",
        "X: y",
    ];
    for (skipped, count) in [(0, 7), (1, 7)] {
        let stored = stored(&all[skipped..]);
        let lines = stored_lines(&stored.fields);
        let sent = lines.filter(|&(name, ..)| in_not_modified(name, &stored.terms));
        let sent: Vec<_> = sent.map(|(_, name, _)| name).collect();
        assert_eq!(sent.len(), count, "{sent:?}");
        assert_eq!(sent.contains(&&b"Last-Modified"[..]), skipped == 1);
    }
}
