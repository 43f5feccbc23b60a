//! `Range` (RFC 9110 §14.1, §14.2).

#![allow(clippy::single_range_in_vec_init)] // lists of one range are meant

use std::ops::Range;

use proptest::prelude::*;
use ultragate_http::range::{RANGES_MAX, Ranges, Resolved};

fn resolve(value: &str, length: u64) -> Resolved {
    let ranges = Ranges::parse(value.as_bytes());
    ranges.unwrap_or_else(|| panic!("{value}")).resolve(length)
}

fn parts(value: &str, length: u64) -> Vec<Range<u64>> {
    match resolve(value, length) {
        Resolved::Parts(parts) => parts.as_slice().to_vec(),
        other => panic!("{value} of {length}: {other:?}"),
    }
}

#[test]
fn what_is_ignored() {
    for value in [
        "",
        "bytes",
        "bytes=",
        "bytes= ",
        "bytes=,",
        "bytes= , ,",
        "bytes 0-1",
        "bytes =0-1",
        " bytes=0-1",
        "byte=0-1",
        "items=0-1",
        "=0-1",
        "bytes=-",
        "bytes=--1",
        "bytes=0",
        "bytes=a-b",
        "bytes=0-b",
        "bytes=0x0-1",
        "bytes=1-0",
        "bytes=18446744073709551616-0",
        "bytes=0-1-2",
        "bytes=0--1",
        "bytes=+0-1",
        "bytes=0-+1",
        "bytes=0 -1",
        "bytes=0- 1",
        "bytes=0 - 1",
        "bytes=- 1",
        "bytes=0-1 2-3",
        "bytes=0-1;2-3",
        "bytes=0-1/2",
        "bytes=*",
        "bytes=\"0-1\"",
        "bytes=0-1, x",
        "bytes=0-1, 5-4",
        "bytes=0-1,bytes=2-3",
        "bytes==0-1",
        "bytes=0.5-1",
        "bytes=\u{ff10}-1",
    ] {
        assert_eq!(Ranges::parse(value.as_bytes()), None, "{value:?}");
    }
}

#[test]
fn single_ranges() {
    for (value, range) in [
        ("bytes=0-0", 0..1),
        ("bytes=0-499", 0..500),
        ("bytes=500-999", 500..1000),
        ("bytes=999-999", 999..1000),
        ("bytes=500-", 500..1000),
        ("bytes=0-", 0..1000),
        ("bytes=500-1000", 500..1000),
        ("bytes=500-99999999999999999999", 500..1000),
        ("bytes=0-18446744073709551615", 0..1000),
        ("bytes=-1", 999..1000),
        ("bytes=-1000", 0..1000),
        ("bytes=-1001", 0..1000),
        ("bytes=-99999999999999999999", 0..1000),
        ("bytes=000-0009", 0..10),
        ("Bytes=0-0", 0..1),
        ("BYTES=0-0", 0..1),
        ("bytes= 0-0", 0..1),
        ("bytes=\t0-0 ", 0..1),
        ("bytes=,0-0", 0..1),
        ("bytes=0-0, ,", 0..1),
    ] {
        assert_eq!(parts(value, 1000), [range], "{value}");
    }
    assert_eq!(parts("bytes=5-", u64::MAX), [5..u64::MAX]);
    assert_eq!(
        parts("bytes=0-18446744073709551615", u64::MAX),
        [0..u64::MAX]
    );
}

#[test]
fn several_ranges_keep_their_order_and_lose_what_is_not_there() {
    for (value, ranges) in [
        (
            "bytes= 0-99, 450-549, -100",
            vec![0..100, 450..550, 900..1000],
        ),
        ("bytes=-1,0-0", vec![999..1000, 0..1]),
        ("bytes=0-0,,\t2-2 ,4-4", vec![0..1, 2..3, 4..5]),
        ("bytes=0-0, 1000-, -0, 2-2", vec![0..1, 2..3]),
        ("bytes=5000-6000, 1-1", vec![1..2]),
    ] {
        assert_eq!(parts(value, 1000), ranges, "{value}");
    }
}

#[test]
fn unsatisfiable_ranges() {
    for (value, length) in [
        ("bytes=1000-", 1000),
        ("bytes=1000-1001", 1000),
        ("bytes=18446744073709551615-", 1000),
        ("bytes=99999999999999999999-", u64::MAX),
        ("bytes=99999999999999999999-99999999999999999999", u64::MAX),
        ("bytes=-0", 1000),
        ("bytes=-000", 1000),
        ("bytes=-0, 1000-", 1000),
        ("bytes=0-0", 0),
        ("bytes=0-", 0),
        ("bytes=-0", 0),
    ] {
        assert_eq!(resolve(value, length), Resolved::Unsatisfiable, "{value}");
    }
}

#[test]
fn a_suffix_of_nothing_is_the_whole() {
    assert_eq!(resolve("bytes=-5", 0), Resolved::Whole);
    assert_eq!(resolve("bytes=0-, -5", 0), Resolved::Whole);
}

#[test]
fn more_than_two_overlapping_ranges_are_the_whole() {
    for value in [
        "bytes=0-,0-,0-",
        "bytes=0-9,5-14,10-19",
        "bytes=0-100,5-6,50-51",
        "bytes=0-1,1-2,10-11,11-12",
        "bytes=0-0,2-2,-1000,4-4",
    ] {
        assert_eq!(resolve(value, 1000), Resolved::Whole, "{value}");
    }
    assert_eq!(parts("bytes=0-9,5-14", 1000), [0..10, 5..15]);
    assert_eq!(parts("bytes=0-0,0-0,2-2", 1000), [0..1, 0..1, 2..3]);
    assert_eq!(parts("bytes=0-1,2-3,4-5", 1000).len(), 3);
}

#[test]
fn too_many_ranges_are_ignored() {
    let many = |count: usize| {
        let specs: Vec<_> = (0..count)
            .map(|at| format!("{}-{}", 2 * at, 2 * at))
            .collect();
        format!("bytes={}", specs.join(","))
    };
    assert_eq!(parts(&many(RANGES_MAX), 1000).len(), RANGES_MAX);
    assert_eq!(Ranges::parse(many(RANGES_MAX + 1).as_bytes()), None);
    let empties = format!("bytes={}0-0", ",".repeat(1000));
    assert_eq!(parts(&empties, 1000), [0..1]);
}

#[derive(Clone, Copy, Debug)]
enum Spec {
    Int(u128, Option<u128>),
    Suffix(u128),
}

fn spec() -> impl Strategy<Value = Spec> {
    let place = || prop_oneof![0..40u128, (1u128 << 64) - 3..(1u128 << 64) + 3];
    prop_oneof![
        (place(), prop::option::of(place())).prop_map(|(first, last)| Spec::Int(first, last)),
        place().prop_map(Spec::Suffix),
    ]
}

proptest! {
    /// Compared with the rule as written, in numbers that cannot overflow.
    #[test]
    fn as_the_rule_is_written(specs in prop::collection::vec(spec(), 1..18), length in 0..40u64) {
        let text: Vec<_> = specs.iter().map(|spec| match spec {
            Spec::Int(first, Some(last)) => format!("{first}-{last}"),
            Spec::Int(first, None) => format!("{first}-"),
            Spec::Suffix(suffix) => format!("-{suffix}"),
        }).collect();
        let value = format!("bytes={}", text.join(" ,"));
        let beyond = u128::from(u64::MAX);
        let is_valid = specs.len() <= RANGES_MAX && specs.iter().all(|spec| match *spec {
            Spec::Int(first, Some(last)) => first.min(beyond) <= last.min(beyond),
            _ => true,
        });
        let ranges = Ranges::parse(value.as_bytes());
        prop_assert_eq!(ranges.is_some(), is_valid, "{}", value);
        let Some(ranges) = ranges else { return Ok(()) };
        let wanted = |spec: &Spec, at: u128| match *spec {
            Spec::Int(first, last) => first <= at && last.is_none_or(|last| at <= last),
            Spec::Suffix(suffix) => at + suffix >= u128::from(length),
        };
        let sets: Vec<Vec<u64>> = specs
            .iter()
            .map(|spec| (0..length).filter(|&at| wanted(spec, at.into())).collect())
            .filter(|set: &Vec<u64>| !set.is_empty())
            .collect();
        let overlapping = (0..sets.len()).filter(|&one| {
            (0..sets.len()).any(|other| other != one && sets[one].iter().any(|at| sets[other].contains(at)))
        }).count();
        match ranges.resolve(length) {
            Resolved::Parts(parts) => {
                let parts: Vec<Vec<u64>> = parts.as_slice().iter().map(|part| part.clone().collect()).collect();
                prop_assert_eq!(parts, sets);
                prop_assert!(overlapping <= 2);
            }
            Resolved::Unsatisfiable => prop_assert!(sets.is_empty()),
            Resolved::Whole => prop_assert!(length == 0 || overlapping > 2),
        }
    }
}
