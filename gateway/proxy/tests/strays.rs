//! What must not be lost, kept or cut when several things happen at once: requests, fetches without their client, answers that
//! others overtook.

mod paper;

use base::Span;
use paper::{World, answered, get, ok};

const FRESH: &str = "Cache-Control: max-age=600\r\n";

/// CORS: the answer varies by more than what is stored says; who waited for it is lost.
#[test]
fn who_waits_for_an_answer_that_varies_by_more_is_not_lost() {
    let mut world = World::new();
    let (early, first, second) = (world.client(), world.client(), world.client());
    let plain = ok(&format!("{FRESH}Vary: Accept-Encoding\r\n"), "plain");
    let origin = answered(
        &mut world,
        early,
        &get("/a", "Accept-Encoding: gzip\r\n"),
        &plain,
    );
    let ask = |o: &str| get("/a", &format!("Accept-Encoding: br\r\nOrigin: {o}\r\n"));
    world.arrives(first, &ask("https://one"));
    world.arrives(second, &ask("https://two"));
    world.arrives(
        origin,
        format!("HTTP/1.1 200 OK\r\n{FRESH}Vary: Accept-Encoding, Origin\r\nContent-Length: 6\r\n\r\none").as_bytes(),
    );
    world.arrives(origin, b"one");
    assert!(world.sent(first).ends_with("oneone"));
    // The second goes on by itself: a request of its own, or an answer.
    let mut asked = String::new();
    while !world.io.connects.is_empty() {
        let other = world.origin();
        asked += &world.sent(other);
        world.arrives(
            other,
            &ok(&format!("{FRESH}Vary: Accept-Encoding, Origin\r\n"), "two"),
        );
    }
    let more = world.sent(origin);
    if more.contains("https://two") {
        world.arrives(
            origin,
            &ok(&format!("{FRESH}Vary: Accept-Encoding, Origin\r\n"), "two"),
        );
    }
    for _ in 0..700 {
        world.passes(Span::from_secs(1));
    }
    let answer = world.sent(second);
    assert!(
        answer.ends_with("two"),
        "hung: {answer:?}, fetches {}",
        world.proxy.fetches()
    );
}

/// A 304 before a spill in the same turn.
#[test]
fn a_fetch_whose_client_was_told_304_ends_when_its_body_finds_no_room() {
    let mut world = World::with(|_| {}, 0);
    let client = world.client();
    world.arrives(client, &get("/a", "If-None-Match: \"x\"\r\n"));
    let origin = world.origin();
    world.arrives(
        origin,
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: \"x\"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    );
    let answer = world.sent(client);
    assert!(answer.starts_with("HTTP/1.1 304 "), "{answer}");
    for _ in 0..8 {
        if world.closed(origin).is_none() && world.socket(origin).receiving {
            world.arrives(origin, b"5\r\nhello\r\n");
        }
    }
    world.ends(client);
    for _ in 0..700 {
        world.passes(Span::from_secs(1));
    }
    assert_eq!(
        (world.proxy.clients(), world.proxy.fetches()),
        (0, 0),
        "origin closed: {:?}",
        world.closed(origin)
    );
}

/// Two POSTs at once.
#[test]
fn the_answer_to_a_post_that_another_overtook_is_not_kept() {
    let mut world = World::new();
    let (one, two) = (world.client(), world.client());
    let post = b"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx";
    world.arrives(one, post);
    let slow = world.origin();
    world.arrives(two, post);
    let fast = world.origin();
    let fields = format!("{FRESH}Content-Location: /a\r\n");
    world.arrives(fast, &ok(&fields, "second"));
    world.arrives(slow, &ok(&fields, "first"));
    world.sent(one);
    world.sent(two);
    world.sent(slow);
    world.sent(fast);
    world.arrives(one, &get("/a", ""));
    assert_eq!(world.sent(one), "");
}

/// The same second.
#[test]
fn a_slow_body_does_not_take_the_place_of_an_answer_of_the_same_second() {
    let mut world = World::new();
    let (early, late) = (world.client(), world.client());
    world.arrives(early, &get("/a", ""));
    let slow = world.origin();
    world.arrives(
        slow,
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 3\r\n\r\nol",
    );
    answered(
        &mut world,
        late,
        &get("/a", "Cache-Control: no-cache\r\n"),
        &ok(FRESH, "new"),
    );
    world.passes(Span::from_secs(9));
    world.arrives(slow, b"d");
    world.sent(early);
    world.arrives(late, &get("/a", ""));
    let again = world.sent(late);
    assert!(again.contains("; hit") && again.ends_with("new"), "{again}");
}

/// Who still follows a fetch is not cut because its leader's client left.
#[test]
fn who_follows_a_fetch_is_not_cut_because_its_first_client_left() {
    let mut world = World::new();
    let (first, second) = (world.client(), world.client());
    world.arrives(first, &get("/a", ""));
    world.arrives(second, &get("/a", ""));
    let origin = world.origin();
    world.arrives(
        origin,
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=6000\r\nContent-Length: 400\r\n\r\n",
    );
    world.ends(first);
    world.fails(first, base::Fault::Reset);
    for _ in 0..400 {
        world.passes(Span::from_secs(1));
        if world.closed(origin).is_none() {
            world.arrives(origin, b"x");
        }
    }
    assert_eq!(world.closed(second), None);
    assert!(world.sent(second).ends_with(&"x".repeat(400)));
}

/// The client was told 304 and left: the origin drips.
#[test]
fn what_drips_for_nobody_ends_though_its_client_was_answered_before_it_left() {
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, &get("/a", "If-None-Match: \"x\"\r\n"));
    let origin = world.origin();
    world.arrives(origin, b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: \"x\"\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(world.sent(client).starts_with("HTTP/1.1 304 "));
    world.ends(client);
    assert_eq!(world.proxy.clients(), 0);
    for _ in 0..2000 {
        world.passes(Span::from_secs(1));
        if world.closed(origin).is_none() {
            world.arrives(origin, b"1\r\nx\r\n");
        }
    }
    assert_eq!(world.proxy.fetches(), 0);
}

/// One client's Authorization ends what is stored for all.
#[test]
fn a_confirmation_for_one_clients_credentials_ends_nothing_for_the_others() {
    let mut world = World::new();
    let (reader, stranger) = (world.client(), world.client());
    let fresh = ok(&format!("{FRESH}ETag: \"1\"\r\n"), "body");
    let origin = answered(&mut world, reader, &get("/a", ""), &fresh);
    world.arrives(
        stranger,
        &get(
            "/a",
            "Cache-Control: no-cache\r\nAuthorization: Basic x\r\n",
        ),
    );
    world.arrives(origin, b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n");
    let own = world.sent(stranger);
    assert!(own.ends_with("body"), "{own}");
    world.arrives(reader, &get("/a", ""));
    let again = world.sent(reader);
    assert!(again.contains("; hit"), "{again}");
}

/// What was left of it fails, and with it its client's next request.
#[test]
fn what_is_left_of_a_fetch_does_not_fail_its_clients_next_request() {
    let mut world = World::with(|_| {}, 0);
    let client = world.client();
    world.arrives(client, &get("/a", "If-None-Match: \"x\"\r\n"));
    let origin = world.origin();
    world.arrives(
        origin,
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: \"x\"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    );
    assert!(world.sent(client).starts_with("HTTP/1.1 304 "));
    world.arrives(
        client,
        b"POST /b HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx",
    );
    let other = world.origin();
    if world.closed(origin).is_none() {
        world.fails(origin, base::Fault::Reset);
    }
    if world.closed(other).is_none() {
        world.arrives(other, &ok("", "fine"));
    }
    let answer = world.sent(client);
    assert!(answer.ends_with("fine"), "{answer}");
}

/// Every turn the index is spent by requests before an answer may land.
#[test]
fn answers_are_kept_though_every_turn_has_its_share_of_requests() {
    let mut world = World::new();
    let first = world.client();
    let clients: Vec<_> = (0..60).map(|_| world.client()).collect();
    world.arrives(first, &get("/a", ""));
    let origin = world.origin();
    world.io.stamp_step = 60_000; // a call of the index takes 60 us
    let stamp = base::Stamp(world.io.now.moment.0);
    let turn = |world: &mut World, socket, bytes: &[u8]| {
        let mut batch = vec![(socket, bytes.to_vec())];
        world.proxy.begin_turn(&mut world.io, stamp, 1);
        for (socket, bytes) in batch.drain(..) {
            let buffer = world.io.buffer(&bytes);
            world.proxy.complete(
                &mut world.io,
                base::Completion::Received {
                    socket,
                    buffer,
                    came: stamp,
                },
            );
        }
        world.proxy.end_turn(&mut world.io);
    };
    // The answer and somebody's request in one turn, then a request in each turn.
    let request = |n: usize| get(&format!("/other{n}"), "");
    world.proxy.begin_turn(&mut world.io, stamp, 1);
    for (socket, bytes) in [(origin, ok(FRESH, "hello")), (clients[0], request(0))] {
        let buffer = world.io.buffer(&bytes);
        world.proxy.complete(
            &mut world.io,
            base::Completion::Received {
                socket,
                buffer,
                came: stamp,
            },
        );
    }
    world.proxy.end_turn(&mut world.io);
    for (n, client) in clients.iter().enumerate().take(59).skip(1) {
        turn(&mut world, *client, &request(n));
    }
    turn(&mut world, clients[59], &get("/a", ""));
    turn(&mut world, clients[59], b"");
    let answer = world.sent(clients[59]);
    assert!(answer.contains("; hit"), "58 turns later: {answer}");
}

/// What the route's default does with a cookie that comes with a 304.
#[test]
fn a_cookie_beside_a_confirmation_is_nobody_elses() {
    let mut world = World::new();
    let (first, second) = (world.client(), world.client());
    let fields = "Cache-Control: max-age=2\r\nETag: \"x\"\r\n";
    let origin = answered(&mut world, first, &get("/a", ""), &ok(fields, "hello"));
    world.passes(Span::from_secs(3));
    world.arrives(first, &get("/a", ""));
    world.arrives(
        origin,
        b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nSet-Cookie: session=first\r\n\r\n",
    );
    assert!(world.sent(first).contains("session=first"));
    world.arrives(second, &get("/a", ""));
    let answer = world.sent(second);
    assert!(!answer.contains("session=first"), "{answer}");
}
