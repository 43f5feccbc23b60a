//! [`NodeStore`] on `moka`.

use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use base::Memory;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::store::Counts;
use crate::{KeyHash, KeyView, NodeStore, Object, StoreLimits, StoreStats};

/// [`NodeStore`] on `moka`. It reads the clock, and does its housekeeping inside whichever `get` or `insert` comes
/// next, for longer than a shard's turn may take: for uses without that bound.
pub struct MokaStore<M: Memory> {
    cache: Cache<Place, Held<M>, BuildHasherDefault<AsIs>>,
    scale: Scale,
    counts: Arc<Counts>,
}

/// Where an object stands: the hash of its key. Two keys of one hash take turns.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place(u128);

/// What stands there.
enum Held<M: Memory> {
    /// An object and its cost when it came in.
    Object(Arc<Object<M>>, u64),
    /// Nothing, of a weight that pushes others out.
    Ballast(u32),
}

/// Hashes are hashed already.
#[derive(Default)]
struct AsIs(u64);

/// Bytes to the units that `moka` weighs in: 32 bits for one entry. It has one bound; so that this holds both the bytes
/// and the number of objects, each weighs its even share of the bytes at least.
#[derive(Clone, Copy)]
struct Scale {
    unit: u64,
    share: u64,
    capacity: u64,
}

const BALLAST: Place = Place(u128::MAX);
/// Even shares of the bytes that one call for room may push out.
const ROOM_EVICTIONS_MAX: usize = 64;

impl<M: Memory> MokaStore<M> {
    /// An empty store.
    #[must_use]
    pub fn new(limits: StoreLimits) -> Self {
        let scale = Scale::new(limits);
        let counts = Arc::new(Counts::default());
        let listener = Arc::clone(&counts);
        let cache = Cache::builder()
            .max_capacity(scale.capacity)
            .initial_capacity(usize::try_from(limits.objects).unwrap_or(usize::MAX))
            .eviction_policy(EvictionPolicy::lru())
            .weigher(move |_, held| scale.weight(held))
            .eviction_listener(move |_, held, cause| gone(&listener, &held, cause))
            .build_with_hasher(BuildHasherDefault::default());
        Self {
            cache,
            scale,
            counts,
        }
    }

    /// Does the housekeeping that is due, so that less of it falls to `get` and `insert`.
    pub fn tidy(&self) {
        self.cache.run_pending_tasks();
    }

    /// `moka` evicts when it is over its bound only, so it is brought there: ballast as heavy as what is free and an even
    /// share comes in, what is used least goes, and the ballast goes.
    fn push_out_one(&self) {
        let free = self
            .scale
            .capacity
            .saturating_sub(self.cache.weighted_size());
        let weight = (free + self.scale.share).min(self.scale.capacity);
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        self.cache.insert(BALLAST, Held::Ballast(weight));
        self.tidy();
        self.cache.invalidate(&BALLAST);
        self.tidy();
    }

    fn held(&self, hash: KeyHash) -> Option<Arc<Object<M>>> {
        match self.cache.get(&Place(hash.0))? {
            Held::Object(object, _) => Some(object),
            Held::Ballast(_) => None,
        }
    }
}

impl<M: Memory> NodeStore<M> for MokaStore<M> {
    fn get(&self, hash: KeyHash, key: &KeyView<'_>) -> Option<Arc<Object<M>>> {
        let object = self.held(hash).filter(|object| object.key.is(key))?;
        if object.is_live() {
            return Some(object);
        }
        self.cache.invalidate(&Place(hash.0));
        None
    }

    fn insert(&self, object: Arc<Object<M>>) {
        let hash = object.key.hash();
        if self
            .held(hash)
            .is_some_and(|held| Arc::ptr_eq(&held, &object))
        {
            return;
        }
        let cost = object.cost_bytes();
        self.counts.came(cost);
        self.cache.insert(Place(hash.0), Held::Object(object, cost));
    }

    fn remove(&self, hash: KeyHash, key: &KeyView<'_>) -> bool {
        let found = self.held(hash).is_some_and(|object| object.key.is(key));
        if found {
            self.cache.invalidate(&Place(hash.0));
        }
        found
    }

    fn touch(&self, hash: KeyHash) {
        drop(self.cache.get(&Place(hash.0)));
    }

    fn make_room(&self, bytes: u64) {
        self.tidy();
        let before = self.counts.stats().bytes;
        for _ in 0..ROOM_EVICTIONS_MAX {
            let now = self.counts.stats().bytes;
            if now == 0 || before.saturating_sub(now) >= bytes {
                break;
            }
            self.push_out_one();
        }
    }

    fn stats(&self) -> StoreStats {
        self.counts.stats()
    }
}

/// Runs inside the call that replaced or removed, and for evictions inside the housekeeping.
fn gone<M: Memory>(counts: &Counts, held: &Held<M>, cause: RemovalCause) {
    let Held::Object(object, cost) = held else {
        return;
    };
    object.retire();
    match cause {
        RemovalCause::Replaced => counts.replaced(*cost),
        RemovalCause::Explicit => counts.removed(*cost),
        RemovalCause::Size | RemovalCause::Expired => counts.evicted(*cost),
    }
}

impl Scale {
    fn new(limits: StoreLimits) -> Self {
        let unit = limits.bytes / u64::from(u32::MAX) + 1;
        let capacity = limits.bytes / unit;
        Self {
            unit,
            share: capacity.div_ceil(limits.objects.max(1)).max(1),
            capacity,
        }
    }

    fn units(self, bytes: u64) -> u64 {
        bytes.div_ceil(self.unit)
    }

    fn weight<M: Memory>(self, held: &Held<M>) -> u32 {
        match held {
            Held::Ballast(weight) => *weight,
            Held::Object(_, cost) => {
                let weight = self.units(*cost).max(self.share);
                u32::try_from(weight).unwrap_or(u32::MAX)
            }
        }
    }
}

impl<M: Memory> Clone for Held<M> {
    fn clone(&self) -> Self {
        match self {
            Self::Object(object, cost) => Self::Object(Arc::clone(object), *cost),
            Self::Ballast(weight) => Self::Ballast(*weight),
        }
    }
}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64((self.0 >> 64) as u64);
    }
}

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    /// Places alone are hashed here; anything else is hashed badly, not wrongly.
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}
