//! What the kernel holds, nobody touches: closing, quiescing and dropping in the middle of everything.

use std::io::{Read, Write};
use std::net::TcpStream;

use base::{Closing, Completion, Part, Room, Scratch, ShardId};

use crate::world::{Shape, Tested, World, config, narrow, pattern};

pub(crate) fn a_close_releases_what_is_sent_when_the_kernel_is_done_with_it<D: Tested>() {
    let mut world = World::<D>::new();
    let (client, socket) = world.pair();
    narrow(&client);
    let mut parts = world.pattern();
    world.driver.send(socket, &mut parts);
    world.settle();
    assert_eq!(world.slab_used(), 16 << 20);
    world.driver.close(socket, Closing::Reset);
    if D::SENDS_OUTLIVE_CALLS {
        assert_eq!(
            world.slab_used(),
            16 << 20,
            "released while the kernel had it"
        );
    }
    world.turn_until(|world| world.slab_used() == 0);
    world.nothing_else();
}

/// A world in the middle of sends, receives, connects and a full line for buffers.
fn busy<D: Tested>() -> (World<D>, Vec<TcpStream>) {
    let mut world = World::<D>::shaped(Shape {
        small_buffers: 4,
        ..Shape::default()
    });
    let mut clients = Vec::new();
    for _ in 0..12 {
        let (mut client, socket) = world.pair();
        narrow(&client);
        world.receive(socket);
        client.write_all(&pattern(20_000)).unwrap();
        clients.push(client);
    }
    for _ in 0..4 {
        let (mut client, socket) = world.pair();
        world.driver.receive(socket, Room::Large);
        client.write_all(&pattern(20_000)).unwrap();
        narrow(&client);
        let mut scratch = world.driver.scratch().unwrap();
        assert!(scratch.push(b"head"));
        let mut parts = vec![Part::Scratch(scratch)];
        parts.extend((0..4).map(|_| Part::Pinned(world.megabyte(), 0..1 << 20)));
        world.driver.send(socket, &mut parts);
        clients.push(client);
    }
    let own = world.address;
    world.driver.connect(own).unwrap();
    (world, clients)
}

pub(crate) fn quiescing_in_the_middle_of_everything_leaves_the_pools_whole<D: Tested>() {
    let (mut world, mut clients) = busy::<D>();
    world.settle();
    world.driver.connect(world.address).unwrap();
    world.driver.quiesce().unwrap();
    assert_eq!(world.slab_used(), 0);
    world.seen();
    assert!(world.driver.levels().whole(), "{:?}", world.driver.levels());
    for client in &mut clients {
        // Every connection is closed: its stream ends or breaks, it does not hang.
        let _ = client.read_to_end(&mut Vec::new());
    }
}

pub(crate) fn a_dropped_driver_gives_back_its_memory_after_the_last_buffer<D: Tested>() {
    let (mut world, _clients) = busy::<D>();
    world.settle();
    let mut held: Vec<_> = world.seen();
    assert!(
        held.iter()
            .any(|completion| matches!(completion, Completion::Received { .. }))
    );
    let World { driver, memory, .. } = world;
    drop(driver);
    assert!(
        memory.shard(ShardId(0)).is_none(),
        "the memory was given back under a buffer"
    );
    held.clear();
    assert!(
        memory.shard(ShardId(0)).is_some(),
        "the memory was not given back"
    );
}

/// The bytes of a message belong to it until the kernel has them: releasing them first would send what is written there
/// next.
pub(crate) fn a_reader_never_sees_what_was_released_under_it<D: Tested>() {
    for drop_the_driver in [false, true] {
        let mut world = World::<D>::new();
        let (mut client, socket) = world.pair();
        narrow(&client);
        let mut parts = world.pattern();
        world.driver.send(socket, &mut parts);
        world.settle();
        let memory = if drop_the_driver {
            let World { driver, memory, .. } = world;
            drop(driver);
            memory
        } else {
            world.driver.close(socket, Closing::Orderly);
            world.turn_until(|world| world.slab_used() == 0);
            world.settle();
            world.memory
        };
        scribble(&memory);
        let mut bytes = Vec::new();
        let _ = client.read_to_end(&mut bytes);
        let whole = pattern(1 << 20);
        assert!(bytes.chunks(1 << 20).all(|part| whole.starts_with(part)));
        assert!(bytes.len() < 16 << 20);
    }
}

fn scribble(memory: &platform::memory::NodeMemory) {
    use base::{ExtentWriter, Memory};
    let mut held = Vec::new();
    while let Some(mut writer) = memory.slab().reserve(1 << 20) {
        writer.append(&vec![0xee; 1 << 20]);
        held.push(writer);
    }
    assert!(held.len() >= 16);
}

pub(crate) fn a_driver_goes_on_after_it_was_quiesced<D: Tested>() {
    let (mut world, _clients) = busy::<D>();
    world.driver.quiesce().unwrap();
    world.seen();
    world.driver.accept(crate::world::LISTENER, true);
    let (mut client, socket) = world.pair();
    world.receive(socket);
    client.write_all(b"again").unwrap();
    assert_eq!(world.bytes(socket, 5), b"again");
    let World { driver, memory, .. } = world;
    drop(driver);
    let again = D::start(config(&memory, Vec::new(), &Shape::default()));
    assert!(again.is_ok());
}
