//! Slow clients and slow origins: each wait has its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use e2e::{
    Backend, Broken, Client, Ending, Gate, Gateway, Next, Origin, Setup, Wire, becomes,
    both_drivers, get, ok,
};

fn gateway(origin: &Origin, backend: Backend, limits: &[(&'static str, &str)]) -> Gateway {
    let setup = limits
        .iter()
        .fold(Setup::new(backend), |setup, (key, value)| {
            setup.set("limits", key, *value)
        });
    setup.everything_to(origin.address(), "").start()
}

both_drivers!(
    a_head_that_never_ends_is_408,
    a_head_that_drips_is_not_given_more_time,
    an_idle_connection_is_closed_without_a_word,
    a_connection_that_never_asks_is_closed,
    a_request_in_time_after_an_idle_while_is_answered,
    an_origin_that_never_answers_is_504,
    an_origin_that_stops_inside_a_body_breaks_the_answer_off,
    a_body_that_stalls_is_408_or_closed,
    a_reader_that_takes_nothing_is_let_go,
    a_silent_tunnel_is_closed_on_both_sides,
    bytes_of_the_client_alone_keep_a_tunnel,
    bytes_of_the_origin_alone_keep_a_tunnel,
    a_tunnel_whose_client_ended_waits_for_the_origin_as_for_an_answer,
);

fn a_head_that_never_ends_is_408(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = gateway(&origin, backend, &[("header_timeout", "\"200ms\"")]);
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: te");
    assert_eq!(client.response().status, 408);
    client.expect_end();
    assert_eq!(origin.count(), 0);
}

fn a_head_that_drips_is_not_given_more_time(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = gateway(&origin, backend, &[("header_timeout", "\"300ms\"")]);
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\n");
    // A byte at each look: the gateway must end this, the client never does.
    let closed = becomes(e2e::PATIENCE, || {
        !client.send("X") || gateway.descriptors() == 0
    });
    assert!(closed, "a dripping head was waited for");
    assert_eq!(origin.count(), 0);
}

fn an_idle_connection_is_closed_without_a_word(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = gateway(&origin, backend, &[("idle_timeout", "\"200ms\"")]);
    let mut client = gateway.client();
    client.ask(get("/a"));
    client.expect_end();
}

fn a_connection_that_never_asks_is_closed(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = gateway(
        &origin,
        backend,
        &[
            ("idle_timeout", "\"200ms\""),
            ("header_timeout", "\"200ms\""),
        ],
    );
    let mut client = gateway.client();
    let (bytes, ending) = client.until_end();
    assert_eq!(ending, Ending::Closed, "{}", bytes.escape_ascii());
}

fn a_request_in_time_after_an_idle_while_is_answered(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = gateway(
        &origin,
        backend,
        &[("header_timeout", "\"200ms\""), ("idle_timeout", "\"60s\"")],
    );
    let mut client = gateway.client();
    client.ask(get("/a"));
    // Longer than a head may take: the clock starts with its first byte.
    becomes(Duration::from_millis(500), || false);
    assert_eq!(client.ask(get("/b")).status, 200);
}

fn an_origin_that_never_answers_is_504(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        if request.target == "/hang" {
            while wire.some().is_some() {}
            return Next::Close;
        }
        wire.send(ok("", "x"));
        Next::Keep
    });
    let gateway = Setup::new(backend)
        .everything_to(origin.address(), "first_byte_timeout = \"200ms\"")
        .start();
    let mut client = gateway.client();
    let response = client.ask(get("/hang"));
    assert_eq!(response.status, 504);
    assert_eq!(client.ask(get("/next")).status, 200);
}

fn an_origin_that_stops_inside_a_body_breaks_the_answer_off(backend: Backend) {
    let origin = Origin::start(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nCache-Control: max-age=60\r\n\r\nhalf");
        while wire.some().is_some() {}
        Next::Close
    });
    let gateway = Setup::new(backend)
        .everything_to(origin.address(), "read_timeout = \"200ms\"")
        .start();
    let mut client = gateway.client();
    client.send(get("/a"));
    let outcome = client.try_response();
    assert!(
        matches!(outcome, Err(Broken::Truncated | Broken::Reset)),
        "{outcome:?}"
    );
    assert!(
        !gateway
            .client()
            .ask_quietly(get("/a"))
            .is_ok_and(|again| again.is_hit())
    );
}

fn a_body_that_stalls_is_408_or_closed(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        wire.body(request);
        Next::Close
    });
    let gateway = gateway(&origin, backend, &[("body_min_rate", "\"1MiB/s\"")]);
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\nbeginning");
    match client.try_response() {
        Ok(response) => assert_eq!(response.status, 408),
        Err(broken) => assert!(
            matches!(broken, Broken::Closed | Broken::Reset),
            "{broken:?}"
        ),
    }
}

fn a_reader_that_takes_nothing_is_let_go(backend: Backend) {
    let body = vec![b'x'; 30 << 20];
    let origin = Origin::start(move |_, wire| {
        if wire.send(ok("", &body)) {
            Next::Keep
        } else {
            Next::Close
        }
    });
    let gateway = gateway(&origin, backend, &[("send_min_rate", "\"10MiB/s\"")]);
    let before = gateway.settled_descriptors();
    let mut client = gateway.client();
    client.send(get("/a"));
    assert!(client.head().is_ok());
    e2e::eventually("the connection is given up", || {
        gateway.descriptors() <= before
    });
}

const UPGRADE: &str =
    "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// An origin that takes every upgrade and then acts as told; and how often the gateway has ended a tunnel since.
fn tunnelling(act: fn(&mut Wire)) -> (Origin, Arc<AtomicUsize>) {
    let ended = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ended);
    let origin = Origin::start(move |_, wire| {
        wire.send(SWITCHING);
        act(wire);
        while wire.some().is_some() {}
        counter.fetch_add(1, Ordering::SeqCst);
        Next::Close
    });
    (origin, ended)
}

fn tunnel(gateway: &Gateway) -> Client {
    let mut client = gateway.client();
    client.send(UPGRADE);
    assert_eq!(client.head().map(|head| head.status), Ok(101));
    client
}

fn expect_ended(ended: &AtomicUsize) {
    e2e::eventually("the origin sees the end", || {
        ended.load(Ordering::SeqCst) == 1
    });
}

fn a_silent_tunnel_is_closed_on_both_sides(backend: Backend) {
    let (origin, ended) = tunnelling(|_| {});
    let gateway = gateway(&origin, backend, &[("tunnel_idle_timeout", "\"300ms\"")]);
    let before = gateway.settled_descriptors();
    let mut client = tunnel(&gateway);
    client.expect_end();
    expect_ended(&ended);
    e2e::eventually("both connections are given back", || {
        gateway.descriptors() <= before
    });
}

/// Longer than the tunnel may be silent, and far longer than a busy machine keeps a story from its next byte.
const TUNNEL_IDLE: &str = "\"1s\"";
const TALK: Duration = Duration::from_millis(2_500);

fn bytes_of_the_client_alone_keep_a_tunnel(backend: Backend) {
    let (origin, ended) = tunnelling(|_| {});
    let gateway = gateway(&origin, backend, &[("tunnel_idle_timeout", TUNNEL_IDLE)]);
    let mut client = tunnel(&gateway);
    let cut = becomes(TALK, || {
        !client.send("x") || ended.load(Ordering::SeqCst) > 0
    });
    assert!(!cut, "closed though bytes passed");
    client.expect_end();
    expect_ended(&ended);
}

fn bytes_of_the_origin_alone_keep_a_tunnel(backend: Backend) {
    let (origin, ended) = tunnelling(|wire| {
        becomes(TALK, || !wire.send("x"));
        wire.send("all");
    });
    let gateway = gateway(&origin, backend, &[("tunnel_idle_timeout", TUNNEL_IDLE)]);
    let mut client = tunnel(&gateway);
    let (bytes, ending) = client.until_end();
    assert!(bytes.ends_with(b"xall"), "closed though bytes passed");
    assert_eq!(ending, Ending::Closed);
    expect_ended(&ended);
}

fn a_tunnel_whose_client_ended_waits_for_the_origin_as_for_an_answer(backend: Backend) {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |_, wire| {
        wire.send(SWITCHING);
        while wire.some().is_some() {}
        wire.send("late");
        held.pass();
        Next::Close
    });
    let gateway = Setup::new(backend)
        .everything_to(origin.address(), "read_timeout = \"1s\"")
        .start();
    let mut client = tunnel(&gateway);
    client.end_sending();
    let (bytes, ending) = client.until_end();
    gate.open();
    assert_eq!((bytes.as_slice(), ending), (&b"late"[..], Ending::Reset));
}
