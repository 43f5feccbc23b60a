//! One mapping of anonymous memory, in the best pages that the host gives.

use std::fmt;
use std::io;
use std::ptr::NonNull;

/// Bytes of a huge page on the hosts that this runs on (x86-64 and most of aarch64).
pub const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Bytes of an ordinary page on those hosts. Where pages are larger, they are not exchanged singly (EINVAL at the first try).
pub(super) const PAGE_BYTES: usize = 4 << 10;

/// The pages to begin with; what the host refuses falls back in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageWish {
    /// Explicit huge pages (`MAP_HUGETLB`).
    Huge,
    /// Transparent huge pages (`madvise`).
    Transparent,
    /// Whatever the kernel gives.
    Plain,
}

/// The pages that a region got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backing {
    /// Reserved and populated 2 MiB pages.
    Huge,
    /// Memory that the kernel backs with 2 MiB pages where it can.
    Transparent,
    /// Ordinary pages.
    Plain,
}

impl fmt::Display for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Huge => "huge pages",
            Self::Transparent => "transparent huge pages",
            Self::Plain => "plain pages",
        })
    }
}

/// Something wished for that the host refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// What it was.
    pub wanted: &'static str,
    /// Why it was refused, in words.
    pub reason: String,
    /// The command that lifts it.
    pub fix: String,
}

/// A private anonymous mapping, zeroed, aligned to 2 MiB.
///
/// Invariant: the mapping exists from `take` to drop and never moves. Who may touch which of its bytes is decided by the
/// types that carve it (`ShardMemory`, `Slab`); every one of them holds the region through an `Arc`, so it is unmapped
/// after the last handle to any of its bytes is gone.
pub struct Region {
    base: NonNull<u8>,
    bytes: usize,
    backing: Backing,
    /// Single pages can be exchanged.
    renewable: bool,
    node: Option<u16>,
    fallbacks: Vec<Fallback>,
}

// SAFETY: a region is an address and a length; it reads and writes nothing by itself.
unsafe impl Send for Region {}
// SAFETY: as above; exclusive access to parts is the matter of the types that carve them.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `bytes` (rounded up to whole huge pages), on NUMA node `node` where one is named.
    ///
    /// # Errors
    /// When even plain pages are refused (ENOMEM: address space or overcommit limit).
    pub fn take(bytes: usize, wish: PageWish, node: Option<u16>) -> io::Result<Self> {
        let bytes = bytes
            .max(1)
            .checked_next_multiple_of(HUGE_PAGE_BYTES)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        let mut fallbacks = Vec::new();
        if wish == PageWish::Huge {
            match Self::huge(bytes, node) {
                Ok(region) => return Ok(region),
                Err(fallback) => fallbacks.push(fallback),
            }
        }
        let mut region = Self::ordinary(bytes)?;
        region.fallbacks = fallbacks;
        region.place(node);
        if wish <= PageWish::Transparent {
            region.advise();
        }
        Ok(region)
    }

    /// The first byte.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes mapped.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The pages behind it.
    #[must_use]
    pub fn backing(&self) -> Backing {
        self.backing
    }

    /// The NUMA node that it was placed on, where one was named and accepted.
    #[must_use]
    pub fn node(&self) -> Option<u16> {
        self.node
    }

    /// What was refused on the way.
    #[must_use]
    pub fn fallbacks(&self) -> &[Fallback] {
        &self.fallbacks
    }

    /// Whether [`renew`](Self::renew) works: not for explicit huge pages, and not for memory that is locked.
    pub(super) fn is_renewable(&self) -> bool {
        self.renewable
    }

    /// Exchanges pages for new ones, zeroed; whoever else holds the old ones (a socket) keeps them as they are. Tells
    /// whether the kernel did.
    ///
    /// # Safety
    /// `start` and `bytes` name whole pages of this region that nobody reads, writes or refers to.
    #[must_use]
    pub(super) unsafe fn renew(start: NonNull<u8>, bytes: usize) -> bool {
        // SAFETY: the caller's promise: the contents are nobody's.
        unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_DONTNEED) == 0 }
    }

    /// Has the kernel put pages behind a part now, so that it does not under load; what it refuses comes at first touch.
    pub(super) fn populate(&self, offset: usize, bytes: usize) {
        let end = offset.saturating_add(bytes).min(self.bytes);
        if self.backing == Backing::Huge || offset >= end {
            return; // populated when it was taken, or nothing
        }
        // SAFETY: `offset` is below the region's length.
        let start = unsafe { self.base.add(offset) };
        // EINVAL: a kernel before 5.14.
        let _ = advise(start, end - offset, libc::MADV_POPULATE_WRITE);
    }

    /// Huge pages are populated here: a page that a cgroup's limit refuses is an error now and not a SIGBUS later.
    fn huge(bytes: usize, node: Option<u16>) -> Result<Self, Fallback> {
        let flags = libc::MAP_HUGETLB | libc::MAP_HUGE_2MB;
        let base = map(bytes, flags).map_err(|error| huge_refused(bytes, &error))?;
        let mut region = Self {
            base,
            bytes,
            backing: Backing::Huge,
            renewable: false,
            node: None,
            fallbacks: Vec::new(),
        };
        region.place(node);
        match advise(region.base, bytes, libc::MADV_POPULATE_WRITE) {
            // EINVAL: a kernel before 5.14, which populates on first touch.
            Err(error) if error.raw_os_error() != Some(libc::EINVAL) => {
                Err(huge_refused(bytes, &error))
            }
            _ => Ok(region),
        }
    }

    /// Maps a huge page more than asked for and returns what is before and behind the aligned part.
    fn ordinary(bytes: usize) -> io::Result<Self> {
        let whole = bytes + HUGE_PAGE_BYTES;
        let base = map(whole, libc::MAP_NORESERVE)?;
        let before = base.align_offset(HUGE_PAGE_BYTES);
        let after = HUGE_PAGE_BYTES - before;
        // SAFETY: `before` and `bytes` lie within the mapping of `bytes + HUGE_PAGE_BYTES` just made.
        let (start, end) = unsafe { (base.add(before), base.add(before + bytes)) };
        unmap(base, before);
        unmap(end, after);
        // SAFETY: the first page of a mapping that nobody has yet.
        let renewable = unsafe { Self::renew(start, PAGE_BYTES) };
        Ok(Self {
            base: start,
            bytes,
            backing: Backing::Plain,
            renewable,
            node: None,
            fallbacks: Vec::new(),
        })
    }

    fn advise(&mut self) {
        match transparent(self.base, self.bytes) {
            Ok(()) => self.backing = Backing::Transparent,
            Err(reason) => self.fallbacks.push(Fallback {
                wanted: "transparent huge pages",
                reason,
                fix: "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled".to_owned(),
            }),
        }
    }

    /// Prefers `node` for pages still to be touched. A refusal is a fallback: remote memory is slower, not wrong.
    fn place(&mut self, node: Option<u16>) {
        let Some(node) = node else { return };
        match prefer(self.base, self.bytes, node) {
            Ok(()) => self.node = Some(node),
            Err(error) => self.fallbacks.push(Fallback {
                wanted: "memory of the shard's NUMA node",
                reason: format!("mbind to node {node}: {error}"),
                fix: "allow mbind in the seccomp profile, or add the node to the cpuset's mems"
                    .to_owned(),
            }),
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        unmap(self.base, self.bytes);
    }
}

fn huge_refused(bytes: usize, error: &io::Error) -> Fallback {
    let pages = bytes / HUGE_PAGE_BYTES;
    let free = free_huge_pages();
    let found = free.map_or_else(|| "unknown".to_owned(), |free| free.to_string());
    let limited = free.is_some_and(|free| free >= pages);
    Fallback {
        wanted: "huge pages",
        reason: format!("{pages} pages of 2 MiB are needed, {found} are free ({error})"),
        fix: if limited {
            "raise the cgroup's hugetlb.2MB.max (a pod: limits.hugepages-2Mi)".to_owned()
        } else {
            let more = pages.saturating_sub(free.unwrap_or(0));
            format!("sysctl -w vm.nr_hugepages=$(($(sysctl -n vm.nr_hugepages) + {more}))")
        },
    }
}

fn free_huge_pages() -> Option<usize> {
    let path = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn transparent(base: NonNull<u8>, bytes: usize) -> Result<(), String> {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    let mode = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    if mode.contains("[never]") {
        return Err(format!("{path} says never"));
    }
    advise(base, bytes, libc::MADV_HUGEPAGE).map_err(|error| format!("madvise: {error}"))
}

fn map(bytes: usize, flags: libc::c_int) -> io::Result<NonNull<u8>> {
    let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing that exists.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, flags, -1, 0) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
}

fn unmap(base: NonNull<u8>, bytes: usize) {
    if bytes > 0 {
        // SAFETY: callers pass a range of a mapping that they own and that nobody refers to any more.
        unsafe { libc::munmap(base.as_ptr().cast(), bytes) };
    }
}

fn advise(base: NonNull<u8>, bytes: usize, advice: libc::c_int) -> io::Result<()> {
    // SAFETY: the range is a mapping of the caller's; neither advice used here discards contents.
    match unsafe { libc::madvise(base.as_ptr().cast(), bytes, advice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn prefer(base: NonNull<u8>, bytes: usize, node: u16) -> io::Result<()> {
    const MPOL_PREFERRED: libc::c_long = 1;
    const NODES_MAX: usize = 1024;
    let mut mask = [0_u64; NODES_MAX / 64];
    let word = mask
        .get_mut(usize::from(node) / 64)
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    *word |= 1 << (node % 64);
    // SAFETY: the range is a mapping of the caller's, the mask outlives the call and has NODES_MAX bits; the kernel reads
    // one bit less than the count it is given.
    let status = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            base.as_ptr(),
            bytes,
            MPOL_PREFERRED,
            mask.as_ptr(),
            NODES_MAX,
            0,
        )
    };
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_aligned_zeroed_and_writable_to_its_end() {
        let region = Region::take(HUGE_PAGE_BYTES + 1, PageWish::Plain, None).unwrap();
        assert_eq!(region.bytes(), 2 * HUGE_PAGE_BYTES);
        assert_eq!(region.base().align_offset(HUGE_PAGE_BYTES), 0);
        assert_eq!(region.backing(), Backing::Plain);
        assert!(region.fallbacks().is_empty());
        // SAFETY: the last byte of a mapping that nobody else has.
        unsafe {
            let last = region.base().add(region.bytes() - 1);
            assert_eq!(last.read(), 0);
            last.write(7);
            assert_eq!(last.read(), 7);
        }
    }

    #[test]
    fn what_the_host_refuses_is_named_with_its_fix() {
        let region = Region::take(1, PageWish::Huge, None).unwrap();
        let refused = match region.backing() {
            Backing::Huge => 0,
            Backing::Transparent => 1,
            Backing::Plain => 2,
        };
        assert_eq!(region.fallbacks().len(), refused);
        assert!(
            region
                .fallbacks()
                .iter()
                .all(|fallback| !fallback.fix.is_empty())
        );
    }

    #[test]
    fn more_huge_pages_than_any_host_has_fall_back_with_the_count_that_is_missing() {
        let fallback = huge_refused(1 << 50, &io::Error::from_raw_os_error(libc::ENOMEM));
        assert!(fallback.reason.contains("536870912 pages"));
        assert!(fallback.fix.starts_with("sysctl -w vm.nr_hugepages="));
    }

    #[test]
    fn a_size_that_cannot_be_mapped_is_an_error() {
        assert!(Region::take(usize::MAX, PageWish::Plain, None).is_err());
        assert!(Region::take(1 << 60, PageWish::Plain, None).is_err());
    }

    #[test]
    fn a_node_that_is_not_there_is_a_fallback() {
        let region = Region::take(1, PageWish::Plain, Some(u16::MAX)).unwrap();
        assert_eq!(region.node(), None);
        assert_eq!(region.fallbacks().len(), 1);
    }
}
