//! One request, read strictly: is the server up, and is what it answers right.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

/// An answer as it came over the wire.
pub(crate) struct Answer {
    /// The three digits.
    pub(crate) status: String,
    /// Bytes of the head, its last empty line included.
    pub(crate) head_bytes: usize,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// Asks for `path` on a connection of its own; the answer must have a Content-Length.
pub(crate) fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    ask(&mut stream, address, path)
}

/// Asks on a connection that stays open.
pub(crate) fn ask(stream: &mut TcpStream, address: SocketAddr, path: &str) -> io::Result<Answer> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut bytes = Vec::with_capacity(4096);
    let head_bytes = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        more(stream, &mut bytes)?;
    };
    let head = String::from_utf8_lossy(&bytes[..head_bytes]).into_owned();
    let length =
        content_length(&head).ok_or_else(|| invalid("an answer without Content-Length"))?;
    while bytes.len() < head_bytes + length {
        more(stream, &mut bytes)?;
    }
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok(Answer {
        status,
        head_bytes,
        body: bytes.split_off(head_bytes),
    })
}

fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut part = [0; 16 << 10];
    match stream.read(&mut part)? {
        0 => Err(invalid("the connection ended inside the answer")),
        length => {
            bytes.extend(&part[..length]);
            Ok(())
        }
    }
}

fn content_length(head: &str) -> Option<usize> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
