//! A shard's own part of a region.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::limits::{RECEIVE_LARGE_BYTES, RECEIVE_SMALL_BYTES, SCRATCH_BYTES};

use super::region::Region;

/// Bytes of one entry of a provided-buffer ring.
const RING_ENTRY_BYTES: usize = 16;
const PAGE_BYTES: usize = 4096;

/// How many buffers a shard has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardSizes {
    /// Receive buffers of [`RECEIVE_SMALL_BYTES`]; a power of two up to 32,768.
    pub small_buffers: u16,
    /// Receive buffers of [`RECEIVE_LARGE_BYTES`]; a power of two up to 32,768.
    pub large_buffers: u16,
    /// Scratch buffers of [`SCRATCH_BYTES`].
    pub scratch_buffers: u16,
}

impl ShardSizes {
    pub(crate) fn small(self) -> Layout {
        Layout {
            count: self.small_buffers,
            bytes: RECEIVE_SMALL_BYTES,
        }
    }

    pub(crate) fn large(self) -> Layout {
        Layout {
            count: self.large_buffers,
            bytes: RECEIVE_LARGE_BYTES,
        }
    }

    pub(crate) fn scratch(self) -> Layout {
        Layout {
            count: self.scratch_buffers,
            bytes: SCRATCH_BYTES,
        }
    }

    pub(super) fn receive_bytes(self) -> usize {
        let rings = self.small().ring_bytes() + self.large().ring_bytes();
        rings + self.small().total_bytes() + self.large().total_bytes()
    }

    pub(super) fn scratch_bytes(self) -> usize {
        self.scratch().total_bytes()
    }
}

/// How one kind of buffer lies.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) count: u16,
    pub(crate) bytes: usize,
}

impl Layout {
    fn total_bytes(self) -> usize {
        (usize::from(self.count) * self.bytes).next_multiple_of(PAGE_BYTES)
    }

    fn ring_bytes(self) -> usize {
        (usize::from(self.count) * RING_ENTRY_BYTES).next_multiple_of(PAGE_BYTES)
    }
}

/// A shard's own bytes: receive buffers, the rings that name them to the kernel, scratch.
///
/// Invariant: there is one of these for a shard's part at a time (the lease), so whoever holds it may hand out its bytes.
/// It is given back when this is dropped, which its pools do after the last buffer.
pub struct ShardMemory {
    region: Arc<Region>,
    offset: usize,
    sizes: ShardSizes,
    leased: Arc<AtomicBool>,
}

/// The first bytes of a shard's parts, each on a page.
pub(crate) struct Parts {
    pub(crate) small_ring: NonNull<u8>,
    pub(crate) large_ring: NonNull<u8>,
    pub(crate) small: NonNull<u8>,
    pub(crate) large: NonNull<u8>,
    pub(crate) scratch: NonNull<u8>,
}

impl ShardMemory {
    /// The caller has set `leased`, and `bytes_needed` bytes from `offset` on lie in the region and are this shard's.
    pub(super) fn new(
        region: Arc<Region>,
        offset: usize,
        sizes: ShardSizes,
        leased: Arc<AtomicBool>,
    ) -> Self {
        assert!(offset + Self::bytes_needed(sizes) <= region.bytes());
        Self {
            region,
            offset,
            sizes,
            leased,
        }
    }

    /// Bytes of a region that a shard with these buffers takes.
    #[must_use]
    pub fn bytes_needed(sizes: ShardSizes) -> usize {
        sizes.receive_bytes() + sizes.scratch_bytes()
    }

    /// What is in it.
    #[must_use]
    pub fn sizes(&self) -> ShardSizes {
        self.sizes
    }

    pub(crate) fn parts(&self) -> Parts {
        let mut at = self.offset;
        let mut next = |bytes: usize| {
            // SAFETY: the parts add up to `bytes_needed`, which lies in the region (asserted in `new`).
            let part = unsafe { self.region.base().add(at) };
            at += bytes;
            part
        };
        Parts {
            small_ring: next(self.sizes.small().ring_bytes()),
            large_ring: next(self.sizes.large().ring_bytes()),
            small: next(self.sizes.small().total_bytes()),
            large: next(self.sizes.large().total_bytes()),
            scratch: next(self.sizes.scratch().total_bytes()),
        }
    }
}

impl Drop for ShardMemory {
    fn drop(&mut self) {
        self.leased.store(false, Ordering::Release);
    }
}
