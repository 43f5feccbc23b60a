//! Whose a listening socket is: the processes whose CPU time a load to an address costs.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::client;
use crate::process::Family;

/// A socket that listens, as `/proc/net/tcp` writes it.
const LISTENS: &str = "0A";

/// A server that runs already, as far as it can be seen from here.
pub(crate) struct Owner {
    /// What it says of its build, or `unknown`.
    pub(crate) build: String,
    /// `None` where its processes are out of sight.
    pub(crate) family: Option<Family>,
    /// Why they are.
    pub(crate) unseen: Option<&'static str>,
}

impl Owner {
    pub(crate) fn of(address: SocketAddr) -> Owner {
        let (ids, unseen) = match listeners(address) {
            Ok(ids) => (ids, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        Owner {
            build: build(&ids, address),
            family: (!ids.is_empty()).then(|| Family::of(&ids)),
            unseen,
        }
    }
}

/// The processes that hold a socket which listens on `address`.
fn listeners(address: SocketAddr) -> Result<Vec<u32>, &'static str> {
    if UdpSocket::bind((address.ip(), 0)).is_err() {
        return Err("it is not on this host");
    }
    let mut inodes = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        inodes.extend(text.lines().filter_map(|line| listening(line, address)));
    }
    if inodes.is_empty() {
        return Err("nothing in this network namespace listens there");
    }
    let ids = processes()
        .filter(|id| holds(*id, &inodes))
        .collect::<Vec<u32>>();
    match ids.is_empty() {
        true => {
            Err("whose the socket is cannot be seen: it takes the same user and process namespace")
        }
        false => Ok(ids),
    }
}

/// The inode of a line's socket, where connections to `address` come to it.
fn listening(line: &str, address: SocketAddr) -> Option<u64> {
    let mut fields = line.split_whitespace().skip(1);
    let (ip, port) = fields.next()?.split_once(':')?;
    let state = fields.nth(1)?;
    if state != LISTENS || u16::from_str_radix(port, 16).ok()? != address.port() {
        return None;
    }
    let ip = unhex(ip)?;
    let asked = address.ip().to_canonical();
    if !ip.is_unspecified() && ip.to_canonical() != asked {
        return None;
    }
    // After the state: queues, timer, retransmits, user, timeout.
    fields.nth(5)?.parse().ok()
}

/// Words of the host's own byte order.
fn unhex(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for at in (0..text.len()).step_by(8) {
        let word = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes)
            .ok()
            .map(|four| Ipv4Addr::from(four).into()),
        _ => <[u8; 16]>::try_from(bytes)
            .ok()
            .map(|all| Ipv6Addr::from(all).into()),
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn holds(id: u32, inodes: &BTreeSet<u64>) -> bool {
    let sockets = fs::read_dir(format!("/proc/{id}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    sockets
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|link| {
            let inode = link.to_str().and_then(|name| {
                name.strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .parse()
                    .ok()
            });
            inode.is_some_and(|inode: u64| inodes.contains(&inode))
        })
}

/// The details that a gateway prints of itself; of another process nothing is run, and its status tells what it likes.
fn build(ids: &[u32], address: SocketAddr) -> String {
    let is_gateway = |id: &&u32| {
        fs::read_to_string(format!("/proc/{id}/comm"))
            .is_ok_and(|name| name.trim_end() == "ultragate")
    };
    let details = ids
        .iter()
        .find(is_gateway)
        .and_then(|id| details(&Path::new("/proc").join(id.to_string()).join("exe")).ok());
    details
        .or_else(|| version(address))
        .unwrap_or_else(|| "unknown".to_owned())
}

fn details(program: &Path) -> io::Result<String> {
    let output = Command::new(program)
        .arg("-V")
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other("it does not know -V"));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    Ok(lines.collect::<Vec<_>>().join(", "))
}

fn version(address: SocketAddr) -> Option<String> {
    let answer = client::get(address, "/api/v1/status").ok()?;
    let status: Value = serde_json::from_slice(&answer.body).ok()?;
    Some(format!("ultragate {}", status.get("version")?.as_str()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_socket_of_this_process_is_found() {
        for ip in ["127.0.0.1", "0.0.0.0", "::1", "::"] {
            let Ok(listener) = TcpListener::bind((ip.parse::<IpAddr>().unwrap(), 0)) else {
                assert!(ip.contains(':'), "{ip}");
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            let asked = match ip {
                "::1" => SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
                _ => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            };
            assert_eq!(listeners(asked), Ok(vec![std::process::id()]), "{ip}");
        }
    }

    #[test]
    fn what_is_not_here_is_out_of_sight() {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        assert!(listeners(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_err());
        assert_eq!(
            listeners(SocketAddr::from(([192, 0, 2, 1], 80))),
            Err("it is not on this host")
        );
    }

    #[test]
    fn lines_of_the_kernel_are_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0";
        let asked = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(listening(line, asked("127.0.0.1:8080")), Some(4711));
        assert_eq!(listening(line, asked("127.0.0.2:8080")), None);
        assert_eq!(listening(line, asked("127.0.0.1:8081")), None);
        assert_eq!(
            listening(&line.replace(" 0A ", " 01 "), asked("127.0.0.1:8080")),
            None
        );
        assert_eq!(
            listening("  sl  local_address rem_address", asked("127.0.0.1:8080")),
            None
        );
    }
}
