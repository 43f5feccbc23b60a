//! Stories of what stands between a fetch and its origin: endpoints that fail, connections that are scarce, requests that are
//! sent again or to a second endpoint.

mod paper;

use std::net::SocketAddr;

use base::{Closing, Completion, Fault, Moment, SocketId, Span, UpstreamId};
use paper::{World, get, ok, split};
use proxy::{Balance, Mail, Member, Priority, State, Upstream};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\nok";

fn endpoints(ports: impl IntoIterator<Item = u16>) -> Vec<Member> {
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    ports.into_iter().map(address).map(Member::new).collect()
}

/// So many endpoints, asked in turn.
fn in_turn(count: u16) -> impl Fn(&mut Upstream) {
    move |upstream| {
        upstream.endpoints = endpoints(1..=count);
        upstream.balance = Balance::RoundRobin;
    }
}

fn port(world: &World, socket: SocketId) -> u16 {
    world.socket(socket).address.expect("an origin").port()
}

/// A client asks; the connection that is opened for it, not standing yet.
fn asks(world: &mut World, request: &[u8]) -> (SocketId, SocketId) {
    let client = world.client();
    world.arrives(client, request);
    let origin = world.io.connects.pop_front().expect("a connection");
    (client, origin)
}

fn stands(world: &mut World, socket: SocketId) {
    world.complete(Completion::Connected { socket });
}

fn status(world: &mut World, client: SocketId) -> String {
    let answer = world.sent(client);
    split(&answer).0.to_owned()
}

#[test]
fn an_endpoint_that_refuses_is_passed_over_and_the_client_sees_nothing() {
    let mut world = World::before(in_turn(3));
    let (client, first) = asks(&mut world, &get("/a", ""));
    world.fails(first, Fault::Refused);
    let second = world.origin();
    assert_ne!(port(&world, first), port(&world, second));
    world.arrives(second, OK);
    assert_eq!(status(&mut world, client), "200");
}

#[test]
fn a_request_is_sent_again_as_often_as_allowed_and_never_to_the_same_endpoint() {
    let mut world = World::before(|upstream| {
        in_turn(5)(upstream);
        upstream.retries = 2;
    });
    let (client, first) = asks(&mut world, &get("/a", ""));
    let mut ports = vec![port(&world, first)];
    world.fails(first, Fault::Refused);
    for _ in 0..2 {
        let next = world.io.connects.pop_front().expect("another");
        ports.push(port(&world, next));
        world.fails(next, Fault::Refused);
    }
    assert!(world.io.connects.is_empty());
    assert_eq!(status(&mut world, client), "502");
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 3);
}

#[test]
fn a_connection_that_breaks_before_the_answer_means_another_endpoint_where_that_is_safe() {
    for (method, sent_again) in [("GET", true), ("POST", false)] {
        let mut world = World::before(in_turn(2));
        let request = format!("{method} /a HTTP/1.1\r\nHost: t\r\n\r\n");
        let (client, first) = asks(&mut world, request.as_bytes());
        stands(&mut world, first);
        world.fails(first, Fault::Reset);
        if sent_again {
            let second = world.origin();
            world.arrives(second, OK);
            assert_eq!(status(&mut world, client), "200");
        } else {
            assert!(world.io.connects.is_empty());
            assert_eq!(status(&mut world, client), "502");
        }
    }
}

#[test]
fn an_answer_that_does_not_come_in_time_is_asked_for_elsewhere() {
    let mut world = World::before(|upstream| {
        in_turn(2)(upstream);
        upstream.first_byte_timeout = Span::from_secs(1);
    });
    let (client, first) = asks(&mut world, &get("/a", ""));
    stands(&mut world, first);
    world.passes(Span::from_secs(2));
    assert!(world.closed(first).is_some());
    let second = world.origin();
    world.arrives(second, OK);
    assert_eq!(status(&mut world, client), "200");
}

#[test]
fn what_has_begun_to_answer_is_not_asked_again() {
    let mut world = World::before(in_turn(2));
    let (client, first) = asks(&mut world, &get("/a", ""));
    stands(&mut world, first);
    world.arrives(first, b"HTTP/1.1 200 OK\r\nContent-Le");
    world.fails(first, Fault::Reset);
    assert!(world.io.connects.is_empty());
    assert_eq!(status(&mut world, client), "502");
}

#[test]
fn a_body_is_sent_again_whole_where_it_was_kept() {
    for (max, sent_again) in [(64, true), (4, false)] {
        let mut world = World::before(|upstream| {
            in_turn(2)(upstream);
            upstream.retry_body_max = max;
        });
        let request = b"PUT /a HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhello";
        let (client, first) = asks(&mut world, request);
        stands(&mut world, first);
        world.arrives(client, b"wor");
        assert!(world.sent(first).ends_with("\r\n\r\nhellowor"));
        world.fails(first, Fault::Reset);
        if !sent_again {
            assert_eq!(status(&mut world, client), "502");
            continue;
        }
        let second = world.origin();
        world.arrives(client, b"ld");
        let again = world.sent(second);
        assert_eq!(split(&again[4..]).1, "helloworld", "{again}");
        world.arrives(second, OK);
        assert_eq!(status(&mut world, client), "200");
    }
}

#[test]
fn a_chunked_body_is_sent_again_with_its_end() {
    let mut world = World::before(in_turn(2));
    let request =
        b"PUT /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let (client, first) = asks(&mut world, request);
    stands(&mut world, first);
    world.fails(first, Fault::Reset);
    let second = world.origin();
    assert!(
        world
            .sent(second)
            .ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    );
    world.arrives(second, OK);
    assert_eq!(status(&mut world, client), "200");
}

#[test]
fn retries_end_with_their_budget() {
    let mut world = World::before(|upstream| {
        in_turn(2)(upstream);
        upstream.retry_percent = 0;
        upstream.ejection.failures = 0;
        upstream.ejection.percent = 0;
        upstream.breaker.percent = 0;
    });
    let mut connects = 0;
    for _ in 0..100 {
        let (_, first) = asks(&mut world, &get("/a", "Cache-Control: no-store\r\n"));
        connects += 1;
        world.fails(first, Fault::Refused);
        if let Some(second) = world.io.connects.pop_front() {
            connects += 1;
            world.fails(second, Fault::Refused);
        }
    }
    // Ten are saved at the start; no time passes.
    assert_eq!(connects, 110);
}

#[test]
fn an_endpoint_that_fails_is_left_out_tried_once_and_taken_back() {
    let (mut world, _, origins) = World::pair_before(|upstream| {
        in_turn(2)(upstream);
        upstream.breaker.percent = 0;
    });
    let members = origins.of(UpstreamId(0)).expect("one");
    let state = |world: &World| members.list()[0].state(world.io.now.moment);
    let mut seen = Vec::new();
    for _ in 0..12 {
        let (_, first) = asks(&mut world, &get("/a", ""));
        seen.push(port(&world, first));
        if port(&world, first) == 1 {
            world.fails(first, Fault::Refused);
            let second = world.origin();
            assert_eq!(port(&world, second), 2);
            world.arrives(second, OK);
            world.ends(second);
        } else {
            stands(&mut world, first);
            world.arrives(first, OK);
            world.ends(first);
        }
    }
    assert_eq!(
        seen.iter().filter(|port| **port == 1).count(),
        5,
        "{seen:?}"
    );
    assert_eq!(state(&world), State::Ejected);
    world.passes(Span::from_millis(1_001));
    let (client, trial) = asks(&mut world, &get("/a", ""));
    assert_eq!(port(&world, trial), 1);
    let (_, other) = asks(&mut world, &get("/b", ""));
    assert_eq!(port(&world, other), 2, "one at a time finds out");
    stands(&mut world, trial);
    world.arrives(trial, OK);
    assert_eq!(status(&mut world, client), "200");
    assert_eq!(state(&world), State::Usable);
}

#[test]
fn where_all_are_left_out_all_are_asked() {
    let (mut world, _, origins) = World::pair_before(in_turn(2));
    for endpoint in &*origins.of(UpstreamId(0)).expect("one").list() {
        endpoint.set_down(true, Moment(1));
    }
    let (client, first) = asks(&mut world, &get("/a", ""));
    stands(&mut world, first);
    world.arrives(first, OK);
    assert_eq!(status(&mut world, client), "200");
}

#[test]
fn an_upstream_without_endpoints_says_so_until_it_has_one() {
    let (mut world, _, origins) = World::pair_before(in_turn(0));
    let client = world.client();
    world.arrives(client, &get("/a", ""));
    let answer = world.sent(client);
    assert_eq!(split(&answer).0, "503");
    assert!(answer.contains("Retry-After: "), "{answer}");
    let members = origins.of(UpstreamId(0)).expect("one");
    members.replace(&endpoints([7]), world.io.now.moment);
    world.proxy.mail(Mail::Origins);
    let (client, first) = asks(&mut world, &get("/a", ""));
    assert_eq!(port(&world, first), 7);
    stands(&mut world, first);
    world.arrives(first, OK);
    assert_eq!(status(&mut world, client), "200");
}

#[test]
fn what_idles_at_an_endpoint_that_goes_is_closed_and_what_is_under_way_ends_well() {
    let (mut world, _, origins) = World::pair_before(in_turn(1));
    let (idler, idle) = asks(&mut world, &get("/a", ""));
    stands(&mut world, idle);
    let (client, busy) = asks(&mut world, &get("/b", ""));
    stands(&mut world, busy);
    world.arrives(idle, OK);
    assert_eq!(status(&mut world, idler), "200");
    let members = origins.of(UpstreamId(0)).expect("one");
    members.replace(&endpoints([9]), world.io.now.moment);
    world.proxy.mail(Mail::Origins);
    world.settle();
    assert_eq!(world.closed(idle), Some(Closing::Orderly));
    assert_eq!(world.closed(busy), None);
    world.arrives(busy, OK);
    assert_eq!(status(&mut world, client), "200");
    assert_eq!(world.closed(busy), Some(Closing::Orderly));
    let (_, next) = asks(&mut world, &get("/c", ""));
    assert_eq!(port(&world, next), 9);
}

#[test]
fn statuses_that_count_as_none_send_the_request_elsewhere() {
    let mut world = World::before(|upstream| {
        in_turn(2)(upstream);
        upstream.retry_statuses = vec![503];
    });
    let (client, first) = asks(&mut world, &get("/a", ""));
    stands(&mut world, first);
    world.arrives(first, b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy");
    let second = world.origin();
    world.arrives(second, OK);
    world.ends(second);
    assert_eq!(status(&mut world, client), "200");
    // The last one's answer is the answer.
    let (client, first) = asks(&mut world, &get("/b", ""));
    stands(&mut world, first);
    world.arrives(first, b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy");
    let second = world.origin();
    world.arrives(
        second,
        b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy",
    );
    assert_eq!(status(&mut world, client), "503");
}

/// A request under way on two connections.
fn hedged() -> (World, SocketId, SocketId, SocketId) {
    let mut world = World::before(|upstream| {
        in_turn(2)(upstream);
        upstream.hedge_after = Some(Span::from_millis(10));
    });
    let (client, first) = asks(&mut world, &get("/a", ""));
    stands(&mut world, first);
    assert!(world.io.connects.is_empty());
    world.passes(Span::from_millis(20));
    let second = world.origin();
    assert_ne!(port(&world, first), port(&world, second));
    assert_eq!(world.sent(first), world.sent(second));
    (world, client, first, second)
}

#[test]
fn of_two_that_are_asked_the_first_to_answer_counts() {
    for second_wins in [false, true] {
        let (mut world, client, first, second) = hedged();
        let (winner, loser) = match second_wins {
            false => (first, second),
            true => (second, first),
        };
        world.arrives(winner, OK);
        assert_eq!(status(&mut world, client), "200");
        assert!(world.closed(loser).is_some() && world.closed(winner).is_none());
        assert_eq!(
            world
                .cells
                .pool(UpstreamId(0))
                .map(|pool| pool.active.read()),
            Some(0)
        );
    }
}

#[test]
fn one_of_two_that_fails_leaves_the_other() {
    for first_fails in [false, true] {
        let (mut world, client, first, second) = hedged();
        let (loser, winner) = match first_fails {
            true => (first, second),
            false => (second, first),
        };
        world.fails(loser, Fault::Reset);
        assert_eq!(world.sent(client), "");
        world.arrives(winner, OK);
        assert_eq!(status(&mut world, client), "200");
    }
    let (mut world, client, first, second) = hedged();
    world.ends(second);
    world.ends(first);
    assert_eq!(status(&mut world, client), "502");
}

#[test]
fn a_client_that_leaves_ends_both() {
    let (mut world, client, first, second) = hedged();
    world.fails(client, Fault::Reset);
    world.passes(Span::from_secs(400));
    assert!(world.closed(first).is_some() && world.closed(second).is_some());
}

#[test]
fn nearly_nothing_but_failures_and_nobody_is_asked_for_a_moment() {
    let mut world = World::before(|upstream| {
        in_turn(1)(upstream);
        upstream.ejection.failures = 0;
        upstream.ejection.percent = 0;
    });
    for _ in 0..20 {
        let (client, first) = asks(&mut world, &get("/a", ""));
        world.fails(first, Fault::Refused);
        assert_eq!(status(&mut world, client), "502");
    }
    let client = world.client();
    world.arrives(client, &get("/a", ""));
    assert_eq!(status(&mut world, client), "503");
    assert!(world.io.connects.is_empty());
    world.passes(Span::from_millis(1_001));
    let (client, first) = asks(&mut world, &get("/a", ""));
    stands(&mut world, first);
    world.arrives(first, OK);
    assert_eq!(status(&mut world, client), "200");
    let (_, next) = {
        let client = world.client();
        world.arrives(client, &get("/b", ""));
        (client, world.socket(first).sends)
    };
    assert_eq!(next, 2, "it is asked again, on the connection that idled");
}

#[test]
fn one_bound_holds_for_all_shards_and_what_idles_is_given_up_for_who_waits() {
    let (mut one, mut other, _) = World::pair_before(|upstream| {
        in_turn(1)(upstream);
        upstream.connections_max = 1;
    });
    let (client, origin) = asks(&mut one, &get("/a", ""));
    stands(&mut one, origin);
    let waiter = other.client();
    other.arrives(waiter, &get("/b", ""));
    assert!(
        other.io.connects.is_empty(),
        "the one connection is elsewhere"
    );
    one.settle();
    assert_eq!(one.closed(origin), None, "it is busy");
    one.arrives(origin, OK);
    assert_eq!(status(&mut one, client), "200");
    assert!(one.closed(origin).is_some(), "somebody else waits for it");
    other.settle();
    let next = other.origin();
    other.arrives(next, OK);
    assert_eq!(status(&mut other, waiter), "200");
    // Now it idles there, and is asked for.
    let waiter = one.client();
    one.arrives(waiter, &get("/c", ""));
    assert!(one.io.connects.is_empty());
    other.settle();
    assert!(other.closed(next).is_some());
    one.settle();
    let last = one.origin();
    one.arrives(last, OK);
    assert_eq!(status(&mut one, waiter), "200");
}

#[test]
fn who_waits_is_served_by_priority_and_the_lowest_is_let_go_of() {
    let mut world = World::with(
        |settings| {
            let routes = [
                ("/", Priority::Normal),
                ("/low", Priority::Low),
                ("/high", Priority::High),
            ];
            let route = |(id, (prefix, priority)): (u16, (&str, Priority))| proxy::Route {
                cache: false,
                priority,
                ..proxy::Route::new(base::RouteId(id), prefix, UpstreamId(0))
            };
            let routes = (0..).zip(routes).map(route).collect();
            let mut upstream = Upstream::new("origin", endpoints([1]));
            upstream.connections_max = 1;
            upstream.waiting_max = 2;
            *settings = proxy::Settings::new(routes, vec![upstream]);
        },
        64 << 20,
    );
    let (_, origin) = asks(&mut world, &get("/a", ""));
    stands(&mut world, origin);
    world.sent(origin);
    let asks = |world: &mut World, target| {
        let client = world.client();
        world.arrives(client, &get(target, ""));
        client
    };
    let low = asks(&mut world, "/low");
    let normal = asks(&mut world, "/normal");
    assert_eq!(world.sent(low), "");
    let high = asks(&mut world, "/high");
    assert_eq!(status(&mut world, low), "503");
    world.arrives(origin, OK);
    assert!(world.sent(origin).starts_with("GET /high "));
    world.arrives(origin, OK);
    assert_eq!(status(&mut world, high), "200");
    assert!(world.sent(origin).starts_with("GET /normal "));
    world.arrives(origin, OK);
    assert_eq!(status(&mut world, normal), "200");
}

#[test]
fn connections_are_kept_before_anybody_asks_and_made_again() {
    let mut world = World::before(|upstream| {
        in_turn(2)(upstream);
        upstream.connections_min = 2;
    });
    world.settle();
    let spare = [world.origin(), world.origin()];
    assert!(world.io.connects.is_empty());
    assert_ne!(port(&world, spare[0]), port(&world, spare[1]));
    let client = world.client();
    world.arrives(client, &get("/a", ""));
    assert!(world.io.connects.is_empty(), "a spare one is used");
    let used = *spare
        .iter()
        .find(|it| world.socket(**it).sends > 0)
        .expect("one");
    world.arrives(used, OK);
    assert_eq!(status(&mut world, client), "200");
    world.passes(Span::from_secs(60));
    assert!(spare.iter().all(|socket| world.closed(*socket).is_none()));
    world.ends(spare[0]);
    world.origin();
    assert!(world.io.connects.is_empty());
}

#[test]
fn a_fetch_as_a_whole_has_its_time() {
    let mut world = World::before(|upstream| {
        in_turn(2)(upstream);
        upstream.total_timeout = Some(Span::from_secs(2));
    });
    let (client, first) = asks(&mut world, &get("/a", ""));
    stands(&mut world, first);
    world.arrives(
        first,
        b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 9\r\n\r\na",
    );
    for _ in 0..3 {
        world.passes(Span::from_secs(1));
        if world.closed(first).is_none() {
            world.arrives(first, b"b");
        }
    }
    assert!(world.closed(first).is_some() && world.closed(client).is_some());
    let (client, first) = asks(&mut world, &get("/b", ""));
    stands(&mut world, first);
    world.passes(Span::from_secs(3));
    assert!(world.io.connects.is_empty(), "no time is left to try again");
    assert_eq!(status(&mut world, client), "504");
}

#[test]
fn the_same_key_goes_to_the_same_endpoint() {
    let mut world = World::before(|upstream| {
        upstream.endpoints = endpoints(1..=8);
        upstream.balance = Balance::Hash;
        upstream.hash_field = Some("X-User".into());
    });
    let mut ports = Vec::new();
    for user in ["ann", "bob", "ann", "bob", "ann"] {
        let (_, origin) = asks(&mut world, &get("/a", &format!("x-user: {user}\r\n")));
        ports.push(port(&world, origin));
        world.fails(origin, Fault::Refused);
        while let Some(next) = world.io.connects.pop_front() {
            world.fails(next, Fault::Refused);
        }
    }
    assert_eq!(ports[0], ports[2]);
    assert_eq!(ports[1], ports[3]);
}

#[test]
fn what_is_stored_is_served_while_nobody_is_asked() {
    let mut world = World::before(|upstream| {
        in_turn(1)(upstream);
        upstream.ejection.failures = 0;
        upstream.ejection.percent = 0;
    });
    let client = world.client();
    let fresh = ok("Cache-Control: max-age=1, stale-if-error=600\r\n", "hello");
    let origin = paper::answered(&mut world, client, &get("/a", ""), &fresh);
    world.ends(origin);
    world.passes(Span::from_secs(5));
    for number in 0..30 {
        let other = world.client();
        world.arrives(other, &get(&format!("/{number}"), ""));
        if let Some(origin) = world.io.connects.pop_front() {
            world.fails(origin, Fault::Refused);
        }
    }
    world.arrives(client, &get("/a", ""));
    assert!(world.io.connects.is_empty());
    let answer = world.sent(client);
    assert_eq!(split(&answer), ("200", "hello"));
}
