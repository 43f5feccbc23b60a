//! Stories of the proxy without a kernel: a client, the proxy, an origin, one claim.

mod paper;

use base::{Closing, Fault, Span};
use paper::{World, split};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: t\r\n\r\n";
const FRESH: &[u8] =
    b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn the_second_ask_is_answered_from_the_store() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, GET);
    let origin = world.origin();
    let asked = world.sent(origin);
    assert!(
        asked.starts_with("GET /a HTTP/1.1\r\nHost: t\r\n"),
        "{asked}"
    );
    world.arrives(origin, FRESH);
    let first = world.sent(client);
    assert_eq!(split(&first), ("200", "hello"));
    assert!(first.contains("fwd=uri-miss; stored"), "{first}");
    world.passes(Span::from_secs(2));
    world.arrives(client, GET);
    let second = world.sent(client);
    assert_eq!(split(&second), ("200", "hello"));
    assert!(
        second.contains("Cache-Status: ultragate; hit; ttl=58"),
        "{second}"
    );
    assert!(second.contains("\r\nAge: 2\r\n"), "{second}");
    assert!(world.io.connects.is_empty());
}

#[test]
fn pipelined_hits_leave_in_one_send() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, GET);
    let origin = world.origin();
    world.arrives(origin, FRESH);
    world.sent(client);
    let before = world.socket(client).sends;
    world.arrives(client, &GET.repeat(16));
    assert_eq!(world.sent(client).matches("hello").count(), 16);
    assert_eq!(world.socket(client).sends, before + 1);
}

#[test]
fn a_miss_between_hits_keeps_their_order() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, GET);
    let origin = world.origin();
    world.arrives(origin, FRESH);
    world.sent(client);
    let mut batch = GET.to_vec();
    batch.extend_from_slice(b"GET /b HTTP/1.1\r\nHost: t\r\n\r\n");
    batch.extend_from_slice(GET);
    world.arrives(client, &batch);
    let early = world.sent(client);
    assert_eq!(early.matches("hello").count(), 1);
    world.arrives(
        origin,
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nworld",
    );
    let late = world.sent(client);
    assert!(
        late.find("world").unwrap() < late.find("hello").unwrap(),
        "{late}"
    );
}

#[test]
fn every_split_of_two_requests_gives_the_same_answers() {
    let mut whole = GET.to_vec();
    whole.extend_from_slice(b"POST /p HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc");
    for at in 1..whole.len() {
        let mut world = World::new();
        let client = world.client();
        world.arrives(client, &whole[..at]);
        world.arrives(client, &whole[at..]);
        let origin = world.origin();
        world.sent(origin);
        world.arrives(origin, FRESH);
        let asked = world.sent(origin);
        assert!(asked.starts_with("POST /p"), "split at {at}: {asked}");
        assert!(asked.ends_with("\r\n\r\nabc"), "split at {at}: {asked}");
        world.arrives(origin, b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
        let answers = world.sent(client);
        assert!(
            answers.contains("200 OK") && answers.contains("201 Created"),
            "split at {at}: {answers}"
        );
    }
}

#[test]
fn concurrent_misses_make_one_request_and_followers_get_the_body_as_it_comes() {
    let mut world = World::new();
    let (first, second) = (world.client(), world.client());
    world.arrives(first, GET);
    world.arrives(second, GET);
    let origin = world.origin();
    assert!(world.io.connects.is_empty(), "one request for both");
    world.arrives(
        origin,
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\nabc",
    );
    assert!(world.sent(first).ends_with("abc"));
    let head = world.sent(second);
    assert!(
        head.contains("collapsed") && head.ends_with("abc"),
        "{head}"
    );
    world.arrives(origin, b"def");
    assert_eq!(world.sent(first), "def");
    assert_eq!(world.sent(second), "def");
}

#[test]
fn what_is_not_storable_is_fetched_by_each_for_itself() {
    let mut world = World::new();
    let (first, second) = (world.client(), world.client());
    world.arrives(first, GET);
    world.arrives(second, GET);
    let origin = world.origin();
    world.arrives(
        origin,
        b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\nme",
    );
    assert_eq!(split(&world.sent(first)), ("200", "me"));
    assert_eq!(world.sent(second), "");
    let own = if world.io.connects.is_empty() {
        origin
    } else {
        world.origin()
    };
    world.arrives(
        own,
        b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\nus",
    );
    assert_eq!(split(&world.sent(second)), ("200", "us"));
}

#[test]
fn an_answer_cut_by_the_origin_is_cut_for_the_client_and_not_stored() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, GET);
    let origin = world.origin();
    world.arrives(
        origin,
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\nabc",
    );
    world.ends(origin);
    assert_eq!(world.closed(client), Some(Closing::Reset));
    let next = world.client();
    world.arrives(next, GET);
    assert_eq!(world.io.connects.len(), 1, "nothing of it was stored");
}

#[test]
fn a_refused_connection_is_a_502_and_the_client_goes_on() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, GET);
    let socket = world.io.connects.pop_front().unwrap();
    world.fails(socket, Fault::Refused);
    assert_eq!(split(&world.sent(client)).0, "502");
    world.arrives(client, GET);
    let origin = world.origin();
    world.arrives(origin, FRESH);
    assert_eq!(split(&world.sent(client)), ("200", "hello"));
}

#[test]
fn a_pooled_connection_that_died_is_replaced_unseen() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, GET);
    let origin = world.origin();
    world.arrives(origin, FRESH);
    world.sent(client);
    world.sent(origin);
    world.arrives(client, b"GET /b HTTP/1.1\r\nHost: t\r\n\r\n");
    assert!(world.sent(origin).starts_with("GET /b"));
    world.fails(origin, Fault::Reset);
    let again = world.origin();
    assert!(world.sent(again).starts_with("GET /b"));
    world.arrives(again, FRESH);
    assert_eq!(split(&world.sent(client)), ("200", "hello"));
}

#[test]
fn a_post_on_a_pooled_connection_that_died_is_not_repeated() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, GET);
    let origin = world.origin();
    world.arrives(origin, FRESH);
    world.sent(client);
    world.arrives(
        client,
        b"POST /b HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx",
    );
    world.fails(origin, Fault::Reset);
    assert!(world.io.connects.is_empty());
    assert_eq!(split(&world.sent(client)).0, "502");
}

#[test]
fn an_object_that_outgrows_its_bound_goes_on_as_a_stream() {
    let mut world = World::with(|settings| settings.object_bytes_max = 8, 64 << 20);
    let client = world.client();
    world.arrives(client, GET);
    let origin = world.origin();
    world.arrives(
        origin,
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n",
    );
    world.arrives(origin, b"6\r\nghijkl\r\n");
    world.arrives(origin, b"3\r\nmno\r\n0\r\n\r\n");
    let answer = world.sent(client);
    let body: String = dechunk(answer.split_once("\r\n\r\n").unwrap().1);
    assert_eq!(body, "abcdefghijklmno");
    assert_eq!(world.closed(client), None);
    world.arrives(client, GET);
    assert!(!world.sent(client).contains("hit"), "it was not stored");
}

#[test]
fn a_slow_client_pauses_the_origin() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, b"GET /s HTTP/1.1\r\nHost: t\r\n\r\n");
    let origin = world.origin();
    world.io.hold_sends = true;
    world.arrives(
        origin,
        b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 10000000\r\n\r\n",
    );
    let piece = vec![b'x'; 64 << 10];
    let mut received = 0;
    while world.socket(origin).receiving {
        world.arrives(origin, &piece);
        received += piece.len();
        assert!(received < 4 << 20, "the window is bounded");
    }
    world.io.hold_sends = false;
    world.io.release();
    world.settle();
    assert!(world.socket(origin).receiving, "taken: the origin goes on");
}

#[test]
fn garbage_is_answered_and_nothing_is_forwarded() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(
        client,
        b"GET /a HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    );
    let answer = world.sent(client);
    assert_eq!(split(&answer).0, "400");
    assert!(answer.contains("Connection: close"));
    assert!(world.socket(client).shut);
    assert!(world.io.connects.is_empty());
    world.arrives(client, GET);
    assert_eq!(world.sent(client), "");
    world.ends(client);
    assert_eq!(world.closed(client), Some(Closing::Orderly));
}

#[test]
fn a_head_that_does_not_complete_is_a_408_and_silence_just_ends() {
    let mut world = World::new();
    let (slow, silent) = (world.client(), world.client());
    world.arrives(slow, b"GET /a HT");
    for _ in 0..12 {
        world.passes(Span::from_secs(1));
    }
    assert_eq!(split(&world.sent(slow)).0, "408");
    assert_eq!(world.closed(silent), Some(Closing::Orderly));
    assert_eq!(world.sent(silent), "");
}

#[test]
fn an_origin_that_does_not_answer_is_a_504() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, GET);
    world.origin();
    for _ in 0..32 {
        world.passes(Span::from_secs(1));
    }
    assert_eq!(split(&world.sent(client)).0, "504");
}

#[test]
fn a_leader_that_leaves_does_not_take_the_followers_along() {
    let mut world = World::new();
    let (leader, follower) = (world.client(), world.client());
    world.arrives(leader, GET);
    world.arrives(follower, GET);
    let origin = world.origin();
    world.fails(leader, Fault::Reset);
    world.arrives(origin, FRESH);
    assert_eq!(split(&world.sent(follower)), ("200", "hello"));
}

#[test]
fn an_answer_that_drips_for_nobody_is_given_up_in_time() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, GET);
    let origin = world.origin();
    let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 1000\r\n\r\n";
    world.arrives(origin, head.as_bytes());
    world.fails(client, Fault::Reset);
    let mut drops = 0;
    while world.closed(origin).is_none() && drops < 1000 {
        world.arrives(origin, b"x");
        world.passes(Span::from_secs(5));
        drops += 1;
    }
    assert!((55..=65).contains(&drops), "{drops} drops of 5 s");
    // Who asks now leads anew.
    let other = world.client();
    world.arrives(other, GET);
    let origin = world.origin();
    world.arrives(origin, FRESH);
    assert_eq!(split(&world.sent(other)), ("200", "hello"));
}

#[test]
fn a_success_of_an_unsafe_method_ends_the_stored_answer() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, GET);
    let origin = world.origin();
    world.arrives(origin, FRESH);
    world.arrives(client, b"DELETE /a HTTP/1.1\r\nHost: t\r\n\r\n");
    world.arrives(origin, b"HTTP/1.1 204 No Content\r\n\r\n");
    world.sent(client);
    world.sent(origin);
    world.arrives(client, GET);
    assert!(world.sent(origin).starts_with("GET /a"));
}

#[test]
fn an_upgrade_is_a_tunnel_after_the_origins_101() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(
        client,
        b"GET /ws HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearly",
    );
    let origin = world.origin();
    let asked = world.sent(origin);
    assert!(
        asked.contains("Upgrade: websocket") && !asked.contains("early"),
        "{asked}"
    );
    world.arrives(
        origin,
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi",
    );
    assert_eq!(world.sent(origin), "early");
    assert!(world.sent(client).ends_with("\r\n\r\nhi"));
    world.arrives(client, b"ping");
    assert_eq!(world.sent(origin), "ping");
    world.ends(client);
    assert!(world.socket(origin).shut);
    world.arrives(origin, b"bye");
    assert_eq!(world.sent(client), "bye");
    world.ends(origin);
    assert_eq!(world.closed(client), Some(Closing::Orderly));
    assert_eq!(world.proxy.fetches(), 0);
}

fn dechunk(mut body: &str) -> String {
    let mut out = String::new();
    loop {
        let (line, rest) = body.split_once("\r\n").expect("a chunk line");
        let size = usize::from_str_radix(line, 16).expect("a size");
        if size == 0 {
            return out;
        }
        out.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
}

#[test]
fn bytes_that_nobody_asked_for_are_nobodys_answer() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, GET);
    let origin = world.origin();
    world.arrives(origin, FRESH);
    world.sent(client);
    // They came while the connection idled, and are found only when it is in use again.
    world.io.hold_sends = true;
    world.arrives(client, b"GET /b HTTP/1.1\r\nHost: t\r\n\r\n");
    world.arrives(origin, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    world.io.hold_sends = false;
    assert!(world.closed(origin).is_some());
    let fresh = world.origin();
    world.arrives(fresh, FRESH);
    assert_eq!(split(&world.sent(client)), ("200", "hello"));
}

#[test]
fn a_fetch_waits_for_a_connection_and_gives_up_in_time() {
    let mut world = World::with(
        |settings| settings.upstreams[0].connections_max = 1,
        64 << 20,
    );
    let (first, second, third) = (world.client(), world.client(), world.client());
    world.arrives(first, GET);
    world.arrives(second, b"GET /b HTTP/1.1\r\nHost: t\r\n\r\n");
    let origin = world.origin();
    assert!(world.io.connects.is_empty());
    world.sent(origin);
    world.arrives(origin, FRESH);
    assert!(
        world.sent(origin).starts_with("GET /b"),
        "the one connection goes to who waits"
    );
    world.arrives(third, b"GET /c HTTP/1.1\r\nHost: t\r\n\r\n");
    world.passes(Span::from_millis(1100));
    let refused = world.sent(third);
    assert_eq!(split(&refused).0, "503");
    assert!(refused.contains("Retry-After"));
    world.arrives(origin, FRESH);
    assert_eq!(split(&world.sent(second)), ("200", "hello"));
}

#[test]
fn what_was_asked_for_before_a_purge_is_not_stored_after_it() {
    let mut world = World::new();
    let (reader, writer) = (world.client(), world.client());
    world.arrives(reader, GET);
    let reading = world.origin();
    world.arrives(
        reading,
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 3\r\n\r\nol",
    );
    world.arrives(
        writer,
        b"PUT /a HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n",
    );
    let writing = world.origin();
    world.arrives(writing, b"HTTP/1.1 204 No Content\r\n\r\n");
    world.arrives(reading, b"d");
    assert!(
        world.sent(reader).ends_with("old"),
        "who asked before gets what was then"
    );
    world.sent(reading);
    world.sent(writing);
    world.arrives(writer, GET);
    let asked = world.sent(reading) + &world.sent(writing);
    assert!(
        asked.starts_with("GET /a"),
        "the old answer was stored: {asked}"
    );
}

#[test]
fn a_stored_answer_does_not_repeat_the_id_of_the_request_that_fetched_it() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, GET);
    let origin = world.origin();
    world.arrives(
        origin,
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nX-Request-Id: first\r\nContent-Length: 5\r\n\r\nhello",
    );
    world.sent(client);
    world.arrives(client, GET);
    let hit = world.sent(client);
    assert_eq!(hit.matches("X-Request-Id").count(), 1, "{hit}");
    assert!(!hit.contains("first"), "{hit}");
}
