//! The floor on epoll: what the older interface costs for the same answers.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use super::answers::{Answers, RequestCounter};
use super::listener::check;
use super::{Floor, FloorServed};

/// Ready descriptors taken by one wait.
const EVENTS: usize = 512;
/// Bytes of one receive.
const RECEIVE_BYTES: usize = 64 << 10;

/// Serves until the time is over.
pub(super) fn serve(
    listener: &TcpListener,
    answers: &Answers,
    floor: &Floor,
) -> io::Result<FloorServed> {
    listener.set_nonblocking(true)?;
    let interest = Interest::new()?;
    let timer = floor.duration.map(timer).transpose()?;
    interest.add(listener.as_raw_fd())?;
    if let Some(timer) = &timer {
        interest.add(timer.as_raw_fd())?;
    }
    let mut turns = Turns {
        interest,
        listener,
        answers,
        send_each: floor.send_each,
        close: floor.close,
        connections: Vec::new(),
        bytes: vec![0; RECEIVE_BYTES],
        served: FloorServed::default(),
    };
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
    loop {
        let count = turns.interest.wait(&mut events)?;
        for event in &events[..count] {
            let descriptor = event.u64 as RawFd;
            if Some(descriptor) == timer.as_ref().map(AsRawFd::as_raw_fd) {
                return Ok(turns.served);
            }
            turns.ready(descriptor)?;
        }
    }
}

/// An epoll instance; closed on drop. Descriptors leave it by being closed.
struct Interest(OwnedFd);

impl Interest {
    fn new() -> io::Result<Interest> {
        // SAFETY: takes no memory.
        let descriptor = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: a new descriptor that nobody else owns.
        Ok(Interest(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    fn add(&self, descriptor: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, descriptor, libc::EPOLLIN)
    }

    fn writable_too(&self, descriptor: RawFd, wanted: bool) -> io::Result<()> {
        self.control(
            libc::EPOLL_CTL_MOD,
            descriptor,
            libc::EPOLLIN | if wanted { libc::EPOLLOUT } else { 0 },
        )
    }

    fn control(
        &self,
        operation: libc::c_int,
        descriptor: RawFd,
        events: libc::c_int,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: events as u32,
            u64: descriptor as u64,
        };
        // SAFETY: the kernel reads `event`, which lives on this frame.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, descriptor, &raw mut event) })
            .map(drop)
    }

    /// Ready events written to the front of `events`.
    fn wait(&self, events: &mut [libc::epoll_event; EVENTS]) -> io::Result<usize> {
        // SAFETY: the kernel writes at most EVENTS events, as many as the array holds.
        match check(unsafe {
            libc::epoll_wait(
                self.0.as_raw_fd(),
                events.as_mut_ptr(),
                EVENTS as libc::c_int,
                -1,
            )
        }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            other => other.map(|count| count as usize),
        }
    }
}

struct Connection {
    stream: TcpStream,
    counter: RequestCounter,
    owed: u64,
    /// Bytes of the first owed answer that are out already.
    sent: usize,
    awaits_room: bool,
    /// Nothing more will be read.
    ended: bool,
}

struct Turns<'a> {
    interest: Interest,
    listener: &'a TcpListener,
    answers: &'a Answers,
    send_each: bool,
    close: bool,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    bytes: Vec<u8>,
    served: FloorServed,
}

impl Turns<'_> {
    fn ready(&mut self, descriptor: RawFd) -> io::Result<()> {
        if descriptor == self.listener.as_raw_fd() {
            return self.accept_all();
        }
        let Some(slot) = self.connections.get_mut(descriptor as usize) else {
            return Ok(());
        };
        let Some(connection) = slot else {
            return Ok(());
        };
        let received = receive(connection, &mut self.bytes, &mut self.served);
        connection.ended |= self.close && connection.owed > 0;
        let open = received && send(connection, self.answers, self.send_each);
        if !open || (connection.ended && connection.owed == 0) {
            *slot = None;
            return Ok(());
        }
        let awaits_room = connection.owed > 0;
        if awaits_room != connection.awaits_room {
            connection.awaits_room = awaits_room;
            self.interest.writable_too(descriptor, awaits_room)?;
        }
        Ok(())
    }

    fn accept_all(&mut self) -> io::Result<()> {
        while let Some(stream) = accept(self.listener)? {
            let index = stream.as_raw_fd() as usize;
            self.interest.add(stream.as_raw_fd())?;
            if index >= self.connections.len() {
                self.connections.resize_with(index + 1, || None);
            }
            let counter = RequestCounter::default();
            self.connections[index] = Some(Connection {
                stream,
                counter,
                owed: 0,
                sent: 0,
                awaits_room: false,
                ended: false,
            });
            self.served.connections += 1;
        }
        Ok(())
    }
}

/// The next connection, already non-blocking; `None` when no more wait.
fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: null addresses tell the kernel to write none.
    match check(unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            ptr::null_mut(),
            ptr::null_mut(),
            flags,
        )
    }) {
        // SAFETY: a new descriptor of a TCP socket that nobody else owns.
        Ok(descriptor) => Ok(Some(unsafe { TcpStream::from_raw_fd(descriptor) })),
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ECONNABORTED | libc::EINTR) => Ok(None),
            _ => Err(error),
        },
    }
}

/// Takes what has arrived; false when the connection is lost.
fn receive(connection: &mut Connection, bytes: &mut [u8], served: &mut FloorServed) -> bool {
    match connection.stream.read(bytes) {
        Ok(0) => connection.ended = true,
        Ok(length) => {
            let requests = connection.counter.count(&bytes[..length]);
            connection.owed += requests;
            served.requests += requests;
        }
        Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
    }
    true
}

/// Sends what is owed as far as the socket has room; false when the connection is lost.
fn send(connection: &mut Connection, answers: &Answers, send_each: bool) -> bool {
    while connection.owed > 0 {
        let batch = answers.batch(if send_each { 1 } else { connection.owed });
        match connection.stream.write(&batch[connection.sent..]) {
            Ok(length) => {
                let out = connection.sent + length;
                connection.owed -= (out / answers.one()) as u64;
                connection.sent = out % answers.one();
                if out < batch.len() {
                    return true;
                }
            }
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
    true
}

/// A timer that becomes readable after `duration`.
fn timer(duration: Duration) -> io::Result<OwnedFd> {
    // SAFETY: takes no memory.
    let descriptor =
        check(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC) })?;
    // SAFETY: a new descriptor that nobody else owns.
    let timer = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let value = libc::timespec {
        tv_sec: libc::time_t::try_from(duration.as_secs()).map_err(io::Error::other)?,
        // Zero would disarm the timer.
        tv_nsec: libc::c_long::from(duration.subsec_nanos().max(1)),
    };
    let setting = libc::itimerspec {
        it_interval: libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: value,
    };
    // SAFETY: the kernel reads `setting`, which lives on this frame; a null old value is not written.
    check(unsafe {
        libc::timerfd_settime(timer.as_raw_fd(), 0, &raw const setting, ptr::null_mut())
    })?;
    Ok(timer)
}
