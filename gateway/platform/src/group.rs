//! What a listening socket may ask of the SO_REUSEPORT group it is in, and of its own handshakes. Nothing here needs a
//! capability: the programs are classic BPF.
//!
//! socket(7): sockets of a group are numbered in the order in which they began to listen; when one is closed, the last takes
//! its place; a program answers with the number of the socket that a new connection goes to, and where it answers with none
//! that exists, the kernel chooses by its hash. The program belongs to the group, whoever set it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt as _;

use crate::host::HostRoot;
use crate::listen::listening_row;

/// Sockets of a group by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Targets {
    /// So many from a first one on, each as often as the others.
    Among {
        /// The first's number.
        first: u32,
        /// How many; at least 1.
        count: u32,
    },
    /// One, or by the kernel's hash where there is none of that number.
    One(u32),
}

/// Has new connections to a socket's group go to `targets`, whichever member is asked to say so.
///
/// # Errors
/// When the kernel or a filter of system calls refuses.
pub fn steer(member: &impl AsFd, targets: Targets) -> io::Result<()> {
    const MODULO: u16 = (libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K) as u16;
    const ADD: u16 = (libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K) as u16;
    const ANSWER: u16 = (libc::BPF_RET | libc::BPF_A) as u16;
    const RANDOM: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM) as u32;
    match targets {
        Targets::Among { first, count } => attach(
            member,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            &mut [
                statement(LOAD_WORD, RANDOM),
                statement(MODULO, count.max(1)),
                statement(ADD, first),
                statement(ANSWER, 0),
            ],
        ),
        Targets::One(number) => attach(
            member,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            &mut [statement(RETURN, number)],
        ),
    }
}

/// Has the kernel choose by its hash among a socket's group, whatever was said before.
///
/// # Errors
/// When the kernel refuses; not when there was no program.
pub fn choose_by_hash(member: &impl AsFd) -> io::Result<()> {
    let fd = member.as_fd().as_raw_fd();
    match crate::net::set(fd, libc::SOL_SOCKET, libc::SO_DETACH_REUSEPORT_BPF, &0_i32) {
        // There is none, or, so far, no group.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => Ok(()),
        detached => detached,
    }
}

/// Leaves SYNs to this socket without an answer from now on; handshakes that were begun go on. A client tries again after a
/// second, and meets who listens then.
///
/// # Errors
/// When the kernel or a filter of system calls refuses.
pub fn hold_off(listener: &impl AsFd) -> io::Result<()> {
    const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    /// Of the flags, in the TCP header with which the packet begins.
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    let is_syn = libc::sock_filter {
        code: EQUAL,
        jt: 0,
        jf: 1,
        k: SYN,
    };
    attach(
        listener,
        libc::SO_ATTACH_FILTER,
        &mut [
            statement(LOAD_BYTE, FLAGS),
            statement(AND, SYN | ACK),
            is_syn,
            statement(RETURN, 0),
            statement(RETURN, u32::MAX),
        ],
    )
}

/// Packets that this socket has dropped since it was made: those held off, and those its queue had no room for.
///
/// # Errors
/// When the kernel refuses.
pub fn dropped(socket: &impl AsFd) -> io::Result<u32> {
    /// SK_MEMINFO_VARS and SK_MEMINFO_DROPS of linux/sock_diag.h.
    const VALUES: usize = 9;
    const DROPS: usize = 8;
    let mut values = [0_u32; VALUES];
    let mut len = size_of_val(&values) as libc::socklen_t;
    // SAFETY: the descriptor is open for the call; `values` has room for `len` bytes, and the kernel writes no more.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(values[DROPS])
}

/// What `/proc/net/tcp` calls a socket.
///
/// # Errors
/// When descriptors are out.
pub fn inode(socket: &impl AsFd) -> io::Result<u64> {
    let copy = File::from(socket.as_fd().try_clone_to_owned()?);
    Ok(copy.metadata()?.ino())
}

/// The inodes of all sockets of this network namespace that listen on exactly this address. Reads no further than they
/// stand: the kernel lists them before the connections, of which there may be many.
///
/// # Errors
/// When the table cannot be read.
pub fn members(root: &HostRoot, address: SocketAddr) -> io::Result<Vec<u64>> {
    let table = match address {
        SocketAddr::V4(_) => "/proc/net/tcp",
        SocketAddr::V6(_) => "/proc/net/tcp6",
    };
    let lines = BufReader::new(File::open(root.path(table))?).lines();
    let mut members = Vec::new();
    for line in lines.skip(1) {
        let Some((at, inode)) = listening_row(&line?) else {
            break;
        };
        // A scope is no part of what the table shows.
        if at.ip() == address.ip() && at.port() == address.port() {
            members.push(inode);
        }
    }
    Ok(members)
}

/// Whether the kernel hands connections that a closed listener had not accepted to another of its group.
#[must_use]
pub fn migrates(root: &HostRoot) -> bool {
    root.number("/proc/sys/net/ipv4/tcp_migrate_req")
        .is_some_and(|on| on != 0)
}

const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

fn statement(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

fn attach(
    socket: &impl AsFd,
    option: libc::c_int,
    program: &mut [libc::sock_filter],
) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or(u16::MAX),
        filter: program.as_mut_ptr(),
    };
    // The kernel copies the program, which outlives the call.
    crate::net::set(
        socket.as_fd().as_raw_fd(),
        libc::SOL_SOCKET,
        option,
        &program,
    )
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
    use std::os::fd::OwnedFd;

    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::host::fixture::Fixture;
    use crate::listen::{Listeners, accept_queue};

    const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    fn root() -> HostRoot {
        HostRoot::system()
    }

    fn alone(sockets: usize) -> Listeners {
        Listeners::bind(&root(), LOOPBACK, sockets).unwrap()
    }

    fn beside(other: &Listeners, sockets: usize) -> Listeners {
        Listeners::join(&root(), other.address, sockets).unwrap()
    }

    fn depths(sockets: &[TcpListener]) -> Vec<u32> {
        let depth = |socket| accept_queue(socket).unwrap().depth;
        sockets.iter().map(depth).collect()
    }

    #[test]
    fn connections_go_where_they_are_steered_and_nowhere_else() {
        let old = alone(2);
        let new = beside(&old, 3);
        let among = Targets::Among { first: 2, count: 3 };
        steer(&old.sockets[0], among).unwrap();
        let clients: Vec<_> = (0..256)
            .map(|_| TcpStream::connect(old.address).unwrap())
            .collect();
        assert_eq!(depths(&old.sockets), [0, 0]);
        let taken = depths(&new.sockets);
        assert_eq!(taken.iter().sum::<u32>() as usize, clients.len());
        assert!(taken.iter().all(|taken| *taken > 0), "{taken:?}");
    }

    #[test]
    fn while_the_older_sockets_close_one_number_is_never_theirs() {
        for (ours, theirs) in [(1, 1), (3, 3), (2, 4)] {
            let mut old = alone(ours);
            let new = beside(&old, theirs);
            steer(&old.sockets[0], Targets::One(theirs as u32)).unwrap();
            let mut clients = Vec::new();
            while old.sockets.len() > 1 {
                clients.extend((0..16).map(|_| TcpStream::connect(new.address).unwrap()));
                assert!(depths(&old.sockets).iter().all(|depth| *depth == 0));
                old.sockets.swap_remove(clients.len() % old.sockets.len());
            }
            drop(old);
            clients.extend((0..256).map(|_| TcpStream::connect(new.address).unwrap()));
            let taken = depths(&new.sockets);
            assert_eq!(taken.iter().sum::<u32>() as usize, clients.len());
            // The number is nobody's any more: it is the hash that chooses.
            assert!(taken.iter().all(|taken| *taken > 0), "{taken:?}");
        }
    }

    #[test]
    fn a_program_is_taken_back_by_any_member_and_so_is_none() {
        let old = alone(1);
        choose_by_hash(&old.sockets[0]).unwrap();
        let new = beside(&old, 1);
        steer(&old.sockets[0], Targets::One(1)).unwrap();
        choose_by_hash(&new.sockets[0]).unwrap();
        choose_by_hash(&new.sockets[0]).unwrap();
        let _clients: Vec<_> = (0..128)
            .map(|_| TcpStream::connect(old.address).unwrap())
            .collect();
        assert!(depths(&old.sockets)[0] > 0);
    }

    #[test]
    fn whoever_joins_gets_nobody_until_it_says_so() {
        let old = alone(2);
        let new = beside(&old, 2);
        let connect = || -> Vec<_> {
            let clients = (0..128).map(|_| TcpStream::connect(old.address).unwrap());
            clients.collect()
        };
        let early = connect();
        assert_eq!(depths(&old.sockets).iter().sum::<u32>(), 128);
        choose_by_hash(&new.sockets[1]).unwrap();
        let late = connect();
        let taken = depths(&new.sockets);
        assert!(taken.iter().all(|taken| *taken > 0), "{taken:?}");
        drop((early, late));
    }

    #[test]
    fn a_handshake_that_was_begun_goes_on_and_none_begins() {
        let listeners = alone(1);
        let listener = &listeners.sockets[0];
        crate::listen::defer_accept(listener).unwrap();
        let mut begun = TcpStream::connect(listeners.address).unwrap();
        hold_off(listener).unwrap();
        let mut late = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
        late.connect(&listeners.address.into()).unwrap_err();
        while dropped(listener).unwrap() == 0 {
            std::thread::yield_now();
        }
        io::Write::write_all(&mut begun, b"x").unwrap();
        listener.accept().unwrap();
        assert!(listener.accept().is_err());
        // Whoever was held off meets whoever listens when it tries again.
        drop(listeners);
        late.set_nonblocking(false).unwrap();
        let refused = io::Read::read(&mut late, &mut [0]).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn members_are_listed_and_known_by_their_inodes() {
        let old = alone(2);
        let new = beside(&old, 1);
        let own = |listeners: &Listeners| -> Vec<u64> {
            let inodes = listeners.sockets.iter().map(inode);
            inodes.collect::<io::Result<_>>().unwrap()
        };
        let mut expected = [own(&old), own(&new)].concat();
        let mut found = members(&root(), old.address).unwrap();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(old.before, Some(Vec::new()));
        let mut before = new.before.unwrap();
        before.sort_unstable();
        let mut front = own(&old);
        front.sort_unstable();
        assert_eq!(before, front);
    }

    #[test]
    fn reading_ends_where_the_connections_begin() {
        let header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let row = |local: &str, state: &str, inode: u32| {
            format!(
                "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0 100 0 0 10 0\n"
            )
        };
        let table = [
            header,
            &row("0100007F:1F90", "0A", 7),
            &row("00000000:1F90", "0A", 8),
            &row("0100007F:1F91", "0A", 9),
            &row("0100007F:1F90", "0A", 10),
            &row("0100007F:1F90", "01", 11),
            &row("0100007F:1F90", "0A", 12),
        ]
        .concat();
        let host = Fixture::new(&[("/proc/net/tcp", &table)]);
        let address = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(members(&host.root(), address).unwrap(), [7, 10]);
        assert!(members(&host.root(), "[::1]:8080".parse().unwrap()).is_err());
        assert!(!migrates(&host.root()));
        host.write("/proc/sys/net/ipv4/tcp_migrate_req", "1\n");
        assert!(migrates(&host.root()));
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let neither = OwnedFd::from(File::open("/dev/null").unwrap());
        assert!(hold_off(&neither).is_err());
        assert!(dropped(&neither).is_err());
    }
}
