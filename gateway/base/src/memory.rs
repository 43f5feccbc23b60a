//! The memory seam: extents of the node's body slabs.
//!
//! An extent is written once, from front to back, by its one writer, and may be read by every shard while it grows: a
//! reader sees the published prefix and nothing else. The extent's block returns to the slab when its last handle goes.

use std::ops::Deref;

/// A node-wide slab that bodies live in. Clones are handles to the same slab.
pub trait Memory: Clone + Send + Sync + 'static {
    /// A shared handle to bytes in the slab; cloning is an atomic count.
    type Extent: Extent;
    /// The one writer of an extent.
    type Writer: ExtentWriter<Extent = Self::Extent>;
    /// A shard-local handle that keeps an extent alive; cloning is a plain count, never an atomic. Not `Send`.
    /// Dereferences to the bytes published so far, whose address never changes.
    type Pin: Clone + Deref<Target = [u8]> + 'static;

    /// Takes an extent of at least `capacity` bytes, or `None` when the slab has no such block free.
    /// Requests above [`EXTENT_BYTES_MAX`](crate::limits::EXTENT_BYTES_MAX) are refused.
    fn reserve(&self, capacity: usize) -> Option<Self::Writer>;

    /// Pins an extent for the calling shard: one atomic count here, none for each clone of the pin.
    fn pin(extent: &Self::Extent) -> Self::Pin;

    /// What is taken and what there is, for budgets and metrics.
    fn usage(&self) -> MemoryUsage;
}

/// A shared, read-only view of bytes in the slab.
pub trait Extent: Clone + Send + Sync + 'static {
    /// The bytes published so far; grows until the writer is gone, never changes otherwise.
    fn bytes(&self) -> &[u8];
    /// Bytes this extent can hold in all (what it costs the slab).
    fn capacity(&self) -> usize;
}

/// The one writer of an extent. Dropping it ends the extent's growth.
pub trait ExtentWriter: Send + 'static {
    /// The extent being written.
    type Extent: Extent;

    /// A reader's handle to what is written here.
    fn extent(&self) -> Self::Extent;
    /// Bytes that can still be appended.
    fn room(&self) -> usize;
    /// Appends as much of `bytes` as there is room for and publishes it; returns how many bytes that were.
    fn append(&mut self, bytes: &[u8]) -> usize;
}

/// Bytes of a slab.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// Bytes in blocks that are taken, rounding included.
    pub used_bytes: u64,
    /// Bytes of the whole slab.
    pub total_bytes: u64,
}
