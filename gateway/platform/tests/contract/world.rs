//! One driver with a listener and clients around it, stepped until something happens or a deadline passes.

use std::collections::VecDeque;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use base::{
    Completion, Driver, Extent, ExtentWriter, ListenerId, Memory, Part, Room, ShardId, SocketId,
    Span,
};
use platform::memory::{MemoryPlan, NodeMemory, PageWish, ShardSizes, Slab, SlabPin};
use platform::{
    DriverConfig, Epoll, PoolLevels, Received, ScratchBuffer, StartError, Uring, probe,
};

/// A driver under test.
pub(crate) trait Tested:
    Driver<Memory = Slab, Received = Received, Scratch = ScratchBuffer>
{
    /// Whether a message in flight is the kernel's for longer than a call.
    const SENDS_OUTLIVE_CALLS: bool;
    fn start(config: DriverConfig) -> Result<Self, StartError>;
    fn levels(&self) -> PoolLevels;
    /// Why this host cannot run it.
    fn refused() -> Option<String>;
}

impl Tested for Uring {
    const SENDS_OUTLIVE_CALLS: bool = true;
    fn start(config: DriverConfig) -> Result<Self, StartError> {
        Self::new(config)
    }
    fn levels(&self) -> PoolLevels {
        self.pool_levels()
    }
    fn refused() -> Option<String> {
        probe::io_uring().err().map(|refusal| refusal.to_string())
    }
}

impl Tested for Epoll {
    const SENDS_OUTLIVE_CALLS: bool = false;
    fn start(config: DriverConfig) -> Result<Self, StartError> {
        Self::new(config)
    }
    fn levels(&self) -> PoolLevels {
        self.pool_levels()
    }
    fn refused() -> Option<String> {
        None
    }
}

/// What a world is made of.
pub(crate) struct Shape {
    pub(crate) sockets_max: u32,
    pub(crate) small_buffers: u16,
    pub(crate) busy_poll: Duration,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            sockets_max: 64,
            small_buffers: 64,
            busy_poll: Duration::ZERO,
        }
    }
}

pub(crate) const LISTENER: ListenerId = ListenerId(0);
const PATIENCE: Span = Span::from_secs(20);
const STEP: Span = Span::from_millis(5);

pub(crate) struct World<D: Tested> {
    pub(crate) driver: D,
    pub(crate) memory: NodeMemory,
    pub(crate) address: SocketAddr,
    /// Completions that no story has asked for yet.
    seen: VecDeque<Completion<D>>,
}

impl<D: Tested> World<D> {
    pub(crate) fn new() -> Self {
        Self::shaped(Shape::default())
    }

    pub(crate) fn shaped(shape: Shape) -> Self {
        let memory = memory(shape.small_buffers);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut driver = D::start(config(&memory, vec![listener], &shape)).unwrap();
        driver.accept(LISTENER, true);
        Self {
            driver,
            memory,
            address,
            seen: VecDeque::new(),
        }
    }

    /// Takes turns until `pick` takes a completion; what it refuses stays for later, in order.
    pub(crate) fn until<T>(
        &mut self,
        mut pick: impl FnMut(Completion<D>) -> Result<T, Completion<D>>,
    ) -> T {
        let deadline = self.driver.now().moment + PATIENCE;
        loop {
            for _ in 0..self.seen.len() {
                let Some(completion) = self.seen.pop_front() else {
                    break;
                };
                match pick(completion) {
                    Ok(found) => return found,
                    Err(other) => self.seen.push_back(other),
                }
            }
            assert!(
                self.driver.now().moment < deadline,
                "waited in vain; seen: {:?}",
                self.seen
            );
            self.step();
        }
    }

    /// Takes turns until the condition holds.
    pub(crate) fn turn_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = self.driver.now().moment + PATIENCE;
        while !done(self) {
            assert!(
                self.driver.now().moment < deadline,
                "waited in vain; seen: {:?}",
                self.seen
            );
            self.step();
        }
    }

    /// Takes turns until some of them in a row bring nothing: what could come has come.
    pub(crate) fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 5 {
            let before = self.seen.len();
            self.step();
            quiet = if self.seen.len() == before {
                quiet + 1
            } else {
                0
            };
        }
    }

    /// Nothing came that no story asked for.
    pub(crate) fn nothing_else(&mut self) {
        let seen = self.seen();
        assert!(seen.is_empty(), "{seen:?}");
    }

    pub(crate) fn seen(&mut self) -> Vec<Completion<D>> {
        self.seen.drain(..).collect()
    }

    fn step(&mut self) {
        let mut out = Vec::new();
        let until = self.driver.now().moment + STEP;
        self.driver.turn(Some(until), &mut out).unwrap();
        self.seen.extend(out);
    }

    /// A client and its connection.
    pub(crate) fn pair(&mut self) -> (TcpStream, SocketId) {
        let client = self.client();
        let own = client.local_addr().unwrap();
        loop {
            let socket = self.accepted();
            if self.driver.peer(socket) == Some(own) {
                return (client, socket);
            }
        }
    }

    pub(crate) fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_nodelay(true).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        client
    }

    pub(crate) fn accepted(&mut self) -> SocketId {
        self.until(|completion| match completion {
            Completion::Accepted {
                listener: LISTENER,
                socket,
            } => Ok(socket),
            other => Err(other),
        })
    }

    pub(crate) fn received(&mut self, from: SocketId) -> Received {
        self.until(|completion| match completion {
            Completion::Received { socket, buffer, .. } if socket == from => Ok(buffer),
            other => Err(other),
        })
    }

    /// Bytes from a socket until there are `count`.
    pub(crate) fn bytes(&mut self, from: SocketId, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            bytes.extend_from_slice(&self.received(from));
        }
        bytes
    }

    pub(crate) fn sent(&mut self, on: SocketId) {
        self.until(|completion| match completion {
            Completion::Sent { socket } if socket == on => Ok(()),
            other => Err(other),
        });
    }

    pub(crate) fn ended(&mut self, on: SocketId) {
        self.until(|completion| match completion {
            Completion::Ended { socket } if socket == on => Ok(()),
            other => Err(other),
        });
    }

    pub(crate) fn failed(&mut self, on: SocketId) -> base::Fault {
        self.until(|completion| match completion {
            Completion::Failed { socket, fault } if socket == on => Ok(fault),
            other => Err(other),
        })
    }

    pub(crate) fn send(&mut self, to: SocketId, part: Part<D>) {
        self.driver.send(to, &mut vec![part]);
    }

    pub(crate) fn receive(&mut self, from: SocketId) {
        self.driver.receive(from, Room::Small);
    }

    /// Sixteen megabytes of pattern in the slab: more than the kernel takes for a reader that does not read.
    pub(crate) fn pattern(&self) -> Vec<Part<D>> {
        (0..16)
            .map(|_| Part::Pinned(self.megabyte(), 0..1 << 20))
            .collect()
    }

    pub(crate) fn megabyte(&self) -> SlabPin {
        let mut writer = self.memory.slab().reserve(1 << 20).unwrap();
        assert_eq!(writer.append(&pattern(1 << 20)), 1 << 20);
        let extent = writer.extent();
        assert_eq!(extent.bytes().len(), 1 << 20);
        Slab::pin(&extent)
    }

    pub(crate) fn slab_used(&self) -> u64 {
        self.memory.slab().usage().used_bytes
    }
}

pub(crate) fn memory(small_buffers: u16) -> NodeMemory {
    NodeMemory::take(&MemoryPlan {
        bytes: 40 << 20,
        pages: PageWish::Plain,
        lend: true,
        shards: vec![None],
        sizes: ShardSizes {
            small_buffers,
            large_buffers: 16,
            scratch_buffers: 8,
        },
    })
    .unwrap()
}

pub(crate) fn config(
    memory: &NodeMemory,
    listeners: Vec<TcpListener>,
    shape: &Shape,
) -> DriverConfig {
    DriverConfig {
        listeners,
        sockets_max: shape.sockets_max,
        busy_poll: shape.busy_poll,
        memory: memory.shard(ShardId(0)).expect("the lease is out"),
        slab: memory.slab().clone(),
    }
}

/// A pattern with a prime period, so that a lost or doubled stretch shows.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8).collect()
}

pub(crate) fn read(client: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes).unwrap();
    bytes
}

/// Keeps the kernel's buffers small, so that a peer that does not read is felt soon.
pub(crate) fn narrow(client: &TcpStream) {
    set(client, libc::SO_RCVBUF, &16_384_i32);
}

/// Makes the client's close a reset.
pub(crate) fn reset(client: TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    set(&client, libc::SO_LINGER, &linger);
}

fn set<T>(client: &TcpStream, name: libc::c_int, value: &T) {
    let size = libc::socklen_t::try_from(size_of::<T>()).unwrap();
    // SAFETY: the value is read for its size.
    let status = unsafe {
        libc::setsockopt(
            client.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            std::ptr::from_ref(value).cast(),
            size,
        )
    };
    assert_eq!(status, 0);
}
