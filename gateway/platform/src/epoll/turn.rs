//! A turn: what is known and ready, else a wait, then the events.

use std::io;

use base::limits::TURN_COMPLETIONS_MAX;
use base::{Completion, Moment};

use super::Epoll;
use super::poller::Source;

impl Epoll {
    pub(super) fn take_turn(
        &mut self,
        until: Option<Moment>,
        out: &mut Vec<Completion<Self>>,
    ) -> io::Result<()> {
        let bound = out.len().saturating_add(TURN_COMPLETIONS_MAX);
        let before = out.len();
        self.active = false;
        self.feed();
        let rung = self.wait(until)?;
        self.pace.tick();
        if rung {
            out.push(Completion::Woken);
        }
        self.tell_known(bound, out);
        self.accept_ready(bound.saturating_sub(out.len()), out);
        self.receive_ready(bound.saturating_sub(out.len()), out);
        // Receiving and accepting may have learnt of failures.
        self.tell_known(bound, out);
        let count = out.len() - before;
        self.completions += count as u64;
        let active = self.active || count > usize::from(rung);
        // What an overfull wait left behind is not known: one event a socket at most.
        let unseen = if self.poller.was_full() {
            self.sockets.len()
        } else {
            0
        };
        self.pace.reaped(active, count, self.ready.len() + unseen);
        Ok(())
    }

    /// Looks for events, and sleeps when there are none and nothing else is to be done; tells whether the bell rang.
    /// Whether it slept is known, not guessed: the first look does not wait.
    fn wait(&mut self, until: Option<Moment>) -> io::Result<bool> {
        self.pace.look();
        let came = self.poller.wait(0)?;
        if came || self.has_work() {
            self.pace.awake();
        } else {
            self.rest(until)?;
        }
        Ok(self.take_events())
    }

    fn has_work(&self) -> bool {
        !self.known.is_empty() || !self.ready.is_empty() || self.accepts_wait()
    }

    fn rest(&mut self, until: Option<Moment>) -> io::Result<()> {
        let rest = self.pace.rest(until).until(self.retry_at());
        let mut fault = None;
        let poller = &mut self.poller;
        let came = self.pace.spin(rest, || {
            poller.wait(0).unwrap_or_else(|error| {
                fault = Some(error);
                true
            })
        });
        if let Some(error) = fault {
            return Err(error);
        }
        let rest = self.pace.left(rest);
        if came || rest.bound_ns == 0 {
            if !came {
                self.pace.awake();
            }
            return Ok(());
        }
        self.poller.wait(rest.bound_ns)?;
        self.pace.woke(rest);
        Ok(())
    }

    fn take_events(&mut self) -> bool {
        let mut rung = false;
        let events = self.poller.take_events();
        for event in events.iter().map(|event| super::poller::Event::of(*event)) {
            match event.source {
                Source::Bell => rung = true,
                Source::Listener(index) => {
                    if let Some(listener) = self.listeners.get_mut(usize::from(index)) {
                        listener.ready = true;
                    }
                }
                Source::Socket(id) => {
                    if event.writable {
                        self.writable(id);
                    }
                    if event.readable {
                        self.readable(id, event.ends);
                    }
                }
            }
        }
        self.poller.put_events(events);
        if rung {
            self.bell.answer();
        }
        rung
    }

    /// Hands out what became known outside of the turn, but for sockets closed since.
    fn tell_known(&mut self, bound: usize, out: &mut Vec<Completion<Self>>) {
        while out.len() < bound
            && let Some(completion) = self.known.pop_front()
        {
            if self.concerns_the_living(&completion) {
                out.push(completion);
            }
        }
    }

    fn concerns_the_living(&self, completion: &Completion<Self>) -> bool {
        match completion {
            Completion::Sent { socket }
            | Completion::Connected { socket }
            | Completion::Failed { socket, .. } => self.sockets.get(*socket).is_some(),
            _ => true,
        }
    }
}
