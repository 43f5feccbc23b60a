//! Connections to an upstream, counted over all shards, and how shards that wait for one get it.
//!
//! A shard that finds no permit says since when it waits and tries once more; a shard that gives one back looks who waits
//! after that. Both orders are sequentially consistent, so one of the two sees the other: no permit lies unused while
//! somebody waits.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use base::{Moment, ShardId, Span};

/// A shard with its fair share lends no more than this much patience to one that has waited longer.
const FAIRNESS: Span = Span::from_millis(20);
const NOBODY: u64 = u64::MAX;

/// Permits for connections, shared by all shards.
#[derive(Debug)]
pub(crate) struct Permits {
    max: usize,
    open: AtomicUsize,
    shards: Vec<Demand>,
}

/// What one shard has and wants, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Demand {
    /// Permits it holds.
    open: AtomicUsize,
    /// Since when its oldest waiter waits.
    waits_since: AtomicU64,
}

impl Permits {
    pub(crate) fn new(max: usize, shards: usize) -> Self {
        let demand = || Demand {
            open: AtomicUsize::new(0),
            waits_since: AtomicU64::new(NOBODY),
        };
        Self {
            max,
            open: AtomicUsize::new(0),
            shards: (0..shards).map(|_| demand()).collect(),
        }
    }

    /// Takes a permit for a connection.
    pub(crate) fn take(&self, shard: ShardId) -> bool {
        let taken = self
            .open
            .fetch_update(SeqCst, SeqCst, |open| (open < self.max).then_some(open + 1))
            .is_ok();
        if taken && let Some(demand) = self.of(shard) {
            demand.open.fetch_add(1, SeqCst);
        }
        taken
    }

    /// Whether there may be one to take.
    pub(crate) fn has_some(&self) -> bool {
        self.open.load(SeqCst) < self.max
    }

    /// Gives one back, and tells which other shard has waited longest for it.
    pub(crate) fn give_back(&self, shard: ShardId) -> Option<ShardId> {
        if let Some(demand) = self.of(shard) {
            demand.open.fetch_sub(1, SeqCst);
        }
        self.open.fetch_sub(1, SeqCst);
        self.longest_waiting(shard).map(|(other, _)| other)
    }

    /// Gives back all that a shard holds: its connections are gone.
    pub(crate) fn forget(&self, shard: ShardId) {
        if let Some(demand) = self.of(shard) {
            let held = demand.open.swap(0, SeqCst);
            self.open.fetch_sub(held, SeqCst);
            demand.waits_since.store(NOBODY, SeqCst);
        }
    }

    /// Says since when a shard waits; none: it does not.
    pub(crate) fn wait(&self, shard: ShardId, since: Option<Moment>) {
        if let Some(demand) = self.of(shard) {
            let since = since.map_or(NOBODY, |since| since.0);
            if demand.waits_since.load(SeqCst) != since {
                demand.waits_since.store(since, SeqCst);
            }
        }
    }

    /// Whether a connection that became free is another shard's by rights, and whose: it has waited, and this shard holds
    /// more than its share, or its own waiters came later.
    pub(crate) fn is_due_elsewhere(&self, shard: ShardId, own: Option<Moment>) -> Option<ShardId> {
        if self.has_some() {
            return None;
        }
        let (other, since) = self.longest_waiting(shard)?;
        let held = self.of(shard)?.open.load(SeqCst);
        let wanting = self.shards.iter().filter(|demand| {
            demand.open.load(SeqCst) > 0 || demand.waits_since.load(SeqCst) != NOBODY
        });
        let share = self.max.div_ceil(wanting.count().max(1));
        let later = own.is_none_or(|own| since + FAIRNESS < own);
        (held > share || later).then_some(other)
    }

    fn longest_waiting(&self, but: ShardId) -> Option<(ShardId, Moment)> {
        let others = (0..).map(ShardId).zip(&self.shards);
        let waiting = others
            .filter(|(id, _)| *id != but)
            .map(|(id, demand)| (id, demand.waits_since.load(SeqCst)))
            .filter(|(_, since)| *since != NOBODY);
        let longest = waiting.min_by_key(|(_, since)| *since)?;
        Some((longest.0, Moment(longest.1)))
    }

    /// Connections of all shards.
    #[cfg(test)]
    fn open(&self) -> usize {
        self.open.load(SeqCst)
    }

    /// Shards, this one aside, that hold a connection.
    pub(crate) fn others_with_some(&self, but: ShardId) -> impl Iterator<Item = ShardId> + '_ {
        let others = (0..).map(ShardId).zip(&self.shards);
        others
            .filter(move |(id, demand)| *id != but && demand.open.load(SeqCst) > 0)
            .map(|(id, _)| id)
    }

    fn of(&self, shard: ShardId) -> Option<&Demand> {
        self.shards.get(usize::from(shard.0))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const A: ShardId = ShardId(0);
    const B: ShardId = ShardId(1);

    #[test]
    fn the_bound_is_that_of_all_shards() {
        let permits = Permits::new(2, 2);
        assert!(permits.take(A) && permits.take(B) && !permits.take(A));
        permits.wait(A, Some(Moment(5)));
        assert_eq!(permits.give_back(B), Some(A));
        assert!(permits.take(A));
        assert_eq!(permits.open(), 2);
        permits.forget(A);
        assert_eq!((permits.open(), permits.give_back(B)), (0, None));
    }

    #[test]
    fn a_shard_keeps_its_share_for_a_while_and_gives_up_what_is_more() {
        let permits = Permits::new(4, 2);
        for _ in 0..3 {
            assert!(permits.take(A));
        }
        assert!(permits.take(B));
        let ms = |ms: u64| Moment(ms * 1_000_000);
        assert_eq!(permits.is_due_elsewhere(A, None), None);
        permits.wait(B, Some(ms(100)));
        assert_eq!(permits.is_due_elsewhere(A, Some(ms(50))), Some(B));
        assert_eq!(permits.give_back(A), Some(B));
        assert!(permits.take(B));
        assert_eq!(permits.is_due_elsewhere(A, Some(ms(110))), None);
        assert_eq!(permits.is_due_elsewhere(A, Some(ms(130))), Some(B));
        assert_eq!(permits.is_due_elsewhere(A, None), Some(B));
    }

    #[test]
    fn permits_are_never_more_than_the_bound_nor_lost() {
        let permits = Permits::new(3, 4);
        let most = AtomicUsize::new(0);
        let held = AtomicUsize::new(0);
        thread::scope(|scope| {
            for shard in 0..4 {
                let (permits, most, held) = (&permits, &most, &held);
                scope.spawn(move || {
                    for _ in 0..10_000 {
                        if permits.take(ShardId(shard)) {
                            most.fetch_max(held.fetch_add(1, SeqCst) + 1, SeqCst);
                            held.fetch_sub(1, SeqCst);
                            permits.give_back(ShardId(shard));
                        }
                    }
                });
            }
        });
        assert!(most.load(SeqCst) <= 3);
        assert_eq!(permits.open(), 0);
    }
}
