//! Which of the answers stored under one key a request gets.

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod heads;
mod objects;

use std::sync::Arc;

use base::{Memory, Wall, limits};
use cache::{Entry, HeapMemory, Variant};
use heads::with_request;
use http::vary::VARY_NAMES_MAX;
use objects::{Put, Stored, TERMS, varied};

/// The variant of an answer with these `Vary` lines to a request with these field lines.
fn variant(vary: &[&str], request: &[&str]) -> Option<Variant> {
    with_request("GET", request, |request| {
        Variant::of(vary.iter().map(|line| line.as_bytes()), &request.fields)
    })
}

/// An answer with a `Vary` and further field lines to such a request.
fn answer(vary: &str, request: &[&str], fields: &str) -> Stored {
    let memory = HeapMemory::new(1 << 20);
    varied(&memory, "/", variant(&[vary], request).unwrap(), fields)
}

/// Answers put in one after the other.
fn entry(answers: impl IntoIterator<Item = Stored>) -> Put {
    let mut entry = None;
    for answer in answers {
        entry = Some(Arc::new(Entry::with(entry.as_deref(), answer)));
    }
    entry.unwrap()
}

/// The field lines of the answer that such a request gets.
fn selected<'a>(entry: &'a Entry<HeapMemory>, request: &[&str]) -> Option<&'a str> {
    let mut scratch = b"of an earlier request".to_vec();
    let at = with_request("GET", request, |request| {
        entry.select(&request.fields, &mut scratch)
    });
    let head = &entry.objects()[at?].head;
    Some(str::from_utf8(&head.fields).unwrap())
}

/// Whether an answer to one request is chosen for another, by an entry and for a flight.
fn serves(vary: &str, first: &[&str], later: &[&str]) -> bool {
    let is_selected = selected(&entry([answer(vary, first, "")]), later).is_some();
    let is_same = variant(&[vary], first) == variant(&[vary], later);
    assert_eq!(is_selected, is_same, "{vary}: {first:?}, {later:?}");
    is_selected
}

#[test]
fn an_answer_without_vary_is_for_every_request() {
    for vary in ["", ",", " "] {
        assert!(variant(&[vary], &[]).unwrap().is_plain());
        assert!(serves(vary, &["A: x"], &["A: y", "Accept-Language: de"]));
    }
    assert_eq!(variant(&[], &["A: x"]), Some(Variant::default()));
}

#[test]
fn absent_is_not_empty() {
    for name in ["A", "Accept-Encoding", "Accept-Language"] {
        let empty: &[&str] = &[&format!("{name}:")];
        assert!(serves(name, &[], &[]));
        assert!(serves(name, empty, empty));
        assert!(!serves(name, &[], empty));
        assert!(!serves(name, empty, &[]));
    }
}

#[test]
fn every_selecting_field_must_match_and_no_other() {
    let first = ["A: x", "B: y"];
    assert!(serves("A, B", &first, &first));
    assert!(serves("A, B", &first, &["C: z", "B: y", "A: x"]));
    for other in [
        &["A: x"][..],
        &["B: y"],
        &["A: x", "B: z"],
        &["A: y", "B: x"],
        &["A: X", "B: y"],
        &["A: x", "B: y", "B: y"],
        &[],
    ] {
        assert!(!serves("A, B", &first, other), "{other:?}");
    }
}

#[test]
fn no_value_passes_for_that_of_the_next_field() {
    let requests = [
        &["A: xy", "B:"][..],
        &["A: x", "B: y"],
        &["A:", "B: xy"],
        &["A: xy"],
        &["B: xy"],
        &["A: x,y", "B:"],
        &["A:", "B:"],
        &["A:"],
        &["B:"],
        &[],
    ];
    for (at, first) in requests.iter().enumerate() {
        for (other, later) in requests.iter().enumerate() {
            assert_eq!(serves("A, B", first, later), at == other);
        }
    }
}

#[test]
fn names_are_the_same_in_any_order_and_case_and_on_any_lines() {
    let request = ["a: x", "B: y", "c-D: z"];
    let one = variant(&["A, B, C-d"], &request).unwrap();
    for vary in [
        &["C-d, B, A"][..],
        &["c-D,a,b"],
        &["b", "A", "C-D"],
        &["A, , a", "B, C-D, b"],
    ] {
        let other = variant(vary, &request).unwrap();
        assert!(one == other && one.varies_as(&other), "{vary:?}");
    }
    assert!(serves("a-B", &["A-b: x"], &["a-b: x"]));
}

#[test]
fn lines_of_a_field_are_combined_in_their_order() {
    for later in [
        &["A: x, y"][..],
        &["A: x,y"],
        &["A:  x ,\t y "],
        &["a: x", "B: z", "A: y"],
    ] {
        assert!(serves("A", &["A: x", "A: y"], later), "{later:?}");
    }
    assert!(!serves("A", &["A: x", "A: y"], &["A: y", "A: x"]));
    assert!(!serves("A", &["A: \"x,y\""], &["A: \"x, y\""]));
}

#[test]
fn accepted_encodings_are_compared_by_what_they_mean() {
    let first = ["Accept-Encoding: gzip, br;q=1.0, deflate;q=0"];
    for (same, later) in [
        (true, &["Accept-Encoding: BR;q=0.5,GZip"][..]),
        (true, &["Accept-Encoding: br", "Accept-Encoding: x-gzip"]),
        (false, &["Accept-Encoding: gzip"]),
        (false, &["Accept-Encoding: gzip, br, deflate"]),
        (false, &["Accept-Encoding: gzip, br, *"]),
        (false, &["Accept-Encoding: gzip, br;q=0"]),
    ] {
        assert_eq!(serves("Accept-Encoding", &first, later), same, "{later:?}");
    }
}

#[test]
fn accepted_languages_are_compared_by_their_order() {
    let first = ["Accept-Language: de-AT, en;q=0.5"];
    for (same, later) in [
        (true, &["Accept-Language: EN;q=0.50,DE-at;q=1"][..]),
        (
            true,
            &["Accept-Language: de-at", "Accept-Language: en;q=0.500"],
        ),
        (false, &["Accept-Language: de-AT, en"]),
        (false, &["Accept-Language: en, de-AT;q=0.5"]),
        (false, &["Accept-Language: de, en;q=0.5"]),
        (false, &["Accept-Language: de-AT"]),
    ] {
        assert_eq!(serves("Accept-Language", &first, later), same, "{later:?}");
    }
}

#[test]
fn a_vary_that_cannot_be_met_has_no_variant() {
    let many: Vec<_> = (0..=VARY_NAMES_MAX).map(|n| format!("n-{n}")).collect();
    assert!(variant(&[&many[1..].join(",")], &[]).is_some());
    for vary in ["*", "A, *", "* , A", "A B", "A:", "\"A\"", &many.join(",")] {
        assert_eq!(variant(&[vary], &["A: x"]), None, "{vary:?}");
    }
    assert_eq!(variant(&["A", "*"], &["A: x"]), None);
}

/// Of German and English, the latter newer.
fn languages(vary: &str, more: &[&str]) -> Put {
    let of = |language: &str| {
        let accepted = format!("Accept-Language: {language};q=0.9");
        let request = [&[&*accepted], more].concat();
        answer(vary, &request, &format!("Content-Language: {language}\r\n"))
    };
    entry([of("de"), of("en")])
}

#[test]
fn an_answer_in_the_language_liked_best_is_chosen() {
    let entry = languages("Accept-Language", &[]);
    let german = Some("Content-Language: de\r\n");
    let english = Some("Content-Language: en\r\n");
    for (language, chosen) in [
        ("de", german),
        ("DE, fr;q=0.9", german),
        ("fr;q=0.3, de;q=0.4, en;q=0.2", german),
        ("en, de;q=0.999", english),
        ("de;q=0.9", german),
        // Of two liked as well as each other, the newer.
        ("de, en", english),
        ("*", english),
        ("*;q=0.5, de;q=0.6", german),
        ("*, en;q=0.5", german),
        // Something else is liked better, and the origin may have it.
        ("fr, de;q=0.9", None),
        ("*, en;q=0.5, de;q=0.5", None),
        ("de-AT", None),
        ("de;q=0", None),
        ("de;q=0, en;q=0", None),
        ("fr", None),
        ("", None),
        ("de;q=x", None),
    ] {
        let request = [&*format!("Accept-Language: {language}")];
        assert_eq!(selected(&entry, &request), chosen, "{language}");
    }
    assert_eq!(selected(&entry, &[]), None);
}

#[test]
fn a_language_chooses_only_where_everything_else_matches() {
    let entry = languages("A, Accept-Language, B", &["A: x", "B: y"]);
    let german = Some("Content-Language: de\r\n");
    let selected = |more: &[&str]| {
        let request = [&["Accept-Language: de"], more].concat();
        selected(&entry, &request)
    };
    assert_eq!(selected(&["A: x", "B: y"]), german);
    for other in [
        &["A: x"][..],
        &["B: y"],
        &["A: y", "B: y"],
        &["A: x", "B: x"],
    ] {
        assert_eq!(selected(other), None, "{other:?}");
    }
}

#[test]
fn an_answer_that_does_not_vary_by_language_is_not_chosen_by_it() {
    let entry = entry([answer("A", &["A: x"], "Content-Language: de\r\n")]);
    assert_eq!(selected(&entry, &["A: y", "Accept-Language: de"]), None);
}

#[test]
fn an_answer_in_several_languages_or_none_is_not_chosen_by_one() {
    for fields in [
        "",
        "Content-Language: de, en\r\n",
        "Content-Language: \r\n",
        "Content-Language: de\r\nContent-Language: en\r\n",
        "X-Content-Language: de\r\n",
    ] {
        let first = ["Accept-Language: de, fr;q=0.1"];
        let entry = entry([answer("Accept-Language", &first, fields)]);
        assert_eq!(selected(&entry, &["Accept-Language: de"]), None);
        assert_eq!(selected(&entry, &first), Some(fields));
    }
}

#[test]
fn the_same_request_goes_before_the_same_language() {
    let of = |accepted: &str, mark: &str| {
        let fields = format!("X-Mark: {mark}\r\nContent-Language: de\r\n");
        answer("Accept-Language", &[accepted], &fields)
    };
    let first = "Accept-Language: de, en;q=0.5";
    let entry = entry([of(first, "old"), of("Accept-Language: de", "new")]);
    let selected = |request| selected(&entry, &[request]).unwrap();
    assert!(selected(first).starts_with("X-Mark: old"));
    assert!(selected("Accept-Language: DE").starts_with("X-Mark: new"));
    assert!(selected("Accept-Language: de, fr;q=0.5").starts_with("X-Mark: new"));
}

#[test]
fn of_several_that_match_the_newest_is_chosen() {
    let plain = || answer("", &[], "plain");
    let by_a = || answer("A", &["A: x"], "by A");
    let by_both = || answer("A, B", &["A: x", "B: y"], "by A, B");
    let both = ["A: x", "B: y"];
    for (answers, chosen) in [
        ([plain(), by_a(), by_both()], "by A, B"),
        ([by_both(), plain(), by_a()], "by A"),
        ([by_a(), by_both(), plain()], "plain"),
    ] {
        let entry = entry(answers);
        assert_eq!(entry.objects().len(), 3);
        assert_eq!(selected(&entry, &both), Some(chosen));
    }
    let entry = entry([plain(), by_a(), by_both()]);
    assert_eq!(selected(&entry, &["A: x", "B: z"]), Some("by A"));
    assert_eq!(selected(&entry, &["A: z", "B: y"]), Some("plain"));
}

#[test]
fn an_answer_takes_the_place_of_its_variant_alone() {
    let of = |value: &str, fields: &str| answer("A", &[&format!("A: {value}")], fields);
    let entry = entry([of("x", "old x"), of("y", "y"), of("x", "new x")]);
    assert_eq!(entry.objects().len(), 2);
    assert_eq!(selected(&entry, &["A: x"]), Some("new x"));
    assert_eq!(selected(&entry, &["A: y"]), Some("y"));
    assert_eq!(selected(&entry, &["A: z"]), None);
}

#[test]
fn beyond_the_bound_the_oldest_variant_goes() {
    let name = |n: usize| format!("A: {n}");
    let of = |n: usize| answer("A", &[&name(n)], &name(n));
    let max = limits::VARIANTS_MAX;
    let full = entry((0..max).map(of));
    assert_eq!(full.objects().len(), max);
    // Variant 0 is the newest again: the bound then takes 1.
    let full = Entry::with(Some(&full), of(0));
    assert_eq!(full.objects().len(), max);
    let next = Entry::with(Some(&full), of(max));
    assert_eq!(next.objects().len(), max);
    assert_eq!(selected(&next, &[&name(1)]), None);
    for n in (0..=max).filter(|n| *n != 1) {
        assert_eq!(selected(&next, &[&name(n)]), Some(&*name(n)));
    }
}

#[test]
fn a_freshened_answer_is_of_the_same_variant_and_shares_the_body() {
    let memory = HeapMemory::new(1 << 20);
    let [x, y] = ["x", "y"].map(|value| {
        let variant = variant(&["A"], &[&format!("A: {value}")]);
        varied(&memory, "/", variant.unwrap(), "Brand-Old: 1\r\n")
    });
    let before = entry([Arc::clone(&x), y]);
    let used = memory.usage().used_bytes;
    let terms = cache::policy::Terms {
        date: Wall::from_secs(784_111_999),
        ..TERMS
    };
    let fresh = x.freshened(
        Box::from(&b"Brand-New: 1\r\n"[..]),
        terms,
        x.variant.clone(),
    );
    assert_eq!((fresh.terms, fresh.head.status), (terms, x.head.status));
    assert_eq!(fresh.key, x.key);
    drop(x);
    let after = Entry::with(Some(&before), Arc::new(fresh));
    assert_eq!(memory.usage().used_bytes, used);
    assert_eq!(after.cost_bytes(), before.cost_bytes());
    before.retire();
    drop(before);
    assert_eq!(memory.usage().used_bytes, used);
    assert_eq!(after.objects().len(), 2);
    assert!(after.is_live());
    assert_eq!(selected(&after, &["A: x"]), Some("Brand-New: 1\r\n"));
    assert_eq!(after.objects()[0].body.published(), 14);
    drop(after);
    assert_eq!(memory.usage().used_bytes, 0);
}

#[test]
fn an_entry_weighs_what_its_answers_weigh() {
    let x = answer("A", &["A: x"], "x");
    let y = answer("A", &["A: y"], "y");
    let weight = |answers: Vec<Stored>| entry(answers).cost_bytes();
    let itself = weight(vec![Arc::clone(&x)]) - x.cost_bytes();
    let both = x.cost_bytes() + y.cost_bytes();
    assert_eq!(weight(vec![x, y]), itself + both);
}
