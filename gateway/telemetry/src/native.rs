//! Native histograms: counts of buckets as spans of neighbours and the steps between them.

use crate::edges::{NATIVE, NATIVE_FIRST};

/// Empty buckets that a span goes through rather than end: a delta takes less than a span.
const GAP_MAX: u32 = 2;

/// A native histogram's buckets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Native {
    /// Durations in the zero bucket.
    pub(crate) zero: u64,
    pub(crate) spans: Vec<BucketSpan>,
    /// For each bucket of the spans, how many more than in the one before.
    pub(crate) deltas: Vec<i64>,
}

/// Neighbouring buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BucketSpan {
    /// Buckets left out since the span before; of the first span, the index of its first bucket.
    pub(crate) offset: i32,
    pub(crate) length: u32,
}

impl Native {
    pub(crate) fn of(counts: &[u64; NATIVE]) -> Self {
        let [zero, rest @ ..] = counts;
        let mut native = Self {
            zero: *zero,
            ..Self::default()
        };
        let mut before = 0;
        let mut gap = 0;
        for (count, bucket) in rest.iter().zip(NATIVE_FIRST + 1..) {
            if *count == 0 {
                gap += 1;
                continue;
            }
            match native.spans.last_mut() {
                Some(span) if gap <= GAP_MAX => {
                    span.length += gap + 1;
                    for _ in 0..gap {
                        native.push(0, &mut before);
                    }
                }
                last => {
                    let offset = match last {
                        Some(_) => gap.cast_signed(),
                        None => bucket,
                    };
                    native.spans.push(BucketSpan { offset, length: 1 });
                }
            }
            native.push(*count, &mut before);
            gap = 0;
        }
        native
    }

    fn push(&mut self, count: u64, before: &mut i64) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.deltas.push(count - *before);
        *before = count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a reader makes of it.
    fn counts(native: &Native) -> [u64; NATIVE] {
        let mut counts = [0; NATIVE];
        counts[0] = native.zero;
        let (mut bucket, mut count) = (0, 0);
        let mut deltas = native.deltas.iter();
        for span in &native.spans {
            bucket += span.offset;
            for _ in 0..span.length {
                count += deltas.next().unwrap();
                counts[(bucket - NATIVE_FIRST) as usize] = u64::try_from(count).unwrap();
                bucket += 1;
            }
        }
        assert_eq!(deltas.next(), None);
        counts
    }

    proptest! {
        #[test]
        fn spans_and_deltas_tell_the_counts(filled in prop::collection::vec((0..NATIVE, 1..9u64), 0..40)) {
            let mut wanted = [0; NATIVE];
            for (bucket, count) in filled {
                wanted[bucket] = count;
            }
            let native = Native::of(&wanted);
            prop_assert_eq!(counts(&native), wanted);
            let lengths = native.spans.iter().map(|span| span.length as usize);
            prop_assert_eq!(lengths.sum::<usize>(), native.deltas.len());
        }
    }

    #[test]
    fn a_short_gap_does_not_end_a_span() {
        let mut counts = [0; NATIVE];
        for (bucket, count) in [(0, 7), (10, 3), (13, 5), (17, 1)] {
            counts[bucket] = count;
        }
        let native = Native::of(&counts);
        let span = |offset, length| BucketSpan { offset, length };
        assert_eq!(native.zero, 7);
        assert_eq!(native.spans, [span(-150, 4), span(3, 1)]);
        assert_eq!(native.deltas, [3, -3, 0, 5, -4]);
    }
}
