//! What happens at the bounds: buffers, table slots, accepting switched off.

use std::collections::HashSet;
use std::io::Write;

use base::{Closing, Completion, Fault, Full, Room};

use crate::world::{LISTENER, Shape, Tested, World};

fn four_buffers<D: Tested>() -> World<D> {
    World::shaped(Shape {
        small_buffers: 4,
        ..Shape::default()
    })
}

pub(crate) fn sockets_that_found_no_buffer_go_on_when_some_come_back<D: Tested>() {
    let mut world = four_buffers::<D>();
    let mut pairs: Vec<_> = (0..12).map(|_| world.pair()).collect();
    for (client, socket) in &mut pairs {
        world.receive(*socket);
        client.write_all(b"some bytes").unwrap();
    }
    world.settle();
    let mut held = received(&mut world);
    assert_eq!(held.len(), 4);
    assert_eq!(world.driver.buffers_free(Room::Small), 0);
    assert!(world.driver.counters().buffer_starvation > 0);
    let mut heard: HashSet<_> = held.iter().map(|(socket, _)| *socket).collect();
    while heard.len() < 12 {
        held.clear();
        world.settle();
        held = received(&mut world);
        assert!(
            !held.is_empty() && held.len() <= 4,
            "{} came at once",
            held.len()
        );
        heard.extend(held.iter().map(|(socket, _)| *socket));
    }
    held.clear();
    assert!(world.driver.levels().whole());
}

fn received<D: Tested>(world: &mut World<D>) -> Vec<(base::SocketId, D::Received)> {
    let taken = world.seen().into_iter().map(|completion| match completion {
        Completion::Received { socket, buffer, .. } => (socket, buffer),
        other => panic!("{other:?}"),
    });
    taken.collect()
}

pub(crate) fn a_closed_socket_leaves_the_line_for_buffers<D: Tested>() {
    let mut world = four_buffers::<D>();
    let mut pairs: Vec<_> = (0..6).map(|_| world.pair()).collect();
    for (client, socket) in &mut pairs {
        world.receive(*socket);
        client.write_all(b"some bytes").unwrap();
    }
    world.settle();
    let held = received(&mut world);
    let starving = |(_, socket): &&(_, base::SocketId)| held.iter().all(|(fed, _)| fed != socket);
    let left: Vec<_> = pairs
        .iter()
        .filter(starving)
        .map(|(_, socket)| *socket)
        .collect();
    assert_eq!(left.len(), 2);
    world.driver.close(left[0], Closing::Orderly);
    drop(held);
    drop(world.received(left[1]));
    world.settle();
    world.nothing_else();
}

pub(crate) fn a_change_of_room_leaves_the_line_for_the_other_buffers<D: Tested>() {
    let mut world = four_buffers::<D>();
    let mut pairs: Vec<_> = (0..5).map(|_| world.pair()).collect();
    for (client, socket) in &mut pairs {
        world.receive(*socket);
        client.write_all(b"some bytes").unwrap();
    }
    world.settle();
    let held = received(&mut world);
    let starving = |(_, socket): &&(_, base::SocketId)| held.iter().all(|(fed, _)| fed != socket);
    let (_, starving) = pairs.iter().find(starving).unwrap();
    world.driver.receive(*starving, Room::Large);
    assert_eq!(world.bytes(*starving, 10), b"some bytes");
}

fn two_slots<D: Tested>() -> World<D> {
    World::shaped(Shape {
        sockets_max: 2,
        ..Shape::default()
    })
}

pub(crate) fn a_full_table_leaves_connections_in_the_queue<D: Tested>() {
    let mut world = two_slots::<D>();
    let (_first, socket) = world.pair();
    let _second = world.pair();
    world.settle();
    world.seen();
    let mut third = world.client();
    third.write_all(b"patience").unwrap();
    world.settle();
    let all = world.seen();
    assert!(all.iter().all(|completion| matches!(
        completion,
        Completion::AcceptFailed {
            listener: LISTENER,
            fault: Fault::Resources
        }
    )));
    world.driver.close(socket, Closing::Orderly);
    let socket = world.accepted();
    world.receive(socket);
    assert_eq!(world.bytes(socket, 8), b"patience");
}

pub(crate) fn a_full_table_refuses_to_connect<D: Tested>() {
    let mut world = two_slots::<D>();
    let _first = world.pair();
    let address = world.address;
    let own = world.driver.connect(address).unwrap();
    assert_eq!(world.driver.connect(address), Err(Full));
    world.driver.close(own, Closing::Orderly);
    world.turn_until(|world| match world.driver.connect(address) {
        Ok(socket) => {
            world.driver.close(socket, Closing::Orderly);
            true
        }
        Err(Full) => false,
    });
}

pub(crate) fn connections_wait_while_accepting_is_off<D: Tested>() {
    let mut world = World::<D>::new();
    world.driver.accept(LISTENER, false);
    world.settle();
    let _client = world.client();
    world.settle();
    world.nothing_else();
    world.driver.accept(LISTENER, true);
    world.accepted();
}
