//! The node's memory: one region for each NUMA node with shards on it, split into what every shard owns (receive buffers,
//! send scratch) and the slab that all of them share. Taken once, at start; what is taken is said in numbers.

mod bits;
mod buddy;
mod region;
mod shard;
mod slab;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::ShardId;
use base::limits::EXTENT_BYTES_MAX;

pub use region::{Backing, Fallback, HUGE_PAGE_BYTES, PageWish, Region};
pub(crate) use shard::Layout;
pub use shard::{ShardMemory, ShardSizes};
pub use slab::{LockWaits, Slab, SlabExtent, SlabPin, SlabWriter};

/// What to take.
#[derive(Clone, Debug)]
pub struct MemoryPlan {
    /// Bytes in all: every shard's own and the slab.
    pub bytes: usize,
    /// The pages to begin with.
    pub pages: PageWish,
    /// Pages of the slab may be lent to sockets instead of copied, where single pages can be exchanged.
    pub lend: bool,
    /// One entry a shard: the NUMA node whose memory it wants, where there is more than one.
    pub shards: Vec<Option<u16>>,
    /// Each shard's buffers.
    pub sizes: ShardSizes,
}

/// The node's memory, taken.
pub struct NodeMemory {
    shards: Vec<Place>,
    sizes: ShardSizes,
    slab: Slab,
    report: MemoryReport,
}

/// Where a shard's part lies, and whether somebody has it.
struct Place {
    region: Arc<Region>,
    offset: usize,
    leased: Arc<AtomicBool>,
}

/// What was taken, in bytes.
#[derive(Clone, Debug)]
pub struct MemoryReport {
    /// One entry a region.
    pub regions: Vec<RegionReport>,
    /// Receive buffers of all shards, with the rings that name them to the kernel.
    pub receive_bytes: usize,
    /// Scratch buffers of all shards.
    pub scratch_bytes: usize,
    /// The slab.
    pub slab_bytes: usize,
    /// The slab's bookkeeping, outside of the regions.
    pub bookkeeping_bytes: usize,
    /// Pages of large bodies may be lent to sockets.
    pub lends: bool,
}

/// One region, as taken.
#[derive(Clone, Debug)]
pub struct RegionReport {
    /// Its size.
    pub bytes: usize,
    /// Its pages.
    pub backing: Backing,
    /// Its NUMA node, where one was named and accepted.
    pub node: Option<u16>,
    /// What was refused on the way, why, and what lifts it.
    pub fallbacks: Vec<Fallback>,
}

/// Why the memory was not taken.
#[derive(Debug)]
pub enum MemoryError {
    /// The plan does not hold the shards' own buffers and the smallest slab.
    TooSmall {
        /// Bytes planned.
        planned: usize,
        /// Bytes needed at least.
        needed: usize,
    },
    /// The kernel refused even plain pages.
    Refused {
        /// Bytes asked for.
        bytes: usize,
        /// The kernel's answer.
        error: io::Error,
    },
}

impl NodeMemory {
    /// Takes what the plan says.
    ///
    /// # Errors
    /// See [`MemoryError`]; its text names the fix.
    pub fn take(plan: &MemoryPlan) -> Result<Self, MemoryError> {
        let own = ShardMemory::bytes_needed(plan.sizes);
        let needed = plan
            .shards
            .len()
            .max(1)
            .saturating_mul(own.saturating_add(EXTENT_BYTES_MAX));
        if plan.bytes < needed {
            let planned = plan.bytes;
            return Err(MemoryError::TooSmall { planned, needed });
        }
        let regions = take_regions(plan)?;
        Ok(Self::split(plan, &regions, own))
    }

    /// A shard's own memory, or `None` while its last holder, or a buffer of its, is still alive.
    #[must_use]
    pub fn shard(&self, shard: ShardId) -> Option<ShardMemory> {
        let place = self.shards.get(usize::from(shard.0))?;
        if place.leased.swap(true, Ordering::Acquire) {
            return None;
        }
        Some(ShardMemory::new(
            Arc::clone(&place.region),
            place.offset,
            self.sizes,
            Arc::clone(&place.leased),
        ))
    }

    /// The slab that all shards share.
    #[must_use]
    pub fn slab(&self) -> &Slab {
        &self.slab
    }

    /// What was taken.
    #[must_use]
    pub fn report(&self) -> &MemoryReport {
        &self.report
    }

    fn split(plan: &MemoryPlan, regions: &BTreeMap<Option<u16>, Arc<Region>>, own: usize) -> Self {
        let mut taken: BTreeMap<Option<u16>, usize> = BTreeMap::new();
        let mut shards = Vec::with_capacity(plan.shards.len());
        for node in &plan.shards {
            let offset = taken.entry(*node).or_default();
            regions[node].populate(*offset, own);
            shards.push(Place {
                region: Arc::clone(&regions[node]),
                offset: *offset,
                leased: Arc::new(AtomicBool::new(false)),
            });
            *offset += own;
        }
        let rest = |(node, region): (&Option<u16>, &Arc<Region>)| {
            let offset = taken.get(node).copied().unwrap_or(0);
            (Arc::clone(region), offset, region.bytes() - offset)
        };
        let slab = Slab::over(regions.iter().map(rest).collect(), plan.lend);
        let report = MemoryReport {
            regions: regions
                .values()
                .map(|region| RegionReport::of(region))
                .collect(),
            receive_bytes: plan.sizes.receive_bytes() * shards.len(),
            scratch_bytes: plan.sizes.scratch_bytes() * shards.len(),
            slab_bytes: regions.values().map(|region| region.bytes()).sum::<usize>()
                - own * shards.len(),
            bookkeeping_bytes: slab.overhead_bytes(),
            lends: slab.lends(),
        };
        Self {
            shards,
            sizes: plan.sizes,
            slab,
            report,
        }
    }
}

/// One region for each NUMA node named, as large as its share of the shards.
fn take_regions(plan: &MemoryPlan) -> Result<BTreeMap<Option<u16>, Arc<Region>>, MemoryError> {
    let mut counts: BTreeMap<Option<u16>, usize> = BTreeMap::new();
    for node in &plan.shards {
        *counts.entry(*node).or_default() += 1;
    }
    if counts.is_empty() {
        counts.insert(None, 1);
    }
    let all: usize = counts.values().sum();
    let take = |(node, count): (Option<u16>, usize)| {
        let bytes = plan.bytes / all * count;
        Region::take(bytes, plan.pages, node)
            .map(|region| (node, Arc::new(region)))
            .map_err(|error| MemoryError::Refused { bytes, error })
    };
    counts.into_iter().map(take).collect()
}

impl RegionReport {
    fn of(region: &Region) -> Self {
        Self {
            bytes: region.bytes(),
            backing: region.backing(),
            node: region.node(),
            fallbacks: region.fallbacks().to_vec(),
        }
    }
}

impl MemoryReport {
    /// The weakest pages among the regions.
    #[must_use]
    pub fn backing(&self) -> Backing {
        let backings = self.regions.iter().map(|region| region.backing);
        backings.max().unwrap_or(Backing::Plain)
    }

    /// Bytes in explicit huge pages.
    #[must_use]
    pub fn huge_bytes(&self) -> usize {
        let huge = self
            .regions
            .iter()
            .filter(|region| region.backing == Backing::Huge);
        huge.map(|region| region.bytes).sum()
    }
}

impl fmt::Display for MemoryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "receive {} + scratch {} + slab {} (bookkeeping {} beside it) in {}; large bodies are {}",
            Mebibytes(self.receive_bytes),
            Mebibytes(self.scratch_bytes),
            Mebibytes(self.slab_bytes),
            Mebibytes(self.bookkeeping_bytes),
            self.backing(),
            if self.lends { "lent" } else { "copied" },
        )?;
        for fallback in self.regions.iter().flat_map(|region| &region.fallbacks) {
            let Fallback {
                wanted,
                reason,
                fix,
            } = fallback;
            write!(f, "; no {wanted}: {reason}, try: {fix}")?;
        }
        Ok(())
    }
}

struct Mebibytes(usize);

impl fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0.saturating_mul(10) >> 20;
        write!(f, "{}.{} MiB", tenths / 10, tenths % 10)
    }
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall { planned, needed } => write!(
                f,
                "{planned} bytes of memory do not hold the shards' buffers: raise memory_pool_size to {needed} or more, \
                 or lower worker_threads"
            ),
            Self::Refused { bytes, error } => write!(
                f,
                "the kernel refused {bytes} bytes of memory ({error}): lower memory_pool_size, or raise the limit \
                 (ulimit -v, vm.overcommit_memory)"
            ),
        }
    }
}

impl std::error::Error for MemoryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TooSmall { .. } => None,
            Self::Refused { error, .. } => Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use base::Memory;

    use super::*;

    const SIZES: ShardSizes = ShardSizes {
        small_buffers: 16,
        large_buffers: 2,
        scratch_buffers: 4,
    };

    fn plan(bytes: usize, shards: usize) -> MemoryPlan {
        MemoryPlan {
            bytes,
            pages: PageWish::Plain,
            lend: true,
            shards: vec![None; shards],
            sizes: SIZES,
        }
    }

    #[test]
    fn the_shards_parts_and_the_slab_are_the_whole() {
        let memory = NodeMemory::take(&plan(16 << 20, 2)).unwrap();
        let report = memory.report();
        let parts = report.receive_bytes + report.scratch_bytes + report.slab_bytes;
        assert_eq!(parts, 16 << 20);
        assert_eq!(memory.slab().usage().total_bytes, report.slab_bytes as u64);
    }

    #[test]
    fn a_shards_part_has_one_holder_at_a_time() {
        let memory = NodeMemory::take(&plan(16 << 20, 1)).unwrap();
        let held = memory.shard(ShardId(0)).unwrap();
        assert!(memory.shard(ShardId(0)).is_none());
        drop(held);
        assert!(memory.shard(ShardId(0)).is_some());
        assert!(memory.shard(ShardId(1)).is_none());
    }

    #[test]
    fn too_little_is_refused_with_the_size_that_does() {
        let Err(MemoryError::TooSmall { needed, .. }) = NodeMemory::take(&plan(1 << 20, 2)) else {
            panic!("a megabyte was enough");
        };
        assert!(NodeMemory::take(&plan(needed, 2)).is_ok());
    }

    #[test]
    fn nodes_get_a_region_each_in_proportion_to_their_shards() {
        let mut plan = plan(48 << 20, 0);
        plan.shards = vec![None, Some(0), Some(0)];
        let memory = NodeMemory::take(&plan).unwrap();
        let sizes: Vec<_> = memory
            .report()
            .regions
            .iter()
            .map(|region| region.bytes)
            .collect();
        assert_eq!(sizes, [16 << 20, 32 << 20]);
    }
}
