//! A driver on paper: sockets are byte vectors, time stands until it is moved. For stories of the proxy without a kernel,
//! and for counting the instructions and allocations of a hit.

#![allow(dead_code, unreachable_pub)] // each story uses its part

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use base::{
    Closing, Completion, Doorbell, Driver, DriverCounters, Fault, Full, ListenerId, Moment, Now,
    Part, Room, Scratch, ShardId, SocketId, Span, Stamp, Taken, UpstreamId, Wall, limits,
};
use cache::policy::Rules;
use cache::{Flights, HeapMemory, KeyHasher, Notify, StoreLimits, StripedStore};
use proxy::{Mail, Member, Origins, Pages, Parts, Post, Proxy, Route, Settings, Upstream};
use telemetry::ShardCells;

/// When every story begins.
pub const START: Wall = Wall::from_secs(1_800_000_000);

pub type Store = StripedStore<HeapMemory>;

/// The driver.
pub struct Paper {
    pub now: Now,
    pub sockets: Vec<Socket>,
    /// Connections asked for and not yet answered.
    pub connects: VecDeque<SocketId>,
    /// Sends stay unfinished until [`Paper::release`].
    pub hold_sends: bool,
    /// What goes to origins is not held.
    pub hold_clients_only: bool,
    /// Every stamp is so much later than the one before.
    pub stamp_step: u64,
    stamps: Cell<u64>,
    outward: Vec<u32>,
    completions: Vec<Completion<Paper>>,
    held: Vec<SocketId>,
    received: Pool,
    scratch: Pool,
    /// What was sent is kept; off for counting.
    pub keep: bool,
    /// Free receive buffers, as the driver tells them.
    pub free: usize,
    /// Received buffers that were not given back.
    pub lent: Rc<Cell<usize>>,
}

/// A socket on paper.
#[derive(Default)]
pub struct Socket {
    /// Of an origin's.
    pub address: Option<SocketAddr>,
    pub sent: Vec<u8>,
    pub sends: usize,
    pub sending: bool,
    pub receiving: bool,
    pub shut: bool,
    pub closed: Option<Closing>,
}

type Pool = Rc<RefCell<Vec<Vec<u8>>>>;

pub struct Received {
    bytes: Vec<u8>,
    pool: Pool,
    lent: Rc<Cell<usize>>,
}

pub struct ScratchBuffer {
    bytes: Vec<u8>,
    len: usize,
    pool: Pool,
}

struct NoBell;

impl Doorbell for NoBell {
    fn ring(&self) {}
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.lent.set(self.lent.get() - 1);
        self.pool.borrow_mut().push(std::mem::take(&mut self.bytes));
    }
}

impl Deref for ScratchBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Scratch for ScratchBuffer {
    fn spare(&mut self) -> &mut [u8] {
        &mut self.bytes[self.len..]
    }

    fn advance(&mut self, count: usize) {
        self.len = (self.len + count).min(self.bytes.len());
    }
}

impl Drop for ScratchBuffer {
    fn drop(&mut self) {
        self.pool.borrow_mut().push(std::mem::take(&mut self.bytes));
    }
}

impl Paper {
    pub fn new() -> Self {
        Self {
            now: Now {
                moment: Moment(1_000_000_000),
                wall: START,
            },
            sockets: Vec::new(),
            connects: VecDeque::new(),
            hold_sends: false,
            hold_clients_only: false,
            stamp_step: 0,
            stamps: Cell::new(0),
            outward: Vec::new(),
            completions: Vec::new(),
            held: Vec::new(),
            received: Rc::default(),
            scratch: Rc::default(),
            keep: true,
            free: 1024,
            lent: Rc::default(),
        }
    }

    pub fn open(&mut self) -> SocketId {
        self.sockets.push(Socket::default());
        SocketId {
            index: (self.sockets.len() - 1) as u32,
            generation: 0,
        }
    }

    /// A buffer with these bytes, as the kernel would fill it.
    pub fn buffer(&self, bytes: &[u8]) -> Received {
        let mut buffer = self.received.borrow_mut().pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        self.lent.set(self.lent.get() + 1);
        Received {
            bytes: buffer,
            pool: Rc::clone(&self.received),
            lent: Rc::clone(&self.lent),
        }
    }

    /// Finishes the sends that were held.
    pub fn release(&mut self) {
        for socket in std::mem::take(&mut self.held) {
            self.finish(socket);
        }
    }

    fn finish(&mut self, socket: SocketId) {
        let state = &mut self.sockets[socket.index as usize];
        state.sending = false;
        if state.closed.is_none() {
            self.completions.push(Completion::Sent { socket });
        }
    }

    pub fn take(&mut self, out: &mut Vec<Completion<Self>>) {
        out.append(&mut self.completions);
    }
}

impl Driver for Paper {
    type Memory = HeapMemory;
    type Received = Received;
    type Scratch = ScratchBuffer;

    fn now(&self) -> Now {
        self.now
    }

    fn stamp(&self) -> Stamp {
        self.stamps.set(self.stamps.get() + self.stamp_step);
        Stamp(self.now.moment.0 + self.stamps.get())
    }

    fn arrival(&self) -> Stamp {
        Stamp(self.now.moment.0 + self.stamps.get())
    }

    fn scratch(&mut self) -> Option<ScratchBuffer> {
        let mut bytes = self.scratch.borrow_mut().pop().unwrap_or_default();
        bytes.resize(limits::SCRATCH_BYTES, 0);
        Some(ScratchBuffer {
            bytes,
            len: 0,
            pool: Rc::clone(&self.scratch),
        })
    }

    fn buffers_free(&self, _: Room) -> usize {
        self.free
    }

    fn accept(&mut self, _: ListenerId, _: bool) {}

    fn unlisten(&mut self, _: ListenerId) {}

    fn connect(&mut self, address: SocketAddr) -> Result<SocketId, Full> {
        let socket = self.open();
        self.sockets[socket.index as usize].address = Some(address);
        self.connects.push_back(socket);
        self.outward.push(socket.index);
        Ok(socket)
    }

    fn receive(&mut self, socket: SocketId, _: Room) {
        self.sockets[socket.index as usize].receiving = true;
    }

    fn pause(&mut self, socket: SocketId) {
        self.sockets[socket.index as usize].receiving = false;
    }

    fn send(&mut self, socket: SocketId, parts: &mut Vec<Part<Self>>) {
        let state = &mut self.sockets[socket.index as usize];
        assert!(!state.sending, "one send a socket at a time");
        assert!(state.closed.is_none() && !state.shut);
        assert!(parts.len() <= limits::PARTS_MAX, "{} parts", parts.len());
        state.sending = true;
        state.sends += 1;
        if self.keep {
            for part in parts.iter() {
                state.sent.extend_from_slice(part.bytes());
            }
        }
        parts.clear();
        if self.hold_sends && !(self.hold_clients_only && self.outward.contains(&socket.index)) {
            self.held.push(socket);
        } else {
            self.finish(socket);
        }
    }

    fn shutdown(&mut self, socket: SocketId) {
        let state = &mut self.sockets[socket.index as usize];
        assert!(!state.shut, "ended twice");
        state.shut = true;
    }

    fn close(&mut self, socket: SocketId, how: Closing) {
        let state = &mut self.sockets[socket.index as usize];
        assert!(state.closed.is_none(), "closed twice");
        state.closed = Some(how);
    }

    fn peer(&self, _: SocketId) -> Option<SocketAddr> {
        None
    }

    fn local(&self, _: SocketId) -> Option<SocketAddr> {
        None
    }

    fn turn(&mut self, _: Option<Moment>, out: &mut Vec<Completion<Self>>) -> std::io::Result<()> {
        self.take(out);
        Ok(())
    }

    fn quiesce(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn doorbell(&self) -> Arc<dyn Doorbell> {
        Arc::new(NoBell)
    }

    fn idle(&self) -> Span {
        Span(0)
    }

    fn taken(&mut self) -> Option<Taken> {
        None
    }

    fn counters(&self) -> DriverCounters {
        DriverCounters::default()
    }
}

/// The mailboxes of all shards in one.
#[derive(Default)]
struct Notices(Mutex<Vec<(ShardId, Mail)>>);

impl Notices {
    fn take(&self, shard: ShardId) -> Vec<Mail> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = all.extract_if(.., |(to, _)| *to == shard);
        mine.map(|(_, mail)| mail).collect()
    }
}

impl Notify for Notices {
    fn flight(&self, shard: ShardId, flight: cache::FlightId) {
        self.post(shard, Mail::Flight(flight));
    }
}

impl Post for Notices {
    fn post(&self, shard: ShardId, mail: Mail) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((shard, mail));
    }
}

/// What the shards of one node share.
struct Node {
    settings: Arc<Settings>,
    memory: HeapMemory,
    store: Arc<Store>,
    flights: Arc<Flights<HeapMemory>>,
    origins: Arc<Origins>,
    notices: Arc<Notices>,
}

/// A proxy on the paper driver, with one route to one upstream of one endpoint.
pub struct World {
    pub io: Paper,
    pub proxy: Proxy<Paper, Store>,
    pub cells: Arc<ShardCells>,
    pub memory: HeapMemory,
    shard: ShardId,
    notices: Arc<Notices>,
    batch: Vec<Completion<Paper>>,
}

impl Node {
    fn new(adjust: impl FnOnce(&mut Settings), memory_bytes: u64) -> Self {
        Self::by(Rules::default(), adjust, memory_bytes)
    }

    fn by(rules: Rules, adjust: impl FnOnce(&mut Settings), memory_bytes: u64) -> Self {
        let route = Route {
            rules,
            ..Route::new(base::RouteId(0), "/", UpstreamId(0))
        };
        let endpoint = Member::new(SocketAddr::from(([127, 0, 0, 1], 1)));
        let upstream = Upstream::new("origin", vec![endpoint]);
        let mut settings = Settings::new(vec![route], vec![upstream]);
        settings.front_objects = 1024;
        adjust(&mut settings);
        let notices = Arc::new(Notices::default());
        Self {
            origins: Origins::new(&settings, 2),
            settings: Arc::new(settings),
            memory: HeapMemory::new(memory_bytes),
            store: Arc::new(StripedStore::new(StoreLimits {
                objects: 1000,
                bytes: 64 << 20,
            })),
            flights: Arc::new(Flights::new(Arc::clone(&notices) as _)),
            notices,
        }
    }

    fn shard(&self, id: u16) -> World {
        let shard = ShardId(id);
        let mut cells = ShardCells::new(shard, 1).with_pools(1);
        if self.settings.log_one_in.is_some() {
            cells = cells.with_access_log();
        }
        let cells = Arc::new(cells);
        let io = Paper::new();
        let parts = Parts {
            shard,
            settings: Arc::clone(&self.settings),
            cells: Arc::clone(&cells),
            memory: self.memory.clone(),
            store: Arc::clone(&self.store),
            flights: Arc::clone(&self.flights),
            hasher: KeyHasher::new([1, 2]),
            seed: 3,
            pages: Arc::new(Pages {
                status: 200,
                health: b"{\"status\":\"healthy\"}".to_vec(),
                summary: b"{}".to_vec(),
            }),
            origins: Arc::clone(&self.origins),
            post: Arc::clone(&self.notices) as _,
        };
        World {
            proxy: Proxy::new(parts, io.now.moment),
            io,
            cells,
            memory: self.memory.clone(),
            shard,
            notices: Arc::clone(&self.notices),
            batch: Vec::new(),
        }
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(|_| {}, 64 << 20)
    }

    pub fn with(adjust: impl FnOnce(&mut Settings), memory_bytes: u64) -> Self {
        Node::new(adjust, memory_bytes).shard(0)
    }

    /// One whose route has these rules.
    pub fn by(rules: Rules) -> Self {
        Node::by(rules, |_| {}, 64 << 20).shard(0)
    }

    pub fn pair_by(
        rules: Rules,
        adjust: impl FnOnce(&mut Settings),
        memory_bytes: u64,
    ) -> (Self, Self) {
        let node = Node::by(rules, adjust, memory_bytes);
        (node.shard(0), node.shard(1))
    }

    /// Two shards of one node whose upstream is adjusted, and its endpoints.
    pub fn pair_before(adjust: impl FnOnce(&mut Upstream)) -> (Self, Self, Arc<Origins>) {
        let node = Node::new(|settings| adjust(&mut settings.upstreams[0]), 64 << 20);
        (node.shard(0), node.shard(1), Arc::clone(&node.origins))
    }

    /// Before an upstream that is adjusted.
    pub fn before(adjust: impl FnOnce(&mut Upstream)) -> Self {
        Self::with(|settings| adjust(&mut settings.upstreams[0]), 64 << 20)
    }

    /// Two shards of one node.
    pub fn pair() -> (Self, Self) {
        let node = Node::new(|_| {}, 64 << 20);
        (node.shard(0), node.shard(1))
    }

    /// Turns until nothing moves by itself.
    pub fn settle(&mut self) {
        loop {
            let mut batch = std::mem::take(&mut self.batch);
            self.io.take(&mut batch);
            let moved = self.notices.take(self.shard);
            let done = batch.is_empty() && moved.is_empty();
            let reaped = self.io.stamp();
            self.proxy.begin_turn(&mut self.io, reaped, 1);
            for completion in batch.drain(..) {
                self.proxy.complete(&mut self.io, completion);
            }
            for mail in moved {
                self.proxy.mail(mail);
            }
            self.batch = batch;
            self.proxy.end_turn(&mut self.io);
            if done && self.proxy.next_deadline() != Some(Moment(0)) {
                return;
            }
        }
    }

    /// Something that completes in the same turn as the next.
    pub fn meanwhile(&mut self, completion: Completion<Paper>) {
        self.io.completions.push(completion);
    }

    pub fn complete(&mut self, completion: Completion<Paper>) {
        self.io.completions.push(completion);
        self.settle();
    }

    pub fn client(&mut self) -> SocketId {
        let socket = self.io.open();
        self.complete(Completion::Accepted {
            listener: ListenerId(0),
            socket,
        });
        socket
    }

    /// Bytes arrive on a socket.
    pub fn arrives(&mut self, socket: SocketId, bytes: &[u8]) {
        let buffer = self.io.buffer(bytes);
        let came = self.io.arrival();
        self.complete(Completion::Received {
            socket,
            buffer,
            came,
        });
    }

    pub fn ends(&mut self, socket: SocketId) {
        self.complete(Completion::Ended { socket });
    }

    pub fn fails(&mut self, socket: SocketId, fault: Fault) {
        self.complete(Completion::Failed { socket, fault });
    }

    /// The next connection to the origin, standing.
    pub fn origin(&mut self) -> SocketId {
        let socket = self
            .io
            .connects
            .pop_front()
            .expect("a connection was asked for");
        self.complete(Completion::Connected { socket });
        socket
    }

    /// What was sent on a socket since the last look.
    pub fn sent(&mut self, socket: SocketId) -> String {
        let bytes = std::mem::take(&mut self.io.sockets[socket.index as usize].sent);
        String::from_utf8(bytes).expect("text")
    }

    pub fn closed(&self, socket: SocketId) -> Option<Closing> {
        self.io.sockets[socket.index as usize].closed
    }

    pub fn socket(&self, socket: SocketId) -> &Socket {
        &self.io.sockets[socket.index as usize]
    }

    pub fn passes(&mut self, span: Span) {
        self.io.now.moment = self.io.now.moment + span;
        self.io.now.wall = Wall(self.io.now.wall.0 + span.0 / 1_000_000);
        self.settle();
    }
}

/// Status code and body of one answer with a Content-Length.
pub fn split(answer: &str) -> (&str, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (&head[9..12], body)
}

/// A request for a target, with more fields.
pub fn get(target: &str, fields: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: t\r\n{fields}\r\n").into_bytes()
}

/// A whole answer with these fields.
pub fn ok(fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// Has a client ask for the first time, and the origin answer on the connection that is returned.
pub fn answered(world: &mut World, client: SocketId, request: &[u8], answer: &[u8]) -> SocketId {
    world.arrives(client, request);
    let origin = world.origin();
    world.arrives(origin, answer);
    world.sent(client);
    world.sent(origin);
    origin
}
