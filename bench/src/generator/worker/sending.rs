//! What is due, and on which connection it leaves.

use base::{Driver, Part};

use super::super::gaps::GAP_NS;
use super::super::requests::Requests;
use super::{State, Worker};

/// Requests of an open loop that leave between two looks, so that catching up does not look away for long.
const SENDS_MAX: usize = 8;
/// Before a request is due the thread wakes this much earlier and spins.
const SPIN_NS: u64 = 100_000;

impl<D: Driver> Worker<'_, D> {
    /// Sends what is due on the connections that are free.
    #[inline]
    pub(super) fn send_due(&mut self, now: u64) {
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
            if self.is_drawn_out() {
                return self.cut(now);
            }
            let Some(at) = self.take_free() else { return };
            if self.schedule.is_some() {
                self.take_due(at, due, now);
            }
            let count = match self.pipelined {
                false => 1,
                true => self.fill_pipeline(at, due, now),
            };
            self.send(at, due, count, now);
            left -= 1;
        }
    }

    /// The next request of the schedule leaves on this connection.
    #[inline]
    fn take_due(&mut self, at: usize, due: u64, now: u64) {
        if let Some(schedule) = &mut self.schedule {
            schedule.advance();
            self.note_lateness(at, due, now);
        }
    }

    /// Takes what else is due and the connection has room for; tells how many leave together, the first included.
    fn fill_pipeline(&mut self, at: usize, first: u64, now: u64) -> u32 {
        let room = self.plan.pipeline - self.connections[at].pending;
        let mut count = 1;
        self.connections[at].times.push_back((first, now));
        while count < room
            && let Some(due) = self.due(now)
        {
            self.take_due(at, due, now);
            self.connections[at].times.push_back((due, now));
            count += 1;
        }
        count
    }

    /// Whether every key was asked for that should be.
    #[inline]
    fn is_drawn_out(&self) -> bool {
        match &self.plan.requests {
            Requests::Same { .. } => false,
            Requests::Drawn(drawn) => drawn.is_over(),
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
            if connection.state == State::Standing
                && connection.pending <= self.pending_max
                && !connection.sending
            {
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
    fn send(&mut self, at: usize, due: u64, count: u32, now: u64) {
        let connection = &mut self.connections[at];
        let Some(socket) = connection.socket else {
            return;
        };
        let (part, count) = match &self.plan.requests {
            Requests::Same { row, each } => (Part::Static(&row[..each * count as usize]), count),
            Requests::Drawn(drawn) => {
                let (bytes, drawn) = drawn.draw(count, &mut self.random);
                // Another thread may have drawn the last.
                connection
                    .times
                    .truncate((connection.pending + drawn) as usize);
                if drawn == 0 {
                    return self.list(at);
                }
                (Part::Heap(bytes), drawn)
            }
        };
        connection.since = now;
        connection.due = due;
        connection.pending += count;
        connection.sending = true;
        if self.awaiting == 0 {
            self.silence.listen(now);
        }
        self.awaiting += count as usize;
        self.sent += 1;
        self.tally.due += u64::from(count);
        self.parts.push(part);
        self.driver.send(socket, &mut self.parts);
    }

    /// When requests that are still due are given up.
    pub(super) fn last_send(&self) -> u64 {
        match self.schedule {
            Some(_) => self.end + self.plan.timeout_ns,
            None => self.end,
        }
    }

    /// Until when nothing is to be done but what completions bring.
    #[inline]
    pub(super) fn rest(&self, now: u64) -> u64 {
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

    /// Puts a connection that can take a request into the list of free ones.
    #[inline]
    pub(super) fn list(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        if connection.state == State::Standing
            && connection.pending <= self.pending_max
            && !connection.sending
            && !connection.listed
        {
            connection.listed = true;
            self.free.push_back(u32::try_from(at).unwrap_or(u32::MAX));
        }
    }

    /// Requests that were due and never left took at least until now. They are told in strata, for there may be any number.
    pub(super) fn give_up_unsent(&mut self, now: u64) {
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
