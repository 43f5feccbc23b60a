//! Back-pressure: slow readers, pauses, changes of room.

use std::io::{Read, Write};
use std::net::TcpStream;

use base::{Completion, Part, Room, SocketId};

use crate::world::{Tested, World, narrow, pattern, read};

const MEGABYTES: usize = 16;

fn sixteen_times_the_pattern() -> Vec<u8> {
    pattern(1 << 20).repeat(MEGABYTES)
}

pub(crate) fn a_slow_reader_gets_all_of_a_large_message_and_one_sent<D: Tested>() {
    let mut world = World::<D>::new();
    let (mut client, socket) = world.pair();
    narrow(&client);
    let mut parts = world.pattern();
    world.driver.send(socket, &mut parts);
    world.settle();
    assert!(world.seen().is_empty(), "sent before anybody read");
    let bytes = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&mut client, MEGABYTES << 20));
        world.sent(socket);
        reader.join().unwrap()
    });
    assert!(bytes == sixteen_times_the_pattern());
    world.settle();
    world.nothing_else();
    assert_eq!(world.slab_used(), 0);
}

/// A client that sends all of `bytes` and keeps its socket.
fn send_all(client: &TcpStream, bytes: &[u8]) {
    let mut client = client;
    client.write_all(bytes).unwrap();
}

pub(crate) fn a_pause_holds_the_stream_and_loses_nothing<D: Tested>() {
    let mut world = World::<D>::new();
    let (client, socket) = world.pair();
    let whole = pattern(64 << 20);
    world.receive(socket);
    std::thread::scope(|scope| {
        scope.spawn(|| send_all(&client, &whole));
        let mut got = world.received(socket).to_vec();
        world.driver.pause(socket);
        world.settle();
        got.extend(all_bytes(&mut world, socket));
        world.settle();
        assert!(world.seen().is_empty(), "bytes came in spite of the pause");
        assert!(got.len() < whole.len());
        world.receive(socket);
        while got.len() < whole.len() {
            got.extend_from_slice(&world.received(socket));
        }
        assert!(got == whole);
    });
}

pub(crate) fn pausing_and_resuming_at_every_step_keeps_the_order<D: Tested>() {
    let mut world = World::<D>::new();
    let (client, socket) = world.pair();
    let whole = pattern(1 << 20);
    world.receive(socket);
    std::thread::scope(|scope| {
        scope.spawn(|| send_all(&client, &whole));
        let mut got = Vec::new();
        let mut step = 0;
        while got.len() < whole.len() {
            got.extend_from_slice(&world.received(socket));
            step += 1;
            world.driver.pause(socket);
            if step % 16 == 0 {
                world.settle();
                got.extend(all_bytes(&mut world, socket));
            }
            world.receive(socket);
            if step % 5 == 0 {
                world.driver.pause(socket);
                world.receive(socket);
            }
        }
        assert!(got == whole);
    });
    assert!(world.driver.levels().whole());
}

pub(crate) fn a_change_of_room_keeps_the_order<D: Tested>() {
    let mut world = World::<D>::new();
    let (client, socket) = world.pair();
    let whole = pattern(4 << 20);
    world.receive(socket);
    let mut largest = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| send_all(&client, &whole));
        let mut got = Vec::new();
        for room in [Room::Large, Room::Small].into_iter().cycle() {
            if got.len() >= whole.len() {
                break;
            }
            let stretch = (got.len() + (512 << 10)).min(whole.len());
            while got.len() < stretch {
                let buffer = world.received(socket);
                largest = largest.max(buffer.len());
                got.extend_from_slice(&buffer);
            }
            world.driver.receive(socket, room);
        }
        assert!(got == whole);
    });
    assert!(largest > base::limits::RECEIVE_SMALL_BYTES);
    assert!(world.driver.levels().whole());
}

pub(crate) fn an_end_of_sending_waits_for_the_message_before_it<D: Tested>() {
    let mut world = World::<D>::new();
    let (mut client, socket) = world.pair();
    narrow(&client);
    let mut parts = world.pattern();
    world.driver.send(socket, &mut parts);
    world.driver.shutdown(socket);
    let bytes = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut bytes = Vec::new();
            client.read_to_end(&mut bytes).unwrap();
            bytes
        });
        world.sent(socket);
        reader.join().unwrap()
    });
    assert!(bytes == sixteen_times_the_pattern());
    client.write_all(b"still heard").unwrap();
    world.receive(socket);
    assert_eq!(world.bytes(socket, 11), b"still heard");
}

pub(crate) fn a_message_without_bytes_is_sent_at_once<D: Tested>() {
    let mut world = World::<D>::new();
    let (mut client, socket) = world.pair();
    let scratch = world.driver.scratch().unwrap();
    world
        .driver
        .send(socket, &mut vec![Part::Static(b""), Part::Scratch(scratch)]);
    world.sent(socket);
    world.send(socket, Part::Static(b"x"));
    world.sent(socket);
    assert_eq!(read(&mut client, 1), b"x");
}

fn all_bytes<D: Tested>(world: &mut World<D>, from: SocketId) -> Vec<u8> {
    let mut bytes = Vec::new();
    for completion in world.seen() {
        match completion {
            Completion::Received { socket, buffer, .. } if socket == from => {
                bytes.extend_from_slice(&buffer)
            }
            other => panic!("{other:?}"),
        }
    }
    bytes
}
