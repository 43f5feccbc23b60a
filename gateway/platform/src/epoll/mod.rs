//! The epoll driver: the completions of the trait made from readiness, edge-triggered, for hosts that refuse io_uring.
//!
//! Nothing is ever in the kernel's hands between calls: a send is tried where it is asked for and its parts go as soon as
//! the kernel has copied them; a receive takes a buffer only around its call.

mod accept;
mod poller;
mod receive;
mod send;
mod turn;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;

use base::{
    Closing, Completion, Doorbell, Driver, DriverCounters, Full, ListenerId, Moment, Now, Part,
    Room, SocketId, Span, Stamp, Taken,
};

use self::accept::Listener;
use self::poller::{Poller, Source};
use crate::config::{DriverConfig, StartError};
use crate::doorbell::Bell;
use crate::lend::Lender;
use crate::memory::Slab;
use crate::message::{Message, Messages};
use crate::net;
use crate::pace::Pace;
use crate::pool::{PoolLevels, Pools, Received, ScratchBuffer};
use crate::table::Table;

/// Messages for which there is room from the start.
const MESSAGES_AT_START: u32 = 256;

/// The driver. Made and used on one thread.
pub struct Epoll {
    poller: Poller,
    sockets: Table<Socket>,
    messages: Messages<Message<Self>>,
    listeners: Vec<Listener>,
    /// Sockets that want to receive and may have something, the longest waiting first.
    ready: VecDeque<SocketId>,
    /// Those that found no buffer, by room.
    starved: [VecDeque<SocketId>; 2],
    /// Completions of calls made between turns.
    known: VecDeque<Completion<Self>>,
    bell: Arc<Bell>,
    pace: Pace,
    completions: u64,
    starvations: u64,
    /// A descriptor or slot came free since listeners were last looked at.
    freed: bool,
    /// A connection did something in this turn.
    active: bool,
    pools: Rc<Pools>,
    /// Keeps the slab's regions mapped as long as the driver sends from them.
    lender: Lender,
    _slab: Slab,
}

/// One connection.
#[derive(Default)]
struct Socket {
    fd: Option<OwnedFd>,
    /// Slot in `messages` while sending.
    message: u32,
    /// The caller wants to receive, into `large` buffers or small ones.
    wants: bool,
    large: bool,
    /// Something may be there to read.
    readable: bool,
    /// Reading leads to the connection's end: a short read does not mean that all was read.
    ends_soon: bool,
    /// In the list of ready sockets.
    ready: bool,
    /// In a list of starved sockets.
    starved: bool,
    connecting: bool,
    sending: bool,
    /// The sending direction ends after the send in flight.
    ends: bool,
    failed: bool,
    /// Its receives tell when the bytes came.
    tells: bool,
}

const _: () = assert!(
    size_of::<Socket>() <= 32,
    "an idle connection is one small slot"
);

impl Socket {
    fn new(fd: OwnedFd) -> Self {
        Self {
            fd: Some(fd),
            ..Self::default()
        }
    }

    fn room(&self) -> Room {
        if self.large { Room::Large } else { Room::Small }
    }

    fn raw(&self) -> RawFd {
        self.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }
}

impl Epoll {
    /// Sets the driver up.
    ///
    /// # Errors
    /// When descriptors are out.
    pub fn new(config: DriverConfig) -> Result<Self, StartError> {
        let system = |what| StartError::system(what, "raise the limit of open files (ulimit -n)");
        let poller = Poller::new().map_err(system("making the shard's epoll descriptor"))?;
        let bell = Bell::new().map_err(system("making the shard's eventfd"))?;
        let watch = |(index, socket)| Listener::new(&poller, index, socket);
        let listeners = (0..=u8::MAX).zip(config.listeners).map(watch);
        let listeners = listeners
            .collect::<io::Result<_>>()
            .map_err(system("watching a listener"))?;
        poller
            .add(bell.descriptor(), Source::Bell)
            .map_err(system("watching the shard's eventfd"))?;
        Ok(Self {
            poller,
            sockets: Table::new(config.sockets_max),
            messages: Messages::new(MESSAGES_AT_START, Message::new),
            listeners,
            ready: VecDeque::new(),
            starved: [VecDeque::new(), VecDeque::new()],
            known: VecDeque::new(),
            bell: Arc::new(bell),
            pace: Pace::new(config.busy_poll),
            completions: 0,
            starvations: 0,
            freed: false,
            active: false,
            pools: Pools::new(config.memory),
            lender: Lender::new(config.slab.lends(), false),
            _slab: config.slab,
        })
    }

    /// Free and existing buffers.
    #[must_use]
    pub fn pool_levels(&self) -> PoolLevels {
        self.pools.levels()
    }

    /// Reports a socket's failure, once; nothing more comes for it.
    fn fail(&mut self, id: SocketId, errno: i32) {
        let Some(socket) = self.sockets.get_mut(id).filter(|socket| !socket.failed) else {
            return;
        };
        socket.failed = true;
        socket.wants = false;
        socket.connecting = false;
        self.release(id);
        let fault = net::fault(errno);
        self.known
            .push_back(Completion::Failed { socket: id, fault });
    }
}

impl Driver for Epoll {
    type Memory = Slab;
    type Received = Received;
    type Scratch = ScratchBuffer;

    #[inline]
    fn now(&self) -> Now {
        self.pace.now()
    }

    #[inline]
    fn stamp(&self) -> Stamp {
        self.pace.stamp()
    }

    #[inline]
    fn arrival(&self) -> Stamp {
        self.pace.arrival()
    }

    #[inline]
    fn scratch(&mut self) -> Option<ScratchBuffer> {
        self.pools.scratch()
    }

    #[inline]
    fn buffers_free(&self, room: Room) -> usize {
        self.pools.free(room)
    }

    fn accept(&mut self, listener: ListenerId, on: bool) {
        if let Some(listener) = self.listeners.get_mut(usize::from(listener.0)) {
            listener.wanted = on;
        }
    }

    fn unlisten(&mut self, listener: ListenerId) {
        self.close_listener(listener);
    }

    fn connect(&mut self, to: SocketAddr) -> Result<SocketId, Full> {
        self.start_connect(to)
    }

    fn receive(&mut self, socket: SocketId, room: Room) {
        self.start_receive(socket, room);
    }

    fn pause(&mut self, socket: SocketId) {
        if let Some(socket) = self.sockets.get_mut(socket) {
            socket.wants = false;
        }
    }

    fn send(&mut self, socket: SocketId, parts: &mut Vec<Part<Self>>) {
        self.start_send(socket, parts);
    }

    fn shutdown(&mut self, socket: SocketId) {
        let Some(socket) = self.sockets.get_mut(socket) else {
            return;
        };
        socket.ends = true;
        if !socket.sending {
            net::end_sending(socket.raw());
        }
    }

    fn close(&mut self, socket: SocketId, how: Closing) {
        self.release(socket);
        self.leave_the_starved(socket);
        let Some(state) = self.sockets.get(socket) else {
            return;
        };
        if how == Closing::Reset {
            net::reset_on_close(state.raw());
        }
        self.sockets.remove(socket.index);
        self.freed = true;
    }

    fn peer(&self, socket: SocketId) -> Option<SocketAddr> {
        net::peer(self.sockets.get(socket)?.raw())
    }

    fn local(&self, socket: SocketId) -> Option<SocketAddr> {
        net::local(self.sockets.get(socket)?.raw())
    }

    fn turn(&mut self, until: Option<Moment>, out: &mut Vec<Completion<Self>>) -> io::Result<()> {
        self.take_turn(until, out)
    }

    fn quiesce(&mut self) -> io::Result<()> {
        for index in (0..=u8::MAX).take(self.listeners.len()) {
            self.accept(ListenerId(index), false);
        }
        let ids: Vec<SocketId> = self.sockets.ids().collect();
        for id in ids {
            self.close(id, Closing::Orderly);
        }
        self.known.clear();
        Ok(())
    }

    fn doorbell(&self) -> Arc<dyn Doorbell> {
        Arc::clone(&self.bell) as Arc<dyn Doorbell>
    }

    #[inline]
    fn idle(&self) -> Span {
        Span(self.pace.idle_ns() + self.pace.spun_ns())
    }

    #[inline]
    fn taken(&mut self) -> Option<Taken> {
        self.pace.taken()
    }

    fn counters(&self) -> DriverCounters {
        DriverCounters {
            enters: self.poller.waits(),
            completions: self.completions,
            buffer_starvation: self.starvations,
            buffers_used: self.pools.levels().used(),
            worked_ns: self.pace.worked_ns(),
            ..DriverCounters::default()
        }
    }
}
