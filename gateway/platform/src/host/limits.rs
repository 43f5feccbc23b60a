//! The process's resource limits.

use std::fmt;
use std::io;

use super::HostRoot;

/// A limit as `/proc/self/limits` tells it; `None` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// What binds.
    pub soft: Option<u64>,
    /// How far the process may raise it.
    pub hard: Option<u64>,
}

impl Resource {
    /// The limit called so in `/proc/self/limits`, such as `Max locked memory`.
    #[must_use]
    pub fn read(root: &HostRoot, name: &str) -> Option<Self> {
        let text = root.read("/proc/self/limits").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let mut values = line.split_whitespace();
        let mut next = || match values.next()? {
            "unlimited" => Some(None),
            number => Some(Some(number.parse().ok()?)),
        };
        Some(Self {
            soft: next()?,
            hard: next()?,
        })
    }
}

/// What [`raise_descriptors`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// The soft limit before.
    pub before: u64,
    /// The soft limit now: the hard one.
    pub now: u64,
}

impl fmt::Display for Descriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.before == self.now {
            true => write!(f, "{} file descriptors", self.now),
            false => write!(
                f,
                "{} file descriptors, raised from {}",
                self.now, self.before
            ),
        }
    }
}

/// Raises the soft limit on open file descriptors to the hard one: a proxy needs one for each connection, and the low
/// default exists only for programs that use `select`.
///
/// # Errors
/// When the kernel refuses.
pub fn raise_descriptors() -> io::Result<Descriptors> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid place for the kernel to write one `rlimit` to.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a valid `rlimit` that the kernel only reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Descriptors {
        before,
        now: limit.rlim_cur,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixture::Fixture;

    #[test]
    fn limits_are_read_by_name() {
        let host = Fixture::new(&[(
            "/proc/self/limits",
            "Limit                     Soft Limit           Hard Limit           Units     \n\
             Max locked memory         8388608              unlimited            bytes     \n\
             Max open files            1024                 524288               files     \n",
        )]);
        let locked = Resource::read(&host.root(), "Max locked memory").unwrap();
        assert_eq!((locked.soft, locked.hard), (Some(8 << 20), None));
        let files = Resource::read(&host.root(), "Max open files").unwrap();
        assert_eq!((files.soft, files.hard), (Some(1_024), Some(524_288)));
        assert_eq!(Resource::read(&host.root(), "Max colours"), None);
    }

    #[test]
    fn the_descriptors_limit_ends_at_the_hard_one() {
        let raised = raise_descriptors().unwrap();
        let read = Resource::read(&HostRoot::system(), "Max open files").unwrap();
        assert_eq!(read.soft, Some(raised.now));
        assert_eq!(read.soft, read.hard);
        let again = raise_descriptors().unwrap();
        assert_eq!(
            again.to_string(),
            format!("{} file descriptors", raised.now)
        );
    }
}
