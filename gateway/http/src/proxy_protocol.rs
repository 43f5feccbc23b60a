//! The PROXY protocol, versions 1 and 2 (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>): what a proxy
//! says of a connection before its first byte.
//!
//! Addresses are parsed and, where they go on, rendered anew: no byte of a header is ever passed on.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use base::limits::PROXY_HEADER_BYTES_MAX;

use crate::write::Decimal;

/// Bytes of the longest header of version 1, its line end included (§2.1).
const LINE_BYTES_MAX: usize = 107;
const LINE_START: &[u8] = b"PROXY";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length (§2.2).
const FIXED_BYTES: usize = 16;

/// Which version to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What the beginning of a connection says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// A whole header.
    Whole {
        /// Its bytes; what follows is the client's.
        length: usize,
        /// Where the client is; none where the proxy speaks for itself (its health checks), or does not know.
        source: Option<SocketAddr>,
    },
    /// The beginning of a header.
    Partial,
    /// None, or one that cannot be read: the connection is to be closed.
    Refused(Refused),
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is none.
    Missing,
    /// It does not follow its grammar.
    Malformed,
    /// It is longer than a header of version 1 may be, or than this gateway reads of version 2.
    TooLong,
}

/// Reads the header at the beginning of a connection's bytes.
#[must_use]
pub fn read(bytes: &[u8]) -> Read {
    let begins = |start: &[u8]| bytes.iter().zip(start).all(|(byte, wanted)| byte == wanted);
    if begins(SIGNATURE) {
        return read_binary(bytes);
    }
    if begins(LINE_START) {
        return read_line(bytes);
    }
    Read::Refused(Refused::Missing)
}

fn read_line(bytes: &[u8]) -> Read {
    let reach = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = reach.iter().position(|byte| *byte == b'\n') else {
        return match bytes.len() < LINE_BYTES_MAX {
            true => Read::Partial,
            false => Read::Refused(Refused::TooLong),
        };
    };
    let line = reach.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    match line.and_then(source_of_line) {
        Some(source) => Read::Whole {
            length: end + 1,
            source,
        },
        None => Read::Refused(Refused::Malformed),
    }
}

/// Where the client is, by a line without its end; `None` where it is malformed.
fn source_of_line(line: &[u8]) -> Option<Option<SocketAddr>> {
    let line = std::str::from_utf8(line).ok()?;
    let rest = line.strip_prefix("PROXY ")?;
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Some(None);
    }
    let mut words = rest.split(' ');
    let mut word = || words.next();
    let (family, source, destination) = (word()?, word()?, word()?);
    let (source_port, destination_port) = (port(word()?)?, port(word()?)?);
    if word().is_some() {
        return None;
    }
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let source = SocketAddr::new(address(source)?, source_port);
    let _ = SocketAddr::new(address(destination)?, destination_port);
    Some(Some(source))
}

/// A decimal number without a sign or leading zeros.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_short = text == "0" || !text.starts_with('0');
    text.parse().ok().filter(|_| is_plain && is_short)
}

fn read_binary(bytes: &[u8]) -> Read {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Read::Partial;
    };
    let [.., what, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if what >> 4 != 2 || what & 0xf > 1 || family >> 4 > 3 || family & 0xf > 2 {
        return Read::Refused(Refused::Malformed);
    }
    let is_local = what & 0xf == 0;
    let least = match family >> 4 {
        _ if is_local => 0,
        0 => 0,
        1 => 12,
        2 => 36,
        _ => 216,
    };
    if length < least {
        return Read::Refused(Refused::Malformed);
    }
    if FIXED_BYTES + length > PROXY_HEADER_BYTES_MAX {
        return Read::Refused(Refused::TooLong);
    }
    let Some(body) = rest.get(..length) else {
        return Read::Partial;
    };
    Read::Whole {
        length: FIXED_BYTES + length,
        source: match (is_local, family) {
            (false, 0x11) => source_of::<4>(body),
            (false, 0x21) => source_of::<16>(body),
            // Datagrams, sockets of a path, what the proxy does not know.
            _ => None,
        },
    }
}

/// The source in an address block: two addresses of `N` bytes, two ports. What follows (TLVs) is passed over.
fn source_of<const N: usize>(block: &[u8]) -> Option<SocketAddr>
where
    IpAddr: From<[u8; N]>,
{
    let (address, rest) = block.split_first_chunk::<N>()?;
    let port = rest.get(N..)?.first_chunk::<2>()?;
    Some(SocketAddr::new(
        IpAddr::from(*address),
        u16::from_be_bytes(*port),
    ))
}

/// Writes the header of a connection made for the client at `source`, which came to `destination`; of one that is made for
/// nobody known where they are not given. Where their families differ, both are told as IPv6.
pub fn write(out: &mut Vec<u8>, version: Version, ends: Option<(SocketAddr, SocketAddr)>) {
    let ends = ends.map(|(source, destination)| {
        let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
        let is_of_one_family = from.is_ipv4() == to.is_ipv4();
        let told = |ip: IpAddr| match ip {
            IpAddr::V4(ip) if !is_of_one_family => IpAddr::V6(ip.to_ipv6_mapped()),
            ip => ip,
        };
        let source = SocketAddr::new(told(from), source.port());
        (source, SocketAddr::new(told(to), destination.port()))
    });
    match version {
        Version::V1 => write_line(out, ends),
        Version::V2 => write_binary(out, ends),
    }
}

fn write_line(out: &mut Vec<u8>, ends: Option<(SocketAddr, SocketAddr)>) {
    let Some((source, destination)) = ends else {
        return out.extend_from_slice(b"PROXY UNKNOWN\r\n");
    };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    // Writing to a vector does not fail.
    let _ = write!(out, "PROXY {family} {} {} ", source.ip(), destination.ip());
    out.extend_from_slice(Decimal::new(u64::from(source.port())).bytes());
    out.push(b' ');
    out.extend_from_slice(Decimal::new(u64::from(destination.port())).bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_binary(out: &mut Vec<u8>, ends: Option<(SocketAddr, SocketAddr)>) {
    out.extend_from_slice(SIGNATURE);
    let Some((source, destination)) = ends else {
        return out.extend_from_slice(&[0x20, 0, 0, 0]);
    };
    out.extend_from_slice(match source.ip() {
        IpAddr::V4(_) => &[0x21, 0x11, 0, 12],
        IpAddr::V6(_) => &[0x21, 0x21, 0, 36],
    });
    for end in [source, destination] {
        match end.ip() {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
    }
    for end in [source, destination] {
        out.extend_from_slice(&end.port().to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(source: &str, destination: &str) -> Option<(SocketAddr, SocketAddr)> {
        Some((source.parse().ok()?, destination.parse().ok()?))
    }

    fn written(version: Version, ends: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, version, ends);
        out
    }

    fn binary(what: u8, family: u8, length: u16, body: &[u8]) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        [SIGNATURE, &[what, family, high, low], body].concat()
    }

    /// Headers and what they say.
    fn headers() -> Vec<(Vec<u8>, Option<&'static str>)> {
        let unix = vec![b'x'; 216];
        let tlvs = [
            &[192, 0, 2, 1, 10, 0, 0, 1, 0, 80, 1, 187][..],
            &[4, 0, 2, 9, 9],
        ]
        .concat();
        vec![
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 65535 0\r\n".to_vec(),
                Some("192.0.2.1:65535"),
            ),
            (
                b"PROXY TCP6 2001:db8::1 ::1 56324 443\r\n".to_vec(),
                Some("[2001:db8::1]:56324"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (
                b"PROXY UNKNOWN ffff:f...f:ffff whatever 1\r\n".to_vec(),
                None,
            ),
            (binary(0x21, 0x11, 17, &tlvs), Some("192.0.2.1:80")),
            (
                written(Version::V1, ends("192.0.2.1:1", "192.0.2.2:2")),
                Some("192.0.2.1:1"),
            ),
            (
                written(Version::V1, ends("192.0.2.1:1", "[::1]:2")),
                Some("[::ffff:192.0.2.1]:1"),
            ),
            (
                written(Version::V2, ends("192.0.2.1:1", "192.0.2.2:2")),
                Some("192.0.2.1:1"),
            ),
            (
                written(Version::V2, ends("[2001:db8::1]:1", "[::1]:2")),
                Some("[2001:db8::1]:1"),
            ),
            (
                written(Version::V2, ends("[2001:db8::1]:1", "10.0.0.1:2")),
                Some("[2001:db8::1]:1"),
            ),
            (written(Version::V1, None), None),
            (written(Version::V2, None), None),
            (binary(0x20, 0x11, 3, b"abc"), None),
            (binary(0x21, 0x00, 2, b"ab"), None),
            (binary(0x21, 0x12, 17, &tlvs), None),
            (binary(0x21, 0x31, 216, &unix), None),
        ]
    }

    #[test]
    fn whole_headers_are_read_and_every_beginning_waits() {
        for (header, source) in headers() {
            let source = source.map(|text| text.parse().expect("an address"));
            let length = header.len();
            let followed = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            let whole = Read::Whole { length, source };
            assert_eq!(read(&followed), whole, "{header:?}");
            for end in 0..length {
                assert_eq!(read(&header[..end]), Read::Partial, "{header:?} to {end}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused_with_a_reason() {
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 100]].concat();
        let v6 = [0; 35];
        for (bytes, why) in [
            (b"GET / HTTP/1.1\r\n".to_vec(), Refused::Missing),
            (b"\r\n\r\nGET".to_vec(), Refused::Missing),
            (b"PROXX".to_vec(), Refused::Missing),
            (b"proxy TCP4".to_vec(), Refused::Missing),
            (b"PROXY\r\n".to_vec(), Refused::Malformed),
            (b"PROXY \r\n".to_vec(), Refused::Malformed),
            (b"PROXY UNKNOWNX\r\n".to_vec(), Refused::Malformed),
            (b"PROXY UNKNOWN\n".to_vec(), Refused::Malformed),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\n".to_vec(),
                Refused::Malformed,
            ),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n".to_vec(),
                Refused::Malformed,
            ),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2 3\r\n".to_vec(),
                Refused::Malformed,
            ),
            (
                b"PROXY TCP4  192.0.2.1 10.0.0.1 1 2\r\n".to_vec(),
                Refused::Malformed,
            ),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 65536 2\r\n".to_vec(),
                Refused::Malformed,
            ),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 01 2\r\n".to_vec(),
                Refused::Malformed,
            ),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 +1 2\r\n".to_vec(),
                Refused::Malformed,
            ),
            (
                b"PROXY TCP4 192.0.2.01 10.0.0.1 1 2\r\n".to_vec(),
                Refused::Malformed,
            ),
            (
                b"PROXY TCP4 192.0.2.1 ::1 1 2\r\n".to_vec(),
                Refused::Malformed,
            ),
            (b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(), Refused::Malformed),
            (
                b"PROXY TCP6 192.0.2.1 ::1 1 2\r\n".to_vec(),
                Refused::Malformed,
            ),
            (
                b"PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n".to_vec(),
                Refused::Malformed,
            ),
            (
                b"PROXY TCP4 \xff 10.0.0.1 1 2\r\n".to_vec(),
                Refused::Malformed,
            ),
            (long, Refused::TooLong),
            (binary(0x11, 0x11, 12, &[0; 12]), Refused::Malformed),
            (binary(0x22, 0x11, 12, &[0; 12]), Refused::Malformed),
            (binary(0x21, 0x41, 12, &[0; 12]), Refused::Malformed),
            (binary(0x21, 0x13, 12, &[0; 12]), Refused::Malformed),
            (binary(0x21, 0x11, 11, &[0; 11]), Refused::Malformed),
            (binary(0x21, 0x21, 35, &v6), Refused::Malformed),
            (binary(0x21, 0x31, 215, &[0; 215]), Refused::Malformed),
            (binary(0x21, 0x11, 4081, &[]), Refused::TooLong),
            (binary(0x20, 0x00, u16::MAX, &[]), Refused::TooLong),
        ] {
            assert_eq!(read(&bytes), Read::Refused(why), "{bytes:?}");
            // A verdict stays: what was refused early is refused later.
            for end in 0..bytes.len() {
                match read(&bytes[..end]) {
                    Read::Partial => {}
                    Read::Refused(early) => assert_eq!(early, why, "{bytes:?} to {end}"),
                    Read::Whole { .. } => panic!("{bytes:?} to {end}"),
                }
            }
        }
    }

    #[test]
    fn the_longest_line_is_read() {
        let address = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let line = format!("PROXY UNKNOWN {address} {address} 65535 65535\r\n");
        assert_eq!(line.len(), LINE_BYTES_MAX);
        assert!(matches!(
            read(line.as_bytes()),
            Read::Whole { length: 107, .. }
        ));
    }

    #[test]
    fn what_is_written_is_what_the_document_shows() {
        let told = ends("192.168.0.1:56324", "192.168.0.11:443");
        assert_eq!(
            written(Version::V1, told),
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"
        );
        assert_eq!(
            written(Version::V2, told),
            b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21\x11\x00\x0c\
              \xc0\xa8\x00\x01\xc0\xa8\x00\x0b\xdc\x04\x01\xbb"
        );
    }
}
