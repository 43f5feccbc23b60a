//! Sending, tried where it is asked for and gone on with when the socket takes more; and connecting.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use base::{Completion, Driver, Full, Part, SocketId};

use super::poller::Source;
use super::{Epoll, Socket};
use crate::message::Message;
use crate::net::{self, Address};
use crate::transmit::{Outcome, transmit};

impl Epoll {
    pub(super) fn start_send(&mut self, id: SocketId, parts: &mut Vec<Part<Self>>) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return parts.clear();
        };
        debug_assert!(!socket.sending, "one send a socket at a time");
        if socket.failed || socket.sending || socket.connecting || parts.is_empty() {
            return parts.clear();
        }
        let slot = self.messages.take(Message::new);
        let Some(message) = self.messages.at(slot) else {
            return parts.clear();
        };
        message.load(parts);
        message.advance(0);
        if self.lender.lends() {
            message.count();
        }
        socket.message = slot;
        socket.sending = true;
        self.send_more(id);
    }

    /// The kernel says that the socket takes more, or that it broke.
    pub(super) fn writable(&mut self, id: SocketId) {
        match self.sockets.get(id) {
            Some(socket) if socket.connecting => self.connected(id),
            Some(socket) if socket.sending => self.send_more(id),
            _ => {}
        }
    }

    /// Sends until the message or the socket's room is at its end.
    fn send_more(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get(id) else {
            return;
        };
        let Some(message) = self.messages.at(socket.message) else {
            return;
        };
        let ends = socket.ends;
        match transmit(socket.raw(), message, &mut self.lender) {
            Outcome::Full => {}
            Outcome::Broken(errno) => self.fail(id, errno),
            Outcome::Whole => {
                self.release(id);
                self.known.push_back(Completion::Sent { socket: id });
                if ends {
                    self.shutdown(id);
                }
            }
        }
    }

    /// Lets go of a socket's message.
    pub(super) fn release(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(id)
            && std::mem::take(&mut socket.sending)
            && let Some(message) = self.messages.at(socket.message)
        {
            message.clear();
            self.messages.give(socket.message);
        }
    }

    pub(super) fn start_connect(&mut self, to: SocketAddr) -> Result<SocketId, Full> {
        if self.sockets.is_full() {
            return Err(Full);
        }
        let (fd, errno) = match net::stream(to, libc::SOCK_NONBLOCK) {
            Ok(fd) => {
                let errno = connect(fd.as_raw_fd(), to);
                (Some(fd), errno)
            }
            Err(error) => (None, error.raw_os_error().unwrap_or(0)),
        };
        if fd.is_none()
            && matches!(
                errno,
                libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM
            )
        {
            return Err(Full);
        }
        let socket = Socket {
            fd,
            connecting: true,
            ..Socket::default()
        };
        let id = self.sockets.insert(socket).map_err(|_| Full)?;
        match errno {
            0 | libc::EINPROGRESS | libc::EINTR => self.watch(id),
            errno => self.fail(id, errno),
        }
        Ok(id)
    }

    /// Watches a new socket; its first event comes at once if it is connected already.
    fn watch(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get(id) else {
            return;
        };
        if let Err(error) = self.poller.add(socket.raw(), Source::Socket(id)) {
            self.fail(id, error.raw_os_error().unwrap_or(0));
        }
    }

    fn connected(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        match net::pending_error(socket.raw()) {
            0 => {
                socket.connecting = false;
                self.known.push_back(Completion::Connected { socket: id });
            }
            errno => self.fail(id, errno),
        }
    }
}

fn connect(fd: libc::c_int, to: SocketAddr) -> i32 {
    let address = Address::from(to);
    // SAFETY: the address is read during the call.
    match unsafe { libc::connect(fd, address.pointer(), address.length()) } {
        0 => 0,
        _ => net::errno(),
    }
}
