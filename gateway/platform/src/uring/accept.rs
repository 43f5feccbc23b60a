//! Accepting: one multishot accept a listener, blocked while descriptors or slots are out.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;

use base::{Completion, Fault, ListenerId, Moment, Span};
use io_uring::types::Fd;
use io_uring::{cqueue, opcode};

use super::token::Op;
use super::{Socket, Uring};
use crate::{arrival, net};

/// How long accepting waits for a descriptor before it tries again; the driver sees those of its own come free, others
/// it does not.
const RETRY: Span = Span::from_millis(100);

/// One listening socket.
pub(super) struct Listener {
    /// `None` once it is closed.
    socket: Option<TcpListener>,
    wanted: bool,
    accepting: bool,
    cancelled: bool,
    /// Not before this, unless a descriptor comes free.
    blocked: Option<Moment>,
    /// To be closed as soon as no accept is in flight.
    closing: bool,
}

impl Listener {
    /// The ring waits on blocking sockets only: on others it reports that they would block.
    pub(super) fn new(socket: TcpListener) -> io::Result<Self> {
        net::set_blocking(socket.as_raw_fd(), true)?;
        arrival::keep_stamps(socket.as_raw_fd());
        Ok(Self {
            socket: Some(socket),
            wanted: false,
            accepting: false,
            cancelled: false,
            blocked: None,
            closing: false,
        })
    }

    pub(super) fn is_accepting(&self) -> bool {
        self.accepting
    }

    /// An accept in flight keeps the socket listening whatever happens to its descriptor.
    fn close_when_idle(&mut self) {
        if self.closing && !self.accepting {
            self.socket = None;
        }
    }
}

impl Uring {
    pub(super) fn set_accepting(&mut self, id: ListenerId, on: bool) {
        let Some(listener) = self.listeners.get_mut(usize::from(id.0)) else {
            return;
        };
        listener.wanted = on;
        if on {
            self.arm_accept(id);
        } else {
            self.cancel_accept(id);
        }
    }

    fn arm_accept(&mut self, id: ListenerId) {
        let ready = |listener: &&mut Listener| {
            listener.wanted && !listener.accepting && listener.blocked.is_none()
        };
        let listener = self.listeners.get_mut(usize::from(id.0));
        let Some(listener) = listener.filter(ready) else {
            return;
        };
        let Some(socket) = listener.socket.as_ref().filter(|_| !listener.closing) else {
            return;
        };
        listener.accepting = true;
        let entry = opcode::AcceptMulti::new(Fd(socket.as_raw_fd()))
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(Op::Accept.token_at(u32::from(id.0)));
        // SAFETY: the entry points to nothing.
        unsafe { self.push(&entry) };
    }

    pub(super) fn close_listener(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get_mut(usize::from(id.0)) else {
            return;
        };
        listener.wanted = false;
        listener.closing = true;
        listener.close_when_idle();
        self.cancel_accept(id);
    }

    pub(super) fn cancel_accept(&mut self, id: ListenerId) {
        let running = |listener: &&mut Listener| listener.accepting && !listener.cancelled;
        let listener = self.listeners.get_mut(usize::from(id.0));
        let Some(listener) = listener.filter(running) else {
            return;
        };
        listener.cancelled = true;
        let nobody = base::SocketId {
            index: u32::from(id.0),
            generation: 0,
        };
        self.cancel(Op::Accept.token(nobody), Op::CancelAccept, nobody);
    }

    /// The cancelling found nothing, which is so while the kernel is about to end or go on with the accept.
    pub(super) fn accept_not_cancelled(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get_mut(usize::from(id.0)) else {
            return;
        };
        listener.cancelled = false;
        if !listener.wanted || listener.blocked.is_some() {
            self.cancel_accept(id);
        }
    }

    pub(super) fn accepted(
        &mut self,
        id: ListenerId,
        cqe: &cqueue::Entry,
        out: &mut Vec<Completion<Self>>,
    ) {
        if let Some(listener) = self.listeners.get_mut(usize::from(id.0))
            && !cqueue::more(cqe.flags())
        {
            listener.accepting = false;
            listener.cancelled = false;
            listener.close_when_idle();
        }
        match net::owned(cqe.result()) {
            Ok(fd) if !self.quiescing => {
                // Beyond the bound the descriptor is dropped, which closes it.
                if let Ok(socket) = self.sockets.insert(Socket::new(fd)) {
                    if let Some(state) = self.sockets.get_mut(socket) {
                        state.tells = arrival::tells(socket.index);
                    }
                    out.push(Completion::Accepted {
                        listener: id,
                        socket,
                    });
                }
                self.block_when_full();
            }
            Ok(_closed_by_being_dropped) => {}
            Err(_) => self.accept_failed(id, -cqe.result()),
        }
        self.arm_accept(id);
    }

    fn accept_failed(&mut self, id: ListenerId, errno: i32) {
        if errno != libc::ECANCELED && !net::concerns_one_connection(errno) {
            self.block(id, net::fault(errno));
        }
    }

    /// Stops accepting while the table is full. What the kernel accepts before it has heard of that is closed.
    #[inline]
    pub(super) fn block_when_full(&mut self) {
        if self.sockets.is_full() {
            for id in (0..=u8::MAX).map(ListenerId).take(self.listeners.len()) {
                self.block(id, Fault::Resources);
            }
        }
    }

    /// Stops accepting until a descriptor comes free or the retry is due. Connections wait in the kernel's queue.
    fn block(&mut self, id: ListenerId, fault: Fault) {
        let Some(listener) = self.listeners.get_mut(usize::from(id.0)) else {
            return;
        };
        if listener.wanted && listener.blocked.is_none() {
            self.known.push_back(Completion::AcceptFailed {
                listener: id,
                fault,
            });
        }
        listener.blocked = Some(self.pace.now().moment + RETRY);
        self.blocked = true;
        self.cancel_accept(id);
    }

    /// Accepts again where something came free or the retry is due.
    #[cold]
    pub(super) fn unblock(&mut self) {
        let freed = std::mem::take(&mut self.freed);
        if self.sockets.is_full() {
            return;
        }
        let now = self.pace.now().moment;
        self.blocked = false;
        for id in (0..=u8::MAX).map(ListenerId).take(self.listeners.len()) {
            let Some(listener) = self.listeners.get_mut(usize::from(id.0)) else {
                return;
            };
            listener.blocked = listener.blocked.filter(|due| !freed && now < *due);
            self.blocked |= listener.blocked.is_some();
            self.arm_accept(id);
        }
    }

    /// When the first blocked listener tries again.
    pub(super) fn retry_at(&self) -> Option<Moment> {
        if !self.blocked {
            return None;
        }
        self.listeners
            .iter()
            .filter_map(|listener| listener.blocked)
            .min()
    }
}
