//! Where the time of requests goes: one bucket histogram for each stage, behind `request_stage_duration_seconds`.

use std::fmt;

use base::Span;

use crate::Stage;
use crate::buckets::{self, BucketCells};

const MICROS: u64 = 1_000;

/// Upper edges in nanoseconds, inclusive: 1 µs doubling to 0.52 s, and 0.5, 1 and 2 ms.
pub(crate) const EDGES_NS: [u64; 23] = edges();

/// Buckets of a stage: one below each edge and one above the last.
pub(crate) const BUCKETS: usize = EDGES_NS.len() + 1;

/// Stages of which the time is kept.
const KEPT: usize = if cfg!(feature = "off") {
    0
} else {
    Stage::COUNT
};

/// What a request spent in each stage; together its duration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    ns: [u64; KEPT],
    /// A bit for each stage it was in, however short.
    entered: u16,
}

impl Spent {
    /// Adds time in a stage.
    #[inline]
    pub fn add(&mut self, stage: Stage, span: Span) {
        if let Some(ns) = self.ns.get_mut(stage as usize) {
            *ns += span.0;
        }
        self.entered |= 1 << stage as u32;
    }

    /// Nanoseconds in a stage.
    pub(crate) fn of(&self, stage: Stage) -> u64 {
        self.ns.get(stage as usize).copied().unwrap_or(0)
    }

    /// What each of `count` requests spent on average.
    #[must_use]
    pub fn mean(mut self, count: u32) -> Self {
        for ns in &mut self.ns {
            *ns /= u64::from(count.max(1));
        }
        self
    }

    /// Adds another request's.
    #[inline]
    pub fn merge(&mut self, other: &Self) {
        for (ns, more) in self.ns.iter_mut().zip(other.ns) {
            *ns += more;
        }
        self.entered |= other.entered;
    }

    /// The stages it was in, and for how long.
    pub fn stages(&self) -> impl Iterator<Item = (Stage, Span)> {
        let all = Stage::ALL.into_iter().zip(self.ns);
        let entered = all.filter(|(stage, _)| self.entered & (1 << *stage as u32) != 0);
        entered.map(|(stage, ns)| (stage, Span(ns)))
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> Span {
        Span(self.ns.iter().sum())
    }
}

/// What one stage counts.
pub(crate) type Buckets = buckets::Buckets<BUCKETS>;

/// One histogram a stage. One writer.
pub(crate) struct Stages {
    rows: [BucketCells<BUCKETS>; Stage::COUNT],
}

impl Stages {
    pub(crate) fn new() -> Self {
        Self {
            rows: std::array::from_fn(|_| BucketCells::new()),
        }
    }

    /// Records what a request spent. The owning shard only.
    pub(crate) fn record(&self, spent: &Spent) {
        let mut entered = spent.entered;
        while entered != 0 {
            let at = entered.trailing_zeros() as usize;
            entered &= entered - 1;
            if let (Some(row), Some(&ns)) = (self.rows.get(at), spent.ns.get(at)) {
                row.add(bucket_of(ns), 1, Span(ns));
            }
        }
    }

    /// Records what `count` alike requests spent together in wait, parse, lookup and encode, and of all their time left for
    /// send. The owning shard only.
    #[inline]
    pub(crate) fn record_at_once(&self, before: [u64; 4], all: Span, count: u64) {
        let [wait, parse, lookup, encode] = before;
        let send = all.0.saturating_sub(wait + parse + lookup + encode);
        let spent = [
            (Stage::Wait, wait),
            (Stage::Parse, parse),
            (Stage::Lookup, lookup),
            (Stage::Encode, encode),
            (Stage::Send, send),
        ];
        if count == 1 {
            for (stage, ns) in spent {
                if let Some(row) = self.rows.get(stage as usize) {
                    row.add(bucket_of(ns), 1, Span(ns));
                }
            }
            return;
        }
        for (stage, ns) in spent {
            if let Some(row) = self.rows.get(stage as usize) {
                row.add(bucket_of(ns / count.max(1)), count, Span(ns));
            }
        }
    }

    pub(crate) fn read(&self, stage: Stage) -> Buckets {
        let row = self.rows.get(stage as usize);
        row.map_or_else(Buckets::default, BucketCells::read)
    }
}

impl fmt::Debug for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stages").finish_non_exhaustive()
    }
}

/// The bucket of a time: how many edges are shorter. Most stages of a hit end below the first.
#[inline]
fn bucket_of(ns: u64) -> usize {
    if ns <= MICROS {
        return 0;
    }
    let micros = ns.div_ceil(MICROS);
    // The power of two of microseconds that is not less.
    let power = (u64::BITS - (micros - 1).leading_zeros()) as usize;
    match power {
        0..=8 => power,
        9 => 9 + usize::from(micros > 500),
        10 => 11 + usize::from(micros > 1_000),
        11 => 13 + usize::from(micros > 2_000),
        _ => (power + 3).min(BUCKETS - 1),
    }
}

const fn edges() -> [u64; 23] {
    let between = [500 * MICROS, 1_000 * MICROS, 2_000 * MICROS];
    let mut edges = [0; 23];
    let (mut at, mut power, mut next) = (0, 0, 0);
    while at < edges.len() {
        let doubled = MICROS << power;
        if next < between.len() && between[next] < doubled {
            edges[at] = between[next];
            next += 1;
        } else {
            edges[at] = doubled;
            power += 1;
        }
        at += 1;
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edges_double_from_a_microsecond_to_half_a_second_with_three_more() {
        assert!(EDGES_NS.is_sorted());
        assert_eq!(EDGES_NS[0], 1_000);
        assert_eq!(EDGES_NS[22], 524_288_000);
        for edge in [500_000, 1_000_000, 2_000_000] {
            assert!(EDGES_NS.contains(&edge));
        }
    }

    proptest! {
        #[test]
        fn buckets_agree_with_a_linear_search(ns in any::<u64>(), bits in 0u32..63, near in -1i64..=1, edge in 0..EDGES_NS.len()) {
            let linear = |ns: u64| EDGES_NS.iter().filter(|edge| **edge < ns).count();
            prop_assert_eq!(bucket_of(ns >> bits), linear(ns >> bits));
            let ns = EDGES_NS[edge].saturating_add_signed(near);
            prop_assert_eq!(bucket_of(ns), linear(ns));
        }

        #[test]
        fn what_is_recorded_adds_up(spans in prop::collection::vec((0..9usize, 0..3_000_000u64), 0..20)) {
            let mut spent = Spent::default();
            for (stage, ns) in &spans {
                spent.add(Stage::ALL[*stage], Span(*ns));
            }
            let stages = Stages::new();
            stages.record(&spent);
            let mut sum = 0;
            for (stage, span) in spent.stages() {
                let read = stages.read(stage);
                prop_assert_eq!((read.sum, read.count()), (span, 1));
                sum += span.0;
            }
            prop_assert_eq!(Span(sum), spent.total());
        }

        #[test]
        fn what_was_answered_at_once_adds_up_to_its_duration(before in any::<[u32; 4]>(), send in any::<u32>(), count in 1..20u64) {
            let before = before.map(u64::from);
            let all = before.iter().sum::<u64>() + u64::from(send);
            let stages = Stages::new();
            stages.record_at_once(before, Span(all), count);
            let read = Stage::ALL.map(|stage| stages.read(stage));
            prop_assert_eq!(read.iter().map(|stage| stage.sum.0).sum::<u64>(), all);
            prop_assert_eq!(read.iter().filter(|stage| stage.count() == count).count(), 5);
        }
    }
}
