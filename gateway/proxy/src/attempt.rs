//! What a failure of an origin means for its endpoint, its upstream and the request: marked, tried elsewhere, or given up.

use base::{Closing, Driver, SocketId};
use cache::NodeStore;
use telemetry::UpstreamError;

use crate::Proxy;
use crate::fetch::Stage;
use crate::table::Ticket;

/// Statuses with which something before the origin's own logic says that it cannot.
const GATEWAY_ERRORS: [u16; 3] = [502, 503, 504];

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    /// An attempt failed before any byte of an answer: the request goes to another endpoint where it may be sent again and one
    /// is left, within the budget.
    pub(crate) fn attempt_failed(
        &mut self,
        io: &mut D,
        ticket: Ticket,
        error: UpstreamError,
        status: u16,
        reason: &'static str,
    ) {
        self.upstream_failed(ticket, error);
        self.endpoint_failed(io, ticket, error);
        if self.promote_second(io, ticket) {
            return;
        }
        if self.may_try_again(io, ticket) {
            self.try_again(io, ticket);
        } else {
            self.end_failed(io, ticket, status, reason);
        }
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
            return self.attempt_failed(io, ticket, UpstreamError::Reset, 502, reason);
        }
        if self.promote_second(io, ticket) {
            return;
        }
        self.drop_conn(io, ticket);
        if let Some(fetch) = self.fetches.at(ticket) {
            fetch.fresh_only = true;
            fetch.stage = Stage::Connecting;
            if let Some(cells) = self.cells.pool(fetch.order.upstream) {
                cells.stale_connections.add(1);
            }
        }
        self.dispatch(io, ticket);
    }

    /// A status that counts as no answer, where the request may be sent elsewhere for it.
    pub(crate) fn is_retried_status(&mut self, io: &D, ticket: Ticket, status: u16) -> bool {
        let Some(fetch) = self.fetches.at(ticket) else {
            return false;
        };
        let upstream = self.settings.upstream(fetch.order.upstream);
        upstream.is_some_and(|it| it.retry_statuses.contains(&status))
            && self.may_try_again(io, ticket)
    }

    fn may_try_again(&mut self, io: &D, ticket: Ticket) -> bool {
        let now = io.now().moment;
        let Some(fetch) = self.fetches.at(ticket) else {
            return false;
        };
        let id = fetch.order.upstream;
        let (Some(upstream), Some(pool)) = (
            self.settings.upstream(id),
            self.pools.get_mut(usize::from(id.0)),
        ) else {
            return false;
        };
        fetch.may_repeat()
            && fetch.total_by > now
            && fetch.tried.len() < upstream.retries as usize
            && pool.endpoints() > fetch.tried.len() + 1
            && pool.budget.take(now)
    }

    pub(crate) fn try_again(&mut self, io: &mut D, ticket: Ticket) {
        let slot = self.slot_of(ticket);
        self.drop_conn(io, ticket);
        if let Some(fetch) = self.fetches.at(ticket) {
            fetch.tried.extend(slot);
            fetch.stage = Stage::Connecting;
            if let Some(cells) = self.cells.pool(fetch.order.upstream) {
                cells.retries.add(1);
            }
        }
        self.dispatch(io, ticket);
    }

    fn slot_of(&mut self, ticket: Ticket) -> Option<crate::upstream::Slot> {
        let socket = self.fetches.at(ticket)?.socket?;
        self.conns.at(socket).map(|conn| conn.slot)
    }

    /// Marks an endpoint for what a request to it met with. A wait for a connection says nothing of it.
    pub(crate) fn endpoint_failed(&mut self, io: &D, ticket: Ticket, error: UpstreamError) {
        if matches!(error, UpstreamError::Acquire | UpstreamError::Breaker) {
            return;
        }
        let slot = self.slot_of(ticket);
        let Some(id) = self.fetches.at(ticket).map(|fetch| fetch.order.upstream) else {
            return;
        };
        self.mark_failed(io, id, slot, Some(error));
    }

    /// `error` is none where the endpoint answered that it cannot.
    fn mark_failed(
        &mut self,
        io: &D,
        id: base::UpstreamId,
        slot: Option<crate::upstream::Slot>,
        error: Option<UpstreamError>,
    ) {
        let now = io.now().moment;
        let (Some(upstream), Some(pool)) = (
            self.settings.upstream(id),
            self.pools.get_mut(usize::from(id.0)),
        ) else {
            return;
        };
        if matches!(error, Some(UpstreamError::Timeout(_))) {
            pool.concurrency.timed_out();
        }
        // What answers, however badly, is asked on.
        let answers = matches!(error, None | Some(UpstreamError::Protocol));
        let opened = pool.breaker.ended(answers, now, &upstream.breaker);
        let endpoint = slot.and_then(|slot| pool.endpoint(slot));
        let ejected = endpoint.is_some_and(|it| it.failed(now, &upstream.ejection));
        if let Some(cells) = self.cells.pool(id) {
            cells.ejections.add(u64::from(ejected));
            cells.breaks.add(u64::from(opened));
            cells.broken.set(i64::from(pool.breaker.is_open()));
        }
    }

    /// The head of an answer came.
    pub(crate) fn endpoint_answered(&mut self, io: &D, ticket: Ticket, status: u16) {
        let slot = self.slot_of(ticket);
        let (now, reaped) = (io.now().moment, self.reaped);
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        let (id, latency) = (fetch.order.upstream, reaped - fetch.since);
        if GATEWAY_ERRORS.contains(&status) {
            return self.mark_failed(io, id, slot, None);
        }
        let (Some(upstream), Some(pool), Some(slot)) = (
            self.settings.upstream(id),
            self.pools.get_mut(usize::from(id.0)),
            slot,
        ) else {
            return;
        };
        pool.heard(slot, latency, now);
        pool.breaker.ended(true, now, &upstream.breaker);
        if upstream.adaptive {
            let busy = pool.busy();
            pool.concurrency
                .observe(latency, busy, upstream.connections_max);
        }
        if let Some(endpoint) = pool.endpoint(slot) {
            endpoint.answered(latency, now, &upstream.ejection);
        }
        let slow = pool.stands_out(slot, &upstream.ejection);
        let endpoint = pool.endpoint(slot).filter(|_| slow);
        let ejected = endpoint.is_some_and(|it| it.too_slow(now, &upstream.ejection));
        if let Some(cells) = self.cells.pool(id) {
            cells.ejections.add(u64::from(ejected));
            cells.broken.set(i64::from(pool.breaker.is_open()));
        }
    }

    /// Whether this is the second connection that a request was sent on.
    pub(crate) fn is_second(&mut self, ticket: Ticket, socket: SocketId) -> bool {
        self.fetches
            .at(ticket)
            .is_some_and(|fetch| fetch.hedge == Some(socket))
    }

    /// Sends on what has waited for its first endpoint for long enough.
    pub(crate) fn hedge_due(&mut self, io: &mut D) {
        let now = io.now().moment;
        for index in 0..self.pools.len() {
            while let Some((ticket, _)) = self
                .pools
                .get_mut(index)
                .and_then(|pool| pool.hedges.pop_front_if(|(_, at)| *at <= now))
            {
                let waits = self.fetches.at(ticket).is_some_and(|fetch| {
                    fetch.stage == Stage::Head && fetch.carry.is_empty() && !fetch.hedged
                });
                if waits {
                    self.hedge(io, ticket);
                }
            }
        }
    }

    /// The first endpoint takes its time: a second one is asked the same.
    fn hedge(&mut self, io: &mut D, ticket: Ticket) {
        let Some(slot) = self.slot_of(ticket) else {
            return;
        };
        if let Some(fetch) = self.fetches.at(ticket) {
            fetch.hedged = true;
        }
        let Some(second) = self.open_second(io, ticket, slot) else {
            return;
        };
        if let Some(fetch) = self.fetches.at(ticket) {
            fetch.hedge = Some(second);
            if let Some(cells) = self.cells.pool(fetch.order.upstream) {
                cells.hedges.add(1);
            }
        }
        if self.conns.at(second).is_some_and(|conn| conn.connected) {
            self.ask_second(ticket, second);
        }
    }

    pub(crate) fn ask_second(&mut self, ticket: Ticket, socket: SocketId) {
        let Some(head) = self.fetches.at(ticket).map(|it| it.order.head.clone()) else {
            return;
        };
        if let Some(conn) = self.conns.at(socket) {
            conn.asked = false;
            conn.output.push(base::Part::Heap(head.into_boxed_slice()));
            self.outbound.push(socket);
        }
    }

    /// Bytes of an answer came on one of two connections: that one it is.
    pub(crate) fn settle_race(&mut self, io: &mut D, ticket: Ticket, socket: SocketId) {
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        let Some(second) = fetch.hedge.take() else {
            return;
        };
        let loser = if second == socket {
            let first = fetch.socket.replace(second);
            fetch.stage = Stage::Head;
            if let Some(cells) = self.cells.pool(fetch.order.upstream) {
                cells.hedges_won.add(1);
            }
            first
        } else {
            Some(second)
        };
        if let Some(loser) = loser {
            self.let_go(io, loser);
        }
    }

    /// The second connection failed: the first one goes on alone.
    pub(crate) fn second_failed(&mut self, io: &mut D, ticket: Ticket) {
        let Some(second) = self.fetches.at(ticket).and_then(|fetch| fetch.hedge) else {
            return;
        };
        let conn = self
            .conns
            .at(second)
            .map(|conn| (conn.upstream, conn.slot, conn.served));
        if let Some((id, slot, 0)) = conn {
            self.mark_failed(io, id, Some(slot), Some(UpstreamError::Reset));
            if let Some(fetch) = self.fetches.at(ticket) {
                fetch.tried.push(slot);
            }
        }
        self.drop_second(io, ticket);
    }

    /// The first connection failed: the second takes its place, if there is one.
    fn promote_second(&mut self, io: &mut D, ticket: Ticket) -> bool {
        let Some(fetch) = self.fetches.at(ticket) else {
            return false;
        };
        let Some(second) = fetch.hedge.take() else {
            return false;
        };
        let first = fetch.socket.replace(second);
        let connected = self.conns.at(second).is_some_and(|conn| conn.connected);
        fetch.stage = if connected {
            Stage::Head
        } else {
            Stage::Connecting
        };
        if let Some(first) = first {
            self.let_go(io, first);
        }
        true
    }

    pub(crate) fn drop_second(&mut self, io: &mut D, ticket: Ticket) {
        if let Some(second) = self.fetches.at(ticket).and_then(|it| it.hedge.take()) {
            self.let_go(io, second);
        }
    }

    fn let_go(&mut self, io: &mut D, socket: SocketId) {
        if let Some(conn) = self.conns.at(socket) {
            conn.fetch = None;
        }
        self.close_conn(io, socket, Closing::Orderly);
    }
}
