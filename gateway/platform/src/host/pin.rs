//! Pinning threads.

use std::fmt;

use super::CpuList;
use super::cpus::affinity;

/// Why a thread is not where it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotPinned {
    /// The CPU asked for.
    pub cpu: usize,
    /// Where the thread may run instead.
    pub found: CpuList,
}

impl fmt::Display for NotPinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, found } = self;
        write!(
            f,
            "CPU {cpu} is refused, the thread may run on {found}; list usable CPUs in [api_gateway] cpu_affinity"
        )
    }
}

impl std::error::Error for NotPinned {}

/// Pins the calling thread to one CPU and makes sure of it.
///
/// To be called before the thread touches memory of its own: pages are taken from the node of the CPU that first writes
/// to them, so what a pinned thread allocates and fills is local to it, and what others filled for it may not be.
///
/// # Errors
/// When the kernel refuses the CPU or the thread ends up elsewhere.
pub fn pin(cpu: usize) -> Result<(), NotPinned> {
    // The library's CPU set is of fixed size and asserts its bounds.
    let known = usize::try_from(libc::CPU_SETSIZE).is_ok_and(|size| cpu < size);
    let set = known && core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
    let found = affinity().unwrap_or_default();
    match set && found.0 == [cpu] {
        true => Ok(()),
        false => Err(NotPinned { cpu, found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs on a thread of its own, so that the test's threads stay as they are.
    fn pinned(cpu: usize) -> Result<CpuList, NotPinned> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| pin(cpu).map(|()| affinity().unwrap()));
            thread.join().unwrap()
        })
    }

    #[test]
    fn a_pinned_thread_has_one_cpu_and_the_others_keep_theirs() {
        let before = affinity().unwrap();
        let last = *before.0.last().unwrap();
        assert_eq!(pinned(last), Ok(CpuList(vec![last])));
        assert_eq!(affinity().unwrap(), before);
    }

    #[test]
    fn a_cpu_that_is_not_there_is_refused_by_name() {
        for cpu in [1_000, 100_000] {
            let refused = pinned(cpu).unwrap_err();
            assert_eq!(refused.found, affinity().unwrap());
            assert!(
                refused
                    .to_string()
                    .starts_with(&format!("CPU {cpu} is refused"))
            );
        }
    }
}
