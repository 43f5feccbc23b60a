//! A shard's front, seen from outside.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod heads;
mod objects;

use std::rc::Rc;
use std::sync::Arc;

use base::{Memory, Moment, Span};
use cache::{
    Entry, Front, HeapMemory, Key, NodeStore, Resident, StoreLimits, StripedStore, Variant,
};
use heads::with_request;
use objects::{Put, entry, filling, hash, key, stored, stored_as, varied, view};

fn memory() -> HeapMemory {
    HeapMemory::new(64 << 20)
}

fn find<'a>(
    front: &'a mut Front<HeapMemory>,
    target: &str,
) -> Option<&'a Rc<Resident<HeapMemory>>> {
    let held = front.find(hash(target), &view(target))?;
    Some(held.resident(0))
}

fn admit(front: &mut Front<HeapMemory>, entry: Put) -> Rc<Resident<HeapMemory>> {
    Rc::clone(front.admit(entry).unwrap().resident(0))
}

#[test]
fn what_was_admitted_is_found_until_it_is_retired() {
    let memory = memory();
    let mut front = Front::new(10);
    assert!(find(&mut front, "/a").is_none());
    let entry = entry(stored(&memory, "/a", b"body"));
    let resident = admit(&mut front, Arc::clone(&entry));
    assert!(Rc::ptr_eq(&resident, find(&mut front, "/a").unwrap()));
    assert_eq!(resident.whole(), Some(&b"body"[..]));
    assert!(find(&mut front, "/b").is_none());
    entry.retire();
    assert!(find(&mut front, "/a").is_none());
    assert!(front.is_empty());
}

#[test]
fn keys_of_one_hash_are_told_apart() {
    let memory = memory();
    let mut front = Front::new(10);
    admit(&mut front, entry(stored(&memory, "/a", b"a")));
    let collision = Key::new(hash("/a"), &view("/b"));
    admit(&mut front, entry(stored_as(&memory, collision, b"b")));
    assert!(front.find(hash("/a"), &view("/c")).is_none());
    for (target, body) in [("/a", b"a"), ("/b", b"b")] {
        let found = front.find(hash("/a"), &view(target)).unwrap();
        assert_eq!(found.resident(0).whole(), Some(&body[..]));
    }
}

#[test]
fn a_newer_entry_takes_the_place_of_its_key() {
    let memory = memory();
    let mut front = Front::new(10);
    admit(&mut front, entry(stored(&memory, "/a", b"old")));
    let new = entry(stored(&memory, "/a", b"new"));
    let resident = admit(&mut front, Arc::clone(&new));
    assert!(Rc::ptr_eq(&resident, &admit(&mut front, new)));
    assert_eq!(find(&mut front, "/a").unwrap().whole(), Some(&b"new"[..]));
    assert_eq!(front.len(), 1);
}

#[test]
fn it_holds_no_more_than_its_capacity_and_keeps_what_is_asked_for() {
    let memory = memory();
    let mut front = Front::new(50);
    for n in 0..1_000 {
        admit(&mut front, entry(stored(&memory, &format!("/{n}"), b"x")));
        assert!(front.len() <= 50);
        if n > 0 {
            assert!(find(&mut front, "/0").is_some(), "lost after {n}");
        }
    }
    assert_eq!(memory.usage().used_bytes, 50 * 256);
}

#[test]
fn a_resident_outlives_its_eviction_and_its_retirement() {
    let memory = memory();
    let mut front = Front::new(1);
    let before = entry(stored(&memory, "/a", b"still here"));
    let resident = admit(&mut front, Arc::clone(&before));
    let (pin, start, end) = resident.piece(6).unwrap();
    admit(&mut front, entry(stored(&memory, "/b", b"next")));
    assert!(find(&mut front, "/a").is_none());
    before.retire();
    drop(before);
    assert_eq!(resident.whole(), Some(&b"still here"[..]));
    drop(resident);
    assert_eq!(&pin[start as usize..end as usize], b"here");
    drop((pin, front));
    assert_eq!(memory.usage().used_bytes, 0);
}

#[test]
fn a_sweep_gives_back_what_nobody_asks_for() {
    let memory = memory();
    let mut front = Front::new(100);
    let entries: Vec<_> = (0..100)
        .map(|n| entry(stored(&memory, &format!("/{n}"), b"x")))
        .collect();
    for entry in &entries {
        admit(&mut front, Arc::clone(entry));
    }
    entries.iter().step_by(2).for_each(|entry| entry.retire());
    drop(entries);
    assert_eq!(front.sweep(10) + front.sweep(90), 50);
    assert_eq!(front.len(), 50);
    assert_eq!(memory.usage().used_bytes, 50 * 256);
    assert_eq!(front.sweep(1_000), 0);
}

#[test]
fn a_growing_body_is_read_piece_by_piece() {
    let memory = memory();
    let (object, mut writer) = filling(&memory, key("/a"), None);
    let resident = Resident::new(object);
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut read = Vec::new();
    assert!(resident.piece(0).is_none());
    for part in body.chunks(77_777) {
        writer.append(part).unwrap();
        while let Some((pin, start, end)) = resident.piece(read.len() as u64) {
            assert!(start < end);
            read.extend_from_slice(&pin[start as usize..end as usize]);
        }
        assert_eq!(resident.whole(), None);
    }
    assert!(writer.finish());
    assert!(read == body);
    assert_eq!(resident.whole(), None);
}

#[test]
fn a_whole_body_is_seen_once_it_is_complete() {
    let memory = memory();
    for body in [&b"0123456789"[..], b""] {
        for length in [None, Some(body.len() as u64)] {
            let (object, mut writer) = filling(&memory, key("/a"), length);
            let resident = Resident::new(object);
            writer.append(body).unwrap();
            assert_eq!(resident.whole(), None);
            assert!(writer.finish());
            assert_eq!(resident.whole(), Some(body));
            assert_eq!(resident.whole(), Some(body));
        }
    }
}

#[test]
fn a_failed_body_is_never_whole() {
    let memory = memory();
    let (object, mut writer) = filling(&memory, key("/a"), None);
    let resident = Resident::new(object);
    writer.append(b"half").unwrap();
    writer.fail();
    assert_eq!(resident.whole(), None);
}

#[test]
fn a_touch_is_due_once_a_second() {
    let memory = memory();
    let mut front = Front::new(1);
    let held = front.admit(entry(stored(&memory, "/a", b""))).unwrap();
    let at = |millis| Moment::default() + Span::from_millis(millis);
    let due: Vec<_> = [5_100, 5_900, 6_000, 6_999, 9_000, 9_000]
        .map(|millis| held.due_touch(at(millis)))
        .into();
    assert_eq!(due, [false, false, true, false, true, false]);
}

/// Answers to three values of the field they vary by, the newest first.
fn varying(memory: &HeapMemory, values: [&str; 3]) -> Put {
    let mut entry = None;
    for value in values.into_iter().rev() {
        let variant = with_request("GET", &[&format!("A: {value}")], |request| {
            Variant::of([&b"A"[..]].into_iter(), &request.fields)
        });
        let object = varied(memory, "/a", variant.unwrap(), value);
        entry = Some(Arc::new(Entry::with(entry.as_deref(), object)));
    }
    entry.unwrap()
}

#[test]
fn a_resident_of_each_variant_is_made_once_and_kept() {
    let memory = memory();
    let mut front = Front::new(10);
    let entry = varying(&memory, ["x", "y", "z"]);
    let held = front.admit(Arc::clone(&entry)).unwrap();
    let first: Vec<_> = (0..3).map(|at| Rc::clone(held.resident(at))).collect();
    for (resident, body) in first.iter().zip([b"x", b"y", b"z"]) {
        assert_eq!(resident.whole(), Some(&body[..]));
        resident.prefix(|| body.to_vec());
    }
    for _ in 0..2 {
        let held = front.find(hash("/a"), &view("/a")).unwrap();
        assert!(Arc::ptr_eq(held.entry(), &entry));
        for (at, resident) in first.iter().enumerate() {
            assert!(Rc::ptr_eq(resident, held.resident(at)));
            assert!(Arc::ptr_eq(&resident.object, &entry.objects()[at]));
            let prefix = held.resident(at).prefix(|| panic!("it is there"));
            assert_eq!(Some(prefix), resident.whole());
        }
    }
    assert!(Rc::ptr_eq(&first[0], &admit(&mut front, entry)));
}

#[test]
fn an_entry_takes_one_place_whatever_its_variants() {
    let memory = memory();
    let mut front = Front::new(2);
    admit(&mut front, entry(stored(&memory, "/b", b"b")));
    let entry = varying(&memory, ["x", "y", "z"]);
    let held = front.admit(entry).unwrap();
    (0..3).for_each(|at| drop(Rc::clone(held.resident(at))));
    assert_eq!(front.len(), 2);
    assert!(find(&mut front, "/b").is_some());
    drop(front);
    assert_eq!(memory.usage().used_bytes, 0);
}

#[test]
fn what_replaced_an_entry_is_found_in_its_place() {
    let memory = memory();
    let store = StripedStore::new(StoreLimits {
        objects: 10,
        bytes: 1 << 20,
    });
    let mut front = Front::new(10);
    let old = store.insert(stored(&memory, "/a", b"old"));
    let resident = admit(&mut front, old);
    let new = store.insert(stored(&memory, "/a", b"new"));
    assert!(find(&mut front, "/a").is_none());
    let behind = store.get(hash("/a"), &view("/a")).unwrap();
    admit(&mut front, behind);
    let held = front.find(hash("/a"), &view("/a")).unwrap();
    assert!(Arc::ptr_eq(held.entry(), &new));
    assert_eq!(held.resident(0).whole(), Some(&b"new"[..]));
    assert_eq!(resident.whole(), Some(&b"old"[..]));
    assert_eq!(front.len(), 1);
}

#[test]
fn an_entry_grown_by_a_variant_takes_the_place_of_the_one_before() {
    let memory = memory();
    let mut front = Front::new(10);
    let before = varying(&memory, ["x", "y", "z"]);
    let residents = front.admit(Arc::clone(&before)).unwrap();
    let y = Rc::clone(residents.resident(1));
    let plain = stored(&memory, "/a", b"plain");
    let grown = Arc::new(Entry::with(Some(&before), plain));
    let held = front.admit(Arc::clone(&grown)).unwrap();
    assert!(Arc::ptr_eq(held.entry(), &grown));
    assert_eq!(held.resident(0).whole(), Some(&b"plain"[..]));
    assert!(Arc::ptr_eq(&held.resident(2).object, &y.object));
    assert_eq!(front.len(), 1);
    // The old entry's end is none of the new one's.
    before.retire();
    assert!(find(&mut front, "/a").is_some());
}

#[test]
fn what_the_index_evicted_is_let_go_of_at_once() {
    let memory = memory();
    let mut front = Front::new(10);
    let [gone, other, newer] = ["/a", "/b", "/a"].map(|path| entry(stored(&memory, path, b"x")));
    front.admit(Arc::clone(&gone));
    front.admit(Arc::clone(&other));
    gone.retire();
    // Not the newer one under its key.
    assert!(!front.forget(&newer));
    assert!(front.forget(&gone) && !front.forget(&gone));
    assert_eq!((front.len(), Arc::strong_count(&gone)), (1, 1));
    assert!(find(&mut front, "/b").is_some());
}
