//! Connections to origins: taken from the pool or made, given back or ended, and what their failures mean.

use base::{Closing, Driver, Fault, Moment, Part, Room, SocketId};
use cache::policy::Trouble;
use cache::{Failure, NodeStore};
use telemetry::{UpstreamError, UpstreamStage};

use crate::Proxy;
use crate::client::Answer;
use crate::fetch::Stage;
use crate::table::Ticket;

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    pub(crate) fn origin_connected(&mut self, io: &mut D, socket: SocketId) {
        let Some(conn) = self.conns.at(socket) else {
            return;
        };
        let Some(ticket) = conn.fetch else {
            return self.rest_spare(io, socket);
        };
        conn.connected = true;
        conn.receiving = true;
        io.receive(socket, Room::Large);
        if self.is_second(ticket, socket) {
            return self.ask_second(ticket, socket);
        }
        self.upstream_took(ticket, UpstreamStage::Connect);
        self.ask(ticket, socket);
    }

    /// Sends a fetch's request on a connection that stands, and again what was sent of its body before.
    pub(crate) fn ask(&mut self, ticket: Ticket, socket: SocketId) {
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        fetch.stage = Stage::Head;
        let head = fetch.order.head.clone();
        let client = fetch.client;
        if let Some(conn) = self.conns.at(socket) {
            conn.asked = false;
            conn.output.push(Part::Heap(head.into_boxed_slice()));
            fetch.repeat_body(&mut conn.output);
        }
        // Sent at the end of the turn: a body that is here already goes with the head. Not from here, for its bytes may be
        // in the hands of who reads the request.
        self.outbound.push(socket);
        if let Some(client) = client {
            self.enter_stage(client, telemetry::Stage::UpstreamFirstByte);
            self.touch(client);
        }
    }

    /// A client's request is in another stage since the driver told us.
    pub(crate) fn enter_stage(&mut self, client: SocketId, stage: telemetry::Stage) {
        let at = self.reaped;
        if let Some(exchange) = self.exchange(client) {
            exchange.timing.enter(stage, at);
        }
    }

    pub(crate) fn send_to_origin(&mut self, io: &mut D, socket: SocketId) {
        if let Some(conn) = self.conns.at(socket)
            && conn.connected
            && !conn.sending
            && !conn.output.is_empty()
        {
            conn.sending = true;
            conn.output.send(io, socket);
            self.expect_bytes(io, socket);
        }
    }

    /// Ends our direction of a connection once everything is sent.
    pub(crate) fn end_conn(&mut self, io: &mut D, socket: SocketId) {
        if let Some(conn) = self.conns.at(socket)
            && conn.ending
            && !conn.shut
            && !conn.sending
            && conn.output.is_empty()
        {
            conn.shut = true;
            io.shutdown(socket);
            self.expect_bytes(io, socket);
        }
    }

    pub(crate) fn origin_sent(&mut self, io: &mut D, socket: SocketId) {
        let Some(conn) = self.conns.at(socket) else {
            return;
        };
        conn.sending = false;
        conn.asked = true;
        let Some(ticket) = conn.fetch else {
            return;
        };
        self.send_to_origin(io, socket);
        self.end_conn(io, socket);
        self.origin_took(io, ticket, socket);
        if self.is_second(ticket, socket) {
            return;
        }
        if let Some(client) = self.fetches.at(ticket).and_then(|fetch| fetch.client)
            && self
                .exchange(client)
                .is_some_and(|exchange| exchange.takes_input())
        {
            self.advance(io, client);
        }
    }

    /// The origin has what we sent: with the whole request its time to answer begins, else it is the client's turn.
    fn origin_took(&mut self, io: &D, ticket: Ticket, socket: SocketId) {
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        if fetch.stage == Stage::Tunnel {
            return self.expect_bytes(io, socket);
        }
        if fetch.stage != Stage::Head || self.conns.at(socket).is_none_or(|conn| conn.sending) {
            return;
        }
        let upstream = self.settings.upstream(fetch.order.upstream);
        let now = io.now().moment;
        let deadline = match upstream.filter(|_| fetch.asked_whole) {
            Some(upstream) => {
                let pool = self.pools.get_mut(usize::from(fetch.order.upstream.0));
                if let (Some(after), Some(pool)) = (fetch.hedges(upstream), pool) {
                    pool.hedges.push_back((ticket, now + after));
                }
                now + upstream.first_byte_timeout
            }
            None => Moment(u64::MAX),
        };
        let deadline = deadline.min(fetch.total_by);
        self.set_conn_deadline(socket, deadline);
    }

    /// The origin ended its direction.
    pub(crate) fn origin_ended(&mut self, io: &mut D, socket: SocketId) {
        let Some(conn) = self.conns.at(socket) else {
            return;
        };
        conn.receiving = false;
        let Some(ticket) = conn.fetch else {
            return self.close_conn(io, socket, Closing::Orderly);
        };
        if self.is_second(ticket, socket) {
            return self.second_failed(io, ticket);
        }
        let Some(fetch) = self.fetches.at(ticket) else {
            return self.close_conn(io, socket, Closing::Orderly);
        };
        match fetch.stage {
            Stage::Connecting | Stage::Head => self.broke_before_answer(io, ticket, socket),
            Stage::Body
                if fetch
                    .decoder
                    .as_ref()
                    .is_some_and(|decoder| decoder.may_end()) =>
            {
                fetch.keeps_alive = false;
                self.body_done(io, ticket, false);
            }
            Stage::Body => {
                let reason = "the origin ended inside its answer";
                self.fail(io, ticket, UpstreamError::Reset, 502, reason);
            }
            Stage::Tunnel => {
                fetch.stage = Stage::Done;
                let client = fetch.client;
                self.detach(ticket);
                self.close_conn(io, socket, Closing::Orderly);
                if let Some(client) = client {
                    self.touch(client);
                }
            }
            Stage::Done => self.close_conn(io, socket, Closing::Orderly),
        }
    }

    /// Connecting, sending or receiving failed.
    pub(crate) fn origin_failed(&mut self, io: &mut D, socket: SocketId, fault: Fault) {
        let Some(conn) = self.conns.at(socket) else {
            return;
        };
        let Some(ticket) = conn.fetch else {
            return self.close_conn(io, socket, Closing::Orderly);
        };
        if self.is_second(ticket, socket) {
            return self.second_failed(io, ticket);
        }
        match self.fetches.at(ticket).map(|fetch| fetch.stage) {
            Some(Stage::Connecting) => {
                let (error, status, reason) = connect_failure(fault);
                self.attempt_failed(io, ticket, error, status, reason);
            }
            Some(Stage::Head) => self.broke_before_answer(io, ticket, socket),
            Some(Stage::Body) => {
                let reason = "the origin broke off inside its answer";
                self.fail(io, ticket, UpstreamError::Reset, 502, reason);
            }
            Some(Stage::Tunnel) => {
                self.fail(io, ticket, UpstreamError::Reset, 502, "the tunnel broke");
            }
            Some(Stage::Done) | None => self.close_conn(io, socket, Closing::Orderly),
        }
    }

    /// Bytes on a connection from the pool before its request can have arrived: they answer nothing that was asked
    /// (RFC 9112 §9.2), and the next request must not get them.
    pub(crate) fn is_unsolicited(&mut self, socket: SocketId) -> bool {
        self.conns
            .at(socket)
            .is_some_and(|conn| conn.served > 0 && !conn.asked)
    }

    /// Ends a fetch without a (whole) answer, and whoever waits for it learns so: with the status where no byte was
    /// sent yet, by the end of the connection where some were.
    pub(crate) fn fail(
        &mut self,
        io: &mut D,
        ticket: Ticket,
        error: UpstreamError,
        status: u16,
        reason: &'static str,
    ) {
        self.upstream_failed(ticket, error);
        self.endpoint_failed(io, ticket, error);
        self.end_failed(io, ticket, status, reason);
    }

    /// The same once the cause is counted.
    pub(crate) fn end_failed(
        &mut self,
        io: &mut D,
        ticket: Ticket,
        status: u16,
        reason: &'static str,
    ) {
        if self.fetches.at(ticket).is_none() {
            return;
        }
        self.cells.upstream_errors.add(1);
        let unanswered = self
            .fetches
            .at(ticket)
            .is_some_and(|fetch| matches!(fetch.stage, Stage::Connecting | Stage::Head));
        if unanswered && self.serve_stale(io, ticket, Trouble::Unreachable) {
            return;
        }
        self.drop_conn(io, ticket);
        let Some(mut fetch) = self.fetches.remove(ticket) else {
            return;
        };
        if let Some(filling) = fetch.filling.take() {
            filling.writer.fail();
        }
        if let Some(leader) = fetch.leader.take() {
            self.lead_ends(&leader);
            if fetch.stage == Stage::Body {
                leader.land();
            } else {
                // RFC 9111 §5.2.2.2
                let must = fetch.basis.is_some_and(|basis| basis.terms.forbids_stale());
                let status = if must { 504 } else { status };
                leader.fail(Failure { status, reason });
            }
            return;
        }
        let Some(client) = fetch.client else {
            return;
        };
        match self.exchange(client).map(|exchange| &exchange.answer) {
            Some(Answer::Fetching(_)) => self.fail_exchange(io, client, status, reason),
            Some(Answer::Streaming(..) | Answer::Tunnel(_) | Answer::Serving(_)) => {
                self.cut(io, client)
            }
            _ => {}
        }
    }

    /// A client's own fetch ends because the client did.
    pub(crate) fn abort(&mut self, io: &mut D, ticket: Ticket) {
        self.drop_conn(io, ticket);
        self.fetches.remove(ticket);
    }

    /// Receives again once the client has taken what is held.
    pub(crate) fn resume_origin(&mut self, io: &mut D, ticket: Ticket) {
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        if fetch.held.len() > 1 || !matches!(fetch.stage, Stage::Body | Stage::Tunnel) {
            return;
        }
        let Some(socket) = fetch.socket else {
            return;
        };
        if let Some(conn) = self.conns.at(socket)
            && !conn.receiving
        {
            conn.receiving = true;
            io.receive(socket, Room::Large);
            self.expect_bytes(io, socket);
        }
    }

    /// Gives the origin its time between bytes, and a tunnel its time without any. What is left of a tunnel once the client
    /// ended its direction is an answer like others.
    pub(crate) fn expect_bytes(&mut self, io: &D, socket: SocketId) {
        let Some(conn) = self.conns.at(socket) else {
            return;
        };
        let Some(upstream) = self.settings.upstream(conn.upstream) else {
            return;
        };
        let (read, idle) = (
            upstream.read_timeout,
            self.settings.limits.tunnel_idle_timeout,
        );
        let span = match (conn.tunnel, conn.shut) {
            (false, _) => Some(read),
            (true, false) => idle,
            (true, true) => Some(idle.map_or(read, |idle| idle.min(read))),
        };
        let now = io.now().moment;
        let ticket = conn.fetch;
        let fetch = ticket.and_then(|ticket| self.fetches.at(ticket));
        let ends_by = fetch.map_or(Moment(u64::MAX), |fetch| fetch.ends_by.min(fetch.total_by));
        let deadline = span.map_or(Moment(u64::MAX), |span| now + span);
        self.set_conn_deadline(socket, deadline.min(ends_by));
    }

    /// A fetch lets go of its connection, which goes back to the pool if it may carry another request.
    pub(crate) fn release_conn(&mut self, io: &mut D, ticket: Ticket, clean: bool) {
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        let reusable = clean && fetch.keeps_alive && fetch.asked_whole;
        let Some(socket) = fetch.socket.take() else {
            return;
        };
        let now = io.now().moment;
        let draining = self.draining;
        let Some(conn) = self.conns.at(socket) else {
            return;
        };
        conn.fetch = None;
        let (id, slot) = (conn.upstream, conn.slot);
        let (Some(upstream), Some(pool)) = (
            self.settings.upstream(id),
            self.pools.get_mut(usize::from(id.0)),
        ) else {
            return;
        };
        let young = now - conn.born < upstream.max_lifetime;
        let fit = reusable && young && conn.receiving && !conn.sending && conn.output.is_empty();
        let permits = self.origins.of(id).map(|members| &members.permits);
        let wanted_elsewhere = permits
            .and_then(|permits| permits.is_due_elsewhere(self.shard, pool.longest_wait()))
            .is_some();
        if !fit || draining || wanted_elsewhere || !pool.rest(slot, socket) {
            return self.close_conn(io, socket, Closing::Orderly);
        }
        pool.no_more_busy(slot);
        conn.busy = false;
        conn.pooled = true;
        if let Some(cells) = self.cells.pool(id) {
            cells.active.add(-1);
            cells.idle.add(1);
        }
        let deadline = now + upstream.pool_idle_timeout;
        self.set_conn_deadline(socket, deadline);
    }

    /// A fetch's connections are of no use any more.
    pub(crate) fn drop_conn(&mut self, io: &mut D, ticket: Ticket) {
        self.drop_second(io, ticket);
        if let Some(socket) = self.detach(ticket) {
            self.close_conn(io, socket, Closing::Orderly);
        }
    }

    fn detach(&mut self, ticket: Ticket) -> Option<SocketId> {
        let socket = self.fetches.at(ticket)?.socket.take()?;
        if let Some(conn) = self.conns.at(socket) {
            conn.fetch = None;
        }
        Some(socket)
    }

    /// Ends an origin's connection, pooled or not.
    pub(crate) fn close_conn(&mut self, io: &mut D, socket: SocketId, how: Closing) {
        io.close(socket, how);
        let Some(conn) = self.conns.remove(socket) else {
            return;
        };
        self.cells.upstreams.add(-1);
        if let Some(cells) = self.cells.pool(conn.upstream) {
            if conn.pooled {
                &cells.idle
            } else {
                &cells.active
            }
            .add(-1);
        }
        if let Some(pool) = self.pools.get_mut(usize::from(conn.upstream.0)) {
            pool.closed(conn.slot, socket, conn.pooled);
            if conn.busy {
                pool.no_more_busy(conn.slot);
            }
        }
        self.return_permit(conn.upstream);
    }
}

fn connect_failure(fault: Fault) -> (UpstreamError, u16, &'static str) {
    let (status, reason) = match fault {
        Fault::Refused => (502, "the origin refuses connections"),
        Fault::Reset => (502, "the origin resets connections"),
        Fault::Unreachable => (502, "the origin is unreachable"),
        Fault::TimedOut => {
            let error = UpstreamError::Timeout(UpstreamStage::Connect);
            return (error, 504, "connecting to the origin timed out");
        }
        Fault::Descriptors | Fault::Resources => (503, "no descriptor or port left for the origin"),
        Fault::Other(_) => (502, "the origin cannot be connected to"),
    };
    (UpstreamError::Connect, status, reason)
}
