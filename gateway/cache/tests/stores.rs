//! The contract of the node-wide index, on every implementation.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod heads;
mod objects;

use std::collections::HashMap;
use std::sync::{Arc, Barrier};

use base::Memory;
use cache::{HeapMemory, Key, NodeStore, StoreLimits, StripedStore, Variant};
use heads::with_request;
use objects::{Put, Stored, TERMS, hash, stored, stored_as, varied, view};

const ROOMY: StoreLimits = StoreLimits {
    objects: 1_000,
    bytes: 1 << 30,
};

fn memory() -> HeapMemory {
    HeapMemory::new(1 << 30)
}

fn get(store: &dyn NodeStore<HeapMemory>, target: &str) -> Option<Put> {
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
    a_replaced_entry_is_retired_when_insert_returns
    a_removed_entry_is_retired_when_remove_returns
    what_is_in_already_stays
    what_somebody_retired_is_not_returned
    the_number_of_objects_is_bounded
    their_bytes_are_bounded
    what_left_is_retired
    what_is_touched_outlives_what_is_not
    room_is_made_on_demand
    room_is_made_within_a_bound
    threads_leave_it_whole
    a_variant_joins_the_others_of_its_key
    a_variant_replaced_leaves_the_others
    variants_leave_with_their_entry
    what_was_retired_lends_no_variants
    a_freshened_answer_outlives_the_entry_before
    threads_lose_no_variant_of_one_key
}

fn what_was_put_in_is_found<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    let (store, memory) = (new(ROOMY), memory());
    assert!(get(&store, "/a").is_none());
    let object = stored(&memory, "/a", b"a");
    let entry = store.insert(Arc::clone(&object));
    store.insert(stored(&memory, "/b", b"b"));
    assert!(Arc::ptr_eq(&entry, &get(&store, "/a").unwrap()));
    assert!(Arc::ptr_eq(&object, &entry.objects()[0]));
    assert!(get(&store, "/c").is_none());
    let stats = store.stats();
    assert_eq!((stats.objects, stats.bytes), (2, 2 * entry.cost_bytes()));
}

fn keys_of_one_hash_are_never_mistaken<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    let (store, memory) = (new(ROOMY), memory());
    store.insert(stored(&memory, "/a", b"a"));
    assert!(store.get(hash("/a"), &view("/b")).is_none());
    assert!(!store.remove(hash("/a"), &view("/b")));
    let collision = Key::new(hash("/a"), &view("/b"));
    store.insert(stored_as(&memory, collision, b"b"));
    assert!(store.get(hash("/a"), &view("/b")).is_some());
    if let Some(entry) = get(&store, "/a") {
        assert!(entry.key().is(&view("/a")));
    }
}

fn a_replaced_entry_is_retired_when_insert_returns<S: NodeStore<HeapMemory>>(
    new: impl Fn(StoreLimits) -> S,
) {
    let (store, memory) = (new(ROOMY), memory());
    let old = store.insert(stored(&memory, "/a", b"old"));
    assert!(old.is_live());
    let object = stored(&memory, "/a", b"new");
    let new = store.insert(Arc::clone(&object));
    assert!(matches!(new.objects(), [only] if Arc::ptr_eq(only, &object)));
    assert!(!old.is_live() && new.is_live());
    assert!(Arc::ptr_eq(&new, &get(&store, "/a").unwrap()));
    let stats = store.stats();
    assert_eq!((stats.objects, stats.replaced), (1, 1));
    assert_eq!(stats.bytes, new.cost_bytes());
}

fn a_removed_entry_is_retired_when_remove_returns<S: NodeStore<HeapMemory>>(
    new: impl Fn(StoreLimits) -> S,
) {
    let (store, memory) = (new(ROOMY), memory());
    let entry = store.insert(stored(&memory, "/a", b"a"));
    assert!(store.remove(hash("/a"), &view("/a")));
    assert!(!entry.is_live());
    assert!(get(&store, "/a").is_none());
    assert!(!store.remove(hash("/a"), &view("/a")));
    let stats = store.stats();
    assert_eq!((stats.objects, stats.bytes, stats.removed), (0, 0, 1));
}

fn what_is_in_already_stays<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    let (store, memory) = (new(ROOMY), memory());
    let object = stored(&memory, "/a", b"a");
    let entry = store.insert(Arc::clone(&object));
    assert!(Arc::ptr_eq(&entry, &store.insert(object)));
    assert!(entry.is_live());
    assert!(get(&store, "/a").is_some());
    let stats = store.stats();
    assert_eq!((stats.objects, stats.replaced), (1, 0));
}

fn what_somebody_retired_is_not_returned<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    let (store, memory) = (new(ROOMY), memory());
    let entry = store.insert(stored(&memory, "/a", b"a"));
    entry.retire();
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
        .map(|target| store.insert(stored(&memory, target, b"x")))
        .collect();
    store.make_room(1);
    for (target, entry) in targets.iter().zip(&all) {
        assert_eq!(entry.is_live(), get(&store, target).is_some(), "{target}");
    }
}

fn what_is_touched_outlives_what_is_not<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    let limits = StoreLimits {
        objects: 100,
        bytes: 1 << 30,
    };
    let (store, memory) = (new(limits), memory());
    let hot = store.insert(stored(&memory, "/hot", b"x"));
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
    let gone = store.make_room(10 * 4096);
    let evicted = store.stats().evicted_capacity;
    assert!((5..=20).contains(&evicted), "{evicted}");
    assert_eq!(gone.len() as u64, evicted);
    assert!(gone.iter().all(|object| !object.is_live()));
    drop(gone);
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
    let made: Vec<Vec<Put>> = std::thread::scope(|scope| {
        let churn = |seed: u64| {
            let (store, memory) = (&store, &memory);
            scope.spawn(move || churn(store, memory, seed))
        };
        let threads: Vec<_> = (0..4).map(churn).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    store.make_room(0);
    let mut live: HashMap<String, Put> = HashMap::new();
    for entry in made.iter().flatten().filter(|entry| entry.is_live()) {
        let before = live.insert(entry.key().to_uri(), Arc::clone(entry));
        assert!(before.is_none(), "two live entries of {:?}", entry.key());
    }
    assert_eq!(store.stats().objects, live.len() as u64);
    let bytes: u64 = live.values().map(|entry| entry.cost_bytes()).sum();
    assert_eq!(store.stats().bytes, bytes);
    for n in 0..50 {
        let target = format!("/{n}");
        let uri = format!("http://cache.example{target}");
        match (get(&store, &target), live.get(&uri)) {
            (Some(found), Some(entry)) => assert!(Arc::ptr_eq(&found, entry)),
            (found, entry) => assert_eq!(found.is_some(), entry.is_some(), "{target}"),
        }
    }
}

/// A thread's random mixture of calls; returns what it inserted.
fn churn(store: &impl NodeStore<HeapMemory>, memory: &HeapMemory, seed: u64) -> Vec<Put> {
    let mut made = Vec::new();
    let mut random = seed;
    for _ in 0..2_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let target = format!("/{}", (random >> 33) % 50);
        match (random >> 60) % 8 {
            0..3 => made.push(store.insert(stored(memory, &target, b"x"))),
            3 => drop(store.remove(hash(&target), &view(&target))),
            4 => store.touch(hash(&target)),
            5 => drop(store.make_room(u64::from(random >> 40 & 1 == 1))),
            _ => {
                let found = get(store, &target);
                assert!(found.is_none_or(|entry| entry.key().is(&view(&target))));
            }
        }
    }
    made
}

/// The answer to one value of the field that it varies by.
fn variant(memory: &HeapMemory, target: &str, value: &str) -> Stored {
    let variant = with_request("GET", &[&format!("A: {value}")], |request| {
        Variant::of([&b"A"[..]].into_iter(), &request.fields)
    });
    varied(memory, target, variant.unwrap(), value)
}

/// What the answers of an entry are for, the newest first.
fn values(entry: &Put) -> Vec<&str> {
    let values = entry.objects().iter().map(|object| &*object.head.fields);
    values.map(|value| str::from_utf8(value).unwrap()).collect()
}

fn a_variant_joins_the_others_of_its_key<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    let (store, memory) = (new(ROOMY), memory());
    let first = store.insert(variant(&memory, "/a", "x"));
    let second = store.insert(variant(&memory, "/a", "y"));
    assert!(!first.is_live() && second.is_live());
    assert!(Arc::ptr_eq(&second, &get(&store, "/a").unwrap()));
    assert_eq!(
        (values(&first), values(&second)),
        (vec!["x"], vec!["y", "x"])
    );
    assert!(Arc::ptr_eq(&first.objects()[0], &second.objects()[1]));
    let again = store.insert(Arc::clone(&first.objects()[0]));
    assert!(Arc::ptr_eq(&again, &second) && second.is_live());
    let stats = store.stats();
    assert_eq!((stats.objects, stats.replaced), (1, 1));
    assert_eq!(stats.bytes, second.cost_bytes());
    assert!(stats.bytes > first.cost_bytes());
}

fn a_variant_replaced_leaves_the_others<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    let (store, memory) = (new(ROOMY), memory());
    for value in ["x", "y", "z"] {
        store.insert(variant(&memory, "/a", value));
    }
    let old = get(&store, "/a").unwrap();
    let used = memory.usage().used_bytes;
    let y = variant(&memory, "/a", "y");
    let new = store.insert(Arc::clone(&y));
    assert!(!old.is_live() && new.is_live());
    assert_eq!(values(&new), ["y", "z", "x"]);
    assert!(Arc::ptr_eq(&new.objects()[0], &y));
    assert_eq!(store.stats().bytes, new.cost_bytes());
    assert!(memory.usage().used_bytes > used);
    drop(old);
    assert_eq!(memory.usage().used_bytes, used);
}

fn variants_leave_with_their_entry<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    type Leave<S> = fn(&S);
    let leave: [Leave<S>; 3] = [
        |store| assert!(store.remove(hash("/a"), &view("/a"))),
        |store| assert_eq!(store.make_room(1).len(), 1),
        |store| {
            get(store, "/a").unwrap().retire();
            assert!(get(store, "/a").is_none());
        },
    ];
    for leave in leave {
        let (store, memory) = (new(ROOMY), memory());
        for value in ["x", "y", "x", "z"] {
            store.insert(variant(&memory, "/a", value));
        }
        let entry = get(&store, "/a").unwrap();
        assert_eq!(store.stats().bytes, entry.cost_bytes());
        leave(&store);
        assert!(!entry.is_live());
        drop(entry);
        let stats = store.stats();
        assert_eq!((stats.objects, stats.bytes), (0, 0));
        assert_eq!(memory.usage().used_bytes, 0);
    }
}

fn what_was_retired_lends_no_variants<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    let (store, memory) = (new(ROOMY), memory());
    store.insert(variant(&memory, "/a", "x")).retire();
    let entry = store.insert(variant(&memory, "/a", "y"));
    assert_eq!(values(&entry), ["y"]);
    assert_eq!(store.stats().bytes, entry.cost_bytes());
}

fn a_freshened_answer_outlives_the_entry_before<S: NodeStore<HeapMemory>>(
    new: impl Fn(StoreLimits) -> S,
) {
    let (store, memory) = (new(ROOMY), memory());
    let before = store.insert(stored(&memory, "/a", b"body"));
    let used = memory.usage().used_bytes;
    let object = &before.objects()[0];
    let fresh = object.freshened(object.head.fields.clone(), TERMS, object.variant.clone());
    let after = store.insert(Arc::new(fresh));
    assert!(!before.is_live() && after.is_live());
    assert_eq!(store.stats().bytes, before.cost_bytes());
    assert_eq!(memory.usage().used_bytes, used);
    drop(before);
    assert_eq!(memory.usage().used_bytes, used);
    assert_eq!(after.objects()[0].body.published(), 4);
    assert!(store.remove(hash("/a"), &view("/a")));
    drop(after);
    assert_eq!(memory.usage().used_bytes, 0);
    assert_eq!(store.stats().bytes, 0);
}

fn threads_lose_no_variant_of_one_key<S: NodeStore<HeapMemory>>(new: impl Fn(StoreLimits) -> S) {
    let memory = memory();
    for _ in 0..50 {
        let (store, start) = (new(ROOMY), Barrier::new(2));
        let of = |thread: usize| (0..20).map(move |n| format!("{thread}-{n}"));
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let (store, start, memory) = (&store, &start, &memory);
                scope.spawn(move || {
                    start.wait();
                    for value in of(thread) {
                        let entry = store.insert(variant(memory, "/a", &value));
                        assert_eq!(values(&entry)[0], value);
                    }
                });
            }
        });
        let entry = get(&store, "/a").unwrap();
        let mut held = values(&entry);
        held.sort_unstable();
        let mut all: Vec<_> = of(0).chain(of(1)).collect();
        all.sort_unstable();
        assert_eq!(held, all);
        let stats = store.stats();
        assert_eq!((stats.objects, stats.replaced), (1, 39));
        assert_eq!(stats.bytes, entry.cost_bytes());
    }
    assert_eq!(memory.usage().used_bytes, 0);
}
