//! Receiving: one multishot receive a socket, paused by cancelling it, starved when the buffers are all out.

use base::{Completion, Room, SocketId};
use io_uring::types::Fd;
use io_uring::{cqueue, opcode, squeue};

use super::ring::BufferRing;
use super::token::Op;
use super::{Socket, Uring};
use crate::arrival::{self, BEFORE_BYTES};
use crate::net;

impl Uring {
    pub(super) fn start_receive(&mut self, id: SocketId, room: Room) {
        let Some(socket) = self.live(id) else { return };
        socket.wants = !socket.failed && !socket.ended;
        socket.large = room == Room::Large;
        if socket.receiving && socket.receiving_large != socket.large {
            self.cancel_receive(id);
        } else {
            self.leave_the_starved(id);
            self.arm_receive(id);
        }
    }

    pub(super) fn stop_receive(&mut self, id: SocketId) {
        if let Some(socket) = self.live(id) {
            socket.wants = false;
            self.cancel_receive(id);
        }
    }

    /// Arms the receive that the caller wants, unless one is in flight or waits for a buffer.
    pub(super) fn arm_receive(&mut self, id: SocketId) {
        let ready = |socket: &&mut Socket| {
            socket.wants && !socket.receiving && !socket.starved && !socket.connecting
        };
        let Some(socket) = self.sockets.get_mut(id).filter(ready) else {
            return;
        };
        let room = socket.room();
        socket.receiving = true;
        socket.receiving_large = socket.large;
        socket.in_flight += 1;
        let entry = receive_entry(socket.raw(), id, room, socket.tells);
        // SAFETY: the entry names a buffer group, whose buffers are the kernel's until it returns them, and at most a message
        // head that never goes.
        unsafe { self.push(&entry) };
    }

    /// Cancels the receive in flight, once.
    pub(super) fn cancel_receive(&mut self, id: SocketId) {
        let running = |socket: &&mut Socket| socket.receiving && !socket.receive_cancelled;
        let Some(socket) = self.sockets.get_mut(id).filter(running) else {
            return;
        };
        socket.receive_cancelled = true;
        let room = if socket.receiving_large {
            Room::Large
        } else {
            Room::Small
        };
        self.cancel(Op::Receive(room).token(id), Op::CancelReceive, id);
    }

    /// The cancelling found nothing, which is so while the kernel is about to end or go on with the receive.
    pub(super) fn receive_not_cancelled(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        socket.receive_cancelled = false;
        let unwanted = !socket.wants || socket.receiving_large != socket.large;
        if unwanted {
            self.cancel_receive(id);
        }
    }

    #[inline]
    pub(super) fn received(
        &mut self,
        id: SocketId,
        room: Room,
        cqe: &cqueue::Entry,
        out: &mut Vec<Completion<Self>>,
    ) {
        let mut buffer = match room {
            Room::Small => self.small.take(&self.pools, cqe),
            Room::Large => self.large.take(&self.pools, cqe),
        };
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        if !cqueue::more(cqe.flags()) {
            socket.receiving = false;
            socket.receive_cancelled = false;
            socket.in_flight -= 1;
        }
        if !socket.closing && !socket.failed {
            let mut came = self.pace.came();
            if socket.tells
                && let Some(buffer) = &mut buffer
            {
                if let Some(wall_ns) = arrival::before(buffer) {
                    came = self.pace.came_at(wall_ns);
                }
                buffer.skip(BEFORE_BYTES);
            }
            match (cqe.result(), buffer) {
                (1.., Some(buffer)) if !buffer.is_empty() => out.push(Completion::Received {
                    socket: id,
                    buffer,
                    came,
                }),
                (1.., Some(_only_its_head)) => self.end(id, out),
                (result, _) => self.receive_ended(id, room, result, out),
            }
        }
        if !cqueue::more(cqe.flags()) {
            self.arm_receive(id);
            self.settle(id);
        }
    }

    /// After a sleep: what came first of that which tells.
    pub(super) fn ask_the_first(&mut self, reaped: &[cqueue::Entry]) {
        let told = reaped.iter().find_map(|cqe| {
            let (Op::Receive(room), id) = Op::decode(cqe.user_data()) else {
                return None;
            };
            let index = cqueue::buffer_select(cqe.flags())?;
            self.sockets.get(id).filter(|socket| socket.tells)?;
            arrival::before(self.pools.filled_by_kernel(room, index)?)
        });
        if let Some(wall_ns) = told {
            self.pace.woken_at(wall_ns);
        }
    }

    fn receive_ended(
        &mut self,
        id: SocketId,
        room: Room,
        result: i32,
        out: &mut Vec<Completion<Self>>,
    ) {
        match -result {
            0 => self.end(id, out),
            libc::ENOBUFS => self.starve(id, room),
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
            errno => self.fail(id, errno, out),
        }
    }

    /// The stream's end, unless it is a reset in disguise: a waiting send that was cut short by one took the error with it
    /// and reports only how far it came, and the receive then reads an end that the peer never sent.
    fn end(&mut self, id: SocketId, out: &mut Vec<Completion<Self>>) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        if socket.sending && net::is_closed(socket.raw().0) {
            return self.fail(id, libc::ECONNRESET, out);
        }
        socket.wants = false;
        socket.ended = true;
        out.push(Completion::Ended { socket: id });
    }

    /// Reports a socket's failure, once; nothing more comes for it.
    pub(super) fn fail(&mut self, id: SocketId, errno: i32, out: &mut Vec<Completion<Self>>) {
        let Some(socket) = self.live(id).filter(|socket| !socket.failed) else {
            return;
        };
        socket.failed = true;
        socket.wants = false;
        self.cancel_receive(id);
        let fault = net::fault(errno);
        out.push(Completion::Failed { socket: id, fault });
    }

    fn starve(&mut self, id: SocketId, room: Room) {
        self.starvations += 1;
        let Some(socket) = self.sockets.get_mut(id).filter(|socket| socket.wants) else {
            return;
        };
        if !std::mem::replace(&mut socket.starved, true) {
            self.starved[usize::from(BufferRing::group(room))].push_back(id.index);
        }
    }

    /// Takes a socket out of the lists that wait for buffers.
    pub(super) fn leave_the_starved(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(id)
            && std::mem::take(&mut socket.starved)
        {
            for list in &mut self.starved {
                list.retain(|index| *index != id.index);
            }
        }
    }

    /// Lends buffers that came back to the kernel again, and lets as many starved sockets receive as there are buffers.
    #[inline]
    pub(super) fn provide(&mut self) {
        self.small.provide(&self.pools);
        self.large.provide(&self.pools);
        for room in [Room::Small, Room::Large] {
            if !self.starved[usize::from(BufferRing::group(room))].is_empty() {
                self.feed(room);
            }
        }
    }

    #[cold]
    fn feed(&mut self, room: Room) {
        for _ in 0..self.pools.lent(room) {
            let list = &mut self.starved[usize::from(BufferRing::group(room))];
            let Some(index) = list.pop_front() else {
                return;
            };
            let id = self.sockets.id(index);
            if let Some(socket) = self.sockets.get_mut(id) {
                socket.starved = false;
                self.arm_receive(id);
            }
        }
    }
}

fn receive_entry(fd: Fd, id: SocketId, room: Room, tells: bool) -> squeue::Entry {
    let group = BufferRing::group(room);
    let entry = if tells {
        opcode::RecvMsgMulti::new(fd, &raw const MESSAGE.0, group).build()
    } else {
        opcode::RecvMulti::new(fd, group).build()
    };
    entry.user_data(Op::Receive(room).token(id))
}

/// Asks for room for control data in front of the bytes, and for no address.
static MESSAGE: Message = {
    // SAFETY: all zeroes is a message head without an address, slices and control data.
    let mut head: libc::msghdr = unsafe { std::mem::zeroed() };
    head.msg_controllen = arrival::CONTROL_BYTES as _;
    Message(head)
};

struct Message(libc::msghdr);

// SAFETY: its pointers are null, and nobody writes to it: the kernel copies it.
unsafe impl Sync for Message {}
