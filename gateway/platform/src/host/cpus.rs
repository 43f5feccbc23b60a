//! Which CPUs this process may use, and how many shards that is worth.

use std::io;

use super::cgroup::{Cgroups, Quota};
use super::{CpuList, HostRoot};

/// The CPUs a process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus {
    /// All of them, in ascending order; never empty.
    pub usable: CpuList,
    /// How many threads they keep busy: fewer than there are CPUs under a quota.
    pub count: usize,
    /// What decided, for the line printed at start: `2 CPUs: affinity 0-1; no quota`.
    pub reason: String,
}

impl Cpus {
    /// Puts affinity, cpuset and quota together. A quota is rounded down, because a shard that is throttled in the
    /// middle of a period stalls all its connections; but one CPU is always used.
    ///
    /// `affinity` must be asked for before any thread pins itself: see [`affinity`].
    #[must_use]
    pub fn detect(root: &HostRoot, affinity: CpuList) -> Self {
        let groups = Cgroups::of_self(root);
        let (usable, allowed) = restrict(affinity, groups.cpuset());
        let quota = groups.cpu_quota();
        let whole = quota.as_ref().map(|quota| quota.millicpus() / 1_000);
        let whole = whole.and_then(|cpus| usize::try_from(cpus).ok());
        let count = whole.unwrap_or(usize::MAX).clamp(1, usable.0.len().max(1));
        let plural = if count == 1 { "CPU" } else { "CPUs" };
        let quota = quota_said(quota.as_ref());
        Self {
            reason: format!("{count} {plural}: {allowed}; {quota}"),
            usable,
            count,
        }
    }
}

/// CPUs that the calling thread may run on. Asked by the main thread before anything is pinned: a pinned thread, and
/// every thread it starts, would answer with its one CPU.
///
/// # Errors
/// When the kernel refuses, which it does above 8,192 CPUs.
pub fn affinity() -> io::Result<CpuList> {
    const WORDS: usize = 128;
    let mut mask = [0u64; WORDS];
    // SAFETY: the kernel writes at most the given number of bytes, which is the size of `mask`; a CPU set is an array of
    // machine words with no invalid value. 0 is the calling thread.
    let result =
        unsafe { libc::sched_getaffinity(0, size_of_val(&mask), mask.as_mut_ptr().cast()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let set = |cpu: &usize| {
        mask.get(cpu / 64)
            .is_some_and(|word| word >> (cpu % 64) & 1 == 1)
    };
    Ok(CpuList((0..WORDS * 64).filter(set).collect()))
}

/// The affinity within the cpuset, and both in words. The kernel keeps the two apart only while a cpuset changes.
fn restrict(affinity: CpuList, cpuset: Option<CpuList>) -> (CpuList, String) {
    let said = format!("affinity {affinity}");
    let Some(cpuset) = cpuset.filter(|cpuset| *cpuset != affinity) else {
        return (affinity, said);
    };
    let both = |cpu: &usize| cpuset.0.contains(cpu);
    let common: Vec<_> = affinity.0.iter().copied().filter(both).collect();
    if common.is_empty() || common == affinity.0 {
        return (affinity, said);
    }
    (CpuList(common), format!("{said}, cpuset {cpuset}"))
}

fn quota_said(quota: Option<&Quota>) -> String {
    let Some(quota) = quota else {
        return "no quota".to_owned();
    };
    let (whole, part) = (quota.millicpus() / 1_000, quota.millicpus() % 1_000);
    let cpus = match part {
        0 => whole.to_string(),
        _ => format!("{whole}.{part:03}")
            .trim_end_matches('0')
            .to_owned(),
    };
    let rounded = match (whole, part) {
        (0, _) => ", and one is the least",
        (_, 0) => "",
        _ => ", rounded down",
    };
    format!("quota {cpus} of {}{rounded}", quota.source.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixture::Fixture;

    fn detect(affinity: &str, files: &[(&str, &str)]) -> Cpus {
        let host = Fixture::new(files);
        host.write(
            "/proc/self/mountinfo",
            "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        );
        host.write("/proc/self/cgroup", "0::/a\n");
        Cpus::detect(&host.root(), CpuList::parse(affinity).unwrap())
    }

    #[test]
    fn without_limits_every_cpu_of_the_affinity_counts() {
        let cpus = detect("0-1", &[]);
        assert_eq!(cpus.count, 2);
        assert_eq!(cpus.reason, "2 CPUs: affinity 0-1; no quota");
    }

    #[test]
    fn a_quota_is_rounded_down() {
        let cpus = detect("0-63", &[("/sys/fs/cgroup/a/cpu.max", "350000 100000\n")]);
        assert_eq!((cpus.count, cpus.usable.0.len()), (3, 64));
        assert_eq!(
            cpus.reason,
            "3 CPUs: affinity 0-63; quota 3.5 of /sys/fs/cgroup/a/cpu.max, rounded down"
        );
    }

    #[test]
    fn a_quota_below_one_cpu_still_gives_one() {
        let cpus = detect("0-3", &[("/sys/fs/cgroup/cpu.max", "25000 100000\n")]);
        assert_eq!(cpus.count, 1);
        assert_eq!(
            cpus.reason,
            "1 CPU: affinity 0-3; quota 0.25 of /sys/fs/cgroup/cpu.max, and one is the least"
        );
    }

    #[test]
    fn a_quota_above_the_affinity_adds_no_cpu() {
        let cpus = detect("4,6", &[("/sys/fs/cgroup/cpu.max", "800000 100000\n")]);
        assert_eq!(cpus.count, 2);
        assert_eq!(
            cpus.reason,
            "2 CPUs: affinity 4,6; quota 8 of /sys/fs/cgroup/cpu.max"
        );
    }

    #[test]
    fn a_cpuset_narrows_the_affinity() {
        let narrow = ("/sys/fs/cgroup/a/cpuset.cpus.effective", "2-3\n");
        let cpus = detect("0-7", &[narrow]);
        assert_eq!(cpus.usable.0, [2, 3]);
        assert_eq!(cpus.reason, "2 CPUs: affinity 0-7, cpuset 2-3; no quota");
        let elsewhere = detect("0-1", &[narrow]);
        assert_eq!(
            elsewhere.usable.0,
            [0, 1],
            "what the kernel lets run decides"
        );
    }

    #[test]
    fn this_process_may_run_somewhere() {
        let affinity = affinity().unwrap();
        assert!(!affinity.0.is_empty());
        let cpus = Cpus::detect(&HostRoot::system(), affinity);
        assert!(cpus.count >= 1 && cpus.count <= cpus.usable.0.len());
    }
}
