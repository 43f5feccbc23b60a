//! One thread of the generator: its connections on one driver, its schedule, and what it sees of itself.

mod connections;
mod sending;

use std::collections::VecDeque;
use std::io;

use base::{Completion, Driver, Moment, Part, SocketId};

use super::gaps::{Cause, GAP_NS, Gaps, Look};
use super::plan::{Plan, Shared};
use super::random::Random;
use super::reader::Reader;
use super::requests::Drawn;
use super::schedule::Schedule;
use super::seconds::{SECOND_NS, Seen};
use super::silence::Silence;
use super::tally::{Tally, Times};
use super::windows::Windows;
use crate::clock;

/// Connections are looked through for time-outs, some of them each time.
const SWEEP_NS: u64 = 10_000_000;
/// The grain of the rates' histogram.
const RATE_NS: u64 = 100_000_000;
/// How long to wait for the start signal at a time.
const READY_NS: u64 = 1_000_000;

/// One connection. All times are stamps of the driver's clock.
struct Connection {
    socket: Option<SocketId>,
    state: State,
    /// When the state began, or since when it could take a request; of a connection that is down, when to try again. Without
    /// pipelines, while a request is on its way, when it was sent.
    since: u64,
    /// Without pipelines, when the request on its way was due.
    due: u64,
    /// Requests on their way.
    pending: u32,
    /// With pipelines, when each was due and sent, the first one first.
    times: VecDeque<(u64, u64)>,
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
    Standing,
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

/// The thread's state between two turns of the driver.
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
    /// Those that can take a request, the longest waiting first, so that all are used. Some entries no longer can.
    free: VecDeque<u32>,
    /// Requests on their way.
    awaiting: usize,
    /// As in the plan.
    pipelined: bool,
    pending_max: u32,
    random: Random,
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
    second: OpenSecond,
    out: Vec<Completion<D>>,
    parts: Vec<Part<D>>,
}

/// The second that is not over.
struct OpenSecond {
    /// Counted from the start.
    index: u64,
    until: u64,
    seen: Seen,
    /// Of the run until its beginning: answers, errors, and CPU time without what was spun in vain.
    before: (u64, u64, u64),
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
            pending: 0,
            times: VecDeque::new(),
            sending: false,
            listed: false,
            reader: Reader::new(plan.bodiless),
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
            pipelined: plan.pipeline > 1,
            pending_max: plan.pending_max(),
            random: Drawn::random(plan.seed, thread),
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
            second: OpenSecond {
                index: 0,
                until: 0,
                seen: Seen::new(),
                before: (0, 0, 0),
            },
            out: Vec::with_capacity(base::limits::TURN_COMPLETIONS_MAX),
            parts: Vec::with_capacity(1),
        }
    }

    /// Opens connections, tells `ready` how many stand, and waits for the start; then sends until the time is over and
    /// waits for what is on its way.
    pub(crate) fn run(mut self, ready: impl FnOnce(usize)) -> io::Result<Tally> {
        self.open_all()?;
        let standing = |connection: &&Connection| connection.state == State::Standing;
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
        self.second.until = self.start + SECOND_NS;
        self.second.before = self.sums();
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

    /// Time-outs end what is still awaited.
    fn is_over(&self, now: u64) -> bool {
        let all_sent = match &self.schedule {
            Some(schedule) => schedule.next().is_none(),
            None => true,
        };
        now >= self.end && self.awaiting == 0 && (all_sent || now >= self.last_send())
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

    /// What is done now and then: time-outs, rates, seconds.
    #[inline]
    fn look_around(&mut self) {
        if self.look >= self.swept_at {
            self.swept_at = self.look + SWEEP_NS;
            if self.shared.stopped() {
                self.cut(self.look);
            }
            self.sweep(self.look);
        }
        if self.look >= self.rate.until {
            self.note_rate();
        }
        if self.look >= self.second.until {
            self.end_second();
        }
    }

    /// The run ends now already, if it has not.
    fn cut(&mut self, now: u64) {
        if now < self.end {
            let length = now.saturating_sub(self.start);
            self.end = now;
            self.windows.cut(length);
            if let Some(schedule) = &mut self.schedule {
                schedule.cut(length);
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

    /// Tells of the second that is over. What comes after the end belongs to the last one.
    #[cold]
    fn end_second(&mut self) {
        let (answers, errors, worked) = self.sums();
        let second = &mut self.second;
        second.seen.answers = answers - second.before.0;
        second.seen.errors = errors - second.before.1;
        second.seen.worked_ns = worked.saturating_sub(second.before.2);
        second.before = (answers, errors, worked);
        self.shared.report(second.index, &mut second.seen);
        let past = self.look.saturating_sub(self.start) / SECOND_NS;
        second.index = past.min(self.plan.last_second());
        second.until = self.start + (past + 1) * SECOND_NS;
    }

    fn sums(&self) -> (u64, u64, u64) {
        let (spun, hidden) = self.gaps.idle_ns();
        let worked = clock::thread_cpu_ns().saturating_sub(spun + hidden);
        (self.tally.answers, self.tally.errors.sum(), worked)
    }

    fn finish(mut self, before: Times) -> io::Result<Tally> {
        let now = self.driver.stamp().0;
        self.give_up_unsent(now);
        self.end_second();
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
}
