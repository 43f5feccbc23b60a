//! Receiving: one buffer a ready socket and pass, then it goes to the back of the list.

use base::{Completion, Room, SocketId};

use super::Epoll;
use crate::arrival::{self, CONTROL_BYTES};
use crate::net;

/// What one receive came to.
enum Outcome {
    /// Bytes, and whether there may be more.
    Bytes(usize, bool),
    /// Nothing for now.
    Empty,
    /// The peer's end.
    End,
    /// This error.
    Broken(i32),
}

impl Epoll {
    pub(super) fn start_receive(&mut self, id: SocketId, room: Room) {
        let Some(socket) = self.sockets.get_mut(id).filter(|socket| !socket.failed) else {
            return;
        };
        socket.wants = true;
        socket.large = room == Room::Large;
        self.leave_the_starved(id);
        self.queue(id);
    }

    /// The kernel says that something can be read.
    pub(super) fn readable(&mut self, id: SocketId, ends: bool) {
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.readable = true;
            socket.ends_soon |= ends;
            self.queue(id);
        }
    }

    fn queue(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(id)
            && socket.wants
            && socket.readable
            && !socket.starved
            && !std::mem::replace(&mut socket.ready, true)
        {
            self.ready.push_back(id);
        }
    }

    /// Takes a socket out of the lists that wait for buffers. The ready list is walked every turn and passes over what it
    /// finds stale; these are not, and must not grow.
    pub(super) fn leave_the_starved(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(id)
            && std::mem::take(&mut socket.starved)
        {
            for list in &mut self.starved {
                list.retain(|starved| *starved != id);
            }
        }
    }

    /// Gives sockets that found no buffer another chance, as many as there are buffers.
    pub(super) fn feed(&mut self) {
        for (list, room) in [(0, Room::Small), (1, Room::Large)] {
            for _ in 0..self.starved[list].len().min(self.pools.free(room)) {
                let Some(id) = self.starved[list].pop_front() else {
                    break;
                };
                if let Some(socket) = self.sockets.get_mut(id) {
                    socket.starved = false;
                    self.queue(id);
                }
            }
        }
    }

    /// Receives once from each ready socket, at most `bound` of them.
    pub(super) fn receive_ready(&mut self, bound: usize, out: &mut Vec<Completion<Self>>) {
        for _ in 0..self.ready.len().min(bound) {
            let Some(id) = self.ready.pop_front() else {
                return;
            };
            self.receive_once(id, out);
        }
    }

    fn receive_once(&mut self, id: SocketId, out: &mut Vec<Completion<Self>>) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        socket.ready = false;
        if !socket.wants {
            return;
        }
        let Some(mut buffer) = self.pools.take(socket.room()) else {
            socket.starved = true;
            self.starvations += 1;
            let list = usize::from(socket.large);
            return self.starved[list].push_back(id);
        };
        let (outcome, told) = if socket.tells {
            receive_told(socket.raw(), buffer.whole())
        } else {
            (receive(socket.raw(), buffer.whole()), None)
        };
        let outcome = match outcome {
            Outcome::Bytes(count, full) => Outcome::Bytes(count, full || socket.ends_soon),
            other => other,
        };
        match outcome {
            Outcome::Bytes(count, more) => {
                socket.readable = more;
                buffer.fill(count);
                let came = match told {
                    Some(wall_ns) => self.pace.came_at(wall_ns),
                    None => self.pace.came(),
                };
                out.push(Completion::Received {
                    socket: id,
                    buffer,
                    came,
                });
                self.queue(id);
            }
            Outcome::Empty => socket.readable = false,
            Outcome::End => {
                socket.wants = false;
                socket.readable = false;
                out.push(Completion::Ended { socket: id });
            }
            Outcome::Broken(errno) => self.fail(id, errno),
        }
    }
}

/// recv(2) fills the buffer or takes all there is; an edge announces what comes after.
fn receive(fd: libc::c_int, buffer: &mut [u8]) -> Outcome {
    // SAFETY: the buffer is writable for its length.
    let count = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    outcome(count, buffer.len())
}

/// The same, and when the last of the bytes came, in nanoseconds of the wall clock.
fn receive_told(fd: libc::c_int, buffer: &mut [u8]) -> (Outcome, Option<u64>) {
    let mut control = [0_u64; CONTROL_BYTES / 8];
    let mut slice = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all zeroes is a message head without an address, slices and control data.
    let mut head: libc::msghdr = unsafe { std::mem::zeroed() };
    (head.msg_iov, head.msg_iovlen) = (&raw mut slice, 1);
    (head.msg_control, head.msg_controllen) = (control.as_mut_ptr().cast(), CONTROL_BYTES as _);
    // SAFETY: the head names a slice that is writable for its length and room for control data, both of this frame.
    let count = unsafe { libc::recvmsg(fd, &raw mut head, 0) };
    // SAFETY: the bytes of initialised integers.
    let bytes: [u8; CONTROL_BYTES] = unsafe { std::mem::transmute(control) };
    let told = arrival::told(&bytes, head.msg_controllen as usize);
    (outcome(count, buffer.len()), told)
}

fn outcome(count: libc::ssize_t, room: usize) -> Outcome {
    match usize::try_from(count) {
        Ok(0) => Outcome::End,
        Ok(count) => Outcome::Bytes(count, count == room),
        Err(_) => match net::errno() {
            libc::EAGAIN => Outcome::Empty,
            errno => Outcome::Broken(errno),
        },
    }
}
