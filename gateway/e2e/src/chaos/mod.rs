//! The storm: origins that do everything wrong, clients that verify every byte, and what is left when it is over.
//!
//! What is asked for, the origins and their moods are the [`Scenario`]; the moods are [`Mood`]'s.

mod load;
mod origin;
mod random;
mod report;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::client::Client;
use crate::clock::{Deadline, PATIENCE, becomes};
use crate::drivers::Backend;
use crate::gateway::Gateway;
use crate::message::{ask_with, get};
use crate::setup::Setup;
use crate::watch::Watch;

pub use load::{Kind, Tally};
pub use origin::{Endpoint, Mood};
pub use random::{Random, body_of, digest};
pub use report::{Leaks, Report};

/// What a storm is made of.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Decides the moods of origins, and when they change; and what clients ask for.
    pub seed: u64,
    /// How long clients ask.
    pub duration: Duration,
    /// Endpoints of the upstream in the storm.
    pub endpoints: usize,
    /// What they draw their moods from.
    pub moods: Vec<Mood>,
    /// Clients of each kind.
    pub clients: Vec<(Kind, usize)>,
    /// Lines of TOML of that upstream.
    pub upstream: &'static str,
}

impl Scenario {
    /// Everything at once.
    #[must_use]
    pub fn of(seed: u64, duration: Duration) -> Scenario {
        Scenario {
            seed,
            duration,
            endpoints: 3,
            moods: Mood::ALL.to_vec(),
            clients: vec![
                (Kind::Steady, 3),
                (Kind::Hit, 3),
                (Kind::Miss, 3),
                (Kind::Upload, 1),
                (Kind::Quitter, 1),
            ],
            upstream: "max_connections = 64\n\
                       connection_timeout = \"300ms\"\n\
                       first_byte_timeout = \"300ms\"\n\
                       read_timeout = \"300ms\"\n\
                       acquire_timeout = \"300ms\"\n\
                       idle_timeout = \"1s\"\n",
        }
    }

    fn setup(&self, backend: Backend, storm: &[Endpoint], steady: &Endpoint) -> Setup {
        let storm: Vec<SocketAddr> = storm.iter().map(|endpoint| endpoint.address).collect();
        let mut setup = Setup::new(backend)
            .set("api_gateway", "worker_threads", "2")
            .upstream("storm", &storm, self.upstream)
            .upstream("steady", &[steady.address], "idle_timeout = \"1s\"\n")
            .route("steady", "", "/steady/", "steady");
        for kind in ["hit", "miss", "upload"] {
            setup = setup.route(kind, "", &format!("/{kind}/"), "storm");
        }
        setup
    }
}

/// Moods change this often.
const CONDUCT: Duration = Duration::from_millis(20);
/// In so many of 16 changes an endpoint is well again.
const CALM: u64 = 6;

/// Runs a scenario on one driver. `meanwhile` is called once the gateway is up, with its data address, and may load it too.
///
/// # Panics
/// When the gateway does not come up, or ends.
pub fn run<T>(
    scenario: &Scenario,
    backend: Backend,
    meanwhile: impl FnOnce(SocketAddr) -> T,
) -> (Report, T) {
    let mut seeds = Random::of(scenario.seed);
    let storm: Vec<Endpoint> = (0..scenario.endpoints)
        .map(|_| Endpoint::start(seeds.draw()))
        .collect();
    let steady = Endpoint::start(seeds.draw());
    let mut gateway = scenario.setup(backend, &storm, &steady).start();
    let mut watch = Watch::of(&gateway);
    gateway.ask(get("/health"));
    let before = Levels::of(&gateway, &mut watch);
    let beside = meanwhile(gateway.data);
    let (tallies, changes) = thunder(scenario, &mut seeds, gateway.data, &storm);
    for endpoint in &storm {
        endpoint.set(Mood::Calm);
    }
    let peak = gateway.rss_bytes();
    let exposition = watch.exposition();
    let leaks = come_to_rest(&gateway, &mut watch, &before);
    assert!(gateway.runs(), "{}", gateway.output());
    let report = Report {
        backend,
        changes,
        tallies,
        wrong_uploads: storm.iter().map(Endpoint::wrong_uploads).sum(),
        origin_requests: storm.iter().map(Endpoint::requests).sum(),
        hits: report::Hits::of(&exposition),
        panics: crate::watch::sample(&exposition, "shard_restarts_total", &[]) as u64,
        rss: [before.rss, peak, gateway.rss_bytes()],
        leaks,
    };
    (report, beside)
}

/// The storm itself. What its clients saw, and how often an endpoint changed its mood.
fn thunder(
    scenario: &Scenario,
    seeds: &mut Random,
    at: SocketAddr,
    storm: &[Endpoint],
) -> (Vec<(Kind, Tally)>, u64) {
    let over = AtomicBool::new(false);
    let over = &over;
    thread::scope(|scope| {
        let mut clients = Vec::new();
        for (kind, count) in &scenario.clients {
            for _ in 0..*count {
                let (kind, seed) = (*kind, seeds.draw());
                let client = scope.spawn(move || load::run(kind, at, seed, over));
                clients.push((kind, client));
            }
        }
        let changes = conduct(scenario, seeds.draw(), storm);
        over.store(true, Ordering::SeqCst);
        let mut tallies: Vec<(Kind, Tally)> = Vec::new();
        for (kind, client) in clients {
            let tally = client.join().expect("a client does not panic");
            match tallies.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, all)) => all.add(tally),
                None => tallies.push((kind, tally)),
            }
        }
        (tallies, changes)
    })
}

/// Changes moods by the seed until the time is over; how often.
fn conduct(scenario: &Scenario, seed: u64, storm: &[Endpoint]) -> u64 {
    let mut random = Random::of(seed);
    let deadline = Deadline::after(scenario.duration);
    let (mut changes, mut rest) = (0, 0);
    while deadline.left().is_some() {
        for endpoint in storm {
            if endpoint.mood() == Mood::Flaps {
                endpoint.listen(!endpoint.listens());
            }
        }
        if rest == 0 {
            let endpoint = &storm[random.below(storm.len() as u64) as usize];
            endpoint.set(match random.below(16) < CALM {
                true => Mood::Calm,
                false => random.one_of(&scenario.moods),
            });
            changes += 1;
            rest = 1 + random.below(4);
        }
        rest -= 1;
        becomes(CONDUCT, || deadline.left().is_none());
    }
    changes
}

/// What a gateway holds.
struct Levels {
    descriptors: usize,
    pool_bytes: f64,
    rss: u64,
}

impl Levels {
    fn of(gateway: &Gateway, watch: &mut Watch) -> Levels {
        Levels {
            descriptors: gateway.settled_descriptors(),
            pool_bytes: watch.sample("memory_usage_bytes", &["kind=\"pool\""]),
            rss: gateway.rss_bytes(),
        }
    }
}

/// Empties the cache and waits until nothing is under way; what does not go is a leak.
fn come_to_rest(gateway: &Gateway, watch: &mut Watch, before: &Levels) -> Leaks {
    let mut leaks = Leaks::default();
    becomes(PATIENCE, || {
        empty_the_cache(gateway.data);
        leaks = left(gateway, watch, before);
        (leaks.objects, leaks.slab_bytes) == (0, 0)
    });
    becomes(PATIENCE, || {
        leaks = left(gateway, watch, before);
        leaks == Leaks::default()
    });
    leaks
}

fn left(gateway: &Gateway, watch: &mut Watch, before: &Levels) -> Leaks {
    let exposition = watch.exposition();
    let sample = |name: &str, labels: &[&str]| crate::watch::sample(&exposition, name, labels);
    let pool = sample("memory_usage_bytes", &["kind=\"pool\""]);
    let exchanges = sample("connection_pool_active", &[]) + sample("connection_pool_waiting", &[]);
    Leaks {
        descriptors: gateway.descriptors() as i64 - before.descriptors as i64,
        clients: sample("active_connections", &["side=\"client\""]) as i64,
        upstreams: sample("active_connections", &["side=\"upstream\""]) as i64,
        exchanges: exchanges as i64,
        buffers: sample("buffers_in_use", &[]) as i64,
        objects: sample("cache_entries", &[]) as i64,
        slab_bytes: (pool - before.pool_bytes) as i64,
    }
}

/// Whatever is stored goes by a POST to its target (RFC 9111, section 4.4); shards drop what they know of it as they turn.
fn empty_the_cache(at: SocketAddr) {
    let mut client = Client::connect(at);
    for kind in ["steady", "hit"] {
        for target in (0..load::TARGETS).map(|number| format!("/{kind}/{number}")) {
            let request = ask_with("POST", &target, "Content-Length: 0\r\n");
            if client.ask_quietly(request).is_err() {
                client = Client::connect(at);
            }
        }
    }
    for _ in 0..8 {
        let mut client = Client::connect(at);
        for _ in 0..load::TARGETS {
            let _ = client.ask_quietly(get("/health"));
        }
    }
}
