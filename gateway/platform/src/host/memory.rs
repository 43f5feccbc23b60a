//! The host's memory and how much of it the pool takes.
//!
//! Explicit hugepages are taken from their own pool: they count neither against the cgroup's memory limit nor against
//! what is available, but against the cgroup's hugepage limit, where overstepping kills the process at the first touch.

use super::cgroup::{Cgroups, Limit};
use super::limits::Resource;
use super::{Bytes, Finding, HostRoot, Severity, kib_after, number_after};

const MIB: u64 = 1 << 20;
/// What `memory_pool_size = "auto"` takes at least and at most.
const AUTO_BYTES_MIN: u64 = 64 * MIB;
const AUTO_BYTES_MAX: u64 = 4 << 30;
/// Sizes are whole hugepages of this size.
const GRAIN_BYTES: u64 = 2 * MIB;
/// The capability that lifts the memlock limit (`CAP_IPC_LOCK`), as a bit of `CapEff`.
const CAP_IPC_LOCK: u32 = 14;

/// What is known of the host's memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryFacts {
    /// Memory of the machine.
    pub total_bytes: u64,
    /// What could be had without swapping.
    pub available_bytes: u64,
    /// The cgroup's limit.
    pub limit: Option<Limit>,
    /// What the cgroup takes.
    pub usage_bytes: Option<u64>,
    /// Explicit hugepages of the default size.
    pub hugepages: Hugepages,
    /// The chosen word of `transparent_hugepage/enabled`: `always`, `madvise` or `never`.
    pub transparent: Option<String>,
    /// Memory the process may lock; `None` is unlimited.
    pub memlock_bytes: Option<u64>,
}

/// Explicit hugepages of one size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hugepages {
    /// Bytes of a page; 0 where the kernel has none.
    pub page_bytes: u64,
    /// Pages there are.
    pub configured: u64,
    /// Of these, the ones not taken.
    pub free: u64,
    /// Of the free ones, those promised to somebody.
    pub reserved: u64,
    /// The cgroup's limit.
    pub limit: Option<Limit>,
}

impl Hugepages {
    fn needed(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.page_bytes.max(1))
    }

    fn unclaimed(&self) -> u64 {
        self.free.saturating_sub(self.reserved)
    }

    fn allowed(&self, bytes: u64) -> bool {
        self.limit.as_ref().is_none_or(|limit| bytes <= limit.bytes)
    }

    /// Whether so many bytes can be had in explicit hugepages.
    #[must_use]
    pub fn suffice(&self, bytes: u64) -> bool {
        self.page_bytes > 0 && self.needed(bytes) <= self.unclaimed() && self.allowed(bytes)
    }
}

impl MemoryFacts {
    /// Reads them.
    #[must_use]
    pub fn read(root: &HostRoot) -> Self {
        let groups = Cgroups::of_self(root);
        let meminfo = root.read("/proc/meminfo").unwrap_or_default();
        let hugepages = hugepages(&meminfo, &groups);
        Self {
            total_bytes: kib_after(&meminfo, "MemTotal:"),
            available_bytes: kib_after(&meminfo, "MemAvailable:"),
            limit: groups.memory_limit(),
            usage_bytes: groups.memory_usage(),
            hugepages,
            transparent: transparent(root),
            memlock_bytes: memlock(root),
        }
    }

    /// What the process can have at most, and who says so.
    fn ceiling(&self) -> (u64, String) {
        match &self.limit {
            Some(limit) if limit.bytes < self.total_bytes => (
                limit.bytes,
                format!("the limit in {}", limit.source.display()),
            ),
            _ => (self.total_bytes, "this machine's memory".to_owned()),
        }
    }
}

/// What `memory_pool_size` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolSize {
    /// A quarter of the cgroup's limit or the machine's memory, 64 MiB to 4 GiB.
    Auto,
    /// So many bytes.
    Bytes(u64),
}

/// How large the pool becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of the pool, all shards together.
    pub bytes: u64,
    /// Whether explicit hugepages are there for all of it.
    pub hugepages: bool,
    /// For the line printed at start.
    pub reason: String,
    /// What is worth telling, none of it a refusal.
    pub findings: Vec<Finding>,
}

impl Budget {
    /// Decides before anything is taken.
    ///
    /// # Errors
    /// The refusal, when the pool could not be filled without the process being killed.
    pub fn decide(facts: &MemoryFacts, asked: PoolSize) -> Result<Self, Finding> {
        let (ceiling, who) = facts.ceiling();
        let (bytes, reason) = match asked {
            PoolSize::Bytes(bytes) => (bytes, format!("{}, as configured", Bytes(bytes))),
            PoolSize::Auto => auto(ceiling, &who),
        };
        let hugepages = facts.hugepages.suffice(bytes);
        let mut findings = Vec::new();
        if !hugepages {
            findings.extend(too_large(facts, bytes, ceiling, &who)?);
            findings.push(no_hugepages(facts, bytes));
        }
        findings.extend(locked_too_much(facts, bytes));
        Ok(Self {
            bytes,
            hugepages,
            reason,
            findings,
        })
    }
}

fn auto(ceiling: u64, who: &str) -> (u64, String) {
    let quarter = (ceiling / 4).clamp(AUTO_BYTES_MIN, AUTO_BYTES_MAX);
    let bytes = quarter / GRAIN_BYTES * GRAIN_BYTES;
    let why = match ceiling / 4 {
        quarter if quarter < AUTO_BYTES_MIN => "the least, of",
        quarter if quarter > AUTO_BYTES_MAX => "the most, of",
        _ => "a quarter of",
    };
    let reason = format!("{}: {why} {} ({who})", Bytes(bytes), Bytes(ceiling));
    (bytes, reason)
}

/// Whether so many ordinary pages can be had: refused above the ceiling, warned of close to it.
fn too_large(
    facts: &MemoryFacts,
    bytes: u64,
    ceiling: u64,
    who: &str,
) -> Result<Option<Finding>, Finding> {
    let (asked, has) = (Bytes(bytes), Bytes(ceiling));
    let finding = |severity, cause| Finding {
        id: "memory_pool_size",
        severity,
        cause,
        fix: format!(
            "set [api_gateway] memory_pool_size to {} or less, or raise the limit",
            Bytes(ceiling / 2 / GRAIN_BYTES * GRAIN_BYTES)
        ),
    };
    if bytes >= ceiling {
        let cause = format!("the pool's {asked} do not fit into {has}, {who}");
        return Err(finding(Severity::Refusal, cause));
    }
    let left = facts.available_bytes;
    Ok(if bytes > ceiling / 5 * 4 {
        let cause = format!("the pool's {asked} are more than 80 % of {has}, {who}");
        Some(finding(Severity::Warning, cause))
    } else if bytes > left {
        let cause = format!("the pool wants {asked} and {} are available", Bytes(left));
        Some(finding(Severity::Warning, cause))
    } else {
        None
    })
}

/// Why explicit hugepages are not used, and what is instead.
fn no_hugepages(facts: &MemoryFacts, bytes: u64) -> Finding {
    let pages = &facts.hugepages;
    let instead = match facts.transparent.as_deref() {
        Some("always" | "madvise") => "transparent hugepages are used instead",
        _ => "plain pages are used instead",
    };
    let (cause, fix) = if pages.page_bytes == 0 {
        (
            "this kernel has no hugepages".to_owned(),
            "boot one with CONFIG_HUGETLBFS".to_owned(),
        )
    } else if let Some(limit) = pages.limit.as_ref().filter(|limit| bytes > limit.bytes) {
        let (allowed, source) = (Bytes(limit.bytes), limit.source.display());
        let kind = Bytes(pages.page_bytes).to_string().replace(' ', "");
        (
            format!(
                "{source} allows {allowed} of hugepages, the pool wants {}",
                Bytes(bytes)
            ),
            format!(
                "raise it (Kubernetes: resources.limits.hugepages-{}: {}Mi)",
                kind.trim_end_matches('B'),
                bytes.div_ceil(MIB)
            ),
        )
    } else {
        let (needed, free) = (pages.needed(bytes), pages.unclaimed());
        let total = pages.configured + needed.saturating_sub(free);
        let size = Bytes(pages.page_bytes);
        (
            format!("the pool wants {needed} hugepages of {size}, {free} are free"),
            format!("sysctl -w vm.nr_hugepages={total}"),
        )
    };
    Finding {
        id: "hugepages",
        severity: Severity::Note,
        cause: format!("{cause}; {instead}"),
        fix,
    }
}

/// Whether the memlock limit keeps io_uring from registering the pool.
fn locked_too_much(facts: &MemoryFacts, bytes: u64) -> Option<Finding> {
    let limit = facts.memlock_bytes.filter(|limit| bytes > *limit)?;
    let (limit, bytes) = (Bytes(limit), Bytes(bytes));
    Some(Finding {
        id: "memlock",
        severity: Severity::Note,
        cause: format!("{limit} may be locked, the pool has {bytes}: io_uring cannot register it"),
        fix: "ulimit -l unlimited (systemd: LimitMEMLOCK=infinity, Docker: --ulimit memlock=-1)"
            .to_owned(),
    })
}

fn hugepages(meminfo: &str, groups: &Cgroups) -> Hugepages {
    let page_bytes = kib_after(meminfo, "Hugepagesize:");
    let count = |name| number_after(meminfo, name).unwrap_or(0);
    Hugepages {
        page_bytes,
        configured: count("HugePages_Total:"),
        free: count("HugePages_Free:"),
        reserved: count("HugePages_Rsvd:"),
        limit: groups.hugepage_limit(page_bytes),
    }
}

fn transparent(root: &HostRoot) -> Option<String> {
    let text = root.read("/sys/kernel/mm/transparent_hugepage/enabled");
    let text = text.ok()?;
    let (_, rest) = text.split_once('[')?;
    let (word, _) = rest.split_once(']')?;
    Some(word.to_owned())
}

/// The memlock limit, which does not bind a process with `CAP_IPC_LOCK`.
fn memlock(root: &HostRoot) -> Option<u64> {
    let status = root.read("/proc/self/status").unwrap_or_default();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    if capabilities.is_some_and(|bits| bits >> CAP_IPC_LOCK & 1 == 1) {
        return None;
    }
    Resource::read(root, "Max locked memory")?.soft
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixture::Fixture;

    const GIB: u64 = 1 << 30;

    fn machine(total_bytes: u64) -> MemoryFacts {
        MemoryFacts {
            total_bytes,
            available_bytes: total_bytes / 8 * 7,
            hugepages: Hugepages {
                page_bytes: 2 * MIB,
                ..Hugepages::default()
            },
            transparent: Some("madvise".into()),
            ..MemoryFacts::default()
        }
    }

    fn limited(bytes: u64) -> MemoryFacts {
        MemoryFacts {
            limit: Some(Limit {
                bytes,
                source: "/sys/fs/cgroup/a/memory.max".into(),
            }),
            ..machine(64 * GIB)
        }
    }

    fn decided(facts: &MemoryFacts, asked: PoolSize) -> Budget {
        Budget::decide(facts, asked).unwrap()
    }

    #[test]
    fn facts_are_read_from_proc_and_the_group() {
        let host = Fixture::new(&[
            (
                "/proc/meminfo",
                "MemTotal:       24684092 kB\nMemFree:        24093996 kB\nMemAvailable:   24302788 kB\n\
                 HugePages_Total:      10\nHugePages_Free:        8\nHugePages_Rsvd:        3\nHugepagesize:       2048 kB\n",
            ),
            (
                "/proc/self/mountinfo",
                "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            ),
            ("/proc/self/cgroup", "0::/\n"),
            ("/sys/fs/cgroup/memory.max", "1073741824\n"),
            ("/sys/fs/cgroup/hugetlb.2MB.max", "4194304\n"),
            (
                "/sys/kernel/mm/transparent_hugepage/enabled",
                "always [madvise] never\n",
            ),
            (
                "/proc/self/limits",
                "Max locked memory         8388608              8388608              bytes     \n",
            ),
            (
                "/proc/self/status",
                "Name:\tultragate\nCapEff:\t00000000a80425fb\n",
            ),
        ]);
        let facts = MemoryFacts::read(&host.root());
        assert_eq!(facts.total_bytes, 24_684_092 << 10);
        assert_eq!(facts.available_bytes, 24_302_788 << 10);
        assert_eq!(facts.limit.as_ref().unwrap().bytes, GIB);
        assert_eq!(facts.transparent.as_deref(), Some("madvise"));
        assert_eq!(facts.memlock_bytes, Some(8 * MIB));
        assert_eq!((facts.hugepages.free, facts.hugepages.reserved), (8, 3));
        assert!(facts.hugepages.suffice(4 * MIB));
        assert!(!facts.hugepages.suffice(6 * MIB), "the group allows two");
        host.write("/proc/self/status", "CapEff:\t000001ffffffffff\n");
        assert_eq!(MemoryFacts::read(&host.root()).memlock_bytes, None);
    }

    #[test]
    fn auto_takes_a_quarter_within_bounds() {
        for (total, pool) in [
            (8 * GIB, 2 * GIB),
            (64 * GIB, 4 * GIB),
            (200 * MIB, 64 * MIB),
        ] {
            assert_eq!(decided(&machine(total), PoolSize::Auto).bytes, pool);
        }
        let budget = decided(&limited(GIB), PoolSize::Auto);
        assert_eq!(budget.bytes, 256 * MIB);
        assert_eq!(
            budget.reason,
            "256 MiB: a quarter of 1 GiB (the limit in /sys/fs/cgroup/a/memory.max)"
        );
    }

    #[test]
    fn a_pool_over_the_limit_is_refused_with_cause_and_fix() {
        let refusal = Budget::decide(&limited(4 * GIB), PoolSize::Bytes(8 * GIB)).unwrap_err();
        assert_eq!(refusal.severity, Severity::Refusal);
        assert_eq!(
            refusal.to_string(),
            "the pool's 8 GiB do not fit into 4 GiB, the limit in /sys/fs/cgroup/a/memory.max; \
             set [api_gateway] memory_pool_size to 2 GiB or less, or raise the limit"
        );
        let tiny = Budget::decide(&limited(50 * MIB), PoolSize::Auto).unwrap_err();
        assert_eq!(tiny.severity, Severity::Refusal);
    }

    #[test]
    fn a_pool_close_to_the_limit_is_warned_of() {
        let budget = decided(&limited(4 * GIB), PoolSize::Bytes(7 * GIB / 2));
        assert_eq!(budget.findings[0].severity, Severity::Warning);
        let mut busy = machine(16 * GIB);
        busy.available_bytes = GIB;
        let budget = decided(&busy, PoolSize::Bytes(2 * GIB));
        assert_eq!(
            budget.findings[0].cause,
            "the pool wants 2 GiB and 1 GiB are available"
        );
    }

    #[test]
    fn enough_hugepages_are_used_whatever_the_memory_limit() {
        let mut facts = limited(GIB);
        facts.hugepages.configured = 1_024;
        facts.hugepages.free = 1_024;
        let budget = decided(&facts, PoolSize::Bytes(2 * GIB));
        assert!(budget.hugepages);
        assert_eq!(budget.findings, []);
    }

    #[test]
    fn missing_hugepages_are_a_note_with_the_command() {
        let mut facts = machine(16 * GIB);
        facts.hugepages.configured = 20;
        facts.hugepages.free = 12;
        facts.hugepages.reserved = 2;
        let budget = decided(&facts, PoolSize::Bytes(GIB));
        assert!(!budget.hugepages);
        let [note] = &budget.findings[..] else {
            panic!("{:?}", budget.findings)
        };
        assert_eq!(note.severity, Severity::Note);
        assert_eq!(
            note.to_string(),
            "the pool wants 512 hugepages of 2 MiB, 10 are free; transparent hugepages are used instead; \
             sysctl -w vm.nr_hugepages=522"
        );
    }

    #[test]
    fn a_group_that_forbids_hugepages_is_named() {
        let mut facts = machine(16 * GIB);
        facts.transparent = Some("never".into());
        facts.hugepages.free = 10_000;
        facts.hugepages.limit = Some(Limit {
            bytes: 0,
            source: "/sys/fs/cgroup/hugetlb.2MB.max".into(),
        });
        let note = &decided(&facts, PoolSize::Bytes(GIB)).findings[0];
        assert_eq!(
            note.to_string(),
            "/sys/fs/cgroup/hugetlb.2MB.max allows 0 bytes of hugepages, the pool wants 1 GiB; \
             plain pages are used instead; raise it (Kubernetes: resources.limits.hugepages-2Mi: 1024Mi)"
        );
    }

    #[test]
    fn a_low_memlock_limit_is_a_note() {
        let mut facts = machine(16 * GIB);
        facts.memlock_bytes = Some(8 * MIB);
        let budget = decided(&facts, PoolSize::Auto);
        let note = budget.findings.iter().find(|f| f.id == "memlock").unwrap();
        assert_eq!(
            note.cause,
            "8 MiB may be locked, the pool has 4 GiB: io_uring cannot register it"
        );
    }
}
