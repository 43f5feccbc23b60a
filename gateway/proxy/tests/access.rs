//! Lines of the access log, shard's end.

mod paper;

use std::num::NonZeroU32;

use base::{Closing, Fault, Span};
use paper::{World, answered, get, ok};
use telemetry::access::{Batch, Line};

const FRESH: &str = "Cache-Control: max-age=600\r\n";

/// Targets in the heads of the lines that wait, and the requests' bytes sent.
fn lines(world: &World) -> Vec<(String, u64)> {
    let mut batch = Batch::default();
    world.cells.log.take(&mut batch);
    let target = |head: &[u8]| {
        let head = String::from_utf8_lossy(head).into_owned();
        head.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let lines = batch.iter();
    lines
        .map(|(line, head, _)| (target(head), line.noted.sent_bytes))
        .collect()
}

/// The next answers are always recorded before those with the driver are done: what the log gets of each goes with it.
#[test]
fn every_line_has_the_head_of_its_own_request() {
    for one_in in [1, 2, 3, 7] {
        let one_in = NonZeroU32::new(one_in);
        let mut world = World::with(|settings| settings.log_one_in = one_in, 64 << 20);
        let client = world.client();
        let targets: Vec<String> = (0..5)
            .map(|at| format!("/{}", "a".repeat(1 + at)))
            .collect();
        let body = |target: &String| ok(FRESH, &"x".repeat(100 * target.len()));
        let (first, others) = targets.split_first().expect("some");
        let origin = answered(&mut world, client, &get(first, ""), &body(first));
        for target in others {
            world.arrives(client, &get(target, ""));
            world.arrives(origin, &body(target));
        }
        lines(&world);
        world.io.keep = false;
        world.io.hold_sends = true;
        let mut found = Vec::new();
        for round in 0..300 {
            let asked = targets.iter().cycle().skip(round).take(1 + round % 4);
            let requests: Vec<u8> = asked.flat_map(|target| get(target, "")).collect();
            world.arrives(client, &requests);
            if round % 3 > 0 {
                world.io.release();
                world.settle();
            }
            found.extend(lines(&world));
        }
        assert!(found.len() > 90);
        for (target, sent) in found {
            let body = 100 * target.len() as u64;
            assert!(
                sent > body && sent < body + 400,
                "{target} with {sent} bytes"
            );
        }
    }
}

/// Where nobody takes them, lines are dropped and counted, not kept.
#[test]
fn lines_that_nobody_takes_are_bounded() {
    let one_in = NonZeroU32::new(1);
    let mut world = World::with(|settings| settings.log_one_in = one_in, 64 << 20);
    let client = world.client();
    answered(&mut world, client, &get("/a", ""), &ok(FRESH, "x"));
    world.io.keep = false;
    for _ in 0..10_000 {
        world.arrives(client, &get("/a", ""));
    }
    let log = &world.cells.log;
    assert_eq!(log.written.read() + log.dropped.read(), 10_001);
    assert!(log.dropped.read() > 0);
    assert_eq!(log.waiting(), log.written.read());
    let first = lines(&world).len();
    world.arrives(client, &get("/a", ""));
    let second = lines(&world).len();
    assert!(first > 0 && second > 0);
    world.settle();
    lines(&world);
    assert_eq!(world.cells.log.waiting(), 0);
}

fn logging() -> World {
    let one_in = NonZeroU32::new(1);
    World::with(|settings| settings.log_one_in = one_in, 64 << 20)
}

/// What is told of every request so far that was not told before.
fn told(world: &mut World) -> Vec<Line> {
    let mut told = Vec::new();
    while world.cells.log.waiting() > 0 {
        let mut batch = Batch::default();
        world.cells.log.take(&mut batch);
        told.extend(batch.iter().map(|(line, ..)| *line));
        world.settle();
    }
    told
}

/// Their statuses, and whether all got out.
fn ends(world: &mut World) -> Vec<(u16, bool)> {
    let lines = told(world).into_iter();
    lines.map(|line| (line.noted.status, line.whole)).collect()
}

/// What ends with its connection ends without a byte that could be taken: it is whole all the same.
#[test]
fn an_answer_that_the_connections_end_delimits_is_whole() {
    for cached in ["private", "max-age=600"] {
        let mut world = logging();
        let client = world.client();
        world.arrives(client, b"GET /a HTTP/1.0\r\nHost: t\r\n\r\n");
        let origin = world.origin();
        let head = format!(
            "HTTP/1.1 200 OK\r\nCache-Control: {cached}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        world.arrives(origin, format!("{head}5\r\nhello\r\n").as_bytes());
        world.passes(Span::from_secs(1));
        assert_eq!(ends(&mut world), []);
        world.arrives(origin, b"0\r\n\r\n");
        assert_eq!(world.closed(client), Some(Closing::Orderly));
        assert_eq!(ends(&mut world), [(200, true)], "{cached}");
    }
}

#[test]
fn a_tunnel_that_both_sides_ended_is_whole() {
    for client_first in [true, false] {
        let mut world = logging();
        let client = world.client();
        let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\n";
        world.arrives(client, &get("/ws", upgrade));
        let origin = world.origin();
        let switched = format!("HTTP/1.1 101 Switching Protocols\r\n{upgrade}\r\nhi");
        world.arrives(origin, switched.as_bytes());
        if client_first {
            world.ends(client);
        }
        world.ends(origin);
        assert_eq!(
            ends(&mut world),
            [(101, true)],
            "client first: {client_first}"
        );
    }
}

#[test]
fn a_body_counts_for_its_own_request() {
    let mut world = logging();
    let client = world.client();
    let answer = ok(&format!("{FRESH}ETag: \"x\"\r\n"), "x");
    let origin = answered(&mut world, client, &get("/a", ""), &answer);
    let large = ok(FRESH, &"x".repeat(100_000));
    world.arrives(client, &get("/large", ""));
    world.arrives(origin, &large);
    told(&mut world);
    let post = b"POST /p HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc".to_vec();
    let unchanged = get("/a", "If-None-Match: \"x\"\r\n");
    world.arrives(
        client,
        &[post, get("/a", ""), unchanged, get("/large", "")].concat(),
    );
    world.arrives(origin, &ok("", "posted"));
    let lines = told(&mut world).into_iter();
    let bodies = lines.map(|line| line.noted.body_bytes);
    assert_eq!(bodies.collect::<Vec<_>>(), [3, 0, 0, 0]);
}

#[test]
fn what_is_cut_off_is_written_down_whatever_its_status_was() {
    let one_in = NonZeroU32::new(1_000);
    let mut world = World::with(|settings| settings.log_one_in = one_in, 64 << 20);
    let client = world.client();
    world.arrives(client, &get("/a", ""));
    let origin = world.origin();
    let half = b"HTTP/1.1 200 OK\r\nCache-Control: private\r\nContent-Length: 10\r\n\r\nhello";
    world.arrives(origin, half);
    world.fails(origin, Fault::Reset);
    assert_eq!(ends(&mut world), [(200, false)]);
}

#[test]
fn what_is_under_way_when_all_must_stop_is_written_down() {
    let mut world = logging();
    let (idle, waiting, begun) = (world.client(), world.client(), world.client());
    let sending = world.client();
    let origin = answered(&mut world, idle, &get("/a", ""), &ok(FRESH, "x"));
    world.arrives(begun, &get("/b", ""));
    let half = b"HTTP/1.1 200 OK\r\nCache-Control: private\r\nContent-Length: 10\r\n\r\nhello";
    world.arrives(origin, half);
    world.arrives(waiting, &get("/c", ""));
    world.io.hold_sends = true;
    world.arrives(sending, &get("/a", ""));
    told(&mut world);
    world.proxy.stop(&mut world.io);
    world.settle();
    let mut ended = ends(&mut world);
    ended.sort_unstable();
    assert_eq!(ended, [(200, false), (499, false), (499, false)]);
    assert_eq!(world.closed(begun), Some(Closing::Reset));
    assert_eq!(world.proxy.clients(), 0);
}

/// Who asks and asks and takes nothing does not have the heads of all it asked kept for it.
#[test]
fn heads_that_wait_for_a_client_to_take_its_answers_are_bounded() {
    let mut world = logging();
    let client = world.client();
    answered(&mut world, client, &get("/a", ""), &ok(FRESH, "x"));
    told(&mut world);
    world.io.keep = false;
    world.io.hold_sends = true;
    let request = get("/a", &format!("Cookie: {}\r\n", "c".repeat(3_900)));
    for _ in 0..100 {
        world.arrives(client, &request);
    }
    world.io.hold_sends = false;
    world.io.release();
    world.settle();
    let written = told(&mut world).len();
    assert!(
        written > 10 && written * request.len() <= 64 << 10,
        "{written}"
    );
    let lost = world.cells.log.dropped.read();
    assert_eq!(written as u64 + lost, 100);
    // Those who ask after it have room again.
    world.arrives(client, &request);
    assert_eq!(told(&mut world).len(), 1);
}

/// Past a turn's share of the index a request is decided on in the next: it has waited all the same.
#[test]
fn a_request_that_is_put_off_counts_from_its_own_turn() {
    let mut world = logging();
    let (first, other) = (world.client(), world.client());
    world.io.stamp_step = 60_000; // a call of the index takes 60 us
    let begun = base::Stamp(world.io.now.moment.0);
    world.proxy.begin_turn(&mut world.io, begun, 2);
    for (socket, target) in [(first, "/a"), (other, "/b")] {
        let buffer = world.io.buffer(&get(target, ""));
        let received = base::Completion::Received {
            socket,
            buffer,
            came: begun,
        };
        world.proxy.complete(&mut world.io, received);
    }
    world.proxy.end_turn(&mut world.io);
    assert_eq!(world.io.connects.len(), 1, "the other waits");
    world.passes(Span::from_secs(1));
    assert_eq!(world.io.connects.len(), 2);
    world.fails(other, Fault::Reset);
    let lines = told(&mut world);
    assert!(lines[0].noted.duration >= Span::from_secs(1), "{lines:?}");
}
