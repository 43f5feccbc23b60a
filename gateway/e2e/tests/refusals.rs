//! Bad input: refused with its own status, nothing of it forwarded, the answer not lost to a reset.

use e2e::{Backend, Ending, Gateway, Origin, Setup, both_drivers, get, ok};

/// Whole requests whose request line or lack of a Host is a 400.
const LINES: &[&str] = &[
    "GET / HTTP/1.1\nHost: test\n\n",
    "GET  / HTTP/1.1\r\nHost: test\r\n\r\n",
    "GET / HTTP/1.1 \r\nHost: test\r\n\r\n",
    " GET / HTTP/1.1\r\nHost: test\r\n\r\n",
    "GET /\r\nHost: test\r\n\r\n",
    "GET /\r\n\r\n",
    "GET / http/1.1\r\nHost: test\r\n\r\n",
    "GET / HTTP/1.x\r\nHost: test\r\n\r\n",
    "GET / HTTP/11\r\nHost: test\r\n\r\n",
    "GET /a b HTTP/1.1\r\nHost: test\r\n\r\n",
    "GET /a\tb HTTP/1.1\r\nHost: test\r\n\r\n",
    "GET /\u{1} HTTP/1.1\r\nHost: test\r\n\r\n",
    "GET /\u{7f} HTTP/1.1\r\nHost: test\r\n\r\n",
    "GET /a#b HTTP/1.1\r\nHost: test\r\n\r\n",
    "G@T / HTTP/1.1\r\nHost: test\r\n\r\n",
    "GET * HTTP/1.1\r\nHost: test\r\n\r\n",
    "GET test:80 HTTP/1.1\r\nHost: test\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
];

/// Values of Host that are a 400.
const HOSTS: &[&str] = &[
    "a b", "a/b", "user@a", "a:b", "a:99999", "[::1", "a\\b", "a b:80",
];

/// Lines beside a good Host that are a 400.
const FIELDS: &[&str] = &[
    "Host: test\r\n",
    "Host: other\r\n",
    " folded: x\r\n",
    "X-A: 1\r\n folded\r\n",
    "X-A : 1\r\n",
    ": nameless\r\n",
    "no colon\r\n",
    "X(A): 1\r\n",
    "X-A: a\0b\r\n",
    "X-A: a\rb\r\n",
    "X-A: a\u{7}b\r\n",
    "X-A: a\nX-B: b\r\n",
];

/// Values of Content-Length that are a 400.
const LENGTHS: &[&str] = &[
    "+5",
    "-5",
    "0x5",
    "5 5",
    "5,6",
    "five",
    "",
    "99999999999999999999",
    "5\r\nContent-Length: 6",
    "5;",
];

fn get_with(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
}

fn post_with(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: test\r\n{fields}\r\nhello")
}

/// Requests that are not to be forwarded, with the status that says so.
fn heads() -> Vec<(u16, String)> {
    let malformed = LINES
        .iter()
        .map(|line| (*line).to_owned())
        .chain(
            HOSTS
                .iter()
                .map(|host| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")),
        )
        .chain(FIELDS.iter().map(|fields| get_with(fields)))
        .chain(
            LENGTHS
                .iter()
                .map(|length| post_with(&format!("Content-Length: {length}\r\n"))),
        );
    let mut rows: Vec<(u16, String)> = malformed.map(|request| (400, request)).collect();
    rows.push((
        400,
        post_with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
    ));
    rows.push((
        400,
        post_with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
    ));
    rows.push((400, post_with("Transfer-Encoding: chunked, chunked\r\n")));
    rows.push((
        400,
        post_with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    ));
    rows.push((
        400,
        "POST / HTTP/1.0\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
    ));
    for coding in ["gzip", "xchunked", "gzip, chunked", "chunked-ish"] {
        rows.push((501, post_with(&format!("Transfer-Encoding: {coding}\r\n"))));
    }
    rows.push((
        501,
        "CONNECT test:443 HTTP/1.1\r\nHost: test:443\r\n\r\n".to_owned(),
    ));
    rows.push((505, "GET / HTTP/2.0\r\nHost: test\r\n\r\n".to_owned()));
    rows.push((505, "GET / HTTP/3.1\r\nHost: test\r\n\r\n".to_owned()));
    rows.push((417, post_with("Content-Length: 5\r\nExpect: 200-maybe\r\n")));
    rows.push((414, get(&format!("/{}", "a".repeat(20_000)))));
    rows.push((
        431,
        get_with(&format!("X-Large: {}\r\n", "a".repeat(70_000))),
    ));
    rows.push((431, get_with(&"X-Many: 1\r\n".repeat(1000))));
    rows.push((
        413,
        format!(
            "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\nbeginning",
            2 << 20
        ),
    ));
    rows
}

/// Bodies that cannot be read; the head before them may already have been forwarded.
const CHUNKS: [&str; 11] = [
    "xyz\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "\r\nhello\r\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhello!\r\n0\r\n\r\n",
    "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
];

fn gateway(origin: &Origin, backend: Backend) -> Gateway {
    Setup::new(backend)
        .set("limits", "max_body", "\"1MiB\"")
        .everything_to(origin.address(), "")
        .start()
}

both_drivers!(
    a_bad_head_is_refused_and_not_forwarded,
    a_refusal_is_not_lost_to_what_the_client_still_sends,
    a_bad_chunk_never_ends_a_body,
    a_chunked_body_beyond_the_bound_is_413,
    what_is_unusual_but_right_passes,
);

fn a_bad_head_is_refused_and_not_forwarded(backend: Backend) {
    let origin = Origin::answering(ok("", "never"));
    let gateway = gateway(&origin, backend);
    let mut failures = Vec::new();
    for (status, request) in heads() {
        let mut client = gateway.client();
        client.send(&request);
        let outcome = client.try_response().map(|response| response.status);
        let ended = outcome == Ok(status) && client.until_end() == (Vec::new(), Ending::Closed);
        if !ended {
            let shown: String = request.escape_debug().take(120).collect();
            failures.push(format!(
                "{shown}\n    wanted {status} and the end, got {outcome:?}"
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} heads:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert_eq!(origin.count(), 0, "{:?}", origin.requests());
    assert_eq!(gateway.ask(get("/")).status, 200);
}

fn a_refusal_is_not_lost_to_what_the_client_still_sends(backend: Backend) {
    let origin = Origin::answering(ok("", "never"));
    let gateway = gateway(&origin, backend);
    for (status, head) in [
        (
            400,
            "POST / HTTP/1.1\r\nHost: a b\r\nContent-Length: 60000\r\n\r\n",
        ),
        (
            413,
            "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2000000\r\n\r\n",
        ),
        (
            501,
            "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: gzip\r\n\r\n",
        ),
    ] {
        for _ in 0..20 {
            let mut client = gateway.client();
            client.send(head);
            for _ in 0..6 {
                client.send(vec![b'x'; 10_000]);
            }
            assert_eq!(
                client.try_response().map(|response| response.status),
                Ok(status)
            );
        }
    }
    assert_eq!(origin.count(), 0);
}

fn a_bad_chunk_never_ends_a_body(backend: Backend) {
    let whole = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&whole);
    let origin = Origin::start(move |request, wire| {
        if wire.body(request).is_some() {
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            wire.send(ok("", "taken"));
        }
        e2e::Next::Close
    });
    let gateway = gateway(&origin, backend);
    for body in CHUNKS {
        let mut client = gateway.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
        ));
        let outcome = client.try_response().map(|response| response.status);
        assert_eq!(outcome, Ok(400), "{body:?}");
        assert_eq!(client.until_end().1, Ending::Closed, "{body:?}");
    }
    assert_eq!(
        whole.load(std::sync::atomic::Ordering::SeqCst),
        0,
        "the origin took one for whole"
    );
}

fn a_chunked_body_beyond_the_bound_is_413(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        wire.body(request);
        e2e::Next::Close
    });
    let gateway = gateway(&origin, backend);
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..20 {
        client.send(["10000\r\n".as_bytes(), &[b'x'; 0x10000], b"\r\n"].concat());
    }
    assert_eq!(
        client.try_response().map(|response| response.status),
        Ok(413)
    );
}

fn what_is_unusual_but_right_passes(backend: Backend) {
    let origin = Origin::answering(ok("", "fine"));
    let gateway = gateway(&origin, backend);
    let mut client = gateway.client();
    for request in [
        "\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n".to_owned(),
        get(&format!("/{}", "a".repeat(7_990))),
        "GET http://test/absolute HTTP/1.1\r\nHost: ignored\r\n\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHOST:test\r\nx-!#$%&'*+-.^_`|~: \t x \t \r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: test:8080\r\nX-Empty:\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
        "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: Chunked\r\n\r\n5 ;a=\"b\"\r\nhello\r\n0\r\nX: 1\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: test\r\nX-Opaque: \u{e9}\r\n\r\n".to_owned(),
    ] {
        let response = client.ask(&request);
        assert_eq!((response.status, response.body.as_slice()), (200, &b"fine"[..]), "{request:?}");
    }
}
