//! The node-wide index that fronts ask on a miss.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::Memory;

use crate::{Entry, KeyHash, KeyView, Object};

/// What every implementation promises: `get` after `insert` returns the entry unless it was evicted, replaced or
/// removed since; whatever leaves the index (replaced, removed, evicted) is retired before the call that caused it
/// returns, or for a lazy eviction before it is next asked for.
pub trait NodeStore<M: Memory>: Send + Sync + 'static {
    /// The live entry under a key, all bytes of the key compared.
    fn get(&self, hash: KeyHash, key: &KeyView<'_>) -> Option<Arc<Entry<M>>>;
    /// Puts an object into the entry of its key ([`Entry::with`]), and returns that; the entry before it is retired. An object that is in already stays.
    fn insert(&self, object: Arc<Object<M>>) -> Arc<Entry<M>>;
    /// Retires and removes; whether there was one.
    fn remove(&self, hash: KeyHash, key: &KeyView<'_>) -> bool;
    /// Tells the index that a front still serves this object, so that its eviction knows.
    fn touch(&self, hash: KeyHash);
    /// Evicts at once what its bounds demand, and something in any case when `bytes` are asked for. Bounded work: it may
    /// evict less than was asked for. What it evicted is handed out, for the caller's front to let go of: memory that
    /// another front or a send still holds comes back later.
    fn make_room(&self, bytes: u64) -> Vec<Arc<Entry<M>>>;
    /// Counts.
    fn stats(&self) -> StoreStats;
}

/// Bounds of a store.
#[derive(Clone, Copy, Debug)]
pub struct StoreLimits {
    /// Entries.
    pub objects: u64,
    /// Bytes, as [`Entry::cost_bytes`] counts them.
    pub bytes: u64,
}

/// Counts of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Entries held.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Evicted for the bounds' sake, since start.
    pub evicted_capacity: u64,
    /// Replaced by a newer answer, since start.
    pub replaced: u64,
    /// Removed (purged, invalidated), since start.
    pub removed: u64,
}

/// The counts as implementations keep them.
#[derive(Default)]
pub(crate) struct Counts {
    objects: AtomicU64,
    bytes: AtomicU64,
    evicted: AtomicU64,
    replaced: AtomicU64,
    removed: AtomicU64,
}

impl Counts {
    /// An object came in.
    pub(crate) fn came(&self, bytes: u64) {
        self.objects.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// One was evicted.
    pub(crate) fn evicted(&self, bytes: u64) {
        self.went(bytes, &self.evicted);
    }

    /// One made place for a newer one of its key.
    pub(crate) fn replaced(&self, bytes: u64) {
        self.went(bytes, &self.replaced);
    }

    /// One was purged or found dead.
    pub(crate) fn removed(&self, bytes: u64) {
        self.went(bytes, &self.removed);
    }

    /// Whether what is held is beyond the limits.
    pub(crate) fn exceed(&self, limits: &StoreLimits) -> bool {
        self.bytes.load(Ordering::Relaxed) > limits.bytes
            || self.objects.load(Ordering::Relaxed) > limits.objects
    }

    pub(crate) fn stats(&self) -> StoreStats {
        StoreStats {
            objects: self.objects.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            evicted_capacity: self.evicted.load(Ordering::Relaxed),
            replaced: self.replaced.load(Ordering::Relaxed),
            removed: self.removed.load(Ordering::Relaxed),
        }
    }

    fn went(&self, bytes: u64, how: &AtomicU64) {
        how.fetch_add(1, Ordering::Relaxed);
        self.objects.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
