//! The ring itself: how it is set up, entered and read, and the rings that name receive buffers to it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use base::Room;
use io_uring::types::BufRingEntry;
use io_uring::{EnterFlags, IoUring, cqueue, squeue};

use crate::pool::{Pools, Received};

/// Submission entries: a turn's worth, several times over; a full queue is flushed early and counted.
const SUBMISSIONS: u32 = 1024;
/// Completion entries: bursts of multishot completions between two turns.
const COMPLETIONS: u32 = 8192;
/// Enters that catching up takes at most; each takes 20 completions or more.
const CATCH_UP_ENTERS_MAX: usize = 256;

/// One io_uring of one thread.
pub(super) struct Ring {
    io: IoUring,
    /// Index of the ring's descriptor among the thread's registered ones, which spares a lookup an enter. It holds the
    /// ring open, so it goes in `drop`.
    registered: Option<u32>,
    /// Entries that found the queue full and the kernel unwilling to empty it; they go first at the next flush.
    spilled: VecDeque<squeue::Entry>,
    /// `NO_IOWAIT` where the kernel has it (6.15): an idle shard is idle to `top`, not waiting for a disk.
    idle: EnterFlags,
    enters: u64,
    full: u64,
    overflows: u64,
}

/// How an enter came back, where it did not fail.
enum Entered {
    Through,
    /// By a signal: what a sleep waited for may be there all the same.
    Interrupted,
}

/// What can be seen of the ring without a system call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glance {
    /// Completions are there to be read.
    pub(super) ready: bool,
    /// The kernel has work that an enter would turn into completions.
    pub(super) owed: bool,
    /// Entries wait to be submitted.
    pub(super) queued: bool,
}

impl Ring {
    /// Sets a ring up for the calling thread, which must be the one to use it.
    pub(super) fn open() -> io::Result<Self> {
        let io = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        let features = io.params();
        if !(features.is_feature_ext_arg()
            && features.is_feature_nodrop()
            && features.is_feature_submit_stable()
            && features.is_feature_skip_cqe_on_success())
        {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let idle = if features.is_feature_no_iowait() {
            EnterFlags::NO_IOWAIT
        } else {
            EnterFlags::empty()
        };
        let registered = register_descriptor(io.as_raw_fd());
        Ok(Self {
            io,
            registered,
            spilled: VecDeque::new(),
            idle,
            enters: 0,
            full: 0,
            overflows: 0,
        })
    }

    /// Queues an entry.
    ///
    /// # Safety
    /// What the entry points to stays valid until its completion is reaped.
    #[inline]
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: the caller's promise.
        if self.spilled.is_empty() && unsafe { self.io.submission().push(entry) }.is_ok() {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe { self.push_slow(entry) }
    }

    /// # Safety
    /// As for `push`.
    #[cold]
    unsafe fn push_slow(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        self.full += 1;
        self.spilled.push_back(entry.clone());
        self.flush()
    }

    #[inline]
    pub(super) fn glance(&mut self) -> Glance {
        let (_, submissions, completions) = self.io.split();
        let overflow = submissions.cq_overflow();
        let glance = Glance {
            ready: !completions.is_empty(),
            owed: submissions.taskrun() || overflow,
            queued: !submissions.is_empty() || !self.spilled.is_empty(),
        };
        self.overflows += u64::from(overflow);
        glance
    }

    /// Submits what is queued and takes what the kernel owes, without waiting.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        loop {
            self.enter(0, EnterFlags::GETEVENTS, None)?;
            if self.spilled.is_empty() || !self.unspill() {
                return Ok(());
            }
        }
    }

    /// Waits for a completion, at most `ns`.
    pub(super) fn wait(&mut self, ns: u64) -> io::Result<()> {
        let time = io_uring::types::Timespec::new()
            .sec(ns / 1_000_000_000)
            .nsec(u32::try_from(ns % 1_000_000_000).unwrap_or(0));
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG | self.idle;
        match self.enter(1, flags, Some(&time))? {
            // A process that was stopped and goes on has not looked yet at what came meanwhile.
            Entered::Interrupted => self.flush(),
            Entered::Through => Ok(()),
        }
    }

    /// Reads completions until `into` is full.
    ///
    /// # Errors
    /// When the kernel dropped a completion for want of memory: what is in flight can no longer be known.
    pub(super) fn reap(&mut self, into: &mut Vec<cqueue::Entry>, bound: usize) -> io::Result<()> {
        let mut completions = self.io.completion();
        if completions.overflow() > 0 {
            return Err(io::Error::other(
                "the kernel dropped a completion for want of memory",
            ));
        }
        into.extend(completions.by_ref().take(bound));
        Ok(())
    }

    /// Takes all that the kernel owes, as far as there is room for it: one enter takes a part.
    pub(super) fn catch_up(&mut self) -> io::Result<()> {
        for _ in 0..CATCH_UP_ENTERS_MAX {
            if !self.glance().owed || self.left() > COMPLETIONS as usize / 2 {
                break;
            }
            self.flush()?;
        }
        Ok(())
    }

    /// Completions that wait to be read.
    #[inline]
    pub(super) fn left(&mut self) -> usize {
        self.io.completion().len()
    }

    pub(super) fn enters(&self) -> u64 {
        self.enters
    }

    pub(super) fn times_full(&self) -> u64 {
        self.full
    }

    pub(super) fn overflows(&self) -> u64 {
        self.overflows
    }

    /// Moves spilled entries into the queue; tells whether any moved.
    fn unspill(&mut self) -> bool {
        let before = self.spilled.len();
        let mut submissions = self.io.submission();
        while let Some(entry) = self.spilled.front() {
            // SAFETY: `push_slow` was promised that the entry stays valid.
            if unsafe { submissions.push(entry) }.is_err() {
                break;
            }
            self.spilled.pop_front();
        }
        self.spilled.len() < before
    }

    fn enter(
        &mut self,
        wanted: u32,
        flags: EnterFlags,
        time: Option<&io_uring::types::Timespec>,
    ) -> io::Result<Entered> {
        let queued = u32::try_from(self.io.submission().len()).unwrap_or(u32::MAX);
        let argument = WaitArgument {
            time: time.map_or(0, |time| std::ptr::from_ref(time).addr() as u64),
            ..WaitArgument::default()
        };
        let (pointer, size) = match time {
            Some(_) => (&raw const argument, size_of::<WaitArgument>()),
            None => (std::ptr::null(), 0),
        };
        let (fd, flags) = match self.registered {
            Some(index) => (index, flags | EnterFlags::REGISTERED_RING),
            None => (self.io.as_raw_fd().unsigned_abs(), flags),
        };
        self.enters += 1;
        // SAFETY: the argument and its time live across the call; entries in the queue point to memory that stays valid
        // until they complete (`push`).
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                fd,
                queued,
                wanted,
                flags.bits(),
                pointer,
                size,
            )
        };
        if result >= 0 {
            return Ok(Entered::Through);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => Ok(Entered::Interrupted),
            // Time is up, or the kernel is short of something: what was not submitted stays queued.
            Some(libc::ETIME | libc::EAGAIN | libc::EBUSY) => Ok(Entered::Through),
            _ => Err(error),
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if let Some(index) = self.registered {
            let mut update = DescriptorUpdate {
                offset: index,
                ..DescriptorUpdate::default()
            };
            register(self.io.as_raw_fd(), UNREGISTER_RING_FDS, &mut update);
        }
    }
}

/// `struct io_uring_getevents_arg`.
#[repr(C)]
#[derive(Default)]
struct WaitArgument {
    sigmask: u64,
    sigmask_size: u32,
    min_wait_usec: u32,
    time: u64,
}

/// `struct io_uring_rsrc_update`.
#[repr(C)]
#[derive(Default)]
struct DescriptorUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

const REGISTER_RING_FDS: libc::c_uint = 20;
const UNREGISTER_RING_FDS: libc::c_uint = 21;

/// Registers the ring's descriptor with the thread; without a place there it works unregistered.
fn register_descriptor(fd: i32) -> Option<u32> {
    let mut update = DescriptorUpdate {
        offset: u32::MAX,
        reserved: 0,
        data: u64::from(fd.unsigned_abs()),
    };
    register(fd, REGISTER_RING_FDS, &mut update).then_some(update.offset)
}

/// Tells whether the one update was made.
fn register(fd: i32, operation: libc::c_uint, update: &mut DescriptorUpdate) -> bool {
    // SAFETY: one update, which the kernel reads and whose offset it writes.
    let done = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            fd,
            operation,
            std::ptr::from_mut(update),
            1,
        )
    };
    done == 1
}

/// The ring through which one kind of receive buffers goes to the kernel.
///
/// Invariant: while registered, the entries' memory (part of the shard's) is shared with the kernel, which reads entries
/// below `tail` and writes nothing; this is the only writer.
pub(super) struct BufferRing {
    entries: NonNull<BufRingEntry>,
    mask: u16,
    tail: u16,
    room: Room,
}

impl BufferRing {
    /// The group that receives name.
    pub(super) fn group(room: Room) -> u16 {
        match room {
            Room::Small => 0,
            Room::Large => 1,
        }
    }

    /// Registers the ring of one kind of buffers.
    pub(super) fn register(ring: &Ring, pools: &Pools, room: Room) -> io::Result<Self> {
        let (parts, sizes) = (pools.memory().parts(), pools.memory().sizes());
        let (entries, count) = match room {
            Room::Small => (parts.small_ring, sizes.small_buffers),
            Room::Large => (parts.large_ring, sizes.large_buffers),
        };
        if !count.is_power_of_two() || count > 1 << 15 {
            let fault = "the count of receive buffers is no power of two up to 32768";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, fault));
        }
        // SAFETY: the part holds `count` entries, begins on a page, is nobody else's, and outlives the registration: the
        // pools that own it are held by the driver until the ring is unregistered.
        unsafe {
            entries.write_bytes(0, usize::from(count) * size_of::<BufRingEntry>());
            let address = entries.as_ptr().addr() as u64;
            let group = Self::group(room);
            ring.io
                .submitter()
                .register_buf_ring_with_flags(address, count, group, 0)?;
        }
        Ok(Self {
            entries: entries.cast(),
            mask: count - 1,
            tail: 0,
            room,
        })
    }

    /// Lends every free buffer to the kernel; tells how many that were.
    #[inline]
    pub(super) fn provide(&mut self, pools: &Pools) -> usize {
        let mut provided = 0;
        while let Some((index, address, bytes)) = pools.lend(self.room) {
            // SAFETY: masked by the count of entries; at most that many buffers are lent, so the kernel is done with
            // this one.
            let entry = unsafe {
                self.entries
                    .add(usize::from(self.tail & self.mask))
                    .as_mut()
            };
            entry.set_addr(address.as_ptr().addr() as u64);
            entry.set_len(u32::try_from(bytes).unwrap_or(0));
            entry.set_bid(index);
            self.tail = self.tail.wrapping_add(1);
            provided += 1;
        }
        if provided > 0 {
            self.publish();
        }
        provided
    }

    /// A completion's buffer.
    #[inline]
    pub(super) fn take(&self, pools: &Rc<Pools>, cqe: &cqueue::Entry) -> Option<Received> {
        let index = cqueue::buffer_select(cqe.flags())?;
        pools.filled(self.room, index, usize::try_from(cqe.result()).unwrap_or(0))
    }

    /// Unregisters the ring and takes back the buffers still in it. Only when no receive is in flight.
    pub(super) fn retire(&self, ring: &Ring, pools: &Pools) -> io::Result<()> {
        ring.io
            .submitter()
            .unregister_buf_ring(Self::group(self.room))?;
        let lent = pools.lent(self.room);
        // The kernel takes buffers in the ring's order, so the last `lent` entries are the ones it still had.
        let rest = (0..lent).map(|back| {
            let at = self.tail.wrapping_sub(back + 1) & self.mask;
            // SAFETY: masked by the count of entries; the kernel no longer reads them.
            unsafe { self.entries.add(usize::from(at)).as_ref() }.bid()
        });
        pools.reclaim(self.room, rest);
        Ok(())
    }

    #[inline]
    fn publish(&self) {
        // SAFETY: the tail lies in the first entry's reserved field, two bytes aligned to two, shared with the kernel.
        let tail = unsafe { &*BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>() };
        // Release: the entries are written before the kernel sees them counted.
        tail.store(self.tail, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use io_uring::opcode;

    use super::*;

    #[test]
    fn a_full_queue_is_flushed_and_nothing_pushed_is_lost() {
        let Ok(mut ring) = Ring::open() else {
            return eprintln!("not run: io_uring is refused here");
        };
        let count = u64::from(SUBMISSIONS) * 3 + 5;
        for token in 0..count {
            // SAFETY: the entry points to nothing.
            unsafe { ring.push(&opcode::Nop::new().build().user_data(token)) }.unwrap();
        }
        assert!(ring.times_full() > 0 && ring.glance().queued);
        ring.flush().unwrap();
        let mut reaped = Vec::new();
        while ring.glance().ready {
            ring.reap(&mut reaped, 100).unwrap();
        }
        assert!(reaped.iter().map(cqueue::Entry::user_data).eq(0..count));
        assert!(!ring.glance().queued);
    }

    #[test]
    fn more_completions_than_the_queue_holds_are_counted_and_come_later() {
        let Ok(mut ring) = Ring::open() else {
            return eprintln!("not run: io_uring is refused here");
        };
        let count = u64::from(COMPLETIONS) + 100;
        for token in 0..count {
            // SAFETY: the entry points to nothing.
            unsafe { ring.push(&opcode::Nop::new().build().user_data(token)) }.unwrap();
        }
        ring.flush().unwrap();
        let mut reaped = Vec::new();
        loop {
            let glance = ring.glance();
            if glance.owed {
                ring.flush().unwrap();
            } else if !glance.ready {
                break;
            }
            ring.reap(&mut reaped, 1000).unwrap();
        }
        assert!(ring.overflows() > 0);
        assert!(reaped.iter().map(cqueue::Entry::user_data).eq(0..count));
    }
}
