//! Lines of the access log, shard's end.

mod paper;

use std::num::NonZeroU32;

use paper::{World, answered, get, ok};
use telemetry::access::Batch;

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
