//! The listening socket of a floor.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use crate::listen::defer_accept;
use crate::net;

/// Connections that may wait to be accepted: a load generator opens all of its own at once.
const BACKLOG: libc::c_int = 4096;

/// Binds and listens. Accepted sockets inherit `TCP_NODELAY`, and come with their first bytes, as the gateway's do.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    let fd = listener.as_raw_fd();
    net::set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, &1_i32)?;
    defer_accept(&listener)?;
    // SAFETY: takes no memory; listening again only changes the backlog.
    check(unsafe { libc::listen(fd, BACKLOG) })?;
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
