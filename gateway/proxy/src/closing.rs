//! How clients' connections end.

use base::{Closing, Driver, Moment, Room, SocketId, Span};
use cache::{FlightId, NodeStore};
use telemetry::Stage;

use crate::Proxy;
use crate::WORKS_KEPT;
use crate::client::{Answer, Patience, Work};
use crate::wheel::Wheel;

/// How long a client's unread bytes are discarded after our last answer, so that no reset destroys it
/// (RFC 9112 §9.6).
const LINGER: Span = Span::from_secs(2);
/// Status of a request whose client went away first.
const GIVEN_UP: u16 = 499;

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    /// After sending: a connection whose work is over idles, or ends if it was the last answer.
    pub(crate) fn settle(&mut self, io: &mut D, socket: SocketId) {
        let now = io.now().moment;
        let idle = self.idle_span();
        let head = self.settings.limits.header_timeout;
        let Some(client) = self.clients.at(socket) else {
            return;
        };
        let Some(work) = client.work.as_ref() else {
            return;
        };
        if work.sending || !work.output.is_empty() || work.exchange.is_some() {
            return;
        }
        if client.last {
            return self.end_after_last(io, socket);
        }
        if client.ended && (work.input.is_empty() || work.input.is_partial()) {
            return self.close_client(io, socket, Closing::Orderly);
        }
        if work.input.is_partial() && client.patience == Patience::Send {
            return self.set_patience(socket, Patience::Head, now + head);
        }
        if work.is_over() {
            let work = client.work.take();
            self.give_back(work);
            self.set_patience(socket, Patience::Idle, now + idle);
        }
    }

    /// Our last answer is with the kernel.
    fn end_after_last(&mut self, io: &mut D, socket: SocketId) {
        let Some(client) = self.clients.at(socket) else {
            return;
        };
        if client.ended || !client.linger {
            return self.close_client(io, socket, Closing::Orderly);
        }
        if client.patience == Patience::Linger {
            return;
        }
        io.shutdown(socket);
        if !client.receiving {
            client.receiving = true;
            io.receive(socket, Room::Small);
        }
        self.set_patience(socket, Patience::Linger, io.now().moment + LINGER);
    }

    /// The client ended its direction: what it asked for is still answered.
    pub(crate) fn client_ended(&mut self, io: &mut D, socket: SocketId) {
        let Some(client) = self.clients.at(socket) else {
            return;
        };
        client.ended = true;
        client.receiving = false;
        if client.awaits_preface && !client.last {
            return self.preface_over(io, socket, false);
        }
        let Some(work) = client.work.as_ref() else {
            return self.close_client(io, socket, Closing::Orderly);
        };
        if work
            .exchange
            .as_ref()
            .is_some_and(|exchange| exchange.takes_input())
        {
            self.upload(io, socket);
        }
        self.touch(socket);
    }

    /// The connection broke.
    pub(crate) fn client_gone(&mut self, io: &mut D, socket: SocketId) {
        self.close_client(io, socket, Closing::Orderly);
    }

    /// Ends a connection in the middle of an answer that cannot be made whole, visibly. It counts with the status it had.
    pub(crate) fn cut(&mut self, io: &mut D, socket: SocketId) {
        let status = self.exchange(socket).map(|exchange| exchange.status);
        self.cells.cut_answers.add(1);
        let status = status.filter(|status| *status != 0).unwrap_or(GIVEN_UP);
        self.close_counted(io, socket, Closing::Reset, status);
    }

    /// Ends a connection in the middle of an answer that its client does not take.
    pub(crate) fn cut_idler(&mut self, io: &mut D, socket: SocketId) {
        self.cells.cut_answers.add(1);
        self.close_client(io, socket, Closing::Reset);
    }

    /// Ends a connection now. What was under way for it alone ends too; what others follow, or the store wants, goes on.
    pub(crate) fn close_client(&mut self, io: &mut D, socket: SocketId, how: Closing) {
        self.close_counted(io, socket, how, GIVEN_UP);
    }

    pub(crate) fn close_counted(
        &mut self,
        io: &mut D,
        socket: SocketId,
        how: Closing,
        status: u16,
    ) {
        io.close(socket, how);
        let Some(mut client) = self.clients.remove(socket) else {
            return;
        };
        self.cells.clients.add(-1);
        self.refused -= usize::from(client.refused);
        if let Some(work) = client.work.as_mut() {
            for record in &mut work.records {
                record.status = GIVEN_UP;
            }
            let exchange = work.exchange.take();
            if let Some(exchange) = &exchange {
                let mut timing = exchange.timing;
                timing.enter(Stage::Send, self.reaped);
                let (asked, about) = (exchange.asked, exchange.about);
                // It is not whole, whatever status it had.
                if self.scribe.draws(GIVEN_UP) {
                    self.scribe.say(work, &exchange.said());
                }
                work.record(asked, (status, exchange.cache), &timing, about);
            }
            self.count_unsent(socket, work);
            if let Some(exchange) = exchange {
                self.leave(io, socket, &exchange.answer);
            }
        }
        self.give_back(client.work.take());
    }

    /// A client no longer waits for its answer.
    fn leave(&mut self, io: &mut D, socket: SocketId, answer: &Answer<D>) {
        match answer {
            Answer::Following(flight) => {
                let id = flight.id();
                self.unfollow(id, socket);
                self.disown(io, socket, id);
            }
            Answer::Serving(serving) => {
                if let Some(flight) = &serving.flight {
                    self.unfollow(flight.id(), socket);
                    self.disown(io, socket, flight.id());
                }
                if let Some(ticket) = serving.spill {
                    self.abort(io, ticket);
                }
            }
            Answer::Fetching(ticket) | Answer::Streaming(ticket, _) | Answer::Tunnel(ticket) => {
                self.abort(io, *ticket);
            }
        }
    }

    /// The leader's client left, or has its answer: its fetch goes on for the store and for those who follow.
    pub(crate) fn disown(&mut self, io: &D, socket: SocketId, flight: FlightId) {
        if let Some(ticket) = self.leading.get(&flight).copied()
            && let Some(fetch) = self.fetches.at(ticket)
            && fetch.client == Some(socket)
        {
            fetch.leave_unattended(io.now().moment);
        }
    }

    pub(crate) fn give_back(&mut self, work: Option<Box<Work<D>>>) {
        if let Some(mut work) = work
            && self.works.len() < WORKS_KEPT
        {
            work.reset();
            self.works.push(work);
        }
    }

    /// How long a connection may stay without a request.
    fn idle_span(&self) -> Span {
        let limits = &self.settings.limits;
        match self.draining {
            true => limits.idle_timeout.min(limits.drain_idle),
            false => limits.idle_timeout,
        }
    }

    /// Brings every connection to its end, each as its client can bear it best: an answer whose head is still to be written
    /// says `Connection: close`; where none is to be written, the next request gets one that does; and who asks for nothing
    /// for [`Limits::drain_idle`](crate::Limits::drain_idle) is closed. A connection that idles may have a request on its way,
    /// the less likely the longer it has idled. Who comes new is served in the same manner.
    pub fn drain(&mut self, io: &mut D) {
        if self.draining {
            return;
        }
        let usual = self.idle_span();
        self.draining = true;
        let sooner = Span(usual.0 - self.idle_span().0);
        let now = io.now().moment;
        let sockets: Vec<SocketId> = self.clients.sockets().collect();
        for socket in sockets {
            if let Some(exchange) = self.exchange(socket) {
                let waits = matches!(exchange.answer, Answer::Fetching(_) | Answer::Following(_));
                exchange.asked.keep_alive &= !waits;
                continue;
            }
            let idle = self.clients.at(socket);
            let idle = idle.filter(|client| client.patience == Patience::Idle);
            if let Some(deadline) = idle.map(|client| client.deadline) {
                let deadline = Moment(deadline.0.saturating_sub(sooner.0)).max(now);
                self.set_patience(socket, Patience::Idle, deadline);
            }
        }
    }

    /// A client that asked for nothing in its time. In a drain many are closed at once, and one may be asking just now: it
    /// sees the end of the connection, not a reset.
    pub(crate) fn end_idle(&mut self, io: &mut D, socket: SocketId) {
        if !self.draining {
            return self.close_client(io, socket, Closing::Orderly);
        }
        if let Some(client) = self.clients.at(socket) {
            client.last = true;
            client.linger = true;
        }
        self.end_after_last(io, socket);
    }

    /// Ends every connection now: whose answer is under way sees that it is cut, and what was asked is counted.
    pub fn stop(&mut self, io: &mut D) {
        let sockets: Vec<SocketId> = self.clients.sockets().collect();
        for socket in sockets {
            match self.exchange(socket) {
                Some(_) => self.cut(io, socket),
                None => self.close_client(io, socket, Closing::Orderly),
            }
        }
    }

    /// Lets a client's deadline be looked at when it comes. While a message is with the driver the client is given time for
    /// taking it and for nothing else: whatever else it does, it must not stay by not reading. What it is given time for
    /// afterwards is decided when the message is taken.
    pub(crate) fn set_patience(&mut self, socket: SocketId, patience: Patience, deadline: Moment) {
        let wheel = &mut self.wheel;
        let Some(client) = self.clients.at(socket) else {
            return;
        };
        let sending = client.work.as_ref().is_some_and(|work| work.sending);
        if sending && patience != Patience::Send {
            return;
        }
        client.patience = patience;
        client.deadline = deadline;
        if Wheel::is_late(client.scheduled, deadline) {
            client.scheduled = wheel.schedule(socket, deadline);
        }
    }
}
