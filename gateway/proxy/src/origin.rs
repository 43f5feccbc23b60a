//! Connections to origins: taken from the pool or made, given back or ended, and what their failures mean.

use base::{Closing, Driver, Fault, Moment, Part, Room, SocketId, UpstreamId};
use cache::policy::Trouble;
use cache::{Failure, NodeStore};
use telemetry::{UpstreamError, UpstreamStage};

use crate::Proxy;
use crate::client::{Answer, Output};
use crate::fetch::{Conn, Stage};
use crate::table::Ticket;

/// Fetches that wait for a connection to one upstream; more are refused at once.
const POOL_WAITERS_MAX: usize = 16_384;
const BUSY: &str = "all connections to the origin are busy";

/// No connection to be had.
enum Refused {
    /// The upstream's bound is reached.
    Bound,
    /// The process's is.
    Descriptors,
}

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    /// Finds a new fetch a connection, behind those that wait for one already.
    pub(crate) fn enqueue(&mut self, io: &mut D, ticket: Ticket) {
        let upstream = self.fetches.at(ticket).map(|fetch| fetch.order.upstream);
        let pool = upstream.and_then(|id| self.pools.get(usize::from(id.0)));
        if pool.is_some_and(|pool| !pool.waiting.is_empty()) {
            self.wait_for_conn(io, ticket);
        } else {
            self.dispatch(io, ticket);
        }
    }

    /// Finds a fetch a connection, and sends its request there.
    fn dispatch(&mut self, io: &mut D, ticket: Ticket) {
        match self.take_conn(io, ticket) {
            Ok(socket) => {
                let connected = self.conns.at(socket).is_some_and(|conn| conn.connected);
                if connected {
                    self.ask(ticket, socket);
                }
            }
            Err(Refused::Bound) => self.wait_for_conn(io, ticket),
            Err(Refused::Descriptors) => {
                let reason = "no descriptor left for the origin";
                self.fail(io, ticket, UpstreamError::Acquire, 503, reason);
            }
        }
    }

    /// All connections are busy: the fetch waits its turn, for so long.
    fn wait_for_conn(&mut self, io: &mut D, ticket: Ticket) {
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        let id = fetch.order.upstream;
        match self.pools.get_mut(usize::from(id.0)) {
            Some(pool) if pool.waiting.len() < POOL_WAITERS_MAX => {
                pool.waiting.push_back((ticket, io.now().moment));
                if let Some(cells) = self.cells.pool(id) {
                    cells.waiting.add(1);
                    cells.waiting_since(pool.longest_wait());
                }
            }
            _ => self.fail(io, ticket, UpstreamError::Acquire, 503, BUSY),
        }
    }

    /// Gives connections that became free to those who wait, and lets go of those who waited too long.
    pub(crate) fn serve_waiting(&mut self, io: &mut D) {
        for index in 0..self.pools.len() {
            while let Some((ticket, late)) = self.next_waiting(io, index) {
                if late {
                    self.fail(io, ticket, UpstreamError::Acquire, 503, BUSY);
                } else {
                    self.dispatch(io, ticket);
                }
            }
        }
    }

    /// The fetch that waits longest for a connection, if there is one for it or its time is up.
    fn next_waiting(&mut self, io: &D, index: usize) -> Option<(Ticket, bool)> {
        let pool = self.pools.get_mut(index)?;
        let (ticket, since) = *pool.waiting.front()?;
        let id = UpstreamId(u16::try_from(index).ok()?);
        let upstream = self.settings.upstream(id)?;
        let free = pool.open < upstream.connections_max || pool.has_idle();
        let late = since + upstream.acquire_timeout <= io.now().moment;
        if !free && !late && self.fetches.at(ticket).is_some() {
            return None;
        }
        pool.waiting.pop_front();
        let late = late && !free;
        if let Some(cells) = self.cells.pool(id) {
            cells.waiting.add(-1);
            cells.waiting_since(pool.longest_wait());
            if !late {
                cells.waited(io.now().moment - since);
            }
        }
        Some((ticket, late))
    }

    /// When the fetch that waits longest for a connection gives up.
    pub(crate) fn waiting_deadline(&self) -> Option<Moment> {
        let deadlines = self.pools.iter().enumerate().filter_map(|(index, pool)| {
            let since = pool.longest_wait()?;
            let id = UpstreamId(u16::try_from(index).ok()?);
            Some(since + self.settings.upstream(id)?.acquire_timeout)
        });
        deadlines.min()
    }

    fn take_conn(&mut self, io: &mut D, ticket: Ticket) -> Result<SocketId, Refused> {
        let fetch = self.fetches.at(ticket).ok_or(Refused::Bound)?;
        let id = fetch.order.upstream;
        let upstream = self.settings.upstream(id).ok_or(Refused::Bound)?;
        let pool = self
            .pools
            .get_mut(usize::from(id.0))
            .ok_or(Refused::Bound)?;
        let count = upstream.endpoints.len().max(1);
        let endpoint = pool.next % count;
        pool.next = (pool.next + 1) % count;
        if !fetch.fresh_only {
            // At the bound any endpoint's spare connection will do; else the endpoints share the work.
            let reach = if pool.open < upstream.connections_max {
                1
            } else {
                count
            };
            for step in 0..reach {
                let at = (endpoint + step) % count;
                if let Some(socket) = pool.idle.get_mut(at).and_then(Vec::pop)
                    && let Some(conn) = self.conns.at(socket)
                {
                    if let Some(cells) = self.cells.pool(id) {
                        cells.idle.add(-1);
                        cells.active.add(1);
                    }
                    conn.pooled = false;
                    conn.fetch = Some(ticket);
                    conn.served = conn.served.saturating_add(1);
                    fetch.socket = Some(socket);
                    fetch.since = io.stamp();
                    return Ok(socket);
                }
            }
        }
        if pool.open >= upstream.connections_max {
            if let Some(cells) = self.cells.pool(id) {
                cells.exhausted.add(1);
            }
            return Err(Refused::Bound);
        }
        let address = *upstream.endpoints.get(endpoint).ok_or(Refused::Bound)?;
        let deadline = io.now().moment + upstream.connect_timeout;
        let socket = io.connect(address).map_err(|_| Refused::Descriptors)?;
        pool.open += 1;
        fetch.socket = Some(socket);
        fetch.since = io.stamp();
        fetch.stage = Stage::Connecting;
        self.cells.upstream_connects.add(1);
        self.cells.upstreams.add(1);
        if let Some(cells) = self.cells.pool(id) {
            cells.active.add(1);
        }
        let conn = Conn {
            upstream: id,
            endpoint,
            fetch: Some(ticket),
            connected: false,
            receiving: false,
            output: Output::new(),
            sending: false,
            tunnel: false,
            ending: false,
            shut: false,
            pooled: false,
            asked: false,
            born: io.now().moment,
            served: 0,
            deadline,
            scheduled: Moment(u64::MAX),
        };
        self.conns.insert(socket, Box::new(conn));
        self.set_conn_deadline(socket, deadline);
        Ok(socket)
    }

    pub(crate) fn origin_connected(&mut self, io: &mut D, socket: SocketId) {
        let Some(conn) = self.conns.at(socket) else {
            return;
        };
        conn.connected = true;
        conn.receiving = true;
        io.receive(socket, Room::Large);
        match conn.fetch {
            Some(ticket) => {
                self.upstream_took(ticket, UpstreamStage::Connect);
                self.ask(ticket, socket);
            }
            None => self.close_conn(io, socket, Closing::Orderly),
        }
    }

    /// Sends a fetch's request on a connection that stands.
    fn ask(&mut self, ticket: Ticket, socket: SocketId) {
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        fetch.stage = Stage::Head;
        let head = fetch.order.head.clone();
        let client = fetch.client;
        if let Some(conn) = self.conns.at(socket) {
            conn.asked = false;
            conn.output.push(Part::Heap(head.into_boxed_slice()));
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
        let deadline = match upstream {
            Some(upstream) if fetch.asked_whole => io.now().moment + upstream.first_byte_timeout,
            _ => Moment(u64::MAX),
        };
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
        match self.fetches.at(ticket).map(|fetch| fetch.stage) {
            Some(Stage::Connecting) => {
                let (error, status, reason) = connect_failure(fault);
                self.endpoint_failed(io, ticket, error, status, reason);
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

    /// One endpoint cannot be connected to: the next is tried, as long as there is one that was not.
    pub(crate) fn endpoint_failed(
        &mut self,
        io: &mut D,
        ticket: Ticket,
        error: UpstreamError,
        status: u16,
        reason: &'static str,
    ) {
        self.upstream_failed(ticket, error);
        self.drop_conn(io, ticket);
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        fetch.endpoints_failed += 1;
        let failed = fetch.endpoints_failed;
        let endpoints = self
            .settings
            .upstream(fetch.order.upstream)
            .map_or(0, |upstream| upstream.endpoints.len());
        if failed < endpoints {
            self.dispatch(io, ticket);
        } else {
            self.end_failed(io, ticket, status, reason);
        }
    }

    /// Bytes on a connection from the pool before its request can have arrived: they answer nothing that was asked
    /// (RFC 9112 §9.2), and the next request must not get them.
    pub(crate) fn is_unsolicited(&mut self, socket: SocketId) -> bool {
        self.conns
            .at(socket)
            .is_some_and(|conn| conn.served > 0 && !conn.asked)
    }

    /// The connection broke and no byte of an answer had come: a pooled one was probably closed before the request
    /// arrived (RFC 9112 §9.3.1), which is nobody's failure where the request may be repeated.
    pub(crate) fn broke_before_answer(&mut self, io: &mut D, ticket: Ticket, socket: SocketId) {
        let reused = self.conns.at(socket).is_some_and(|conn| conn.served > 0);
        let repeat = self
            .fetches
            .at(ticket)
            .is_some_and(|fetch| reused && !fetch.fresh_only && fetch.may_repeat());
        if !repeat {
            let reason = "the origin closed without an answer";
            return self.fail(io, ticket, UpstreamError::Reset, 502, reason);
        }
        self.drop_conn(io, ticket);
        if let Some(fetch) = self.fetches.at(ticket) {
            fetch.fresh_only = true;
            fetch.stage = Stage::Connecting;
        }
        self.dispatch(io, ticket);
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
        self.end_failed(io, ticket, status, reason);
    }

    /// The same once the cause is counted.
    fn end_failed(&mut self, io: &mut D, ticket: Ticket, status: u16, reason: &'static str) {
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
        let ends_by = fetch.map_or(Moment(u64::MAX), |fetch| fetch.ends_by);
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
        let Some(upstream) = self.settings.upstream(conn.upstream) else {
            return;
        };
        let young = now - conn.born < upstream.max_lifetime;
        if !(reusable && young && conn.receiving && !conn.sending && conn.output.is_empty())
            || draining
        {
            return self.close_conn(io, socket, Closing::Orderly);
        }
        let (endpoint, deadline) = (conn.endpoint, now + upstream.pool_idle_timeout);
        let pool = self.pools.get_mut(usize::from(conn.upstream.0));
        if let Some(idle) = pool.and_then(|pool| pool.idle.get_mut(endpoint)) {
            idle.push(socket);
        }
        conn.pooled = true;
        if let Some(cells) = self.cells.pool(conn.upstream) {
            cells.active.add(-1);
            cells.idle.add(1);
        }
        self.set_conn_deadline(socket, deadline);
    }

    /// A fetch's connection is of no use any more.
    pub(crate) fn drop_conn(&mut self, io: &mut D, ticket: Ticket) {
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
            pool.open = pool.open.saturating_sub(1);
            pool.remove_idle(conn.endpoint, socket);
        }
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
