//! The story of connections: a request is read, decided on, served from the cache or fetched from an origin, the answer
//! is written, the next request is read. Sans-I/O: completions come in, operations go out through the driver seam, time
//! comes with them. One [`Proxy`] belongs to one shard and is used by its thread alone.
//!
//! Who owns what: a [`client::Client`] its input, output and the one exchange under way; a [`fetch::Fetch`] the request to
//! an origin and what comes of it; a [`fetch::Conn`] the origin's connection; the [`cache`] crate's objects the bytes that
//! are kept. They name each other by id, never by reference, so that each may end before the others.
//!
//! Deliberately absent: clocks, sockets, random sources, threads, and any queue without a bound.

mod address;
mod answer;
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
mod wheel;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use base::{Completion, Driver, Fault, Moment, ShardId, SocketId, Span, Stamp};
use cache::{Flight, FlightId, Flights, Front, KeyHasher, NodeStore, Resident};
use http::FieldTable;
use telemetry::ShardCells;

use crate::notes::Notes;

pub use forwarding::{ForwardedFields, Forwarding};
pub use rewrite::{FieldEdits, Rewrite, Variable};
pub use settings::{Limits, Route, Settings, Upstream};

use answer::DateCache;
use client::{Client, Work};
use fetch::{Conn, Fetch, Pool};
use index_turn::Landing;
use scribe::Scribe;
use table::{Arena, Table, Ticket};
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
        let pools = parts.settings.upstreams.iter();
        Self {
            shard: parts.shard,
            pools: pools
                .map(|upstream| Pool::new(upstream.endpoints.len()))
                .collect(),
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
            Completion::Received { socket, buffer } => {
                if self.clients.at(socket).is_some() {
                    self.client_received(io, socket, buffer);
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
            #[cfg(feature = "faults")]
            Mail::Panic => panic!("planted"),
        }
    }

    /// Messages were lost at the mailbox's bound: looks at everything a message could have been about.
    pub fn mail_lost(&mut self) {
        self.moved.extend(self.followers.keys().copied());
    }

    /// Ends a turn: timers, followers, and every connection's one send.
    pub fn end_turn(&mut self, io: &mut D) {
        let now = io.now();
        if self.wheel.is_due(now.moment) {
            self.expire(io, now.moment);
        }
        self.land_some(io);
        self.quench(io);
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
