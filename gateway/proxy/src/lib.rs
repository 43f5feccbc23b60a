//! The story of connections: a request is read, decided on, served from the cache or fetched from an origin, the answer
//! is written, the next request is read. Sans-I/O: completions come in, operations go out through the driver seam, time
//! comes with them. One [`Proxy`] belongs to one shard and is used by its thread alone.
//!
//! Who owns what: a [`client::Client`] its input, output and the one exchange under way; a [`fetch::Fetch`] the request to
//! an origin and what comes of it; a [`fetch::Conn`] the origin's connection; the [`cache`] crate's objects the bytes that
//! are kept. They name each other by id, never by reference, so that each may end before the others.
//!
//! Deliberately absent: clocks, sockets, random sources, threads, and any queue without a bound.

mod acquire;
mod address;
mod answer;
mod attempt;
mod body;
mod client;
mod closing;
mod completion;
mod decide;
mod fetch;
mod follow;
mod forwarding;
mod index_turn;
mod lookup;
mod notes;
mod origin;
mod origin_answer;
mod origin_body;
mod preface;
mod present;
mod read;
mod request;
mod rewrite;
mod scribe;
mod serve;
mod settings;
mod table;
mod timeouts;
mod timing;
mod upload;
mod upstream;
mod wheel;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use base::{Completion, Driver, Fault, Moment, ShardId, SocketId, Span, Stamp, UpstreamId};
use cache::{Flight, FlightId, Flights, Front, KeyHasher, NodeStore, Resident};
use http::FieldTable;
use telemetry::ShardCells;

use crate::notes::Notes;

pub use forwarding::{ForwardedFields, Forwarding};
pub use rewrite::{FieldEdits, Rewrite, Variable};
pub use settings::{Limits, Route, Settings, Upstream};
pub use upstream::{
    Balance, BreakerRules, Ejection, Endpoint, Member, Members, Origins, Priority, State,
};

use answer::DateCache;
use client::{Client, Work};
use fetch::{Conn, Fetch};
use index_turn::Landing;
use scribe::Scribe;
use table::{Arena, Table, Ticket};
use upstream::Pool;
use wheel::Wheel;

/// What a proxy is built from.
pub struct Parts<D: Driver, S> {
    /// Which shard.
    pub shard: ShardId,
    /// What configuration decides.
    pub settings: Arc<Settings>,
    /// Where it counts; this proxy is their one writer.
    pub cells: Arc<ShardCells>,
    /// The slab that stored bodies live in.
    pub memory: D::Memory,
    /// The index that all shards share.
    pub store: Arc<S>,
    /// Fetches that all shards may follow.
    pub flights: Arc<Flights<D::Memory>>,
    /// The process's key hasher.
    pub hasher: KeyHasher,
    /// A random number, for request ids.
    pub seed: u64,
    /// The built-in pages until new ones are mailed.
    pub pages: Arc<Pages>,
    /// The endpoints of upstreams, which all shards share.
    pub origins: Arc<Origins>,
    /// The other shards' mailboxes.
    pub post: Arc<dyn Post>,
}

/// Mail to other shards. A message may be lost as long as its receiver then looks at everything it could have been about.
pub trait Post: Send + Sync {
    /// Sends one; must not wait.
    fn post(&self, shard: ShardId, mail: Mail);
}

impl<D: Driver, S> Clone for Parts<D, S> {
    fn clone(&self) -> Self {
        Self {
            shard: self.shard,
            settings: Arc::clone(&self.settings),
            cells: Arc::clone(&self.cells),
            memory: self.memory.clone(),
            store: Arc::clone(&self.store),
            flights: Arc::clone(&self.flights),
            hasher: self.hasher.clone(),
            seed: self.seed,
            pages: Arc::clone(&self.pages),
            origins: Arc::clone(&self.origins),
            post: Arc::clone(&self.post),
        }
    }
}

/// The bodies of the built-in paths, rendered by the control thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// Status of both: 200 or 503.
    pub status: u16,
    /// The short health answer, JSON.
    pub health: Vec<u8>,
    /// The status summary, JSON.
    pub summary: Vec<u8>,
}

/// A message to a shard.
#[derive(Clone, Debug)]
pub enum Mail {
    /// A flight that this shard follows has something new.
    Flight(FlightId),
    /// New built-in pages.
    Pages(Arc<Pages>),
    /// The endpoints of an upstream changed, or a connection to it may be had: who waits for one looks again.
    Origins,
    /// Another shard waits for a connection to this upstream: one that idles is given up.
    Spare(UpstreamId),
    /// Panics in the receiving shard's turn, for the test that a panic costs one shard's connections only.
    #[cfg(feature = "faults")]
    Panic,
}

/// The connections, exchanges and fetches of one shard.
pub struct Proxy<D: Driver, S> {
    shard: ShardId,
    settings: Arc<Settings>,
    cells: Arc<ShardCells>,
    memory: D::Memory,
    store: Arc<S>,
    flights: Arc<Flights<D::Memory>>,
    hasher: KeyHasher,
    front: Front<D::Memory>,
    clients: Table<Client<D>>,
    /// Of the clients those that are only being refused.
    refused: usize,
    conns: Table<Box<Conn<D>>>,
    pools: Vec<Pool>,
    origins: Arc<Origins>,
    post: Arc<dyn Post>,
    /// Upstreams of which other shards want a connection.
    wanted: Vec<UpstreamId>,
    /// Lists of endpoints changed.
    origins_moved: bool,
    /// Somebody waits for a connection.
    waits: bool,
    /// Who waits for a connection may find one now.
    moved_pools: bool,
    /// Some upstream keeps connections without being asked.
    fills: bool,
    /// Some upstream's requests may go to a second endpoint.
    hedges: bool,
    fetches: Arena<Box<Fetch<D>>>,
    followers: HashMap<FlightId, Followers<D>>,
    /// Flights that a fetch of this shard leads.
    leading: HashMap<FlightId, Ticket>,
    /// Flights with something new, looked at once at the end of the turn.
    moved: Vec<FlightId>,
    /// Clients with something to send, sent once at the end of the turn.
    dirty: Vec<SocketId>,
    /// Origins' connections with something to send, likewise.
    outbound: Vec<SocketId>,
    /// Clients that wait for a scratch buffer.
    parched: Vec<SocketId>,
    /// Works for the next clients that need one; boxed, for they move between here and their clients.
    #[allow(clippy::vec_box)]
    works: Vec<Box<Work<D>>>,
    wheel: Wheel,
    due: Vec<SocketId>,
    /// Lent to whoever parses a head.
    table: Option<FieldTable>,
    host: Vec<u8>,
    /// For whoever tells variants apart.
    selected: Vec<u8>,
    date: DateCache,
    pages: Arc<Pages>,
    id_seed: u64,
    id_count: u64,
    /// What this turn's calls of the index took.
    index_spent: Span,
    /// What the turn before did.
    index_turn: Span,
    /// Clients whose next request waits for the index's next turn.
    put_off: Vec<SocketId>,
    landings: VecDeque<Landing<D::Memory>>,
    reaped: Stamp,
    /// When the last answer made at once was encoded.
    encoded: Stamp,
    /// Completions of this turn.
    backlog: u32,
    notes: Notes,
    scribe: Scribe,
    draining: bool,
}

/// Who on this shard waits for a flight.
struct Followers<D: Driver> {
    flight: Arc<Flight<D::Memory>>,
    resident: Option<Rc<Resident<D::Memory>>>,
    clients: Vec<SocketId>,
}

/// Works kept for reuse; more are freed.
const WORKS_KEPT: usize = 4_096;
/// Front entries looked at each turn for dead ones.
const SWEEP_ENTRIES: usize = 2;

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    /// A proxy without connections. `now` starts its timers.
    #[must_use]
    pub fn new(parts: Parts<D, S>, now: Moment) -> Self {
        let (shard, seed) = (parts.shard, parts.seed);
        let pools = parts.origins.all().map(|(_, members)| {
            members.permits.forget(shard);
            Pool::new(members, shard, seed, now)
        });
        let upstreams = parts.settings.upstreams.iter();
        Self {
            shard,
            pools: pools.collect(),
            fills: upstreams.clone().any(|it| it.connections_min > 0),
            hedges: upstreams.clone().any(|it| it.hedge_after.is_some()),
            front: Front::new(parts.settings.front_objects),
            notes: Notes::new(&parts.settings),
            scribe: Scribe::new(&parts.settings, Arc::clone(&parts.cells)),
            settings: parts.settings,
            cells: parts.cells,
            memory: parts.memory,
            store: parts.store,
            flights: parts.flights,
            hasher: parts.hasher,
            clients: Table::new(),
            refused: 0,
            conns: Table::new(),
            origins: parts.origins,
            post: parts.post,
            wanted: Vec::new(),
            origins_moved: false,
            waits: false,
            moved_pools: false,
            fetches: Arena::new(),
            followers: HashMap::new(),
            leading: HashMap::new(),
            moved: Vec::new(),
            dirty: Vec::new(),
            outbound: Vec::new(),
            parched: Vec::new(),
            works: Vec::new(),
            wheel: Wheel::new(now),
            due: Vec::new(),
            table: Some(FieldTable::new()),
            host: Vec::new(),
            selected: Vec::new(),
            date: DateCache::new(),
            pages: parts.pages,
            id_seed: parts.seed,
            id_count: 0,
            index_spent: Span(0),
            index_turn: Span(0),
            put_off: Vec::new(),
            landings: VecDeque::new(),
            reaped: Stamp(0),
            encoded: Stamp(0),
            backlog: 0,
            draining: false,
        }
    }

    /// Begins a turn: call once before its completions are handed in, with the stamp at which they were reaped and how many
    /// there are.
    pub fn begin_turn(&mut self, io: &mut D, reaped: Stamp, completions: usize) {
        self.reaped = reaped;
        self.backlog = u32::try_from(completions).unwrap_or(u32::MAX);
        self.resume_put_off(io);
    }

    /// Takes one completion.
    pub fn complete(&mut self, io: &mut D, completion: Completion<D>) {
        match completion {
            Completion::Received {
                socket,
                buffer,
                came,
            } => {
                if self.clients.at(socket).is_some() {
                    self.client_received(io, socket, buffer, came);
                } else {
                    self.origin_received(io, socket, buffer);
                }
            }
            Completion::Sent { socket } => {
                if self.clients.at(socket).is_some() {
                    self.client_sent(io, socket);
                } else {
                    self.origin_sent(io, socket);
                }
            }
            Completion::Accepted { socket, .. } => self.accepted(io, socket),
            Completion::Connected { socket } => self.origin_connected(io, socket),
            Completion::Ended { socket } => {
                if self.clients.at(socket).is_some() {
                    self.client_ended(io, socket);
                } else {
                    self.origin_ended(io, socket);
                }
            }
            Completion::Failed { socket, fault } => {
                if self.clients.at(socket).is_some() {
                    self.client_gone(io, socket);
                } else {
                    self.origin_failed(io, socket, fault);
                }
            }
            Completion::AcceptFailed { fault, .. } => match fault {
                Fault::Descriptors => self.cells.accept_no_descriptor.add(1),
                _ => self.cells.accept_no_resource.add(1),
            },
            Completion::Woken => {}
        }
    }

    /// Takes one message.
    pub fn mail(&mut self, mail: Mail) {
        match mail {
            Mail::Flight(flight) => self.moved.push(flight),
            Mail::Pages(pages) => self.pages = pages,
            Mail::Origins => self.origins_moved = true,
            Mail::Spare(upstream) => self.wanted.push(upstream),
            #[cfg(feature = "faults")]
            Mail::Panic => panic!("planted"),
        }
    }

    /// Messages were lost at the mailbox's bound: looks at everything a message could have been about.
    pub fn mail_lost(&mut self) {
        self.moved.extend(self.followers.keys().copied());
        self.origins_moved = true;
        let upstreams = self.origins.all().map(|(id, _)| id);
        self.wanted.extend(upstreams);
    }

    /// Ends a turn: timers, followers, and every connection's one send.
    pub fn end_turn(&mut self, io: &mut D) {
        let now = io.now();
        if self.wheel.is_due(now.moment) {
            self.expire(io, now.moment);
        }
        self.land_some(io);
        self.quench(io);
        if self.origins_moved || !self.wanted.is_empty() {
            self.heed_origins(io);
        }
        if self.fills {
            self.fill_pools(io);
        }
        if self.hedges {
            self.hedge_due(io);
        }
        // Each pass serves what the one before set in motion; a client's step is bounded by its window.
        loop {
            self.serve_waiting(io);
            if self.moved.is_empty() && self.dirty.is_empty() {
                break;
            }
            let mut moved = std::mem::take(&mut self.moved);
            moved.sort_unstable();
            moved.dedup();
            for flight in moved.drain(..) {
                self.flight_moved(io, flight);
            }
            if self.moved.is_empty() {
                self.moved = moved;
            }
            let mut dirty = std::mem::take(&mut self.dirty);
            for socket in dirty.drain(..) {
                self.flush(io, socket);
            }
            if self.dirty.is_empty() {
                self.dirty = dirty;
            }
        }
        while let Some(socket) = self.outbound.pop() {
            self.send_to_origin(io, socket);
        }
        let dropped = self.front.sweep(SWEEP_ENTRIES);
        if dropped > 0 {
            self.cells.front_evictions.add(dropped as u64);
        }
        self.scribe.hand_over();
        self.close_index_turn();
    }

    /// When the loop must turn at the latest for a deadline's sake.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        if self.has_put_off() {
            return Some(Moment(0));
        }
        match (self.wheel.next(), self.waiting_deadline()) {
            (Some(wheel), Some(waiting)) => Some(wheel.min(waiting)),
            (wheel, waiting) => wheel.or(waiting),
        }
    }

    /// Client connections open.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Requests to origins under way.
    #[must_use]
    pub fn fetches(&self) -> usize {
        self.fetches.len()
    }

    /// Whether a drain has nothing left to finish.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.draining && self.clients.len() == 0
    }

    /// Lists a client for the end of the turn.
    fn touch(&mut self, socket: SocketId) {
        if let Some(client) = self.clients.at(socket)
            && !client.dirty
        {
            client.dirty = true;
            self.dirty.push(socket);
        }
    }
}
