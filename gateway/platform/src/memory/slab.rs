//! The node-wide slab: buddy blocks over parts of regions, handed out as extents.

use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use base::limits::{EXTENT_BYTES_MAX, EXTENT_BYTES_MIN};
use base::{Extent, ExtentWriter, Memory, MemoryUsage};

use super::buddy::{Buddy, ORDERS};
use super::region::{PAGE_BYTES, Region};
use crate::clock::Clock;

const _: () = assert!(EXTENT_BYTES_MIN << (ORDERS - 1) == EXTENT_BYTES_MAX);

/// A block's pages are lent after so many times its bytes were copied. Exchanging the pages of 100 KiB afterwards and touching
/// the new ones costs about what eight copies cost (docs/decisions/0008-lent-pages.md): lent from the first time on, a body
/// that is seldom asked for would cost more than it saves; like this, nothing ever costs more than twice the least.
const LEND_AFTER: usize = 8;

/// The node's body memory. Clones are handles to one slab; the regions under it live as long as any extent does.
#[derive(Clone)]
pub struct Slab(Arc<Arenas>);

struct Arenas {
    arenas: Box<[Arena]>,
    clock: Clock,
    contended: AtomicU64,
    wait_ns: AtomicU64,
}

/// A part of a region, managed by one buddy behind one lock that is held for some bit operations and nothing else.
///
/// Invariant: the bytes from `base` on, `units` times [`EXTENT_BYTES_MIN`], belong to this arena alone; a unit that the
/// buddy gave out belongs to exactly one [`Block`].
struct Arena {
    base: NonNull<u8>,
    units: usize,
    buddy: Mutex<Buddy>,
    /// What the buddy says is free, readable without its lock.
    free_units: AtomicUsize,
    /// Its pages may be lent.
    lends: bool,
    /// Keeps the mapping.
    _region: Arc<Region>,
}

// SAFETY: the pointer is an address in a region that the arena keeps alive; bytes are reached through blocks only.
unsafe impl Send for Arena {}
// SAFETY: as above; the buddy is behind a mutex.
unsafe impl Sync for Arena {}

/// Waits for the slab's lock since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockWaits {
    /// Times the lock was found taken.
    pub contended: u64,
    /// Nanoseconds waited in all.
    pub wait_ns: u64,
}

impl Slab {
    /// A slab over parts of regions: the region, the offset of the first byte in it and the count of bytes.
    /// Bytes that fill no smallest block are left out. With `lend`, pages may be lent where the region can exchange them.
    pub(crate) fn over(parts: Vec<(Arc<Region>, usize, usize)>, lend: bool) -> Self {
        let arenas = parts.into_iter().map(|part| Arena::new(part, lend));
        Self(Arc::new(Arenas {
            arenas: arenas.collect(),
            clock: Clock::system(),
            contended: AtomicU64::new(0),
            wait_ns: AtomicU64::new(0),
        }))
    }

    /// Waits for the lock, for `lock_wait_seconds_total{site="slab"}`.
    #[must_use]
    pub fn lock_waits(&self) -> LockWaits {
        LockWaits {
            contended: self.0.contended.load(Ordering::Relaxed),
            wait_ns: self.0.wait_ns.load(Ordering::Relaxed),
        }
    }

    /// Whether any of its pages may be lent to sockets.
    #[must_use]
    pub fn lends(&self) -> bool {
        self.0.arenas.iter().any(|arena| arena.lends)
    }

    /// Bytes of bookkeeping outside of the slab's own.
    #[must_use]
    pub fn overhead_bytes(&self) -> usize {
        let arenas = self.0.arenas.iter();
        arenas
            .map(|arena| self.0.lock(arena).overhead_bytes())
            .sum()
    }
}

impl Arena {
    fn new((region, offset, bytes): (Arc<Region>, usize, usize), lend: bool) -> Self {
        assert!(offset % EXTENT_BYTES_MIN == 0 && offset + bytes <= region.bytes());
        let units = bytes / EXTENT_BYTES_MIN;
        Self {
            // SAFETY: the offset lies within the region, which was just asserted.
            base: unsafe { region.base().add(offset) },
            units,
            buddy: Mutex::new(Buddy::new(units)),
            free_units: AtomicUsize::new(units),
            lends: lend && region.is_renewable(),
            _region: region,
        }
    }
}

impl Arenas {
    /// The buddy of one arena. A panic under the lock would be a bug in plain arithmetic; its state stays usable.
    fn lock<'a>(&self, arena: &'a Arena) -> MutexGuard<'a, Buddy> {
        match arena.buddy.try_lock() {
            Ok(buddy) => buddy,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let from = self.clock.stamp();
                let buddy = arena.buddy.lock().unwrap_or_else(PoisonError::into_inner);
                let waited = self.clock.stamp() - from;
                self.contended.fetch_add(1, Ordering::Relaxed);
                self.wait_ns.fetch_add(waited.0, Ordering::Relaxed);
                buddy
            }
        }
    }

    fn take(&self, index: usize, units: usize) -> Option<NonNull<u8>> {
        let arena = self.arenas.get(index)?;
        let mut buddy = self.lock(arena);
        let start = buddy.take(units)?;
        arena
            .free_units
            .store(buddy.free_units(), Ordering::Relaxed);
        // SAFETY: the buddy gives out units below `units` only, all of them in the arena.
        Some(unsafe { arena.base.add(start * EXTENT_BYTES_MIN) })
    }

    /// Gives back `units` from `from` on; they must have come from this arena and be reachable by nobody.
    fn give(&self, index: usize, from: NonNull<u8>, units: usize) {
        if let Some(arena) = self.arenas.get(index).filter(|_| units > 0) {
            let start = (from.addr().get() - arena.base.addr().get()) / EXTENT_BYTES_MIN;
            let mut buddy = self.lock(arena);
            buddy.give(start, units);
            arena
                .free_units
                .store(buddy.free_units(), Ordering::Relaxed);
        }
    }

    /// The arenas' indexes, the one with most room first.
    fn roomiest(&self) -> impl Iterator<Item = usize> {
        let free = |index: &usize| self.arenas[*index].free_units.load(Ordering::Relaxed);
        let first = (0..self.arenas.len()).max_by_key(free).unwrap_or(0);
        std::iter::once(first).chain((0..self.arenas.len()).filter(move |index| *index != first))
    }
}

impl Memory for Slab {
    type Extent = SlabExtent;
    type Writer = SlabWriter;
    type Pin = SlabPin;

    fn reserve(&self, capacity: usize) -> Option<SlabWriter> {
        if capacity > EXTENT_BYTES_MAX {
            return None;
        }
        let units = capacity.div_ceil(EXTENT_BYTES_MIN).max(1);
        let (arena, base) = self
            .0
            .roomiest()
            .find_map(|arena| Some((arena, self.0.take(arena, units)?)))?;
        Some(SlabWriter(SlabExtent(Arc::new(Block {
            base,
            published: AtomicUsize::new(0),
            units: AtomicUsize::new(units),
            sent: AtomicUsize::new(0),
            often: AtomicBool::new(false),
            lent: AtomicBool::new(false),
            arena,
            slab: self.clone(),
        }))))
    }

    fn pin(extent: &SlabExtent) -> SlabPin {
        SlabPin(Rc::new(extent.clone()))
    }

    fn usage(&self) -> MemoryUsage {
        let mut usage = MemoryUsage::default();
        for arena in &self.0.arenas {
            let free = arena.free_units.load(Ordering::Relaxed);
            usage.total_bytes += (arena.units * EXTENT_BYTES_MIN) as u64;
            usage.used_bytes += (arena.units.saturating_sub(free) * EXTENT_BYTES_MIN) as u64;
        }
        usage
    }
}

/// A shared view of bytes in the slab.
#[derive(Clone)]
pub struct SlabExtent(Arc<Block>);

/// Units of an arena and how much of them is published.
///
/// Invariant: bytes below `published` are initialised and never written again while the block lives. Bytes from
/// `published` on belong to the one [`SlabWriter`]; nobody else reads or writes them. `published` grows only, by that
/// writer, after the bytes below it were written (Release), and readers look at it first (Acquire).
struct Block {
    base: NonNull<u8>,
    published: AtomicUsize,
    /// Units that come back when the block goes; lowered once, by the writer's end.
    units: AtomicUsize,
    /// Bytes of it that sockets were given.
    sent: AtomicUsize,
    /// They were so many that lending its pages is worth it, from now on.
    often: AtomicBool,
    /// A socket was given pages of it, and may hold them for longer than the block lives.
    lent: AtomicBool,
    arena: usize,
    slab: Slab,
}

// SAFETY: the invariant above orders every access to the bytes behind the pointer.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// Bytes from the block's first on that lie in whole pages of published bytes.
    fn whole_pages(&self) -> usize {
        let aligned = self.base.addr().get().is_multiple_of(PAGE_BYTES);
        let published = self.published.load(Ordering::Acquire);
        if aligned {
            published - published % PAGE_BYTES
        } else {
            0
        }
    }

    /// Exchanges every page that may have been lent.
    #[cold]
    fn renew(&mut self) -> bool {
        // SAFETY: the pages are the block's alone, and its last handle is going.
        unsafe { Region::renew(self.base, self.whole_pages()) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if *self.lent.get_mut() && !self.renew() {
            return; // Never used again, rather than changed under a peer's eyes.
        }
        let units = *self.units.get_mut();
        self.slab.0.give(self.arena, self.base, units);
    }
}

impl Extent for SlabExtent {
    #[inline]
    fn bytes(&self) -> &[u8] {
        let published = self.0.published.load(Ordering::Acquire);
        // SAFETY: bytes below `published` are initialised and frozen, and live as long as the block that `self` holds.
        unsafe { std::slice::from_raw_parts(self.0.base.as_ptr(), published) }
    }

    fn capacity(&self) -> usize {
        self.0.units.load(Ordering::Relaxed) * EXTENT_BYTES_MIN
    }
}

/// The one writer of an extent. Its end gives the unwritten tail back to the slab.
pub struct SlabWriter(SlabExtent);

impl SlabWriter {
    fn written(&self) -> usize {
        self.0.0.published.load(Ordering::Relaxed)
    }
}

impl ExtentWriter for SlabWriter {
    type Extent = SlabExtent;

    fn extent(&self) -> SlabExtent {
        self.0.clone()
    }

    fn room(&self) -> usize {
        self.0.capacity() - self.written()
    }

    fn append(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        let written = self.written();
        // SAFETY: `written + count` is within the block; bytes from `published` on are this writer's alone, and there is
        // one writer, borrowed mutably. The source cannot overlap: no reader sees unpublished bytes.
        unsafe {
            let target = self.0.0.base.add(written);
            target.copy_from_nonoverlapping(NonNull::from(bytes).cast(), count);
        }
        self.0.0.published.store(written + count, Ordering::Release);
        count
    }
}

impl Drop for SlabWriter {
    fn drop(&mut self) {
        let block = &self.0.0;
        let keep = self.written().div_ceil(EXTENT_BYTES_MIN);
        let units = block.units.swap(keep, Ordering::Relaxed);
        // SAFETY: `keep` is at most the units of the block. What is behind it was never published, and the only writer
        // is going: nobody can reach it.
        let tail = unsafe { block.base.add(keep * EXTENT_BYTES_MIN) };
        block.slab.0.give(block.arena, tail, units - keep);
    }
}

/// A shard's own hold on an extent; clones count without an atomic. Not `Send`.
#[derive(Clone)]
pub struct SlabPin(Rc<SlabExtent>);

impl SlabPin {
    /// How many bytes from `start` on, before `end`, may be lent: those in whole pages that nothing will be written to, of a
    /// block that was sent so often that new pages for it will have been worth it.
    #[inline]
    pub(crate) fn lendable(&self, start: usize, end: usize) -> usize {
        let block = &self.0.0;
        let arena = block.slab.0.arenas.get(block.arena);
        // Looked at in this order: what grows meanwhile is only more.
        if !block.often.load(Ordering::Acquire) || arena.is_none_or(|arena| !arena.lends) {
            return 0;
        }
        end.min(block.whole_pages()).saturating_sub(start)
    }

    /// Counts bytes that are being sent.
    pub(crate) fn count(&self, bytes: usize) {
        let block = &self.0.0;
        // What threads lose of each other's counts makes no difference.
        let sent = block.sent.load(Ordering::Relaxed).saturating_add(bytes);
        block.sent.store(sent, Ordering::Relaxed);
        if sent / LEND_AFTER >= self.0.capacity() {
            block.often.store(true, Ordering::Release);
        }
    }

    /// Says that a socket may hold pages of [`lendable`](Self::lendable) bytes from now on, for as long as it likes: they
    /// are exchanged for others before their memory is used again.
    pub(crate) fn lend(&self) {
        self.0.0.lent.store(true, Ordering::Relaxed);
    }
}

impl Deref for SlabPin {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{HUGE_PAGE_BYTES, PageWish};

    fn slab(bytes: usize) -> Slab {
        let region = Arc::new(Region::take(bytes, PageWish::Plain, None).unwrap());
        Slab::over(vec![(region, 0, bytes)], true)
    }

    fn used(slab: &Slab) -> u64 {
        slab.usage().used_bytes
    }

    #[test]
    fn readers_see_the_published_prefix_grow_and_nothing_else() {
        let slab = slab(HUGE_PAGE_BYTES);
        let mut writer = slab.reserve(1000).unwrap();
        let reader = writer.extent();
        let pin = Slab::pin(&reader);
        assert_eq!((reader.bytes(), writer.room()), (&b""[..], 1024));
        assert_eq!(writer.append(b"first "), 6);
        assert_eq!(writer.append(b"second"), 6);
        assert_eq!(&*pin, b"first second");
        assert_eq!(reader.bytes().as_ptr(), pin.as_ptr());
    }

    #[test]
    fn pages_are_worth_lending_after_eight_times_their_bytes_and_stay_so_as_they_grow() {
        let slab = slab(HUGE_PAGE_BYTES);
        let mut writer = slab.reserve(4 * PAGE_BYTES).unwrap();
        writer.append(&[1; 2 * PAGE_BYTES + 100]);
        let pin = Slab::pin(&writer.extent());
        pin.count(8 * 4 * PAGE_BYTES - 1);
        assert_eq!(pin.lendable(0, usize::MAX), 0);
        pin.count(1);
        assert_eq!(pin.lendable(0, usize::MAX), 2 * PAGE_BYTES);
        assert_eq!(pin.lendable(100, PAGE_BYTES + 7), PAGE_BYTES - 93);
        assert_eq!(pin.lendable(2 * PAGE_BYTES, usize::MAX), 0);
        writer.append(&[1; PAGE_BYTES]);
        assert_eq!(pin.lendable(0, usize::MAX), 3 * PAGE_BYTES);
    }

    #[test]
    fn an_extent_takes_what_fits_and_no_more() {
        let slab = slab(HUGE_PAGE_BYTES);
        let mut writer = slab.reserve(200).unwrap();
        assert_eq!(writer.append(&[1; 300]), 256);
        assert_eq!((writer.room(), writer.append(b"x")), (0, 0));
        assert_eq!(writer.extent().bytes(), [1; 256]);
    }

    #[test]
    fn the_unwritten_tail_comes_back_with_the_writer_and_the_rest_with_the_last_handle() {
        let slab = slab(HUGE_PAGE_BYTES);
        let mut writer = slab.reserve(EXTENT_BYTES_MAX).unwrap();
        writer.append(&[7; 700]);
        assert_eq!(used(&slab), EXTENT_BYTES_MAX as u64);
        let extent = writer.extent();
        drop(writer);
        assert_eq!((used(&slab), extent.capacity()), (768, 768));
        let pin = Slab::pin(&extent);
        drop(extent);
        assert_eq!((used(&slab), &*pin), (768, &[7; 700][..]));
        drop(pin);
        assert_eq!(used(&slab), 0);
    }

    #[test]
    fn a_slab_that_is_full_or_a_block_too_large_is_refused() {
        let slab = slab(HUGE_PAGE_BYTES);
        let held: Vec<_> = (0..2)
            .map(|_| slab.reserve(EXTENT_BYTES_MAX).unwrap())
            .collect();
        assert!(slab.reserve(1).is_none());
        drop(held);
        assert!(slab.reserve(EXTENT_BYTES_MAX + 1).is_none());
        assert!(slab.reserve(EXTENT_BYTES_MAX).is_some());
    }

    #[test]
    fn extents_outlive_the_slab_handle_and_cross_threads() {
        let slab = slab(HUGE_PAGE_BYTES);
        let mut writer = slab.reserve(64).unwrap();
        drop(slab);
        let reader = writer.extent();
        std::thread::scope(|scope| {
            scope.spawn(move || writer.append(b"from another thread"));
        });
        assert_eq!(reader.bytes(), b"from another thread");
    }

    #[test]
    fn a_reader_beside_the_writer_sees_prefixes_of_the_whole() {
        let slab = slab(HUGE_PAGE_BYTES);
        let mut writer = slab.reserve(EXTENT_BYTES_MAX).unwrap();
        let reader = writer.extent();
        let whole: Vec<u8> = (0..EXTENT_BYTES_MAX).map(|at| (at % 251) as u8).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                whole
                    .chunks(4093)
                    .for_each(|part| assert_eq!(writer.append(part), part.len()))
            });
            while reader.bytes().len() < whole.len() {
                let seen = reader.bytes();
                assert_eq!(seen, &whole[..seen.len()]);
            }
        });
    }

    #[test]
    fn threads_that_take_and_give_at_once_leave_it_whole() {
        let slab = slab(2 * HUGE_PAGE_BYTES);
        std::thread::scope(|scope| {
            for mark in 1..=4_u8 {
                let slab = slab.clone();
                scope.spawn(move || {
                    for round in 0..500 {
                        let size = 1 + (round * 997 * usize::from(mark)) % 90_000;
                        let Some(mut writer) = slab.reserve(size) else {
                            continue;
                        };
                        writer.append(&vec![mark; size]);
                        assert!(writer.extent().bytes().iter().all(|byte| *byte == mark));
                    }
                });
            }
        });
        assert_eq!(used(&slab), 0);
        assert!(
            (0..4)
                .map(|_| slab.reserve(EXTENT_BYTES_MAX))
                .collect::<Vec<_>>()
                .iter()
                .all(Option::is_some)
        );
    }
}
