//! Accepting: some connections a listener and turn, blocked while descriptors or slots are out.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};

use base::{Completion, Fault, ListenerId, Moment, Span};

use super::poller::{Poller, Source};
use super::{Epoll, Socket};
use crate::{arrival, net};

/// How long accepting waits for a descriptor before it tries again; the driver sees those of its own come free, others
/// it does not.
const RETRY: Span = Span::from_millis(100);
/// Connections that one listener gets in one turn.
const ACCEPTS_MAX: usize = 64;

/// One listening socket.
pub(super) struct Listener {
    /// `None` once it is closed.
    socket: Option<TcpListener>,
    pub(super) wanted: bool,
    /// Connections may be waiting.
    pub(super) ready: bool,
    /// Not before this, unless a descriptor comes free.
    blocked: Option<Moment>,
}

impl Listener {
    pub(super) fn new(poller: &Poller, index: u8, socket: TcpListener) -> io::Result<Self> {
        net::set_blocking(socket.as_raw_fd(), false)?;
        arrival::keep_stamps(socket.as_raw_fd());
        poller.add(socket.as_raw_fd(), Source::Listener(index))?;
        Ok(Self {
            socket: Some(socket),
            wanted: false,
            ready: true,
            blocked: None,
        })
    }

    /// Whether an accept now may bring something.
    fn pending(&self) -> bool {
        self.wanted && self.ready && self.blocked.is_none() && self.socket.is_some()
    }
}

impl Epoll {
    /// Accepts on every listener that may have something; at most `bound` connections in all.
    pub(super) fn accept_ready(&mut self, bound: usize, out: &mut Vec<Completion<Self>>) {
        self.unblock();
        let mut left = bound;
        for id in (0..=u8::MAX).map(ListenerId).take(self.listeners.len()) {
            for _ in 0..ACCEPTS_MAX.min(left) {
                if !self
                    .listeners
                    .get(usize::from(id.0))
                    .is_some_and(Listener::pending)
                {
                    break;
                }
                self.accept_once(id, out);
                left -= 1;
            }
        }
    }

    pub(super) fn close_listener(&mut self, id: ListenerId) {
        if let Some(listener) = self.listeners.get_mut(usize::from(id.0)) {
            listener.socket = None;
        }
    }

    /// Whether a listener has connections waiting that could be taken.
    pub(super) fn accepts_wait(&self) -> bool {
        self.listeners.iter().any(Listener::pending)
    }

    /// When the first blocked listener tries again.
    pub(super) fn retry_at(&self) -> Option<Moment> {
        if self.sockets.is_full() {
            return None;
        }
        self.listeners
            .iter()
            .filter_map(|listener| listener.blocked)
            .min()
    }

    fn accept_once(&mut self, id: ListenerId, out: &mut Vec<Completion<Self>>) {
        if self.sockets.is_full() {
            return self.block(id, Fault::Resources, out);
        }
        let Some(listener) = self.listeners.get_mut(usize::from(id.0)) else {
            return;
        };
        let Some(socket) = &listener.socket else {
            return;
        };
        match accept(socket) {
            Ok(fd) => self.accepted(id, fd, out),
            Err(libc::EAGAIN) => listener.ready = false,
            Err(errno) if net::concerns_one_connection(errno) => {}
            Err(errno) => self.block(id, net::fault(errno), out),
        }
    }

    fn accepted(&mut self, id: ListenerId, fd: OwnedFd, out: &mut Vec<Completion<Self>>) {
        let raw = fd.as_raw_fd();
        let Ok(socket) = self.sockets.insert(Socket::new(fd)) else {
            return self.block(id, Fault::Resources, out);
        };
        if let Some(state) = self.sockets.get_mut(socket) {
            state.tells = arrival::tells(socket.index);
        }
        self.active = true;
        match self.poller.add(raw, Source::Socket(socket)) {
            Ok(()) => out.push(Completion::Accepted {
                listener: id,
                socket,
            }),
            Err(error) => {
                self.sockets.remove(socket.index);
                self.block(id, net::fault(error.raw_os_error().unwrap_or(0)), out);
            }
        }
    }

    /// Stops accepting until a descriptor comes free or the retry is due. Connections wait in the kernel's queue.
    fn block(&mut self, id: ListenerId, fault: Fault, out: &mut Vec<Completion<Self>>) {
        if let Some(listener) = self.listeners.get_mut(usize::from(id.0)) {
            listener.blocked = Some(self.pace.now().moment + RETRY);
            out.push(Completion::AcceptFailed {
                listener: id,
                fault,
            });
        }
    }

    fn unblock(&mut self) {
        let freed = std::mem::take(&mut self.freed);
        if self.sockets.is_full() {
            return;
        }
        let now = self.pace.now().moment;
        for listener in &mut self.listeners {
            listener.blocked = listener.blocked.filter(|due| !freed && now < *due);
        }
    }
}

fn accept(listener: &TcpListener) -> Result<OwnedFd, i32> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let nobody = std::ptr::null_mut();
    // SAFETY: no address is asked for.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), nobody, std::ptr::null_mut(), flags) };
    net::owned(fd).map_err(|error| error.raw_os_error().unwrap_or(0))
}
