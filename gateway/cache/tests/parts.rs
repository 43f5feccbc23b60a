//! Parts of a representation, put together as they come (RFC 9110 §15.3.7.3): nobody ever gets another byte than the
//! representation has there.

#![allow(
    clippy::single_range_in_vec_init,
    reason = "places held, of which there may be one"
)]

mod heads;
mod objects;

use std::ops::Range;
use std::sync::Arc;

use base::Memory;
use cache::policy::{self, Rules};
use cache::{Body, BodyState, Entry, Head, HeapMemory, Object, Resident, Variant};
use heads::{RECEIVED, request, with_answer};
use objects::{Put, Stored, key};
use proptest::prelude::*;

const LENGTH: usize = 60;

/// The representation whose tag this is.
fn representation(tag: &str) -> Vec<u8> {
    let seed = tag.bytes().map(usize::from).sum::<usize>();
    (0..LENGTH)
        .map(|at| ((at * 7 + seed) % 251) as u8)
        .collect()
}

fn part(memory: &HeapMemory, tag: &str, range: Range<usize>) -> Stored {
    let (first, last) = (range.start, range.end - 1);
    let length = format!("Content-Length: {}", range.len());
    let place = format!("Content-Range: bytes {first}-{last}/{LENGTH}");
    let tag_line = format!("ETag: {tag}");
    let mut lines = vec!["Cache-Control: max-age=60", heads::DATE, &length, &place];
    if !tag.is_empty() {
        lines.push(&tag_line);
    }
    let rules = Rules::default();
    let facts = request("GET", &["Range: bytes=0-"]);
    let (head, terms, part) = with_answer(206, &lines, |response| {
        let terms =
            policy::storable(&facts, response, RECEIVED, RECEIVED, &rules).expect("storable");
        let fields = policy::head_fields(response, RECEIVED, &rules).into();
        (
            Head {
                status: 206,
                fields,
            },
            terms,
            policy::part(response),
        )
    });
    let length = Some(range.len() as u64);
    let (body, mut writer) = Body::new(memory, length, 1 << 20).expect("there is room");
    writer
        .append(&representation(tag)[range])
        .expect("there is room");
    assert!(writer.finish());
    let object = Object::new(key("/a"), head, terms, Variant::default(), body);
    Arc::new(object.of_part(part))
}

fn read(object: &Stored) -> Vec<u8> {
    let resident = Resident::new(Arc::clone(object));
    let mut bytes = Vec::new();
    while let Some((pin, start, end)) = resident.piece(bytes.len() as u64) {
        bytes.extend_from_slice(&pin[start as usize..end as usize]);
    }
    bytes
}

/// What an entry has of the representation with this tag, place by place.
fn held(entry: &Put, tag: &str) -> Vec<Range<usize>> {
    let whole = representation(tag);
    let place = |object: &Stored| match object.part {
        Some(part) => part.first as usize..part.end() as usize,
        None => 0..LENGTH,
    };
    let mut places = Vec::new();
    for object in entry.objects() {
        let place = place(object);
        assert_eq!(object.body.state(), BodyState::Complete);
        assert_eq!(object.body.length(), Some(place.len() as u64));
        assert_eq!(read(object), whole[place.clone()]);
        assert_eq!(
            object.head.status,
            if place.len() == LENGTH { 200 } else { 206 }
        );
        places.push(place);
    }
    places.sort_by_key(|place| place.start);
    places
}

fn entry_of(parts: impl IntoIterator<Item = Stored>) -> Put {
    let mut entry: Option<Put> = None;
    for part in parts {
        entry = Some(Arc::new(Entry::with(entry.as_deref(), part)));
    }
    entry.expect("a part")
}

#[test]
fn parts_that_touch_become_one_and_all_of_them_the_whole() {
    let memory = HeapMemory::new(1 << 20);
    let parts = |ranges: &[Range<usize>]| {
        let ranges = ranges.iter().cloned();
        held(
            &entry_of(ranges.map(|range| part(&memory, "\"a\"", range))),
            "\"a\"",
        )
    };
    assert_eq!(parts(&[0..10, 10..20]), [0..20]);
    assert_eq!(parts(&[10..20, 0..10]), [0..20]);
    assert_eq!(parts(&[0..15, 10..20]), [0..20]);
    assert_eq!(parts(&[10..20, 0..15]), [0..20]);
    assert_eq!(parts(&[0..10, 11..20]), [0..10, 11..20]);
    assert_eq!(parts(&[0..10, 20..30, 10..20]), [0..30]);
    assert_eq!(parts(&[20..30, 0..40]), [0..40]);
    assert_eq!(parts(&[0..40, 20..30]), [0..40]);
    assert_eq!(parts(&[0..30, 30..60]), [0..60]);
    assert_eq!(parts(&[30..60, 10..20, 0..10, 20..30]), [0..60]);
    assert_eq!(memory.usage().used_bytes, 0);
}

#[test]
fn parts_without_a_strong_tag_in_common_are_not_put_together() {
    let memory = HeapMemory::new(1 << 20);
    for (first, second) in [
        ("", ""),
        ("W/\"a\"", "W/\"a\""),
        ("\"a\"", "\"b\""),
        ("\"a\"", ""),
        ("\"a\"", "W/\"a\""),
    ] {
        let entry = entry_of([part(&memory, first, 0..10), part(&memory, second, 10..20)]);
        assert_eq!(held(&entry, second), [10..20], "{first} {second}");
    }
}

#[test]
fn the_newest_parts_head_is_that_of_all() {
    let memory = HeapMemory::new(1 << 20);
    let newest = part(&memory, "\"a\"", 30..60);
    let entry = entry_of([part(&memory, "\"a\"", 0..30), Arc::clone(&newest)]);
    let [whole] = entry.objects() else {
        panic!("one");
    };
    assert_eq!(whole.head.fields, newest.head.fields);
    assert!(whole.part.is_none());
}

proptest! {
    /// Parts in any order, of a representation that may change: the entry holds bytes of the last one alone, and of those
    /// all that came since it is the one.
    #[test]
    fn what_came_is_held(parts in prop::collection::vec((0..LENGTH, 1..30_usize, prop::bool::weighted(0.1)), 1..30)) {
        let memory = HeapMemory::new(1 << 20);
        let mut tag = "\"0\"".to_owned();
        let mut came = [false; LENGTH];
        let mut entry: Option<Put> = None;
        for (at, (first, length, changes)) in parts.into_iter().enumerate() {
            if changes {
                tag = format!("\"{at}\"");
                came = [false; LENGTH];
            }
            let range = first..(first + length).min(LENGTH);
            came[range.clone()].fill(true);
            entry = Some(Arc::new(Entry::with(entry.as_deref(), part(&memory, &tag, range))));
            let mut has = [false; LENGTH];
            for place in held(entry.as_ref().unwrap(), &tag) {
                has[place].fill(true);
            }
            prop_assert_eq!(has, came);
        }
        drop(entry);
        prop_assert_eq!(memory.usage().used_bytes, 0);
    }
}
