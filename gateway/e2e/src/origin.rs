//! An origin that does what a story needs, byte by byte, and remembers what it was sent.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use crate::clock::PATIENCE;
use crate::response::find;

/// A request head as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// How many requests the origin had seen before.
    pub number: usize,
    /// The head, its last empty line included.
    pub head: Vec<u8>,
    /// First word of the request line.
    pub method: String,
    /// Second word of the request line.
    pub target: String,
    /// Names as they came, values trimmed.
    pub fields: Vec<(String, String)>,
}

impl Request {
    /// The first value of a field, whatever its name's case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    fn parse(head: Vec<u8>, number: usize) -> Request {
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut words = text
            .lines()
            .next()
            .unwrap_or_default()
            .split(' ')
            .map(str::to_owned);
        let (method, target) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let pairs = text.lines().skip(1).filter_map(|line| line.split_once(':'));
        let fields = pairs
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        Request {
            number,
            head,
            method,
            target,
            fields,
        }
    }
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next request is awaited.
    Keep,
    /// It is closed.
    Close,
}

/// A handler's hand on its connection.
pub struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
    shared: Arc<Shared>,
    connection: usize,
}

impl Wire {
    /// Sends all bytes; false when the other side does not take them any more.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Whatever arrives next; `None` when the other side has ended or patience has.
    pub fn some(&mut self) -> Option<Vec<u8>> {
        if self.unread.is_empty() {
            self.fill()?;
        }
        Some(std::mem::take(&mut self.unread))
    }

    /// Exactly `count` bytes, or as many as came before the end.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count && self.fill().is_some() {}
        self.unread.drain(..count.min(self.unread.len())).collect()
    }

    /// A request's body, decoded; `None` if its end never came or its chunks are malformed.
    pub fn body(&mut self, request: &Request) -> Option<Vec<u8>> {
        if request.field("transfer-encoding").is_some() {
            let mut body = Vec::new();
            while let Some(piece) = self.chunk()? {
                body.extend(piece);
            }
            return Some(body);
        }
        let length = request
            .field("content-length")
            .map_or(Some(0), |length| length.parse().ok())?;
        let body = self.bytes(length);
        (body.len() == length).then_some(body)
    }

    /// The next chunk, `Some(None)` for the last, whose trailers are dropped; `None` when there is no whole chunk.
    pub fn chunk(&mut self) -> Option<Option<Vec<u8>>> {
        let line = self.line()?;
        let size = line
            .split(';')
            .next()
            .and_then(|digits| usize::from_str_radix(digits.trim_end(), 16).ok())?;
        if size == 0 {
            while !self.line()?.is_empty() {}
            return Some(None);
        }
        let piece = self.bytes(size);
        (piece.len() == size && self.bytes(2) == b"\r\n").then_some(Some(piece))
    }

    /// Ends the connection with a reset.
    pub fn reset(&mut self) {
        // Fails only on a connection that is gone.
        let _ = set_socket_linger(&self.stream, Some(Duration::ZERO));
    }

    /// The socket, for another thread.
    ///
    /// # Panics
    /// When descriptors have run out.
    #[must_use]
    pub fn socket(&self) -> TcpStream {
        self.stream.try_clone().expect("a descriptor is left")
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = find(&self.unread, b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..at + 2).take(at).collect();
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
            self.fill()?;
        }
    }

    fn head(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                return Some(self.unread.drain(..at + 4).collect());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Option<()> {
        let mut part = vec![0; 256 << 10];
        let length = self
            .stream
            .read(&mut part)
            .ok()
            .filter(|&length| length > 0)?;
        let arrived = part.get(..length)?;
        self.unread.extend(arrived);
        lock(&self.shared.received)
            .get_mut(self.connection)?
            .extend(arrived);
        Some(())
    }
}

/// For bodies larger than memory: what is read this way is not remembered.
impl Read for Wire {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        read_on(&mut self.unread, &mut self.stream, bytes)
    }
}

/// Reads what has been read ahead, then the stream itself.
pub(crate) fn read_on(
    ahead: &mut Vec<u8>,
    stream: &mut TcpStream,
    bytes: &mut [u8],
) -> std::io::Result<usize> {
    if ahead.is_empty() {
        return stream.read(bytes);
    }
    let length = ahead.as_slice().read(bytes)?;
    ahead.drain(..length);
    Ok(length)
}

type Handler = dyn Fn(&Request, &mut Wire) -> Next + Send + Sync;

struct Shared {
    stopped: AtomicBool,
    count: AtomicUsize,
    requests: Mutex<Vec<Request>>,
    received: Mutex<Vec<Vec<u8>>>,
    streams: Mutex<Vec<TcpStream>>,
}

/// An origin on a port of its own; ends with all its connections on drop.
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Origin {
    /// Serves each request by `handler`, each connection on a thread of its own.
    ///
    /// # Panics
    /// When no port is left.
    pub fn start(handler: impl Fn(&Request, &mut Wire) -> Next + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            stopped: AtomicBool::new(false),
            count: AtomicUsize::new(0),
            requests: Mutex::default(),
            received: Mutex::default(),
            streams: Mutex::default(),
        });
        let of_thread = Arc::clone(&shared);
        let acceptor = spawn("origin", move || {
            accept(&listener, &of_thread, &Arc::new(handler))
        });
        Origin {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Answers every request with the same bytes and keeps the connection; bodies of requests are read away.
    #[must_use]
    pub fn answering(answer: impl Into<Vec<u8>>) -> Origin {
        let answer = answer.into();
        Origin::start(move |request, wire| {
            wire.body(request);
            wire.send(&answer);
            Next::Keep
        })
    }

    /// Answers by turns, and every request after that with the last of them; the head of each to HEAD.
    #[must_use]
    pub fn by_turns(answers: impl Into<Vec<Vec<u8>>>) -> Origin {
        let answers = answers.into();
        Origin::start(move |request, wire| {
            wire.body(request);
            let last = answers.len().saturating_sub(1);
            let answer = answers.get(request.number.min(last));
            let answer = answer.map_or(&[][..], Vec::as_slice);
            let whole = answer.len();
            let head = find(answer, b"\r\n\r\n").map_or(whole, |at| at + 4);
            let end = if request.method == "HEAD" {
                head
            } else {
                whole
            };
            wire.send(answer.get(..end).unwrap_or_default());
            Next::Keep
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests whose head has arrived.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::SeqCst)
    }

    /// Those requests.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// The latest of them.
    ///
    /// # Panics
    /// When there was none.
    #[must_use]
    pub fn last(&self) -> Request {
        lock(&self.shared.requests)
            .last()
            .cloned()
            .expect("the origin was asked")
    }

    /// All bytes of each connection, in the order of connecting.
    #[must_use]
    pub fn received(&self) -> Vec<Vec<u8>> {
        lock(&self.shared.received).clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then sees that it is to stop.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for stream in lock(&self.shared.streams).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    handler: &Arc<impl Fn(&Request, &mut Wire) -> Next + Send + Sync + 'static>,
) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let Ok(copy) = stream.try_clone() else {
            continue;
        };
        lock(&shared.streams).push(copy);
        let connection = {
            let mut received = lock(&shared.received);
            received.push(Vec::new());
            received.len() - 1
        };
        let wire = Wire {
            stream,
            unread: Vec::new(),
            shared: Arc::clone(shared),
            connection,
        };
        let handler: Arc<Handler> = Arc::clone(handler) as Arc<Handler>;
        spawn("origin connection", move || serve(wire, &*handler));
    }
}

fn serve(mut wire: Wire, handler: &Handler) {
    // Fails only on a connection that is gone, which the first read tells.
    let _ = wire.stream.set_nodelay(true);
    let _ = wire.stream.set_read_timeout(Some(PATIENCE * 3));
    let _ = wire.stream.set_write_timeout(Some(PATIENCE * 3));
    while let Some(head) = wire.head() {
        let number = wire.shared.count.fetch_add(1, Ordering::SeqCst);
        let request = Request::parse(head, number);
        lock(&wire.shared.requests).push(request.clone());
        if handler(&request, &mut wire) == Next::Close {
            break;
        }
    }
    let linger = rustix::net::sockopt::socket_linger(&wire.stream)
        .ok()
        .flatten();
    if linger.is_none() {
        let _ = wire.stream.shutdown(Shutdown::Both);
    }
    // The copy that `Drop for Origin` would use keeps the socket open, and with it a reset from being sent.
    let own = wire.stream.peer_addr().ok();
    lock(&wire.shared.streams).retain(|stream| stream.peer_addr().ok() != own);
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .expect("a thread is left")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;
    use crate::message::{chunked, get, ok};
    use crate::response::Broken;

    #[test]
    fn requests_are_counted_and_kept_byte_by_byte() {
        let origin = Origin::answering(ok("", "x"));
        let mut client = Client::connect(origin.address());
        client.ask(get("/a"));
        client.ask(get("/b"));
        assert_eq!((origin.count(), origin.last().target.as_str()), (2, "/b"));
        assert_eq!(
            origin.received(),
            [format!("{}{}", get("/a"), get("/b")).into_bytes()]
        );
    }

    #[test]
    fn a_chunked_request_is_decoded() {
        let origin = Origin::start(|request, wire| {
            let body = wire.body(request).unwrap_or_default();
            wire.send(ok("", body));
            Next::Keep
        });
        let mut client = Client::connect(origin.address());
        client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        let response = client.ask(chunked(&[b"one", b"two"]));
        assert_eq!(response.body, b"onetwo");
    }

    #[test]
    fn a_reset_is_a_reset() {
        let origin = Origin::start(|_, wire| {
            wire.reset();
            Next::Close
        });
        let mut client = Client::connect(origin.address());
        client.send(get("/"));
        assert_eq!(client.try_response(), Err(Broken::Reset));
    }
}
