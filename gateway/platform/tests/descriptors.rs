//! Running out of file descriptors, alone in its process because the limit is the process's.

#![allow(clippy::unwrap_used, reason = "a story that cannot go on fails")]

#[allow(
    dead_code,
    reason = "the world of the contract's stories, of which one is told here"
)]
#[path = "contract/world.rs"]
mod world;

use std::io::Write;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};

use base::{Closing, Completion, Fault, Part};
use platform::{Epoll, Uring};

use crate::world::{LISTENER, Tested, World, read};

#[test]
fn without_descriptors_connections_wait_and_those_that_stand_go_on() {
    story::<Epoll>();
    match Uring::refused() {
        Some(why) => eprintln!("not run: {why}"),
        None => story::<Uring>(),
    }
}

fn story<D: Tested>() {
    let limit = descriptors();
    let mut world = World::<D>::new();
    let (mut client, socket) = world.pair();
    let (_idle_client, idle) = world.pair();
    world.receive(socket);

    let waiting = client_with_the_last(&mut world);
    assert_eq!(accept_failed(&mut world), Fault::Descriptors);
    client.write_all(b"ping").unwrap();
    assert_eq!(world.bytes(socket, 4), b"ping");
    world.send(socket, Part::Static(b"pong"));
    world.sent(socket);
    assert_eq!(read(&mut client, 4), b"pong");

    world.driver.close(idle, Closing::Orderly);
    let came = world.accepted();
    assert_eq!(world.driver.peer(came), waiting.local_addr().ok());

    set_descriptors(limit);
    let later = client_with_the_last(&mut world);
    assert_eq!(accept_failed(&mut world), Fault::Descriptors);
    set_descriptors(limit);
    let came = world.accepted();
    assert_eq!(world.driver.peer(came), later.local_addr().ok());
}

fn accept_failed<D: Tested>(world: &mut World<D>) -> Fault {
    world.until(|completion| match completion {
        Completion::AcceptFailed {
            listener: LISTENER,
            fault,
        } => Ok(fault),
        other => Err(other),
    })
}

/// A client that has the last descriptor. The kernel notes the limit when an accept is armed, so it is armed again.
fn client_with_the_last<D: Tested>(world: &mut World<D>) -> TcpStream {
    let next = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
    let lowest_free = u64::try_from(next.as_raw_fd()).unwrap();
    drop(next);
    set_descriptors(lowest_free + 1);
    world.driver.accept(LISTENER, false);
    world.settle();
    world.driver.accept(LISTENER, true);
    world.settle();
    world.client()
}

fn descriptors() -> u64 {
    limit().rlim_cur
}

fn set_descriptors(count: u64) {
    let limit = libc::rlimit {
        rlim_cur: count,
        ..limit()
    };
    // SAFETY: a limit to read.
    let status = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(status, 0);
}

fn limit() -> libc::rlimit {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a limit to write to.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(status, 0);
    limit
}
