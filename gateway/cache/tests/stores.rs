//! The contract of the node-wide index, on every implementation.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod objects;

use std::collections::HashMap;
use std::sync::Arc;

use base::Memory;
use cache::{HeapMemory, Key, NodeStore, StoreLimits, StripedStore};
use objects::{Stored, hash, stored, stored_as, view};

const ROOMY: StoreLimits = StoreLimits {
    objects: 1_000,
    bytes: 1 << 30,
};

fn memory() -> HeapMemory {
    HeapMemory::new(1 << 30)
}

fn get(store: &dyn NodeStore<HeapMemory>, target: &str) -> Option<Stored> {
    store.get(hash(target), &view(target))
}

/// Every test below runs on every store.
macro_rules! contract {
    ($($story:ident)*) => {
        mod striped {
            $(#[test] fn $story() { super::$story(super::StripedStore::new); })*
        }
    };
}

contract! {
    what_was_put_in_is_found
    keys_of_one_hash_are_never_mistaken
    a_replaced_object_is_retired_when_insert_returns
    a_removed_object_is_retired_when_remove_returns
    what_is_in_already_stays
    what_somebody_retired_is_not_returned
    the_number_of_objects_is_bounded
    their_bytes_are_bounded
    what_left_is_retired
    what_is_touched_outlives_what_is_not
    room_is_made_on_demand
    room_is_made_within_a_bound
    threads_leave_it_whole
}

fn what_was_put_in_is_found<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    let (store, memory) = (new(ROOMY), memory());
    assert!(get(&store, "/a").is_none());
    let object = stored(&memory, "/a", b"a");
    store.insert(Arc::clone(&object));
    store.insert(stored(&memory, "/b", b"b"));
    assert!(Arc::ptr_eq(&object, &get(&store, "/a").unwrap()));
    assert!(get(&store, "/c").is_none());
    let stats = store.stats();
    assert_eq!((stats.objects, stats.bytes), (2, 2 * object.cost_bytes()));
}

fn keys_of_one_hash_are_never_mistaken<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    let (store, memory) = (new(ROOMY), memory());
    store.insert(stored(&memory, "/a", b"a"));
    assert!(store.get(hash("/a"), &view("/b")).is_none());
    assert!(!store.remove(hash("/a"), &view("/b")));
    let collision = Key::new(hash("/a"), &view("/b"));
    store.insert(stored_as(&memory, collision, b"b"));
    assert!(store.get(hash("/a"), &view("/b")).is_some());
    if let Some(object) = get(&store, "/a") {
        assert!(object.key.is(&view("/a")));
    }
}

fn a_replaced_object_is_retired_when_insert_returns<S: NodeStore<HeapMemory>>(
    new: impl Fn(StoreLimits) -> S,
) {
    let (store, memory) = (new(ROOMY), memory());
    let old = stored(&memory, "/a", b"old");
    let new = stored(&memory, "/a", b"new");
    store.insert(Arc::clone(&old));
    assert!(old.is_live());
    store.insert(Arc::clone(&new));
    assert!(!old.is_live() && new.is_live());
    assert!(Arc::ptr_eq(&new, &get(&store, "/a").unwrap()));
    let stats = store.stats();
    assert_eq!((stats.objects, stats.replaced), (1, 1));
    assert_eq!(stats.bytes, new.cost_bytes());
}

fn a_removed_object_is_retired_when_remove_returns<S: NodeStore<HeapMemory>>(
    new: impl Fn(StoreLimits) -> S,
) {
    let (store, memory) = (new(ROOMY), memory());
    let object = stored(&memory, "/a", b"a");
    store.insert(Arc::clone(&object));
    assert!(store.remove(hash("/a"), &view("/a")));
    assert!(!object.is_live());
    assert!(get(&store, "/a").is_none());
    assert!(!store.remove(hash("/a"), &view("/a")));
    let stats = store.stats();
    assert_eq!((stats.objects, stats.bytes, stats.removed), (0, 0, 1));
}

fn what_is_in_already_stays<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    let (store, memory) = (new(ROOMY), memory());
    let object = stored(&memory, "/a", b"a");
    store.insert(Arc::clone(&object));
    store.insert(Arc::clone(&object));
    assert!(object.is_live());
    assert!(get(&store, "/a").is_some());
    let stats = store.stats();
    assert_eq!((stats.objects, stats.replaced), (1, 0));
}

fn what_somebody_retired_is_not_returned<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    let (store, memory) = (new(ROOMY), memory());
    let object = stored(&memory, "/a", b"a");
    store.insert(Arc::clone(&object));
    object.retire();
    assert!(get(&store, "/a").is_none());
    assert_eq!(store.stats().objects, 0);
}

fn the_number_of_objects_is_bounded<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    let limits = StoreLimits {
        objects: 100,
        bytes: 1 << 30,
    };
    let (store, memory) = (new(limits), memory());
    for n in 0..1_000 {
        store.insert(stored(&memory, &format!("/{n}"), b"x"));
    }
    store.make_room(0);
    let stats = store.stats();
    assert!((90..=100).contains(&stats.objects), "{stats:?}");
    assert_eq!(stats.evicted_capacity, 1_000 - stats.objects);
}

fn their_bytes_are_bounded<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    let limits = StoreLimits {
        objects: 10_000,
        bytes: 1 << 20,
    };
    let (store, memory) = (new(limits), memory());
    for n in 0..1_000 {
        store.insert(stored(&memory, &format!("/{n}"), &[0; 10_000]));
    }
    store.make_room(0);
    let stats = store.stats();
    assert!(stats.bytes <= limits.bytes, "{stats:?}");
    assert!(stats.bytes > limits.bytes * 9 / 10, "{stats:?}");
}

fn what_left_is_retired<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    let limits = StoreLimits {
        objects: 100,
        bytes: 1 << 30,
    };
    let (store, memory) = (new(limits), memory());
    let targets: Vec<_> = (0..1_000).map(|n| format!("/{n}")).collect();
    let all: Vec<_> = targets
        .iter()
        .map(|target| stored(&memory, target, b"x"))
        .collect();
    all.iter()
        .for_each(|object| store.insert(Arc::clone(object)));
    store.make_room(1);
    for (target, object) in targets.iter().zip(&all) {
        assert_eq!(object.is_live(), get(&store, target).is_some(), "{target}");
    }
}

fn what_is_touched_outlives_what_is_not<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    let limits = StoreLimits {
        objects: 100,
        bytes: 1 << 30,
    };
    let (store, memory) = (new(limits), memory());
    let hot = stored(&memory, "/hot", b"x");
    store.insert(Arc::clone(&hot));
    for n in 0..1_000 {
        store.touch(hash("/hot"));
        store.insert(stored(&memory, &format!("/{n}"), b"x"));
    }
    store.make_room(0);
    assert!(hot.is_live());
    store.touch(hash("/never"));
}

fn room_is_made_on_demand<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    let (store, memory) = (new(ROOMY), memory());
    for n in 0..100 {
        store.insert(stored(&memory, &format!("/{n}"), &[0; 4096]));
    }
    let before = memory.usage().used_bytes;
    store.make_room(10 * 4096);
    let evicted = store.stats().evicted_capacity;
    assert!((5..=20).contains(&evicted), "{evicted}");
    assert!(memory.usage().used_bytes < before, "nothing came back");
}

fn room_is_made_within_a_bound<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    let (store, memory) = (new(ROOMY), memory());
    for n in 0..1_000 {
        store.insert(stored(&memory, &format!("/{n}"), b"x"));
    }
    store.make_room(u64::MAX);
    assert!(store.stats().objects > 0, "all went in one call");
    let empty = new(ROOMY);
    empty.make_room(u64::MAX);
    assert_eq!(empty.stats().objects, 0);
}

fn threads_leave_it_whole<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    let limits = StoreLimits {
        objects: 20,
        bytes: 1 << 30,
    };
    let (store, memory) = (new(limits), memory());
    let made: Vec<Vec<Stored>> = std::thread::scope(|scope| {
        let churn = |seed: u64| {
            let (store, memory) = (&store, &memory);
            scope.spawn(move || churn(store, memory, seed))
        };
        let threads: Vec<_> = (0..4).map(churn).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    store.make_room(0);
    let mut live: HashMap<String, Stored> = HashMap::new();
    for object in made.iter().flatten().filter(|object| object.is_live()) {
        let before = live.insert(object.key.to_uri(), Arc::clone(object));
        assert!(before.is_none(), "two live objects of {:?}", object.key);
    }
    assert_eq!(store.stats().objects, live.len() as u64);
    let bytes: u64 = live.values().map(|object| object.cost_bytes()).sum();
    assert_eq!(store.stats().bytes, bytes);
    for n in 0..50 {
        let target = format!("/{n}");
        let uri = format!("http://cache.example{target}");
        match (get(&store, &target), live.get(&uri)) {
            (Some(found), Some(object)) => assert!(Arc::ptr_eq(&found, object)),
            (found, object) => assert_eq!(found.is_some(), object.is_some(), "{target}"),
        }
    }
}

/// A thread's random mixture of calls; returns what it inserted.
fn churn(store: &impl NodeStore<HeapMemory>, memory: &HeapMemory, seed: u64) -> Vec<Stored> {
    let mut made = Vec::new();
    let mut random = seed;
    for _ in 0..2_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let target = format!("/{}", (random >> 33) % 50);
        match (random >> 60) % 8 {
            0..3 => {
                made.push(stored(memory, &target, b"x"));
                made.last()
                    .into_iter()
                    .for_each(|object| store.insert(Arc::clone(object)));
            }
            3 => drop(store.remove(hash(&target), &view(&target))),
            4 => store.touch(hash(&target)),
            5 => store.make_room(u64::from(random >> 40 & 1 == 1)),
            _ => {
                let found = get(store, &target);
                assert!(found.is_none_or(|object| object.key.is(&view(&target))));
            }
        }
    }
    made
}
