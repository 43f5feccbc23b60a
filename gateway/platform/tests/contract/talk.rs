//! Connections, messages, the bell and the clock.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::time::Duration;

use base::{Completion, Fault, Moment, Part, Scratch, Span, Stamp};

use crate::world::{LISTENER, Shape, Tested, World, pattern, read};

pub(crate) fn what_is_received_goes_back_without_a_copy<D: Tested>() {
    echo(World::<D>::new());
}

pub(crate) fn a_busy_polling_driver_talks_like_any_other<D: Tested>() {
    echo(World::<D>::shaped(Shape {
        busy_poll: Duration::from_millis(2),
        ..Shape::default()
    }));
}

fn echo<D: Tested>(mut world: World<D>) {
    let (mut client, socket) = world.pair();
    world.receive(socket);
    for round in 0..20_u8 {
        client.write_all(&[round; 100]).unwrap();
        let mut back = 0;
        while back < 100 {
            let buffer = world.received(socket);
            let length = u32::try_from(buffer.len()).unwrap();
            back += buffer.len();
            world.send(socket, Part::Received(buffer, 0..length));
            world.sent(socket);
        }
        assert_eq!(read(&mut client, 100), [round; 100]);
    }
    assert!(world.driver.levels().whole());
}

pub(crate) fn pipelined_requests_are_answered_in_one_send<D: Tested>() {
    let mut world = World::<D>::new();
    let (mut client, socket) = world.pair();
    world.receive(socket);
    client
        .write_all(&b"GET / HTTP/1.1\r\n\r\n".repeat(16))
        .unwrap();
    assert_eq!(world.bytes(socket, 18 * 16).len(), 18 * 16);
    let mut scratch = world.driver.scratch().unwrap();
    for answer in 0..16_u8 {
        assert!(scratch.push(&[answer; 1200]));
    }
    world.send(socket, Part::Scratch(scratch));
    world.sent(socket);
    let answers = read(&mut client, 16 * 1200);
    assert!(
        answers
            .chunks(1200)
            .zip(0_u8..)
            .all(|(answer, mark)| answer == [mark; 1200])
    );
}

pub(crate) fn a_message_of_many_parts_arrives_in_order<D: Tested>() {
    let mut world = World::<D>::new();
    let (mut client, socket) = world.pair();
    let body = world.megabyte();
    let mut parts = Vec::new();
    let mut expected = Vec::new();
    for part in 0..40_u32 {
        let mut push = |bytes: &[u8]| expected.extend_from_slice(bytes);
        match part % 4 {
            0 => parts.push(Part::Static(b"")),
            1 => {
                push(&pattern(1000));
                parts.push(Part::Pinned(body.clone(), 0..1000));
            }
            2 if part < 30 => {
                let mut scratch = world.driver.scratch().unwrap();
                assert!(scratch.push(&part.to_be_bytes()));
                push(&part.to_be_bytes());
                parts.push(Part::Scratch(scratch));
            }
            _ => {
                push(b"static");
                parts.push(Part::Static(b"static"));
            }
        }
    }
    world.driver.send(socket, &mut parts);
    assert!(parts.is_empty() && parts.capacity() > 0);
    world.sent(socket);
    assert_eq!(read(&mut client, expected.len()), expected);
}

pub(crate) fn a_connection_to_an_origin_talks_both_ways<D: Tested>() {
    let mut world = World::<D>::new();
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = world.driver.connect(origin.local_addr().unwrap()).unwrap();
    world.receive(socket);
    world.until(|completion| match completion {
        Completion::Connected { socket: connected } if connected == socket => Ok(()),
        other => Err(other),
    });
    let (mut peer, _) = origin.accept().unwrap();
    world.send(socket, Part::Static(b"request"));
    world.sent(socket);
    assert_eq!(read(&mut peer, 7), b"request");
    peer.write_all(b"answer").unwrap();
    assert_eq!(world.bytes(socket, 6), b"answer");
    assert_eq!(
        world.driver.peer(socket),
        Some(origin.local_addr().unwrap())
    );
}

pub(crate) fn a_connect_that_nobody_answers_is_refused<D: Tested>() {
    let mut world = World::<D>::new();
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let socket = world.driver.connect(gone).unwrap();
    world.receive(socket);
    assert_eq!(world.failed(socket), Fault::Refused);
    world.driver.close(socket, base::Closing::Orderly);
    world.settle();
    world.nothing_else();
}

pub(crate) fn a_connect_that_hangs_can_be_closed<D: Tested>() {
    let mut world = World::<D>::shaped(Shape {
        sockets_max: 1,
        ..Shape::default()
    });
    world.driver.accept(LISTENER, false);
    let (silent, _held) = unanswering();
    let socket = world.driver.connect(silent).unwrap();
    world.settle();
    world.nothing_else();
    world.driver.close(socket, base::Closing::Orderly);
    world.turn_until(|world| world.driver.connect(silent).is_ok());
    world.driver.quiesce().unwrap();
}

/// A listener whose queue is full, so that a further connect waits for an answer.
fn unanswering() -> (std::net::SocketAddr, impl Sized) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // SAFETY: the call has no memory arguments.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().unwrap();
    let filler = std::net::TcpStream::connect(address).unwrap();
    (address, (listener, filler))
}

pub(crate) fn a_bell_from_another_thread_ends_the_wait<D: Tested>() {
    let mut world = World::<D>::new();
    let bell = world.driver.doorbell();
    std::thread::scope(|scope| {
        scope.spawn(|| bell.ring());
        world.until(|completion| match completion {
            Completion::Woken => Ok(()),
            other => Err(other),
        });
    });
}

pub(crate) fn many_rings_wake_once_and_the_next_wakes_again<D: Tested>() {
    let mut world = World::<D>::new();
    let bell = world.driver.doorbell();
    for _ in 0..3 {
        (0..1000).for_each(|_| bell.ring());
        world.settle();
        assert!(matches!(world.seen()[..], [Completion::Woken]));
    }
    world.settle();
    world.nothing_else();
}

pub(crate) fn a_peer_has_the_address_it_came_from<D: Tested>() {
    let mut world = World::<D>::new();
    let (client, socket) = world.pair();
    assert_eq!(
        world.driver.peer(socket),
        Some(client.local_addr().unwrap())
    );
}

pub(crate) fn work_counts_from_when_it_could_have_been_seen<D: Tested>() {
    let mut world = World::<D>::new();
    let (mut client, socket) = world.pair();
    world.receive(socket);
    world.settle();
    let idle = world.driver.idle();
    let mut out = Vec::new();
    world.driver.turn(Some(Moment(0)), &mut out).unwrap();
    assert_eq!(world.driver.idle(), idle, "a turn until the past slept");
    let awake = world.driver.arrival();
    client.write_all(b"work").unwrap();
    let before = world.driver.stamp();
    drop(world.received(socket));
    let arrival = world.driver.arrival();
    assert!(awake <= arrival && arrival <= world.driver.stamp());
    // The bytes were there before the turn, which therefore did not sleep: they count from before it.
    assert!(arrival <= before || world.driver.idle() > idle);
    assert!(world.driver.now().moment.0 >= arrival.0 && arrival > Stamp(0));
    client.shutdown(std::net::Shutdown::Write).unwrap();
    world.ended(socket);
    world.driver.close(socket, base::Closing::Orderly);
    world.settle();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

/// A shard that did not run for a while cannot have seen when things came meanwhile: the kernel has, and tells it of one
/// connection in eight. The others come in order between those.
pub(crate) fn what_came_during_a_stall_counts_from_when_it_came<D: Tested>() {
    const STALL: Span = Span::from_millis(200);
    let mut world = World::<D>::new();
    let mut pairs: Vec<_> = (0..9).map(|_| world.pair()).collect();
    for (_, socket) in &pairs {
        world.receive(*socket);
    }
    world.settle();
    let begun = world.driver.stamp();
    let mut write = |world: &World<D>, at: usize| {
        pairs[at].0.write_all(b"bytes").unwrap();
        world.driver.stamp()
    };
    let early = [write(&world, 0), write(&world, 3)];
    while world.driver.stamp() - begun < STALL {}
    let late = [write(&world, 8), write(&world, 4)];
    let mut out = Vec::new();
    world.driver.turn(None, &mut out).unwrap();
    let came: Vec<_> = out
        .iter()
        .filter_map(|told| match told {
            Completion::Received { socket, came, .. } => Some((*socket, *came)),
            _ => None,
        })
        .collect();
    let order: Vec<_> = came.iter().map(|(socket, _)| *socket).collect();
    assert_eq!(order, [0, 3, 8, 4].map(|at| pairs[at].1));
    let came: Vec<_> = came.iter().map(|(_, came)| *came).collect();
    assert!(came.is_sorted(), "{came:?}");
    // The two clocks agree to some microseconds.
    let about = |stamp: Stamp| Stamp(stamp.0 + Span::from_millis(1).0);
    assert!(world.driver.arrival() <= begun && begun <= about(came[0]));
    for (came, written) in came.iter().zip(early.iter().chain(&late)) {
        assert!(*came <= about(*written), "{came:?} {written:?}");
    }
    assert!(came[2] - came[1] > Span::from_millis(190), "{came:?}");
    for (_, socket) in &pairs {
        world.driver.close(*socket, base::Closing::Orderly);
    }
}
