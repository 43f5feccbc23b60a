//! Stories of peers who try to break the proxy: most were a fault before they were a story, the others say what held.

mod paper;

use std::sync::Arc;

use base::{Closing, Completion, Fault, Moment, Span, UpstreamId, limits};
use paper::{World, split};
use telemetry::{Exposition, Labels, Reader, Supplement};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: t\r\n\r\n";
const MISS: &[u8] = b"GET /b HTTP/1.1\r\nHost: t\r\n\r\n";
const FRESH: &[u8] =
    b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nhello";

/// A world that holds `/a`, and a client that was just answered from it.
fn stored() -> (World, base::SocketId, base::SocketId) {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, GET);
    let origin = world.origin();
    world.arrives(origin, FRESH);
    world.sent(client);
    world.sent(origin);
    (world, client, origin)
}

fn seconds(world: &mut World, count: u64) {
    for _ in 0..count {
        world.passes(Span::from_secs(1));
    }
}

#[test]
fn an_answer_that_outgrows_its_bound_with_its_head_goes_on_as_a_stream() {
    let mut world = World::with(|settings| settings.object_bytes_max = 8, 64 << 20);
    let (client, follower) = (world.client(), world.client());
    world.arrives(client, GET);
    world.arrives(follower, GET);
    let origin = world.origin();
    world.arrives(
        origin,
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\nc\r\nabcdefghijkl\r\n",
    );
    let begun = world.sent(client);
    assert!(
        begun.contains(" 200 OK") && begun.contains("abcdefgh"),
        "{begun}"
    );
    world.arrives(origin, b"3\r\nmno\r\n0\r\n\r\n");
    assert!(world.sent(client).ends_with("mno\r\n0\r\n\r\n"));
    // Nothing of it was sent to the other: it fetches for itself, and gets a whole answer.
    assert_eq!(world.sent(follower), "");
    assert_eq!(world.closed(follower), None);
    let own = world.origin();
    world.arrives(own, FRESH);
    assert_eq!(split(&world.sent(follower)), ("200", "hello"));
}

#[test]
fn a_full_slab_streams_what_has_no_length() {
    let mut world = World::with(|_| {}, 0);
    let client = world.client();
    world.arrives(client, GET);
    let origin = world.origin();
    world.arrives(
        origin,
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    let answer = world.sent(client);
    assert_eq!(split(&answer), ("200", "3\r\nabc\r\n0\r\n\r\n"));
}

#[test]
fn an_error_that_leaves_a_body_unread_lingers_so_that_it_arrives() {
    let mut world = World::with(
        |settings| settings.limits.body_bytes_max = Some(10),
        64 << 20,
    );
    let client = world.client();
    world.arrives(
        client,
        b"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n",
    );
    assert_eq!(split(&world.sent(client)).0, "413");
    assert_eq!(
        world.closed(client),
        None,
        "a reset would destroy the answer"
    );
    assert!(world.socket(client).shut);
    world.arrives(client, &[b'x'; 4096]);
    world.ends(client);
    assert_eq!(world.closed(client), Some(Closing::Orderly));
}

#[test]
fn who_takes_nothing_cannot_stay_by_beginning_a_head() {
    let (mut world, client, _) = stored();
    world.io.hold_sends = true;
    world.arrives(client, GET);
    world.arrives(client, b"GET /");
    seconds(&mut world, 40);
    assert_eq!(world.closed(client), Some(Closing::Reset));
}

#[test]
fn a_head_begun_while_an_answer_was_taken_has_its_time_from_then_on() {
    let (mut world, client, _) = stored();
    world.io.hold_sends = true;
    world.arrives(client, GET);
    world.arrives(client, b"GET /");
    world.io.hold_sends = false;
    world.io.release();
    world.settle();
    world.sent(client);
    seconds(&mut world, 8);
    assert_eq!(world.sent(client), "");
    seconds(&mut world, 4);
    assert_eq!(split(&world.sent(client)).0, "408");
}

#[test]
fn who_takes_nothing_cannot_stay_by_asking_for_more() {
    let (mut world, client, origin) = stored();
    world.io.hold_sends = true;
    world.arrives(client, GET);
    world.arrives(client, MISS);
    world.arrives(origin, FRESH);
    seconds(&mut world, 60);
    assert_eq!(world.closed(client), Some(Closing::Reset));
}

#[test]
fn who_takes_nothing_cannot_stay_by_sending_a_body() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(
        client,
        b"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nab",
    );
    let origin = world.origin();
    world.arrives(origin, b"HTTP/1.1 103 Early Hints\r\n\r\n");
    world.io.hold_sends = true;
    world.arrives(origin, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell");
    world.arrives(client, b"cde");
    world.arrives(origin, b"o");
    seconds(&mut world, 60);
    assert!(world.closed(client).is_some());
}

#[test]
fn a_body_that_is_here_is_sent_though_its_client_ended_its_direction() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(
        client,
        b"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc",
    );
    world.ends(client);
    let origin = world.origin();
    assert!(world.sent(origin).ends_with("\r\n\r\nabc"));
    world.arrives(origin, FRESH);
    assert_eq!(split(&world.sent(client)), ("200", "hello"));
    assert_eq!(world.closed(client), Some(Closing::Orderly));
}

#[test]
fn a_body_that_can_never_be_whole_ends_its_client() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(
        client,
        b"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nabc",
    );
    world.ends(client);
    world.origin();
    assert_eq!(world.closed(client), Some(Closing::Orderly));
    assert_eq!(world.proxy.fetches(), 0);
}

#[test]
fn an_early_answer_reaches_a_client_that_ends_its_body_for_it() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(
        client,
        b"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nabc",
    );
    let origin = world.origin();
    world.arrives(
        origin,
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nhe",
    );
    world.ends(client);
    world.arrives(origin, b"llo");
    assert_eq!(split(&world.sent(client)), ("403", "hello"));
    assert_eq!(world.closed(client), Some(Closing::Orderly));
}

#[test]
fn a_client_that_ended_before_the_tunnel_ends_its_direction_of_it() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(
        client,
        b"GET /ws HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearly",
    );
    world.ends(client);
    let origin = world.origin();
    world.sent(origin);
    world.arrives(
        origin,
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    assert_eq!(world.sent(origin), "early");
    assert!(world.socket(origin).shut);
    world.arrives(origin, b"late");
    assert!(world.sent(client).ends_with("late"));
    world.ends(origin);
    assert_eq!(world.closed(client), Some(Closing::Orderly));
}

#[test]
fn what_a_client_sent_before_it_ended_a_tunnel_arrives_though_the_origin_is_slow() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(
        client,
        b"GET /ws HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    let origin = world.origin();
    world.arrives(
        origin,
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    world.sent(origin);
    world.io.hold_sends = true;
    let mut count = 0;
    while world.socket(client).receiving {
        world.arrives(client, b"x");
        count += 1;
    }
    world.ends(client);
    while !world.socket(origin).shut {
        world.io.release();
        world.settle();
    }
    assert_eq!(world.sent(origin), "x".repeat(count));
}

#[test]
fn a_long_head_that_came_in_many_pieces_behind_a_miss_is_read() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, GET);
    let origin = world.origin();
    world.sent(origin);
    for piece in ["GET /", "b", "b", "b", "b", "b HTTP/1.1\r\nHost: t\r\n\r\n"] {
        world.arrives(client, piece.as_bytes());
    }
    world.arrives(origin, FRESH);
    assert!(world.sent(origin).starts_with("GET /bbbbb "));
}

#[test]
fn framing_without_data_is_no_progress_of_a_body() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(
        client,
        b"POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1;",
    );
    world.origin();
    for _ in 0..10 {
        world.arrives(client, b"a");
        seconds(&mut world, 3);
    }
    assert_eq!(split(&world.sent(client)).0, "408");
}

#[test]
fn an_early_answer_is_not_cut_because_its_client_stopped_sending() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(
        client,
        b"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    );
    let origin = world.origin();
    world.arrives(
        origin,
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nhe",
    );
    seconds(&mut world, 20);
    world.arrives(origin, b"llo");
    assert_eq!(split(&world.sent(client)), ("403", "hello"));
}

#[test]
fn the_time_an_origin_does_not_take_a_body_is_not_its_clients() {
    let mut world = World::with(
        |settings| settings.upstreams[0].read_timeout = Span::from_secs(1000),
        64 << 20,
    );
    let client = world.client();
    world.arrives(
        client,
        b"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n",
    );
    world.origin();
    world.io.hold_sends = true;
    while world.socket(client).receiving {
        world.arrives(client, &[b'x'; 100]);
    }
    seconds(&mut world, 60);
    world.io.hold_sends = false;
    world.io.release();
    world.settle();
    assert!(world.socket(client).receiving);
    world.passes(Span::from_millis(500));
    assert_eq!(world.sent(client), "");
    seconds(&mut world, 60);
    assert_eq!(split(&world.sent(client)).0, "408");
}

#[test]
fn a_client_that_was_being_answered_when_the_drain_began_may_ask_once_more() {
    let (mut world, client, _) = stored();
    world.io.hold_sends = true;
    world.arrives(client, GET);
    world.proxy.drain(&mut world.io);
    world.io.release();
    world.settle();
    // Its answer's head had gone out, and said nothing of the end.
    assert!(!world.sent(client).contains("Connection: close"));
    assert_eq!(world.closed(client), None);
    world.io.hold_sends = false;
    world.arrives(client, GET);
    assert!(world.sent(client).contains("Connection: close"));
    assert_eq!(world.closed(client), Some(Closing::Orderly));
    assert!(world.proxy.is_drained());
}

#[test]
fn who_idles_in_a_drain_is_closed_after_a_while_and_who_idled_before_sooner() {
    let (mut world, early, _) = stored();
    seconds(&mut world, 3);
    let late = world.client();
    world.arrives(late, GET);
    world.proxy.drain(&mut world.io);
    seconds(&mut world, 1);
    assert!(!world.socket(early).shut);
    seconds(&mut world, 2);
    assert!(world.socket(early).shut);
    assert!(!world.socket(late).shut);
    seconds(&mut world, 3);
    assert!(world.socket(late).shut);
    assert!(!world.proxy.is_drained());
    // Whoever does not end its own side is waited for no longer than a last answer would be.
    seconds(&mut world, 3);
    assert!(world.proxy.is_drained());
}

#[test]
fn who_was_being_served_from_a_lost_shards_fetch_is_cut() {
    let (mut leader, mut follower) = World::pair();
    let (leading, following) = (leader.client(), follower.client());
    leader.arrives(leading, GET);
    follower.arrives(following, GET);
    let origin = leader.origin();
    leader.arrives(
        origin,
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\nabc",
    );
    follower.settle();
    assert!(follower.sent(following).ends_with("abc"));
    assert_eq!(follower.closed(following), None);
    drop(leader);
    follower.settle();
    assert_eq!(follower.closed(following), Some(Closing::Reset));
}

#[test]
fn who_waits_for_a_lost_shards_fetch_leads_anew() {
    let (mut leader, mut follower) = World::pair();
    let (leading, following) = (leader.client(), follower.client());
    leader.arrives(leading, GET);
    follower.arrives(following, GET);
    drop(leader);
    follower.settle();
    let origin = follower.origin();
    follower.arrives(origin, FRESH);
    assert_eq!(split(&follower.sent(following)), ("200", "hello"));
}

#[test]
fn a_follower_on_another_shard_is_told_of_every_step() {
    let (mut leader, mut follower) = World::pair();
    let (leading, following) = (leader.client(), follower.client());
    leader.arrives(leading, GET);
    follower.arrives(following, GET);
    assert!(follower.io.connects.is_empty());
    let origin = leader.origin();
    leader.arrives(
        origin,
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\nab",
    );
    follower.settle();
    assert!(follower.sent(following).ends_with("ab"));
    leader.fails(leading, Fault::Reset);
    leader.arrives(origin, b"cd");
    follower.settle();
    leader.arrives(origin, b"ef");
    follower.settle();
    assert_eq!(follower.sent(following), "cdef");
    assert_eq!(leader.proxy.fetches(), 0);
}

#[test]
fn a_stored_204_has_no_length() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, GET);
    let origin = world.origin();
    world.arrives(
        origin,
        b"HTTP/1.1 204 No Content\r\nCache-Control: max-age=60\r\n\r\n",
    );
    world.arrives(client, GET);
    let answers = world.sent(client);
    assert!(answers.contains("; hit"), "{answers}");
    assert!(!answers.contains("Content-Length"), "{answers}");
}

#[test]
fn bytes_that_wait_do_not_hold_the_last_receive_buffers() {
    let mut world = World::new();
    world.io.free = 8;
    let (waiting, uploading) = (world.client(), world.client());
    world.arrives(waiting, MISS);
    world.arrives(
        uploading,
        b"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 9999\r\n\r\n",
    );
    for _ in 0..8 {
        world.arrives(waiting, GET);
        world.arrives(uploading, b"abc");
    }
    assert_eq!(world.io.lent.get(), 0);
}

#[test]
fn an_answer_that_went_stale_while_it_came_is_not_joined() {
    let mut world = World::new();
    let (early, late) = (world.client(), world.client());
    world.arrives(early, GET);
    let origin = world.origin();
    world.arrives(
        origin,
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=2\r\nContent-Length: 6\r\n\r\nabc",
    );
    seconds(&mut world, 5);
    world.arrives(late, GET);
    assert_eq!(world.sent(late), "", "it is stale");
    let own = world.origin();
    world.arrives(own, FRESH);
    assert_eq!(split(&world.sent(late)), ("200", "hello"));
    world.arrives(origin, b"def");
    assert!(world.sent(early).ends_with("abcdef"));
}

#[test]
fn who_waits_for_a_connection_is_not_overtaken() {
    let mut world = World::with(
        |settings| settings.upstreams[0].connections_max = 1,
        64 << 20,
    );
    let (first, second, third) = (world.client(), world.client(), world.client());
    world.arrives(first, b"GET /1 HTTP/1.1\r\nHost: t\r\n\r\n");
    world.arrives(second, b"GET /2 HTTP/1.1\r\nHost: t\r\n\r\n");
    let origin = world.origin();
    world.sent(origin);
    let answer = world.io.buffer(FRESH);
    let request = world.io.buffer(b"GET /3 HTTP/1.1\r\nHost: t\r\n\r\n");
    world.meanwhile(Completion::Received {
        socket: origin,
        buffer: answer,
        came: base::Stamp(0),
    });
    world.complete(Completion::Received {
        socket: third,
        buffer: request,
        came: base::Stamp(0),
    });
    assert!(world.sent(origin).starts_with("GET /2"));
    world.arrives(origin, FRESH);
    assert!(world.sent(origin).starts_with("GET /3"));
}

#[test]
fn how_long_a_fetch_waited_for_a_connection_is_counted() {
    let mut world = World::with(
        |settings| settings.upstreams[0].connections_max = 1,
        64 << 20,
    );
    let (first, second) = (world.client(), world.client());
    world.arrives(first, b"GET /1 HTTP/1.1\r\nHost: t\r\n\r\n");
    world.arrives(second, b"GET /2 HTTP/1.1\r\nHost: t\r\n\r\n");
    let origin = world.origin();
    world.passes(Span::from_millis(250));
    world.arrives(origin, FRESH);
    let labels = Labels {
        upstreams: vec!["o".into()],
        ..Labels::default()
    };
    let mut out = Exposition::new();
    let mut reader = Reader::new(vec![Arc::clone(&world.cells)], labels);
    reader.render(Moment(0), &Supplement::default(), &mut out);
    let text = out.finish(Span::ZERO);
    assert!(
        text.contains("connection_pool_wait_seconds_sum{upstream=\"o\"} 0.25\n"),
        "{text}"
    );
    assert!(
        text.contains("connection_pool_wait_seconds_count{upstream=\"o\"} 1\n"),
        "{text}"
    );
}

#[test]
fn a_refused_connection_is_one_failure() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, GET);
    let socket = world.io.connects.pop_front().unwrap();
    world.fails(socket, Fault::Refused);
    assert_eq!(world.cells.upstream_errors.read(), 1);
    let pool = world.cells.pool(UpstreamId(0)).unwrap();
    assert_eq!((pool.active.read(), pool.idle.read()), (0, 0));
}

#[test]
fn many_interim_answers_and_the_final_one_leave_in_bounded_messages() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, GET);
    let origin = world.origin();
    let mut answer = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(16);
    answer.extend_from_slice(FRESH);
    world.arrives(origin, &answer);
    let sent = world.sent(client);
    assert_eq!(sent.matches(" 103 ").count(), 16);
    assert!(sent.ends_with("hello"));
}

#[test]
fn who_is_being_refused_takes_nobodys_place() {
    let mut world = World::with(|settings| settings.limits.clients_max = 1, 64 << 20);
    let served = world.client();
    let refused = world.client();
    assert_eq!(split(&world.sent(refused)).0, "503");
    world.ends(served);
    assert_eq!(world.closed(refused), None, "it lingers");
    let next = world.client();
    world.arrives(next, b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(split(&world.sent(next)).0, "200");
    seconds(&mut world, 4);
    assert!(world.closed(refused).is_some());
    let beyond = world.client();
    assert_eq!(split(&world.sent(beyond)).0, "503", "the bound still holds");
}

#[test]
fn beyond_their_bound_followers_fetch_for_themselves() {
    let mut world = World::with(
        |settings| settings.limits.clients_max = usize::MAX,
        64 << 20,
    );
    for _ in 0..limits::FLIGHT_WAITERS_MAX {
        let client = world.client();
        world.arrives(client, GET);
    }
    assert_eq!(world.io.connects.len(), 1);
    let client = world.client();
    world.arrives(client, GET);
    assert_eq!(world.io.connects.len(), 2);
}

#[test]
fn an_answer_cut_by_the_origin_counts_with_its_status_and_not_as_given_up() {
    let mut world = World::new();
    let (stored, passed, gone) = (world.client(), world.client(), world.client());
    world.arrives(stored, GET);
    let storing = world.origin();
    world.arrives(
        storing,
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\nabc",
    );
    world.fails(storing, Fault::Reset);
    world.arrives(passed, MISS);
    let passing = world.origin();
    world.arrives(
        passing,
        b"HTTP/1.1 203 Fine\r\nContent-Length: 6\r\n\r\nabc",
    );
    world.fails(passing, Fault::Reset);
    world.arrives(gone, MISS);
    world.fails(gone, Fault::Reset);
    let text = exposition(&world);
    for status in ["200", "203", "499"] {
        let series = format!("status=\"{status}\",route=\"all\",cache=\"miss\"}} 1\n");
        assert!(text.contains(&series), "{status}: {text}");
    }
}

#[test]
fn a_follower_that_fetched_after_all_counts_as_a_miss() {
    let mut world = World::new();
    let (first, second) = (world.client(), world.client());
    world.arrives(first, GET);
    world.arrives(second, GET);
    let origin = world.origin();
    let private = b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\nme";
    world.arrives(origin, private);
    world.arrives(origin, private);
    assert_eq!(split(&world.sent(second)), ("200", "me"));
    let text = exposition(&world);
    assert!(
        text.contains("status=\"200\",route=\"all\",cache=\"miss\"} 2\n"),
        "{text}"
    );
}

/// The lines of `http_requests_total`.
fn exposition(world: &World) -> String {
    let labels = Labels {
        routes: vec!["all".to_owned()],
        upstreams: vec!["origin".to_owned()],
    };
    let mut reader = Reader::new(vec![Arc::clone(&world.cells)], labels);
    let mut out = Exposition::new();
    reader.tick(world.io.now.moment);
    reader.render(world.io.now.moment, &Supplement::default(), &mut out);
    let text = out.finish(Span::ZERO);
    let lines = text.split_inclusive('\n');
    lines
        .filter(|line| line.starts_with("http_requests_total{"))
        .collect()
}
