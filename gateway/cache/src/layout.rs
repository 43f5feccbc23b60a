//! How a body is cut into extents. Pure arithmetic: nothing is stored per extent, and finding the extent of an offset
//! takes constant time.

use base::limits::{COPY_BODY_BYTES_MAX, EXTENT_BYTES_MAX, EXTENT_BYTES_MIN};

const LARGEST: u64 = EXTENT_BYTES_MAX as u64;
const SMALLEST: u64 = EXTENT_BYTES_MIN as u64;
const SINGLE_MAX: u64 = COPY_BODY_BYTES_MAX as u64;

/// The first extent of a body of unknown length; each further one is twice as large, up to the largest. A body of
/// unknown length is mostly a small one: 16 KiB to start with would hold a chunked answer of 2 KiB eightfold.
const GROWTH_START: u64 = 4 << 10;
/// Extents that are smaller than the largest, in a body of unknown length.
const GROWTH_STEPS: u32 = (LARGEST / GROWTH_START).ilog2();
/// Bytes they hold together.
const GROWTH_BYTES: u64 = GROWTH_START * ((1 << GROWTH_STEPS) - 1);

/// A body's plan of extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Exactly the extents that a length needs: whole largest ones, then a tail.
    Known {
        /// Bytes of the body.
        length: u64,
    },
    /// Extents that grow with the body.
    Growing {
        /// Bytes the body may have at most.
        bytes_max: u64,
    },
}

/// One extent of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which extent.
    pub(crate) index: usize,
    /// The body's offset at its first byte.
    pub(crate) start: u64,
    /// Bytes of the body that it takes.
    pub(crate) size: u64,
}

impl Layout {
    /// Bytes the body may have.
    pub(crate) fn limit(self) -> u64 {
        match self {
            Self::Known { length } => length,
            Self::Growing { bytes_max } => bytes_max,
        }
    }

    /// Extents of the whole plan.
    pub(crate) fn count(self) -> usize {
        let last = self.limit().checked_sub(1);
        last.map_or(0, |offset| self.place(offset).index + 1)
    }

    /// The extent that holds the byte at `offset`, which must be below the limit.
    #[inline]
    pub(crate) fn place(self, offset: u64) -> Place {
        match self {
            Self::Known { length } => place_known(length, offset),
            Self::Growing { .. } => place_growing(offset),
        }
    }
}

#[inline]
fn place_known(length: u64, offset: u64) -> Place {
    let tail_at = length - length % LARGEST;
    if offset < tail_at {
        return place_largest(0, 0, offset);
    }
    let mut place = Place {
        index: (tail_at / LARGEST) as usize,
        start: tail_at,
        size: 0,
    };
    let mut rest = tail_capacity(length - tail_at);
    while rest != 0 {
        place.size = 1 << rest.ilog2();
        rest -= place.size;
        if rest == 0 || offset < place.start + place.size {
            break;
        }
        place.index += 1;
        place.start += place.size;
    }
    place
}

/// Bytes to take for a tail; its set bits, from the highest down, are the extents. The two highest bits of the length
/// stay, the rest is rounded up: three extents at most, 6 % waste on average. Bodies that are copied behind their
/// head lie in one extent instead, which makes that copy one step.
fn tail_capacity(length: u64) -> u64 {
    if length <= SINGLE_MAX {
        let one = length.next_power_of_two().max(SMALLEST);
        return if length == 0 { 0 } else { one };
    }
    let length = length.next_multiple_of(SMALLEST);
    let first = 1 << length.ilog2();
    let second = (length - first).checked_ilog2().map_or(0, |bit| 1 << bit);
    match length - first - second {
        0 => length,
        rest => first + second + rest.next_power_of_two(),
    }
}

#[inline]
fn place_growing(offset: u64) -> Place {
    if offset >= GROWTH_BYTES {
        return place_largest(GROWTH_STEPS as usize, GROWTH_BYTES, offset);
    }
    let step = (offset / GROWTH_START + 1).ilog2();
    Place {
        index: step as usize,
        start: GROWTH_START * ((1 << step) - 1),
        size: GROWTH_START << step,
    }
}

#[inline]
fn place_largest(index: usize, start: u64, offset: u64) -> Place {
    let skipped = (offset - start) / LARGEST;
    Place {
        index: index + skipped as usize,
        start: start + skipped * LARGEST,
        size: LARGEST,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn extents(layout: Layout) -> Vec<Place> {
        let mut all = Vec::new();
        let mut offset = 0;
        while offset < layout.limit() {
            let place = layout.place(offset);
            offset = place.start + place.size;
            all.push(place);
        }
        all
    }

    fn lengths() -> impl Strategy<Value = u64> {
        prop_oneof![0..10_000_u64, 0..3_u64 << 20, 0..1_u64 << 33]
    }

    proptest! {
        #[test]
        fn extents_cover_every_byte_once_in_order(length in lengths(), growing: bool) {
            let layout = match growing {
                true => Layout::Growing { bytes_max: length },
                false => Layout::Known { length },
            };
            let all = extents(layout);
            prop_assert_eq!(all.len(), layout.count());
            let mut end = 0;
            for (index, place) in all.iter().enumerate() {
                prop_assert_eq!((place.index, place.start), (index, end));
                prop_assert!(place.size.is_power_of_two());
                prop_assert!((SMALLEST..=LARGEST).contains(&place.size));
                prop_assert_eq!(layout.place(place.start), *place);
                end += place.size;
                prop_assert_eq!(layout.place(end.min(length) - 1), *place);
            }
            prop_assert!(end >= length);
        }

        #[test]
        fn a_known_length_wastes_little(length in 4097_u64..1 << 20) {
            let all = extents(Layout::Known { length });
            let taken: u64 = all.iter().map(|place| place.size).sum();
            prop_assert!(all.len() <= 3);
            prop_assert!(taken - length < length / 5 + SMALLEST, "{length}: {taken}");
        }
    }

    #[test]
    fn lengths_and_their_extents() {
        for (length, sizes) in [
            (0, &[][..]),
            (1, &[256]),
            (257, &[512]),
            (1100, &[2048]),
            (4096, &[4096]),
            (4097, &[4096, 256]),
            (7000, &[4096, 2048, 1024]),
            (8100, &[8192]),
            (100 << 10, &[64 << 10, 32 << 10, 4 << 10]),
            (1 << 20, &[1 << 20]),
            ((2 << 20) + 1, &[1 << 20, 1 << 20, 256]),
        ] {
            let all = extents(Layout::Known { length });
            let found: Vec<_> = all.iter().map(|place| place.size).collect();
            assert_eq!(found, sizes, "{length}");
        }
    }
}
