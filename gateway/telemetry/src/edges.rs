//! The edges between which durations are counted: those of the classic buckets and those of a native histogram, together,
//! so that one count serves both.

/// Upper edges of the classic buckets in nanoseconds, inclusive.
pub(crate) const CLASSIC_NS: [u64; 29] = [
    10_000,
    25_000,
    50_000,
    75_000,
    100_000,
    150_000,
    250_000,
    350_000,
    500_000,
    750_000,
    1_000_000,
    1_500_000,
    2_000_000,
    3_000_000,
    5_000_000,
    7_500_000,
    10_000_000,
    25_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    7_500_000_000,
    10_000_000_000,
];

/// Classic buckets: one below each edge and one above the last.
pub(crate) const CLASSIC: usize = CLASSIC_NS.len() + 1;

/// The native histogram's schema: bucket `k` ends at 2^(k/8) seconds, inclusive.
pub(crate) const SCHEMA: i32 = 3;
/// The bucket below which durations count as zero; it ends at 2^-20 s, 0.95 µs.
pub(crate) const NATIVE_FIRST: i32 = -160;
/// The last bucket with an edge of its own, 64 s. Whatever is longer counts in the one behind it.
const NATIVE_LAST: i32 = 48;
/// Native buckets: zero, those with edges, and the one behind them.
pub(crate) const NATIVE: usize = (NATIVE_LAST - NATIVE_FIRST) as usize + 2;

/// Distinct edges of both kinds: 1 s, 500 ms and 250 ms are of both.
const EDGES: usize = CLASSIC_NS.len() + NATIVE - 1 - 3;
/// Cells: one below each edge and one above the last.
pub(crate) const CELLS: usize = EDGES + 1;

/// All edges in order, and behind them what no duration is above. So long that a byte never indexes outside.
const EDGES_NS: [u64; 257] = merged();
const _: () = assert!(EDGES_NS[EDGES - 1] == 64_000_000_000 && EDGES_NS[EDGES] == u64::MAX);

/// Durations are sorted by their five leading bits and two comparisons: no octave's sixteenth holds three edges.
const COARSE_BITS: u32 = 4;
const COARSE: [u8; 1_024] = coarse_table();
const _: () = assert!(coarse(u64::MAX) < COARSE.len());

/// The classic bucket of each cell.
const CLASSIC_OF: [u8; CELLS] = buckets_of(&CLASSIC_NS);
/// The native bucket of each cell, counted from [`NATIVE_FIRST`].
const NATIVE_OF: [u8; CELLS] = buckets_of(&natives());

/// 2^(k/8 - 1) for `k` from 0 to 7: the mantissas to which Prometheus compares.
const BOUNDS: [f64; 8] = [
    0.5,
    0.5452538663326288,
    0.5946035575013605,
    0.6484197773255048,
    0.7071067811865475,
    0.7711054127039704,
    0.8408964152537144,
    0.9170040432046711,
];

/// The cell of a duration: how many edges are shorter.
#[inline]
pub(crate) fn cell_of(ns: u64) -> usize {
    let below = COARSE
        .get(coarse(ns) % COARSE.len())
        .map_or(0, |edges| usize::from(*edges));
    let above = |at| usize::from(EDGES_NS.get(at).is_some_and(|edge| *edge < ns));
    below + above(below) + above(below + 1)
}

/// Counts of cells summed up to the classic buckets.
pub(crate) fn classic(cells: &[u64; CELLS]) -> [u64; CLASSIC] {
    summed(cells, &CLASSIC_OF)
}

/// Counts of cells summed up to the native buckets: zero, then from [`NATIVE_FIRST`] + 1 on.
pub(crate) fn native(cells: &[u64; CELLS]) -> [u64; NATIVE] {
    summed(cells, &NATIVE_OF)
}

/// The classic bucket of a duration.
pub(crate) fn classic_of(ns: u64) -> usize {
    CLASSIC_OF
        .get(cell_of(ns))
        .map_or(0, |bucket| usize::from(*bucket))
}

/// The upper edge of a native bucket in seconds.
#[allow(clippy::cast_sign_loss)]
pub(crate) const fn native_bound(bucket: i32) -> f64 {
    let exponent = 1023 + 1 + bucket.div_euclid(8);
    BOUNDS[bucket.rem_euclid(8) as usize] * f64::from_bits((exponent as u64) << 52)
}

fn summed<const N: usize>(cells: &[u64; CELLS], bucket_of: &[u8; CELLS]) -> [u64; N] {
    let mut sums = [0; N];
    for (count, bucket) in cells.iter().zip(bucket_of) {
        if let Some(sum) = sums.get_mut(usize::from(*bucket)) {
            *sum += count;
        }
    }
    sums
}

#[inline]
const fn coarse(ns: u64) -> usize {
    let shift = (63 - COARSE_BITS) - (ns | (1 << COARSE_BITS)).leading_zeros();
    ((shift as usize) << COARSE_BITS) + (ns >> shift) as usize
}

/// For each coarse cell, the edges shorter than its first duration.
const fn coarse_table() -> [u8; 1_024] {
    let mut table = [0; 1_024];
    let mut edge = 0;
    while edge < EDGES {
        let within = coarse(EDGES_NS[edge]);
        // The next but one lies in a later cell, or the comparisons would not find it.
        assert!(edge + 2 >= EDGES || coarse(EDGES_NS[edge + 2]) > within);
        let mut cell = within + 1;
        while cell < table.len() {
            table[cell] = edge as u8 + 1;
            cell += 1;
        }
        edge += 1;
    }
    table
}

/// Native edges rounded down to whole nanoseconds: a whole number of them is above exactly if it is above the edge.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
const fn natives() -> [u64; NATIVE - 1] {
    let mut edges = [0; NATIVE - 1];
    let mut at = 0;
    while at < edges.len() {
        edges[at] = (native_bound(NATIVE_FIRST + at as i32) * 1e9) as u64;
        at += 1;
    }
    edges
}

const fn merged() -> [u64; 257] {
    let natives = natives();
    let mut edges = [u64::MAX; 257];
    let (mut at, mut native, mut classic) = (0, 0, 0);
    while native < natives.len() || classic < CLASSIC_NS.len() {
        let one = at_or_max(&natives, native);
        let other = at_or_max(&CLASSIC_NS, classic);
        edges[at] = if one < other { one } else { other };
        native += (one <= other) as usize;
        classic += (other <= one) as usize;
        at += 1;
    }
    edges
}

const fn at_or_max(edges: &[u64], at: usize) -> u64 {
    if at < edges.len() {
        edges[at]
    } else {
        u64::MAX
    }
}

/// For each cell, how many of some edges are below it.
const fn buckets_of(edges: &[u64]) -> [u8; CELLS] {
    let mut buckets = [0; CELLS];
    let mut below = 0;
    let mut cell = 1;
    while cell < CELLS {
        if at_or_max(edges, below) == EDGES_NS[cell - 1] {
            below += 1;
        }
        buckets[cell] = below as u8;
        cell += 1;
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The classic bucket by comparison with each edge.
    fn classic_by_edges(ns: u64) -> usize {
        CLASSIC_NS.iter().filter(|edge| **edge < ns).count()
    }

    /// The native bucket as client libraries and Prometheus find it for a value in seconds.
    fn native_by_floats(ns: u64) -> usize {
        let value = ns as f64 / 1e9;
        if value <= native_bound(NATIVE_FIRST) {
            return 0;
        }
        let exponent = (value.to_bits() >> 52) as i32 - 1022;
        let mantissa = f64::from_bits(value.to_bits() & ((1 << 52) - 1) | 1022 << 52);
        let within = BOUNDS.iter().filter(|bound| **bound < mantissa).count();
        let bucket = within as i32 + (exponent - 1) * 8;
        (bucket.min(NATIVE_LAST + 1) - NATIVE_FIRST) as usize
    }

    fn agree(ns: u64) {
        let cell = cell_of(ns);
        assert_eq!(usize::from(CLASSIC_OF[cell]), classic_by_edges(ns), "{ns}");
        assert_eq!(usize::from(NATIVE_OF[cell]), native_by_floats(ns), "{ns}");
    }

    #[test]
    fn buckets_are_right_at_every_edge() {
        for edge in &EDGES_NS[..EDGES] {
            agree(edge - 1);
            agree(*edge);
            agree(edge + 1);
        }
        agree(0);
        agree(u64::MAX);
    }

    proptest! {
        #[test]
        fn buckets_agree_with_comparisons(ns in any::<u64>(), bits in 0u32..63) {
            agree(ns >> bits);
        }

        #[test]
        fn sums_of_cells_are_counts_of_buckets(values in prop::collection::vec((any::<u64>(), 20u32..63), 0..300)) {
            let (mut cells, mut by_edge, mut by_float) = ([0; CELLS], [0; CLASSIC], [0; NATIVE]);
            for (ns, bits) in values {
                let ns = ns >> bits;
                cells[cell_of(ns)] += 1;
                by_edge[classic_by_edges(ns)] += 1;
                by_float[native_by_floats(ns)] += 1;
                prop_assert_eq!(classic_of(ns), classic_by_edges(ns));
            }
            prop_assert_eq!(classic(&cells), by_edge);
            prop_assert_eq!(native(&cells), by_float);
        }
    }

    #[test]
    fn bounds_are_powers_of_two_to_an_eighth() {
        for bucket in NATIVE_FIRST..=NATIVE_LAST {
            let bound = native_bound(bucket);
            let power = (f64::from(bucket) / 8.0).exp2();
            assert!((bound / power - 1.0).abs() < 1e-15, "{bucket}");
        }
        assert_eq!(native_bound(0), 1.0);
        assert_eq!(native_bound(-160), 1.0 / 1_048_576.0);
    }
}
