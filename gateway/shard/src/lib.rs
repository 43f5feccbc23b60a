//! The loop of a shard: one thread, one driver, one proxy. A turn waits for completions, lets the proxy act on them, and
//! hands what it asked for to the kernel in one call.
//!
//! A panic is caught at the turn: the driver ends every connection and reaps what is in flight, the proxy is dropped (its
//! flights are abandoned and led anew by others) and built again. Only this shard's connections are lost.

mod mailbox;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::{io, mem};

use base::{Completion, Driver, ListenerId, Moment, ShardId, Span, Stamp, UpstreamId};
use cache::NodeStore;
use proxy::{Mail, Parts, Proxy};
use telemetry::{LongTurn, ShardCells};

pub use mailbox::Mailboxes;

/// A shard, to be run on its own thread.
pub struct Shard<D: Driver, S: NodeStore<D::Memory>> {
    // Dropped in this order: what holds buffers goes before the driver that owns their pool.
    completions: Vec<Completion<D>>,
    proxy: Proxy<D, S>,
    driver: D,
    parts: Parts<D, S>,
    id: ShardId,
    listeners: u8,
    mailboxes: Arc<Mailboxes>,
    cells: Arc<ShardCells>,
    mail: Vec<Mail>,
    phase: Phase,
    /// When this turn began, and how long the shard had slept by then.
    began: (Stamp, Span),
    /// What this turn handled so far.
    ran: LongTurn,
}

/// How far the shard's life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Still accepts, but has every client leave after its next answer.
    Leaving,
    /// Accepts what the kernel has already queued, nothing after it.
    Emptying,
    /// Finishes what is under way.
    Draining,
}

/// How a shard ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything under way was finished.
    Drained,
    /// It was told to stop at once.
    Stopped,
}

/// Turns between two looks at the driver's own counters.
const COUNTERS_EVERY: u64 = 64;
/// A turn that takes longer is an event of its own: whoever came meanwhile waited for it.
const LONG_TURN: Span = Span::from_millis(1);

impl<D: Driver, S: NodeStore<D::Memory>> Shard<D, S> {
    /// A shard on a driver that holds `listeners` listening sockets. Registers its doorbell with the mailboxes.
    #[must_use]
    pub fn new(driver: D, listeners: u8, parts: Parts<D, S>, mailboxes: Arc<Mailboxes>) -> Self {
        mailboxes.connect(parts.shard, driver.doorbell());
        Self {
            completions: Vec::with_capacity(base::limits::TURN_COMPLETIONS_MAX),
            proxy: Proxy::new(parts.clone(), driver.now().moment),
            driver,
            id: parts.shard,
            cells: Arc::clone(&parts.cells),
            parts,
            listeners,
            mailboxes,
            mail: Vec::new(),
            phase: Phase::Serving,
            began: (Stamp(0), Span(0)),
            ran: LongTurn::default(),
        }
    }

    /// Serves until drained or told to stop.
    ///
    /// # Errors
    /// When the driver broke.
    pub fn run(&mut self) -> io::Result<Ended> {
        self.accept(true);
        loop {
            // The state a panic leaves behind is thrown away whole.
            match panic::catch_unwind(AssertUnwindSafe(|| self.turn())) {
                Ok(turned) => {
                    turned?;
                }
                Err(_) => self.rebuild()?,
            }
            if self.mailboxes.is_stopping() {
                self.proxy.stop(&mut self.driver);
                self.driver.quiesce()?;
                return Ok(Ended::Stopped);
            }
            if self.phase == Phase::Draining && self.proxy.is_drained() {
                return Ok(Ended::Drained);
            }
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        let until = self.proxy.next_deadline();
        self.driver.turn(self.until(until), &mut self.completions)?;
        let begun = self.driver.stamp();
        self.watch(begun);
        let found = self.completions.len();
        self.proxy.begin_turn(&mut self.driver, begun, found);
        let mut accepted = false;
        self.cells
            .ready
            .set(i64::try_from(found).unwrap_or(i64::MAX));
        for completion in self.completions.drain(..) {
            accepted |= matches!(completion, Completion::Accepted { .. });
            self.ran.see(&completion);
            self.proxy.complete(&mut self.driver, completion);
        }
        let told = self.read_mail();
        self.proxy.end_turn(&mut self.driver);
        self.come_to_rest(accepted || told);
        self.count(found);
        Ok(())
    }

    /// The turn before is over: one that took long is written down, with what ran. What it asked of the kernel is its, too.
    #[inline]
    fn watch(&mut self, now: Stamp) {
        let idle = self.driver.idle();
        let began = mem::replace(&mut self.began, (now, idle));
        let ran = mem::take(&mut self.ran);
        let slept = idle.0 - began.1.0;
        let busy = Span((now - began.0).0.saturating_sub(slept));
        if busy > LONG_TURN && began.0 != Stamp(0) {
            self.cells.recorder.note_turn(&LongTurn {
                end: now,
                busy,
                index: self.proxy.index_turn(),
                ..ran
            });
        }
    }

    /// While connections still come out of the kernel's queue a drain does not sleep.
    fn until(&self, deadline: Option<Moment>) -> Option<Moment> {
        match self.phase {
            Phase::Emptying => Some(Moment(0)),
            Phase::Serving | Phase::Leaving | Phase::Draining => deadline,
        }
    }

    /// Whether the shard was told just now to close its listeners.
    fn read_mail(&mut self) -> bool {
        let lost = self.mailboxes.take(self.id, &mut self.mail);
        if lost {
            self.proxy.mail_lost();
        }
        let mut mail = mem::take(&mut self.mail);
        self.cells
            .mailbox
            .set(i64::try_from(mail.len()).unwrap_or(i64::MAX));
        for letter in mail.drain(..) {
            self.ran.mail += 1;
            self.proxy.mail(letter);
        }
        self.mail = mail;
        if self.phase == Phase::Serving && self.mailboxes.is_draining() {
            self.phase = Phase::Leaving;
            self.proxy.drain(&mut self.driver);
        }
        if self.phase == Phase::Leaving && self.mailboxes.is_closing() {
            self.phase = Phase::Emptying;
            // The next turn looks at the queue once more.
            return true;
        }
        false
    }

    /// A drain closes its listeners at the first turn that accepts nobody.
    fn come_to_rest(&mut self, busy: bool) {
        if self.phase == Phase::Emptying && !busy {
            self.phase = Phase::Draining;
            for listener in 0..self.listeners {
                self.driver.unlisten(ListenerId(listener));
            }
        }
    }

    fn accept(&mut self, on: bool) {
        for listener in 0..self.listeners {
            self.driver.accept(ListenerId(listener), on);
        }
    }

    fn count(&mut self, found: usize) {
        self.cells.turns.add(1);
        if let Some(taken) = self.driver.taken() {
            self.cells.taken.add(1);
            self.cells.taken_ns.add((taken.until - taken.from).0);
            self.cells.recorder.note_gap(taken);
        }
        if found > 0 {
            self.cells.batch(found);
        }
        let now = self.driver.now().moment;
        self.cells
            .heartbeat_ns
            .set(i64::try_from(now.0).unwrap_or(i64::MAX));
        if found == 0 || self.cells.turns.read().is_multiple_of(COUNTERS_EVERY) {
            let counters = self.driver.counters();
            self.cells.busy_ns.set(counters.worked_ns);
            self.cells.buffer_starvation.set(counters.buffer_starvation);
            let used = i64::try_from(counters.buffers_used).unwrap_or(i64::MAX);
            self.cells.buffers_used.set(used);
            self.cells.cq_overflow.set(counters.cq_overflow);
            self.cells.sq_full.set(counters.sq_full);
        }
    }

    fn empty_pools(&self) {
        let ids = (0..=u16::MAX).map(UpstreamId);
        for pool in ids.map_while(|id| self.cells.pool(id)) {
            pool.active.set(0);
            pool.idle.set(0);
            pool.waiting.set(0);
            pool.waiting_since(None);
        }
    }

    /// After a panic: nothing of the turn is trusted but the driver's own books.
    fn rebuild(&mut self) -> io::Result<()> {
        self.cells.restarts.add(1);
        self.completions.clear();
        self.driver.quiesce()?;
        self.cells.clients.set(0);
        self.cells.upstreams.set(0);
        self.empty_pools();
        // A new seed: request ids go on being unique.
        self.parts.seed = self.parts.seed.rotate_left(7) ^ self.cells.turns.read();
        let now = self.driver.now().moment;
        let lost = mem::replace(&mut self.proxy, Proxy::new(self.parts.clone(), now));
        drop(lost);
        match self.phase {
            Phase::Serving => self.accept(true),
            Phase::Leaving | Phase::Emptying => {
                self.accept(true);
                self.proxy.drain(&mut self.driver);
            }
            Phase::Draining => self.proxy.drain(&mut self.driver),
        }
        Ok(())
    }
}
