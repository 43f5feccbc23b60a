//! This host as the plan sees it. Read once, before anything is pinned or taken.

use platform::host::cpus::{self, Cpus};
use platform::host::limits;
use platform::host::memory::MemoryFacts;
use platform::host::topology::{self, Topology};
use platform::host::{CpuList, HostRoot};

/// What this host lets the process use.
pub(crate) struct Host {
    /// Where its facts are read from.
    pub(crate) root: HostRoot,
    /// CPUs.
    pub(crate) cpus: Cpus,
    /// Where they are.
    pub(crate) topology: Box<dyn Topology + Send + Sync>,
    /// Memory.
    pub(crate) memory: MemoryFacts,
    /// The limit on open files, raised as far as the process may.
    pub(crate) open_files: u64,
}

impl Host {
    /// Reads this machine, and raises the soft limit on open files to the hard one.
    pub(crate) fn read() -> Self {
        let root = HostRoot::system();
        // A kernel that does not tell the affinity tells nothing else of it either: one CPU is the safe reading.
        let affinity = cpus::affinity().unwrap_or_else(|_| CpuList(vec![0]));
        let open_files = limits::raise_descriptors().map_or(1024, |limit| limit.now);
        let cpus = Cpus::detect(&root, affinity);
        Self {
            topology: topology::detect(&root, &cpus.usable),
            cpus,
            memory: MemoryFacts::read(&root),
            open_files,
            root,
        }
    }

    /// Memory that the process may use: the cgroup's limit or the machine's memory.
    pub(crate) fn memory_limit(&self) -> u64 {
        let limit = self.memory.limit.as_ref().map(|limit| limit.bytes);
        limit.unwrap_or(u64::MAX).min(self.memory.total_bytes)
    }
}
