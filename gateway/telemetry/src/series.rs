//! The counters behind `http_requests_total`: an open-addressed table with one writer and a fixed capacity.

use std::fmt;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use base::limits::REQUEST_SERIES_MAX;

use crate::{CacheLabel, Counter, MethodLabel};
use Ordering::{Acquire, Relaxed, Release};

/// Places of the hash index: at most half are taken, so a probe ends soon.
const PLACES: usize = (REQUEST_SERIES_MAX * 2).next_power_of_two();
const _: () = assert!(REQUEST_SERIES_MAX < u16::MAX as usize);

/// The labels of one series, packed. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(u64);

impl Key {
    const MARK: u64 = 1 << 63;

    /// `route` is the dense index of a route label.
    #[inline]
    pub(crate) fn new(route: usize, status: u16, method: MethodLabel, cache: CacheLabel) -> Self {
        let labels = u64::from(status) << 8 | (method as u64) << 4 | cache as u64;
        Self(Self::MARK | (route as u64) << 24 | labels)
    }

    pub(crate) fn word(self) -> u64 {
        self.0
    }

    pub(crate) fn route(self) -> usize {
        ((self.0 & !Self::MARK) >> 24) as usize
    }

    pub(crate) fn status(self) -> u16 {
        (self.0 >> 8) as u16
    }

    pub(crate) fn method(self) -> MethodLabel {
        let index = (self.0 >> 4 & 0xf) as usize;
        MethodLabel::ALL
            .get(index)
            .copied()
            .unwrap_or(MethodLabel::Other)
    }

    pub(crate) fn cache(self) -> CacheLabel {
        let index = (self.0 & 0xf) as usize;
        CacheLabel::ALL
            .get(index)
            .copied()
            .unwrap_or(CacheLabel::None)
    }

    #[inline]
    fn place(self) -> usize {
        let hash = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> (64 - PLACES.trailing_zeros())) as usize
    }
}

/// Counts of requests without a series of their own, by status class (0 for none of 1 to 5) and cache label.
pub(crate) type Folded<T> = [[T; CacheLabel::COUNT]; 6];

struct Entry {
    key: AtomicU64,
    count: Counter,
}

/// One shard's series, in the order of their first touch.
pub(crate) struct RequestSeries {
    /// Entry + 1, or 0. The writer's alone.
    index: Box<[AtomicU16]>,
    entries: Box<[Entry]>,
    /// Entries in use; stored with `Release` after the entry's key, so a reader sees whole keys.
    len: AtomicU16,
    folded: Folded<Counter>,
}

impl RequestSeries {
    pub(crate) fn new() -> Self {
        let entry = |_| Entry {
            key: AtomicU64::new(0),
            count: Counter::default(),
        };
        Self {
            index: (0..PLACES).map(|_| AtomicU16::new(0)).collect(),
            entries: (0..REQUEST_SERIES_MAX).map(entry).collect(),
            len: AtomicU16::new(0),
            folded: Default::default(),
        }
    }

    /// The entry of a series, made if there is room. The owning shard only.
    pub(crate) fn entry(&self, key: Key) -> Option<u16> {
        let mut place = key.place();
        loop {
            let slot = self.index.get(place)?;
            let entry = slot.load(Relaxed).wrapping_sub(1);
            match self.entries.get(usize::from(entry)) {
                Some(found) if found.key.load(Relaxed) == key.0 => return Some(entry),
                Some(_) => place = (place + 1) & (PLACES - 1),
                None => return self.insert(slot, key),
            }
        }
    }

    /// Counts requests of an entry.
    #[inline]
    pub(crate) fn add_to(&self, entry: u16, count: u64) {
        if let Some(entry) = self.entries.get(usize::from(entry)) {
            entry.count.add(count);
        }
    }

    /// Counts requests of a series without an entry.
    #[cold]
    pub(crate) fn fold(&self, key: Key, count: u64) {
        let class = self.folded.get(class_of(key.status()));
        if let Some(folded) = class.and_then(|class| class.get(key.cache() as usize)) {
            folded.add(count);
        }
    }

    /// Hands every series to `each`.
    pub(crate) fn read(&self, mut each: impl FnMut(Key, u64)) {
        let len = usize::from(self.len.load(Acquire));
        for entry in self.entries.iter().take(len) {
            each(Key(entry.key.load(Relaxed)), entry.count.read());
        }
    }

    /// All requests.
    pub(crate) fn count(&self) -> u64 {
        let mut all: u64 = self.folded().iter().flatten().sum();
        self.read(|_, count| all += count);
        all
    }

    /// Requests that found the table full.
    pub(crate) fn folded(&self) -> Folded<u64> {
        self.folded
            .each_ref()
            .map(|class| class.each_ref().map(Counter::read))
    }

    /// A series seen for the first time.
    #[cold]
    fn insert(&self, slot: &AtomicU16, key: Key) -> Option<u16> {
        let len = self.len.load(Relaxed);
        let entry = self.entries.get(usize::from(len))?;
        entry.key.store(key.0, Relaxed);
        slot.store(len + 1, Relaxed);
        self.len.store(len + 1, Release);
        Some(len)
    }
}

impl fmt::Debug for RequestSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestSeries")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// 1 to 5 for 1xx to 5xx, else 0.
pub(crate) fn class_of(status: u16) -> usize {
    match status {
        100..600 => usize::from(status / 100),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn any_key() -> impl Strategy<Value = (usize, u16, MethodLabel, CacheLabel)> {
        let method = prop::sample::select(&MethodLabel::ALL[..]);
        let cache = prop::sample::select(&CacheLabel::ALL[..]);
        (0usize..65_539, any::<u16>(), method, cache)
    }

    fn count(table: &RequestSeries, key: Key) {
        match table.entry(key) {
            Some(entry) => table.add_to(entry, 1),
            None => table.fold(key, 1),
        }
    }

    proptest! {
        #[test]
        fn a_key_gives_its_labels_back((route, status, method, cache) in any_key()) {
            let key = Key::new(route, status, method, cache);
            prop_assert_eq!((key.route(), key.status(), key.method(), key.cache()), (route, status, method, cache));
        }

        #[test]
        fn the_table_counts_like_a_map(keys in prop::collection::vec(any_key(), 1..3_000)) {
            let table = RequestSeries::new();
            let mut plain = BTreeMap::new();
            let mut folded = 0u64;
            for (route, status, method, cache) in keys {
                let key = Key::new(route % 40, status % 90, method, cache);
                count(&table, key);
                if plain.len() < REQUEST_SERIES_MAX || plain.contains_key(&key) {
                    *plain.entry(key).or_insert(0u64) += 1;
                } else {
                    folded += 1;
                }
            }
            let mut read = BTreeMap::new();
            table.read(|key, count| { read.insert(key, count); });
            prop_assert_eq!(read, plain);
            prop_assert_eq!(table.folded().iter().flatten().sum::<u64>(), folded);
        }
    }

    #[test]
    fn a_full_table_keeps_class_and_cache_label() {
        let table = RequestSeries::new();
        for route in 0..REQUEST_SERIES_MAX {
            count(
                &table,
                Key::new(route, 200, MethodLabel::Get, CacheLabel::Hit),
            );
        }
        let beyond = Key::new(70_000, 503, MethodLabel::Get, CacheLabel::Collapsed);
        count(&table, beyond);
        count(&table, Key::new(0, 200, MethodLabel::Get, CacheLabel::Hit));
        assert_eq!(table.folded()[5][CacheLabel::Collapsed as usize], 1);
        assert_eq!(table.folded().iter().flatten().sum::<u64>(), 1);
    }
}
