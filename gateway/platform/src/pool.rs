//! A shard's buffers: what the driver receives into and what answers are encoded into.
//!
//! A buffer is an index with one owner: the kernel (lent), a handle, or the free list. Handles give it back by being
//! dropped. Free lists are last in, first out, so that the buffer taken next is the one still in the cache.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;

use base::{Room, Scratch};

use crate::arrival::BEFORE_BYTES;
use crate::memory::{Layout, ShardMemory};

/// Free and existing buffers by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolLevels {
    /// Small receive buffers that hold nothing.
    pub small_free: u16,
    /// Small receive buffers.
    pub small_total: u16,
    /// Large receive buffers that hold nothing.
    pub large_free: u16,
    /// Large receive buffers.
    pub large_total: u16,
    /// Scratch buffers that hold nothing.
    pub scratch_free: u16,
    /// Scratch buffers.
    pub scratch_total: u16,
}

impl PoolLevels {
    /// Buffers of any kind that hold something.
    #[must_use]
    pub fn used(&self) -> u64 {
        let (all, free) = (
            [self.small_total, self.large_total, self.scratch_total],
            [self.small_free, self.large_free, self.scratch_free],
        );
        let used = all.iter().zip(free).map(|(all, free)| all - free);
        used.map(u64::from).sum()
    }

    /// Whether every buffer is back.
    #[must_use]
    pub fn whole(&self) -> bool {
        (self.small_free, self.large_free, self.scratch_free)
            == (self.small_total, self.large_total, self.scratch_total)
    }
}

/// All buffers of one shard. Shared by its driver and every handle; the memory's lease ends with the last of them.
pub(crate) struct Pools {
    small: Pool,
    large: Pool,
    scratch: Pool,
    memory: ShardMemory,
}

/// Buffers of one kind.
///
/// Invariant: an index is in `free`, or lent to the kernel, or in exactly one handle; whoever has it owns its bytes.
struct Pool {
    base: NonNull<u8>,
    layout: Layout,
    free: RefCell<Vec<u16>>,
    lent: Cell<u16>,
}

impl Pools {
    pub(crate) fn new(memory: ShardMemory) -> Rc<Self> {
        let (parts, sizes) = (memory.parts(), memory.sizes());
        Rc::new(Self {
            small: Pool::new(parts.small, sizes.small()),
            large: Pool::new(parts.large, sizes.large()),
            scratch: Pool::new(parts.scratch, sizes.scratch()),
            memory,
        })
    }

    pub(crate) fn memory(&self) -> &ShardMemory {
        &self.memory
    }

    pub(crate) fn levels(&self) -> PoolLevels {
        PoolLevels {
            small_free: self.small.idle(),
            small_total: self.small.layout.count,
            large_free: self.large.idle(),
            large_total: self.large.layout.count,
            scratch_free: self.scratch.idle(),
            scratch_total: self.scratch.layout.count,
        }
    }

    /// Receive buffers of a size that hold nothing.
    pub(crate) fn free(&self, room: Room) -> usize {
        usize::from(self.of(room).idle())
    }

    /// A scratch buffer, empty.
    #[inline]
    pub(crate) fn scratch(self: &Rc<Self>) -> Option<ScratchBuffer> {
        let index = self.scratch.free.borrow_mut().pop()?;
        Some(ScratchBuffer {
            pools: Rc::clone(self),
            written: 0,
            index,
        })
    }

    /// A receive buffer to fill.
    #[inline]
    pub(crate) fn take(self: &Rc<Self>, room: Room) -> Option<Received> {
        let index = self.of(room).free.borrow_mut().pop()?;
        Some(self.handle(room, index, 0))
    }

    /// Lends one free buffer to the kernel and tells its index, address and size.
    #[inline]
    pub(crate) fn lend(&self, room: Room) -> Option<(u16, NonNull<u8>, usize)> {
        let pool = self.of(room);
        let index = pool.free.borrow_mut().pop()?;
        pool.lent.set(pool.lent.get() + 1);
        Some((index, pool.address(index), pool.layout.bytes))
    }

    /// Buffers that the kernel has.
    pub(crate) fn lent(&self, room: Room) -> u16 {
        self.of(room).lent.get()
    }

    /// A lent buffer that the kernel filled with `count` bytes and gave back.
    #[inline]
    pub(crate) fn filled(
        self: &Rc<Self>,
        room: Room,
        index: u16,
        count: usize,
    ) -> Option<Received> {
        let pool = self.of(room);
        pool.lent.set(pool.lent.get().checked_sub(1)?);
        (index < pool.layout.count).then(|| self.handle(room, index, count))
    }

    /// What stands before the bytes in a lent buffer that the kernel filled. Before it is taken back.
    pub(crate) fn filled_by_kernel(
        &self,
        room: Room,
        index: u16,
    ) -> Option<&[u8; BEFORE_BYTES as usize]> {
        let pool = self.of(room);
        // SAFETY: within the part (the index is checked, buffers are larger), initialised (the mapping began as zeroes), and
        // the kernel, which has told of the buffer, no longer writes to it.
        (index < pool.layout.count).then(|| unsafe { pool.address(index).cast().as_ref() })
    }

    /// Takes back what the kernel still had of the lent buffers. Only once it cannot write to any of them.
    pub(crate) fn reclaim(&self, room: Room, lent: impl Iterator<Item = u16>) {
        let pool = self.of(room);
        let mut free = pool.free.borrow_mut();
        let before = free.len();
        free.extend(lent);
        let back = u16::try_from(free.len() - before).unwrap_or(u16::MAX);
        pool.lent.set(pool.lent.get().saturating_sub(back));
    }

    #[inline]
    fn of(&self, room: Room) -> &Pool {
        match room {
            Room::Small => &self.small,
            Room::Large => &self.large,
        }
    }

    #[inline]
    fn handle(self: &Rc<Self>, room: Room, index: u16, count: usize) -> Received {
        let count = count.min(self.of(room).layout.bytes);
        Received {
            pools: Rc::clone(self),
            length: u32::try_from(count).unwrap_or(0),
            index,
            room,
            skipped: 0,
        }
    }
}

impl Pool {
    fn new(base: NonNull<u8>, layout: Layout) -> Self {
        Self {
            base,
            layout,
            free: RefCell::new((0..layout.count).rev().collect()),
            lent: Cell::new(0),
        }
    }

    fn idle(&self) -> u16 {
        let free = u16::try_from(self.free.borrow().len()).unwrap_or(u16::MAX);
        free + self.lent.get()
    }

    #[inline]
    fn address(&self, index: u16) -> NonNull<u8> {
        debug_assert!(index < self.layout.count);
        // SAFETY: indexes come from `free`, below `count`, and the part holds `count` buffers.
        unsafe { self.base.add(usize::from(index) * self.layout.bytes) }
    }

    #[inline]
    fn back(&self, index: u16) {
        self.free.borrow_mut().push(index);
    }
}

/// Bytes received, in one buffer of the shard's pool.
pub struct Received {
    pools: Rc<Pools>,
    length: u32,
    index: u16,
    room: Room,
    /// Bytes at its front that are not of those received.
    skipped: u8,
}

impl Received {
    /// The whole buffer, to receive into.
    pub(crate) fn whole(&mut self) -> &mut [u8] {
        let pool = self.pools.of(self.room);
        // SAFETY: the handle owns the buffer's bytes, which are initialised (the mapping began as zeroes); borrowed
        // mutably for as long as the handle is.
        unsafe {
            std::slice::from_raw_parts_mut(pool.address(self.index).as_ptr(), pool.layout.bytes)
        }
    }

    /// Leaves so many bytes at the front out, as far as there are.
    #[inline]
    pub(crate) fn skip(&mut self, count: u8) {
        let count = u32::from(count).min(self.length);
        self.length -= count;
        self.skipped += u8::try_from(count).unwrap_or(0);
    }

    /// Says how many bytes of the buffer were received.
    pub(crate) fn fill(&mut self, count: usize) {
        let count = count.min(self.pools.of(self.room).layout.bytes);
        self.length = u32::try_from(count).unwrap_or(0);
    }
}

impl Deref for Received {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let pool = self.pools.of(self.room);
        // SAFETY: the handle owns the buffer; what is left out and `length` are at most its size together, and its bytes are
        // initialised.
        unsafe {
            let start = pool.address(self.index).add(usize::from(self.skipped));
            std::slice::from_raw_parts(start.as_ptr(), self.length as usize)
        }
    }
}

impl Drop for Received {
    #[inline]
    fn drop(&mut self) {
        self.pools.of(self.room).back(self.index);
    }
}

/// A buffer to encode into.
pub struct ScratchBuffer {
    pools: Rc<Pools>,
    written: u32,
    index: u16,
}

impl Scratch for ScratchBuffer {
    #[inline]
    fn spare(&mut self) -> &mut [u8] {
        let pool = &self.pools.scratch;
        let written = self.written as usize;
        // SAFETY: the handle owns the buffer's initialised bytes and is borrowed mutably; `written` is at most its size.
        unsafe {
            let rest = pool.address(self.index).add(written);
            std::slice::from_raw_parts_mut(rest.as_ptr(), pool.layout.bytes - written)
        }
    }

    #[inline]
    fn advance(&mut self, count: usize) {
        let room = self.pools.scratch.layout.bytes - self.written as usize;
        self.written += u32::try_from(count.min(room)).unwrap_or(0);
    }
}

impl Deref for ScratchBuffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let pool = &self.pools.scratch;
        // SAFETY: the handle owns the buffer; `written` is at most its size, and its bytes are initialised.
        unsafe {
            std::slice::from_raw_parts(pool.address(self.index).as_ptr(), self.written as usize)
        }
    }
}

impl Drop for ScratchBuffer {
    #[inline]
    fn drop(&mut self) {
        self.pools.scratch.back(self.index);
    }
}

#[cfg(test)]
mod tests {
    use base::ShardId;
    use base::limits::{RECEIVE_LARGE_BYTES, RECEIVE_SMALL_BYTES, SCRATCH_BYTES};

    use super::*;
    use crate::memory::{MemoryPlan, NodeMemory, PageWish, ShardSizes};

    fn memory() -> NodeMemory {
        NodeMemory::take(&MemoryPlan {
            bytes: 8 << 20,
            pages: PageWish::Plain,
            lend: true,
            shards: vec![None],
            sizes: ShardSizes {
                small_buffers: 4,
                large_buffers: 2,
                scratch_buffers: 2,
            },
        })
        .unwrap()
    }

    #[test]
    fn buffers_do_not_touch_each_other() {
        let memory = memory();
        let pools = Pools::new(memory.shard(ShardId(0)).unwrap());
        let mut held = Vec::new();
        for room in [Room::Small, Room::Large] {
            while let Some(mut buffer) = pools.take(room) {
                let mark = u8::try_from(held.len()).unwrap() + 1;
                let size = buffer.whole().len();
                buffer.whole().fill(mark);
                buffer.fill(size);
                held.push(buffer);
            }
        }
        let mut scratch: Vec<_> = std::iter::from_fn(|| pools.scratch()).collect();
        for buffer in &mut scratch {
            buffer.spare().fill(0xee);
            buffer.advance(usize::MAX);
        }
        let sizes: Vec<_> = held.iter().map(|buffer| buffer.len()).collect();
        assert_eq!(sizes[..4], [RECEIVE_SMALL_BYTES; 4]);
        assert_eq!(sizes[4..], [RECEIVE_LARGE_BYTES; 2]);
        for (at, buffer) in held.iter().enumerate() {
            assert!(buffer.iter().all(|byte| usize::from(*byte) == at + 1));
        }
        assert!(scratch.iter().all(|buffer| buffer.len() == SCRATCH_BYTES));
    }

    #[test]
    fn the_buffer_that_came_back_last_goes_out_first() {
        let memory = memory();
        let pools = Pools::new(memory.shard(ShardId(0)).unwrap());
        let first = pools.scratch().unwrap();
        let second = pools.scratch().unwrap();
        let address = first.as_ptr();
        assert!(pools.scratch().is_none());
        drop(second);
        drop(first);
        assert_eq!(pools.scratch().unwrap().as_ptr(), address);
        assert!(pools.levels().whole());
    }

    #[test]
    fn a_push_is_whole_or_not_at_all() {
        let memory = memory();
        let pools = Pools::new(memory.shard(ShardId(0)).unwrap());
        let mut scratch = pools.scratch().unwrap();
        assert!(scratch.push(&[1; SCRATCH_BYTES - 1]));
        assert!(!scratch.push(&[2; 2]));
        assert_eq!(scratch.len(), SCRATCH_BYTES - 1);
        assert!(scratch.push(&[3]));
        assert!(scratch.spare().is_empty());
    }

    #[test]
    fn a_handle_keeps_the_lease_after_the_pools_owner_is_gone() {
        let memory = memory();
        let pools = Pools::new(memory.shard(ShardId(0)).unwrap());
        let scratch = pools.scratch().unwrap();
        drop(pools);
        assert!(memory.shard(ShardId(0)).is_none());
        drop(scratch);
        assert!(memory.shard(ShardId(0)).is_some());
    }

    #[test]
    fn lent_buffers_are_free_in_the_count_and_out_of_reach() {
        let memory = memory();
        let pools = Pools::new(memory.shard(ShardId(0)).unwrap());
        let lent: Vec<u16> = std::iter::from_fn(|| pools.lend(Room::Small))
            .map(|lent| lent.0)
            .collect();
        assert!(pools.take(Room::Small).is_none());
        assert!(pools.levels().whole());
        let filled = pools.filled(Room::Small, lent[0], 5).unwrap();
        assert_eq!((filled.len(), pools.levels().small_free), (5, 3));
        drop(filled);
        pools.reclaim(Room::Small, lent[1..].iter().copied());
        assert_eq!((pools.lent(Room::Small), pools.levels().small_free), (0, 4));
    }
}
