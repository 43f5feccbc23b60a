//! Origins that fail: 502 or 504 before the answer has begun, a visible break after, and nothing of it stored.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use e2e::{
    Backend, Broken, Framing, Gateway, Next, Origin, Setup, both_drivers, eventually, get, ok,
};

/// Speaks `bad` to the first `times` requests, closes, and is good from then on.
fn bad_at_first(bad: &'static [u8], times: usize, resets: bool) -> Origin {
    Origin::start(move |request, wire| {
        if request.number >= times {
            wire.send(ok("Cache-Control: max-age=60\r\n", "good"));
            return Next::Keep;
        }
        wire.send(bad);
        if resets {
            wire.reset();
        }
        Next::Close
    })
}

/// A port where nobody listens.
fn nobody() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener
        .local_addr()
        .expect("a bound socket has an address")
}

/// What is no answer from its first byte to the end of its head.
const BAD_HEADS: [&[u8]; 21] = [
    b"",
    b"hello world\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01",
    b"HTTP/1.1 200 OK\r\nContent-Le",
    b"HTTP/1.1 20 OK\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 2000 OK\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/2.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
    b"http/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nxy",
    b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\n: nameless\r\nContent-Length: 1\r\n\r\nx",
];

/// What begins well and is never whole.
const CUT_SHORT: [&[u8]; 8] = [
    b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 8\r\n\r\nhalf",
    b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 8\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
    b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nha",
    b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nxyz\r\n",
    b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf!!0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n-4\r\nhalf\r\n0\r\n\r\n",
];

/// Answers after which more bytes follow that a careless reader would give to the next client.
const OVERLONG: [&[u8]; 4] = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    b"HTTP/1.1 304 Not Modified\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n\
      HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
];

both_drivers!(
    an_origin_that_refuses_is_502_and_the_next_request_is_fine,
    a_bad_head_is_502_and_never_stored,
    a_reset_before_the_answer_is_502,
    an_endless_head_is_502,
    endless_interim_answers_are_502,
    a_body_cut_short_never_looks_whole_and_is_never_stored,
    what_follows_an_answer_reaches_nobody,
    bytes_on_an_idle_origin_connection_reach_nobody,
    a_pooled_connection_that_the_origin_closed_is_nobody_s_502,
    a_post_is_never_sent_twice,
    an_endpoint_that_is_down_is_passed_over,
    an_upstream_at_its_bound_is_503_with_retry_after,
);

fn an_origin_that_refuses_is_502_and_the_next_request_is_fine(backend: Backend) {
    let gateway = Setup::new(backend).everything_to(nobody(), "").start();
    let mut client = gateway.client();
    for _ in 0..3 {
        let response = client.ask(get("/a"));
        assert!(matches!(response.status, 502 | 503), "{response:?}");
    }
    assert_eq!(client.ask(get("/health")).framing, Framing::Length);
}

fn a_bad_head_is_502_and_never_stored(backend: Backend) {
    for bad in BAD_HEADS {
        // Twice: a request that may be repeated is.
        let origin = bad_at_first(bad, 2, false);
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        let response = client.ask(get("/a"));
        let shown = bad.escape_ascii();
        assert!(
            response.status == 502 || response.body == b"good",
            "{shown}: {response:?}"
        );
        while origin.count() < 2 {
            client.ask(get("/a"));
        }
        assert_eq!(client.ask(get("/a")).body, b"good", "{shown}");
    }
}

fn a_reset_before_the_answer_is_502(backend: Backend) {
    let origin = bad_at_first(b"", usize::MAX, true);
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for _ in 0..3 {
        assert_eq!(client.ask(get("/a")).status, 502);
    }
}

fn an_endless_head_is_502(backend: Backend) {
    let origin = Origin::start(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\n");
        while wire.send("X-More: and more\r\n".repeat(100)) {}
        Next::Close
    });
    let gateway = Gateway::before(&origin, backend);
    assert_eq!(gateway.ask(get("/a")).status, 502);
}

fn endless_interim_answers_are_502(backend: Backend) {
    let origin = Origin::start(|_, wire| {
        while wire.send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(100)) {}
        Next::Close
    });
    let gateway = Gateway::before(&origin, backend);
    assert_eq!(gateway.ask(get("/a")).status, 502);
}

fn a_body_cut_short_never_looks_whole_and_is_never_stored(backend: Backend) {
    for resets in [false, true] {
        for bad in CUT_SHORT {
            let origin = bad_at_first(bad, 1, resets);
            let gateway = Gateway::before(&origin, backend);
            let mut client = gateway.client();
            client.send(get("/a"));
            let shown = bad.escape_ascii();
            match client.try_response() {
                Ok(response) => assert!(
                    response.status == 502 || response.body == b"good",
                    "{shown}: {response:?}"
                ),
                Err(broken) => assert!(
                    matches!(broken, Broken::Truncated | Broken::Reset | Broken::Closed),
                    "{shown}: {broken:?}"
                ),
            }
            let next = gateway.ask(get("/a"));
            assert_eq!(
                (next.status, next.body.as_slice()),
                (200, &b"good"[..]),
                "{shown}"
            );
        }
    }
}

fn what_follows_an_answer_reaches_nobody(backend: Backend) {
    for bad in OVERLONG {
        let origin = Origin::start(move |request, wire| {
            wire.send(if request.target == "/bad" {
                bad.to_vec()
            } else {
                ok("", "good")
            });
            Next::Keep
        });
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        for _ in 0..5 {
            client.send("GET /bad HTTP/1.1\r\nHost: test\r\nIf-None-Match: \"x\"\r\n\r\n");
            match client.try_response() {
                Ok(response) => {
                    assert!(!response.body.ends_with(b"evil"), "{}", bad.escape_ascii())
                }
                Err(_) => client = gateway.client(),
            }
            assert_eq!(
                gateway.ask(get("/good")).body,
                b"good",
                "{}",
                bad.escape_ascii()
            );
        }
    }
}

fn bytes_on_an_idle_origin_connection_reach_nobody(backend: Backend) {
    let closed = Arc::new(AtomicUsize::new(0));
    let at_origin = Arc::clone(&closed);
    let origin = Origin::start(move |_, wire| {
        wire.send(ok("", "good"));
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        if wire.some().is_none() {
            at_origin.fetch_add(1, Ordering::SeqCst);
        }
        Next::Close
    });
    let gateway = Gateway::before(&origin, backend);
    for round in 1..=20 {
        assert_eq!(gateway.ask(get("/a")).body, b"good");
        // Not before: bytes that are still under way cannot be told from an answer.
        eventually("the connection is given up", || {
            closed.load(Ordering::SeqCst) == round
        });
    }
}

fn a_pooled_connection_that_the_origin_closed_is_nobody_s_502(backend: Backend) {
    let origin = Origin::start(|_, wire| {
        wire.send(ok("", "good"));
        Next::Close
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for _ in 0..50 {
        let response = client.ask(get("/a"));
        assert_eq!(
            (response.status, response.body.as_slice()),
            (200, &b"good"[..])
        );
    }
}

fn a_post_is_never_sent_twice(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        wire.body(request);
        if request.number % 2 == 0 {
            wire.send(ok("", "good"));
            return Next::Keep;
        }
        Next::Close
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for number in 0..10 {
        let request =
            format!("POST /{number} HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx");
        let response = client.ask(request);
        assert_eq!(
            response.status,
            if number % 2 == 0 { 200 } else { 502 },
            "{number}"
        );
    }
    assert_eq!(origin.count(), 10);
}

fn an_endpoint_that_is_down_is_passed_over(backend: Backend) {
    let origin = Origin::answering(ok("", "up"));
    let setup = Setup::new(backend)
        .upstream("pair", &[nobody(), origin.address()], "")
        .route("all", "", "/", "pair");
    let gateway = setup.start();
    let mut client = gateway.client();
    for _ in 0..10 {
        assert_eq!(client.ask(get("/a")).body, b"up");
    }
}

fn an_upstream_at_its_bound_is_503_with_retry_after(backend: Backend) {
    let gate = e2e::Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(move |request, wire| {
        if request.number == 0 {
            at_origin.pass();
        }
        wire.send(ok("", "x"));
        Next::Keep
    });
    let setup = Setup::new(backend).everything_to(origin.address(), "max_connections = 1");
    let gateway = setup.start();
    let mut first = gateway.client();
    first.send(get("/a"));
    eventually("the origin is asked", || origin.count() == 1);
    let refusal = gateway.ask(get("/b"));
    assert_eq!(
        (refusal.status, refusal.field("retry-after").is_some()),
        (503, true)
    );
    gate.open();
    assert_eq!(first.response().status, 200);
    assert_eq!(gateway.ask(get("/c")).status, 200);
}
