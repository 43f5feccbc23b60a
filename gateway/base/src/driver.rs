//! The input and output seam. Operations go in, completions come out; io_uring, epoll, poll-mode and the simulation are
//! drivers of this one trait, and every one of them keeps these promises:
//!
//! - A [`SocketId`] is valid from its `Accepted` completion or [`Driver::connect`] until [`Driver::close`]; calls with a
//!   stale id do nothing, and no completion ever carries one.
//! - What an operation was given (scratch, received buffers, pins) belongs to the driver until the kernel is done with
//!   it, closed or cancelled or not, and goes back to its pool by being dropped there.
//! - After `Failed` nothing more comes for that socket; the caller must still `close` it.
//! - Receiving is a stream: once started it goes on until `Ended`, `Failed`, [`Driver::pause`] or `close`.
//! - At most one send a socket at a time; the next may follow its `Sent`.

use std::fmt;
use std::net::SocketAddr;
use std::ops::{Deref, Range};

use crate::{ListenerId, Memory, Moment, Now, SocketId, Span, Stamp};

/// A shard's input and output.
pub trait Driver: Sized + 'static {
    /// The node-wide slab whose extents this driver can send.
    type Memory: Memory;
    /// Bytes received: one buffer of the driver's pool, which takes it back when this is dropped.
    type Received: Deref<Target = [u8]> + 'static;
    /// A buffer to encode answers into; the pool takes it back when this is dropped.
    type Scratch: Scratch;

    /// The time of this turn.
    fn now(&self) -> Now;

    /// Reads the stamp clock.
    fn stamp(&self) -> Stamp;

    /// The stamp at which the bytes of this turn's completions could first have been seen: the end of the previous reap
    /// if the loop did not sleep, the wake-up if it did.
    fn arrival(&self) -> Stamp;

    /// A scratch buffer, or `None` while all of them are in flight.
    fn scratch(&mut self) -> Option<Self::Scratch>;

    /// Receive buffers of a size that are free now: where few are, a caller copies out of those it holds.
    fn buffers_free(&self, room: Room) -> usize;

    /// Starts or stops accepting on a listener. Connections that arrive while stopped wait in the kernel's queue.
    fn accept(&mut self, listener: ListenerId, on: bool);

    /// Stops accepting on a listener for good, and closes it once nothing of it is in the kernel. What the kernel accepts
    /// until then is still handed out; what its queue still holds then is reset, unless the host migrates it.
    fn unlisten(&mut self, listener: ListenerId);

    /// Starts a connection; `Connected` or `Failed` follows.
    ///
    /// # Errors
    /// [`Full`] when the socket table or the process's descriptors are exhausted.
    fn connect(&mut self, to: SocketAddr) -> Result<SocketId, Full>;

    /// Starts or resumes receiving; `room` chooses the buffers' size. No buffer is held while nothing arrives.
    fn receive(&mut self, socket: SocketId, room: Room);

    /// Stops receiving. What was already taken from the kernel still arrives, at most
    /// [`PAUSE_BUFFERS_MAX`](crate::limits::PAUSE_BUFFERS_MAX) buffers; then nothing until `receive`.
    fn pause(&mut self, socket: SocketId);

    /// Sends `parts` in order, as one message, and takes them (the vector is left empty, with a capacity). One `Sent`
    /// follows when the kernel took every byte. An empty list is a caller's error and ignored.
    fn send(&mut self, socket: SocketId, parts: &mut Vec<Part<Self>>);

    /// Ends the sending direction after what was sent.
    fn shutdown(&mut self, socket: SocketId);

    /// Ends the connection: no completion for it follows. Its descriptor and buffers are released when the kernel has
    /// returned them.
    fn close(&mut self, socket: SocketId, how: Closing);

    /// The peer's address: one system call, not for the hit path.
    fn peer(&self, socket: SocketId) -> Option<SocketAddr>;

    /// The address at our end, likewise.
    fn local(&self, socket: SocketId) -> Option<SocketAddr>;

    /// Submits what was asked, waits until something completes or `until` has come (`None`: until something completes;
    /// a moment in the past: not at all), and appends completions to `out`, at most
    /// [`TURN_COMPLETIONS_MAX`](crate::limits::TURN_COMPLETIONS_MAX). Advances `now`.
    ///
    /// # Errors
    /// When the driver itself broke (the ring, the epoll descriptor), never for a connection's fault.
    fn turn(
        &mut self,
        until: Option<Moment>,
        out: &mut Vec<Completion<Self>>,
    ) -> std::io::Result<()>;

    /// Closes every connection and returns when the kernel holds nothing of them. Listeners stay bound, accepting stops.
    ///
    /// # Errors
    /// As for [`turn`](Driver::turn).
    fn quiesce(&mut self) -> std::io::Result<()>;

    /// A bell that any thread may ring to end this driver's wait; `Woken` follows, once for any number of rings.
    fn doorbell(&self) -> std::sync::Arc<dyn Doorbell>;

    /// The driver's own health since start.
    fn counters(&self) -> DriverCounters;

    /// Time asleep, or spun and found nothing, since start. Costs next to nothing.
    fn idle(&self) -> Span;

    /// A stretch of more than 200 µs since the last call in which the CPU ran something else, as far as a thread can see
    /// that: a spin, a turn that took much longer than its work, a sleep that overran. Several are told as one. What came
    /// late out of a sleep is not known.
    fn taken(&mut self) -> Option<Taken>;
}

/// A stretch in which a thread's CPU was not its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The last sign of it before.
    pub from: Stamp,
    /// The first after.
    pub until: Stamp,
}

/// A buffer to encode into, of fixed capacity.
pub trait Scratch: Deref<Target = [u8]> + 'static {
    /// The unwritten rest.
    fn spare(&mut self) -> &mut [u8];
    /// Marks `count` bytes of [`spare`](Scratch::spare) as written. More than there is room for is cut.
    fn advance(&mut self, count: usize);

    /// Appends `bytes` whole or not at all; tells which.
    #[inline]
    fn push(&mut self, bytes: &[u8]) -> bool {
        let Some(room) = self.spare().get_mut(..bytes.len()) else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.advance(bytes.len());
        true
    }
}

/// One slice of a message to send. Owned by the driver until the kernel is done.
pub enum Part<D: Driver> {
    /// All bytes written to a scratch buffer.
    Scratch(D::Scratch),
    /// A range of received bytes, passed on without a copy.
    Received(D::Received, Range<u32>),
    /// A range of a pinned extent.
    Pinned(<D::Memory as Memory>::Pin, Range<u32>),
    /// Bytes of the program.
    Static(&'static [u8]),
    /// Bytes on the heap: for what is rare, never for hits.
    Heap(Box<[u8]>),
}

impl<D: Driver> Part<D> {
    /// The bytes to send.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Scratch(scratch) => scratch,
            Self::Received(buffer, range) => slice(buffer, range),
            Self::Pinned(pin, range) => slice(pin, range),
            Self::Static(bytes) => bytes,
            Self::Heap(bytes) => bytes,
        }
    }
}

fn slice<'a>(bytes: &'a [u8], range: &Range<u32>) -> &'a [u8] {
    bytes
        .get(range.start as usize..range.end as usize)
        .unwrap_or_default()
}

/// Which receive buffers a connection takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// [`RECEIVE_SMALL_BYTES`](crate::limits::RECEIVE_SMALL_BYTES): heads and small bodies.
    Small,
    /// [`RECEIVE_LARGE_BYTES`](crate::limits::RECEIVE_LARGE_BYTES): bodies.
    Large,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// With what the kernel still has to send, and a FIN.
    Orderly,
    /// With a reset, so that the peer cannot take what it got for whole.
    Reset,
}

/// What came of operations.
pub enum Completion<D: Driver> {
    /// A client's connection; nothing is received until asked for.
    Accepted {
        /// Where it came in.
        listener: ListenerId,
        /// The new connection.
        socket: SocketId,
    },
    /// Accepting failed for want of something (descriptors, memory, table slots) and goes on by itself as that is freed.
    AcceptFailed {
        /// Where.
        listener: ListenerId,
        /// Why.
        fault: Fault,
    },
    /// A connection that was asked for stands.
    Connected {
        /// Which.
        socket: SocketId,
    },
    /// Bytes, at least one.
    Received {
        /// From whom.
        socket: SocketId,
        /// The bytes.
        buffer: D::Received,
        /// Since when they have waited, as near as the driver can tell: when the kernel had the last of them, or the last
        /// before them of which that is known, or else as for [`Driver::arrival`].
        came: Stamp,
    },
    /// The peer ended its direction in order.
    Ended {
        /// Who.
        socket: SocketId,
    },
    /// The kernel took the whole message; its parts are released.
    Sent {
        /// On which connection.
        socket: SocketId,
    },
    /// Connecting, receiving or sending failed.
    Failed {
        /// Which connection.
        socket: SocketId,
        /// Why.
        fault: Fault,
    },
    /// Somebody rang the doorbell.
    Woken,
}

impl<D: Driver> fmt::Debug for Completion<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { listener, socket } => write!(f, "{socket:?} accepted on {listener:?}"),
            Self::AcceptFailed { listener, fault } => {
                write!(f, "accept on {listener:?} failed: {fault}")
            }
            Self::Connected { socket } => write!(f, "{socket:?} connected"),
            Self::Received { socket, buffer, .. } => {
                write!(f, "{socket:?} received {} bytes", buffer.len())
            }
            Self::Ended { socket } => write!(f, "{socket:?} ended"),
            Self::Sent { socket } => write!(f, "{socket:?} sent"),
            Self::Failed { socket, fault } => write!(f, "{socket:?} failed: {fault}"),
            Self::Woken => write!(f, "woken"),
        }
    }
}

/// Why the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nobody listens there.
    Refused,
    /// The peer reset the connection, or it broke under a send.
    Reset,
    /// No route to the host or network.
    Unreachable,
    /// The kernel gave up waiting for the peer.
    TimedOut,
    /// No descriptor is left (EMFILE, ENFILE).
    Descriptors,
    /// No memory, buffer or port is left.
    Resources,
    /// Another error number.
    Other(i32),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Reset => f.write_str("connection reset"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Descriptors => f.write_str("no file descriptors left"),
            Self::Resources => f.write_str("no memory or ports left"),
            Self::Other(errno) => write!(f, "error {errno}"),
        }
    }
}

/// The socket table or the process's descriptors are exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Ends a driver's wait from another thread. Level-triggered: a ring between turns is seen by the next turn.
pub trait Doorbell: Send + Sync {
    /// Rings.
    fn ring(&self);
}

/// A driver's health since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverCounters {
    /// System calls that submitted or waited.
    pub enters: u64,
    /// Completions reaped.
    pub completions: u64,
    /// Times receiving stopped for want of a buffer.
    pub buffer_starvation: u64,
    /// Completion-queue overflows seen (io_uring).
    pub cq_overflow: u64,
    /// Times the submission queue was full and had to be flushed early (io_uring).
    pub sq_full: u64,
    /// Buffers that hold something now: received bytes, or what is sent.
    pub buffers_used: u64,
    /// Nanoseconds of CPU that the thread of the loop used, in the kernel too, without what it spun in busy polling and found
    /// nothing. Of the thread that asks.
    pub worked_ns: u64,
}
