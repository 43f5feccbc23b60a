//! Request heads, rule by rule (RFC 9112 §2, §3, §5, §6; RFC 9110 §7.2, §10.1.1).

use ultragate_http::{
    BodyLength, FieldTable, HeadLimits, Method, Name, Parsed, Request, Target, Version,
    parse_request,
};

/// Reads a head that must be whole and hands it to `check`.
fn whole(head: impl AsRef<[u8]>, check: impl FnOnce(&Request<'_>)) {
    let head = head.as_ref();
    match parse_request(head, &mut FieldTable::new(), &HeadLimits::default()) {
        Parsed::Whole(request) => {
            assert_eq!(request.length, head.len());
            check(&request);
        }
        other => panic!("{}: {other:?}", head.escape_ascii()),
    }
}

/// The status that `head` is refused with.
fn refused(head: impl AsRef<[u8]>) -> u16 {
    refused_within(head, &HeadLimits::default())
}

fn refused_within(head: impl AsRef<[u8]>, limits: &HeadLimits) -> u16 {
    let head = head.as_ref();
    match parse_request(head, &mut FieldTable::new(), limits) {
        Parsed::Refused(refusal) => refusal.status,
        other => panic!("{}: {other:?}", head.escape_ascii()),
    }
}

/// A head with a Host and these lines besides.
fn with(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

#[test]
fn a_plain_request_is_read() {
    let head = "GET /a/b?c=d HTTP/1.1\r\nHost: example.org:8080\r\nAccept: */*\r\nX-Odd:  a\tb \t\r\nempty:\r\n\r\n";
    whole(head, |request| {
        assert_eq!(request.method, Method::Get);
        assert_eq!(request.method_bytes, b"GET");
        assert_eq!(request.version, Version::Http11);
        assert_eq!(request.target, Target::Path);
        assert_eq!(request.path_and_query, b"/a/b?c=d");
        assert_eq!(request.host, b"example.org:8080");
        assert_eq!(request.body, BodyLength::Empty);
        assert!(request.keeps_alive());
        assert!(!request.expects_continue);
        let fields: Vec<_> = request.fields.iter().collect();
        let expected: [(Name, &[u8], &[u8]); 4] = [
            (Name::Host, b"Host", b"example.org:8080"),
            (Name::Accept, b"Accept", b"*/*"),
            (Name::Other, b"X-Odd", b"a\tb"),
            (Name::Other, b"empty", b""),
        ];
        assert_eq!(fields, expected);
    });
}

#[test]
fn methods_are_case_sensitive_tokens() {
    for (text, method) in [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("POST", Method::Post),
        ("PUT", Method::Put),
        ("DELETE", Method::Delete),
        ("PATCH", Method::Patch),
        ("OPTIONS", Method::Options),
        ("TRACE", Method::Trace),
        ("get", Method::Other),
        ("M-SEARCH", Method::Other),
        ("G!#$%&'*+-.^_`|~9", Method::Other),
    ] {
        whole(format!("{text} / HTTP/1.1\r\nHost: a\r\n\r\n"), |request| {
            assert_eq!(request.method, method);
            assert_eq!(request.method_bytes, text.as_bytes());
        });
    }
    for text in [
        "", "G\0T", "G\tT", "(GET", "G:T", "G\"T", "G\u{e9}T", "G\x7fT",
    ] {
        assert_eq!(
            refused(format!("{text} / HTTP/1.1\r\nHost: a\r\n\r\n")),
            400,
            "{text:?}"
        );
    }
}

#[test]
fn a_request_line_is_three_words_and_two_spaces() {
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "\tGET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET /",
        "GET / ",
        "GET",
        "GET / / HTTP/1.1",
        "GET /\u{b}HTTP/1.1",
    ] {
        assert_eq!(
            refused(format!("{line}\r\nHost: a\r\n\r\n")),
            400,
            "{line:?}"
        );
    }
}

#[test]
fn versions() {
    for (text, version) in [
        ("HTTP/1.0", Version::Http10),
        ("HTTP/1.1", Version::Http11),
        ("HTTP/1.2", Version::Http11),
        ("HTTP/1.9", Version::Http11),
    ] {
        whole(format!("GET / {text}\r\nHost: a\r\n\r\n"), |request| {
            assert_eq!(request.version, version);
        });
    }
    for text in ["HTTP/2.0", "HTTP/0.9", "HTTP/3.1"] {
        assert_eq!(
            refused(format!("GET / {text}\r\nHost: a\r\n\r\n")),
            505,
            "{text}"
        );
    }
    assert_eq!(refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
    for text in [
        "http/1.1",
        "HTTP/1,1",
        "HTTP/11",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/10.1",
        "HTTP/1.10",
        "HTTP/1.1a",
        "HTTP/-1.1",
        "HTTP/1.x",
        "HTTPS/1.1",
        "HTTP1.1",
        "HTTP / 1.1",
        "HTTP/2",
    ] {
        assert_eq!(
            refused(format!("GET / {text}\r\nHost: a\r\n\r\n")),
            400,
            "{text}"
        );
    }
}

#[test]
fn targets_in_origin_form() {
    for target in [
        "/",
        "/a%20b?c",
        "//a",
        "/a?b?c",
        "/:@!$&'()*+,;=~",
        "/{|}^`\"<>\\[]",
        "/?",
    ] {
        whole(
            format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
            |request| {
                assert_eq!(request.path_and_query, target.as_bytes());
                assert_eq!(request.host, b"a");
            },
        );
    }
    for target in [
        "a",
        "?a",
        "/a#b",
        "/\x7f",
        "/\x01",
        "/a\u{e9}",
        "*/",
        "/\0",
        "example.org:80",
        "example.org",
    ] {
        assert_eq!(
            refused(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")),
            400,
            "{target:?}"
        );
    }
}

#[test]
fn targets_in_absolute_form_replace_host() {
    for (target, path, host) in [
        ("http://b/c?d", "/c?d", "b"),
        ("HTTP://b:8080/", "/", "b:8080"),
        ("https://b", "/", "b"),
        ("http://[::1]:80/x", "/x", "[::1]:80"),
        ("http://b/c?d=http://e/", "/c?d=http://e/", "b"),
    ] {
        whole(
            format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
            |request| {
                assert_eq!(request.target, Target::Path);
                assert_eq!(request.path_and_query, path.as_bytes());
                assert_eq!(request.host, host.as_bytes());
            },
        );
    }
    whole("GET http://b/ HTTP/1.1\r\nHost:\r\n\r\n", |request| {
        assert_eq!(request.host, b"b")
    });
    whole("GET http://b/ HTTP/1.0\r\n\r\n", |request| {
        assert_eq!(request.host, b"b")
    });
    assert_eq!(refused("GET http://b/ HTTP/1.1\r\n\r\n"), 400);
    for target in [
        "http://",
        "http:///a",
        "http://u@b/",
        "http://b:x/",
        "http://[::1/",
        "ftp://b/",
        "http:/b",
        "httpx://b/",
        "http://b?c",
    ] {
        assert_eq!(
            refused(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")),
            400,
            "{target}"
        );
    }
}

#[test]
fn the_asterisk_is_for_options_and_connect_is_not_offered() {
    for (target, host) in [("*", "a"), ("http://b", "b")] {
        whole(
            format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
            |request| {
                assert_eq!(request.target, Target::Asterisk);
                assert_eq!(request.path_and_query, b"*");
                assert_eq!(request.host, host.as_bytes());
            },
        );
    }
    assert_eq!(refused("GET * HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    assert_eq!(refused("OPTIONS *a HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    assert_eq!(
        refused("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
        501
    );
    assert_eq!(refused("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"), 501);
}

#[test]
fn host_is_there_once_and_well_formed() {
    assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), 400);
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400);
    assert_eq!(refused("GET / HTTP/1.0\r\nHost: a\r\nhOST: b\r\n\r\n"), 400);
    whole("GET / HTTP/1.0\r\n\r\n", |request| {
        assert_eq!(request.host, b"")
    });
    whole("GET / HTTP/1.1\r\nHost: \r\n\r\n", |request| {
        assert_eq!(request.host, b"")
    });
    for host in [
        "a b", "a/b", "u@a", "a:b", "a:65536", "[::1", "a:1:1", "http://a", ":80", "a#", "a?",
        "a\u{e9}",
    ] {
        assert_eq!(
            refused(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")),
            400,
            "{host:?}"
        );
    }
}

#[test]
fn one_empty_line_may_come_first() {
    whole("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", |request| {
        assert_eq!(request.method, Method::Get)
    });
    for start in ["\r\n\r\n", "\n", "\r", "\r\r\n", " \r\n"] {
        assert_eq!(
            refused(format!("{start}GET / HTTP/1.1\r\nHost: a\r\n\r\n")),
            400,
            "{start:?}"
        );
    }
}

#[test]
fn lines_end_in_crlf_and_nothing_else() {
    for head in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\rX",
        "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        "GET / HTTP/1.1\rHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\nc\r\n\r\n",
        "GET\n/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(refused(head), 400, "{head:?}");
    }
}

#[test]
fn field_lines_that_could_be_read_otherwise() {
    for lines in [
        " X: a\r\n",
        "\tX: a\r\n",
        "X : a\r\n",
        "X\t: a\r\n",
        "X: a\r\n b\r\n",
        "X: a\r\n\tb\r\n",
        "X: a\r\n \r\n",
        ": a\r\n",
        "X\r\n",
        "X Y: a\r\n",
        "X\0: a\r\n",
        "X\u{e9}: a\r\n",
        "X(: a\r\n",
        "X@: a\r\n",
        "X: a\0b\r\n",
        "X: a\x01\r\n",
        "X: a\x1f\r\n",
        "X: a\x7f\r\n",
        "X: \x0ba\r\n",
        "X: a\x0c\r\n",
    ] {
        assert_eq!(refused(with(lines)), 400, "{lines:?}");
    }
    assert_eq!(refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), 400);
    let mut head = with("X: ").into_bytes();
    head.truncate(head.len() - 2);
    head.extend_from_slice(b"\x80\xff\xe9\r\n\r\n");
    whole(head, |request| {
        let (_, _, value) = request.fields.iter().last().unwrap();
        assert_eq!(value, b"\x80\xff\xe9");
    });
}

#[test]
fn content_length_is_one_number() {
    for (lines, length) in [
        ("Content-Length: 0\r\n", 0),
        ("content-length:5\r\n", 5),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 5),
        ("Content-Length: 5, 5,5\r\n", 5),
        ("Content-Length: 005\r\nContent-Length: 5\r\n", 5),
        ("Content-Length: 18446744073709551615\r\n", u64::MAX),
    ] {
        whole(with(lines), |request| {
            assert_eq!(request.body, BodyLength::Length(length), "{lines}")
        });
    }
    for value in [
        "",
        "+5",
        "-5",
        "0x5",
        "5 ,",
        "5,",
        ",5",
        "5,,5",
        "5 5",
        "5, 6",
        "5.0",
        "5;5",
        "five",
        "18446744073709551616",
        "99999999999999999999999",
        "\"5\"",
        "5\u{e9}",
    ] {
        assert_eq!(
            refused(with(&format!("Content-Length: {value}\r\n"))),
            400,
            "{value:?}"
        );
    }
    assert_eq!(
        refused(with("Content-Length: 5\r\nContent-Length: 6\r\n")),
        400
    );
    assert_eq!(
        refused(with("Content-Length: 5\r\nContent-Length:\r\n")),
        400
    );
}

#[test]
fn transfer_encoding_is_chunked_once() {
    for lines in [
        "Transfer-Encoding: chunked\r\n",
        "transfer-encoding:\tCHUNKED \r\n",
    ] {
        whole(with(lines), |request| {
            assert_eq!(request.body, BodyLength::Chunked)
        });
    }
    for (value, status) in [
        ("gzip", 501),
        ("identity", 501),
        ("gzip, chunked", 501),
        ("xchunked", 501),
        ("chunked-not", 501),
        ("gzip;q=1", 501),
        ("chunked, identity", 501),
        ("", 400),
        (",", 400),
        ("chunked,", 400),
        (",chunked", 400),
        ("chunked, chunked", 400),
        ("chunked;a=b", 400),
        ("chunked;", 400),
        ("\"chunked\"", 400),
        ("chun ked", 400),
        ("chunked chunked", 400),
        ("\x0bchunked", 400),
        ("chunked\0", 400),
    ] {
        assert_eq!(
            refused(with(&format!("Transfer-Encoding: {value}\r\n"))),
            status,
            "{value:?}"
        );
    }
    for lines in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: gzip\r\n",
    ] {
        assert_eq!(refused(with(lines)), 400, "{lines:?}");
    }
    assert_eq!(
        refused("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
        400
    );
}

#[test]
fn a_get_may_carry_a_body() {
    whole(
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
        |request| {
            assert_eq!(request.body, BodyLength::Length(3));
        },
    );
}

#[test]
fn expectations() {
    whole(with("Expect: 100-Continue\r\n"), |request| {
        assert!(request.expects_continue)
    });
    whole(
        "POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n",
        |request| {
            assert!(!request.expects_continue);
        },
    );
    for lines in [
        "Expect: \r\n",
        "Expect: 200-ok\r\n",
        "Expect: 100-continue, x\r\n",
        "Expect: 100-continue\r\nExpect: x\r\n",
    ] {
        assert_eq!(refused(with(lines)), 417, "{lines:?}");
    }
}

#[test]
fn connection_options() {
    whole(
        with("Connection: X-A, close\r\nConnection: Upgrade , x-b\r\nUpgrade: websocket\r\n"),
        |request| {
            let connection = request.connection;
            assert!(
                connection.close
                    && connection.upgrade
                    && connection.others
                    && !connection.keep_alive
            );
            assert!(!request.keeps_alive());
            assert!(
                request.fields.is_listed(b"x-a")
                    && request.fields.is_listed(b"X-B")
                    && request.fields.is_listed(b"UPGRADE")
            );
            assert!(!request.fields.is_listed(b"x-"));
            assert!(!request.fields.is_listed(b"host"));
        },
    );
    whole("GET / HTTP/1.0\r\nConnection: upgrade\r\n\r\n", |request| {
        assert!(!request.connection.upgrade);
        assert!(request.fields.is_listed(b"upgrade"));
    });
    for (lines, keeps_alive) in [
        ("", false),
        ("Connection: Keep-Alive\r\n", true),
        ("Connection: keep-alive, close\r\n", false),
    ] {
        whole(format!("GET / HTTP/1.0\r\n{lines}\r\n"), |request| {
            assert_eq!(request.keeps_alive(), keeps_alive, "{lines}");
        });
    }
}

#[test]
fn known_fields_are_found_on_every_line() {
    whole(with("accept: a\r\nX: b\r\nACCEPT:c\r\n"), |request| {
        let fields = request.fields;
        assert_eq!(fields.all(Name::Accept).collect::<Vec<_>>(), [b"a", b"c"]);
        assert_eq!(fields.first(Name::Accept), Some(b"a".as_slice()));
        assert!(fields.has(Name::Accept) && fields.is_repeated(Name::Accept));
        assert!(fields.has(Name::Host) && !fields.is_repeated(Name::Host));
        assert!(fields.has_any(Name::Accept.bit() | Name::Vary.bit()));
        assert!(!fields.has(Name::Vary) && fields.first(Name::Vary).is_none());
        assert_eq!(fields.len(), 4);
    });
}

#[test]
fn bounds_have_their_own_statuses() {
    let limits = HeadLimits {
        head_bytes: 100,
        target_bytes: 20,
        fields: 2,
    };
    let target =
        |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(bytes - 1));
    let mut table = FieldTable::new();
    assert!(matches!(
        parse_request(target(20).as_bytes(), &mut table, &limits),
        Parsed::Whole(_)
    ));
    assert_eq!(refused_within(target(21), &limits), 414);
    assert_eq!(refused_within(&target(21)[..4 + 21], &limits), 414);
    assert_eq!(refused_within("x".repeat(100), &limits), 414);

    let head = |bytes: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "y".repeat(bytes - 32)
        )
    };
    assert_eq!(head(100).len(), 100);
    assert!(matches!(
        parse_request(head(100).as_bytes(), &mut table, &limits),
        Parsed::Whole(_)
    ));
    assert!(matches!(
        parse_request(&head(101).as_bytes()[..99], &mut table, &limits),
        Parsed::Partial
    ));
    assert_eq!(refused_within(head(101), &limits), 431);
    assert_eq!(refused_within(&head(101)[..100], &limits), 431);

    assert_eq!(
        refused_within("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 2\r\n\r\n", &limits),
        431
    );
    let many = |count: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "X: 1\r\n".repeat(count - 1)
        )
    };
    let generous = HeadLimits {
        fields: usize::MAX,
        ..HeadLimits::default()
    };
    assert!(matches!(
        parse_request(many(128).as_bytes(), &mut table, &generous),
        Parsed::Whole(_)
    ));
    assert_eq!(refused_within(many(129), &generous), 431);
}

#[test]
fn eight_thousand_octets_of_target_are_accepted() {
    whole(
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(7_999)),
        |request| {
            assert_eq!(request.path_and_query.len(), 8_000);
        },
    );
}

#[test]
fn what_follows_a_head_is_not_looked_at() {
    let bytes = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n\0\x01GET /b HTTP/1.1\r\n";
    let mut table = FieldTable::new();
    let Parsed::Whole(request) = parse_request(bytes, &mut table, &HeadLimits::default()) else {
        panic!("not whole");
    };
    assert_eq!(request.length, 28);
    assert_eq!(request.path_and_query, b"/a");
}
