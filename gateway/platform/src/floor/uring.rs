//! The floor on io_uring.

use std::io;
use std::mem::ManuallyDrop;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, Timespec};
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue};

use super::answers::{Answers, RequestCounter};
use super::receive_ring::{self, ReceiveRing};
use super::{Floor, FloorServed};

/// Submissions prepared between two enters; more are handed over in between.
const SUBMISSIONS: u32 = 1024;
/// Completions the kernel keeps before it has to hold some back.
const COMPLETIONS: u32 = 8192;
/// Answers of one chain with `send_each`.
const CHAIN_MAX: u64 = 16;

/// Serves until the time is over, then cancels and reaps everything, so that the memory below outlives its use.
pub(super) fn serve(
    listener: &TcpListener,
    answers: Answers,
    floor: &Floor,
) -> io::Result<FloorServed> {
    let receive_ring = ReceiveRing::new()?;
    let mut ring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_submit_all()
        .setup_cqsize(COMPLETIONS)
        .build(SUBMISSIONS)?;
    let (mut submitter, submissions, completions) = ring.split();
    submitter.register_ring_fd()?;
    // SAFETY: it moves into `Turns`, which frees it only after the registration was taken back, and leaks it otherwise.
    unsafe { receive_ring.register(&submitter)? };
    let turns = Turns {
        submitter,
        submissions,
        receive_ring: ManuallyDrop::new(receive_ring),
        answers: ManuallyDrop::new(answers),
        send_each: floor.send_each,
        close: floor.close,
        connections: Vec::new(),
        touched: Vec::new(),
        in_flight: 0,
        listener: listener.as_raw_fd(),
        served: FloorServed::default(),
    };
    turns.run(completions, floor.duration)
}

/// What a completion is of; travels in the user data above the descriptor.
#[derive(Clone, Copy)]
enum Operation {
    Accept = 1,
    Receive,
    Send,
    Close,
    Deadline,
    Cancel,
}

#[derive(Clone, Copy, Default)]
struct Connection {
    counter: RequestCounter,
    owed: u64,
    sends: u32,
    open: bool,
    receiving: bool,
    touched: bool,
    /// A send failed: nothing more is owed.
    broken: bool,
}

/// The server between two enters.
///
/// Invariant: operations in flight point at `receive_ring` and `answers`, so these two are freed only by `run` once
/// every operation was reaped; on an error or a panic they are left to the kernel.
struct Turns<'r> {
    submitter: Submitter<'r>,
    submissions: SubmissionQueue<'r>,
    receive_ring: ManuallyDrop<ReceiveRing>,
    answers: ManuallyDrop<Answers>,
    send_each: bool,
    close: bool,
    /// By descriptor. A descriptor is closed only when nothing of its connection is in flight.
    connections: Vec<Connection>,
    /// Connections with something to send or to close after this turn's completions, each once.
    touched: Vec<RawFd>,
    /// Operations whose last completion is still to come.
    in_flight: usize,
    listener: RawFd,
    served: FloorServed,
}

impl Turns<'_> {
    fn run(
        mut self,
        mut completions: CompletionQueue<'_>,
        duration: Option<Duration>,
    ) -> io::Result<FloorServed> {
        self.turn_until_deadline(&mut completions, duration)?;
        self.reap_all(&mut completions)?;
        self.receive_ring.unregister(&self.submitter)?;
        drop(ManuallyDrop::into_inner(self.receive_ring));
        drop(ManuallyDrop::into_inner(self.answers));
        Ok(self.served)
    }

    fn turn_until_deadline(
        &mut self,
        completions: &mut CompletionQueue<'_>,
        duration: Option<Duration>,
    ) -> io::Result<()> {
        // Read by the kernel when it is submitted; it lives through every turn anyhow.
        let timespec = duration.map(Timespec::from);
        if let Some(timespec) = &timespec {
            self.push(
                Operation::Deadline,
                0,
                opcode::Timeout::new(timespec).build(),
            )?;
        }
        self.accept()?;
        let mut over = false;
        while !over {
            self.enter()?;
            completions.sync();
            for completion in &mut *completions {
                over |= self.complete(&completion)?;
            }
            self.receive_ring.publish();
            self.settle()?;
        }
        Ok(())
    }

    /// Cancels everything and waits for the last completion of each operation.
    fn reap_all(&mut self, completions: &mut CompletionQueue<'_>) -> io::Result<()> {
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        self.push(Operation::Cancel, 0, cancel)?;
        while self.in_flight > 0 {
            self.enter()?;
            completions.sync();
            for completion in &mut *completions {
                self.in_flight -= usize::from(!cqueue::more(completion.flags()));
            }
        }
        for descriptor in 0..self.connections.len() {
            if self.connections[descriptor].open {
                // SAFETY: takes no memory; the descriptor is an accepted socket that only this table owns.
                unsafe { libc::close(descriptor as RawFd) };
            }
        }
        Ok(())
    }

    fn enter(&mut self) -> io::Result<()> {
        self.submissions.sync();
        match self.submitter.submit_and_wait(1) {
            Err(error)
                if error.kind() != io::ErrorKind::Interrupted
                    && error.raw_os_error() != Some(libc::EBUSY) =>
            {
                Err(error)
            }
            _ => {
                self.submissions.sync();
                Ok(())
            }
        }
    }

    /// Takes one completion; true once the time is over.
    fn complete(&mut self, completion: &cqueue::Entry) -> io::Result<bool> {
        let more = cqueue::more(completion.flags());
        self.in_flight -= usize::from(!more);
        let descriptor = completion.user_data() as u32 as RawFd;
        match completion.user_data() >> 32 {
            kind if kind == Operation::Accept as u64 => self.accepted(completion.result(), more)?,
            kind if kind == Operation::Receive as u64 => {
                self.received(descriptor, completion, more)?
            }
            kind if kind == Operation::Send as u64 => self.sent(descriptor, completion.result()),
            kind => return Ok(kind == Operation::Deadline as u64),
        }
        Ok(false)
    }

    fn accept(&mut self) -> io::Result<()> {
        let listener = self.listener;
        self.push(
            Operation::Accept,
            listener,
            opcode::AcceptMulti::new(Fd(listener)).build(),
        )
    }

    fn accepted(&mut self, result: i32, more: bool) -> io::Result<()> {
        if !more {
            self.accept()?;
        }
        let Ok(index) = usize::try_from(result) else {
            return match -result {
                libc::ECONNABORTED | libc::EINTR | libc::EAGAIN => Ok(()),
                error => Err(io::Error::from_raw_os_error(error)),
            };
        };
        if index >= self.connections.len() {
            self.connections.resize(index + 1, Connection::default());
        }
        self.connections[index] = Connection {
            open: true,
            ..Connection::default()
        };
        self.served.connections += 1;
        self.receive(result)
    }

    fn receive(&mut self, descriptor: RawFd) -> io::Result<()> {
        self.connections[descriptor as usize].receiving = true;
        let receive = if self.close {
            // One receive, so that nothing holds the socket when its answer is out and it is closed.
            opcode::Recv::new(Fd(descriptor), ptr::null_mut(), 0)
                .buf_group(receive_ring::GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT)
        } else {
            opcode::RecvMulti::new(Fd(descriptor), receive_ring::GROUP).build()
        };
        self.push(Operation::Receive, descriptor, receive)
    }

    fn received(
        &mut self,
        descriptor: RawFd,
        completion: &cqueue::Entry,
        more: bool,
    ) -> io::Result<()> {
        let connection = &mut self.connections[descriptor as usize];
        connection.receiving = more;
        if let (Some(id), Ok(length)) = (
            cqueue::buffer_select(completion.flags()),
            usize::try_from(completion.result()),
        ) {
            let requests = connection
                .counter
                .count(self.receive_ring.received(id, length));
            connection.owed += requests;
            self.served.requests += requests;
            self.receive_ring.give_back(id);
        }
        self.touch(descriptor);
        let last = self.close && self.connections[descriptor as usize].owed > 0;
        let again = completion.result() > 0 || completion.result() == -libc::ENOBUFS;
        if again && !more && !last {
            self.receive(descriptor)
        } else {
            Ok(())
        }
    }

    fn sent(&mut self, descriptor: RawFd, result: i32) {
        let connection = &mut self.connections[descriptor as usize];
        connection.sends -= 1;
        connection.broken |= result <= 0;
        self.touch(descriptor);
    }

    fn touch(&mut self, descriptor: RawFd) {
        let connection = &mut self.connections[descriptor as usize];
        if !connection.touched {
            connection.touched = true;
            self.touched.push(descriptor);
        }
    }

    /// Sends what is owed, closes what is over.
    fn settle(&mut self) -> io::Result<()> {
        while let Some(descriptor) = self.touched.pop() {
            let connection = &mut self.connections[descriptor as usize];
            connection.touched = false;
            if connection.sends > 0 {
                continue;
            }
            if connection.owed > 0 && !connection.broken {
                self.send(descriptor)?;
            } else if !connection.receiving {
                connection.open = false;
                self.push(
                    Operation::Close,
                    descriptor,
                    opcode::Close::new(Fd(descriptor)).build(),
                )?;
            }
        }
        Ok(())
    }

    fn send(&mut self, descriptor: RawFd) -> io::Result<()> {
        let connection = &mut self.connections[descriptor as usize];
        let (bytes, sends) = if self.send_each {
            (self.answers.batch(1), connection.owed.min(CHAIN_MAX))
        } else {
            (self.answers.batch(connection.owed), 1)
        };
        connection.owed -= (bytes.len() / self.answers.one()) as u64 * sends;
        connection.sends = sends as u32;
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        // WAITALL: the kernel goes on with a short send by itself, so a completion is a whole answer or a failure.
        let send = opcode::Send::new(Fd(descriptor), bytes.as_ptr(), length)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build();
        self.room_for(sends as usize)?;
        for left in (0..sends).rev() {
            // A chain keeps the order of the answers.
            let link = if left > 0 {
                squeue::Flags::IO_LINK
            } else {
                squeue::Flags::empty()
            };
            self.push(Operation::Send, descriptor, send.clone().flags(link))?;
        }
        Ok(())
    }

    /// Hands over what is queued if `count` more would not fit: a chain must not be cut by an enter.
    fn room_for(&mut self, count: usize) -> io::Result<()> {
        if self.submissions.capacity() - self.submissions.len() < count {
            self.submissions.sync();
            self.submitter.submit()?;
            self.submissions.sync();
        }
        Ok(())
    }

    fn push(
        &mut self,
        operation: Operation,
        descriptor: RawFd,
        entry: squeue::Entry,
    ) -> io::Result<()> {
        self.room_for(1)?;
        let entry = entry.user_data((operation as u64) << 32 | u64::from(descriptor as u32));
        // SAFETY: what entries point at outlives them: answers and receive buffers until `run` has reaped every
        // operation, the deadline's timespec until the end of the turns.
        unsafe { self.submissions.push(&entry) }.map_err(io::Error::other)?;
        self.in_flight += 1;
        Ok(())
    }
}
