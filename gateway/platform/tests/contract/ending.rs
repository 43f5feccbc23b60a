//! How connections end, and that they stay ended.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use base::{Closing, Completion, Fault, Part, Room, Scratch};

use crate::world::{Tested, World, narrow, read, reset};

pub(crate) fn a_fin_is_the_end_of_one_direction_only<D: Tested>() {
    let mut world = World::<D>::new();
    let (mut client, socket) = world.pair();
    world.receive(socket);
    client.write_all(b"last words").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(world.bytes(socket, 10), b"last words");
    world.ended(socket);
    world.send(socket, Part::Static(b"answer"));
    world.sent(socket);
    assert_eq!(read(&mut client, 6), b"answer");
    world.settle();
    assert!(world.seen().is_empty(), "the end came twice");
}

pub(crate) fn a_reset_is_a_failure_and_nothing_follows_it<D: Tested>() {
    let mut world = World::<D>::new();
    let (client, socket) = world.pair();
    world.receive(socket);
    world.settle();
    reset(client);
    assert_eq!(world.failed(socket), Fault::Reset);
    world.receive(socket);
    let mut scratch = world.driver.scratch().unwrap();
    assert!(scratch.push(b"into the void"));
    world.send(socket, Part::Scratch(scratch));
    world.settle();
    world.nothing_else();
    assert!(world.driver.levels().whole());
    world.driver.close(socket, Closing::Orderly);
}

pub(crate) fn a_send_into_a_reset_connection_fails_once<D: Tested>() {
    let mut world = World::<D>::new();
    let (client, socket) = world.pair();
    narrow(&client);
    world.receive(socket);
    let mut parts = world.pattern();
    world.driver.send(socket, &mut parts);
    world.settle();
    reset(client);
    assert_eq!(world.failed(socket), Fault::Reset);
    world.settle();
    world.nothing_else();
    world.driver.close(socket, Closing::Reset);
    world.turn_until(|world| world.slab_used() == 0);
}

pub(crate) fn a_closed_connection_is_never_heard_of_again<D: Tested>() {
    let mut world = World::<D>::new();
    let (mut client, socket) = world.pair();
    let (mut other_client, other) = world.pair();
    world.receive(socket);
    world.receive(other);
    client.write_all(b"unheard").unwrap();
    other_client.write_all(b"heard").unwrap();
    world.driver.close(socket, Closing::Orderly);
    assert_eq!(world.bytes(other, 5), b"heard");
    world.settle();
    world.nothing_else();
    assert!(world.driver.levels().whole());
}

pub(crate) fn a_reset_close_reaches_the_peer_as_one<D: Tested>() {
    let mut world = World::<D>::new();
    let (mut client, socket) = world.pair();
    world.receive(socket);
    world.settle();
    world.driver.close(socket, Closing::Reset);
    world.settle();
    let end = client.read(&mut [0]).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
}

pub(crate) fn stale_ids_do_nothing<D: Tested>() {
    let mut world = World::<D>::new();
    let (_client, stale) = world.pair();
    world.receive(stale);
    world.driver.close(stale, Closing::Orderly);
    world.settle();
    let (mut client, fresh) = world.pair();
    assert_eq!((fresh.index, fresh != stale), (stale.index, true));
    let mut scratch = world.driver.scratch().unwrap();
    assert!(scratch.push(b"for nobody"));
    world.send(stale, Part::Scratch(scratch));
    world.driver.receive(stale, Room::Small);
    world.driver.shutdown(stale);
    world.driver.close(stale, Closing::Reset);
    assert_eq!(world.driver.peer(stale), None);
    world.receive(fresh);
    world.driver.pause(stale);
    client.write_all(b"still here").unwrap();
    assert_eq!(world.bytes(fresh, 10), b"still here");
    world.send(fresh, Part::Static(b"yes"));
    world.sent(fresh);
    assert_eq!(read(&mut client, 3), b"yes");
    assert!(!world.seen().iter().any(|completion| matches!(
        completion,
        Completion::Sent { .. } | Completion::Failed { .. }
    )));
    assert!(world.driver.levels().whole());
}
