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
            Completion::Received { socket, buffer, .. } => {
                if let Some(at) = self.connection(socket) {
                    self.received(at, &buffer);
                }
            }
            Completion::Sent { socket } => {
                if let Some(at) = self.connection(socket) {
                    self.sent(at);
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
    fn sent(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        connection.sending = false;
        if self.pipelined {
            connection.since = self.look;
        }
        self.list(at);
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
        if self.connections[at].pending == 0 {
            return self.fail(at, Kind::Malformed);
        }
        self.silence.heard(self.unasked_from, self.look);
        let Some(rest) = self.received_before_last(at, bytes) else {
            return;
        };
        let reader = &mut self.connections[at].reader;
        match reader.feed(rest, &self.plan.expected) {
            Ok(Some(answer)) => self.answered(at, answer),
            Ok(None) => {}
            Err(_) => self.fail(at, Kind::Malformed),
        }
    }

    /// Takes answers while more than one is awaited; what is left for the last.
    #[inline]
    fn received_before_last<'b>(&mut self, at: usize, mut bytes: &'b [u8]) -> Option<&'b [u8]> {
        while self.connections[at].pending > 1 {
            let reader = &mut self.connections[at].reader;
            match reader.feed_first(bytes, &self.plan.expected) {
                Ok((Some(answer), rest)) => {
                    self.answered(at, answer);
                    bytes = rest;
                }
                Ok((None, _)) => return None,
                Err(_) => {
                    self.fail(at, Kind::Malformed);
                    return None;
                }
            }
            // The last answer may have ended the connection.
            if bytes.is_empty() || self.connections[at].pending == 0 {
                return None;
            }
        }
        Some(bytes)
    }

    #[inline]
    fn answered(&mut self, at: usize, answer: Answer) {
        let connection = &mut self.connections[at];
        let (due, sent) = match self.pipelined {
            false => (connection.due, connection.since),
            true => connection.times.pop_front().unwrap_or_default(),
        };
        let actual = self.look.saturating_sub(sent);
        let corrected = self.look.saturating_sub(due);
        connection.pending -= 1;
        if connection.pending == self.pending_max || !self.pipelined {
            connection.since = self.look;
        }
        self.awaiting -= 1;
        self.tally.answers += 1;
        self.rate.answers += 1;
        self.record(corrected, actual);
        if !self.plan.expected.allows(answer.status) {
            self.tally.errors.add(Kind::Status);
        } else if !answer.as_expected {
            self.tally.errors.add(Kind::Body);
        }
        if answer.persists && !self.plan.close {
            self.list(at);
        } else if self.connections[at].pending > 0 {
            self.fail(at, Kind::Read);
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
        connection.state = State::Standing;
        connection.since = self.look;
        self.list(at);
    }

    fn ended(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        match connection.pending {
            1.. => match connection.reader.end(&self.plan.expected) {
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
        match (connection.state, connection.pending, connection.sending) {
            (State::Opening, _, _) => self.fail(at, Kind::Connect),
            (_, 1.., true) => self.fail(at, Kind::Write),
            (_, 1.., false) => self.fail(at, Kind::Read),
            _ => {
                self.tally.reopened += 1;
                self.reopen(at, Closing::Reset);
            }
        }
    }

    /// The requests on their way, or the connecting, came to nothing.
    #[cold]
    fn fail(&mut self, at: usize, kind: Kind) {
        let connection = &mut self.connections[at];
        let pending = std::mem::take(&mut connection.pending);
        let mut times = std::mem::take(&mut connection.times);
        if !self.pipelined && pending > 0 {
            times.push_back((connection.due, connection.since));
        }
        if pending == 0 {
            self.tally.errors.add(kind);
        }
        for (due, sent) in times {
            self.tally.errors.add(kind);
            self.awaiting -= 1;
            if kind == Kind::Timeout {
                self.silence.heard(self.look, self.look);
                // It took this long at least.
                self.record(
                    self.look.saturating_sub(due),
                    self.look.saturating_sub(sent),
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
            let since = match connection.times.front() {
                Some((_, sent)) => *sent,
                None => connection.since,
            };
            let overdue = now.saturating_sub(since) > self.plan.timeout_ns;
            match connection.state {
                State::Standing if connection.pending > 0 && overdue => {
                    self.fail(at, Kind::Timeout)
                }
                State::Opening if overdue => self.fail(at, Kind::Connect),
                State::Down if now >= connection.since && self.phase == Phase::Running => {
                    self.open(at)
                }
                _ => {}
            }
        }
    }
}
