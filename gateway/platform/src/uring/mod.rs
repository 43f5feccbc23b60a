//! The io_uring driver: one ring a shard, multishot accept and receive into provided buffers, one enter a turn.
//!
//! Who owns what the kernel may touch: receive buffers are lent through the buffer rings; a message's parts sit in its
//! slot of `messages`, and an address in its slot of `connects`, until the operation's completion is reaped. A socket's
//! slot and descriptor go when its last operation has been reaped ([`Uring::settle`]), so no completion finds the slot of
//! another connection.

mod accept;
mod receive;
mod ring;
mod send;
mod token;
mod turn;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use base::limits::TURN_COMPLETIONS_MAX;
use base::{
    Closing, Completion, Doorbell, Driver, DriverCounters, Full, ListenerId, Moment, Now, Part,
    Room, SocketId, Span, Stamp, Taken,
};
use io_uring::squeue::Flags;
use io_uring::types::{CancelBuilder, Fd};
use io_uring::{cqueue, opcode, squeue};

use self::accept::Listener;
use self::ring::{BufferRing, Ring};
use self::send::Outgoing;
use self::token::Op;
use crate::config::{DriverConfig, StartError};
use crate::doorbell::Bell;
use crate::lend::Lender;
use crate::memory::Slab;
use crate::message::Messages;
use crate::net::{self, Address};
use crate::pace::Pace;
use crate::pool::{PoolLevels, Pools, Received, ScratchBuffer};
use crate::probe;
use crate::table::Table;

/// Messages for which there is room from the start.
const MESSAGES_AT_START: u32 = 256;

/// The driver. Made and used on one thread.
///
/// Dropping it reaps everything in flight and takes back the lent buffers before any field goes, because closing a ring
/// does not wait for what it carries. Should something still be in flight then, what the kernel may touch is leaked
/// instead of released: `pools`, `messages`, `connects`, `slab`.
pub struct Uring {
    /// First to go, though by then nothing is in flight (`drop`).
    ring: Ring,
    small: BufferRing,
    large: BufferRing,
    sockets: Table<Socket>,
    /// Parts of messages in flight: the kernel reads them until their completions.
    messages: Messages<Outgoing>,
    connects: Messages<Address>,
    listeners: Vec<Listener>,
    /// Sockets that want to receive and found no buffer, by room, the longest waiting first.
    starved: [VecDeque<u32>; 2],
    /// What was known without the kernel: connects refused at once, messages without bytes.
    known: VecDeque<Completion<Self>>,
    /// Empty: kept for its room, through which completions of sends by calls get into `known`.
    told: Vec<Completion<Self>>,
    reaped: Vec<cqueue::Entry>,
    bell: Arc<Bell>,
    pace: Pace,
    completions: u64,
    starvations: u64,
    /// Accepting waits for a descriptor or a slot on some listener.
    blocked: bool,
    /// A descriptor and slot came free since listeners were last looked at.
    freed: bool,
    quiescing: bool,
    /// An entry that could not be queued because the ring broke; the next turn reports it.
    broken: Option<io::Error>,
    /// Behind the ring: the kernel writes into the buffers lent to it until the buffer rings are retired.
    pools: Rc<Pools>,
    lender: Lender,
    /// Behind the ring: the kernel reads pinned extents until their sends are reaped.
    slab: Slab,
}

/// One connection.
#[derive(Default)]
struct Socket {
    fd: Option<OwnedFd>,
    /// Slot in `messages` while sending, in `connects` while connecting.
    operand: u32,
    /// Operations in the kernel that complete for this slot.
    in_flight: u8,
    /// The caller wants to receive, into `large` buffers or small ones.
    wants: bool,
    large: bool,
    /// A receive is in flight, into large buffers or small ones.
    receiving: bool,
    receiving_large: bool,
    /// Its cancelling is under way.
    receive_cancelled: bool,
    /// In the list of starved sockets.
    starved: bool,
    connecting: bool,
    sending: bool,
    send_cancelled: bool,
    /// The sending direction ends after the send in flight.
    ends: bool,
    ended: bool,
    failed: bool,
    closing: bool,
    reset: bool,
    /// Its receives tell when the bytes came; never changes once it receives.
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

    fn raw(&self) -> Fd {
        Fd(self.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd))
    }
}

impl Uring {
    /// Sets the ring up; to be called on the shard's own thread.
    ///
    /// # Errors
    /// [`StartError::Refused`] says why io_uring cannot be had, and what lifts it.
    pub fn new(config: DriverConfig) -> Result<Self, StartError> {
        let refused = |error| StartError::Refused(probe::classify(&error));
        let ring = Ring::open().map_err(refused)?;
        let pools = Pools::new(config.memory);
        let small = BufferRing::register(&ring, &pools, Room::Small).map_err(refused)?;
        let large = BufferRing::register(&ring, &pools, Room::Large).map_err(refused)?;
        let system = |what| StartError::system(what, "raise the limit of open files (ulimit -n)");
        let bell = Bell::new().map_err(system("making the shard's eventfd"))?;
        let listeners = config.listeners.into_iter().map(Listener::new);
        let listeners = listeners
            .collect::<io::Result<_>>()
            .map_err(system("making a listener blocking"))?;
        let mut driver = Self {
            ring,
            small,
            large,
            sockets: Table::new(config.sockets_max),
            messages: Messages::new(MESSAGES_AT_START, Outgoing::new),
            connects: Messages::new(0, Address::empty),
            listeners,
            starved: [VecDeque::new(), VecDeque::new()],
            known: VecDeque::new(),
            told: Vec::new(),
            reaped: Vec::with_capacity(TURN_COMPLETIONS_MAX),
            bell: Arc::new(bell),
            pace: Pace::new(config.busy_poll),
            completions: 0,
            starvations: 0,
            blocked: false,
            freed: false,
            quiescing: false,
            broken: None,
            pools,
            lender: Lender::new(config.slab.lends(), true),
            slab: config.slab,
        };
        driver.watch_bell();
        Ok(driver)
    }

    /// Free and existing buffers.
    #[must_use]
    pub fn pool_levels(&self) -> PoolLevels {
        self.pools.levels()
    }

    /// The socket that a caller's id means, unless it is stale.
    #[inline]
    fn live(&mut self, id: SocketId) -> Option<&mut Socket> {
        self.sockets.get_mut(id).filter(|socket| !socket.closing)
    }

    /// Queues an entry.
    ///
    /// # Safety
    /// What the entry points to stays valid until its completion is reaped.
    #[inline]
    unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the caller's promise.
        if let Err(error) = unsafe { self.ring.push(entry) } {
            self.broken.get_or_insert(error);
        }
    }

    fn watch_bell(&mut self) {
        let entry = opcode::PollAdd::new(Fd(self.bell.descriptor()), libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(Op::Bell.token_at(0));
        // SAFETY: the entry points to nothing.
        unsafe { self.push(&entry) };
    }

    /// Cancels the operation with this token. Only a failure to find it completes, with `op` on `slot`.
    fn cancel(&mut self, token: u64, op: Op, slot: SocketId) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(token))
            .build()
            .flags(Flags::SKIP_SUCCESS)
            .user_data(op.token(slot));
        // SAFETY: the entry points to nothing.
        unsafe { self.push(&entry) };
    }

    /// Releases a closing socket once nothing of it is in the kernel.
    fn settle(&mut self, id: SocketId) {
        let idle = |socket: &&mut Socket| socket.closing && socket.in_flight == 0;
        if self.sockets.get_mut(id).filter(idle).is_none() {
            return;
        }
        let Some(socket) = self.sockets.remove(id.index) else {
            return;
        };
        self.freed = true;
        let Some(fd) = socket.fd else { return };
        if socket.reset {
            net::reset_on_close(fd.as_raw_fd());
        }
        let entry = opcode::Close::new(Fd(fd.into_raw_fd()))
            .build()
            .flags(Flags::SKIP_SUCCESS)
            .user_data(Op::Silent.token_at(0));
        // SAFETY: the entry points to nothing; the descriptor's ownership goes with it.
        unsafe { self.push(&entry) };
    }

    /// Leaves to the system what the kernel may still touch.
    fn abandon(&mut self) {
        std::mem::forget(Rc::clone(&self.pools));
        std::mem::forget(self.slab.clone());
        std::mem::forget(std::mem::replace(
            &mut self.messages,
            Messages::new(0, Outgoing::new),
        ));
        std::mem::forget(std::mem::replace(
            &mut self.connects,
            Messages::new(0, Address::empty),
        ));
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        let quiet = self.quiesce().is_ok() && !self.holds();
        let retire = |ring: &BufferRing| ring.retire(&self.ring, &self.pools).is_ok();
        if !(quiet && retire(&self.small) && retire(&self.large)) {
            self.abandon();
        }
    }
}

impl Driver for Uring {
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
        self.set_accepting(listener, on);
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
        self.stop_receive(socket);
    }

    #[inline]
    fn send(&mut self, socket: SocketId, parts: &mut Vec<Part<Self>>) {
        self.start_send(socket, parts);
    }

    fn shutdown(&mut self, socket: SocketId) {
        let Some(socket) = self.live(socket) else {
            return;
        };
        socket.ends = true;
        if !socket.sending {
            net::end_sending(socket.raw().0);
        }
    }

    fn close(&mut self, socket: SocketId, how: Closing) {
        let Some(state) = self.live(socket) else {
            return;
        };
        state.closing = true;
        state.wants = false;
        state.reset = how == Closing::Reset;
        self.leave_the_starved(socket);
        self.cancel_receive(socket);
        self.cancel_send(socket);
        self.settle(socket);
    }

    fn peer(&self, socket: SocketId) -> Option<SocketAddr> {
        let socket = self.sockets.get(socket).filter(|socket| !socket.closing)?;
        net::peer(socket.raw().0)
    }

    fn local(&self, socket: SocketId) -> Option<SocketAddr> {
        let socket = self.sockets.get(socket).filter(|socket| !socket.closing)?;
        net::local(socket.raw().0)
    }

    fn turn(&mut self, until: Option<Moment>, out: &mut Vec<Completion<Self>>) -> io::Result<()> {
        self.take_turn(until, out)
    }

    fn quiesce(&mut self) -> io::Result<()> {
        self.close_all()
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
            enters: self.ring.enters(),
            completions: self.completions,
            buffer_starvation: self.starvations,
            buffers_used: self.pools.levels().used(),
            cq_overflow: self.ring.overflows(),
            sq_full: self.ring.times_full(),
            worked_ns: self.pace.worked_ns(),
        }
    }
}
