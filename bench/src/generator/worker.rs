//! One thread of the generator: its connections on one driver, its schedule, and what it sees of itself.

use std::collections::VecDeque;
use std::io;

use base::{Closing, Completion, Driver, Moment, Part, SocketId};
use hdrhistogram::Histogram;

use super::gaps::{Cause, GAP_NS, Gaps, Look};
use super::histogram;
use super::plan::{Plan, Shared};
use super::reader::{Answer, Malformed, Reader};
use super::schedule::Schedule;
use super::silence::Silence;
use super::tally::{Kind, Tally, Times};
use super::windows::Windows;
use crate::clock;

/// Connections that are being opened at once before the start: a listener's queue is short.
const OPENING_MAX: usize = 64;
/// Requests of an open loop that leave between two looks, so that catching up does not look away for long.
const SENDS_MAX: usize = 8;
/// Before a request is due the thread wakes this much earlier and spins.
const SPIN_NS: u64 = 100_000;
/// Connections are looked through for time-outs, a tenth of them each time.
const SWEEP_NS: u64 = 10_000_000;
const SWEEPS: usize = 10;
/// Before a connection that was refused is tried again.
const RETRY_NS: u64 = 100_000_000;
/// The grain of the rates' histogram.
const RATE_NS: u64 = 100_000_000;
/// The grain of the progress on a terminal.
const PROGRESS_NS: u64 = 1_000_000_000;
/// How long to wait for the start signal at a time.
const READY_NS: u64 = 1_000_000;

/// One connection. All times are stamps of the driver's clock.
struct Connection {
    socket: Option<SocketId>,
    state: State,
    /// When the state began; of a connection that is down, when to try again.
    since: u64,
    /// When the request on its way was due.
    due: u64,
    /// The request is not wholly the kernel's yet.
    sending: bool,
    /// In the list of free connections.
    listed: bool,
    reader: Reader,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Down,
    Opening,
    Free,
    Awaiting,
}

/// Where the thread is in its run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Connections are opened.
    Opening,
    /// All threads are waited for.
    Ready,
    Running,
}

pub(crate) struct Worker<'p, D: Driver> {
    driver: D,
    plan: &'p Plan,
    shared: &'p Shared,
    phase: Phase,
    connections: Vec<Connection>,
    /// Connections that were not opened yet.
    unopened: std::ops::Range<usize>,
    opening: usize,
    /// By the driver's index of a socket.
    by_socket: Vec<u32>,
    /// The longest free first, so that all are used. Some entries are no longer free.
    free: VecDeque<u32>,
    awaiting: usize,
    /// Of an open loop, in nanoseconds after `start`.
    schedule: Option<Schedule>,
    start: u64,
    end: u64,
    /// The end of the last stretch whose length is known.
    look: u64,
    /// When the kernel was last asked what there is, and since when it could have been waiting then.
    asked: u64,
    unasked_from: u64,
    /// Requests given to the driver, and completions taken from it, since.
    sent: u64,
    handled: u64,
    swept_at: u64,
    swept: usize,
    tally: Tally,
    gaps: Gaps,
    windows: Windows,
    silence: Silence,
    rate: Interval,
    progress: Interval,
    /// Latencies since the last progress.
    recent: Histogram<u64>,
    recent_errors: u64,
    out: Vec<Completion<D>>,
    parts: Vec<Part<D>>,
}

/// Answers within a stretch of time.
struct Interval {
    until: u64,
    answers: u64,
}

impl<'p, D: Driver> Worker<'p, D> {
    /// `driver` was made on the calling thread.
    pub(crate) fn new(driver: D, plan: &'p Plan, shared: &'p Shared, thread: u32) -> Self {
        let count = plan.connections_of(thread);
        let connection = |_| Connection {
            socket: None,
            state: State::Down,
            since: u64::MAX,
            due: 0,
            sending: false,
            listed: false,
            reader: Reader::new(),
        };
        Self {
            look: driver.stamp().0,
            asked: 0,
            unasked_from: 0,
            driver,
            plan,
            shared,
            phase: Phase::Opening,
            connections: (0..count).map(connection).collect(),
            unopened: 0..count,
            opening: 0,
            by_socket: vec![u32::MAX; plan.sockets_of(thread) as usize],
            free: VecDeque::with_capacity(count),
            awaiting: 0,
            schedule: plan.schedule(thread),
            start: 0,
            end: 0,
            sent: 0,
            handled: 0,
            swept_at: 0,
            swept: 0,
            tally: Tally::new(),
            gaps: Gaps::new(0, 0, 0),
            windows: Windows::new(plan.duration_ns),
            silence: Silence::default(),
            rate: Interval {
                until: 0,
                answers: 0,
            },
            progress: Interval {
                until: 0,
                answers: 0,
            },
            recent: histogram::of_times(),
            recent_errors: 0,
            out: Vec::with_capacity(base::limits::TURN_COMPLETIONS_MAX),
            parts: Vec::with_capacity(1),
        }
    }

    /// Opens connections, tells `ready` how many stand, and waits for the start; then sends until the time is over and
    /// waits for what is on its way.
    pub(crate) fn run(mut self, ready: impl FnOnce(usize)) -> io::Result<Tally> {
        self.open_all()?;
        let standing = |connection: &&Connection| connection.state == State::Free;
        ready(self.connections.iter().filter(standing).count());
        if !self.await_start()? {
            return Ok(self.tally);
        }
        let before = self.begin();
        loop {
            let now = self.driver.stamp().0;
            if now - self.look > GAP_NS {
                self.take_look(self.look, now, self.driver.idle().0);
            }
            self.send_due(now);
            if self.is_over(now) {
                break;
            }
            let until = self.rest(now);
            self.turn(now, until)?;
            self.handle_all();
            self.look_around();
        }
        self.finish(before)
    }

    fn open_all(&mut self) -> io::Result<()> {
        self.open_more();
        while self.opening > 0 || !self.unopened.is_empty() {
            let now = self.driver.stamp().0;
            self.plain_turn(now + SWEEP_NS)?;
            self.sweep(self.look);
            self.open_more();
        }
        self.phase = Phase::Ready;
        Ok(())
    }

    fn open_more(&mut self) {
        while self.opening < OPENING_MAX
            && let Some(at) = self.unopened.next()
        {
            self.open(at);
        }
    }

    /// Waits for the start; false when the run was given up.
    fn await_start(&mut self) -> io::Result<bool> {
        loop {
            let now = self.driver.stamp().0;
            match self.shared.start() {
                _ if self.shared.given_up() => return Ok(false),
                Some(start) if start <= now + READY_NS => break self.start = start,
                _ => self.plain_turn(now + READY_NS)?,
            }
        }
        while self.driver.stamp().0 < self.start {
            self.plain_turn(0)?;
        }
        Ok(true)
    }

    fn plain_turn(&mut self, until: u64) -> io::Result<()> {
        self.driver.turn(Some(Moment(until)), &mut self.out)?;
        self.look = self.driver.now().moment.0;
        self.handle_all();
        Ok(())
    }

    /// The start is now; tells the thread's times so far.
    fn begin(&mut self) -> Times {
        let times = self.times();
        self.end = self.start + self.plan.duration_ns;
        self.look = self.driver.stamp().0;
        self.gaps = Gaps::new(self.look, times.cpu, times.asleep);
        self.swept_at = self.start + SWEEP_NS;
        self.rate.until = self.start + RATE_NS;
        self.progress.until = self.start + PROGRESS_NS;
        self.phase = Phase::Running;
        times
    }

    fn times(&self) -> Times {
        let (spun, hidden) = self.gaps.idle_ns();
        Times {
            wall: self.driver.stamp().0,
            cpu: clock::thread_cpu_ns(),
            spun,
            hidden,
            asleep: self.driver.idle().0,
            waiting: clock::thread_waiting_ns(),
        }
    }

    /// Sends what is due on the connections that are free.
    #[inline]
    fn send_due(&mut self, now: u64) {
        let most = if self.schedule.is_some() {
            SENDS_MAX
        } else {
            usize::MAX
        };
        let mut left = most;
        while left > 0 {
            let Some(due) = self.due(now) else {
                if left == most {
                    self.gaps.caught_up();
                }
                return;
            };
            let Some(at) = self.take_free() else { return };
            if let Some(schedule) = &mut self.schedule {
                schedule.advance();
                self.note_lateness(at, due, now);
            }
            self.send(at, due, now);
            left -= 1;
        }
    }

    /// When the next request was due, if it is; in a closed loop one always is.
    #[inline]
    fn due(&self, now: u64) -> Option<u64> {
        let due = match &self.schedule {
            Some(schedule) => self.start + schedule.next()?,
            None => now,
        };
        (due <= now && now < self.last_send()).then_some(due)
    }

    #[inline]
    fn take_free(&mut self) -> Option<usize> {
        while let Some(index) = self.free.pop_front() {
            let connection = self.connections.get_mut(index as usize)?;
            connection.listed = false;
            if connection.state == State::Free {
                return Some(index as usize);
            }
        }
        None
    }

    /// A request is late by the generator's doing when a connection was free for it.
    #[inline]
    fn note_lateness(&mut self, at: usize, due: u64, now: u64) {
        let free_since = self.connections[at].since;
        self.tally.queued += u64::from(free_since > due);
        let since = due.max(free_since);
        let late = now.saturating_sub(since);
        self.tally.lateness.saturating_record(late);
        if late > GAP_NS {
            match self.gaps.excuses(late) {
                true => self.tally.late.taken += 1,
                false => self.tally.late.own += 1,
            }
        }
    }

    #[inline]
    fn send(&mut self, at: usize, due: u64, now: u64) {
        let connection = &mut self.connections[at];
        let Some(socket) = connection.socket else {
            return;
        };
        connection.state = State::Awaiting;
        connection.since = now;
        connection.due = due;
        connection.sending = true;
        if self.awaiting == 0 {
            self.silence.listen(now);
        }
        self.awaiting += 1;
        self.sent += 1;
        self.tally.due += 1;
        self.parts.push(Part::Static(self.plan.request));
        self.driver.send(socket, &mut self.parts);
    }

    /// When requests that are still due are given up.
    fn last_send(&self) -> u64 {
        match self.schedule {
            Some(_) => self.end + self.plan.timeout_ns,
            None => self.end,
        }
    }

    /// Time-outs end what is still awaited.
    fn is_over(&self, now: u64) -> bool {
        let all_sent = match &self.schedule {
            Some(schedule) => schedule.next().is_none(),
            None => true,
        };
        now >= self.end && self.awaiting == 0 && (all_sent || now >= self.last_send())
    }

    /// Until when nothing is to be done but what completions bring.
    #[inline]
    fn rest(&self, now: u64) -> u64 {
        let next = match &self.schedule {
            Some(schedule) => schedule.next().map_or(u64::MAX, |next| self.start + next),
            None => u64::MAX,
        };
        // What is due already waits for a connection, or for its turn behind others.
        let waits_for_turn = !self.free.is_empty() && self.due(now).is_some();
        let spins = self.plan.spins && (self.awaiting > 0 || next.saturating_sub(now) < SPIN_NS);
        if waits_for_turn || spins {
            return 0;
        }
        let wake = match (next > now, self.plan.spins) {
            (false, _) => u64::MAX,
            (true, true) => next - SPIN_NS,
            (true, false) => next,
        };
        let end = match now {
            _ if now < self.end => self.end,
            _ if now < self.last_send() => self.last_send(),
            _ => u64::MAX,
        };
        wake.min(self.swept_at).min(end)
    }

    #[inline]
    fn turn(&mut self, now: u64, until: u64) -> io::Result<()> {
        let asleep_before = self.driver.idle().0;
        if until > now {
            // What was handled before a sleep is a stretch of its own.
            self.take_look(self.look, now, asleep_before);
        }
        self.driver.turn(Some(Moment(until)), &mut self.out)?;
        let at = self.driver.now().moment.0;
        let asleep = self.driver.idle().0;
        let slept = asleep > asleep_before;
        let arrival = self.driver.arrival().0;
        let from = if slept { arrival } else { self.look };
        self.unasked_from = if slept { arrival } else { self.asked };
        self.asked = at;
        let spun = at.saturating_sub(from);
        if self.out.is_empty() && self.sent == 0 && !slept && spun <= GAP_NS {
            self.gaps.spun(spun);
        }
        self.take_look(from, at, asleep);
        Ok(())
    }

    #[inline]
    fn take_look(&mut self, from: u64, at: u64, asleep: u64) {
        let look = Look {
            from,
            at,
            operations: self.sent + self.handled + self.out.len() as u64,
            asleep,
        };
        (self.sent, self.handled) = (0, 0);
        self.look = at;
        let gap = self.gaps.look(look, clock::thread_cpu_ns);
        let relative = |stamp: u64| stamp.saturating_sub(self.start);
        let gap_from = gap.map(|_: Cause| relative(from));
        self.windows.look(relative(at), gap_from);
    }

    #[inline]
    fn handle_all(&mut self) {
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
            self.error(Kind::Status);
        } else if !answer.as_expected {
            self.error(Kind::Body);
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
        if self.plan.progress {
            self.recent.saturating_record(corrected);
            self.progress.answers += 1;
        }
    }

    fn error(&mut self, kind: Kind) {
        self.tally.errors.add(kind);
        self.recent_errors += 1;
    }

    /// Puts a connection that can take a request into the list of free ones.
    #[inline]
    fn list(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        if connection.state == State::Free && !connection.sending && !connection.listed {
            connection.listed = true;
            self.free.push_back(u32::try_from(at).unwrap_or(u32::MAX));
        }
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
                self.error(Kind::Connect);
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
        self.error(kind);
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

    /// What is done now and then: time-outs, rates, progress.
    #[inline]
    fn look_around(&mut self) {
        if self.look >= self.swept_at {
            self.swept_at = self.look + SWEEP_NS;
            self.sweep(self.look);
        }
        if self.look >= self.rate.until {
            self.note_rate();
        }
        if self.plan.progress && self.look >= self.progress.until {
            self.show_progress();
        }
    }

    /// Looks through some of the connections for what takes too long.
    fn sweep(&mut self, now: u64) {
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

    fn note_rate(&mut self) {
        let past = self.look - self.rate.until + RATE_NS;
        if self.look < self.end + RATE_NS {
            let rate = super::tally::per_second(self.rate.answers, past);
            self.tally.rates.saturating_record(rate as u64);
        }
        self.rate = Interval {
            until: self.look + RATE_NS,
            answers: 0,
        };
    }

    fn show_progress(&mut self) {
        self.progress.until += PROGRESS_NS;
        self.shared.report(&self.recent, self.recent_errors);
        self.recent.reset();
        self.recent_errors = 0;
    }

    fn finish(mut self, before: Times) -> io::Result<Tally> {
        let now = self.driver.stamp().0;
        self.give_up_unsent(now);
        let after = self.times();
        self.tally.threads = 1;
        self.tally.elapsed_ns = now - self.start;
        self.tally.times = Times {
            wall: now - self.start,
            cpu: after.cpu - before.cpu,
            spun: after.spun,
            hidden: after.hidden,
            asleep: after.asleep - before.asleep,
            waiting: after.waiting.saturating_sub(before.waiting),
        };
        self.tally.own_gaps = self.gaps.own;
        self.tally.taken_gaps = self.gaps.taken;
        self.tally.silences = self.silence.sum();
        self.tally.busiest_permille = self.tally.busy_permille();
        self.driver.quiesce()?;
        self.tally.clean = Some(self.windows.finish());
        Ok(self.tally)
    }

    /// Requests that were due and never left took at least until now. They are told in strata, for there may be any number.
    fn give_up_unsent(&mut self, now: u64) {
        const STRATA: u64 = 1_000;
        let Some(schedule) = &self.schedule else {
            return;
        };
        let Some(next) = schedule.next() else {
            return;
        };
        let left = schedule.left();
        let span = self.end.saturating_sub(self.start + next);
        let longest = now.saturating_sub(self.start + next);
        for stratum in 0..STRATA.min(left) {
            let count = left / STRATA + u64::from(stratum < left % STRATA);
            let waited = longest.saturating_sub(span / STRATA * stratum);
            self.tally
                .latencies
                .corrected
                .saturating_record_n(waited, count);
        }
        self.tally.due += left;
        self.tally.unsent += left;
    }
}
