//! Sending and connecting.

use std::net::SocketAddr;

use base::limits::PARTS_MAX;
use base::{Completion, Driver, Full, Part, SocketId};
use io_uring::types::Fd;
use io_uring::{cqueue, opcode, squeue};

use super::token::Op;
use super::{Socket, Uring};
use crate::message::Message;
use crate::net::{self, Address};
use crate::transmit::{Outcome, transmit};

const FLAGS: libc::c_int = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;

/// A message in flight, boxed: the kernel reads `header` and `slices` where they are.
pub(super) struct Outgoing {
    message: Message<Uring>,
    header: libc::msghdr,
    slices: [libc::iovec; PARTS_MAX],
    /// Sent by calls, for the sake of pages to lend; the operation in flight is a wait for room.
    by_calls: bool,
}

impl Outgoing {
    pub(super) fn new() -> Self {
        Self {
            message: Message::new(),
            // SAFETY: all zeroes are a valid, empty header and valid, empty slices.
            header: unsafe { std::mem::zeroed() },
            // SAFETY: as above.
            slices: unsafe { std::mem::zeroed() },
            by_calls: false,
        }
    }

    /// The operation that sends the rest. What it points to lives until the message is cleared.
    #[inline]
    fn entry(&mut self, fd: Fd) -> squeue::Entry {
        let (head, only) = self.message.head();
        if only {
            let length = u32::try_from(head.len()).unwrap_or(u32::MAX);
            return opcode::Send::new(fd, head.as_ptr(), length)
                .flags(FLAGS)
                .build();
        }
        let mut count = 0;
        for (slot, slice) in self.slices.iter_mut().zip(self.message.slices()) {
            *slot = libc::iovec {
                iov_base: slice.as_ptr().cast_mut().cast(),
                iov_len: slice.len(),
            };
            count += 1;
        }
        self.header.msg_iov = self.slices.as_mut_ptr();
        self.header.msg_iovlen = count;
        opcode::SendMsg::new(fd, &raw const self.header)
            .flags(FLAGS.unsigned_abs())
            .build()
    }
}

impl Uring {
    #[inline]
    pub(super) fn start_send(&mut self, id: SocketId, parts: &mut Vec<Part<Self>>) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return parts.clear();
        };
        debug_assert!(!socket.sending, "one send a socket at a time");
        if socket.closing
            || socket.failed
            || socket.sending
            || socket.connecting
            || parts.is_empty()
        {
            return parts.clear();
        }
        let slot = self.messages.take(Outgoing::new);
        let Some(outgoing) = self.messages.at(slot) else {
            return parts.clear();
        };
        outgoing.message.load(parts);
        if outgoing.message.advance(0) {
            self.release(slot);
            return self.known.push_back(Completion::Sent { socket: id });
        }
        outgoing.by_calls = self.lender.lends() && {
            outgoing.message.count();
            outgoing.message.before_lendable().is_some()
        };
        socket.sending = true;
        socket.operand = slot;
        socket.in_flight += 1;
        if outgoing.by_calls {
            let mut out = std::mem::take(&mut self.told);
            self.send_by_calls(id, &mut out);
            self.known.extend(out.drain(..));
            self.told = out;
            return;
        }
        self.push_send(id);
    }

    /// Sends what the socket takes now, and waits for room for the rest.
    fn send_by_calls(&mut self, id: SocketId, out: &mut Vec<Completion<Self>>) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        let fd = socket.raw();
        let Some(outgoing) = self.messages.at(socket.operand) else {
            return;
        };
        match transmit(fd.0, &mut outgoing.message, &mut self.lender) {
            Outcome::Whole => self.send_over(id, None, out),
            Outcome::Broken(errno) => self.send_over(id, Some(errno), out),
            Outcome::Full => {
                let entry = opcode::PollAdd::new(fd, libc::POLLOUT as u32)
                    .build()
                    .user_data(Op::Send.token(id));
                // SAFETY: the entry points to nothing.
                unsafe { self.push(&entry) };
            }
        }
    }

    /// Sends what is left of a socket's message.
    #[inline]
    fn push_send(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        let Some(outgoing) = self.messages.at(socket.operand) else {
            return;
        };
        let entry = outgoing.entry(socket.raw()).user_data(Op::Send.token(id));
        // SAFETY: the bytes belong to the message's parts, header and slices to its box: `sent` releases them when the
        // completion is reaped.
        unsafe { self.push(&entry) };
    }

    #[inline]
    pub(super) fn sent(
        &mut self,
        id: SocketId,
        cqe: &cqueue::Entry,
        out: &mut Vec<Completion<Self>>,
    ) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        let (slot, over) = (socket.operand, socket.closing || socket.failed);
        let Some(outgoing) = self.messages.at(slot) else {
            return;
        };
        if outgoing.by_calls {
            if !over && may_go_on(cqe.result()) {
                return self.send_by_calls(id, out);
            }
            return self.send_over(id, Some(broken(cqe.result())), out);
        }
        let taken = usize::try_from(cqe.result()).unwrap_or(0);
        let whole = outgoing.message.advance(taken);
        if !whole && !over && may_go_on(cqe.result()) {
            return self.push_send(id);
        }
        self.send_over(id, (!whole).then(|| broken(cqe.result())), out);
    }

    /// Nothing of a socket's message is in the kernel's hands any more: it took the whole, or the connection broke.
    #[inline]
    fn send_over(&mut self, id: SocketId, errno: Option<i32>, out: &mut Vec<Completion<Self>>) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        socket.sending = false;
        socket.send_cancelled = false;
        socket.in_flight -= 1;
        let (slot, ends, over) = (socket.operand, socket.ends, socket.closing || socket.failed);
        self.release(slot);
        if over {
            return self.settle(id);
        }
        if let Some(errno) = errno {
            return self.fail(id, errno, out);
        }
        out.push(Completion::Sent { socket: id });
        if ends {
            self.shutdown(id);
        }
    }

    pub(super) fn start_connect(&mut self, to: SocketAddr) -> Result<SocketId, Full> {
        if self.sockets.is_full() {
            return Err(Full);
        }
        let (fd, errno) = match net::stream(to, 0) {
            Ok(fd) => (Some(fd), 0),
            Err(error) => (None, error.raw_os_error().unwrap_or(0)),
        };
        if matches!(
            errno,
            libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM
        ) {
            return Err(Full);
        }
        let connecting = fd.is_some();
        let socket = Socket {
            fd,
            connecting,
            failed: !connecting,
            ..Socket::default()
        };
        let id = self.sockets.insert(socket).map_err(|_| Full)?;
        self.block_when_full();
        if connecting {
            self.push_connect(id, to);
        } else {
            let fault = net::fault(errno);
            self.known
                .push_back(Completion::Failed { socket: id, fault });
        }
        Ok(id)
    }

    fn push_connect(&mut self, id: SocketId, to: SocketAddr) {
        let slot = self.connects.take(Address::empty);
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        let Some(address) = self.connects.at(slot) else {
            return;
        };
        *address = Address::from(to);
        socket.operand = slot;
        socket.in_flight += 1;
        let entry = opcode::Connect::new(socket.raw(), address.pointer(), address.length())
            .build()
            .user_data(Op::Connect.token(id));
        // SAFETY: the boxed address stays until the completion is reaped (`connected`).
        unsafe { self.push(&entry) };
    }

    pub(super) fn connected(
        &mut self,
        id: SocketId,
        cqe: &cqueue::Entry,
        out: &mut Vec<Completion<Self>>,
    ) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        socket.connecting = false;
        socket.send_cancelled = false;
        socket.in_flight -= 1;
        let slot = socket.operand;
        let closing = socket.closing;
        self.connects.give(slot);
        match -cqe.result() {
            _ if closing => self.settle(id),
            0 => {
                out.push(Completion::Connected { socket: id });
                self.arm_receive(id);
            }
            errno => self.fail(id, errno, out),
        }
    }

    /// Cancels the send or connect in flight, once.
    pub(super) fn cancel_send(&mut self, id: SocketId) {
        let running =
            |socket: &&mut Socket| (socket.sending || socket.connecting) && !socket.send_cancelled;
        let Some(socket) = self.sockets.get_mut(id).filter(running) else {
            return;
        };
        socket.send_cancelled = true;
        let op = if socket.connecting {
            Op::Connect
        } else {
            Op::Send
        };
        self.cancel(op.token(id), Op::CancelSend, id);
    }

    /// The cancelling found nothing, which is so while the kernel is about to end or go on with the operation.
    pub(super) fn send_not_cancelled(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.send_cancelled = false;
            self.cancel_send(id);
        }
    }

    #[inline]
    fn release(&mut self, slot: u32) {
        if let Some(outgoing) = self.messages.at(slot) {
            outgoing.message.clear();
            self.messages.give(slot);
        }
    }
}

/// Whether the rest of a message that was cut short may be sent. A send of bytes that takes none breaks the connection.
fn may_go_on(result: i32) -> bool {
    result > 0 || matches!(-result, libc::EINTR | libc::EAGAIN)
}

fn broken(result: i32) -> i32 {
    if result < 0 { -result } else { libc::EPIPE }
}
