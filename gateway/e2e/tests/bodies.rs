//! Bodies, interim answers and tunnels in both directions.

use std::sync::{Arc, Mutex};

use e2e::{
    Backend, Broken, Ending, Framing, Gate, Gateway, Next, Origin, both_drivers, chunked,
    eventually, get, ok,
};

const CHUNKED_POST: &str = "POST /up HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";

const WEBSOCKET: &str = "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Answers with the request's method and body.
fn echo() -> Origin {
    Origin::start(|request, wire| match wire.body(request) {
        Some(body) => {
            wire.send(ok("", [request.method.as_bytes(), b":", &body].concat()));
            Next::Keep
        }
        None => Next::Close,
    })
}

both_drivers!(
    every_method_passes_with_its_body,
    a_chunked_request_arrives_before_it_is_whole,
    a_long_upload_arrives_whole,
    expect_100_continue_is_answered_before_the_body,
    interim_answers_pass_and_are_not_stored,
    an_origin_that_speaks_until_it_closes_is_passed_whole,
    trailers_pass,
    the_first_bytes_of_a_body_do_not_wait_for_the_last,
    answers_without_a_body_end_at_their_head,
    an_upgraded_connection_is_a_tunnel_both_ways,
    an_upgrade_that_the_origin_declines_is_an_ordinary_answer,
    an_upgrade_to_http_2_is_not_forwarded,
    what_the_origin_gets_is_one_hop_s_own,
    an_upload_the_client_gives_up_is_not_whole_for_the_origin,
    an_early_answer_reaches_a_client_that_is_still_sending,
);

fn every_method_passes_with_its_body(backend: Backend) {
    let origin = echo();
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for method in [
        "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "M-SEARCH", "GET",
    ] {
        for round in 1..=2 {
            let response = client.ask(format!(
                "{method} /a HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody"
            ));
            assert_eq!(
                response.body,
                format!("{method}:body").as_bytes(),
                "round {round}"
            );
        }
    }
    assert_eq!(origin.count(), 16);
}

fn a_chunked_request_arrives_before_it_is_whole(backend: Backend) {
    let arrived = Gate::new();
    let at_origin = arrived.clone();
    let origin = Origin::start(move |_, wire| {
        let mut body = Vec::new();
        while let Some(Some(piece)) = wire.chunk() {
            body.extend(piece);
            at_origin.open();
        }
        wire.send(ok("", body));
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.send(format!("{CHUNKED_POST}6\r\nfirst \r\n"));
    arrived.pass();
    let response = client.ask("4\r\nlast\r\n0\r\nX-Trailer: 1\r\n\r\n");
    assert_eq!(response.body, b"first last");
    assert_eq!(client.ask(format!("{CHUNKED_POST}0\r\n\r\n")).status, 200);
}

fn a_long_upload_arrives_whole(backend: Backend) {
    let origin = echo();
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    let body: Vec<u8> = (0..3_000_000_usize)
        .map(|at| (at % 253).to_le_bytes()[0])
        .collect();
    let head = format!(
        "PUT /u HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let response = client.ask([head.as_bytes(), &body].concat());
    assert!(
        response.body == [b"PUT:", body.as_slice()].concat(),
        "the bytes differ"
    );
    let pieces: Vec<&[u8]> = body.chunks(10_007).collect();
    let head = b"PUT /u HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let response = client.ask([head, chunked(&pieces)].concat());
    assert!(
        response.body == [b"PUT:", body.as_slice()].concat(),
        "the bytes differ"
    );
}

fn expect_100_continue_is_answered_before_the_body(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        if request.field("expect").is_some() {
            wire.send("HTTP/1.1 100 Continue\r\n\r\n");
        }
        let body = wire.body(request).unwrap_or_default();
        wire.send(ok("", body));
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.send(
        "POST /a HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    );
    assert_eq!(client.head().map(|head| head.status), Ok(100));
    assert_eq!(client.ask("body").body, b"body");
    assert_eq!(
        client
            .ask("POST /b HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx")
            .body,
        b"x"
    );
}

fn interim_answers_pass_and_are_not_stored(backend: Backend) {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
    let origin = Origin::answering(
        [
            hints.as_bytes(),
            &ok("Cache-Control: max-age=60\r\n", "page"),
        ]
        .concat(),
    );
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    let miss = client.ask(get("/a"));
    let interim: Vec<_> = miss
        .interim
        .iter()
        .map(|interim| (interim.status, interim.field("link")))
        .collect();
    assert_eq!(interim, [(103, Some("</style.css>; rel=preload"))]);
    assert_eq!(
        (miss.body.as_slice(), miss.field("link")),
        (&b"page"[..], None)
    );
    let hit = client.ask(get("/a"));
    assert!(hit.is_hit() && hit.interim.is_empty());
    let old = gateway.ask("GET /old HTTP/1.0\r\nHost: test\r\n\r\n");
    assert!(old.interim.is_empty() && old.body == b"page");
}

fn an_origin_that_speaks_until_it_closes_is_passed_whole(backend: Backend) {
    for version in ["1.0", "1.1"] {
        let origin = Origin::start(move |_, wire| {
            wire.send(format!(
                "HTTP/{version} 200 OK\r\nContent-Type: text/plain\r\n\r\none "
            ));
            wire.send("two ".repeat(1000));
            Next::Close
        });
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        let response = client.ask(get("/a"));
        assert_eq!(
            response.body,
            format!("one {}", "two ".repeat(1000)).as_bytes()
        );
        if response.framing != Framing::Close {
            assert_eq!(client.ask(get("/b")).status, 200);
        }
    }
}

fn trailers_pass(backend: Backend) {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
        4\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n";
    let origin = Origin::answering(answer);
    let gateway = Gateway::before(&origin, backend);
    let response =
        gateway.ask("GET /a HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    assert_eq!(response.body, b"body");
    let sum = response
        .trailers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("x-sum"));
    assert_eq!(sum.map(|(_, value)| value.as_str()), Some("42"));
}

fn the_first_bytes_of_a_body_do_not_wait_for_the_last(backend: Backend) {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(move |_, wire| {
        wire.send(
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nCache-Control: max-age=60\r\n\r\nfirst",
        );
        at_origin.pass();
        wire.send("-last");
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.send(get("/a"));
    assert_eq!(client.head().map(|head| head.status), Ok(200));
    assert_eq!(client.bytes(5), Ok(b"first".to_vec()));
    gate.open();
    assert_eq!(client.bytes(5), Ok(b"-last".to_vec()));
    assert_eq!(client.ask(get("/a")).body, b"first-last");
}

fn answers_without_a_body_end_at_their_head(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        wire.send(match request.target.as_str() {
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"v\"\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        });
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for target in ["/204", "/200", "/304", "/200", "/204"] {
        let response = client.ask(format!(
            "GET {target} HTTP/1.1\r\nHost: test\r\nIf-None-Match: \"v\"\r\n\r\n"
        ));
        assert_eq!(
            (response.status.to_string(), response.body.len()),
            (target[1..].to_owned(), 0)
        );
    }
}

fn an_upgraded_connection_is_a_tunnel_both_ways(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        assert!(
            request
                .field("upgrade")
                .is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"))
        );
        wire.send(SWITCHING);
        while let Some(bytes) = wire.some() {
            wire.send(bytes.to_ascii_uppercase());
            if bytes.ends_with(b"bye") {
                break;
            }
        }
        Next::Close
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.send(WEBSOCKET);
    let head = client.head();
    assert_eq!(head.as_ref().map(|head| head.status), Ok(101));
    assert!(head.is_ok_and(|head| head.field("upgrade") == Some("websocket")));
    for words in [
        "hello",
        "GET / HTTP/1.1\r\nHost: test\r\n\r\n",
        "\0\u{1}\r\r\n",
    ] {
        client.send(words);
        let expected = words.to_ascii_uppercase();
        assert_eq!(client.bytes(expected.len()), Ok(expected.into_bytes()));
    }
    client.send("bye");
    assert_eq!(client.until_end(), (b"BYE".to_vec(), Ending::Closed));
    assert_eq!(origin.count(), 1);
}

fn an_upgrade_that_the_origin_declines_is_an_ordinary_answer(backend: Backend) {
    let origin = Origin::answering(ok("", "no"));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    let response = client.ask(WEBSOCKET);
    assert_eq!(
        (response.status, response.body.as_slice()),
        (200, &b"no"[..])
    );
    assert_eq!(client.ask(get("/b")).body, b"no");
}

fn an_upgrade_to_http_2_is_not_forwarded(backend: Backend) {
    let origin = Origin::answering(ok("", "plain"));
    let gateway = Gateway::before(&origin, backend);
    gateway.ask(
        "GET /a HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
    );
    let request = origin.last();
    assert_eq!(
        (request.field("upgrade"), request.field("http2-settings")),
        (None, None)
    );
}

fn what_the_origin_gets_is_one_hop_s_own(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = Gateway::before(&origin, backend);
    gateway.ask(
        "GET /a?b=%20c HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, X-Hop\r\n\
         X-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\n\
         traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
         X-End: yes\r\n\r\n",
    );
    let request = origin.last();
    assert_eq!(request.target, "/a?b=%20c");
    for name in ["traceparent", "x-end", "via"] {
        assert!(request.field(name).is_some(), "{name}");
    }
    for name in ["x-hop", "keep-alive", "proxy-connection"] {
        assert_eq!(request.field(name), None, "{name}");
    }
    assert_eq!(
        request
            .fields
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("host"))
            .count(),
        1
    );
}

fn an_upload_the_client_gives_up_is_not_whole_for_the_origin(backend: Backend) {
    let outcomes: Arc<Mutex<Vec<Option<Vec<u8>>>>> = Arc::default();
    let at_origin = Arc::clone(&outcomes);
    let origin = Origin::start(move |request, wire| {
        let body = wire.body(request);
        at_origin
            .lock()
            .expect("the story has not panicked")
            .push(body);
        Next::Close
    });
    let gateway = Gateway::before(&origin, backend);
    for (part, head) in [
        (b"some", "Content-Length: 100\r\n\r\nsome"),
        (b"half", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
    ] {
        let mut client = gateway.client();
        client.send(format!("POST /a HTTP/1.1\r\nHost: test\r\n{head}"));
        let arrived = |bytes: &Vec<u8>| bytes.windows(4).any(|four| four == part);
        eventually("a part arrives", || origin.received().iter().any(arrived));
        drop(client);
        let mut outcome = None;
        eventually("the origin sees the end", || {
            outcome = outcomes.lock().expect("the origin has not panicked").pop();
            outcome.is_some()
        });
        assert_eq!(outcome, Some(None), "{head:?} was passed off as whole");
    }
}

fn an_early_answer_reaches_a_client_that_is_still_sending(backend: Backend) {
    let origin = Origin::start(|_, wire| {
        wire.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        Next::Close
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.send("POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\nbeginning");
    match client.try_response() {
        Ok(response) => assert_eq!(
            (response.status, response.body.as_slice()),
            (403, &b"no"[..])
        ),
        Err(broken) => assert_eq!(broken, Broken::Closed),
    }
}
