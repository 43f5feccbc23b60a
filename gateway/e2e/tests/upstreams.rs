//! What is told of origins: since when requests wait for a connection to them, how long they take, and why they fail.

use std::net::SocketAddr;
use std::time::Duration;

use e2e::{
    Backend, Gate, Gateway, Next, Origin, Setup, Watch, becomes, both_drivers, eventually, get, ok,
};

both_drivers!(
    the_longest_wait_for_an_origin_grows_until_its_turn_comes,
    every_stage_of_an_origin_is_timed_once_and_connecting_only_where_it_was_needed,
    a_fetch_that_no_client_waits_for_is_timed_as_well,
    every_cause_of_failure_is_counted_by_itself,
);

fn the_longest_wait_for_an_origin_grows_until_its_turn_comes(backend: Backend) {
    let gate = Gate::new();
    let at_origin = gate.clone();
    let origin = Origin::start(move |_, wire| {
        at_origin.pass();
        wire.send(ok("", "x"));
        Next::Keep
    });
    let bound = "max_connections = 1\nacquire_timeout = \"60s\"";
    let gateway = Setup::new(backend)
        .everything_to(origin.address(), bound)
        .start();
    let mut watch = Watch::of(&gateway);
    let mut age = || watch.sample("queue_oldest_age_seconds", &["queue=\"upstream\""]);
    assert_eq!(age().to_string(), "0");
    let clients = ["/a", "/b"].map(|target| {
        let mut client = gateway.client();
        client.send(get(target));
        client
    });
    eventually("one of them waits", || age() > 0.0);
    let before = age();
    eventually("it waits on", || age() > before);
    gate.open();
    for mut client in clients {
        assert_eq!(client.response().status, 200);
    }
    eventually("nobody waits", || age() == 0.0);
}

/// A sample of `upstream_request_duration_seconds` for each stage: connect, first_byte, body.
fn durations(watch: &mut Watch, what: &str) -> [f64; 3] {
    let name = format!("upstream_request_duration_seconds_{what}");
    ["connect", "first_byte", "body"].map(|stage| {
        let stage = format!("stage=\"{stage}\"");
        watch.sample(&name, &["upstream=\"origin\"", &stage])
    })
}

fn every_stage_of_an_origin_is_timed_once_and_connecting_only_where_it_was_needed(
    backend: Backend,
) {
    const PAUSE: Duration = Duration::from_millis(30);
    let origin = Origin::start(|_, wire| {
        becomes(PAUSE, || false);
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na");
        becomes(PAUSE, || false);
        wire.send("b");
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut watch = Watch::of(&gateway);
    let mut client = gateway.client();
    for target in ["/a", "/b", "/c"] {
        assert_eq!(client.ask(get(target)).body, b"ab");
    }
    eventually("all of them are counted", || {
        durations(&mut watch, "count") == [1.0, 3.0, 3.0]
    });
    let [_, first_byte, body] = durations(&mut watch, "sum");
    let least = 2.0 * PAUSE.as_secs_f64();
    assert!(first_byte > least && body > least, "{first_byte} {body}");
}

fn a_fetch_that_no_client_waits_for_is_timed_as_well(backend: Backend) {
    let stale = "Cache-Control: max-age=0, stale-while-revalidate=600\r\n";
    let origin = Origin::answering(ok(stale, "x"));
    let gateway = Gateway::before(&origin, backend);
    let mut watch = Watch::of(&gateway);
    gateway.ask(get("/"));
    eventually("it is served stale", || gateway.ask(get("/")).is_hit());
    eventually("what refreshes it is counted", || {
        let asked = origin.count() as f64;
        let [_, first_byte, body] = durations(&mut watch, "count");
        asked >= 2.0 && first_byte == asked && body == asked
    });
}

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    Origin::answering("").address()
}

fn every_cause_of_failure_is_counted_by_itself(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        match request.target.as_str() {
            "/reset" => wire.reset(),
            "/garbage" => drop(wire.send("no answer\r\n\r\n")),
            "/cut" => drop(wire.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")),
            "/stuck" => {
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx");
                wire.some();
            }
            _ => drop(wire.some()),
        }
        Next::Close
    });
    let timeouts = "first_byte_timeout = \"100ms\"\nread_timeout = \"100ms\"";
    let gateway = Setup::new(backend)
        .upstream("origin", &[origin.address()], timeouts)
        .route("origin", "", "/", "origin")
        .upstream("nobody", &[nobody(), nobody()], "")
        .route("nobody", "", "/nobody", "nobody")
        .start();
    let mut watch = Watch::of(&gateway);
    let mut count = |cause: &str, upstream: &str, stage: &str| {
        let name = format!("upstream_{cause}_errors_total");
        let upstream = format!("upstream=\"{upstream}\"");
        watch.sample(&name, &[&upstream, stage])
    };
    for target in ["/reset", "/garbage", "/cut", "/silent", "/stuck", "/nobody"] {
        // What there is of an answer is of no interest here.
        let _ = gateway.client().ask_quietly(get(target));
    }
    for (cause, upstream, stage, expected) in [
        ("reset", "origin", "", 2.0),
        ("protocol", "origin", "", 1.0),
        ("timeout", "origin", "stage=\"first_byte\"", 1.0),
        ("timeout", "origin", "stage=\"body\"", 1.0),
        ("connect", "nobody", "", 2.0),
        ("connect", "origin", "", 0.0),
        ("reset", "nobody", "", 0.0),
        ("timeout", "nobody", "", 0.0),
    ] {
        let what = format!("{cause} {upstream} {stage}");
        eventually(&what, || count(cause, upstream, stage) == expected);
    }
    assert_eq!(
        watch
            .sample("upstream_request_errors_total", &[])
            .to_string(),
        "6"
    );
}
