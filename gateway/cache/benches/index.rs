//! What the keys, the front and the node-wide stores cost, on Zipf-distributed traffic. `cargo bench -p cache`, best with
//! `taskset -c N`; a machine's own gaps show in the `floor` row, which does no more than wait as long as a call takes.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use base::Wall;
use cache::policy::{Lifetime, Terms};
use cache::{
    Body, Entry, Front, Head, HeapMemory, Key, KeyHash, KeyHasher, KeyView, NodeStore, Object,
    StoreLimits, StoreStats, StripedStore, Variant,
};

type Stored = Arc<Object<HeapMemory>>;
type Put = Arc<Entry<HeapMemory>>;
type Store = Arc<dyn NodeStore<HeapMemory>>;
type NewStore = fn(StoreLimits) -> Store;

const KEYS: usize = 1_000_000;
const EXPONENT: f64 = 0.99;

fn main() {
    let keys = Keys::new(2 * KEYS);
    hashing(&keys);
    front(&keys);
    let draws = Zipf::new(2 * KEYS, EXPONENT).draws(4_000_000);
    println!(
        "\nstores: capacity {KEYS} objects, {} keys, get, insert on a miss",
        2 * KEYS
    );
    let limits = StoreLimits {
        objects: KEYS as u64,
        bytes: 1 << 40,
    };
    let stores: [(&str, NewStore); 2] = [
        ("floor", |_| Arc::new(Floor)),
        ("striped", |limits| Arc::new(StripedStore::new(limits))),
    ];
    for (name, new) in stores {
        let runs = [(); 3].map(|()| store(&new(limits), &keys, &[&draws]));
        report(name, runs);
    }
    let halves: Vec<_> = draws.chunks(draws.len() / 2).collect();
    for (name, new) in stores {
        let run = store(&new(limits), &keys, &halves);
        report(&format!("{name}, 2 threads"), [run]);
    }
    let striped: Store = Arc::new(StripedStore::new(limits));
    fill(&striped, &keys);
    let mut rooms = Latencies::default();
    (0..2_000).for_each(|_| rooms.time(|| drop(striped.make_room(1 << 30))));
    rooms.print("striped: make_room, all it does in one call");
}

fn hashing(keys: &Keys) {
    let few: Vec<_> = keys.targets.iter().take(4_096).collect();
    let ns = best(5, 4_000_000, |n| {
        black_box(keys.hasher.hash(&view(few[n & 4_095])));
    });
    let bytes = 4 + HOST.len() + few[0].len();
    println!("hash of a key of {bytes} bytes: {ns:.1} ns");
}

fn front(keys: &Keys) {
    let mut front = Front::new(KEYS / 10);
    for n in 0..KEYS / 10 {
        front.admit(keys.entry(n));
    }
    for (name, count) in [
        ("256 keys", 256),
        ("4,096 keys", 4_096),
        ("100,000 keys", KEYS / 10),
    ] {
        let order: Vec<_> = (0..count).map(|n| (n * 7_919) % count).collect();
        let ns = best(5, 4_000_000, |n| {
            let key = order[n % count];
            black_box(front.find(keys.hashes[key], &view(&keys.targets[key])));
        });
        println!("front hit, {name} in turn: {ns:.1} ns");
    }
    let draws = Zipf::new(KEYS, EXPONENT).draws(8_000_000);
    let runs = [(); 3].map(|()| traffic(keys, &draws));
    let ratio = runs[0].hits as f64 / (draws.len() / 2) as f64;
    println!(
        "front of {} under {KEYS} keys, Zipf {EXPONENT}: hit ratio {ratio:.4}",
        KEYS / 10
    );
    let least = runs.into_iter().reduce(Run::least).unwrap();
    least.gets.print("    find, least of 3 equal runs");
    least.inserts.print("    admit, least of 3 equal runs");
}

/// Hits are counted in the second half, when the front is full.
fn traffic(keys: &Keys, draws: &[u32]) -> Run {
    let mut front = Front::new(KEYS / 10);
    let mut run = Run::default();
    for (n, key) in draws.iter().map(|key| *key as usize).enumerate() {
        let key_view = view(&keys.targets[key]);
        let found = run
            .gets
            .time(|| front.find(keys.hashes[key], &key_view).is_some());
        if !found {
            let entry = keys.entry(key);
            run.inserts.time(|| _ = black_box(front.admit(entry)));
        }
        run.hits += usize::from(found && n >= draws.len() / 2);
    }
    run
}

fn fill(store: &Store, keys: &Keys) {
    (0..KEYS).for_each(|n| drop(store.insert(keys.object(n))));
}

/// One thread for each part of the draws, on a store that is full.
fn store(store: &Store, keys: &Keys, parts: &[&[u32]]) -> Run {
    fill(store, keys);
    std::thread::scope(|scope| {
        let start = |part| scope.spawn(move || calls(store, keys, part));
        let threads: Vec<_> = parts.iter().map(|part| start(*part)).collect();
        let runs = threads.into_iter().map(|thread| thread.join().unwrap());
        runs.reduce(Run::and).unwrap()
    })
}

fn report<const N: usize>(name: &str, runs: [Run; N]) {
    let calls = runs[0].gets.all.len() as f64;
    println!("{name}: hit ratio {:.4}", runs[0].hits as f64 / calls);
    let least = runs.into_iter().reduce(Run::least).unwrap();
    let of = if N > 1 {
        format!(", least of {N} equal runs")
    } else {
        String::new()
    };
    least.gets.print(&format!("    get{of}"));
    least.inserts.print(&format!("    insert{of}"));
}

#[derive(Default)]
struct Run {
    gets: Latencies,
    inserts: Latencies,
    hits: usize,
}

impl Run {
    /// Both runs' calls.
    fn and(mut self, other: Self) -> Self {
        self.gets.all.extend(other.gets.all);
        self.inserts.all.extend(other.inserts.all);
        self.hits += other.hits;
        self
    }

    /// Call by call the shorter time: what the machine added to one run it did not add to the other.
    fn least(mut self, other: Self) -> Self {
        self.gets.least(&other.gets);
        self.inserts.least(&other.inserts);
        self
    }
}

fn calls(store: &Store, keys: &Keys, draws: &[u32]) -> Run {
    let mut run = Run::default();
    for key in draws.iter().map(|key| *key as usize) {
        let found = run
            .gets
            .time(|| store.get(keys.hashes[key], &view(&keys.targets[key])));
        if found.is_some() {
            run.hits += 1;
            continue;
        }
        let object = keys.object(key);
        run.inserts.time(|| store.insert(object));
    }
    run
}

/// Nanoseconds of a call, the best mean of some rounds.
fn best(rounds: usize, count: usize, mut call: impl FnMut(usize)) -> f64 {
    let round = |_| {
        let start = now();
        (0..count).for_each(&mut call);
        (now() - start).as_nanos() as f64 / count as f64
    };
    (0..rounds).map(round).fold(f64::MAX, f64::min)
}

fn now() -> std::time::Instant {
    #[allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    std::time::Instant::now()
}

/// Every call's nanoseconds.
#[derive(Default)]
struct Latencies {
    all: Vec<u32>,
}

impl Latencies {
    fn time<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let start = now();
        let result = call();
        self.all.push((now() - start).as_nanos() as u32);
        result
    }

    fn least(&mut self, other: &Self) {
        for (ns, other) in self.all.iter_mut().zip(&other.all) {
            *ns = (*ns).min(*other);
        }
    }

    fn print(mut self, name: &str) {
        self.all.sort_unstable();
        let count = self.all.len();
        let at = |share: f64| self.all[((count - 1) as f64 * share) as usize];
        let mean = self.all.iter().map(|ns| f64::from(*ns)).sum::<f64>() / count as f64;
        let over = |bound: u32| (count - self.all.partition_point(|ns| *ns <= bound)) as f64;
        println!(
            "{name}: mean {mean:.0}, p50 {}, p99 {}, p99.9 {}, p99.99 {}, worst {} ns; \
             over 20 us {:.1}, over 100 us {:.1} of a million",
            at(0.5),
            at(0.99),
            at(0.999),
            at(0.9999),
            at(1.0),
            over(20_000) * 1e6 / count as f64,
            over(100_000) * 1e6 / count as f64,
        );
    }
}

const HOST: &str = "cache.example";

fn view(target: &str) -> KeyView<'_> {
    KeyView {
        scheme: "http",
        host: HOST.as_bytes(),
        target: target.as_bytes(),
    }
}

struct Keys {
    hasher: KeyHasher,
    targets: Vec<String>,
    hashes: Vec<KeyHash>,
    memory: HeapMemory,
}

impl Keys {
    fn new(count: usize) -> Self {
        let hasher = KeyHasher::new([0x5eed, 0xf00d]);
        let targets: Vec<_> = (0..count)
            .map(|n| format!("/assets/object-{n:08}"))
            .collect();
        let hashes = targets
            .iter()
            .map(|target| hasher.hash(&view(target)))
            .collect();
        let memory = HeapMemory::new(0);
        Self {
            hasher,
            targets,
            hashes,
            memory,
        }
    }

    fn object(&self, n: usize) -> Stored {
        let key = Key::new(self.hashes[n], &view(&self.targets[n]));
        let head = Head {
            status: 200,
            fields: Box::default(),
        };
        let (body, writer) = Body::new(&self.memory, Some(0), 0).unwrap();
        assert!(writer.finish());
        Arc::new(Object::new(key, head, TERMS, Variant::default(), body))
    }

    fn entry(&self, n: usize) -> Put {
        Arc::new(Entry::with(None, self.object(n)))
    }
}

const TERMS: Terms = Terms {
    lifetime: Lifetime {
        received: Wall::from_secs(0),
        initial_age_ms: 0,
        fresh_for: 60,
    },
    date: Wall::from_secs(0),
    heuristic: false,
    no_cache: false,
    must_revalidate: false,
    immutable: false,
    stale_while_revalidate: 0,
    stale_if_error: None,
    etag: None,
    last_modified: None,
};

/// Zipf's distribution by the alias method, its ranks in no order of keys.
struct Zipf {
    keep: Vec<f64>,
    alias: Vec<u32>,
}

impl Zipf {
    fn new(count: usize, exponent: f64) -> Self {
        let mut keep: Vec<f64> = (1..=count)
            .map(|rank| (rank as f64).powf(-exponent))
            .collect();
        let total: f64 = keep.iter().sum();
        keep.iter_mut()
            .for_each(|share| *share *= count as f64 / total);
        let mut alias: Vec<u32> = (0..count as u32).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            (0..count as u32).partition(|n| keep[*n as usize] < 1.0);
        while let (Some(less), Some(more)) = (small.pop(), large.pop()) {
            alias[less as usize] = more;
            keep[more as usize] -= 1.0 - keep[less as usize];
            if keep[more as usize] < 1.0 {
                small.push(more)
            } else {
                large.push(more)
            }
        }
        Self { keep, alias }
    }

    fn draws(&self, count: usize) -> Vec<u32> {
        let mut state = 7_u64;
        let mut random = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        let keys = self.keep.len() as u64;
        let mut draw = || {
            let n = (random() % keys) as usize;
            let keeps = ((random() >> 11) as f64 / (1_u64 << 53) as f64) < self.keep[n];
            let rank = if keeps {
                n as u64
            } else {
                u64::from(self.alias[n])
            };
            (rank * 7_919 % keys) as u32
        };
        (0..count).map(|_| draw()).collect()
    }
}

/// No store: waits about as long as one would take.
struct Floor;

impl Floor {
    fn wait() {
        (0..200).for_each(|n| _ = black_box(n));
    }
}

impl NodeStore<HeapMemory> for Floor {
    fn get(&self, _: KeyHash, _: &KeyView<'_>) -> Option<Put> {
        Self::wait();
        None
    }

    fn insert(&self, object: Stored) -> Put {
        Self::wait();
        Arc::new(Entry::with(None, object))
    }

    fn remove(&self, _: KeyHash, _: &KeyView<'_>) -> bool {
        false
    }

    fn touch(&self, _: KeyHash) {}

    fn make_room(&self, _: u64) -> Vec<Put> {
        Vec::new()
    }

    fn stats(&self) -> StoreStats {
        StoreStats::default()
    }
}
