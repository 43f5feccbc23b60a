//! [`Memory`] on the ordinary heap, for tests and the simulation. Never in a shipped gateway.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use base::limits::{EXTENT_BYTES_MAX, EXTENT_BYTES_MIN};
use base::{Extent, ExtentWriter, Memory, MemoryUsage};

/// A slab of a fixed number of bytes that accounts in powers of two as the real one does, and holds extents as ordinary
/// allocations. Without `unsafe` a slice that others read cannot grow, so each append publishes a longer copy; earlier
/// copies live as long as their extent, and what was read through them stays true.
#[derive(Clone, Debug)]
pub struct HeapMemory {
    account: Arc<Account>,
}

#[derive(Debug)]
struct Account {
    used: AtomicU64,
    total: u64,
}

/// An extent of a [`HeapMemory`].
#[derive(Clone, Debug)]
pub struct HeapExtent {
    block: Arc<Block>,
}

/// The writer of a [`HeapExtent`].
#[derive(Debug)]
pub struct HeapWriter {
    block: Arc<Block>,
    written: Vec<u8>,
}

/// A pin of a [`HeapExtent`].
#[derive(Clone, Debug)]
pub struct HeapPin {
    extent: Rc<HeapExtent>,
}

#[derive(Debug)]
struct Block {
    account: Arc<Account>,
    capacity: usize,
    copies: Copies,
}

/// An append-only list: level `n` has room for `2^n` copies, so none ever moves.
#[derive(Debug, Default)]
struct Copies {
    count: AtomicUsize,
    levels: [OnceLock<Level>; 32],
}

type Level = Box<[OnceLock<Box<[u8]>>]>;

impl HeapMemory {
    /// A slab of `total` bytes.
    #[must_use]
    pub fn new(total: u64) -> Self {
        let used = AtomicU64::new(0);
        Self {
            account: Arc::new(Account { used, total }),
        }
    }
}

impl Memory for HeapMemory {
    type Extent = HeapExtent;
    type Writer = HeapWriter;
    type Pin = HeapPin;

    fn reserve(&self, capacity: usize) -> Option<HeapWriter> {
        if capacity > EXTENT_BYTES_MAX {
            return None;
        }
        let capacity = capacity.next_power_of_two().max(EXTENT_BYTES_MIN);
        let account = &self.account;
        account
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                let used = used.checked_add(capacity as u64)?;
                (used <= account.total).then_some(used)
            })
            .ok()?;
        let block = Block {
            account: Arc::clone(account),
            capacity,
            copies: Copies::default(),
        };
        Some(HeapWriter {
            block: Arc::new(block),
            written: Vec::new(),
        })
    }

    fn pin(extent: &HeapExtent) -> HeapPin {
        HeapPin {
            extent: Rc::new(extent.clone()),
        }
    }

    fn usage(&self) -> MemoryUsage {
        MemoryUsage {
            used_bytes: self.account.used.load(Ordering::Relaxed),
            total_bytes: self.account.total,
        }
    }
}

impl Extent for HeapExtent {
    fn bytes(&self) -> &[u8] {
        self.block.copies.last()
    }

    fn capacity(&self) -> usize {
        self.block.capacity
    }
}

impl ExtentWriter for HeapWriter {
    type Extent = HeapExtent;

    fn extent(&self) -> HeapExtent {
        HeapExtent {
            block: Arc::clone(&self.block),
        }
    }

    fn room(&self) -> usize {
        self.block.capacity - self.written.len()
    }

    fn append(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        if taken > 0 {
            self.written.extend_from_slice(&bytes[..taken]);
            self.block.copies.push(self.written.as_slice().into());
        }
        taken
    }
}

impl Deref for HeapPin {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.extent.bytes()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let capacity = self.capacity as u64;
        self.account.used.fetch_sub(capacity, Ordering::Relaxed);
    }
}

impl Copies {
    /// Only the one writer of the extent comes here.
    fn push(&self, copy: Box<[u8]>) {
        let count = self.count.load(Ordering::Relaxed) + 1;
        let (level, at) = place(count);
        let level =
            self.levels[level].get_or_init(|| (0..1 << level).map(|_| OnceLock::new()).collect());
        let fresh = level[at].set(copy).is_ok();
        debug_assert!(fresh, "an extent has one writer");
        self.count.store(count, Ordering::Release);
    }

    fn last(&self) -> &[u8] {
        let count = self.count.load(Ordering::Acquire);
        if count == 0 {
            return &[];
        }
        let (level, at) = place(count);
        let copy = self.levels[level].get().and_then(|level| level[at].get());
        copy.map_or(&[], |copy| &copy[..])
    }
}

/// Level and position of the `count`th copy, counted from one.
fn place(count: usize) -> (usize, usize) {
    let level = count.ilog2() as usize;
    (level, count - (1 << level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_what_was_appended_and_keep_what_they_saw() {
        let memory = HeapMemory::new(1 << 20);
        let mut writer = memory.reserve(300).unwrap();
        let extent = writer.extent();
        assert_eq!((extent.capacity(), extent.bytes()), (512, &b""[..]));
        let mut seen = Vec::new();
        for n in 0..100_u8 {
            assert_eq!(writer.append(&[n]), 1);
            seen.push(extent.bytes());
        }
        for (n, bytes) in seen.iter().enumerate() {
            assert!(bytes.iter().map(|b| *b as usize).eq(0..=n));
        }
        assert_eq!(writer.append(&[7; 600]), 412);
        assert_eq!((writer.room(), extent.bytes().len()), (0, 512));
    }

    #[test]
    fn a_block_returns_with_its_last_handle() {
        let memory = HeapMemory::new(1024);
        let writer = memory.reserve(1000).unwrap();
        assert!(memory.reserve(1).is_none());
        let pin = HeapMemory::pin(&writer.extent());
        drop(writer);
        assert_eq!(memory.usage().used_bytes, 1024);
        drop(pin.clone());
        drop(pin);
        assert_eq!(memory.usage().used_bytes, 0);
        assert!(memory.reserve(EXTENT_BYTES_MAX + 1).is_none());
    }
}
