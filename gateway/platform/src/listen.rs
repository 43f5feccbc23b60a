//! Listening: one socket a shard in a SO_REUSEPORT group that nobody else can join unnoticed.
//!
//! The group's first socket listens without SO_REUSEPORT, so that a port somebody already listens on is refused instead
//! of shared (a second instance would steal connections); the option is set once the port is ours, before the others
//! bind. At no moment in between is the port free: SO_REUSEADDR lets nobody in beside a socket that listens. Who is told to
//! share the port ([`Listeners::join`]) asks for SO_REUSEPORT from the start.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::group::{self, Targets};
use crate::host::HostRoot;

/// Connections that wait in the kernel for each shard.
pub const BACKLOG: u16 = 4_096;
/// How long a taken port is tried again: a former process's ring lets go of its sockets some time after it is gone.
const PATIENCE: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(50);

/// The sockets of one address.
#[derive(Debug)]
pub struct Listeners {
    /// Where they listen; the port is the one the kernel chose if 0 was asked for.
    pub address: SocketAddr,
    /// One socket a shard: non-blocking, closed on exec, TCP_NODELAY set (accepted sockets inherit it).
    pub sockets: Vec<TcpListener>,
    /// What is worth telling.
    pub notes: Vec<String>,
    /// The sockets of others (by inode) that listened here before these, which then stand behind all of them in the group;
    /// `None` where that is not sure.
    pub before: Option<Vec<u64>>,
}

impl Listeners {
    /// Binds `shards` sockets. An IPv6 wildcard also serves IPv4 (IPV6_V6ONLY is switched off, whatever the system's
    /// default). Takes up to 2 s when the port is taken.
    ///
    /// # Errors
    /// In words, with who holds the port where that can be found out.
    pub fn bind(root: &HostRoot, address: SocketAddr, shards: usize) -> Result<Self, BindError> {
        bind_within(root, address, shards, PATIENCE)
    }

    /// Binds `shards` sockets beside those that others of the same user may have there already. New connections go on going
    /// to the others alone, where the kernel lets itself be told so, until [`group::choose_by_hash`] is said to one of these:
    /// who starts has nobody yet to take them.
    ///
    /// # Errors
    /// In words, with who holds the port without sharing it where that can be found out.
    pub fn join(root: &HostRoot, address: SocketAddr, shards: usize) -> Result<Self, BindError> {
        let sharing = |address| {
            let socket = new_socket(address)?;
            socket.set_reuse_port(true)?;
            bind_and_listen(&socket, address)?;
            Ok(socket)
        };
        let before = group::members(root, address);
        let first = within(PATIENCE, || sharing(address));
        let all = first.and_then(|first| {
            let address = local_address(&first)?;
            if let Ok(before) = &before
                && !before.is_empty()
            {
                let count = u32::try_from(before.len()).unwrap_or(u32::MAX);
                // Where that is refused, some wait until the start is over.
                let _ = group::steer(&first, Targets::Among { first: 0, count });
            }
            let rest = (1..shards).map(|_| sharing(address));
            let sockets = std::iter::once(Ok(first)).chain(rest);
            let sockets: io::Result<Vec<_>> = sockets.collect();
            Ok((address, sockets?))
        });
        let (address, sockets) = all.map_err(|e| not_shared(explained(root, address, e)))?;
        let sockets: Vec<_> = sockets.into_iter().map(TcpListener::from).collect();
        let before = before.ok().filter(|before| {
            // Whoever came in between stands nobody knows where.
            let all = group::members(root, address);
            all.is_ok_and(|all| all.len() == before.len() + sockets.len())
        });
        Ok(Self {
            address,
            sockets,
            notes: backlog_note(root).into_iter().collect(),
            before,
        })
    }
}

fn not_shared(error: BindError) -> BindError {
    if error.source.kind() != io::ErrorKind::AddrInUse {
        return error;
    }
    let fix = format!(
        "it shares the port only with processes of its own user, if it can share it at all; run as that user, or {}",
        error.fix
    );
    BindError { fix, ..error }
}

/// Why an address cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What is in the way.
    pub cause: String,
    /// What to do.
    pub fix: String,
    source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            cause,
            fix,
            ..
        } = self;
        write!(f, "cannot listen on {address}: {cause}; {fix}")
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Connections that wait to be accepted, and how many may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptQueue {
    /// Waiting now.
    pub depth: u32,
    /// At most.
    pub bound: u32,
}

/// Reads a listening socket's queue: one system call, for the control thread.
///
/// # Errors
/// When it is no TCP socket.
pub fn accept_queue(listener: &impl AsFd) -> io::Result<AcceptQueue> {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is open for the call; `info` has room for `len` bytes, and the kernel writes no more.
    let result = unsafe {
        libc::getsockopt(
            listener.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all bytes were zeroed, which is a valid value of this struct of integers, before the kernel wrote some.
    let info = unsafe { info.assume_init() };
    // For a listening socket the kernel puts its queue into these two fields (tcp_get_info in net/ipv4/tcp.c).
    Ok(AcceptQueue {
        depth: info.tcpi_unacked,
        bound: info.tcpi_sacked,
    })
}

/// Has the kernel hold a connection back until its first bytes are there (TCP_DEFER_ACCEPT), so that a shard is woken for it
/// once and the client's core does not pay for waking it within `connect`. One that sends nothing is accepted about a
/// second later.
///
/// # Errors
/// When it is no TCP socket.
pub fn defer_accept(listener: &impl AsFd) -> io::Result<()> {
    let fd = listener.as_fd().as_raw_fd();
    crate::net::set(fd, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, &1_i32)
}

fn bind_within(
    root: &HostRoot,
    address: SocketAddr,
    shards: usize,
    patience: Duration,
) -> Result<Listeners, BindError> {
    let alone = || {
        let socket = new_socket(address)?;
        bind_and_listen(&socket, address)?;
        Ok(socket)
    };
    let first = within(patience, alone).map_err(|e| explained(root, address, e))?;
    let group = || {
        first.set_reuse_port(true)?;
        let address = local_address(&first)?;
        let mut sockets = vec![first];
        for _ in 1..shards {
            let socket = new_socket(address)?;
            socket.set_reuse_port(true)?;
            bind_and_listen(&socket, address)?;
            sockets.push(socket);
        }
        Ok((address, sockets))
    };
    let (address, sockets) = group().map_err(|e| explained(root, address, e))?;
    Ok(Listeners {
        address,
        sockets: sockets.into_iter().map(TcpListener::from).collect(),
        notes: backlog_note(root).into_iter().collect(),
        before: Some(Vec::new()),
    })
}

/// Tries again and again while the port is taken.
#[allow(
    clippy::disallowed_methods,
    reason = "before the start there is no loop to wait in"
)]
fn within(patience: Duration, bind: impl Fn() -> io::Result<Socket>) -> io::Result<Socket> {
    let deadline = Instant::now() + patience;
    loop {
        match bind() {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(STEP);
            }
            bound => return bound,
        }
    }
}

/// SO_REUSEADDR lets the port be taken while connections of a former process linger in TIME_WAIT; it does not let two
/// listen.
fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

fn bind_and_listen(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    socket.bind(&address.into())?;
    socket.listen(i32::from(BACKLOG))
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?.as_socket();
    address.ok_or_else(|| io::Error::other("a TCP socket without an IP address"))
}

fn backlog_note(root: &HostRoot) -> Option<String> {
    let bound = root.number("/proc/sys/net/core/somaxconn")?;
    (bound < u64::from(BACKLOG)).then(|| {
        format!(
            "{bound} connections may wait to be accepted on each socket instead of {BACKLOG}; \
             sysctl -w net.core.somaxconn={BACKLOG}"
        )
    })
}

fn explained(root: &HostRoot, address: SocketAddr, source: io::Error) -> BindError {
    let port = address.port();
    let (cause, fix) = match source.kind() {
        io::ErrorKind::AddrInUse => taken(root, address),
        io::ErrorKind::PermissionDenied => (
            format!("port {port} is reserved for privileged processes"),
            "choose a port from 1024 on, or grant CAP_NET_BIND_SERVICE, or lower net.ipv4.ip_unprivileged_port_start"
                .to_owned(),
        ),
        io::ErrorKind::AddrNotAvailable => (
            format!("{} is no address of this host", address.ip()),
            "see `ip address` for those it has, or listen on 0.0.0.0".to_owned(),
        ),
        _ => (
            source.to_string(),
            "see the error for the cause".to_owned(),
        ),
    };
    BindError {
        address,
        cause,
        fix,
        source,
    }
}

fn taken(root: &HostRoot, address: SocketAddr) -> (String, String) {
    let port = address.port();
    let other = "choose another port under [listen]";
    match holder(root, address) {
        Some(holder) if holder.pid == std::process::id() => (
            format!("port {port} is listened on by this process already"),
            "list an address once under [listen], and remember that [::] serves IPv4 as well"
                .to_owned(),
        ),
        Some(Holder { pid, name }) => (
            format!("port {port} is taken by {name} (pid {pid})"),
            format!("stop it (kill {pid}), or {other}"),
        ),
        None => (
            format!("port {port} is taken"),
            format!("find out by whom with `ss -ltnp sport = :{port}` as root, or {other}"),
        ),
    }
}

/// A process that listens.
#[derive(Debug, PartialEq, Eq)]
struct Holder {
    pid: u32,
    name: String,
}

/// Who listens on the address; `None` when nobody does or the process is not ours to look into.
fn holder(root: &HostRoot, address: SocketAddr) -> Option<Holder> {
    let sockets: Vec<_> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| root.read(table).ok())
        .flat_map(|table| listening(&table, address))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let pids = root.names("/proc").into_iter();
    pids.filter_map(|pid| pid.parse().ok()).find_map(|pid| {
        let fds = format!("/proc/{pid}/fd");
        let holds = root.names(&fds).iter().any(|fd| {
            let target = std::fs::read_link(root.path(format!("{fds}/{fd}")));
            target.is_ok_and(|target| sockets.iter().any(|socket| target.as_os_str() == &**socket))
        });
        let name = || root.read(format!("/proc/{pid}/comm")).unwrap_or_default();
        holds.then(|| Holder {
            pid,
            name: name().trim().to_owned(),
        })
    })
}

/// Inodes of the sockets in a table of `/proc/net` that listen where `address` would.
fn listening(table: &str, address: SocketAddr) -> Vec<u64> {
    let row = |line: &str| {
        let (at, inode) = listening_row(line)?;
        let meets =
            at.ip() == address.ip() || at.ip().is_unspecified() || address.ip().is_unspecified();
        (at.port() == address.port() && meets).then_some(inode)
    };
    table.lines().filter_map(row).collect()
}

/// Where a socket listens, and its inode, from its line of `/proc/net/tcp` or `tcp6`; `None` of one that does not listen.
pub(crate) fn listening_row(line: &str) -> Option<(SocketAddr, u64)> {
    const LISTEN: &str = "0A";
    let fields: Vec<_> = line.split_whitespace().collect();
    let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else {
        return None;
    };
    let (ip, port) = local.split_once(':')?;
    let at = SocketAddr::new(kernel_ip(ip)?, u16::from_str_radix(port, 16).ok()?);
    (state == LISTEN).then_some((at, inode.parse().ok()?))
}

/// An address as the kernel prints it: words of 32 bits in the machine's order, as hexadecimal numbers.
fn kernel_ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = hex.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let mut bytes = [0; 16];
            for (to, from) in bytes.iter_mut().zip(words.as_flattened()) {
                *to = *from;
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixture::Fixture;
    use std::io::Write as _;
    use std::net::TcpStream;

    const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    fn bound(address: SocketAddr, shards: usize) -> Listeners {
        Listeners::bind(&HostRoot::system(), address, shards).unwrap()
    }

    fn refused(address: SocketAddr) -> BindError {
        let root = HostRoot::system();
        bind_within(&root, address, 2, Duration::from_millis(1)).unwrap_err()
    }

    #[test]
    fn a_deferred_connection_comes_with_its_first_bytes() {
        let listeners = bound(LOOPBACK, 1);
        let listener = listeners.sockets.first().unwrap();
        defer_accept(listener).unwrap();
        let mut early = TcpStream::connect(listeners.address).unwrap();
        let silent = listener.accept().map(|_| ());
        assert_eq!(silent.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        early.write_all(b"x").unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(accepted.peek(&mut [0; 2]).unwrap(), 1);
    }

    #[test]
    fn every_socket_of_the_group_takes_connections() {
        let listeners = bound(LOOPBACK, 3);
        assert_ne!(listeners.address.port(), 0);
        let clients: Vec<_> = (0..256)
            .map(|_| TcpStream::connect(listeners.address).unwrap())
            .collect();
        let depths: Vec<_> = listeners
            .sockets
            .iter()
            .map(|socket| accept_queue(socket).unwrap().depth as usize)
            .collect();
        assert_eq!(depths.iter().sum::<usize>(), clients.len());
        assert!(depths.iter().all(|depth| *depth > 0), "{depths:?}");
    }

    #[test]
    fn accepted_connections_have_no_delay_and_listeners_do_not_block() {
        let listeners = bound(LOOPBACK, 1);
        let socket = &listeners.sockets[0];
        assert_eq!(
            socket.accept().unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        let _client = TcpStream::connect(listeners.address).unwrap();
        let (accepted, _) = socket.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }

    #[test]
    fn a_second_instance_is_refused_and_the_first_named() {
        let first = bound(LOOPBACK, 2);
        let error = refused(first.address);
        assert!(error.cause.contains("by this process already"), "{error}");
        assert_eq!(error.address, first.address);
    }

    #[test]
    fn of_two_that_bind_at_once_one_listens() {
        let address = bound(LOOPBACK, 1).address;
        let [one, other] = [(); 2].map(|()| new_socket(address).unwrap());
        one.bind(&address.into()).unwrap();
        other.bind(&address.into()).unwrap();
        one.listen(1).unwrap();
        let refused = other.listen(1).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_port_that_is_freed_in_time_is_taken() {
        let first = bound(LOOPBACK, 2);
        let address = first.address;
        std::thread::scope(|scope| {
            let second = scope.spawn(|| bound(address, 2));
            drop(first);
            assert_eq!(second.join().unwrap().address, address);
        });
    }

    #[test]
    fn a_port_is_free_again_although_its_connections_linger() {
        let first = bound(LOOPBACK, 2);
        let clients: Vec<_> = (0..8)
            .map(|_| TcpStream::connect(first.address).unwrap())
            .collect();
        let accepted: Vec<_> = first
            .sockets
            .iter()
            .flat_map(|socket| std::iter::from_fn(|| socket.accept().ok()))
            .collect();
        assert_eq!(accepted.len(), clients.len());
        drop(accepted); // The side that closes first keeps TIME_WAIT.
        drop(clients);
        let address = first.address;
        drop(first);
        assert_eq!(bound(address, 2).address, address);
    }

    #[test]
    fn a_wildcard_of_ipv6_serves_ipv4_too() {
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
        let listeners = match Listeners::bind(&HostRoot::system(), any, 2) {
            Ok(listeners) => listeners,
            Err(error) => return println!("skipped: no IPv6 here: {error}"),
        };
        let over_ipv4 = SocketAddr::new(LOOPBACK.ip(), listeners.address.port());
        TcpStream::connect(over_ipv4).unwrap();
    }

    #[test]
    fn an_address_of_somebody_else_is_told_from_a_taken_port() {
        let error = refused("192.0.2.1:8080".parse().unwrap());
        assert!(
            error.to_string().starts_with(
                "cannot listen on 192.0.2.1:8080: 192.0.2.1 is no address of this host; "
            ),
            "{error}"
        );
    }

    #[test]
    fn the_holder_is_found_by_its_socket() {
        let header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let row = |local: &str, state: &str, inode: u32| {
            format!(
                "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0 100 0 0 10 0\n"
            )
        };
        let table = [
            header,
            &row("0100007F:1F90", "01", 7),
            &row("0200007F:1F90", "0A", 8),
            &row("0100007F:1F90", "0A", 9),
        ]
        .concat();
        let host = Fixture::new(&[("/proc/net/tcp", &table), ("/proc/77/comm", "nginx\n")]);
        host.link("/proc/77/fd/5", "socket:[7]");
        host.link("/proc/77/fd/6", "socket:[9]");
        host.link("/proc/78/fd/6", "socket:[8]");
        let root = host.root();
        let (cause, fix) = taken(&root, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(cause, "port 8080 is taken by nginx (pid 77)");
        assert_eq!(
            fix,
            "stop it (kill 77), or choose another port under [listen]"
        );
        let elsewhere = "127.0.0.3:8080".parse().unwrap();
        assert_eq!(holder(&root, elsewhere), None);
        assert_eq!(taken(&root, elsewhere).0, "port 8080 is taken");
    }

    #[test]
    fn kernel_addresses_are_read() {
        let v4: IpAddr = "127.0.0.1".parse().unwrap();
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(kernel_ip("0100007F"), Some(v4));
        assert_eq!(kernel_ip("B80D0120000000000000000001000000"), Some(v6));
        assert_eq!(kernel_ip("xyz"), None);
    }

    #[test]
    fn a_low_somaxconn_is_noted() {
        let host = Fixture::new(&[("/proc/sys/net/core/somaxconn", "128\n")]);
        let note = backlog_note(&host.root()).unwrap();
        assert!(note.starts_with("128 connections may wait"), "{note}");
        host.write("/proc/sys/net/core/somaxconn", "4096\n");
        assert_eq!(backlog_note(&host.root()), None);
    }
}
