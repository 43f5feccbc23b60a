//! Clients' connections: kept, pipelined, split, many, gone.

use e2e::{
    Backend, Client, Ending, Gateway, Next, Origin, Response, Setup, both_drivers, chunked,
    eventually, get, ok,
};

const FRESH: &str = "Cache-Control: max-age=60\r\n";

/// What a client may compare: everything but what changes from answer to answer.
fn steady(response: &Response) -> (u16, Vec<u8>, Vec<(String, String)>) {
    let changing = ["age", "date", "x-request-id", "cache-status"];
    let fields = response
        .fields
        .iter()
        .filter(|(name, _)| !changing.contains(&name.to_ascii_lowercase().as_str()))
        .cloned();
    (response.status, response.body.clone(), fields.collect())
}

fn echo_of_target() -> Origin {
    Origin::start(|request, wire| {
        let body = wire.body(request).unwrap_or_default();
        let fields = if request.target.starts_with("/cached") {
            FRESH
        } else {
            "Cache-Control: no-store\r\n"
        };
        wire.send(ok(fields, [request.target.as_bytes(), &body].concat()));
        Next::Keep
    })
}

both_drivers!(
    one_connection_carries_many_requests_on_one_origin_connection,
    pipelined_requests_are_answered_in_order_misses_among_hits,
    sixteen_pipelined_hits_come_back_as_one_after_the_other_would,
    a_body_sent_with_a_hit_is_not_taken_for_a_request,
    an_http_1_0_client_gets_no_chunks_and_the_end_of_the_connection,
    connection_close_is_honoured_on_hits_and_misses,
    a_client_that_has_said_all_is_still_answered,
    a_hit_split_at_every_byte_is_the_same_hit,
    a_request_with_a_body_split_at_every_byte_arrives_the_same,
    one_byte_at_a_time_is_a_request,
    descriptors_come_back_after_a_storm,
    clients_gone_inside_a_body_harm_nobody,
    beyond_max_connections_the_answer_is_503_with_retry_after,
    two_shards_share_what_one_has_stored,
);

fn one_connection_carries_many_requests_on_one_origin_connection(backend: Backend) {
    let origin = echo_of_target();
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for number in 0..100 {
        let target = format!("/{number}");
        assert_eq!(client.ask(get(&target)).body, target.as_bytes());
    }
    let used = origin
        .received()
        .iter()
        .filter(|bytes| !bytes.is_empty())
        .count();
    assert_eq!((origin.count(), used), (100, 1));
}

fn pipelined_requests_are_answered_in_order_misses_among_hits(backend: Backend) {
    let origin = echo_of_target();
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/cached/warm"));
    let targets: Vec<String> = (0..64)
        .map(|number| match number % 4 {
            0 => format!("/miss/{number}"),
            1 => format!("/cached/cold/{number}"),
            _ => "/cached/warm".to_owned(),
        })
        .collect();
    client.send(targets.iter().map(|target| get(target)).collect::<String>());
    for target in targets {
        assert_eq!(client.response().body, target.as_bytes());
    }
}

fn sixteen_pipelined_hits_come_back_as_one_after_the_other_would(backend: Backend) {
    let origin = Origin::answering(ok(FRESH, vec![b'x'; 1024]));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/a"));
    let alone = steady(&client.ask(get("/a")));
    for _ in 0..20 {
        client.send(get("/a").repeat(16));
        for _ in 0..16 {
            assert_eq!(steady(&client.response()), alone);
        }
    }
    assert_eq!(origin.count(), 1);
}

fn a_body_sent_with_a_hit_is_not_taken_for_a_request(backend: Backend) {
    let origin = echo_of_target();
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/cached/a"));
    let hidden = get("/smuggled");
    let length = hidden.len();
    client.send(format!(
        "GET /cached/a HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{hidden}"
    ));
    client.send(get("/next"));
    assert!(client.response().body.starts_with(b"/cached/a"));
    assert_eq!(client.response().body, b"/next");
    assert!(
        origin
            .requests()
            .iter()
            .all(|request| request.target != "/smuggled")
    );
}

fn an_http_1_0_client_gets_no_chunks_and_the_end_of_the_connection(backend: Backend) {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let answer = [head, chunked(&[b"one ", b"two"])].concat();
    let origin = Origin::answering(answer);
    let gateway = Gateway::before(&origin, backend);
    for request in [
        "GET /a HTTP/1.0\r\n\r\n",
        "GET /a HTTP/1.0\r\nHost: test\r\n\r\n",
    ] {
        let mut client = gateway.client();
        let response = client.ask(request);
        assert_eq!(
            (response.status, response.body.as_slice()),
            (200, &b"one two"[..])
        );
        assert_eq!(response.field("transfer-encoding"), None);
        client.expect_end();
    }
}

fn connection_close_is_honoured_on_hits_and_misses(backend: Backend) {
    let origin = echo_of_target();
    let gateway = Gateway::before(&origin, backend);
    gateway.ask(get("/cached/a"));
    for target in ["/cached/a", "/b"] {
        let mut client = gateway.client();
        let response = client.ask(format!(
            "GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        ));
        assert_eq!(
            (response.status, response.field("connection")),
            (200, Some("close"))
        );
        client.expect_end();
    }
}

fn a_client_that_has_said_all_is_still_answered(backend: Backend) {
    let origin = echo_of_target();
    let gateway = Gateway::before(&origin, backend);
    gateway.ask(get("/cached/a"));
    let mut client = gateway.client();
    client.send(get("/cached/a").repeat(3));
    client.end_sending();
    for _ in 0..3 {
        assert_eq!(client.response().body, b"/cached/a");
    }
    client.expect_end();
}

fn a_hit_split_at_every_byte_is_the_same_hit(backend: Backend) {
    let origin = echo_of_target();
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    let request = "GET /cached/split?x=1 HTTP/1.1\r\nHost: test\r\nAccept: */*\r\nX-Empty:\r\n\r\n";
    client.ask(request);
    let whole = steady(&client.ask(request));
    for at in 1..request.len() {
        let (first, second) = request.split_at(at);
        client.send(first);
        assert_eq!(steady(&client.ask(second)), whole, "split at {at}");
    }
    assert_eq!(origin.count(), 1);
}

fn a_request_with_a_body_split_at_every_byte_arrives_the_same(backend: Backend) {
    let origin = echo_of_target();
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    let head = b"POST /p HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let request = [head, chunked(&[b"hello ", b"world"])].concat();
    for at in 1..request.len() {
        let (first, second) = request.split_at(at);
        client.send(first);
        assert_eq!(client.ask(second).body, b"/phello world", "split at {at}");
    }
}

fn one_byte_at_a_time_is_a_request(backend: Backend) {
    let origin = echo_of_target();
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for byte in get("/slow/typist").as_bytes() {
        client.send([*byte]);
    }
    assert_eq!(client.response().body, b"/slow/typist");
}

fn descriptors_come_back_after_a_storm(backend: Backend) {
    let origin = echo_of_target();
    let gateway = Gateway::before(&origin, backend);
    gateway.ask(get("/cached/a"));
    let before = gateway.settled_descriptors();
    for _ in 0..5 {
        let mut storm: Vec<Client> = (0..100).map(|_| gateway.client()).collect();
        for (number, client) in storm.iter_mut().enumerate() {
            client.send(match number % 4 {
                0 => get("/cached/a"),
                1 => get("/cached/a").repeat(5),
                2 => "GET /cached/a HTT".to_owned(),
                _ => String::new(),
            });
        }
        for client in storm.iter_mut().step_by(4) {
            assert_eq!(client.response().body, b"/cached/a");
        }
    }
    eventually("descriptors come back", || gateway.descriptors() <= before);
}

fn clients_gone_inside_a_body_harm_nobody(backend: Backend) {
    let body = vec![b'x'; 20 << 20];
    let origin = Origin::start(move |request, wire| {
        let fields = if request.target == "/cached" {
            FRESH
        } else {
            "Cache-Control: no-store\r\n"
        };
        if wire.send(ok(fields, &body)) {
            Next::Keep
        } else {
            Next::Close
        }
    });
    // Pooled origin connections are no leak, and go soon.
    let setup = Setup::new(backend).everything_to(origin.address(), "idle_timeout = \"200ms\"");
    let gateway = setup.start();
    let before = gateway.settled_descriptors();
    for target in ["/passed", "/cached"] {
        for _ in 0..20 {
            let mut client = gateway.client();
            client.send(get(target));
            assert!(client.bytes(1000).is_ok());
        }
        assert_eq!(gateway.ask(get(target)).body.len(), 20 << 20);
    }
    eventually("descriptors come back", || gateway.descriptors() <= before);
}

fn beyond_max_connections_the_answer_is_503_with_retry_after(backend: Backend) {
    let origin = echo_of_target();
    let setup = Setup::new(backend).set("limits", "max_connections", "4");
    let gateway = setup.everything_to(origin.address(), "").start();
    let mut held: Vec<Client> = (0..4).map(|_| gateway.client()).collect();
    for client in &mut held {
        assert_eq!(client.ask(get("/cached/a")).status, 200);
    }
    let mut late = gateway.client();
    let refusal = late.ask(get("/cached/a"));
    assert_eq!(refusal.status, 503);
    assert!(refusal.field("retry-after").is_some(), "{refusal:?}");
    assert_eq!(late.until_end().1, Ending::Closed);
    assert_eq!(held[0].ask(get("/cached/a")).status, 200);
    held.pop();
    eventually("a place becomes free", || {
        gateway.ask(get("/cached/a")).status == 200
    });
}

fn two_shards_share_what_one_has_stored(backend: Backend) {
    let origin = echo_of_target();
    let setup = Setup::new(backend).set("api_gateway", "worker_threads", "2");
    let gateway = setup.everything_to(origin.address(), "").start();
    gateway.ask(get("/cached/a"));
    for _ in 0..50 {
        assert!(gateway.ask(get("/cached/a")).is_hit());
    }
    assert_eq!(origin.count(), 1);
}
