//! A client that sends any bytes and reads answers strictly: what is not exactly HTTP/1.1 is named, not repaired.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::clock::{Deadline, PATIENCE};
use crate::origin::read_on;
use crate::response::{
    Broken, Framing, HEAD_END, Response, chunk_size, decimal, find, framing, malformed,
    parse_field, parse_head,
};

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In order.
    Closed,
    /// By a reset.
    Reset,
    /// Not within patience.
    Open,
}

/// A connection to the gateway; everything has a deadline.
pub struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens.
    #[must_use]
    pub fn connect(to: SocketAddr) -> Client {
        let stream =
            TcpStream::connect(to).unwrap_or_else(|error| panic!("no connection to {to}: {error}"));
        stream.set_nodelay(true).expect("a socket takes options");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a socket takes options");
        Client {
            stream,
            unread: Vec::new(),
        }
    }

    /// Sends all bytes; false when the other side does not take them any more.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Says that nothing more will be sent.
    pub fn end_sending(&self) {
        // Fails only on a connection that is gone, which the next read tells.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The socket, for another thread or for what this type does not do.
    ///
    /// # Panics
    /// When descriptors have run out.
    #[must_use]
    pub fn socket(&self) -> TcpStream {
        self.stream.try_clone().expect("a descriptor is left")
    }

    /// Sends a request and reads its answer.
    ///
    /// # Panics
    /// When there is no whole answer.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request);
        self.response()
    }

    /// Sends a request and reads its answer, which may fail.
    ///
    /// # Errors
    /// What kept the answer from being whole.
    pub fn ask_quietly(&mut self, request: impl AsRef<[u8]>) -> Result<Response, Broken> {
        self.send(request);
        self.try_response()
    }

    /// Reads the answer to anything but HEAD.
    ///
    /// # Panics
    /// When there is no whole answer.
    pub fn response(&mut self) -> Response {
        self.try_response()
            .unwrap_or_else(|broken| panic!("no whole answer: {broken:?}"))
    }

    /// Reads the answer to anything but HEAD.
    ///
    /// # Errors
    /// What kept it from being whole.
    pub fn try_response(&mut self) -> Result<Response, Broken> {
        self.read_response(false)
    }

    /// Reads the answer to HEAD.
    ///
    /// # Panics
    /// When there is no whole answer.
    pub fn response_to_head(&mut self) -> Response {
        self.read_response(true)
            .unwrap_or_else(|broken| panic!("no whole answer: {broken:?}"))
    }

    /// Reads one head, interim or final, and leaves the body.
    ///
    /// # Errors
    /// What kept it from being whole.
    pub fn head(&mut self) -> Result<Response, Broken> {
        let deadline = Deadline::after(PATIENCE);
        let end = loop {
            if let Some(at) = find(&self.unread, HEAD_END) {
                break at + HEAD_END.len();
            }
            self.fill(deadline)?;
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        parse_head(&head)
    }

    /// Takes exactly `count` bytes as they are.
    ///
    /// # Errors
    /// What kept them from coming.
    pub fn bytes(&mut self, count: usize) -> Result<Vec<u8>, Broken> {
        let deadline = Deadline::after(PATIENCE);
        while self.unread.len() < count {
            self.fill(deadline)?;
        }
        Ok(self.unread.drain(..count).collect())
    }

    /// Reads on until the connection ends.
    pub fn until_end(&mut self) -> (Vec<u8>, Ending) {
        let deadline = Deadline::after(PATIENCE);
        let ending = loop {
            match self.fill(deadline) {
                Ok(()) => {}
                Err(Broken::Reset) => break Ending::Reset,
                Err(Broken::Late) => break Ending::Open,
                Err(_) => break Ending::Closed,
            }
        };
        (std::mem::take(&mut self.unread), ending)
    }

    /// Claims that the connection ends in order and that nothing more comes before.
    ///
    /// # Panics
    /// When it is otherwise.
    pub fn expect_end(&mut self) {
        let (bytes, ending) = self.until_end();
        assert_eq!(
            (bytes.escape_ascii().to_string().as_str(), ending),
            ("", Ending::Closed)
        );
    }

    fn read_response(&mut self, to_head: bool) -> Result<Response, Broken> {
        let mut interim = Vec::new();
        let mut response = loop {
            let response = self.head()?;
            if (100..200).contains(&response.status) && response.status != 101 {
                interim.push(response);
            } else {
                break response;
            }
        };
        response.interim = interim;
        response.framing = if to_head {
            Framing::None
        } else {
            framing(&response)?
        };
        self.read_body(&mut response)?;
        Ok(response)
    }

    fn read_body(&mut self, response: &mut Response) -> Result<(), Broken> {
        match response.framing {
            Framing::None => {}
            Framing::Length => {
                let length = response
                    .field("content-length")
                    .and_then(decimal)
                    .unwrap_or(0);
                response.body = self.bytes(length).map_err(inside)?;
            }
            Framing::Chunked => self.read_chunks(response).map_err(inside)?,
            Framing::Close => match self.until_end() {
                (body, Ending::Closed) => response.body = body,
                (_, Ending::Reset) => return Err(Broken::Reset),
                (_, Ending::Open) => return Err(Broken::Late),
            },
        }
        Ok(())
    }

    fn read_chunks(&mut self, response: &mut Response) -> Result<(), Broken> {
        loop {
            let line = self.line()?;
            let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
            let size = chunk_size(digits).ok_or_else(|| malformed("chunk size", &line))?;
            if size == 0 {
                break;
            }
            let piece = self.bytes(size)?;
            response.body.extend(piece);
            let end = self.bytes(2)?;
            if end != b"\r\n" {
                return Err(malformed("end of a chunk", &end));
            }
        }
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(());
            }
            response.trailers.push(parse_field(&line)?);
        }
    }

    /// A line without its CRLF.
    fn line(&mut self) -> Result<Vec<u8>, Broken> {
        let deadline = Deadline::after(PATIENCE);
        loop {
            if let Some(at) = find(&self.unread, b"\r\n") {
                let line = self.unread.drain(..at + 2).take(at).collect();
                return Ok(line);
            }
            self.fill(deadline)?;
        }
    }

    fn fill(&mut self, deadline: Deadline) -> Result<(), Broken> {
        let left = deadline.left().ok_or(Broken::Late)?;
        self.stream
            .set_read_timeout(Some(left))
            .expect("a socket takes options");
        let mut part = vec![0; 256 << 10];
        match self.stream.read(&mut part) {
            Ok(0) if self.unread.is_empty() => Err(Broken::Closed),
            Ok(0) => Err(Broken::Truncated),
            Ok(length) => {
                self.unread.extend(part.get(..length).unwrap_or_default());
                Ok(())
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(Broken::Late),
                ErrorKind::Interrupted => Ok(()),
                _ => Err(Broken::Reset),
            },
        }
    }
}

/// For bodies larger than memory.
impl Read for Client {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        read_on(&mut self.unread, &mut self.stream, bytes)
    }
}

/// What ends a connection between two parts of a message ends it inside the message.
fn inside(broken: Broken) -> Broken {
    if broken == Broken::Closed {
        Broken::Truncated
    } else {
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::{Next, Origin};

    fn answered(bytes: &'static [u8]) -> Result<Response, Broken> {
        let origin = Origin::start(move |_, wire| {
            wire.send(bytes);
            Next::Close
        });
        let mut client = Client::connect(origin.address());
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        client.try_response()
    }

    #[test]
    fn every_framing_is_read() {
        let framing = |bytes| answered(bytes).map(|response| (response.framing, response.body));
        assert_eq!(
            framing(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"),
            Ok((Framing::Length, b"ab".to_vec()))
        );
        assert_eq!(
            framing(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab"),
            Ok((Framing::Close, b"ab".to_vec()))
        );
        assert_eq!(
            framing(b"HTTP/1.1 204 No Content\r\n\r\n"),
            Ok((Framing::None, Vec::new()))
        );
        let response = answered(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n1\r\nb\r\n0\r\nT: 1\r\n\r\n").unwrap();
        assert_eq!(
            (response.body, response.trailers),
            (b"ab".to_vec(), vec![("T".to_owned(), "1".to_owned())])
        );
    }

    #[test]
    fn interim_answers_stand_before_the_final_one() {
        let response = answered(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert_eq!((response.status, response.interim.len()), (200, 1));
    }

    #[test]
    fn what_is_cut_short_is_never_whole() {
        assert_eq!(
            answered(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"),
            Err(Broken::Truncated)
        );
        assert_eq!(
            answered(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"),
            Err(Broken::Truncated)
        );
        assert_eq!(
            answered(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"),
            Err(Broken::Truncated)
        );
        assert_eq!(
            answered(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"),
            Err(Broken::Truncated)
        );
        assert_eq!(answered(b"HTTP/1.1 2"), Err(Broken::Truncated));
        assert_eq!(answered(b""), Err(Broken::Closed));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_malformed() {
        let bad: [&'static [u8]; 7] = [
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nbody until the end, unannounced",
            b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        ];
        for bytes in bad {
            assert!(
                matches!(answered(bytes), Err(Broken::Malformed(_))),
                "{}",
                bytes.escape_ascii()
            );
        }
    }
}
