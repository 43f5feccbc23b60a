//! Pages of the slab that sockets hold: nothing changes under a peer's eyes.

use base::{Closing, ExtentWriter, Memory, Part, Scratch};
use platform::memory::{Slab, SlabPin};

use crate::world::{Tested, World, narrow, pattern, read};

fn stored(slab: &Slab, bytes: &[u8]) -> SlabPin {
    let mut writer = slab.reserve(bytes.len()).unwrap();
    assert_eq!(writer.append(bytes), bytes.len());
    Slab::pin(&writer.extent())
}

/// Sends bytes of a pin to clients until it is worth lending.
fn warm<D: Tested>(world: &mut World<D>, pin: &SlabPin) {
    for _ in 0..8 {
        let (mut client, socket) = world.pair();
        let count = u32::try_from(pin.len()).unwrap();
        world.send(socket, Part::Pinned(pin.clone(), 0..count));
        let bytes = pin.len();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| read(&mut client, bytes));
            world.sent(socket);
            assert!(reader.join().unwrap() == **pin);
        });
        world.driver.close(socket, Closing::Orderly);
    }
}

pub(crate) fn memory_is_used_again_while_a_peer_has_not_read_what_it_held<D: Tested>() {
    let mut world = World::<D>::new();
    let slab = world.memory.slab().clone();
    // The head of the line for memory, so that the next to ask for as much gets the same.
    let kept = slab.reserve(1 << 20).unwrap();
    for mark in 1..=4_u8 {
        let (mut client, socket) = world.pair();
        let old = stored(&slab, &[mark; 100 << 10]);
        let address = old.as_ptr();
        warm(&mut world, &old);
        world.send(socket, Part::Pinned(old, 0..100 << 10));
        world.sent(socket);
        let new = stored(&slab, &[0xff; 100 << 10]);
        assert_eq!(new.as_ptr(), address, "the story is about the same memory");
        assert!(new.iter().all(|byte| *byte == 0xff));
        assert!(read(&mut client, 100 << 10) == [mark; 100 << 10]);
    }
    drop(kept);
    assert_eq!(world.slab_used(), 0);
}

pub(crate) fn pages_and_bytes_that_are_copied_arrive_in_order<D: Tested>() {
    let mut world = World::<D>::new();
    let slab = world.memory.slab().clone();
    let whole = pattern(300_000);
    let body = stored(&slab, &whole);
    warm(&mut world, &body);
    // Ranges that begin or end within pages, extents in a row, small ones between large ones.
    let cuts: [u32; 9] = [
        0, 1, 65_536, 131_072, 135_168, 140_000, 250_001, 250_002, 300_000,
    ];
    for first in 0..cuts.len() - 1 {
        let (mut client, socket) = world.pair();
        narrow(&client);
        let mut scratch = world.driver.scratch().unwrap();
        assert!(scratch.push(b"head"));
        let mut parts = vec![Part::Static(b"before"), Part::Scratch(scratch)];
        for cut in cuts[first..].windows(2) {
            parts.push(Part::Pinned(body.clone(), cut[0]..cut[1]));
        }
        parts.push(Part::Heap(b"behind".to_vec().into_boxed_slice()));
        world.driver.send(socket, &mut parts);
        let rest = &whole[cuts[first] as usize..];
        let expected = [b"beforehead", rest, b"behind"].concat();
        let got = std::thread::scope(|scope| {
            let reader = scope.spawn(|| read(&mut client, expected.len()));
            world.sent(socket);
            reader.join().unwrap()
        });
        assert!(got == expected, "from cut {first}");
    }
    assert!(*body == *whole);
}
