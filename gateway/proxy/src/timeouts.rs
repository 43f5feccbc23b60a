//! What happens when time is up.

use std::mem;

use base::{Closing, Driver, Moment, SocketId, Span, limits};
use cache::{Leader, NodeStore};
use telemetry::{UpstreamError, UpstreamStage};

use crate::Proxy;
use crate::client::{Answer, Asked, Patience};
use crate::fetch::{Fetch, Stage};
use crate::table::Ticket;
use crate::wheel::Wheel;

/// Times that a fetch whose client left is put off for clients on other shards.
const PUT_OFFS_MAX: u8 = 12;

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    /// Looks at the connections whose slots came up.
    pub(crate) fn expire(&mut self, io: &mut D, now: Moment) {
        let mut due = mem::take(&mut self.due);
        self.wheel.advance(now, &mut due);
        for socket in due.drain(..) {
            if self.clients.at(socket).is_some() {
                self.look_at_client(io, socket, now);
            } else {
                self.look_at_conn(io, socket, now);
            }
        }
        self.due = due;
    }

    fn look_at_client(&mut self, io: &mut D, socket: SocketId, now: Moment) {
        let wheel = &mut self.wheel;
        let Some(client) = self.clients.at(socket) else {
            return;
        };
        if client.scheduled > now {
            return; // scheduled anew since
        }
        client.scheduled = Moment(u64::MAX);
        if client.deadline > now {
            if client.deadline < Moment(u64::MAX) {
                client.scheduled = wheel.schedule(socket, client.deadline);
            }
            return;
        }
        match client.patience {
            Patience::Head => self.head_late(io, socket),
            Patience::Body => self.body_late(io, socket),
            Patience::Linger => self.close_client(io, socket, Closing::Orderly),
            Patience::Idle => self.end_idle(io, socket),
            Patience::Send => {
                self.cells.client_timeouts.add(1);
                self.cut_idler(io, socket);
            }
            Patience::Answer => {}
        }
    }

    /// A head that does not complete: 408 if it was begun, else the connection just ends (RFC 9110 §15.5.9).
    fn head_late(&mut self, io: &mut D, socket: SocketId) {
        if self.clients.at(socket).is_some_and(|it| it.awaits_preface) {
            return self.preface_over(io, socket, true);
        }
        let begun = self.clients.at(socket).is_some_and(|client| {
            client
                .work
                .as_ref()
                .is_some_and(|work| !work.input.is_blank() && work.exchange.is_none())
        });
        if !begun {
            return self.close_client(io, socket, Closing::Orderly);
        }
        self.cells.client_timeouts.add(1);
        let asked = Asked::unreadable(io.arrival());
        self.answer_error(io, socket, asked, 408, "request head took too long");
    }

    /// A body that comes too slowly. Once the answer has begun the client need not send any more of it.
    fn body_late(&mut self, io: &mut D, socket: SocketId) {
        let unanswered = self
            .exchange(socket)
            .is_some_and(|exchange| matches!(exchange.answer, Answer::Fetching(_)));
        if !unanswered {
            return self.set_patience(socket, Patience::Answer, Moment(u64::MAX));
        }
        let waits = self.clients.at(socket).is_some_and(|client| {
            client
                .work
                .as_ref()
                .is_some_and(|work| !work.input.is_empty())
        });
        if waits {
            // The origin is behind, not the client.
            let deadline = io.now().moment + self.settings.limits.rate_grace;
            return self.set_patience(socket, Patience::Body, deadline);
        }
        self.cells.client_timeouts.add(1);
        self.fail_upload(io, socket, 408, "request body came too slowly");
    }

    /// Gives a client time to take so many bytes.
    pub(crate) fn expect_taking(&mut self, io: &D, socket: SocketId, bytes: u64) {
        let limits = &self.settings.limits;
        let span = limits.rate_grace.0 + time_for(bytes, limits.send_min_rate).0;
        let deadline = io.now().moment + Span(span);
        self.set_patience(socket, Patience::Send, deadline);
    }

    fn look_at_conn(&mut self, io: &mut D, socket: SocketId, now: Moment) {
        let wheel = &mut self.wheel;
        let Some(conn) = self.conns.at(socket) else {
            return;
        };
        if conn.scheduled > now {
            return;
        }
        conn.scheduled = Moment(u64::MAX);
        if conn.deadline > now {
            if conn.deadline < Moment(u64::MAX) {
                conn.scheduled = wheel.schedule(socket, conn.deadline);
            }
            return;
        }
        let Some(ticket) = conn.fetch else {
            return self.idle_over(io, socket, now);
        };
        if self.is_second(ticket, socket) {
            return self.second_failed(io, ticket);
        }
        if self.is_attended(ticket, now) {
            return self.expect_bytes(io, socket);
        }
        let stage = self.fetches.at(ticket).map(|fetch| fetch.stage);
        match stage {
            Some(Stage::Connecting) => {
                let late = UpstreamError::Timeout(UpstreamStage::Connect);
                let reason = "connecting to the origin timed out";
                self.attempt_failed(io, ticket, late, 504, reason);
            }
            Some(Stage::Head) => {
                let late = UpstreamError::Timeout(UpstreamStage::FirstByte);
                let reason = "the origin did not answer in time";
                self.attempt_failed(io, ticket, late, 504, reason);
            }
            Some(Stage::Body) => {
                let late = UpstreamError::Timeout(UpstreamStage::Body);
                self.fail(
                    io,
                    ticket,
                    late,
                    504,
                    "the origin stopped inside its answer",
                );
            }
            Some(Stage::Tunnel) => self.tunnel_late(io, ticket, socket),
            Some(Stage::Done) | None => {}
        }
    }

    /// A connection idled for its time, unless so many are wanted whatever they do.
    fn idle_over(&mut self, io: &mut D, socket: SocketId, now: Moment) {
        let Some(conn) = self.conns.at(socket) else {
            return;
        };
        let (id, pooled, age) = (conn.upstream, conn.pooled, now - conn.born);
        let kept = self.settings.upstream(id).filter(|upstream| {
            let pool = self.pools.get(usize::from(id.0));
            let few = pool.is_some_and(|pool| pool.open <= upstream.connections_min);
            pooled && few && age < upstream.max_lifetime
        });
        match kept {
            Some(upstream) => {
                let deadline = now + upstream.pool_idle_timeout;
                self.set_conn_deadline(socket, deadline);
            }
            None => self.close_conn(io, socket, Closing::Orderly),
        }
    }

    /// A fetch without its client is at the end of its time, but others follow it: it gets as much again. Of other shards
    /// nobody knows whether those who joined still wait, so for their sake it does so for an hour at most.
    fn is_attended(&mut self, ticket: Ticket, now: Moment) -> bool {
        let shard = self.shard;
        let fetch = self.fetches.at(ticket);
        let over = |it: &&mut Box<Fetch<D>>| {
            it.stage == Stage::Body && it.ends_by <= now && it.total_by > now
        };
        let Some(fetch) = fetch.filter(over) else {
            return false;
        };
        let Some(flight) = fetch.leader.as_ref().map(Leader::flight) else {
            return false;
        };
        let followers = self.followers.get(&flight.id());
        let is_followed_here = followers.is_some_and(|followers| !followers.clients.is_empty());
        let may_be_elsewhere = fetch.put_off < PUT_OFFS_MAX && flight.has_other_shards(shard);
        if is_followed_here || may_be_elsewhere {
            fetch.put_off += u8::from(!is_followed_here);
            fetch.ends_by = now + limits::UNATTENDED_FETCH_MAX;
        }
        is_followed_here || may_be_elsewhere
    }

    /// The client of a tunnel took bytes.
    pub(crate) fn tunnel_moved(&mut self, io: &D, ticket: Ticket) {
        if let Some(socket) = self.fetches.at(ticket).and_then(|fetch| fetch.socket) {
            self.expect_bytes(io, socket);
        }
    }

    /// A tunnel in which nothing moved. Where somebody still waits for bytes it is cut, visibly.
    fn tunnel_late(&mut self, io: &mut D, ticket: Ticket, socket: SocketId) {
        let Some(client) = self.fetches.at(ticket).and_then(|fetch| fetch.client) else {
            return self.abort(io, ticket);
        };
        let work = self.clients.at(client).and_then(|c| c.work.as_ref());
        if work.is_some_and(|work| work.sending) {
            // The client has its own time for taking what it is sent.
            return self.set_conn_deadline(socket, Moment(u64::MAX));
        }
        let awaited = self
            .conns
            .at(socket)
            .is_some_and(|conn| conn.shut || conn.sending || !conn.output.is_empty());
        if awaited {
            let late = UpstreamError::Timeout(UpstreamStage::Body);
            return self.fail(
                io,
                ticket,
                late,
                504,
                "the origin stopped inside the tunnel",
            );
        }
        self.cells.client_timeouts.add(1);
        self.close_counted(io, client, Closing::Orderly, 101);
    }

    pub(crate) fn set_conn_deadline(&mut self, socket: SocketId, deadline: Moment) {
        let wheel = &mut self.wheel;
        if let Some(conn) = self.conns.at(socket) {
            conn.deadline = deadline;
            if Wheel::is_late(conn.scheduled, deadline) {
                conn.scheduled = wheel.schedule(socket, deadline);
            }
        }
    }
}

/// How long `bytes` take at `rate` bytes a second.
pub(crate) fn time_for(bytes: u64, rate: u64) -> Span {
    let seconds = bytes.checked_div(rate).unwrap_or(0);
    Span::from_secs(seconds)
}
