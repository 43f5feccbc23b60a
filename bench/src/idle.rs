//! Idle keep-alive connections: what each costs the server in memory.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use clap::Args;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{client, clock, process};

/// Connections from one source address: the kernel has some 28,000 ports for each.
const PER_SOURCE: usize = 20_000;
/// Descriptors that are not connections.
const SPARE: u64 = 64;
/// How long a server may take to give back what serving took.
const SETTLE: Duration = Duration::from_secs(2);

/// How many connections, to whom.
#[derive(Args)]
pub(crate) struct IdleArguments {
    /// Connections to hold.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// The server.
    #[arg(long)]
    to: SocketAddrV4,
    /// Its process, whose memory is read.
    #[arg(long)]
    pid: u32,
    /// What each connection asks for once.
    #[arg(long, default_value = "/health")]
    path: String,
    /// Seconds to hold them.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
}

/// Opens, asks once on each, waits, reads the server's memory.
pub(crate) fn run(arguments: &IdleArguments) -> io::Result<()> {
    raise_descriptors(arguments.connections)?;
    // What the first request takes once is not the connections' cost.
    client::get(SocketAddr::V4(arguments.to), &arguments.path)?;
    let before = resident(arguments.pid)?;
    let mut held = Vec::with_capacity(arguments.connections);
    for index in 0..arguments.connections {
        held.push(open(arguments, index).map_err(|error| {
            io::Error::new(error.kind(), format!("connection {index}: {error}"))
        })?);
    }
    clock::pass(SETTLE.max(Duration::from_secs(arguments.seconds)));
    let during = resident(arguments.pid)?;
    let refused = held
        .iter_mut()
        .filter_map(|stream| {
            client::ask(stream, SocketAddr::V4(arguments.to), &arguments.path).err()
        })
        .count();
    let grown = i128::from(during) - i128::from(before);
    println!(
        "resident before {before} B, with {} idle connections {during} B",
        held.len()
    );
    println!(
        "growth {grown} B, {} B a connection; {refused} were gone when asked again",
        grown / held.len().max(1) as i128
    );
    if refused > 0 {
        Err(io::Error::other(
            "connections were lost: the figure is of fewer",
        ))
    } else {
        Ok(())
    }
}

fn resident(pid: u32) -> io::Result<u64> {
    process::rss_bytes(pid)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no process {pid} to read")))
}

fn open(arguments: &IdleArguments, index: usize) -> io::Result<TcpStream> {
    let source = Ipv4Addr::from(
        u32::from(Ipv4Addr::LOCALHOST) + u32::try_from(index / PER_SOURCE).unwrap_or(0),
    );
    let descriptor = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    if source != Ipv4Addr::LOCALHOST {
        bind(&descriptor, &SocketAddrV4::new(source, 0))?;
    }
    connect(&descriptor, &arguments.to)?;
    let mut stream = TcpStream::from(descriptor);
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    client::ask(&mut stream, SocketAddr::V4(arguments.to), &arguments.path)?;
    Ok(stream)
}

/// Raises the soft limit of descriptors as far as the hard one goes.
fn raise_descriptors(connections: usize) -> io::Result<()> {
    let wanted = connections as u64 + SPARE;
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|most| most < wanted) {
        let most = limit.maximum.unwrap_or(0).saturating_sub(SPARE);
        return Err(io::Error::other(format!(
            "the hard limit of descriptors allows {most} connections: `ulimit -Hn`"
        )));
    }
    if limit.current.is_some_and(|now| now < wanted) {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(wanted),
                maximum: limit.maximum,
            },
        )?;
    }
    Ok(())
}
