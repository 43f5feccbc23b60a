//! Response heads, rule by rule (RFC 9112 §4, §6.3), and what may be repaired in them (§5.1, §5.2).

use ultragate_http::{
    BodyLength, FieldTable, HeadLimits, Method, Name, Parsed, Response, Version, parse_response,
    repair_response,
};

fn whole(head: impl AsRef<[u8]>, check: impl FnOnce(&Response<'_>)) {
    let head = head.as_ref();
    match parse_response(head, &mut FieldTable::new(), &HeadLimits::default()) {
        Parsed::Whole(response) => {
            assert_eq!(response.length, head.len());
            check(&response);
        }
        other => panic!("{}: {other:?}", head.escape_ascii()),
    }
}

fn is_refused(head: impl AsRef<[u8]>) -> bool {
    let head = head.as_ref();
    match parse_response(head, &mut FieldTable::new(), &HeadLimits::default()) {
        Parsed::Refused(refusal) => {
            assert_eq!(refusal.status, 502);
            true
        }
        _ => false,
    }
}

fn ok(lines: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n")
}

#[test]
fn a_plain_response_is_read() {
    let head = "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\nVary: a\r\n\r\n";
    whole(head, |response| {
        assert_eq!(response.version, Version::Http11);
        assert_eq!(response.status, 404);
        assert_eq!(response.reason, b"Not Found");
        assert_eq!(response.content_length(), Some(3));
        assert_eq!(response.fields.first(Name::Vary), Some(b"a".as_slice()));
        assert!(response.keeps_alive());
    });
}

#[test]
fn status_lines() {
    for (line, version, status, reason) in [
        ("HTTP/1.1 100 ", Version::Http11, 100, ""),
        ("HTTP/1.0 200 OK", Version::Http10, 200, "OK"),
        ("HTTP/1.1 200", Version::Http11, 200, ""),
        ("HTTP/1.1 999 a  b\tc ", Version::Http11, 999, "a  b\tc "),
        ("HTTP/1.3 299 \u{e9}", Version::Http11, 299, "\u{e9}"),
    ] {
        whole(format!("{line}\r\n\r\n"), |response| {
            assert_eq!(
                (response.version, response.status),
                (version, status),
                "{line}"
            );
            assert_eq!(response.reason, reason.as_bytes());
        });
    }
    for line in [
        "HTTP/1.1 099 a",
        "HTTP/1.1 20 a",
        "HTTP/1.1 2000 a",
        "HTTP/1.1 20a b",
        "HTTP/1.1  200 a",
        "HTTP/1.1 200\tOK",
        "HTTP/1.1\t200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/2 200",
        "http/1.1 200 OK",
        "HTTP/1.1 +20 a",
        "HTTP/1.1 200 a\0",
        "HTTP/1.1 200 a\rb",
        "HTTP/1.1 200 a\nb",
        "HTTP/1.1",
        "HTTP/1.1 ",
        "ICY 200 OK",
        "\r\nHTTP/1.1 200 OK",
        " HTTP/1.1 200 OK",
        "200 OK",
    ] {
        assert!(is_refused(format!("{line}\r\n\r\n")), "{line:?}");
    }
}

#[test]
fn where_the_body_ends() {
    let length = "Content-Length: 7\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (status, method, lines, body) in [
        (200, Method::Get, length, BodyLength::Length(7)),
        (200, Method::Get, chunked, BodyLength::Chunked),
        (200, Method::Get, "", BodyLength::UntilClose),
        (200, Method::Head, length, BodyLength::Empty),
        (200, Method::Head, chunked, BodyLength::Empty),
        (200, Method::Head, "", BodyLength::Empty),
        (
            100,
            Method::Post,
            "Content-Length: 0\r\n",
            BodyLength::Empty,
        ),
        (101, Method::Get, "", BodyLength::Empty),
        (199, Method::Get, "", BodyLength::Empty),
        (204, Method::Get, length, BodyLength::Empty),
        (304, Method::Get, length, BodyLength::Empty),
        (304, Method::Get, chunked, BodyLength::Empty),
        (
            205,
            Method::Get,
            "Content-Length: 0\r\n",
            BodyLength::Length(0),
        ),
        (500, Method::Post, "", BodyLength::UntilClose),
    ] {
        whole(format!("HTTP/1.1 {status} X\r\n{lines}\r\n"), |response| {
            assert_eq!(response.body(method), body, "{status} {method:?} {lines}");
        });
    }
}

#[test]
fn framing_that_could_be_read_otherwise() {
    for lines in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: x\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding:\r\n",
        "X: a\0\r\n",
        "X: a\rb\r\n",
        "X: a\nb\r\n",
    ] {
        assert!(is_refused(ok(lines)), "{lines:?}");
    }
    assert!(is_refused(
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    whole(
        ok("Content-Length: 5\r\nContent-Length: 5\r\n"),
        |response| {
            assert_eq!(response.content_length(), Some(5));
        },
    );
}

#[test]
fn an_interim_answer_announces_no_body() {
    for status in [100, 101, 103, 199] {
        for lines in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            assert!(
                is_refused(format!("HTTP/1.1 {status} X\r\n{lines}\r\n\r\n")),
                "{status} {lines}"
            );
        }
    }
}

#[test]
fn which_connections_go_on() {
    for (head, keeps_alive) in [
        ("HTTP/1.1 200 OK\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", false),
        ("HTTP/1.1 101 X\r\nConnection: upgrade\r\n\r\n", false),
        ("HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n", false),
        (
            "HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n",
            false,
        ),
        ("HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n", true),
        ("HTTP/1.0 200 OK\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", true),
    ] {
        whole(head, |response| {
            assert_eq!(response.keeps_alive(), keeps_alive, "{head}")
        });
    }
}

#[test]
fn bounds() {
    let limits = HeadLimits {
        head_bytes: 60,
        ..HeadLimits::default()
    };
    let head = ok(&format!("X: {}\r\n", "y".repeat(60)));
    for length in [60, head.len()] {
        let mut table = FieldTable::new();
        let parsed = parse_response(&head.as_bytes()[..length], &mut table, &limits);
        assert!(matches!(parsed, Parsed::Refused(refusal) if refusal.status == 502));
    }
}

#[test]
fn what_is_repaired() {
    for (lines, repaired) in [
        ("X : a\r\n", "X: a\r\n"),
        ("X \t : a\r\nY: b : c\r\n", "X: a\r\nY: b : c\r\n"),
        ("X: a\r\n b\r\n", "X: a b\r\n"),
        (
            "X: a \t\r\n \t b\r\n\tc\r\nY: d\r\n",
            "X: a b c\r\nY: d\r\n",
        ),
        ("X:\r\n a\r\n", "X: a\r\n"),
        ("X: a\r\n \r\n", "X: a \r\n"),
        ("X : a\r\n : b\r\n", "X: a : b\r\n"),
    ] {
        let head = ok(lines);
        assert!(is_refused(&head), "{lines:?}");
        let followed = format!("{head}body\r\n\r\n");
        let (text, replaced) = repair_response(followed.as_bytes()).expect("a repair");
        assert_eq!(String::from_utf8(text.clone()).unwrap(), ok(repaired));
        assert_eq!(replaced, head.len());
        whole(text, |_| {});
    }
}

#[test]
fn what_is_not_repaired() {
    for head in [
        ok(""),
        ok("X: a\r\n"),
        ok("X: a:b\r\nY:c\r\n"),
        "HTTP/1.1 200 OK\r\nX : a\r\n".to_owned(),
        "HTTP/1.1 200 : OK\r\n\r\n".to_owned(),
        ok(" X: a\r\n"),
        ok(" X : a\r\nY : b\r\n"),
        ok("X\r\n : a\r\n"),
        ok("X : a\r\nY\r\n : b\r\n"),
        ok("X\r\n"),
        ok(": a\r\n"),
    ] {
        assert_eq!(repair_response(head.as_bytes()), None, "{head:?}");
    }
    for lines in [
        "X\r\n : a\r\n",
        " X: a\r\nY : b\r\n",
        "X Y : a\r\n",
        "X : a\nb\r\n",
        "X : a\0\r\n",
        "X : a\rb\r\n",
        " : a\r\n",
    ] {
        let head = ok(lines);
        if let Some((text, _)) = repair_response(head.as_bytes()) {
            assert!(is_refused(text), "{lines:?}");
        }
        assert!(is_refused(head), "{lines:?}");
    }
}

/// A repairable fault is known before the head is whole, but the repair needs all of it.
#[test]
fn a_repairable_head_is_awaited_whole() {
    for lines in ["X : a\r\n", "X: a\r\n b\r\n"] {
        let head = ok(lines);
        for length in 0..head.len() {
            let mut table = FieldTable::new();
            let start = &head.as_bytes()[..length];
            let parsed = parse_response(start, &mut table, &HeadLimits::default());
            assert!(matches!(parsed, Parsed::Partial), "{length} of {head:?}");
        }
        assert!(is_refused(head));
    }
}
