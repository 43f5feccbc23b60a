//! Stories of tunnels on the paper driver: when one in which nothing moves ends, and how.

mod paper;

use base::{Closing, SocketId, Span};
use paper::World;
use proxy::Settings;

const UPGRADE: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHING: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

/// A tunnel, its client and its origin.
struct Tunnel {
    world: World,
    client: SocketId,
    origin: SocketId,
}

impl Tunnel {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(adjust: impl FnOnce(&mut Settings)) -> Self {
        let mut world = World::with(adjust, 64 << 20);
        let client = world.client();
        world.arrives(client, UPGRADE);
        let origin = world.origin();
        world.sent(origin);
        world.arrives(origin, SWITCHING);
        assert!(world.sent(client).starts_with("HTTP/1.1 101 "));
        Self {
            world,
            client,
            origin,
        }
    }

    /// Time passes, and is looked at now and then.
    fn passes(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.world.passes(Span::from_secs(1));
        }
    }

    fn is_open(&self) -> bool {
        self.world.closed(self.client).is_none() && self.world.closed(self.origin).is_none()
    }

    /// How the client saw it end; the origin saw it too.
    fn ending(&self) -> Closing {
        assert!(self.world.closed(self.origin).is_some());
        assert_eq!(
            (self.world.proxy.fetches(), self.world.proxy.clients()),
            (0, 0)
        );
        self.world.closed(self.client).expect("an end")
    }
}

#[test]
fn a_tunnel_in_which_nothing_moves_ends_after_an_hour_on_both_sides() {
    let mut tunnel = Tunnel::new();
    tunnel.passes(3_599);
    assert!(tunnel.is_open());
    tunnel.passes(2);
    assert_eq!(tunnel.ending(), Closing::Orderly);
    let cells = &tunnel.world.cells;
    assert_eq!(cells.client_timeouts.read(), 1);
    assert_eq!(
        (cells.cut_answers.read(), cells.upstream_errors.read()),
        (0, 0)
    );
}

#[test]
fn bytes_of_one_side_alone_keep_a_tunnel() {
    let mut tunnel = Tunnel::new();
    for _ in 0..3 {
        tunnel.passes(3_500);
        tunnel.world.arrives(tunnel.client, b"up");
    }
    for _ in 0..3 {
        tunnel.passes(3_500);
        tunnel.world.arrives(tunnel.origin, b"down");
    }
    assert!(tunnel.is_open());
    assert_eq!(tunnel.world.sent(tunnel.origin), "upupup");
    assert_eq!(tunnel.world.sent(tunnel.client), "downdowndown");
    tunnel.passes(3_602);
    assert_eq!(tunnel.ending(), Closing::Orderly);
}

#[test]
fn a_client_that_is_taking_bytes_is_given_the_time_for_them() {
    let mut tunnel = Tunnel::with(|settings| {
        settings.limits.tunnel_idle_timeout = Some(Span::from_secs(4));
    });
    tunnel.world.io.hold_sends = true;
    tunnel.world.arrives(tunnel.origin, b"down");
    tunnel.passes(8);
    assert!(tunnel.is_open(), "its time to take them is ten seconds");
    tunnel.world.io.release();
    tunnel.world.settle();
    tunnel.passes(3);
    assert!(tunnel.is_open(), "they moved three seconds ago");
    tunnel.passes(2);
    assert_eq!(tunnel.ending(), Closing::Orderly);
}

#[test]
fn what_the_origin_took_late_moved_late() {
    let mut tunnel = Tunnel::with(|settings| {
        settings.limits.tunnel_idle_timeout = Some(Span::from_secs(4));
    });
    tunnel.world.io.hold_sends = true;
    tunnel.world.arrives(tunnel.client, b"up");
    tunnel.passes(3);
    tunnel.world.io.release();
    tunnel.world.settle();
    tunnel.passes(3);
    assert!(tunnel.is_open());
    tunnel.passes(2);
    assert_eq!(tunnel.ending(), Closing::Orderly);
}

#[test]
fn bytes_that_the_origin_does_not_take_are_lost_visibly() {
    let mut tunnel = Tunnel::new();
    tunnel.world.io.hold_sends = true;
    tunnel.world.arrives(tunnel.client, b"up");
    tunnel.passes(3_602);
    assert_eq!(tunnel.ending(), Closing::Reset);
    let cells = &tunnel.world.cells;
    assert_eq!(
        (cells.cut_answers.read(), cells.upstream_errors.read()),
        (1, 1)
    );
}

#[test]
fn after_the_clients_end_a_silent_origin_has_the_time_of_an_answer() {
    let mut tunnel = Tunnel::new();
    tunnel.passes(60);
    tunnel.world.ends(tunnel.client);
    for _ in 0..10 {
        tunnel.passes(28);
        tunnel.world.arrives(tunnel.origin, b"x");
    }
    assert_eq!(tunnel.world.sent(tunnel.client), "x".repeat(10));
    assert!(tunnel.is_open());
    tunnel.passes(32);
    assert_eq!(tunnel.ending(), Closing::Reset);
    assert_eq!(tunnel.world.cells.upstream_errors.read(), 1);
}

#[test]
fn after_the_clients_end_the_shorter_time_counts() {
    let mut tunnel = Tunnel::with(|settings| {
        settings.limits.tunnel_idle_timeout = Some(Span::from_secs(4));
    });
    tunnel.world.ends(tunnel.client);
    tunnel.passes(6);
    assert_eq!(tunnel.ending(), Closing::Reset);
}

#[test]
fn without_a_bound_only_a_tunnel_that_its_client_ended_ends() {
    let mut tunnel = Tunnel::with(|settings| settings.limits.tunnel_idle_timeout = None);
    tunnel.passes(100_000);
    assert!(tunnel.is_open());
    tunnel.world.ends(tunnel.client);
    tunnel.passes(32);
    assert_eq!(tunnel.ending(), Closing::Reset);
}

#[test]
fn a_drain_waits_for_a_tunnel_no_longer_than_it_lives() {
    let mut tunnel = Tunnel::new();
    tunnel.world.proxy.drain(&mut tunnel.world.io);
    tunnel.passes(3_500);
    assert!(tunnel.is_open());
    assert!(!tunnel.world.proxy.is_drained());
    tunnel.passes(102);
    assert!(tunnel.world.proxy.is_drained());
}
