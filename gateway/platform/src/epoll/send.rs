//! Sending, tried where it is asked for and gone on with when the socket takes more; and connecting.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use base::limits::PARTS_MAX;
use base::{Completion, Driver, Full, Part, SocketId};

use super::poller::Source;
use super::{Epoll, Socket};
use crate::message::Message;
use crate::net::{self, Address};

/// What a try to send came to.
enum Outcome {
    /// The whole message is taken.
    Whole,
    /// The socket takes no more for now.
    Full,
    /// This error.
    Broken(i32),
}

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
        match send_all(socket.raw(), message) {
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

fn send_all(fd: libc::c_int, message: &mut Message<Epoll>) -> Outcome {
    loop {
        let (head, only) = message.head();
        if only && head.is_empty() {
            return Outcome::Whole;
        }
        let sent = if only {
            send(fd, head)
        } else {
            send_slices(fd, message)
        };
        match usize::try_from(sent) {
            Ok(sent) if message.advance(sent) => return Outcome::Whole,
            Ok(0) => return Outcome::Broken(libc::EPIPE),
            Ok(_) => {}
            Err(_) => match net::errno() {
                libc::EAGAIN => return Outcome::Full,
                libc::EINTR => {}
                errno => return Outcome::Broken(errno),
            },
        }
    }
}

fn send(fd: libc::c_int, bytes: &[u8]) -> isize {
    // SAFETY: the bytes are readable for their length.
    unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) }
}

fn send_slices(fd: libc::c_int, message: &Message<Epoll>) -> isize {
    let mut slices = [IoSlice::new(&[]); PARTS_MAX];
    let mut count = 0;
    for (slot, slice) in slices.iter_mut().zip(message.slices()) {
        *slot = slice;
        count += 1;
    }
    // SAFETY: all zeroes are a valid, empty header.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    // An IoSlice is an iovec, by std's promise; the kernel only reads it.
    header.msg_iov = slices.as_mut_ptr().cast();
    header.msg_iovlen = count;
    // SAFETY: the header's slices and their bytes are readable during the call.
    unsafe { libc::sendmsg(fd, &raw const header, libc::MSG_NOSIGNAL) }
}
