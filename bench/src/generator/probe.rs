//! Two requests or more before the run: is anybody there, how large are the answers, and are they always the same.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::reader::{Expected, Reader};

/// Bodies up to this size are kept and compared; of larger ones the length is.
const BODY_BYTES_MAX: usize = 16 << 20;

/// What the target answered before the run.
pub(crate) struct Probed {
    pub(crate) status: u16,
    /// The whole answer, framing and all.
    pub(crate) answer_bytes: usize,
    /// The body, unless it is larger than what is kept.
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) body_bytes: u64,
    /// Every answer had the same status and body.
    pub(crate) repeats: bool,
    /// It says that it is nobody's to keep (RFC 9111 §5.2.2.5): made anew each time.
    pub(crate) no_store: bool,
}

/// The first of the addresses that takes connections.
pub(crate) fn reach(addresses: &[SocketAddr], patience: Duration) -> io::Result<SocketAddr> {
    let mut last = io::Error::other("it has no address");
    for address in addresses {
        match TcpStream::connect_timeout(address, patience) {
            Ok(_) => return Ok(*address),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Asks for each, each time on a connection of its own.
pub(crate) fn probe(
    address: SocketAddr,
    requests: &[Vec<u8>],
    bodiless: bool,
    patience: Duration,
) -> io::Result<Probed> {
    let mut answers = requests
        .iter()
        .map(|request| ask(address, request, bodiless, patience));
    let mut first = answers
        .next()
        .unwrap_or_else(|| Err(io::Error::other("nothing was asked")))?;
    first.repeats = true;
    for other in answers {
        let other = other?;
        let same = first.status == other.status && first.body_bytes == other.body_bytes;
        first.repeats &= same && first.body == other.body;
        first.answer_bytes = first.answer_bytes.max(other.answer_bytes);
    }
    Ok(first)
}

fn ask(
    address: SocketAddr,
    request: &[u8],
    bodiless: bool,
    patience: Duration,
) -> io::Result<Probed> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    stream.write_all(request)?;
    let expected = Expected::default();
    let mut reader = Reader::keeping(BODY_BYTES_MAX, bodiless);
    let (mut part, mut answer_bytes, mut no_store) = (vec![0; 64 << 10], 0, false);
    let answer = loop {
        let count = stream.read(&mut part)?;
        if answer_bytes == 0 {
            no_store = says_no_store(part.get(..count).unwrap_or_default());
        }
        answer_bytes += count;
        let read = match part.get(..count).unwrap_or_default() {
            [] => reader.end(&expected).map(Some),
            bytes => reader.feed(bytes, &expected),
        };
        match read {
            Ok(Some(answer)) => break answer,
            Ok(None) => {}
            Err(fault) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    fault.to_string(),
                ));
            }
        }
    };
    Ok(Probed {
        status: answer.status,
        answer_bytes,
        body: reader.kept_body(),
        body_bytes: answer.body_bytes,
        repeats: false,
        no_store,
    })
}

/// Whether the head that begins with these bytes has a Cache-Control with no-store.
fn says_no_store(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    head.lines()
        .filter_map(|line| line.strip_prefix("cache-control:"))
        .flat_map(|value| value.split(','))
        .any(|directive| directive.trim() == "no-store")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_head_says_no_store() {
        for (text, said) in [
            (
                "HTTP/1.1 200 OK\r\nCache-control: private, No-Store\r\n\r\n",
                true,
            ),
            ("HTTP/1.1 200 OK\r\nCache-Control: private\r\n\r\n", false),
            (
                "HTTP/1.1 200 OK\r\nX: y\r\n\r\ncache-control: no-store",
                false,
            ),
        ] {
            assert_eq!(says_no_store(text.as_bytes()), said, "{text}");
        }
    }
}
