//! Socket calls that both drivers make, none of them on the hit path, and the kernel's error numbers as faults.

use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use base::Fault;

/// A socket address as the kernel reads it.
#[derive(Clone, Copy)]
pub(crate) struct Address {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

impl Address {
    pub(crate) fn pointer(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    pub(crate) fn length(&self) -> libc::socklen_t {
        self.length
    }

    /// Of no family.
    pub(crate) fn empty() -> Self {
        Self {
            // SAFETY: all zeroes is a valid sockaddr_storage, of family AF_UNSPEC.
            storage: unsafe { std::mem::zeroed() },
            length: socklen::<libc::sockaddr_storage>(),
        }
    }

    fn decode(&self) -> Option<SocketAddr> {
        match i32::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says that a sockaddr_in lies in the storage, which is larger.
                let v4: libc::sockaddr_in =
                    unsafe { (&raw const self.storage).cast::<libc::sockaddr_in>().read() };
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddr::V4(SocketAddrV4::new(
                    ip,
                    u16::from_be(v4.sin_port),
                )))
            }
            libc::AF_INET6 => {
                // SAFETY: the family says that a sockaddr_in6 lies in the storage, which is larger.
                let v6: libc::sockaddr_in6 = unsafe {
                    (&raw const self.storage)
                        .cast::<libc::sockaddr_in6>()
                        .read()
                };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Some(SocketAddr::V6(SocketAddrV6::new(
                    ip,
                    port,
                    v6.sin6_flowinfo,
                    v6.sin6_scope_id,
                )))
            }
            _ => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let mut encoded = Self::empty();
        match address {
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: family(libc::AF_INET),
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from(*v4.ip()).to_be(),
                    },
                    sin_zero: [0; 8],
                };
                // SAFETY: the storage is larger than any address and aligned for all of them.
                unsafe {
                    (&raw mut encoded.storage)
                        .cast::<libc::sockaddr_in>()
                        .write(raw)
                };
                encoded.length = socklen::<libc::sockaddr_in>();
            }
            SocketAddr::V6(v6) => {
                let raw = libc::sockaddr_in6 {
                    sin6_family: family(libc::AF_INET6),
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr {
                        s6_addr: v6.ip().octets(),
                    },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe {
                    (&raw mut encoded.storage)
                        .cast::<libc::sockaddr_in6>()
                        .write(raw)
                };
                encoded.length = socklen::<libc::sockaddr_in6>();
            }
        }
        encoded
    }
}

/// A TCP socket for a connection to `to`, without Nagle's delay.
pub(crate) fn stream(to: SocketAddr, flags: libc::c_int) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags;
    // SAFETY: the call has no memory arguments.
    let fd = owned(unsafe { libc::socket(family, kind, libc::IPPROTO_TCP) })?;
    set(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, &1_i32)?;
    Ok(fd)
}

/// A descriptor that a call has just made, or the call's error.
pub(crate) fn owned(result: libc::c_int) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: callers pass what a call that makes descriptors returned: nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

/// Makes the coming close send a reset.
pub(crate) fn reset_on_close(fd: RawFd) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // A refusal (the peer was first) leaves an ordinary close, which is all that is left to do then.
    let _ = set(fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger);
}

/// Ends the sending direction. Refused only where there is nothing left to end.
pub(crate) fn end_sending(fd: RawFd) {
    // SAFETY: the call has no memory arguments.
    unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}

pub(crate) fn peer(fd: RawFd) -> Option<SocketAddr> {
    let mut address = Address::empty();
    // SAFETY: the storage holds any address and its length says so.
    let status = unsafe {
        libc::getpeername(
            fd,
            (&raw mut address.storage).cast(),
            &raw mut address.length,
        )
    };
    if status == 0 { address.decode() } else { None }
}

pub(crate) fn local(fd: RawFd) -> Option<SocketAddr> {
    let mut address = Address::empty();
    // SAFETY: the storage holds any address and its length says so.
    let status = unsafe {
        libc::getsockname(
            fd,
            (&raw mut address.storage).cast(),
            &raw mut address.length,
        )
    };
    if status == 0 { address.decode() } else { None }
}

/// Sets or clears `O_NONBLOCK`.
pub(crate) fn set_blocking(fd: RawFd, blocking: bool) -> io::Result<()> {
    // SAFETY: the call has no memory arguments.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    let wanted = if blocking {
        flags & !libc::O_NONBLOCK
    } else {
        flags | libc::O_NONBLOCK
    };
    // SAFETY: as above.
    if flags < 0 || unsafe { libc::fcntl(fd, libc::F_SETFL, wanted) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The connection's pending error, cleared by asking.
pub(crate) fn pending_error(fd: RawFd) -> i32 {
    let mut error = 0_i32;
    let mut length = socklen::<i32>();
    // SAFETY: an int to write to and its size.
    let status = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut error).cast(),
            &raw mut length,
        )
    };
    if status == 0 { error } else { errno() }
}

/// Whether the kernel is done with the connection. Where our sending direction was never ended, only a reset or a timeout
/// leads there.
pub(crate) fn is_closed(fd: RawFd) -> bool {
    const TCP_CLOSE: u8 = 7;
    // tcpi_state is the first byte of `struct tcp_info`; the kernel cuts the rest.
    let mut state = [0_u8; 8];
    let mut length = socklen::<[u8; 8]>();
    // SAFETY: bytes to write to and their count.
    let status = unsafe {
        libc::getsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut state).cast(),
            &raw mut length,
        )
    };
    status == 0 && state[0] == TCP_CLOSE
}

/// The calling thread's last error number.
pub(crate) fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

pub(crate) fn fault(errno: i32) -> Fault {
    match errno {
        libc::ECONNREFUSED => Fault::Refused,
        libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED | libc::ENOTCONN => Fault::Reset,
        libc::ENETUNREACH
        | libc::EHOSTUNREACH
        | libc::ENETDOWN
        | libc::EHOSTDOWN
        | libc::EAFNOSUPPORT => Fault::Unreachable,
        libc::ETIMEDOUT => Fault::TimedOut,
        libc::EMFILE | libc::ENFILE => Fault::Descriptors,
        libc::ENOMEM | libc::ENOBUFS | libc::EADDRNOTAVAIL | libc::EADDRINUSE => Fault::Resources,
        other => Fault::Other(other),
    }
}

/// Whether an accept failed for the one connection that was at the head of the queue, so that the next may be taken.
/// accept(2): "Linux accept passes already-pending network errors on the new socket".
pub(crate) fn concerns_one_connection(errno: i32) -> bool {
    matches!(
        errno,
        libc::ECONNABORTED
            | libc::EINTR
            | libc::EPROTO
            | libc::ENOPROTOOPT
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EPERM
            | libc::ETIMEDOUT
    )
}

pub(crate) fn set<T>(
    fd: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: `value` is read for its size.
    let status = unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            std::ptr::from_ref(value).cast(),
            socklen::<T>(),
        )
    };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[allow(clippy::cast_possible_truncation)] // address families and the sizes of C structs are small
const fn family(family: libc::c_int) -> libc::sa_family_t {
    family as libc::sa_family_t
}

#[allow(clippy::cast_possible_truncation)] // as above
const fn socklen<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernels_form() {
        for text in [
            "127.0.0.1:80",
            "[::1]:65535",
            "255.255.255.255:1",
            "[fe80::1:2]:443",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Address::from(address).decode(), Some(address));
        }
        assert_eq!(Address::empty().decode(), None);
    }

    #[test]
    fn error_numbers_say_whose_want_it_was() {
        assert_eq!(fault(libc::EPIPE), Fault::Reset);
        assert_eq!(fault(libc::EMFILE), Fault::Descriptors);
        assert_eq!(fault(libc::EADDRNOTAVAIL), Fault::Resources);
        assert_eq!(fault(12345), Fault::Other(12345));
    }
}
