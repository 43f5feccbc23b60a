//! A connection for a fetch: an idle one, a new one within the bound of all shards, or a place in the line of those who wait.

use base::{Closing, Driver, Moment, Room, SocketId, UpstreamId};
use cache::NodeStore;
use telemetry::UpstreamError;

use crate::Proxy;
use crate::client::Output;
use crate::fetch::{Conn, Stage};
use crate::table::Ticket;
use crate::upstream::{Ask, Slot, Waiter};
use crate::{Mail, Upstream};

const BUSY: &str = "all connections to the origin are busy";
const BROKEN: &str = "nearly no request to the origin was answered: it is not asked for a moment";
const NOWHERE: &str = "the origin has no endpoint";
/// Spare connections that could not be made are tried again after so long.
const FILL_EVERY: base::Span = base::Span::from_secs(1);

/// No connection to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// The upstream's bound is reached.
    Bound,
    /// The process's is.
    Descriptors,
    /// No endpoint is left to be asked.
    Nowhere,
}

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    /// Finds a new fetch a connection, behind those that wait for one already.
    pub(crate) fn enqueue(&mut self, io: &mut D, ticket: Ticket) {
        let now = io.now().moment;
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        let id = fetch.order.upstream;
        let (Some(upstream), Some(pool)) = (
            self.settings.upstream(id),
            self.pools.get_mut(usize::from(id.0)),
        ) else {
            return;
        };
        if let Some(total) = upstream.total_timeout {
            fetch.total_by = now + total;
        }
        if pool.breaker.admit(now).is_err() {
            return self.fail(io, ticket, UpstreamError::Breaker, 503, BROKEN);
        }
        pool.budget.sent(upstream.retry_percent, now);
        if pool.waiting.is_empty() {
            self.dispatch(io, ticket);
        } else {
            self.wait_for_conn(io, ticket);
        }
    }

    /// Finds a fetch a connection, and sends its request there.
    pub(crate) fn dispatch(&mut self, io: &mut D, ticket: Ticket) {
        match self.take_conn(io, ticket) {
            Ok(socket) => self.ask_if_connected(ticket, socket),
            Err(Refused::Bound) => self.wait_for_conn(io, ticket),
            Err(refused) => self.refuse_fetch(io, ticket, refused),
        }
    }

    fn ask_if_connected(&mut self, ticket: Ticket, socket: SocketId) {
        let connected = self.conns.at(socket).is_some_and(|conn| conn.connected);
        if connected {
            self.ask(ticket, socket);
        }
    }

    fn refuse_fetch(&mut self, io: &mut D, ticket: Ticket, refused: Refused) {
        let (status, reason) = match refused {
            Refused::Bound => (503, BUSY),
            Refused::Descriptors => (503, "no descriptor left for the origin"),
            Refused::Nowhere => (503, NOWHERE),
        };
        self.fail(io, ticket, UpstreamError::Acquire, status, reason);
    }

    /// All connections are busy: the fetch waits its turn, for so long. Where too many do, the least important goes.
    fn wait_for_conn(&mut self, io: &mut D, ticket: Ticket) {
        let since = io.now().moment;
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        let (id, priority) = (fetch.order.upstream, fetch.order.priority);
        let (Some(upstream), Some(pool)) = (
            self.settings.upstream(id),
            self.pools.get_mut(usize::from(id.0)),
        ) else {
            return;
        };
        let first = pool.waiting.is_empty();
        let waiter = Waiter { ticket, since };
        self.waits = true;
        let gone = pool.waiting.join(waiter, priority, upstream.waiting_max);
        self.count_waiting(id);
        if first {
            self.ask_for_spare(id);
            // Somebody may have given one back before our waiting could be seen.
            self.moved_pools = true;
        }
        if let Some(gone) = gone {
            if let Some(cells) = self.cells.pool(id) {
                cells.shed.add(1);
            }
            self.refuse_fetch(io, gone.ticket, Refused::Bound);
        }
    }

    /// Tells who waits, and since when, to those who scrape and to the other shards.
    fn count_waiting(&self, id: UpstreamId) {
        let Some(pool) = self.pools.get(usize::from(id.0)) else {
            return;
        };
        let longest = pool.longest_wait();
        if let Some(cells) = self.cells.pool(id) {
            cells
                .waiting
                .set(i64::try_from(pool.waiting.len()).unwrap_or(i64::MAX));
            cells.waiting_since(longest);
        }
        if let Some(members) = self.origins.of(id) {
            members.permits.wait(self.shard, longest);
        }
    }

    /// Gives connections that became free to those who wait, and lets go of those who waited too long.
    pub(crate) fn serve_waiting(&mut self, io: &mut D) {
        self.moved_pools = false;
        if !std::mem::take(&mut self.waits) {
            return;
        }
        for index in 0..self.pools.len() {
            let mut served = false;
            while let Some((waiter, late)) = self.next_waiting(io, index) {
                let ticket = waiter.ticket;
                if late {
                    self.fail(io, ticket, UpstreamError::Acquire, 503, BUSY);
                    continue;
                }
                match self.take_conn(io, ticket) {
                    Ok(socket) => {
                        served = true;
                        self.waited(io, index, waiter);
                        self.ask_if_connected(ticket, socket);
                    }
                    Err(Refused::Bound) => {
                        self.wait_on(index, waiter);
                        break;
                    }
                    Err(refused) => self.refuse_fetch(io, ticket, refused),
                }
            }
            let waits = self
                .pools
                .get(index)
                .is_some_and(|it| !it.waiting.is_empty());
            self.waits |= waits;
            if served && waits {
                self.ask_for_spare(UpstreamId(u16::try_from(index).unwrap_or(u16::MAX)));
            }
        }
    }

    /// What looked free was not.
    fn wait_on(&mut self, index: usize, waiter: Waiter) {
        let fetch = self.fetches.at(waiter.ticket);
        let priority = fetch.map_or_else(Default::default, |fetch| fetch.order.priority);
        if let Some(pool) = self.pools.get_mut(index) {
            pool.waiting.put_back(waiter, priority);
            self.count_waiting(UpstreamId(u16::try_from(index).unwrap_or(u16::MAX)));
        }
    }

    fn waited(&self, io: &D, index: usize, waiter: Waiter) {
        let id = UpstreamId(u16::try_from(index).unwrap_or(u16::MAX));
        if let Some(cells) = self.cells.pool(id) {
            cells.waited(io.now().moment - waiter.since);
        }
    }

    /// The fetch that is next for a connection, if there may be one, or whose time is up.
    fn next_waiting(&mut self, io: &D, index: usize) -> Option<(Waiter, bool)> {
        let now = io.now().moment;
        let id = UpstreamId(u16::try_from(index).ok()?);
        let pool = self.pools.get_mut(index)?;
        let oldest = pool.waiting.oldest()?;
        let upstream = self.settings.upstream(id)?;
        let permits = &self.origins.of(id)?.permits;
        let free = (pool.has_idle() || permits.has_some()) && !is_at_limit(pool, upstream);
        let late = oldest.since + upstream.acquire_timeout <= now;
        let (waiter, late) = if free {
            (pool.waiting.pop_first()?, false)
        } else if late || self.fetches.at(oldest.ticket).is_none() {
            (pool.waiting.pop_oldest()?, late)
        } else {
            return None;
        };
        self.count_waiting(id);
        Some((waiter, late))
    }

    /// When the fetch that waits longest for a connection gives up, one is sent to a second endpoint, or spare connections are to
    /// be made.
    pub(crate) fn waiting_deadline(&self) -> Option<Moment> {
        if !(self.waits || self.fills || self.hedges || self.moved_pools) {
            return None;
        }
        let pools = self.pools.iter().zip(&self.settings.upstreams);
        let deadlines = pools.filter_map(|(pool, upstream)| {
            let wait = pool.longest_wait();
            let wait = wait.map(|since| since + upstream.acquire_timeout);
            let fill = (pool.open < upstream.connections_min).then_some(pool.next_fill);
            let hedge = pool.hedges.front().map(|(_, at)| *at);
            [wait, fill, hedge].into_iter().flatten().min()
        });
        let now = self.moved_pools.then_some(Moment(0));
        now.or(deadlines.min())
    }

    /// Other shards that have connections to an upstream give up one that idles.
    fn ask_for_spare(&self, id: UpstreamId) {
        if let Some(members) = self.origins.of(id) {
            for other in members.permits.others_with_some(self.shard) {
                self.post.post(other, Mail::Spare(id));
            }
        }
    }

    /// Follows what mail told of origins: lists that changed, connections that other shards wait for.
    pub(crate) fn heed_origins(&mut self, io: &mut D) {
        for id in std::mem::take(&mut self.wanted) {
            let pool = self.pools.get(usize::from(id.0));
            let idle = pool.filter(|pool| pool.waiting.is_empty());
            if let Some(socket) = idle.and_then(crate::upstream::Pool::spare) {
                self.close_conn(io, socket, Closing::Orderly);
            }
        }
        if !std::mem::take(&mut self.origins_moved) {
            return;
        }
        for index in 0..self.pools.len() {
            let id = UpstreamId(u16::try_from(index).unwrap_or(u16::MAX));
            let (Some(pool), Some(members)) = (self.pools.get_mut(index), self.origins.of(id))
            else {
                continue;
            };
            for socket in pool.follow(members) {
                self.close_conn(io, socket, Closing::Orderly);
            }
        }
    }

    fn take_conn(&mut self, io: &mut D, ticket: Ticket) -> Result<SocketId, Refused> {
        let now = io.now().moment;
        let fetch = self.fetches.at(ticket).ok_or(Refused::Nowhere)?;
        let id = fetch.order.upstream;
        let upstream = self.settings.upstream(id).ok_or(Refused::Nowhere)?;
        let pool = self
            .pools
            .get_mut(usize::from(id.0))
            .ok_or(Refused::Nowhere)?;
        if is_at_limit(pool, upstream) {
            if let Some(cells) = self.cells.pool(id) {
                cells.exhausted.add(1);
            }
            return Err(Refused::Bound);
        }
        let ask = Ask {
            balance: upstream.balance,
            hash: fetch.order.hash,
            tried: &fetch.tried,
            may_find_out: fetch.may_repeat(),
            panic_percent: upstream.panic_percent,
            slow_start: upstream.slow_start,
        };
        let slot = pool.choose(&ask, now).ok_or(Refused::Nowhere)?;
        let idle = (!fetch.fresh_only).then(|| pool.take_idle(slot)).flatten();
        if let Some(socket) = idle {
            self.reuse(io, ticket, socket);
            return Ok(socket);
        }
        if !self.may_open(id) {
            return self.take_other(io, ticket, slot);
        }
        self.connect(io, ticket, slot)
    }

    /// Takes a permit for one more connection.
    fn may_open(&self, id: UpstreamId) -> bool {
        let members = self.origins.of(id);
        members.is_some_and(|members| members.permits.take(self.shard))
    }

    /// At the bound: any endpoint's idle connection will do; one to an endpoint that is not to be asked makes room for another.
    fn take_other(&mut self, io: &mut D, ticket: Ticket, slot: Slot) -> Result<SocketId, Refused> {
        let fetch = self.fetches.at(ticket).ok_or(Refused::Nowhere)?;
        let id = fetch.order.upstream;
        let fresh_only = fetch.fresh_only;
        let pool = self
            .pools
            .get_mut(usize::from(id.0))
            .ok_or(Refused::Nowhere)?;
        let other = if fresh_only {
            None
        } else {
            pool.take_any_idle()
        };
        if let Some((_, socket)) = other {
            self.reuse(io, ticket, socket);
            return Ok(socket);
        }
        if let Some(spare) = pool.spare() {
            self.close_conn(io, spare, Closing::Orderly);
            if self.may_open(id) {
                return self.connect(io, ticket, slot);
            }
        }
        if let Some(cells) = self.cells.pool(id) {
            cells.exhausted.add(1);
        }
        Err(Refused::Bound)
    }

    /// A fetch takes over an idle connection.
    fn reuse(&mut self, io: &D, ticket: Ticket, socket: SocketId) {
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        if let Some(conn) = self.conns.at(socket) {
            conn.pooled = false;
            conn.busy = true;
            conn.fetch = Some(ticket);
            conn.served = conn.served.saturating_add(1);
        }
        fetch.socket = Some(socket);
        fetch.since = io.stamp();
        if let Some(cells) = self.cells.pool(fetch.order.upstream) {
            cells.idle.add(-1);
            cells.active.add(1);
            cells.reused.add(1);
        }
    }

    /// Opens a connection for a fetch, with a permit that was taken for it.
    fn connect(&mut self, io: &mut D, ticket: Ticket, slot: Slot) -> Result<SocketId, Refused> {
        let Some(fetch) = self.fetches.at(ticket) else {
            return Err(Refused::Nowhere);
        };
        let (id, total_by) = (fetch.order.upstream, fetch.total_by);
        let socket = self.open(io, id, slot, Some(ticket))?;
        if let Some(fetch) = self.fetches.at(ticket) {
            fetch.socket = Some(socket);
            fetch.since = io.stamp();
            fetch.stage = Stage::Connecting;
        }
        if let Some(conn) = self.conns.at(socket) {
            let deadline = conn.deadline.min(total_by);
            self.set_conn_deadline(socket, deadline);
        }
        Ok(socket)
    }

    /// Opens a connection with a permit that was taken for it, and gives that back where it cannot.
    fn open(
        &mut self,
        io: &mut D,
        id: UpstreamId,
        slot: Slot,
        ticket: Option<Ticket>,
    ) -> Result<SocketId, Refused> {
        let now = io.now().moment;
        let upstream = self.settings.upstream(id).ok_or(Refused::Nowhere)?;
        let pool = self.pools.get_mut(usize::from(id.0));
        let endpoint = pool.and_then(|pool| pool.endpoint(slot).cloned());
        let Some(socket) = endpoint.and_then(|it| io.connect(it.address).ok()) else {
            self.return_permit(id);
            return Err(Refused::Descriptors);
        };
        if let Some(pool) = self.pools.get_mut(usize::from(id.0)) {
            pool.opened(slot, ticket.is_some());
        }
        let deadline = now + upstream.connect_timeout;
        self.cells.upstream_connects.add(1);
        self.cells.upstreams.add(1);
        if let Some(cells) = self.cells.pool(id) {
            cells.active.add(1);
        }
        let conn = Conn {
            upstream: id,
            slot,
            fetch: ticket,
            busy: ticket.is_some(),
            connected: false,
            receiving: false,
            output: Output::new(),
            sending: false,
            tunnel: false,
            ending: false,
            shut: false,
            pooled: false,
            asked: false,
            born: now,
            served: 0,
            deadline,
            scheduled: Moment(u64::MAX),
        };
        self.conns.insert(socket, Box::new(conn));
        self.set_conn_deadline(socket, deadline);
        Ok(socket)
    }

    /// A second connection for a fetch, to an endpoint that it does not ask yet; none where that would be at others' cost.
    pub(crate) fn open_second(
        &mut self,
        io: &mut D,
        ticket: Ticket,
        first: Slot,
    ) -> Option<SocketId> {
        let now = io.now().moment;
        let fetch = self.fetches.at(ticket)?;
        let id = fetch.order.upstream;
        let mut tried = fetch.tried.clone();
        tried.push(first);
        let upstream = self.settings.upstream(id)?;
        let pool = self.pools.get_mut(usize::from(id.0))?;
        if !pool.waiting.is_empty() || is_at_limit(pool, upstream) {
            return None;
        }
        let ask = Ask {
            balance: upstream.balance,
            hash: fetch.order.hash,
            tried: &tried,
            may_find_out: false,
            panic_percent: upstream.panic_percent,
            slow_start: upstream.slow_start,
        };
        let slot = pool.choose(&ask, now)?;
        if !pool.budget.take(now) {
            return None;
        }
        if let Some(socket) = pool.take_idle(slot) {
            if let Some(conn) = self.conns.at(socket) {
                conn.pooled = false;
                conn.busy = true;
                conn.fetch = Some(ticket);
                conn.served = conn.served.saturating_add(1);
            }
            if let Some(cells) = self.cells.pool(id) {
                cells.idle.add(-1);
                cells.active.add(1);
                cells.reused.add(1);
            }
            return Some(socket);
        }
        if !self.may_open(id) {
            return None;
        }
        self.open(io, id, slot, Some(ticket)).ok()
    }

    /// Keeps as many connections open as are wanted without being asked for.
    pub(crate) fn fill_pools(&mut self, io: &mut D) {
        let now = io.now().moment;
        for index in 0..self.pools.len() {
            let id = UpstreamId(u16::try_from(index).unwrap_or(u16::MAX));
            let (Some(pool), Some(upstream)) =
                (self.pools.get_mut(index), self.settings.upstream(id))
            else {
                continue;
            };
            if pool.open >= upstream.connections_min || pool.next_fill > now || self.draining {
                continue;
            }
            pool.next_fill = now + FILL_EVERY;
            let ask = Ask {
                balance: crate::Balance::RoundRobin,
                hash: 0,
                tried: &[],
                may_find_out: false,
                panic_percent: 0,
                slow_start: upstream.slow_start,
            };
            let missing = upstream.connections_min - pool.open;
            let slots: Vec<Slot> = (0..missing).map_while(|_| pool.choose(&ask, now)).collect();
            for slot in slots {
                if !self.may_open(id) || self.open(io, id, slot, None).is_err() {
                    break;
                }
            }
        }
    }

    /// A connection that stands and was not asked for waits in the pool.
    pub(crate) fn rest_spare(&mut self, io: &mut D, socket: SocketId) {
        let now = io.now().moment;
        let Some(conn) = self.conns.at(socket) else {
            return;
        };
        conn.connected = true;
        conn.receiving = true;
        let (id, slot) = (conn.upstream, conn.slot);
        io.receive(socket, Room::Large);
        let pool = self.pools.get_mut(usize::from(id.0));
        let rests = pool.is_some_and(|pool| pool.rest(slot, socket));
        let upstream = self.settings.upstream(id).filter(|_| rests);
        let (Some(conn), Some(upstream)) = (self.conns.at(socket), upstream) else {
            return self.close_conn(io, socket, Closing::Orderly);
        };
        conn.pooled = true;
        if let Some(cells) = self.cells.pool(id) {
            cells.active.add(-1);
            cells.idle.add(1);
        }
        let deadline = now + upstream.pool_idle_timeout;
        self.set_conn_deadline(socket, deadline);
        self.moved_pools = true;
    }

    /// A permit is free again: whoever waits longest elsewhere is told.
    pub(crate) fn return_permit(&mut self, id: UpstreamId) {
        if let Some(members) = self.origins.of(id)
            && let Some(other) = members.permits.give_back(self.shard)
        {
            self.post.post(other, Mail::Origins);
        }
    }
}

/// As many requests are under way as the origin's latency allows.
fn is_at_limit(pool: &crate::upstream::Pool, upstream: &Upstream) -> bool {
    upstream.adaptive && pool.busy() >= pool.concurrency.limit()
}
