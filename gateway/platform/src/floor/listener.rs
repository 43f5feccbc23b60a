//! The listening socket of a floor.

use std::io;
use std::mem::size_of_val;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

/// Connections that may wait to be accepted: a load generator opens all of its own at once.
const BACKLOG: libc::c_int = 4096;

/// Binds and listens. Accepted sockets inherit `TCP_NODELAY`.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `length` bytes of `on`, which lives on this frame; the descriptor is open.
    check(unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NODELAY,
            (&raw const on).cast(),
            length,
        )
    })?;
    // SAFETY: takes no memory; listening again only changes the backlog.
    check(unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) })?;
    Ok(listener)
}

/// What the kernel returned, with -1 turned into the error of this thread.
pub(super) fn check(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}
