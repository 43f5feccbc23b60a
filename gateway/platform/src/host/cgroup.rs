//! The control groups of this process, version 2, version 1 or both at once, and what they allow.
//!
//! A limit binds wherever it is set between a group and the root, so every question is asked of the process's own group
//! and of all groups above it that this mount shows.

use std::path::{Component, Path, PathBuf};

use base::Span;

use super::{CpuList, HostRoot};

/// Version 1 says "no limit" with a number that no machine has.
const UNLIMITED_BYTES: u64 = 1 << 60;

/// The groups of this process.
#[derive(Debug)]
pub struct Cgroups {
    root: HostRoot,
    hierarchies: Vec<Hierarchy>,
}

/// One mounted hierarchy.
#[derive(Debug)]
struct Hierarchy {
    /// `None` is version 2, which has all of them.
    controllers: Option<Vec<String>>,
    /// The process's own group first, then upwards.
    groups: Vec<PathBuf>,
}

/// CPU time that a group may take in each period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Microseconds of CPU time a period.
    pub quota_us: u64,
    /// Microseconds of a period; not zero.
    pub period_us: u64,
    /// The file that says so.
    pub source: PathBuf,
}

impl Quota {
    /// CPUs in thousandths.
    #[must_use]
    pub fn millicpus(&self) -> u64 {
        self.quota_us.saturating_mul(1_000) / self.period_us.max(1)
    }
}

/// A limit in bytes and the file that sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The limit.
    pub bytes: u64,
    /// The file that says so.
    pub source: PathBuf,
}

/// What the quota did since the group began. Of the groups on the way up, the one that was throttled longest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Periods that passed.
    pub periods: u64,
    /// Of these, the ones in which the quota ran out.
    pub throttled_periods: u64,
    /// How long tasks were kept from running.
    pub throttled: Span,
}

impl Cgroups {
    /// The groups of this process; none where the kernel or the mounts show none.
    #[must_use]
    pub fn of_self(root: &HostRoot) -> Self {
        let mounts = root.read("/proc/self/mountinfo").unwrap_or_default();
        let groups = root.read("/proc/self/cgroup").unwrap_or_default();
        let hierarchies = mounts
            .lines()
            .filter_map(Mount::parse)
            .filter_map(|mount| mount.hierarchy(&groups))
            .collect();
        Self {
            root: root.clone(),
            hierarchies,
        }
    }

    /// The tightest CPU quota.
    #[must_use]
    pub fn cpu_quota(&self) -> Option<Quota> {
        let quotas = self.groups("cpu").filter_map(|group| self.quota(group));
        quotas.min_by_key(Quota::millicpus)
    }

    /// The tightest memory limit.
    #[must_use]
    pub fn memory_limit(&self) -> Option<Limit> {
        self.limit("memory", "memory.max", "memory.limit_in_bytes")
    }

    /// The tightest limit on hugepages of a size, where one is set.
    #[must_use]
    pub fn hugepage_limit(&self, page_bytes: u64) -> Option<Limit> {
        let size = match page_bytes >> 20 {
            mib if mib >= 1 << 10 => format!("{}GB", mib >> 10),
            mib => format!("{mib}MB"),
        };
        let version2 = format!("hugetlb.{size}.max");
        self.limit(
            "hugetlb",
            &version2,
            &format!("hugetlb.{size}.limit_in_bytes"),
        )
    }

    /// Memory that the process's own group takes, page cache included.
    #[must_use]
    pub fn memory_usage(&self) -> Option<u64> {
        let files = ["memory.current", "memory.usage_in_bytes"];
        self.groups("memory")
            .find_map(|group| files.iter().find_map(|f| self.root.number(group.join(f))))
    }

    /// CPUs the group may use, where a cpuset says so.
    #[must_use]
    pub fn cpuset(&self) -> Option<CpuList> {
        let files = [
            "cpuset.cpus.effective",
            "cpuset.effective_cpus",
            "cpuset.cpus",
        ];
        self.groups("cpuset")
            .flat_map(|group| files.map(|file| group.join(file)))
            .filter_map(|path| CpuList::parse(&self.root.read(path).ok()?))
            .find(|cpus| !cpus.0.is_empty())
    }

    /// What the quota did, where there is one to tell of.
    #[must_use]
    pub fn throttling(&self) -> Option<Throttling> {
        let files = self.groups("cpu").map(|group| group.join("cpu.stat"));
        let told = files.filter_map(|file| throttling_of(&self.root.read(file).ok()?));
        told.max_by_key(|told| (told.throttled, told.periods))
    }

    fn quota(&self, group: &Path) -> Option<Quota> {
        let version2 = || {
            let source = group.join("cpu.max");
            let text = self.root.read(&source).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            Some((quota.parse().ok()?, period.parse().ok()?, source))
        };
        let version1 = || {
            let source = group.join("cpu.cfs_quota_us");
            let quota = self.root.number(&source)?; // -1, no quota, is no such number.
            let period = self.root.number(group.join("cpu.cfs_period_us"))?;
            Some((quota, period, source))
        };
        let (quota_us, period_us, source) = version2().or_else(version1)?;
        (period_us > 0).then_some(Quota {
            quota_us,
            period_us,
            source,
        })
    }

    fn limit(&self, controller: &str, version2: &str, version1: &str) -> Option<Limit> {
        self.groups(controller)
            .flat_map(|group| [version2, version1].map(|file| group.join(file)))
            .filter_map(|source| {
                let bytes = self.root.number(&source)?;
                (bytes < UNLIMITED_BYTES).then_some(Limit { bytes, source })
            })
            .min_by_key(|limit| limit.bytes)
    }

    /// Directories of the groups that a controller's limits may be set in.
    fn groups<'a>(&'a self, controller: &'a str) -> impl Iterator<Item = &'a Path> {
        let with = move |hierarchy: &&Hierarchy| match &hierarchy.controllers {
            None => true,
            Some(all) => all.iter().any(|name| name == controller),
        };
        let hierarchies = self.hierarchies.iter().filter(with);
        hierarchies.flat_map(|hierarchy| hierarchy.groups.iter().map(PathBuf::as_path))
    }
}

fn throttling_of(stat: &str) -> Option<Throttling> {
    let value = |name: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name))?;
        line.strip_prefix(' ')?.trim().parse::<u64>().ok()
    };
    let throttled = match value("throttled_usec") {
        Some(micros) => Span::from_micros(micros),
        None => Span(value("throttled_time")?),
    };
    Some(Throttling {
        periods: value("nr_periods")?,
        throttled_periods: value("nr_throttled")?,
        throttled,
    })
}

/// A mounted cgroup file system, from `/proc/self/mountinfo` (proc(5)).
#[derive(Debug)]
struct Mount {
    /// The group that the mount point shows.
    root: PathBuf,
    point: PathBuf,
    /// `None` is version 2.
    controllers: Option<Vec<String>>,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (fields, tail) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let mut tail = tail.split(' ');
        let controllers = match tail.next()? {
            "cgroup2" => None,
            "cgroup" => Some(tail.nth(1)?.split(',').map(str::to_owned).collect()),
            _ => return None,
        };
        Some(Self {
            root: unescaped(root),
            point: unescaped(point),
            controllers,
        })
    }

    /// The process's groups in this mount; `groups` is `/proc/self/cgroup`.
    fn hierarchy(self, groups: &str) -> Option<Hierarchy> {
        let path = groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            self.is_of(controllers).then_some(Path::new(path))
        })?;
        // A path that is not below the mount's root belongs to another namespace; what is mounted is then all there is
        // to see, and in a container it is the process's own group.
        let foreign = path.components().any(|part| part == Component::ParentDir);
        let below = path.strip_prefix(&self.root).ok().filter(|_| !foreign);
        let own = self.point.join(below.unwrap_or(Path::new("")));
        let groups = own.ancestors().take_while(|g| g.starts_with(&self.point));
        Some(Hierarchy {
            controllers: self.controllers,
            groups: groups.map(Path::to_owned).collect(),
        })
    }

    fn is_of(&self, controllers: &str) -> bool {
        match &self.controllers {
            None => controllers.is_empty(),
            Some(own) => controllers.split(',').any(|c| own.iter().any(|o| o == c)),
        }
    }
}

/// Paths in mountinfo write space, tab, newline and backslash as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut plain = String::with_capacity(text.len());
    let mut parts = text.split('\\');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let code = part
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(part.get(3..).unwrap_or_default());
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixture::Fixture;

    const VERSION2: &str = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";

    fn version1(root: &str) -> String {
        ["cpu,cpuacct", "memory", "cpuset", "hugetlb"]
            .map(|set| {
                format!("31 30 0:2 {root} /sys/fs/cgroup/{set} rw - cgroup cgroup rw,{set}\n")
            })
            .concat()
    }

    #[test]
    fn a_quota_binds_wherever_it_is_set() {
        let host = Fixture::new(&[
            ("/proc/self/mountinfo", VERSION2),
            ("/proc/self/cgroup", "0::/kubepods/pod1/box\n"),
            (
                "/sys/fs/cgroup/kubepods/pod1/box/cpu.max",
                "800000 100000\n",
            ),
            ("/sys/fs/cgroup/kubepods/pod1/cpu.max", "150000 50000\n"),
            ("/sys/fs/cgroup/kubepods/cpu.max", "max 100000\n"),
        ]);
        let quota = Cgroups::of_self(&host.root()).cpu_quota().unwrap();
        assert_eq!(quota.millicpus(), 3_000);
        assert_eq!(
            quota.source,
            Path::new("/sys/fs/cgroup/kubepods/pod1/cpu.max")
        );
    }

    #[test]
    fn limits_of_version_2_are_the_smallest_on_the_way_up() {
        let host = Fixture::new(&[
            ("/proc/self/mountinfo", VERSION2),
            ("/proc/self/cgroup", "0::/a/b\n"),
            ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("/sys/fs/cgroup/a/b/memory.current", "4096\n"),
            ("/sys/fs/cgroup/a/memory.max", "1073741824\n"),
            ("/sys/fs/cgroup/a/b/hugetlb.2MB.max", "0\n"),
            ("/sys/fs/cgroup/a/b/cpuset.cpus.effective", "2-3,6\n"),
        ]);
        let groups = Cgroups::of_self(&host.root());
        assert_eq!(groups.memory_limit().unwrap().bytes, 1 << 30);
        assert_eq!(groups.memory_usage(), Some(4096));
        assert_eq!(groups.hugepage_limit(2 << 20).unwrap().bytes, 0);
        assert_eq!(groups.hugepage_limit(1 << 30), None);
        assert_eq!(groups.cpuset(), CpuList::parse("2-3,6"));
        assert_eq!(groups.cpu_quota(), None);
    }

    #[test]
    fn version_1_has_a_hierarchy_for_each_controller() {
        let host = Fixture::new(&[
            ("/proc/self/mountinfo", &version1("/")),
            (
                "/proc/self/cgroup",
                "4:memory:/m\n3:cpuset:/\n1:cpuacct,cpu:/c/d\n",
            ),
            ("/sys/fs/cgroup/cpu,cpuacct/c/d/cpu.cfs_quota_us", "-1\n"),
            (
                "/sys/fs/cgroup/cpu,cpuacct/c/d/cpu.cfs_period_us",
                "100000\n",
            ),
            ("/sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us", "250000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us", "100000\n"),
            (
                "/sys/fs/cgroup/memory/m/memory.limit_in_bytes",
                "536870912\n",
            ),
            (
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            ("/sys/fs/cgroup/memory/m/memory.usage_in_bytes", "7\n"),
            ("/sys/fs/cgroup/cpuset/cpuset.cpus", "0-1\n"),
        ]);
        let groups = Cgroups::of_self(&host.root());
        assert_eq!(groups.cpu_quota().unwrap().millicpus(), 2_500);
        assert_eq!(groups.memory_limit().unwrap().bytes, 512 << 20);
        assert_eq!(groups.memory_usage(), Some(7));
        assert_eq!(groups.cpuset(), CpuList::parse("0-1"));
    }

    #[test]
    fn a_container_without_a_namespace_sees_its_own_group_at_the_mount() {
        let host = Fixture::new(&[
            ("/proc/self/mountinfo", &version1("/docker/abc")),
            (
                "/proc/self/cgroup",
                "4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc/inner\n",
            ),
            (
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "1073741824\n",
            ),
            (
                "/sys/fs/cgroup/cpu,cpuacct/inner/cpu.cfs_quota_us",
                "50000\n",
            ),
            (
                "/sys/fs/cgroup/cpu,cpuacct/inner/cpu.cfs_period_us",
                "100000\n",
            ),
        ]);
        let groups = Cgroups::of_self(&host.root());
        assert_eq!(groups.memory_limit().unwrap().bytes, 1 << 30);
        assert_eq!(groups.cpu_quota().unwrap().millicpus(), 500);
    }

    #[test]
    fn a_path_outside_the_namespace_falls_back_to_the_mount() {
        let host = Fixture::new(&[
            ("/proc/self/mountinfo", VERSION2),
            ("/proc/self/cgroup", "0::/../../other\n"),
            ("/sys/fs/cgroup/cpu.max", "100000 100000\n"),
        ]);
        let quota = Cgroups::of_self(&host.root()).cpu_quota().unwrap();
        assert_eq!(quota.millicpus(), 1_000);
    }

    #[test]
    fn both_versions_at_once_are_both_asked() {
        let mounts = format!(
            "{}31 30 0:9 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            version1("/")
        );
        let host = Fixture::new(&[
            ("/proc/self/mountinfo", &mounts),
            ("/proc/self/cgroup", "1:cpu,cpuacct:/c\n0::/u\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us", "400000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us", "100000\n"),
            ("/sys/fs/cgroup/unified/u/memory.max", "1048576\n"),
        ]);
        let groups = Cgroups::of_self(&host.root());
        assert_eq!(groups.cpu_quota().unwrap().millicpus(), 4_000);
        assert_eq!(groups.memory_limit().unwrap().bytes, 1 << 20);
    }

    #[test]
    fn a_host_without_groups_limits_nothing() {
        let groups = Cgroups::of_self(&Fixture::new(&[]).root());
        assert_eq!(groups.cpu_quota(), None);
        assert_eq!(groups.memory_limit(), None);
        assert_eq!(groups.cpuset(), None);
        assert_eq!(groups.throttling(), None);
    }

    #[test]
    fn throttling_is_that_of_the_group_it_hurt_most() {
        let host = Fixture::new(&[
            ("/proc/self/mountinfo", VERSION2),
            ("/proc/self/cgroup", "0::/a/b\n"),
            (
                "/sys/fs/cgroup/a/b/cpu.stat",
                "usage_usec 5\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
            ),
            (
                "/sys/fs/cgroup/a/cpu.stat",
                "usage_usec 5\nnr_periods 80\nnr_throttled 3\nthrottled_usec 1500\n",
            ),
            ("/sys/fs/cgroup/cpu.stat", "usage_usec 5\n"),
        ]);
        let expected = Throttling {
            periods: 80,
            throttled_periods: 3,
            throttled: Span::from_micros(1_500),
        };
        assert_eq!(Cgroups::of_self(&host.root()).throttling(), Some(expected));
        let version1 = "nr_periods 2\nnr_throttled 1\nthrottled_time 1500\n";
        assert_eq!(throttling_of(version1).unwrap().throttled, Span(1_500));
    }

    #[test]
    fn escaped_mount_points_are_read() {
        assert_eq!(unescaped("/a\\040b\\134x2d"), Path::new("/a b\\x2d"));
        assert_eq!(unescaped("/a\\zz"), Path::new("/a\\zz"));
    }
}
