//! What the kernel counts of this process, as the `process_*` metrics want it.

use base::{Span, Wall};

use super::limits::Resource;
use super::{HostRoot, kib_after, number_after};

/// Facts of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// User and system time of all threads.
    pub cpu: Span,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Virtual memory.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// The bound on them; `None` is unlimited.
    pub max_fds: Option<u64>,
    /// When it started.
    pub started: Wall,
}

impl Process {
    /// Reads them: four small files and a directory, for a control thread. `None` where `/proc` is not mounted.
    #[must_use]
    pub fn read(root: &HostRoot) -> Option<Self> {
        let stat = root.read("/proc/self/stat").ok()?;
        let status = root.read("/proc/self/status").ok()?;
        // The second field is the program's name in brackets, and may hold anything.
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<_> = fields.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.trim().parse::<u64>().ok();
        let boot = number_after(&root.read("/proc/stat").ok()?, "btime ")?;
        let limit = Resource::read(root, "Max open files");
        Some(Self {
            cpu: Span(ticks_ns(field(14)? + field(15)?)),
            resident_bytes: kib_after(&status, "VmRSS:"),
            virtual_bytes: kib_after(&status, "VmSize:"),
            threads: field(20)?,
            open_fds: root.names("/proc/self/fd").len() as u64,
            max_fds: limit.and_then(|limit| limit.soft),
            started: Wall(boot * 1_000 + ticks_ns(field(22)?) / 1_000_000),
        })
    }
}

fn ticks_ns(ticks: u64) -> u64 {
    // SAFETY: reads a constant of the system; no memory is involved.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let per_second = u64::try_from(per_second).unwrap_or(100).max(1);
    ticks.saturating_mul(1_000_000_000 / per_second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixture::Fixture;

    #[test]
    fn facts_are_read_past_an_odd_name() {
        let host = Fixture::new(&[
            (
                "/proc/self/stat",
                "42 (a) b (c) R 1 42 42 0 -1 4194304 101 0 0 0 250 50 0 0 20 0 7 0 1500 3133440 388 18446744073709551615\n",
            ),
            (
                "/proc/self/status",
                "Name:\ta) b (c\nVmSize:\t    3060 kB\nVmRSS:\t    1768 kB\n",
            ),
            ("/proc/stat", "cpu  1 2 3\nbtime 1795244000\n"),
            (
                "/proc/self/limits",
                "Max open files            1024                 524288               files     \n",
            ),
            ("/proc/self/fd/0", ""),
            ("/proc/self/fd/1", ""),
        ]);
        let expected = Process {
            cpu: Span::from_secs(3),
            resident_bytes: 1768 << 10,
            virtual_bytes: 3060 << 10,
            threads: 7,
            open_fds: 2,
            max_fds: Some(1_024),
            started: Wall::from_secs(1_795_244_015),
        };
        assert_eq!(Process::read(&host.root()), Some(expected));
    }

    #[test]
    fn this_process_is_there() {
        let process = Process::read(&HostRoot::system()).unwrap();
        assert!(process.resident_bytes > 0 && process.virtual_bytes > process.resident_bytes);
        assert!(process.open_fds >= 3 && process.threads >= 1);
        assert!(process.started > Wall::from_secs(1_700_000_000));
    }

    #[test]
    fn without_proc_there_are_no_facts() {
        assert_eq!(Process::read(&Fixture::new(&[]).root()), None);
    }
}
