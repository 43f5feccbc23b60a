//! A turn: submit, wait, reap.

use std::io;

use base::limits::TURN_COMPLETIONS_MAX;
use base::{Closing, Completion, Driver, ListenerId, Moment, SocketId, Span};
use io_uring::cqueue;

use super::Uring;
use super::token::Op;
use crate::pace::Rest;

/// How long a quiesce waits for the kernel to return what it holds. It does so within microseconds, or something broke.
const QUIESCE_MAX: Span = Span::from_secs(2);
/// The grain of that wait.
const QUIESCE_WAIT_NS: u64 = 10_000_000;

impl Uring {
    pub(super) fn take_turn(
        &mut self,
        until: Option<Moment>,
        out: &mut Vec<Completion<Self>>,
    ) -> io::Result<()> {
        let before = out.len();
        self.provide();
        if self.blocked {
            self.unblock();
        }
        self.tell_known(out);
        self.wait(until, out.len() > before)?;
        self.pace.tick();
        let known = out.len() - before;
        let (active, taken) = self.reap(TURN_COMPLETIONS_MAX.saturating_sub(known), out)?;
        if self.pace.reaped(active, taken, self.ring.left()) {
            self.ring.catch_up()?;
            self.pace.caught_up(self.ring.left());
        }
        Ok(())
    }

    /// Submits, and sleeps when there is nothing to do. Whether it slept is known, not guessed: with work queued or owed
    /// the first enter does not wait, and only an enter after one that brought nothing may sleep.
    fn wait(&mut self, until: Option<Moment>, busy: bool) -> io::Result<()> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        self.pace.look();
        let glance = self.ring.glance();
        if glance.queued || glance.owed {
            self.ring.flush()?;
        }
        if busy || glance.ready || self.ring.glance().ready {
            self.pace.awake();
            return Ok(());
        }
        self.rest(until)
    }

    fn rest(&mut self, until: Option<Moment>) -> io::Result<()> {
        let rest = self.pace.rest(until).until(self.retry_at());
        let mut fault = None;
        let ring = &mut self.ring;
        let came = self.pace.spin(rest, || {
            let glance = ring.glance();
            if glance.owed
                && let Err(error) = ring.flush()
            {
                fault = Some(error);
            }
            fault.is_some() || glance.ready || glance.owed
        });
        match fault {
            Some(error) => Err(error),
            None if came => Ok(()),
            None => self.sleep(self.pace.left(rest)),
        }
    }

    fn sleep(&mut self, rest: Rest) -> io::Result<()> {
        if rest.bound_ns == 0 {
            self.pace.awake();
            return Ok(());
        }
        self.ring.wait(rest.bound_ns)?;
        self.pace.woke(rest);
        Ok(())
    }

    /// Handles at most `bound` completions; tells whether a connection did something, and how many they were.
    fn reap(&mut self, bound: usize, out: &mut Vec<Completion<Self>>) -> io::Result<(bool, usize)> {
        let mut reaped = std::mem::take(&mut self.reaped);
        let read = self.ring.reap(&mut reaped, bound);
        let taken = reaped.len();
        if self.pace.slept() {
            self.ask_the_first(&reaped);
        }
        self.completions += taken as u64;
        let mut active = false;
        for cqe in reaped.drain(..) {
            active |= self.handle(&cqe, out);
        }
        self.reaped = reaped;
        read.map(|()| (active, taken))
    }

    #[inline]
    fn handle(&mut self, cqe: &cqueue::Entry, out: &mut Vec<Completion<Self>>) -> bool {
        let (op, slot) = Op::decode(cqe.user_data());
        match op {
            Op::Receive(room) => self.received(slot, room, cqe, out),
            Op::Send => self.sent(slot, cqe, out),
            Op::Accept => self.accepted(listener(slot), cqe, out),
            Op::Connect => self.connected(slot, cqe, out),
            Op::CancelReceive => self.receive_not_cancelled(slot),
            Op::CancelSend => self.send_not_cancelled(slot),
            Op::CancelAccept => self.accept_not_cancelled(listener(slot)),
            Op::Bell => {
                self.rung(cqe, out);
                return false;
            }
            Op::Silent => return false,
        }
        true
    }

    fn rung(&mut self, cqe: &cqueue::Entry, out: &mut Vec<Completion<Self>>) {
        if !cqueue::more(cqe.flags()) {
            self.watch_bell();
        }
        self.bell.answer();
        out.push(Completion::Woken);
    }

    /// Hands out what was known without the kernel, but for sockets closed since.
    fn tell_known(&mut self, out: &mut Vec<Completion<Self>>) {
        for _ in 0..self.known.len().min(TURN_COMPLETIONS_MAX) {
            match self.known.pop_front() {
                Some(Completion::Sent { socket } | Completion::Failed { socket, .. })
                    if self.live(socket).is_none() => {}
                Some(completion) => out.push(completion),
                None => return,
            }
        }
    }

    pub(super) fn close_all(&mut self) -> io::Result<()> {
        self.quiescing = true;
        let result = self.reap_all();
        self.quiescing = false;
        result
    }

    fn reap_all(&mut self) -> io::Result<()> {
        for id in (0..=u8::MAX).map(ListenerId).take(self.listeners.len()) {
            self.set_accepting(id, false);
        }
        let ids: Vec<SocketId> = self.sockets.ids().collect();
        for id in ids {
            self.close(id, Closing::Orderly);
        }
        let from = self.pace.stamp();
        let mut dropped = Vec::new();
        while self.holds() {
            self.ring.flush()?;
            if !self.ring.glance().ready {
                self.ring.wait(QUIESCE_WAIT_NS)?;
            }
            self.reap(TURN_COMPLETIONS_MAX, &mut dropped)?;
            dropped.clear();
            if self.pace.stamp() - from > QUIESCE_MAX {
                return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
            }
        }
        self.known.clear();
        self.ring.flush()
    }

    /// Whether the kernel has anything of ours.
    pub(super) fn holds(&self) -> bool {
        let accepting = self.listeners.iter().any(super::Listener::is_accepting);
        accepting || !self.sockets.is_empty()
    }
}

fn listener(slot: SocketId) -> ListenerId {
    ListenerId(u8::try_from(slot.index).unwrap_or(u8::MAX))
}
