//! An endpoint that does to its clients whatever it is told to, while they ask.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use super::random::{Random, body_of, digest};

/// What an endpoint does. To add one: here, in [`Mood::ALL`], and in [`Exchange::act`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Answers as it should.
    Calm,
    /// Does not listen.
    Refuses,
    /// Listens and does not, by turns of the conductor.
    Flaps,
    /// Resets whoever connects.
    ResetsAtOnce,
    /// Resets instead of an answer.
    ResetsBeforeHead,
    /// Resets inside the head.
    ResetsInHead,
    /// Resets inside the body.
    ResetsInBody,
    /// Answers late.
    HangsBeforeHead,
    /// Sends half a head, and the rest late or never.
    HangsInHead,
    /// Sends the head, and the body late or never.
    HangsAfterHead,
    /// Sends half the body, and the rest late or never.
    HangsInBody,
    /// Sends a body that only the connection's end completes, and ends it late.
    HangsAfterBody,
    /// Sends its answer in small pieces.
    IsSlow,
    /// Ends the connection inside a chunk.
    SendsHalfAChunk,
    /// Says more than it sends.
    SaysMore,
    /// Says less than it sends; `X-Lie` admits it, so that the cut body is known to be what it asked for.
    SaysLess,
    /// Sends another answer behind the one that was asked for.
    SendsMore,
    /// Says two lengths.
    SaysTwo,
    /// Says a length and chunks.
    SaysBoth,
    /// Sends no HTTP.
    Babbles,
    /// Ends the connection some time after an answer, unannounced: just as the next request may come.
    ClosesIdle,
    /// Ends the connection instead of answering.
    ClosesUnanswered,
}

impl Mood {
    /// Every one of them, by number.
    pub const ALL: &[Mood] = &[
        Mood::Calm,
        Mood::Refuses,
        Mood::Flaps,
        Mood::ResetsAtOnce,
        Mood::ResetsBeforeHead,
        Mood::ResetsInHead,
        Mood::ResetsInBody,
        Mood::HangsBeforeHead,
        Mood::HangsInHead,
        Mood::HangsAfterHead,
        Mood::HangsInBody,
        Mood::HangsAfterBody,
        Mood::IsSlow,
        Mood::SendsHalfAChunk,
        Mood::SaysMore,
        Mood::SaysLess,
        Mood::SendsMore,
        Mood::SaysTwo,
        Mood::SaysBoth,
        Mood::Babbles,
        Mood::ClosesIdle,
        Mood::ClosesUnanswered,
    ];
}

/// A hang lasts at most so long; the gateway is told to wait for less.
const HANG_MAX_MS: u64 = 1_500;

struct Shared {
    seed: u64,
    mood: AtomicU8,
    over: AtomicBool,
    connections: AtomicU64,
    requests: AtomicU64,
    wrong_uploads: AtomicU64,
    /// Whether to listen; who waits for a change of that, or for the end, waits here.
    listens: Mutex<bool>,
    changed: Condvar,
    listener: Mutex<Option<TcpListener>>,
    open: Mutex<HashMap<u64, TcpStream>>,
}

/// An endpoint on a port of its own; ends with all its connections on drop.
pub struct Endpoint {
    /// Where it listens when it does.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// A calm one.
    ///
    /// # Panics
    /// When no port is left.
    #[must_use]
    pub fn start(seed: u64) -> Endpoint {
        // Not the address that clients' own ports are taken from: a port that is not listened on stays free.
        let first = TcpListener::bind("127.0.0.2:0").expect("a port is free");
        let address = first.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            seed,
            mood: AtomicU8::new(0),
            over: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            wrong_uploads: AtomicU64::new(0),
            listens: Mutex::new(true),
            changed: Condvar::new(),
            listener: Mutex::new(None),
            open: Mutex::default(),
        });
        let of_thread = Arc::clone(&shared);
        let acceptor = spawn(move || of_thread.listen(address, first));
        Endpoint {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Changes what it does, from the next request on.
    pub fn set(&self, mood: Mood) {
        let number = Mood::ALL.iter().position(|known| *known == mood);
        let number = number.and_then(|number| u8::try_from(number).ok());
        self.shared
            .mood
            .store(number.unwrap_or(0), Ordering::SeqCst);
        self.listen(mood != Mood::Refuses);
    }

    /// What it does.
    #[must_use]
    pub fn mood(&self) -> Mood {
        self.shared.mood()
    }

    /// Listens or does not.
    pub fn listen(&self, listens: bool) {
        let was = std::mem::replace(&mut *lock(&self.shared.listens), listens);
        if was && !listens {
            self.shared.stop_listening();
        }
        self.shared.changed.notify_all();
    }

    /// Whether it is to listen.
    #[must_use]
    pub fn listens(&self) -> bool {
        *lock(&self.shared.listens)
    }

    /// Requests that came to it.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Bodies of requests that came whole and were not what their target says.
    #[must_use]
    pub fn wrong_uploads(&self) -> u64 {
        self.shared.wrong_uploads.load(Ordering::SeqCst)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.stop_listening();
        self.shared.changed.notify_all();
        for (_, stream) in lock(&self.shared.open).drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn mood(&self) -> Mood {
        let number = usize::from(self.mood.load(Ordering::SeqCst));
        Mood::ALL.get(number).copied().unwrap_or(Mood::Calm)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Ends the accept that waits; the port is free once its thread has let go, too.
    fn stop_listening(&self) {
        if let Some(listener) = lock(&self.listener).take() {
            let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
        }
    }

    fn listen(self: Arc<Shared>, address: SocketAddr, first: TcpListener) {
        let mut listener = Some(first);
        while !self.is_over() {
            match listener
                .take()
                .map_or_else(|| TcpListener::bind(address), Ok)
            {
                Ok(listener) => self.accept(&listener),
                Err(_) => self.rest(Duration::from_millis(5)),
            }
            let listens = lock(&self.listens);
            drop(
                self.changed
                    .wait_while(listens, |listens| !*listens && !self.is_over()),
            );
        }
    }

    fn accept(self: &Arc<Shared>, listener: &TcpListener) {
        let Ok(copy) = listener.try_clone() else {
            return;
        };
        *lock(&self.listener) = Some(copy);
        if !*lock(&self.listens) || self.is_over() {
            return self.stop_listening();
        }
        loop {
            match listener.accept() {
                Ok((stream, _)) if self.mood() == Mood::ResetsAtOnce => reset(&stream),
                Ok((stream, _)) => self.take(stream),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(_) => return,
            }
        }
    }

    fn take(self: &Arc<Shared>, stream: TcpStream) {
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        if let Ok(copy) = stream.try_clone() {
            lock(&self.open).insert(number, copy);
        }
        let shared = Arc::clone(self);
        spawn(move || {
            let exchange = Exchange {
                random: Random::of(shared.seed ^ number.wrapping_mul(0x9e37_79b9)),
                shared: &shared,
                stream,
                unread: Vec::new(),
            };
            exchange.serve();
            lock(&shared.open).remove(&number);
        });
    }

    /// Waits so long, or until the end.
    fn rest(&self, time: Duration) {
        let (mut slept, step) = (Duration::ZERO, Duration::from_millis(10));
        while slept < time && !self.is_over() {
            let part = step.min(time - slept);
            thread::park_timeout(part);
            slept += part;
        }
    }
}

/// What is asked.
struct Asked {
    method: String,
    target: String,
    /// The validator of a conditional request.
    known: Option<String>,
}

/// One connection.
struct Exchange<'a> {
    shared: &'a Shared,
    stream: TcpStream,
    unread: Vec<u8>,
    random: Random,
}

impl Exchange<'_> {
    fn serve(mut self) {
        let _ = self.stream.set_nodelay(true);
        let _ = self.stream.set_read_timeout(Some(Duration::from_secs(30)));
        let _ = self.stream.set_write_timeout(Some(Duration::from_secs(30)));
        while !self.shared.is_over() {
            let Some(asked) = self.read() else { return };
            self.shared.requests.fetch_add(1, Ordering::SeqCst);
            if self.act(self.shared.mood(), &asked).is_none() {
                return;
            }
        }
    }

    /// The next request, its body read and verified.
    fn read(&mut self) -> Option<Asked> {
        let end = loop {
            if let Some(at) = self
                .unread
                .windows(4)
                .position(|bytes| bytes == b"\r\n\r\n")
            {
                break at + 4;
            }
            self.fill()?;
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let field = |name: &str| {
            head.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name)
                    .then(|| value.trim().to_owned())
            })
        };
        let mut words = head.split_whitespace();
        let asked = Asked {
            method: words.next()?.to_owned(),
            target: words.next()?.to_owned(),
            known: field("if-none-match"),
        };
        let length = field("content-length").and_then(|value| value.parse().ok());
        if let Some(length) = length {
            while self.unread.len() < length {
                self.fill()?;
            }
            let body: Vec<u8> = self.unread.drain(..length).collect();
            if length > 0 && body != body_of(&asked.target) {
                self.shared.wrong_uploads.fetch_add(1, Ordering::SeqCst);
            }
        }
        Some(asked)
    }

    fn fill(&mut self) -> Option<()> {
        let mut part = [0; 16 << 10];
        let length = self
            .stream
            .read(&mut part)
            .ok()
            .filter(|length| *length > 0)?;
        self.unread.extend(part.get(..length)?);
        Some(())
    }

    fn send(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).ok()
    }

    /// Late.
    fn hang(&mut self) {
        let time = 100 + self.random.below(HANG_MAX_MS - 100);
        self.shared.rest(Duration::from_millis(time));
    }

    /// Late or never.
    fn hang_or_leave(&mut self) -> Option<()> {
        self.hang();
        (self.random.below(2) == 0).then_some(())
    }

    /// Answers in this mood; `None` when the connection is to end.
    fn act(&mut self, mood: Mood, asked: &Asked) -> Option<()> {
        let whole = Answer::to(asked);
        let half = |bytes: &[u8]| bytes.len() / 2;
        match mood {
            Mood::Calm | Mood::Refuses | Mood::Flaps | Mood::ResetsAtOnce => {
                self.send(&whole.bytes())
            }
            Mood::ResetsBeforeHead => self.reset(),
            Mood::ResetsInHead => {
                self.send(&whole.head[..half(&whole.head)])?;
                self.reset()
            }
            Mood::ResetsInBody => {
                self.send(&whole.head)?;
                self.send(&whole.body[..half(&whole.body)])?;
                self.reset()
            }
            Mood::HangsBeforeHead => {
                self.hang_or_leave()?;
                self.send(&whole.bytes())
            }
            Mood::HangsInHead => self.in_two(&whole.bytes(), half(&whole.head)),
            Mood::HangsAfterHead => self.in_two(&whole.bytes(), whole.head.len()),
            Mood::HangsInBody => {
                let at = whole.head.len() + half(&whole.body);
                self.in_two(&whole.bytes(), at)
            }
            Mood::HangsAfterBody => {
                let open = Answer::with(asked, "Connection: close\r\n", false);
                self.send(&open.bytes())?;
                self.hang();
                None
            }
            Mood::IsSlow => {
                let bytes = whole.bytes();
                for piece in bytes.chunks(bytes.len().div_ceil(16)) {
                    self.send(piece)?;
                    self.shared.rest(Duration::from_millis(5));
                }
                Some(())
            }
            Mood::SendsHalfAChunk => {
                let head = Answer::with(asked, "Transfer-Encoding: chunked\r\n", false).head;
                let body = body_of(&asked.target);
                let (first, rest) = body.split_at(half(&body));
                self.send(&head)?;
                self.send(format!("{:x}\r\n", first.len()).as_bytes())?;
                self.send(first)?;
                self.send(format!("\r\n{:x}\r\n", rest.len()).as_bytes())?;
                self.send(&rest[..half(rest)])?;
                None
            }
            Mood::SaysMore => self.lie(asked, |length| {
                format!("Content-Length: {}\r\n", length + 100)
            }),
            Mood::SaysLess => self.lie(asked, |length| {
                format!("X-Lie: less\r\nContent-Length: {}\r\n", length / 2)
            }),
            Mood::SaysTwo => self.lie(asked, |length| {
                format!(
                    "Content-Length: {length}\r\nContent-Length: {}\r\n",
                    length / 2
                )
            }),
            Mood::SaysBoth => self.lie(asked, |length| {
                format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n")
            }),
            Mood::SendsMore => {
                let mut bytes = whole.bytes();
                bytes.extend(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong");
                self.send(&bytes)
            }
            Mood::Babbles => {
                self.send(b"no HTTP\r\n\r\n at all\r\n\r\n")?;
                None
            }
            Mood::ClosesIdle => {
                self.send(&whole.bytes())?;
                let time = Duration::from_micros(self.random.below(3_000));
                self.shared.rest(time);
                None
            }
            Mood::ClosesUnanswered => None,
        }
    }

    fn in_two(&mut self, bytes: &[u8], at: usize) -> Option<()> {
        let (first, rest) = bytes.split_at(at);
        self.send(first)?;
        self.hang_or_leave()?;
        self.send(rest)
    }

    /// The body of the target under a head that says otherwise; then the end.
    fn lie(&mut self, asked: &Asked, says: impl Fn(usize) -> String) -> Option<()> {
        let body = body_of(&asked.target);
        let mut answer = Answer::with(asked, &says(body.len()), true).head;
        if asked.method != "HEAD" {
            answer.extend(body);
        }
        self.send(&answer)?;
        None
    }

    fn reset(&mut self) -> Option<()> {
        reset(&self.stream);
        None
    }
}

/// An answer as it should be.
struct Answer {
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Answer {
    fn to(asked: &Asked) -> Answer {
        if asked.known.as_deref() == Some(&etag(&asked.target)) {
            let head = format!("HTTP/1.1 304 Not Modified\r\n{}\r\n", fields(asked, false));
            return Answer {
                head: head.into_bytes(),
                body: Vec::new(),
            };
        }
        let body = body_of(&asked.target);
        if digest(&asked.target).is_multiple_of(3) {
            let mut answer = Answer::with(asked, "Transfer-Encoding: chunked\r\n", false);
            let (first, rest) = body.split_at(body.len() / 2);
            answer.body = crate::message::chunked(&[first, rest]);
            return answer;
        }
        Answer::with(asked, &format!("Content-Length: {}\r\n", body.len()), false)
    }

    /// A 200 with these lines in its head; what lies is not to be stored.
    fn with(asked: &Asked, lines: &str, lies: bool) -> Answer {
        let head = format!("HTTP/1.1 200 OK\r\n{lines}{}\r\n", fields(asked, lies));
        Answer {
            head: head.into_bytes(),
            body: body_of(&asked.target),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        [&self.head[..], &self.body].concat()
    }
}

fn etag(target: &str) -> String {
    format!("\"{:x}\"", digest(target))
}

/// What targets are called says how long their answers keep.
fn fields(asked: &Asked, lies: bool) -> String {
    let keeps = match (lies, asked.target.as_str()) {
        (false, target) if target.starts_with("/steady/") => "max-age=600",
        (false, target) if target.starts_with("/hit/") => match digest(target) % 3 {
            0 => "max-age=1",
            1 => "max-age=1, stale-while-revalidate=2",
            _ => "max-age=1, stale-if-error=5",
        },
        _ => "no-store",
    };
    let target = &asked.target;
    format!(
        "Cache-Control: {keeps}\r\nETag: {}\r\nX-Target: {target}\r\n",
        etag(target)
    )
}

fn reset(stream: &TcpStream) {
    // Fails only on a connection that is gone.
    let _ = set_socket_linger(stream, Some(Duration::ZERO));
}

fn spawn(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let thread = thread::Builder::new().name("storm".to_owned());
    thread.spawn(work).expect("a thread is left")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
