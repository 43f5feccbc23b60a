//! Collapsing, seen by leaders and followers on several shards.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod objects;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::time::Duration;

use base::ShardId;
use cache::{
    BodyState, Failure, Flight, FlightId, FlightState, Flights, HeapMemory, Joined, Leader, Notify,
};
use objects::{filling, key, stored};

/// Keeps what it is told.
#[derive(Default)]
struct Told(Mutex<Vec<(ShardId, FlightId)>>);

impl Notify for Told {
    fn flight(&self, shard: ShardId, flight: FlightId) {
        self.0.lock().unwrap().push((shard, flight));
    }
}

impl Told {
    fn shards(&self) -> Vec<u16> {
        let told = std::mem::take(&mut *self.0.lock().unwrap());
        told.into_iter().map(|(shard, _)| shard.0).collect()
    }
}

fn flights() -> (Flights<HeapMemory>, Arc<Told>) {
    let told = Arc::new(Told::default());
    (Flights::new(Arc::clone(&told) as Arc<dyn Notify>), told)
}

fn lead(flights: &Flights<HeapMemory>, target: &str, shard: u16) -> Leader<HeapMemory> {
    match flights.join(&key(target), ShardId(shard)) {
        Joined::Lead(leader) => leader,
        Joined::Follow(_) => panic!("{target} is led already"),
    }
}

fn follow(flights: &Flights<HeapMemory>, target: &str, shard: u16) -> Arc<Flight<HeapMemory>> {
    match flights.join(&key(target), ShardId(shard)) {
        Joined::Follow(flight) => flight,
        Joined::Lead(_) => panic!("nobody leads {target}"),
    }
}

#[test]
fn one_leads_and_the_others_follow() {
    let (flights, _) = flights();
    assert!(flights.is_empty());
    let leader = lead(&flights, "/a", 0);
    let other = lead(&flights, "/b", 0);
    let follower = follow(&flights, "/a", 1);
    assert!(Arc::ptr_eq(&follower, leader.flight()));
    assert_ne!(leader.flight().id(), other.flight().id());
    assert_eq!(leader.hash(), key("/a").hash());
    assert_eq!(flights.len(), 2);
    assert!(matches!(follower.state(), FlightState::Waiting));
}

#[test]
fn every_verdict_reaches_followers_and_frees_the_key() {
    type Verdict = fn(Leader<HeapMemory>);
    type Seen = fn(&FlightState<HeapMemory>) -> bool;
    const FAILURE: Failure = Failure {
        status: 504,
        reason: "first byte timeout",
    };
    let verdicts: [(Verdict, Seen, &[u16]); 4] = [
        (
            Leader::pass,
            |s| matches!(s, FlightState::Passed),
            &[1, 200],
        ),
        (
            |leader| leader.fail(FAILURE),
            |s| matches!(s, FlightState::Failed(FAILURE)),
            &[1, 200],
        ),
        (drop, |s| matches!(s, FlightState::Abandoned), &[0, 1, 200]),
        (
            |leader| {
                leader.publish(stored(&HeapMemory::new(1 << 20), "/a", b"x"));
                leader.land();
            },
            |s| matches!(s, FlightState::Streaming(_)),
            &[1, 200],
        ),
    ];
    for (verdict, seen, shards) in verdicts {
        let (flights, told) = flights();
        let leader = lead(&flights, "/a", 0);
        let followers: Vec<_> = [0, 1, 200, 1]
            .into_iter()
            .map(|shard| follow(&flights, "/a", shard))
            .collect();
        verdict(leader);
        assert_eq!(told.shards(), shards);
        assert!(flights.is_empty());
        assert!(followers.iter().all(|flight| seen(&flight.state())));
        drop(lead(&flights, "/a", 1));
    }
}

#[test]
fn the_key_is_free_before_followers_are_told() {
    struct Rejoins(Mutex<Option<Arc<Flights<HeapMemory>>>>, AtomicUsize);
    impl Notify for Rejoins {
        fn flight(&self, shard: ShardId, _: FlightId) {
            let flights = self.0.lock().unwrap().take();
            let joined = flights.map(|flights| flights.join(&key("/a"), shard));
            if let Some(Joined::Lead(leader)) = joined {
                self.1.fetch_add(1, Ordering::Relaxed);
                leader.pass();
            }
        }
    }
    let rejoins = Arc::new(Rejoins(Mutex::new(None), AtomicUsize::new(0)));
    let flights = Arc::new(Flights::new(Arc::clone(&rejoins) as Arc<dyn Notify>));
    let leader = lead(&flights, "/a", 0);
    drop(follow(&flights, "/a", 1));
    *rejoins.0.lock().unwrap() = Some(Arc::clone(&flights));
    leader.pass();
    assert_eq!(rejoins.1.load(Ordering::Relaxed), 1);
}

#[test]
fn notices_are_coalesced_until_the_shard_looks() {
    let (flights, told) = flights();
    let leader = lead(&flights, "/a", 0);
    let first = follow(&flights, "/a", 1);
    let second = follow(&flights, "/a", 130);
    leader.progress();
    leader.progress();
    assert_eq!(told.shards(), [1, 130]);
    drop(first.look(ShardId(1)));
    leader.progress();
    assert_eq!(told.shards(), [1]);
    drop(second.state());
    leader.progress();
    assert_eq!(told.shards(), [1, 130]);
    drop(follow(&flights, "/a", 1));
    leader.pass();
    assert_eq!(told.shards(), [1]);
    assert!(matches!(second.look(ShardId(130)), FlightState::Passed));
}

#[test]
fn a_leader_lost_in_a_panic_abandons_its_flight() {
    let (flights, told) = flights();
    let leader = lead(&flights, "/a", 0);
    let follower = follow(&flights, "/a", 1);
    let outcome = catch_unwind(AssertUnwindSafe(move || {
        let _leader = leader;
        std::panic::resume_unwind(Box::new("planted"));
    }));
    assert!(outcome.is_err());
    assert_eq!(told.shards(), [1]);
    assert!(matches!(follower.state(), FlightState::Abandoned));
    assert!(flights.is_empty());
}

/// A bell a shard.
struct Bells(Vec<(Mutex<bool>, Condvar)>);

impl Notify for Bells {
    fn flight(&self, shard: ShardId, _: FlightId) {
        let (rung, bell) = &self.0[usize::from(shard.0)];
        *rung.lock().unwrap() = true;
        bell.notify_one();
    }
}

impl Bells {
    fn wait(&self, shard: ShardId) {
        let (rung, bell) = &self.0[usize::from(shard.0)];
        let patience = Duration::from_secs(10);
        let waited = bell.wait_timeout_while(rung.lock().unwrap(), patience, |rung| !*rung);
        let (mut rung, late) = waited.unwrap();
        assert!(!late.timed_out(), "a notice was lost");
        *rung = false;
    }
}

const SHARDS: u16 = 4;
const ROUNDS: usize = 300;
const BODY: &[u8] = &[7; 20_000];

#[test]
fn threads_that_want_one_key_fetch_it_once_a_round_and_all_get_it() {
    let memory = HeapMemory::new(1 << 30);
    for round in 0..ROUNDS {
        let bells = (0..SHARDS).map(|_| Default::default()).collect();
        let bells = Arc::new(Bells(bells));
        let flights = Flights::new(Arc::clone(&bells) as Arc<dyn Notify>);
        let joined = Barrier::new(usize::from(SHARDS));
        let led = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for shard in (0..SHARDS).map(ShardId) {
                let (flights, bells, memory) = (&flights, &bells, &memory);
                let (joined, led) = (&joined, &led);
                scope.spawn(move || {
                    let place = flights.join(&key("/a"), shard);
                    // All have joined before the leader begins, so one fetch serves them all.
                    joined.wait();
                    match place {
                        Joined::Lead(leader) => {
                            led.fetch_add(1, Ordering::Relaxed);
                            fetch(leader, memory, round);
                        }
                        Joined::Follow(flight) => receive(&flight, shard, bells, round),
                    }
                });
            }
        });
        assert_eq!(led.load(Ordering::Relaxed), 1);
        assert!(flights.is_empty());
    }
}

/// Rounds end in turn with a whole body, a broken one, a leader that gives up, and a verdict without a body.
fn fetch(leader: Leader<HeapMemory>, memory: &HeapMemory, round: usize) {
    if round % 4 == 3 {
        return leader.pass();
    }
    let (object, mut writer) = filling(memory, key("/a"), None);
    leader.publish(object);
    for part in BODY.chunks(1_000) {
        writer.append(part).unwrap();
        leader.progress();
    }
    match round % 4 {
        0 => {
            assert!(writer.finish());
            leader.land();
        }
        1 => {
            writer.fail();
            leader.land();
        }
        _ => drop((writer, leader)),
    }
}

fn receive(flight: &Flight<HeapMemory>, shard: ShardId, bells: &Bells, round: usize) {
    let mut object = None;
    loop {
        match flight.look(shard) {
            FlightState::Waiting => (),
            FlightState::Streaming(streaming) => {
                let state = streaming.body.state();
                let published = streaming.body.published();
                object = Some(streaming);
                match state {
                    BodyState::Filling => (),
                    BodyState::Complete => {
                        assert_eq!((round % 4, published), (0, BODY.len() as u64));
                        return;
                    }
                    BodyState::Failed => return assert!(round % 4 == 1 || round % 4 == 2),
                }
            }
            FlightState::Passed => return assert_eq!(round % 4, 3),
            FlightState::Abandoned => {
                let failed = object.is_none_or(|object| object.body.state() == BodyState::Failed);
                return assert!(failed && round % 4 == 2);
            }
            FlightState::Failed(_) => panic!("no round fails"),
        }
        bells.wait(shard);
    }
}
