//! Which fields of an answer are stored (RFC 9111 §3.1, §5.2.2.4, §5.2.2.7).

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod heads;

use cache::policy::{Rules, SetCookie, head_fields, stored_lines};
use heads::{DATE, MODIFIED, RECEIVED, stored, with_answer};
use http::Name;

fn fields_by(rules: &Rules, lines: &[&str]) -> String {
    let kept = with_answer(200, lines, |response| {
        head_fields(response, RECEIVED, rules)
    });
    String::from_utf8(kept).unwrap()
}

fn fields(lines: &[&str]) -> String {
    fields_by(&Rules::default(), lines)
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

#[test]
fn what_a_directive_names_is_withheld() {
    for control in [
        "Cache-Control: no-cache=\"x-a, X-B\"",
        "Cache-Control: private=\"x-a, X-B\"",
        "Cache-Control: private=x-a, no-cache=X-B",
        "CDN-Cache-Control: no-cache=\"x-a, X-B\"",
        "CDN-Cache-Control: private=\"x-a\", no-cache=\"X-B\"",
    ] {
        let found = fields(&[DATE, "X-A: 1", "x-b: 2", "X-C: 3", control]);
        assert_eq!(found, format!("{DATE}\r\nX-C: 3\r\n{control}\r\n"));
    }
    // Not in force beside the targeted field.
    let both = [
        DATE,
        "X-A: 1",
        "Cache-Control: no-cache=\"x-a\"",
        "CDN-Cache-Control: max-age=1",
    ];
    assert_eq!(fields(&both), both.join("\r\n") + "\r\n");
}

#[test]
fn what_decides_reuse_is_never_named_away() {
    let lines = [
        DATE,
        "Cache-Control: max-age=9, private=\"vary, expires, cache-control\"",
        "Vary: Accept",
        "Expires: 0",
    ];
    let listed = "Connection: cache-control, vary, expires";
    let all = [&lines[..], &[listed]].concat();
    assert_eq!(fields(&all), lines.join("\r\n") + "\r\n");
}

#[test]
fn cookies_are_stripped_where_the_rules_say_so() {
    let lines = [DATE, "Set-Cookie: a=b", "X: y", "set-cookie: c=d"];
    let by = |set_cookie| Rules {
        set_cookie,
        ..Rules::default()
    };
    let found = fields_by(&by(SetCookie::Strip), &lines);
    assert_eq!(found, format!("{DATE}\r\nX: y\r\n"));
    let found = fields_by(&by(SetCookie::Store), &lines);
    assert_eq!(found, lines.join("\r\n") + "\r\n");
}

#[test]
fn stored_lines_can_be_read_again() {
    let lines = ["eTag: \"a: b\"", "X-Empty: ", DATE];
    let text = lines.join("\r\n") + "\r\n";
    let found: Vec<_> = stored_lines(text.as_bytes()).collect();
    assert_eq!(
        found,
        [
            (Name::ETag, &b"eTag"[..], &b"\"a: b\""[..]),
            (Name::Other, b"X-Empty", b""),
            (Name::Date, b"Date", &DATE.as_bytes()[6..]),
        ]
    );
    assert_eq!(stored_lines(b"").count(), 0);
    for text in [&b"X"[..], b"X\r\n", b"X:\r\n", b"\r\n\r\n", b": \n"] {
        assert_eq!(stored_lines(text).count(), 0, "{text:?}");
    }
}

#[test]
fn validators_are_found_where_they_are_stored() {
    let lines = [
        "Connection: x-hop",
        "X-Hop: dropped",
        "Cache-Control: max-age=60, private=\"x-mine\"",
        "X-Mine: dropped",
        "Age: 1",
        MODIFIED,
        "X: y",
        "ETag: W/\"odd , tag\"",
    ];
    let stored = stored(&lines);
    let etag = stored.terms.etag.unwrap();
    assert_eq!(etag.of(&stored.fields), b"W/\"odd , tag\"");
    let modified = stored.terms.last_modified.unwrap();
    assert_eq!(modified.at.as_secs(), RECEIVED.as_secs() - 1_000);
    let written = modified.value.of(&stored.fields);
    assert_eq!(written, &MODIFIED.as_bytes()["Last-Modified: ".len()..]);
    assert_eq!(etag.of(b""), b"");
}

#[test]
fn what_is_no_validator_is_none() {
    for line in [
        "ETag:",
        "ETag: \"a\"\r\nETag: \"b\"",
        "Last-Modified: once",
        "Last-Modified:",
        "Cache-Control: private=\"etag\"\r\nETag: \"a\"",
    ] {
        let stored = stored(&["Cache-Control: max-age=60", line]);
        assert!(!stored.terms.has_validator(), "{line}");
    }
}
