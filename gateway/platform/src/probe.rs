//! Whether io_uring can be had, and if not, which of the usual reasons it is and what lifts it.

use std::fmt;
use std::io;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base::{Completion, Driver, ListenerId, Room, ShardId, Span};

use crate::config::{DriverConfig, StartError};
use crate::memory::{MemoryPlan, NodeMemory, PageWish, ShardSizes};
use crate::uring::Uring;

/// The oldest kernel with everything that the io_uring driver uses.
pub const KERNEL_FLOOR: &str = "6.1";

/// Which driver carries a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Completions from io_uring.
    IoUring,
    /// Readiness from epoll.
    Epoll,
}

impl Backend {
    /// Its name in configuration and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why io_uring is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalClass {
    /// The system call is not there (ENOSYS): a kernel without it, or a filter that says so.
    Absent,
    /// `kernel.io_uring_disabled` forbids it (EPERM).
    Sysctl,
    /// A seccomp filter or security module forbids it (EPERM, EACCES).
    Filtered,
    /// Locked or kernel memory is short (ENOMEM).
    Memory,
    /// The kernel is older than the floor (EINVAL).
    TooOld,
    /// Something else.
    Other,
}

impl RefusalClass {
    /// Its name in metrics and health.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "enosys",
            Self::Sysctl => "sysctl",
            Self::Filtered => "seccomp",
            Self::Memory => "memory",
            Self::TooOld => "kernel_too_old",
            Self::Other => "other",
        }
    }
}

/// A refusal of io_uring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which of the usual reasons.
    pub class: RefusalClass,
    /// The reason in words.
    pub message: String,
    /// What lifts it.
    pub fix: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.fix)
    }
}

/// Tries io_uring by running the driver itself, on the calling thread: a ring with its flags, its buffer rings, one
/// accepted connection and one received message, over a local socket.
///
/// # Errors
/// Why it cannot be used.
pub fn io_uring() -> Result<(), Refusal> {
    exchange().map_err(|error| match error {
        StartError::Refused(refusal) => refusal,
        StartError::System { what, error, fix } => Refusal {
            class: RefusalClass::Other,
            message: format!("{what}: {error}"),
            fix: fix.to_owned(),
        },
    })
}

fn exchange() -> Result<(), StartError> {
    let local = StartError::system(
        "probing io_uring over a local socket",
        "run `ultragate doctor`",
    );
    let (listener, address) = match listen() {
        Ok(pair) => pair,
        Err(error) => return Err(local(error)),
    };
    let memory = NodeMemory::take(&MemoryPlan {
        bytes: 2 << 20,
        pages: PageWish::Plain,
        lend: false,
        shards: vec![None],
        sizes: ShardSizes {
            small_buffers: 4,
            large_buffers: 1,
            scratch_buffers: 1,
        },
    });
    let lease = memory.as_ref().ok().and_then(|memory| {
        let shard = memory.shard(ShardId(0))?;
        Some((shard, memory.slab().clone()))
    });
    let Some((memory, slab)) = lease else {
        return Err(local(io::Error::from_raw_os_error(libc::ENOMEM)));
    };
    let driver = Uring::new(DriverConfig {
        // Only its descriptor is used, and a local socket needs no network.
        listeners: vec![TcpListener::from(OwnedFd::from(listener))],
        sockets_max: 4,
        busy_poll: Duration::ZERO,
        memory,
        slab,
    })?;
    converse(driver, &address).map_err(|error| StartError::Refused(classify(&error)))
}

fn listen() -> io::Result<(UnixListener, SocketAddr)> {
    static PROBES: AtomicU32 = AtomicU32::new(0);
    let count = PROBES.fetch_add(1, Ordering::Relaxed);
    let name = format!("ultragate-probe-{}-{count}", std::process::id());
    let address = SocketAddr::from_abstract_name(name)?;
    Ok((UnixListener::bind_addr(&address)?, address))
}

/// Accepts one connection and receives one byte.
fn converse(mut driver: Uring, address: &SocketAddr) -> io::Result<()> {
    driver.accept(ListenerId(0), true);
    let mut client = UnixStream::connect_addr(address)?;
    client.write_all(b"?")?;
    let deadline = driver.now().moment + Span::from_secs(2);
    let mut out = Vec::new();
    while driver.now().moment < deadline {
        driver.turn(Some(deadline), &mut out)?;
        for completion in out.drain(..) {
            match completion {
                Completion::Accepted { socket, .. } => driver.receive(socket, Room::Small),
                Completion::Received { .. } => return driver.quiesce(),
                // What a kernel without multishot answers.
                Completion::AcceptFailed { .. } | Completion::Failed { .. } => {
                    return Err(io::Error::from_raw_os_error(libc::EINVAL));
                }
                _ => {}
            }
        }
    }
    Err(io::Error::from_raw_os_error(libc::ETIMEDOUT))
}

/// What a refusal depends on beside the error number.
struct Host {
    /// `kernel.io_uring_disabled`, where the kernel has it (6.6).
    disabled: Option<u8>,
    release: String,
}

impl Host {
    fn read() -> Self {
        let file = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            disabled: file("/proc/sys/kernel/io_uring_disabled")
                .trim()
                .parse()
                .ok(),
            release: file("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// Says which refusal an error is.
pub(crate) fn classify(error: &io::Error) -> Refusal {
    explain(error, &Host::read())
}

fn explain(error: &io::Error, host: &Host) -> Refusal {
    const FILTER: &str = "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile \
                          (docker run --security-opt seccomp=PROFILE.json; Kubernetes: securityContext.seccompProfile)";
    let release = &host.release;
    let (class, message, fix) = match (error.raw_os_error(), host.disabled) {
        (Some(libc::ENOSYS), _) => (
            RefusalClass::Absent,
            format!(
                "io_uring is not there (ENOSYS): kernel {release} is built without it, or a seccomp profile hides it"
            ),
            FILTER.to_owned(),
        ),
        (Some(libc::EPERM), Some(level @ (1 | 2))) => (
            RefusalClass::Sysctl,
            format!("io_uring is switched off (EPERM): kernel.io_uring_disabled = {level}"),
            "sysctl -w kernel.io_uring_disabled=0".to_owned(),
        ),
        (Some(libc::EPERM | libc::EACCES), _) => (
            RefusalClass::Filtered,
            format!(
                "io_uring is filtered ({error}): a seccomp profile or security module forbids it"
            ),
            FILTER.to_owned(),
        ),
        (Some(libc::ENOMEM), _) => (
            RefusalClass::Memory,
            "memory for io_uring is short (ENOMEM)".to_owned(),
            "ulimit -l unlimited (systemd: LimitMEMLOCK=infinity), or a larger memory limit"
                .to_owned(),
        ),
        (Some(libc::EINVAL), _) => (
            RefusalClass::TooOld,
            format!(
                "kernel {release} lacks what is used of io_uring (EINVAL); {KERNEL_FLOOR} is the oldest that has it"
            ),
            format!("boot a kernel of {KERNEL_FLOOR} or later"),
        ),
        _ => (
            RefusalClass::Other,
            format!("io_uring does not work here: {error}"),
            "set [io] backend = \"epoll\"".to_owned(),
        ),
    };
    Refusal {
        class,
        message,
        fix,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(errno: i32, disabled: Option<u8>) -> RefusalClass {
        let host = Host {
            disabled,
            release: "5.15.0-generic".to_owned(),
        };
        let refusal = explain(&io::Error::from_raw_os_error(errno), &host);
        assert!(!refusal.fix.is_empty());
        refusal.class
    }

    #[test]
    fn each_refusal_is_told_from_the_others() {
        assert_eq!(class(libc::ENOSYS, None), RefusalClass::Absent);
        assert_eq!(class(libc::EPERM, Some(2)), RefusalClass::Sysctl);
        assert_eq!(class(libc::EPERM, Some(1)), RefusalClass::Sysctl);
        assert_eq!(class(libc::EPERM, Some(0)), RefusalClass::Filtered);
        assert_eq!(class(libc::EPERM, None), RefusalClass::Filtered);
        assert_eq!(class(libc::EACCES, Some(0)), RefusalClass::Filtered);
        assert_eq!(class(libc::ENOMEM, Some(0)), RefusalClass::Memory);
        assert_eq!(class(libc::EINVAL, None), RefusalClass::TooOld);
        assert_eq!(class(libc::EBADF, None), RefusalClass::Other);
    }

    #[test]
    fn an_old_kernel_is_named_with_the_floor() {
        let host = Host {
            disabled: None,
            release: "5.15.0-generic".to_owned(),
        };
        let refusal = explain(&io::Error::from_raw_os_error(libc::EINVAL), &host);
        assert!(
            refusal.message.contains("5.15.0-generic") && refusal.message.contains(KERNEL_FLOOR)
        );
    }

    #[test]
    fn the_probe_says_yes_or_why_not() {
        if let Err(refusal) = io_uring() {
            assert_ne!(refusal.class, RefusalClass::Other, "{refusal}");
        }
    }
}
