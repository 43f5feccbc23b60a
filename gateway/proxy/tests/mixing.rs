//! Answers that must not be mixed: on one connection, of two states of a representation, of several clients.

mod paper;

use base::{SocketId, Span};
use cache::policy::{Rules, SetCookie};
use paper::{World, answered, get, ok};

/// A part of a representation whose tag is `"x"`.
fn part(first: usize, body: &str, complete: usize) -> Vec<u8> {
    let (length, last) = (body.len(), first + body.len() - 1);
    format!(
        "HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nETag: \"x\"\r\nContent-Range: bytes {first}-{last}/{complete}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// What a client gets.
fn asked(world: &mut World, client: SocketId, request: &[u8]) -> String {
    world.arrives(client, request);
    world.sent(client)
}

const STALE_SOON: &str = "Cache-Control: max-age=1\r\n";
const FRESH: &str = "Cache-Control: max-age=600\r\n";

/// A client is answered 304 while a body that nobody keeps still comes for its request; it asks for `/large` meanwhile.
fn body_behind_a_304(mut world: World, behind: usize) {
    let client = world.client();
    let large = "L".repeat(1_500_000);
    let origin = answered(&mut world, client, &get("/large", ""), &ok(FRESH, &large));
    world.arrives(client, &get("/a", ""));
    world.arrives(
        origin,
        &ok(&format!("{STALE_SOON}ETag: \"x\"\r\n"), "hello"),
    );
    world.sent(client);
    world.passes(Span::from_secs(3));
    world.arrives(client, &get("/a", "If-None-Match: \"x\"\r\n"));
    let begun = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: \"x\"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    world.arrives(origin, begun.as_bytes());
    assert!(world.sent(client).starts_with("HTTP/1.1 304 "));
    world.io.hold_sends = true;
    let mut answer = asked(&mut world, client, &get("/large", ""));
    let chunk = format!("{behind:x}\r\n{}\r\n0\r\n\r\n", "S".repeat(behind));
    world.arrives(origin, chunk.as_bytes());
    world.io.hold_sends = false;
    world.io.release();
    world.settle();
    answer += &world.sent(client);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("Content-Length: 1500000"), "{head}");
    assert!(
        body == large,
        "{} bytes of another answer",
        body.matches('S').count()
    );
}

#[test]
fn a_body_that_outgrows_its_bound_is_not_put_behind_its_clients_next_answer() {
    let world = World::with(|settings| settings.object_bytes_max = 2 << 20, 64 << 20);
    body_behind_a_304(world, 2_200_000);
}

#[test]
fn a_body_that_finds_no_room_is_not_put_behind_its_clients_next_answer() {
    body_behind_a_304(World::with(|_| {}, 2 << 20), 1_900_000);
}

/// A world whose route fetches wholes, with one part of `/a` stored.
fn with_part(first: usize) -> (World, SocketId) {
    let rules = Rules {
        fetch_whole: true,
        ..Rules::default()
    };
    let mut world = World::by(rules);
    let client = world.client();
    let range = format!(
        "Range: bytes={first}-{}\r\nCache-Control: no-cache\r\n",
        first + 9
    );
    let origin = answered(
        &mut world,
        client,
        &get("/a", &range),
        &part(first, "0123456789", 40),
    );
    (world, origin)
}

#[test]
fn a_part_being_completed_is_for_its_client_alone() {
    let (mut world, origin) = with_part(10);
    let first = world.client();
    world.arrives(first, &get("/a", "Range: bytes=15-24\r\n"));
    let others = ["Range: bytes=0-4\r\n", "Range: bytes=30-34\r\n", ""].map(|fields| {
        let client = world.client();
        world.arrives(client, &get("/a", fields));
        client
    });
    assert!(
        world
            .sent(origin)
            .contains("Range: bytes=20-24\r\nIf-Range: \"x\"")
    );
    world.arrives(origin, &part(20, "abcde", 40));
    let answer = world.sent(first);
    assert!(
        answer.ends_with("56789abcde") && answer.contains("bytes 15-24/40"),
        "{answer}"
    );
    for other in others {
        assert_eq!(world.sent(other), "");
    }
}

#[test]
fn a_completing_part_that_does_not_say_of_what_it_is_completes_nothing() {
    let mut world = World::new();
    let client = world.client();
    let range = get("/a", "Range: bytes=0-4\r\n");
    let origin = answered(&mut world, client, &range, &part(0, "OLDOL", 10));
    world.arrives(client, &get("/a", ""));
    world.sent(origin);
    world.arrives(origin, b"HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\nNEWNE");
    assert_eq!(world.sent(client), "");
    let origin = world.origin();
    assert!(!world.sent(origin).contains("Range:"));
    world.arrives(origin, &ok(FRESH, "NEWNEWNEWN"));
    assert!(world.sent(client).ends_with("NEWNEWNEWN"));
}

#[test]
fn a_completing_part_for_which_there_is_no_place_leaves_the_others() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, &get("/a", "Range: bytes=0-0\r\n"));
    let origin = world.origin();
    world.arrives(origin, &part(0, "x", 100));
    for at in 1..64 {
        world.arrives(client, &get("/a", &format!("Range: bytes={at}-{at}\r\n")));
        world.arrives(origin, &part(at, "x", 100));
    }
    world.sent(client);
    world.arrives(client, &get("/a", ""));
    world.arrives(origin, &part(64, &"y".repeat(36), 100));
    // The whole is asked for.
    let whole = world.origin();
    assert!(!world.sent(whole).contains("Range:"));
    let other = world.client();
    let held = asked(&mut world, other, &get("/a", "Range: bytes=3-9\r\n"));
    assert!(
        held.contains("; hit") && held.ends_with("xxxxxxx"),
        "{held}"
    );
}

#[test]
fn a_head_of_a_success_ends_a_stored_error() {
    let mut world = World::new();
    let client = world.client();
    let gone =
        b"HTTP/1.1 404 Not Found\r\nCache-Control: max-age=1\r\nContent-Length: 4\r\n\r\nnope";
    let origin = answered(&mut world, client, &get("/a", ""), gone);
    world.passes(Span::from_secs(3));
    world.arrives(client, b"HEAD /a HTTP/1.1\r\nHost: t\r\n\r\n");
    world.arrives(
        origin,
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\n\r\n",
    );
    world.sent(client);
    assert_eq!(asked(&mut world, client, &get("/a", "")), "");
    assert!(world.sent(origin).contains("GET /a"));
}

#[test]
fn what_was_purged_while_it_came_does_not_end_what_came_since() {
    let mut world = World::new();
    let (reader, writer) = (world.client(), world.client());
    world.arrives(reader, &get("/a", ""));
    let slow = world.origin();
    world.arrives(
        slow,
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 3\r\n\r\nol",
    );
    let post = b"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx";
    let other = answered(&mut world, writer, post, &ok("", ""));
    world.arrives(writer, &get("/a", ""));
    world.arrives(other, &ok(FRESH, "new"));
    world.sent(writer);
    world.arrives(slow, b"d");
    assert!(world.sent(reader).ends_with("old"));
    let again = asked(&mut world, writer, &get("/a", ""));
    assert!(again.contains("; hit") && again.ends_with("new"), "{again}");
}

const NO_CACHE: &str = "Cache-Control: no-cache\r\n";

/// `/a` is "old" with the tag `"1"`; while a request for it is under way on the connection returned, a reload brings "new".
fn reloaded_meanwhile(first: &[u8]) -> (World, SocketId, SocketId) {
    let mut world = World::new();
    let (early, late) = (world.client(), world.client());
    let old = ok(&format!("{FRESH}ETag: \"1\"\r\n"), "old");
    let slow = answered(&mut world, early, &get("/a", ""), &old);
    world.passes(Span::from_secs(1));
    world.arrives(early, first);
    world.arrives(late, &get("/a", NO_CACHE));
    let other = world.origin();
    world.arrives(other, &ok(&format!("{FRESH}ETag: \"2\"\r\n"), "new"));
    assert!(world.sent(late).ends_with("new"));
    (world, slow, late)
}

#[test]
fn a_confirmation_of_what_was_replaced_meanwhile_does_not_bring_it_back() {
    let head = b"HEAD /a HTTP/1.1\r\nHost: t\r\nCache-Control: no-cache\r\n\r\n";
    for (request, answer) in [
        (get("/a", NO_CACHE), &b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n"[..]),
        (head.to_vec(), b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: \"1\"\r\nContent-Length: 3\r\n\r\n"),
    ] {
        let (mut world, slow, late) = reloaded_meanwhile(&request);
        world.arrives(slow, answer);
        let again = asked(&mut world, late, &get("/a", ""));
        assert!(again.contains("; hit") && again.ends_with("new"), "{again}");
    }
}

#[test]
fn a_slow_body_does_not_take_the_place_of_a_later_answer() {
    let mut world = World::new();
    let (early, late) = (world.client(), world.client());
    world.arrives(early, &get("/a", ""));
    let slow = world.origin();
    world.arrives(
        slow,
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 3\r\n\r\nol",
    );
    world.passes(Span::from_secs(5));
    answered(&mut world, late, &get("/a", NO_CACHE), &ok(FRESH, "new"));
    world.arrives(slow, b"d");
    assert!(world.sent(early).ends_with("old"));
    let again = asked(&mut world, late, &get("/a", ""));
    assert!(again.contains("; hit") && again.ends_with("new"), "{again}");
}

#[test]
fn one_body_in_many_parts_weighs_what_it_is() {
    let mut world = World::new();
    let client = world.client();
    let origin = answered(&mut world, client, &get("/other", ""), &ok(FRESH, "other"));
    let bytes = 4 << 20;
    world.arrives(
        client,
        &get("/a", &format!("Range: bytes=0-{}\r\n", bytes - 1)),
    );
    world.arrives(origin, &part(0, &"x".repeat(bytes), bytes + 1));
    for at in (100..160).step_by(2) {
        let range = format!("Range: bytes={at}-{at}\r\n{NO_CACHE}");
        world.arrives(client, &get("/a", &range));
        world.arrives(origin, &part(at, "x", bytes + 1));
    }
    world.sent(client);
    assert!(asked(&mut world, client, &get("/other", "")).contains("; hit"));
}

#[test]
fn one_clients_leave_to_be_stale_is_not_anothers() {
    let mut world = World::new();
    let (lenient, plain) = (world.client(), world.client());
    let origin = answered(&mut world, lenient, &get("/a", ""), &ok(STALE_SOON, "old"));
    world.passes(Span::from_secs(5));
    world.arrives(
        lenient,
        &get("/a", "Cache-Control: stale-if-error=100000\r\n"),
    );
    world.arrives(plain, &get("/a", ""));
    world.arrives(origin, b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno");
    assert!(world.sent(lenient).ends_with("old"));
    assert!(!world.sent(plain).contains("old"));
}

#[test]
fn what_is_stale_on_arrival_is_stored_under_load_too() {
    let mut world = World::new();
    let head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=0\r\nETag: \"1\"\r\nContent-Length: 3\r\n\r\nol";
    let (first, second, third) = (world.client(), world.client(), world.client());
    world.arrives(first, &get("/a", ""));
    let slow = world.origin();
    world.arrives(slow, head);
    world.arrives(second, &get("/a", ""));
    world.arrives(slow, b"d");
    world.sent(first);
    world.arrives(third, &get("/a", ""));
    let asked: Vec<_> =
        std::iter::from_fn(|| (!world.io.connects.is_empty()).then(|| world.origin())).collect();
    let all: String = asked
        .into_iter()
        .chain([slow])
        .map(|origin| world.sent(origin))
        .collect();
    assert!(all.contains("If-None-Match: \"1\""), "{all}");
}

#[test]
fn a_refusal_of_one_client_ends_nothing_for_the_others() {
    let mut world = World::new();
    let (reader, stranger) = (world.client(), world.client());
    let fresh = ok(&format!("{FRESH}ETag: \"1\"\r\n"), "body");
    let origin = answered(&mut world, reader, &get("/a", ""), &fresh);
    world.arrives(
        stranger,
        &get("/a", &format!("{NO_CACHE}Authorization: Basic bad\r\n")),
    );
    world.arrives(origin, b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
    assert!(world.sent(stranger).starts_with("HTTP/1.1 401 "));
    assert!(asked(&mut world, reader, &get("/a", "")).contains("; hit"));
}

#[test]
fn who_is_asked_for_less_is_not_asked_for_more() {
    let mut world = World::new();
    let (first, second, third) = (world.client(), world.client(), world.client());
    let slow_down = b"HTTP/1.1 429 Slow\r\nContent-Length: 2\r\n\r\nno";
    answered(&mut world, first, &get("/a", ""), slow_down);
    world.arrives(second, &get("/a", ""));
    world.arrives(third, &get("/a", ""));
    assert!(world.io.connects.is_empty(), "they share one request");
}

#[test]
fn a_cookie_that_is_not_stored_is_for_its_client_alone() {
    let rules = Rules {
        set_cookie: SetCookie::Strip,
        ..Rules::default()
    };
    let mut world = World::by(rules);
    let (first, second) = (world.client(), world.client());
    let cookie = |fields: &str| format!("{STALE_SOON}ETag: \"x\"\r\nSet-Cookie: {fields}\r\n");
    world.arrives(first, &get("/a", ""));
    let origin = world.origin();
    // It waits for the same answer.
    world.arrives(second, &get("/a", ""));
    world.arrives(origin, &ok(&cookie("of=first"), "hello"));
    assert!(world.sent(first).contains("Set-Cookie: of=first\r\n"));
    let others = world.sent(second);
    assert!(others.ends_with("\r\n\r\nhello") && !others.contains("Set-Cookie"));

    world.passes(Span::from_secs(3));
    world.arrives(second, &get("/a", ""));
    world.arrives(first, &get("/a", ""));
    let fields = cookie("of=second");
    world.arrives(
        origin,
        format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n").as_bytes(),
    );
    assert!(world.sent(second).contains("Set-Cookie: of=second\r\n"));
    assert!(!world.sent(first).contains("Set-Cookie"));
    let hit = asked(&mut world, second, &get("/a", ""));
    assert!(hit.contains("ultragate; hit") && !hit.contains("Set-Cookie"));
}

#[test]
fn what_is_confirmed_as_one_clients_own_is_nobody_elses() {
    let mut world = World::new();
    let (first, second) = (world.client(), world.client());
    let fields = format!("{STALE_SOON}ETag: \"x\"\r\n");
    let origin = answered(&mut world, first, &get("/a", ""), &ok(&fields, "hello"));
    world.passes(Span::from_secs(3));
    world.arrives(first, &get("/a", ""));
    world.arrives(second, &get("/a", ""));
    let own = "Cache-Control: private, max-age=600\r\nSet-Cookie: of=first\r\nETag: \"x\"\r\n";
    let confirmed = format!("HTTP/1.1 304 Not Modified\r\n{own}\r\n");
    world.arrives(origin, confirmed.as_bytes());
    let answer = world.sent(first);
    assert!(
        answer.contains("of=first") && answer.ends_with("hello"),
        "{answer}"
    );
    assert!(
        answer.contains("fwd-status=304; ttl=-2; detail=private"),
        "{answer}"
    );
    assert_eq!(world.sent(second), "");
    world.sent(origin);
    world.arrives(origin, &ok(FRESH, "other"));
    let answer = world.sent(second);
    assert!(
        !answer.contains("of=first") && answer.ends_with("other"),
        "{answer}"
    );
}
