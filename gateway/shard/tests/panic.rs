//! A panic in a shard costs that shard's connections and nothing else: what was being sent is let go in order, the shard
//! serves again, its neighbour never noticed. On both drivers.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base::{Driver, Memory as _, RouteId, ShardId, UpstreamId};
use cache::{Flights, KeyHasher, StoreLimits, StripedStore};
use platform::memory::{MemoryPlan, NodeMemory, PageWish, ShardSizes};
use platform::{DriverConfig, Epoll, Slab, StartError, Uring, probe};
use proxy::{Mail, Member, Origins, Pages, Parts, Route, Settings, Upstream};
use shard::{Ended, Mailboxes, Shard};
use telemetry::ShardCells;

/// Larger than what two sockets buffer, so that a send to a client that does not read stays with the kernel.
const BODY_BYTES: usize = 32 << 20;
const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn a_panic_costs_one_shards_connections_on_io_uring() {
    if let Err(refusal) = probe::io_uring() {
        eprintln!("skipped: {refusal}");
        return;
    }
    a_panic_costs_one_shards_connections(Uring::new);
}

#[test]
fn a_panic_costs_one_shards_connections_on_epoll() {
    a_panic_costs_one_shards_connections(Epoll::new);
}

fn a_panic_costs_one_shards_connections<D: Driver<Memory = Slab>>(
    make: fn(DriverConfig) -> Result<D, StartError>,
) {
    let node = Node::start(make);
    let (struck, neighbour) = (node.addresses[0], node.addresses[1]);
    let mut stuck = TcpStream::connect(struck).expect("connect");
    let mut idle = TcpStream::connect(struck).expect("connect");
    let mut other = TcpStream::connect(neighbour).expect("connect");
    assert!(health(&mut idle));
    assert!(health(&mut other));
    // The head has come, the rest cannot be taken: a send is in flight and stays there.
    stuck
        .write_all(b"GET /big HTTP/1.1\r\nHost: t\r\n\r\n")
        .expect("ask");
    let mut first = [0; 64];
    stuck.read_exact(&mut first).expect("the answer has begun");
    assert!(first.starts_with(b"HTTP/1.1 200"));
    node.mailboxes.post(ShardId(0), Mail::Panic);
    assert!(ends(&mut idle), "the struck shard's connections end");
    assert!(ends(&mut stuck), "also those in the middle of an answer");
    assert!(health(&mut other), "the neighbour goes on");
    let mut again = TcpStream::connect(struck).expect("connect");
    assert!(health(&mut again), "the struck shard serves again");
    assert_eq!(
        node.cells
            .iter()
            .map(|cells| cells.restarts.read())
            .collect::<Vec<_>>(),
        [1, 0]
    );
    let pool = node.cells[0].pool(UpstreamId(0)).expect("a pool");
    let gauges = [&pool.active, &pool.idle, &pool.waiting];
    assert_eq!(gauges.map(|gauge| gauge.read()), [0; 3]);
    drop((again, other));
    node.end();
}

/// Two shards with a listener each, and an origin.
struct Node {
    addresses: Vec<SocketAddr>,
    mailboxes: Arc<Mailboxes>,
    cells: Vec<Arc<ShardCells>>,
    slab: Slab,
    shards: Vec<JoinHandle<Ended>>,
}

impl Node {
    fn start<D: Driver<Memory = Slab>>(make: fn(DriverConfig) -> Result<D, StartError>) -> Self {
        let memory = NodeMemory::take(&MemoryPlan {
            bytes: 192 << 20,
            pages: PageWish::Plain,
            lend: true,
            shards: vec![None; 2],
            sizes: ShardSizes {
                small_buffers: 64,
                large_buffers: 32,
                scratch_buffers: 32,
            },
        })
        .expect("memory");
        let slab = memory.slab().clone();
        let mailboxes = Mailboxes::new(2);
        let shared = parts(&slab, &mailboxes, origin());
        let mut node = Self {
            addresses: Vec::new(),
            cells: Vec::new(),
            shards: Vec::new(),
            mailboxes: Arc::clone(&mailboxes),
            slab: slab.clone(),
        };
        for id in [ShardId(0), ShardId(1)] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
            listener.set_nonblocking(true).expect("nonblocking");
            node.addresses.push(listener.local_addr().expect("address"));
            let config = DriverConfig {
                listeners: vec![listener],
                sockets_max: 64,
                busy_poll: Duration::ZERO,
                memory: memory.shard(id).expect("a shard's memory"),
                slab: slab.clone(),
            };
            let cells = Arc::new(ShardCells::new(id, 1).with_pools(1));
            node.cells.push(Arc::clone(&cells));
            let parts = Shared {
                id,
                cells,
                ..shared.clone()
            };
            let mailboxes = Arc::clone(&mailboxes);
            let body = move || {
                let driver = make(config).unwrap_or_else(|error| panic!("{error}"));
                Shard::new(driver, 1, parts.into_parts(), mailboxes)
                    .run()
                    .expect("the driver works")
            };
            node.shards
                .push(thread::Builder::new().spawn(body).expect("a thread"));
        }
        node
    }

    fn end(self) {
        self.mailboxes.drain();
        self.mailboxes.close();
        for shard in self.shards {
            assert_eq!(shard.join().expect("no panic gets out"), Ended::Drained);
        }
        assert_eq!(self.slab.usage().used_bytes, 0, "no pin was lost");
    }
}

/// What both shards are made of.
#[derive(Clone)]
struct Shared {
    id: ShardId,
    cells: Arc<ShardCells>,
    slab: Slab,
    settings: Arc<Settings>,
    store: Arc<StripedStore<Slab>>,
    flights: Arc<Flights<Slab>>,
    origins: Arc<Origins>,
    mailboxes: Arc<Mailboxes>,
}

impl Shared {
    fn into_parts<D: Driver<Memory = Slab>>(self) -> Parts<D, StripedStore<Slab>> {
        Parts {
            shard: self.id,
            settings: self.settings,
            cells: self.cells,
            memory: self.slab,
            store: self.store,
            flights: self.flights,
            hasher: KeyHasher::new([1, 2]),
            seed: 3,
            pages: Arc::new(Pages {
                status: 200,
                health: b"{}".to_vec(),
                summary: b"{}".to_vec(),
            }),
            origins: self.origins,
            post: self.mailboxes,
        }
    }
}

fn parts(slab: &Slab, mailboxes: &Arc<Mailboxes>, origin: SocketAddr) -> Shared {
    let route = Route::new(RouteId(0), "/", UpstreamId(0));
    let upstream = Upstream::new("origin", vec![Member::new(origin)]);
    let settings = Arc::new(Settings::new(vec![route], vec![upstream]));
    Shared {
        id: ShardId(0),
        cells: Arc::new(ShardCells::new(ShardId(0), 1)),
        slab: slab.clone(),
        origins: Origins::new(&settings, 2),
        mailboxes: Arc::clone(mailboxes),
        settings,
        store: Arc::new(StripedStore::new(StoreLimits {
            objects: 100,
            bytes: slab.usage().total_bytes,
        })),
        flights: Arc::new(Flights::new(Arc::clone(mailboxes) as _)),
    }
}

/// An origin that answers every request with one large object that may be stored.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let body = move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let head = format!(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&vec![b'x'; BODY_BYTES]);
        }
    };
    thread::Builder::new().spawn(body).expect("a thread");
    address
}

fn health(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(DEADLINE)).expect("timeout");
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n")
        .expect("ask");
    let mut answer = Vec::new();
    let mut byte = [0; 1];
    while !answer.ends_with(b"\r\n\r\n{}") {
        match stream.read(&mut byte) {
            Ok(1) => answer.push(byte[0]),
            // The probe's ring, torn down behind this thread's back, interrupts it.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => return false,
        }
    }
    answer.starts_with(b"HTTP/1.1 200")
}

/// Reads until the connection ends; whether it did within the deadline.
fn ends(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(DEADLINE)).expect("timeout");
    let mut rest = vec![0; 1 << 16];
    loop {
        match stream.read(&mut rest) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == ErrorKind::ConnectionReset,
        }
    }
}
