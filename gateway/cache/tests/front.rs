//! A shard's front, seen from outside.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod objects;

use std::rc::Rc;
use std::sync::Arc;

use base::{Memory, Moment, Span};
use cache::{Front, HeapMemory, Key, Resident};
use objects::{filling, hash, key, stored, stored_as, view};

fn memory() -> HeapMemory {
    HeapMemory::new(64 << 20)
}

fn find<'a>(
    front: &'a mut Front<HeapMemory>,
    target: &str,
) -> Option<&'a Rc<Resident<HeapMemory>>> {
    front.find(hash(target), &view(target))
}

#[test]
fn what_was_admitted_is_found_until_it_is_retired() {
    let memory = memory();
    let mut front = Front::new(10);
    assert!(find(&mut front, "/a").is_none());
    let object = stored(&memory, "/a", b"body");
    let resident = front.admit(Arc::clone(&object));
    assert!(Rc::ptr_eq(&resident, find(&mut front, "/a").unwrap()));
    assert_eq!(resident.whole(), Some(&b"body"[..]));
    assert!(find(&mut front, "/b").is_none());
    object.retire();
    assert!(find(&mut front, "/a").is_none());
    assert!(front.is_empty());
}

#[test]
fn keys_of_one_hash_are_told_apart() {
    let memory = memory();
    let mut front = Front::new(10);
    front.admit(stored(&memory, "/a", b"a"));
    let collision = Key::new(hash("/a"), &view("/b"));
    front.admit(stored_as(&memory, collision, b"b"));
    assert!(front.find(hash("/a"), &view("/c")).is_none());
    for (target, body) in [("/a", b"a"), ("/b", b"b")] {
        let found = front.find(hash("/a"), &view(target)).unwrap();
        assert_eq!(found.whole(), Some(&body[..]));
    }
}

#[test]
fn a_newer_object_takes_the_place_of_its_key() {
    let memory = memory();
    let mut front = Front::new(10);
    front.admit(stored(&memory, "/a", b"old"));
    let new = stored(&memory, "/a", b"new");
    let resident = front.admit(Arc::clone(&new));
    assert!(Rc::ptr_eq(&resident, &front.admit(new)));
    assert_eq!(find(&mut front, "/a").unwrap().whole(), Some(&b"new"[..]));
    assert_eq!(front.len(), 1);
}

#[test]
fn it_holds_no_more_than_its_capacity_and_keeps_what_is_asked_for() {
    let memory = memory();
    let mut front = Front::new(50);
    for n in 0..1_000 {
        front.admit(stored(&memory, &format!("/{n}"), b"x"));
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
    let object = stored(&memory, "/a", b"still here");
    let resident = front.admit(object);
    let (pin, start, end) = resident.piece(6).unwrap();
    front.admit(stored(&memory, "/b", b"next"));
    assert!(find(&mut front, "/a").is_none());
    resident.object.retire();
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
    let objects: Vec<_> = (0..100)
        .map(|n| stored(&memory, &format!("/{n}"), b"x"))
        .collect();
    for object in &objects {
        front.admit(Arc::clone(object));
    }
    objects.iter().step_by(2).for_each(|object| object.retire());
    drop(objects);
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
    let resident = Resident::new(stored(&memory, "/a", b""));
    let at = |millis| Moment::default() + Span::from_millis(millis);
    let due: Vec<_> = [5_100, 5_900, 6_000, 6_999, 9_000, 9_000]
        .map(|millis| resident.due_touch(at(millis)))
        .into();
    assert_eq!(due, [false, false, true, false, true, false]);
}
