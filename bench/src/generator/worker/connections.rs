//! What becomes of connections: opened, answered on, broken, overdue.

use base::{Closing, Completion, Driver, SocketId};

use super::super::reader::{Answer, Malformed};
use super::super::tally::Kind;
use super::{Phase, State, Worker};

/// Connections that are being opened at once before the start: a listener's queue is short.
const OPENING_MAX: usize = 64;
/// Parts in which all connections are looked through, one at a time.
const SWEEPS: usize = 10;
/// Before a connection that was refused is tried again.
const RETRY_NS: u64 = 100_000_000;

impl<D: Driver> Worker<'_, D> {
    pub(super) fn open_more(&mut self) {
        while self.opening < OPENING_MAX
            && let Some(at) = self.unopened.next()
        {
            self.open(at);
        }
    }

    #[inline]
    pub(super) fn handle_all(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        self.handled += out.len() as u64;
        for completion in out.drain(..) {
            self.handle(completion);
        }
        self.out = out;
    }

    #[inline]
    fn handle(&mut self, completion: Completion<D>) {
        match completion {
            Completion::Received { socket, buffer } => {
                if let Some(at) = self.connection(socket) {
                    self.received(at, &buffer);
                }
            }
            Completion::Sent { socket } => {
                if let Some(at) = self.connection(socket) {
                    self.connections[at].sending = false;
                    self.list(at);
                }
            }
            Completion::Connected { socket } => {
                if let Some(at) = self.connection(socket) {
                    self.opened(at, socket);
                }
            }
            Completion::Ended { socket } => {
                if let Some(at) = self.connection(socket) {
                    self.ended(at);
                }
            }
            Completion::Failed { socket, .. } => {
                if let Some(at) = self.connection(socket) {
                    self.broke(at);
                }
            }
            Completion::Accepted { .. } | Completion::AcceptFailed { .. } | Completion::Woken => {}
        }
    }

    #[inline]
    fn connection(&self, socket: SocketId) -> Option<usize> {
        let at = *self.by_socket.get(socket.index as usize)? as usize;
        let connection = self.connections.get(at)?;
        (connection.socket == Some(socket)).then_some(at)
    }

    #[inline]
    fn received(&mut self, at: usize, bytes: &[u8]) {
        self.tally.bytes += bytes.len() as u64;
        let connection = &mut self.connections[at];
        if connection.state != State::Awaiting {
            return self.fail(at, Kind::Malformed);
        }
        self.silence.heard(self.unasked_from, self.look);
        match connection.reader.feed(bytes, &self.plan.expected) {
            Ok(Some(answer)) => self.answered(at, answer),
            Ok(None) => {}
            Err(_) => self.fail(at, Kind::Malformed),
        }
    }

    #[inline]
    fn answered(&mut self, at: usize, answer: Answer) {
        let connection = &mut self.connections[at];
        let actual = self.look.saturating_sub(connection.since);
        let corrected = self.look.saturating_sub(connection.due);
        connection.state = State::Free;
        connection.since = self.look;
        self.awaiting -= 1;
        self.tally.answers += 1;
        self.rate.answers += 1;
        self.record(corrected, actual);
        if !self.plan.expected.allows(answer.status) {
            self.tally.errors.add(Kind::Status);
        } else if !answer.as_expected {
            self.tally.errors.add(Kind::Body);
        }
        if answer.persists {
            self.list(at);
        } else {
            self.reopen(at, Closing::Orderly);
        }
    }

    #[inline]
    fn record(&mut self, corrected: u64, actual: u64) {
        self.tally.latencies.actual.saturating_record(actual);
        if self.schedule.is_some() {
            self.tally.latencies.corrected.saturating_record(corrected);
            self.windows.answer(corrected, actual);
        }
        self.second.seen.latencies.saturating_record(corrected);
    }

    fn open(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        connection.reader.reset();
        connection.sending = false;
        match self.driver.connect(self.plan.address) {
            Ok(socket) => {
                connection.socket = Some(socket);
                connection.state = State::Opening;
                connection.since = self.look;
                self.opening += 1;
                if let Some(slot) = self.by_socket.get_mut(socket.index as usize) {
                    *slot = u32::try_from(at).unwrap_or(u32::MAX);
                }
            }
            Err(base::Full) => {
                connection.socket = None;
                connection.state = State::Down;
                connection.since = self.look + RETRY_NS;
                self.tally.errors.add(Kind::Connect);
            }
        }
    }

    fn opened(&mut self, at: usize, socket: SocketId) {
        self.opening -= 1;
        self.driver.receive(socket, self.plan.room);
        let connection = &mut self.connections[at];
        connection.state = State::Free;
        connection.since = self.look;
        self.list(at);
    }

    fn ended(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        match connection.state {
            State::Awaiting => match connection.reader.end(&self.plan.expected) {
                Ok(answer) => self.answered(at, answer),
                Err(Malformed::Cut) => self.fail(at, Kind::Read),
                Err(_) => self.fail(at, Kind::Malformed),
            },
            _ => {
                self.tally.reopened += 1;
                self.reopen(at, Closing::Orderly);
            }
        }
    }

    fn broke(&mut self, at: usize) {
        let connection = &self.connections[at];
        match (connection.state, connection.sending) {
            (State::Opening, _) => self.fail(at, Kind::Connect),
            (State::Awaiting, true) => self.fail(at, Kind::Write),
            (State::Awaiting, false) => self.fail(at, Kind::Read),
            _ => {
                self.tally.reopened += 1;
                self.reopen(at, Closing::Reset);
            }
        }
    }

    /// The request on its way, or the connecting, came to nothing.
    #[cold]
    fn fail(&mut self, at: usize, kind: Kind) {
        self.tally.errors.add(kind);
        let connection = &self.connections[at];
        if connection.state == State::Awaiting {
            self.awaiting -= 1;
            if kind == Kind::Timeout {
                self.silence.heard(self.look, self.look);
                // It took this long at least.
                let (due, since) = (connection.due, connection.since);
                self.record(
                    self.look.saturating_sub(due),
                    self.look.saturating_sub(since),
                );
            }
        }
        if kind == Kind::Connect {
            self.close(at, Closing::Reset);
            self.connections[at].since = self.look + RETRY_NS;
        } else {
            self.reopen(at, Closing::Reset);
        }
    }

    fn reopen(&mut self, at: usize, how: Closing) {
        self.close(at, how);
        self.open(at);
    }

    fn close(&mut self, at: usize, how: Closing) {
        let connection = &mut self.connections[at];
        self.opening -= usize::from(connection.state == State::Opening);
        connection.state = State::Down;
        if let Some(socket) = connection.socket.take() {
            self.driver.close(socket, how);
        }
    }

    /// Looks through some of the connections for what takes too long.
    pub(super) fn sweep(&mut self, now: u64) {
        let count = self.connections.len();
        for _ in 0..count.div_ceil(SWEEPS) {
            let at = self.swept % count;
            self.swept = at + 1;
            let connection = &self.connections[at];
            let overdue = now.saturating_sub(connection.since) > self.plan.timeout_ns;
            match connection.state {
                State::Awaiting if overdue => self.fail(at, Kind::Timeout),
                State::Opening if overdue => self.fail(at, Kind::Connect),
                State::Down if now >= connection.since && self.phase == Phase::Running => {
                    self.open(at)
                }
                _ => {}
            }
        }
    }
}
