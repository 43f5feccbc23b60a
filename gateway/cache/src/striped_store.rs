//! [`NodeStore`] in stripes, each an S3-FIFO [`Index`] behind a short lock.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::Memory;
use base::limits::ROOM_EVICTIONS_MAX;

use crate::index::Index;
use crate::store::Counts;
use crate::{Entry, KeyHash, KeyView, NodeStore, Object, StoreLimits, StoreStats};

/// [`NodeStore`] of our own: no clock, no randomness, no housekeeping, and bounded work in every call.
pub struct StripedStore<M: Memory> {
    stripes: Box<[Stripe<M>]>,
    limits: StoreLimits,
    counts: Counts,
    /// Where the next eviction for the node's sake begins.
    turn: AtomicUsize,
}

/// On lines of its own, so that shards in different stripes do not meet.
#[repr(align(128))]
struct Stripe<M: Memory> {
    index: Mutex<Index<Arc<Entry<M>>>>,
}

/// Stripes of a store with enough objects for them: a hundred shards seldom meet, and none is emptied by a large object.
const STRIPES_MAX: u64 = 64;
/// Objects a stripe has at least, so that hashing's unevenness is small beside it.
const STRIPE_OBJECTS_MIN: u64 = 1024;
/// Objects evicted by one insertion: it outpaces one in, one out, and stays a matter of microseconds.
const INSERT_EVICTIONS_MAX: usize = 8;

impl<M: Memory> StripedStore<M> {
    /// An empty store; its tables are allocated now.
    #[must_use]
    pub fn new(limits: StoreLimits) -> Self {
        let count = (limits.objects / STRIPE_OBJECTS_MIN).clamp(1, STRIPES_MAX);
        let objects = stripe_objects(limits.objects, count);
        let stripe = |_| Stripe {
            index: Mutex::new(Index::new(objects)),
        };
        Self {
            stripes: (0..count).map(stripe).collect(),
            limits,
            counts: Counts::default(),
            turn: AtomicUsize::new(0),
        }
    }

    fn stripe(&self, hash: KeyHash) -> MutexGuard<'_, Index<Arc<Entry<M>>>> {
        // The table below takes the low bits of the same half.
        let at = (hash.place() >> 32) as usize % self.stripes.len();
        lock(&self.stripes[at])
    }

    /// Evicts one object, stripe by stripe in turn, so that all of them age alike, and returns it with its weight.
    fn evict_next(&self) -> Option<(Arc<Entry<M>>, u64)> {
        for _ in 0..self.stripes.len() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            // The lock is released before the object: the last handle may go here and give back a whole body.
            let evicted = lock(&self.stripes[turn % self.stripes.len()]).evict();
            if let Some((entry, weight)) = evicted {
                entry.retire();
                self.counts.evicted(weight);
                return Some((entry, weight));
            }
        }
        None
    }
}

impl<M: Memory> NodeStore<M> for StripedStore<M> {
    fn get(&self, hash: KeyHash, key: &KeyView<'_>) -> Option<Arc<Entry<M>>> {
        let mut index = self.stripe(hash);
        let slot = index.find(hash, |entry| entry.key().is(key))?;
        let entry = index.value(slot)?;
        if entry.is_live() {
            let entry = Arc::clone(entry);
            index.hit(slot);
            return Some(entry);
        }
        let gone = index.remove(slot);
        drop(index);
        if let Some((_, weight)) = gone {
            self.counts.removed(weight);
        }
        None
    }

    fn insert(&self, object: Arc<Object<M>>) -> Arc<Entry<M>> {
        let hash = object.key.hash();
        let mut index = self.stripe(hash);
        let slot = index.find(hash, |held| *held.key() == object.key);
        let held = slot.and_then(|slot| index.value(slot));
        let held = held.filter(|held| held.is_live());
        if let Some(held) = held
            && (held.objects().iter().any(|held| Arc::ptr_eq(held, &object))
                || held.is_newer(&object))
        {
            return Arc::clone(held);
        }
        let entry = Arc::new(Entry::with(held.map(|held| &**held), object));
        let weight = entry.cost_bytes();
        self.counts.came(weight);
        let (replaced, evicted) = match slot {
            Some(slot) => (index.replace(slot, Arc::clone(&entry), weight), None),
            None => (None, index.insert(hash, Arc::clone(&entry), weight)),
        };
        drop(index);
        if let Some((old, weight)) = replaced {
            old.retire();
            self.counts.replaced(weight);
        }
        if let Some((old, weight)) = evicted {
            old.retire();
            self.counts.evicted(weight);
        }
        for _ in 0..INSERT_EVICTIONS_MAX {
            if !self.counts.exceed(&self.limits) || self.evict_next().is_none() {
                break;
            }
        }
        entry
    }

    fn remove(&self, hash: KeyHash, key: &KeyView<'_>) -> bool {
        let mut index = self.stripe(hash);
        let slot = index.find(hash, |entry| entry.key().is(key));
        let gone = slot.and_then(|slot| index.remove(slot));
        drop(index);
        let Some((entry, weight)) = gone else {
            return false;
        };
        entry.retire();
        self.counts.removed(weight);
        true
    }

    fn touch(&self, hash: KeyHash) {
        let mut index = self.stripe(hash);
        if let Some(slot) = index.find(hash, |_| true) {
            index.hit(slot);
        }
    }

    fn make_room(&self, bytes: u64) -> Vec<Arc<Entry<M>>> {
        let (mut gone, mut freed) = (Vec::new(), 0);
        while gone.len() < ROOM_EVICTIONS_MAX && (freed < bytes || self.counts.exceed(&self.limits))
        {
            let Some((entry, weight)) = self.evict_next() else {
                break;
            };
            gone.push(entry);
            freed += weight;
        }
        gone
    }

    fn stats(&self) -> StoreStats {
        self.counts.stats()
    }
}

/// A poisoned stripe is whole: the index's own code does not panic, and keys' comparison does not.
fn lock<M: Memory>(stripe: &Stripe<M>) -> MutexGuard<'_, Index<Arc<Entry<M>>>> {
    stripe.index.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Places of one stripe: its share, and six standard deviations of how unevenly keys fall into stripes.
fn stripe_objects(objects: u64, stripes: u64) -> usize {
    let share = objects.div_ceil(stripes);
    let room = if stripes > 1 { 6 * share.isqrt() } else { 0 };
    usize::try_from(share.saturating_add(room)).unwrap_or(usize::MAX)
}
