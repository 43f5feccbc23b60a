//! What is answered from the store, and what never is.

use std::collections::HashSet;

use e2e::{
    Backend, Client, Framing, Gateway, Next, Origin, PATIENCE, Response, Setup, becomes,
    both_drivers, chunked, eventually, get, ok,
};

const FRESH: &str = "Cache-Control: max-age=60\r\n";

/// Asks twice on one connection.
fn twice(client: &mut Client, request: &str) -> (Response, Response) {
    (client.ask(request), client.ask(request))
}

both_drivers!(
    the_second_answer_comes_from_the_store,
    head_is_answered_from_a_stored_get,
    head_of_nothing_stored_is_asked_as_head,
    what_may_not_be_stored_is_asked_for_again,
    every_way_to_say_fresh_is_understood,
    an_answer_to_authorization_is_not_shared,
    a_stored_answer_is_not_used_past_its_time,
    a_chunked_answer_is_stored_with_its_length,
    large_objects_come_back_byte_for_byte,
    host_path_and_query_tell_objects_apart,
    hop_by_hop_fields_are_not_stored,
    a_full_pool_evicts_and_goes_on,
    the_same_connection_serves_hits_after_the_origin_is_gone,
);

fn the_second_answer_comes_from_the_store(backend: Backend) {
    let fields = "Cache-Control: max-age=60\r\nETag: \"v1\"\r\nContent-Type: text/plain\r\n";
    let origin = Origin::answering(ok(fields, "hello"));
    let gateway = Gateway::before(&origin, backend);
    let (miss, hit) = twice(&mut gateway.client(), &get("/a"));
    assert_eq!((miss.status, miss.body.as_slice()), (200, &b"hello"[..]));
    assert!(
        miss.is_forwarded() && !miss.is_hit(),
        "{:?}",
        miss.field("cache-status")
    );
    assert_eq!((hit.status, hit.body.as_slice()), (200, &b"hello"[..]));
    assert!(hit.is_hit(), "{:?}", hit.field("cache-status"));
    assert!(
        hit.field("age")
            .is_some_and(|age| age.parse::<u32>().is_ok_and(|age| age < 60)),
        "{:?}",
        hit.field("age")
    );
    for name in ["etag", "content-type", "cache-control", "date"] {
        assert_eq!(hit.field(name), miss.field(name), "{name}");
        assert_eq!(hit.all(name).count(), 1, "{name}");
    }
    assert_eq!(origin.count(), 1);
}

fn head_is_answered_from_a_stored_get(backend: Backend) {
    let origin = Origin::answering(ok(FRESH, "hello"));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/a"));
    client.send("HEAD /a HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = client.response_to_head();
    assert_eq!(
        (head.status, head.field("content-length")),
        (200, Some("5"))
    );
    assert!(head.is_hit());
    assert_eq!(client.ask(get("/a")).body, b"hello");
    assert_eq!(origin.count(), 1);
}

fn head_of_nothing_stored_is_asked_as_head(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        let answer = ok(FRESH, "hello");
        let length = if request.method == "HEAD" {
            answer.len() - 5
        } else {
            answer.len()
        };
        wire.send(&answer[..length]);
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.send("HEAD /a HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = client.response_to_head();
    assert_eq!(
        (head.status, head.field("content-length")),
        (200, Some("5"))
    );
    assert_eq!(origin.last().method, "HEAD");
    assert_eq!(client.ask(get("/a")).body, b"hello");
}

fn what_may_not_be_stored_is_asked_for_again(backend: Backend) {
    let unstorable = [
        "Cache-Control: no-store\r\n",
        "Cache-Control: private\r\n",
        "Cache-Control: max-age=60, private\r\n",
        "Cache-Control: max-age=60\r\nCache-Control: no-store\r\n",
        "Cache-Control: max-age=0\r\n",
        "Cache-Control: max-age=60, s-maxage=0\r\n",
        "Cache-Control: max-age=sixty\r\n",
        "Cache-Control: max-age=-1\r\n",
        "Cache-Control: max-age=60\r\nVary: *\r\n",
        "Expires: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
        "Expires: 0\r\n",
        "Cache-Control: max-age=60\r\nAge: 60\r\n",
        "Cache-Control: NO-STORE, max-age=60\r\n",
        "",
    ];
    for fields in unstorable {
        let origin = Origin::answering(ok(fields, "x"));
        let gateway = Gateway::before(&origin, backend);
        let (first, second) = twice(&mut gateway.client(), &get("/a"));
        assert!(
            first.is_forwarded() && second.is_forwarded() && !second.is_hit(),
            "{fields:?}: {second:?}"
        );
        assert_eq!(origin.count(), 2, "{fields:?}");
    }
}

fn every_way_to_say_fresh_is_understood(backend: Backend) {
    let fresh = [
        "Cache-Control: s-maxage=60\r\n",
        "Cache-Control: public, max-age=60\r\n",
        "cache-control: MAX-AGE=60\r\n",
        "Cache-Control: max-age=0, s-maxage=60\r\n",
        "Cache-Control: unknown=\"no-store\", max-age=60\r\n",
        "Cache-Control: max-age=99999999999999999999\r\n",
        "Expires: Fri, 01 Jan 2100 00:00:00 GMT\r\n",
    ];
    for fields in fresh {
        let origin = Origin::answering(ok(fields, "x"));
        let gateway = Gateway::before(&origin, backend);
        let (_, second) = twice(&mut gateway.client(), &get("/a"));
        assert!(second.is_hit(), "{fields:?}: {second:?}");
    }
}

fn an_answer_to_authorization_is_not_shared(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        wire.send(ok(
            FRESH,
            request.field("authorization").unwrap_or("nobody"),
        ));
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    let alice = client.ask("GET /a HTTP/1.1\r\nHost: test\r\nAuthorization: alice\r\n\r\n");
    assert_eq!(alice.body, b"alice");
    assert_eq!(client.ask(get("/a")).body, b"nobody");
}

fn a_stored_answer_is_not_used_past_its_time(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        wire.send(ok(
            "Cache-Control: max-age=1\r\n",
            request.number.to_string(),
        ));
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    assert_eq!(client.ask(get("/a")).body, b"0");
    assert!(
        becomes(PATIENCE, || client.ask(get("/a")).body == b"1"),
        "it is served for ever"
    );
}

fn a_chunked_answer_is_stored_with_its_length(backend: Backend) {
    let body = [&b"first piece, "[..], b"second", b" and the last"];
    let head =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n"
            .to_vec();
    let answer = [head, chunked(&body)].concat();
    let origin = Origin::answering(answer);
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    assert_eq!(client.ask(get("/a")).body, body.concat());
    let hit = client.ask(get("/a"));
    assert_eq!(
        (hit.body.as_slice(), hit.framing),
        (body.concat().as_slice(), Framing::Length)
    );
    assert!(hit.is_hit() && origin.count() == 1);
}

fn large_objects_come_back_byte_for_byte(backend: Backend) {
    for size in [
        0,
        1,
        4095,
        4096,
        4097,
        65_535,
        100 << 10,
        (1 << 20) + 1,
        5 << 20,
    ] {
        let body: Vec<u8> = (0..size)
            .map(|at: usize| (at % 251).to_le_bytes()[0])
            .collect();
        let origin = Origin::answering(ok(FRESH, &body));
        let gateway = Gateway::before(&origin, backend);
        let (miss, hit) = twice(&mut gateway.client(), &get("/large"));
        assert!(miss.body == body, "{size} bytes differ when passed");
        assert!(hit.body == body, "{size} bytes differ when stored");
        assert!(hit.is_hit(), "{size}: {:?}", hit.field("cache-status"));
    }
}

fn host_path_and_query_tell_objects_apart(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        wire.send(ok(
            FRESH,
            format!(
                "{} {}",
                request.field("host").unwrap_or_default(),
                request.target
            ),
        ));
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    let ask = |client: &mut Client, host: &str, target: &str| {
        client
            .ask(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .body
    };
    let (one, two) = ("one.test", "two.test");
    let places = [
        (one, "/a"),
        (two, "/a"),
        (one, "/a?x=1"),
        (one, "/a?x=2"),
        (one, "/a?"),
        (one, "/A"),
    ];
    let first: Vec<_> = places
        .map(|(host, target)| ask(&mut client, host, target))
        .into();
    let apart: HashSet<_> = first.iter().collect();
    assert_eq!(
        apart.len(),
        places.len(),
        "an object was mistaken for another"
    );
    let second: Vec<_> = places
        .map(|(host, target)| ask(&mut client, host, target))
        .into();
    assert_eq!(first, second);
    assert_eq!(origin.count(), places.len());
}

fn hop_by_hop_fields_are_not_stored(backend: Backend) {
    let fields = "Cache-Control: max-age=60\r\nConnection: X-Hop\r\nX-Hop: secret\r\n\
        Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nX-Kept: yes\r\n";
    let origin = Origin::answering(ok(fields, "x"));
    let gateway = Gateway::before(&origin, backend);
    let (miss, hit) = twice(&mut gateway.client(), &get("/a"));
    for response in [miss, hit] {
        assert_eq!(response.field("x-kept"), Some("yes"));
        for name in ["x-hop", "keep-alive", "proxy-authenticate"] {
            assert_eq!(response.field(name), None, "{name}");
        }
    }
}

fn a_full_pool_evicts_and_goes_on(backend: Backend) {
    let body = vec![b'x'; 1 << 20];
    let answer = ok(FRESH, &body);
    let origin = Origin::answering(answer);
    let setup = Setup::new(backend).set("api_gateway", "memory_pool_size", "\"64MiB\"");
    let gateway = setup.everything_to(origin.address(), "").start();
    let mut client = gateway.client();
    for number in 0..150 {
        let response = client.ask(get(&format!("/{number}")));
        assert!(
            response.status == 200 && response.body == body,
            "object {number}"
        );
    }
    assert!(client.ask(get("/small")).status == 200);
}

fn the_same_connection_serves_hits_after_the_origin_is_gone(backend: Backend) {
    let origin = Origin::answering(ok(FRESH, "kept"));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    client.ask(get("/a"));
    drop(origin);
    for _ in 0..50 {
        assert_eq!(client.ask(get("/a")).body, b"kept");
    }
    eventually("a miss is refused for want of an origin", || {
        client.ask(get("/b")).status >= 502
    });
}
