//! Collapsing, seen by leaders and followers on several shards.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod objects;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::time::Duration;

use base::{Memory, ShardId, Wall, limits};
use cache::{
    BodyState, Brought, Failure, Flight, FlightId, FlightState, Flights, HeapMemory, Joined, Key,
    KeyHash, Leader, NodeStore, Notify, StoreLimits, StripedStore,
};
use objects::{filling, key, stored, view};

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
    match flights.join(&key(target), b"", ShardId(shard)) {
        Joined::Lead(leader) => leader,
        Joined::Follow(_) => panic!("{target} is led already"),
    }
}

fn follow(flights: &Flights<HeapMemory>, target: &str, shard: u16) -> Arc<Flight<HeapMemory>> {
    match flights.join(&key(target), b"", ShardId(shard)) {
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
                let object = stored(&HeapMemory::new(1 << 20), "/a", b"x");
                leader.publish(object, Brought::Stored);
                leader.land();
            },
            |s| matches!(s, FlightState::Streaming(_, Brought::Stored)),
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
            let joined = flights.map(|flights| flights.join(&key("/a"), b"", shard));
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

const X: &[u8] = b"\x01x\0";
const Y: &[u8] = b"\x01y\0";

#[test]
fn variants_of_one_key_fly_side_by_side() {
    let (flights, told) = flights();
    let join = |variant, shard| flights.join(&key("/a"), variant, ShardId(shard));
    let (Joined::Lead(x), Joined::Lead(y)) = (join(X, 0), join(Y, 1)) else {
        panic!("both are the first of their kind");
    };
    let unknown = lead(&flights, "/a", 2);
    assert_eq!(flights.len(), 3);
    for (variant, leader) in [(X, &x), (Y, &y), (&b""[..], &unknown)] {
        let Joined::Follow(flight) = join(variant, 3) else {
            panic!("{variant:?} is led");
        };
        assert!(Arc::ptr_eq(&flight, leader.flight()));
    }
    x.pass();
    assert_eq!((told.shards(), flights.len()), (vec![3], 2));
    assert!(matches!(join(X, 0), Joined::Lead(_)));
    assert!(matches!(join(Y, 0), Joined::Follow(_)));
}

#[test]
fn what_may_not_wait_leads_or_does_without() {
    let (flights, told) = flights();
    let a = key("/a");
    let leader = flights.lead(&a, X, ShardId(0)).unwrap();
    assert!(flights.lead(&a, X, ShardId(0)).is_none());
    assert!(flights.lead(&a, X, ShardId(1)).is_none());
    let other = flights.lead(&a, Y, ShardId(1)).unwrap();
    leader.progress();
    // Nobody was made a follower by asking.
    assert_eq!((told.shards(), flights.len()), (vec![], 2));
    leader.land();
    assert!(flights.lead(&a, X, ShardId(1)).is_some());
    assert!(matches!(
        flights.join(&a, Y, ShardId(2)),
        Joined::Follow(flight) if Arc::ptr_eq(&flight, other.flight())
    ));
}

#[test]
fn a_flight_alone_is_joined_by_nobody_and_outdated_like_any() {
    let (flights, told) = flights();
    let alone = flights.alone(&key("/a"), ShardId(0));
    assert!(flights.is_empty());
    let leader = lead(&flights, "/a", 1);
    assert_ne!(alone.flight().id(), leader.flight().id());
    let again = flights.alone(&key("/a"), ShardId(0));
    alone.publish(
        stored(&HeapMemory::new(1 << 20), "/a", b"x"),
        Brought::Stored,
    );
    assert!(!alone.is_outdated());
    // Its end does not free the key of another's flight.
    alone.land();
    drop(follow(&flights, "/a", 2));
    assert_eq!((told.shards(), flights.len()), (vec![], 1));
    flights.outdate(&key("/a"));
    assert!(again.is_outdated());
}

#[test]
fn a_purge_outdates_what_began_before_it_and_nothing_later() {
    let (flights, told) = flights();
    let before = lead(&flights, "/a", 0);
    let follower = follow(&flights, "/a", 1);
    assert!(!before.is_outdated());
    flights.outdate(&key("/a"));
    assert!(before.is_outdated());
    assert!(flights.is_empty());
    let after = lead(&flights, "/a", 0);
    assert!(!after.is_outdated());
    // Who waits already gets what the outdated flight brings.
    before.publish(
        stored(&HeapMemory::new(1 << 20), "/a", b"x"),
        Brought::Stored,
    );
    assert_eq!(told.shards(), [1]);
    assert!(matches!(
        follower.look(ShardId(1)),
        FlightState::Streaming(..)
    ));
    before.land();
    assert_eq!(told.shards(), [1]);
    // And its end leaves the key to the flight that came after.
    let later = follow(&flights, "/a", 2);
    assert!(Arc::ptr_eq(&later, after.flight()));
    assert_eq!(flights.len(), 1);
    flights.outdate(&key("/a"));
    flights.outdate(&key("/a"));
    assert!(after.is_outdated());
    after.pass();
    assert!(flights.is_empty());
    assert!(!lead(&flights, "/a", 0).is_outdated());
}

#[test]
fn a_purge_ends_the_flights_of_all_variants_and_of_no_other_key() {
    let (flights, _) = flights();
    let a = placed(1, "/a");
    let elsewhere = placed(2, "/b");
    // Of the same hash, but not the same key.
    let collision = placed(1, "/c");
    let lead = |key: &Key, variant| flights.lead(key, variant, ShardId(0)).unwrap();
    let purged = [b"", X, Y].map(|variant| lead(&a, variant));
    let other = lead(&elsewhere, X);
    let beside = lead(&collision, X);
    flights.outdate(&a);
    assert!(purged.iter().all(Leader::is_outdated));
    assert_eq!(flights.len(), 2);
    assert!(!other.is_outdated());
    for key in [&elsewhere, &collision] {
        let joined = flights.join(key, X, ShardId(1));
        assert!(matches!(joined, Joined::Follow(_)), "{key:?}");
    }
    // The price of one mark for both: it is not kept, though nobody purged it.
    assert!(beside.is_outdated());
    let again = [b"", X, Y].map(|variant| lead(&a, variant));
    assert!(!again.iter().any(Leader::is_outdated));
}

#[test]
fn an_answer_and_a_purge_at_once_leave_nothing_behind() {
    let memory = HeapMemory::new(1 << 20);
    let store = StripedStore::new(StoreLimits {
        objects: 10,
        bytes: 1 << 20,
    });
    let (flights, _) = flights();
    let (a, start) = (key("/a"), Barrier::new(2));
    let remove = || store.remove(a.hash(), &a.view());
    for _ in 0..ROUNDS {
        let leader = lead(&flights, "/a", 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let leader = leader;
                start.wait();
                store.insert(stored(&memory, "/a", b"x"));
                if leader.is_outdated() {
                    remove();
                }
                leader.land();
            });
            scope.spawn(|| {
                start.wait();
                flights.outdate(&a);
                remove();
            });
        });
        assert!(store.get(a.hash(), &a.view()).is_none());
        assert!(flights.is_empty());
    }
    assert_eq!(memory.usage().used_bytes, 0);
}

/// A key in a place of our choice.
fn placed(place: u64, target: &str) -> Key {
    Key::new(hash_of(place, 7), &view(target))
}

/// The upper half chooses the place, of the lower half the upper bits tell keys apart there.
fn hash_of(place: u64, mark: u64) -> KeyHash {
    KeyHash(u128::from(place) << 64 | u128::from(mark << 40))
}

#[test]
fn a_key_passes_until_its_time_or_until_an_answer_was_stored() {
    let (flights, _) = flights();
    let hash = hash_of(1, 7);
    assert!(!flights.is_passing(hash, Wall::from_secs(0)));
    flights.pass_until(hash, Wall::from_secs(1_000));
    assert!(flights.is_passing(hash, Wall::from_secs(0)));
    assert!(flights.is_passing(hash, Wall::from_secs(999)));
    assert!(!flights.is_passing(hash, Wall::from_secs(1_000)));
    flights.pass_until(hash, Wall::from_secs(2_000));
    assert!(flights.is_passing(hash, Wall::from_secs(1_000)));
    flights.forget_passing(hash);
    assert!(!flights.is_passing(hash, Wall::from_secs(0)));
    flights.forget_passing(hash);
    flights.pass_until(hash, Wall::from_secs(3_000));
    assert!(flights.is_passing(hash, Wall::from_secs(2_000)));
}

#[test]
fn keys_in_one_place_do_not_pass_for_each_other() {
    let (flights, _) = flights();
    let now = Wall::from_secs(784_111_777);
    let later = Wall::from_secs(now.as_secs() + 10);
    let one = hash_of(5, 1);
    let other = hash_of(5, 2);
    let unmarked = hash_of(5, 0);
    let elsewhere = hash_of(6, 1);
    let around = hash_of(5 + limits::KEY_MARKS as u64, 3);
    flights.pass_until(one, later);
    for hash in [other, unmarked, elsewhere, around] {
        assert!(!flights.is_passing(hash, now), "{hash:?}");
        flights.forget_passing(hash);
    }
    assert!(flights.is_passing(one, now));
    // One place, one mark: the later one has it.
    flights.pass_until(around, later);
    assert!(!flights.is_passing(one, now));
    flights.forget_passing(one);
    assert!(flights.is_passing(around, now));
    flights.pass_until(unmarked, later);
    assert!(flights.is_passing(unmarked, now) && !flights.is_passing(around, now));
}

#[test]
fn a_key_that_passes_is_still_led_and_purged() {
    let (flights, _) = flights();
    let now = Wall::from_secs(784_111_777);
    flights.pass_until(key("/a").hash(), Wall::from_secs(now.as_secs() + 10));
    let leader = lead(&flights, "/a", 0);
    flights.outdate(&key("/a"));
    assert!(leader.is_outdated());
    assert!(flights.is_passing(key("/a").hash(), now));
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
                    let place = flights.join(&key("/a"), b"", shard);
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
    leader.publish(object, Brought::Stored);
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
            FlightState::Streaming(streaming, _) => {
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
