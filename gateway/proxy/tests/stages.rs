//! Where a request's time goes: every moment of it is in one stage, and the stages add up to the whole.

mod paper;

use base::{Fault, Span};
use paper::World;
use telemetry::Stage;

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: t\r\n\r\n";
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 10\r\n\r\n";
const PRIVATE: &[u8] = b"HTTP/1.1 200 OK\r\nCache-Control: private\r\nContent-Length: 10\r\n\r\n";

/// The seconds that all requests together spent in each stage, where it was one at least.
fn seconds(world: &World) -> Vec<(Stage, u64)> {
    let sums = Stage::ALL.map(|stage| (stage, world.cells.stage(stage).1));
    let all: u64 = sums.iter().map(|(_, sum)| sum.0).sum();
    assert_eq!(Span(all), world.cells.latency_sum(), "{sums:?}");
    let seconds = sums.map(|(stage, sum)| (stage, sum.as_secs()));
    seconds.into_iter().filter(|(_, s)| *s > 0).collect()
}

/// Has the answer to the first request come with pauses, while a second waits for it; what each stage took.
fn paused(answer: &[u8]) -> (World, Vec<(Stage, u64)>) {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, GET);
    world.passes(Span::from_secs(1));
    let origin = world.origin();
    world.passes(Span::from_secs(2));
    world.arrives(origin, answer);
    world.arrives(origin, b"01234");
    world.passes(Span::from_secs(4));
    world.arrives(origin, b"56789");
    assert!(world.sent(client).ends_with("0123456789"));
    let seconds = seconds(&world);
    (world, seconds)
}

const OF_A_MISS: [(Stage, u64); 3] = [
    (Stage::UpstreamConnect, 1),
    (Stage::UpstreamFirstByte, 2),
    (Stage::UpstreamBody, 4),
];

#[test]
fn a_miss_waits_for_its_origin_in_three_stages() {
    assert_eq!(paused(HEAD).1, OF_A_MISS);
    assert_eq!(paused(PRIVATE).1, OF_A_MISS);
}

#[test]
fn a_hit_counts_in_the_stages_of_a_hit_alone() {
    let (mut world, before) = paused(HEAD);
    let counts = |world: &World| Stage::ALL.map(|stage| world.cells.stage(stage).0);
    assert_eq!(counts(&world), [1, 1, 1, 0, 1, 1, 1, 1, 1]);
    let client = world.client();
    world.arrives(client, &GET.repeat(3));
    assert_eq!(counts(&world), [4, 4, 4, 0, 1, 1, 1, 4, 4]);
    assert_eq!(seconds(&world), before);
}

#[test]
fn who_waits_for_anothers_fetch_is_in_no_stage_of_an_origin_before_it_answers() {
    let mut world = World::new();
    let (first, second) = (world.client(), world.client());
    world.arrives(first, GET);
    let origin = world.origin();
    world.arrives(second, GET);
    world.passes(Span::from_secs(2));
    world.arrives(origin, HEAD);
    world.arrives(origin, b"0123456789");
    assert!(world.sent(second).contains("collapsed"));
    let expected = [(Stage::CollapseWait, 2), (Stage::UpstreamFirstByte, 2)];
    assert_eq!(seconds(&world), expected);
}

#[test]
fn a_client_that_does_not_take_its_answer_is_being_sent_it() {
    let (mut world, _) = paused(HEAD);
    let client = world.client();
    world.io.hold_sends = true;
    world.arrives(client, GET);
    world.passes(Span::from_secs(3));
    world.io.release();
    world.settle();
    assert!(seconds(&world).contains(&(Stage::Send, 3)));
}

#[test]
fn who_gives_up_was_in_a_stage_to_the_end() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, GET);
    world.passes(Span::from_secs(1));
    world.origin();
    world.passes(Span::from_secs(2));
    world.fails(client, Fault::Reset);
    let expected = [(Stage::UpstreamConnect, 1), (Stage::UpstreamFirstByte, 2)];
    assert_eq!(seconds(&world), expected);
}

/// The next answer is always recorded before the one with the driver is done: what is kept of each goes with it.
#[test]
fn answers_without_end_on_one_connection_keep_what_is_told_of_each() {
    const ROUNDS: u64 = 70_000;
    let mut world = World::with(|settings| settings.sample_one_in = Some(1), 64 << 20);
    let client = world.client();
    world.arrives(client, GET);
    let origin = world.origin();
    world.arrives(origin, &[HEAD, b"0123456789"].concat());
    world.sent(client);
    world.io.keep = false;
    world.io.hold_sends = true;
    let traced = |id: u64| {
        let parent = "b7ad6b7169203331";
        format!("GET /a HTTP/1.1\r\nHost: t\r\ntraceparent: 00-{id:032x}-{parent}-01\r\n\r\n")
    };
    world.arrives(client, traced(1).as_bytes());
    for id in 2..=ROUNDS {
        world.arrives(client, traced(id).as_bytes());
        // The one before is counted, this one goes to the driver.
        world.io.release();
        world.settle();
    }
    let last = world.cells.recorder.requests().last();
    let last = last.map(|noted| noted.trace.id);
    assert_eq!(last, Some(u128::from(ROUNDS - 1)));
}
