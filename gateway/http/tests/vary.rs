//! `Vary` (RFC 9110 §12.5.5).

use std::collections::BTreeSet;

use proptest::prelude::*;
use ultragate_http::vary::{VARY_NAMES_MAX, Vary};

fn read<'a>(lines: &[&'a str]) -> Vary<'a> {
    Vary::read(lines.iter().map(|line| line.as_bytes()))
}

/// `None` for any.
fn names(lines: &[&str]) -> Option<Vec<String>> {
    match read(lines) {
        Vary::Any => None,
        Vary::Names(names) => {
            let text = |name: &&[u8]| String::from_utf8_lossy(name).into_owned();
            Some(names.as_slice().iter().map(text).collect())
        }
    }
}

#[test]
fn names_on_any_lines_in_any_order() {
    for (lines, expected) in [
        (&[][..], &[][..]),
        (&["", ",", " ,\t,"], &[]),
        (&["Accept"], &["Accept"]),
        (&["b, A"], &["A", "b"]),
        (&["b,A", "c"], &["A", "b", "c"]),
        (&["a", "", "b,", ",c"], &["a", "b", "c"]),
        (&["\ta ,, b "], &["a", "b"]),
        (&["Accept, accept", "ACCEPT"], &["Accept"]),
        (&["Accept-Encoding, Accept"], &["Accept", "Accept-Encoding"]),
        (&["!#$%&'+-.^_`|~9"], &["!#$%&'+-.^_`|~9"]),
    ] {
        let expected: Vec<_> = expected.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(names(lines), Some(expected), "{lines:?}");
    }
}

#[test]
fn any_in_every_place() {
    for lines in [
        &["*"][..],
        &[" * "],
        &["*, a"],
        &["a, *, b"],
        &["a, b,*"],
        &["a,, *"],
        &["a", "*"],
        &["*", "a"],
        &["*, *"],
    ] {
        assert_eq!(read(lines), Vary::Any, "{lines:?}");
    }
}

#[test]
fn what_cannot_be_told_is_any() {
    for lines in [
        &["a b"][..],
        &["a, b c"],
        &["a;b"],
        &["\"a\""],
        &["\"a, b\""],
        &["a:"],
        &["a\0"],
        &["\u{e9}"],
        &["a", "b="],
        &["a/b"],
        &["(a)"],
    ] {
        assert_eq!(read(lines), Vary::Any, "{lines:?}");
    }
}

/// `*` is a token byte, and no other member than itself means any.
#[test]
fn a_name_may_contain_a_star() {
    assert_eq!(
        names(&["a*, **"]),
        Some(vec!["**".to_owned(), "a*".to_owned()])
    );
}

#[test]
fn too_many_names_are_any() {
    let line = |count| {
        (0..count)
            .map(|at| format!("x-{at}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let full = line(VARY_NAMES_MAX);
    assert_eq!(
        names(&[&full]).map(|names| names.len()),
        Some(VARY_NAMES_MAX)
    );
    assert_eq!(names(&[&full, &full.to_uppercase()]), names(&[&full]));
    assert_eq!(read(&[&line(VARY_NAMES_MAX + 1)]), Vary::Any);
}

#[test]
fn equal_in_any_order_and_case() {
    assert_eq!(read(&["Accept, b"]), read(&["B", "accept,ACCEPT"]));
    assert_ne!(read(&["a"]), read(&["a, b"]));
    assert_ne!(read(&["a"]), read(&["b"]));
    assert_ne!(read(&[]), read(&["*"]));
}

proptest! {
    #[test]
    fn as_a_set_has_them(lines in prop::collection::vec("[a-cA-C]{0,2}(,[a-cA-C]{0,2}){0,6}", 0..4)) {
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let set: BTreeSet<_> = lines
            .iter()
            .flat_map(|line| line.split(','))
            .filter(|name| !name.is_empty())
            .map(str::to_lowercase)
            .collect();
        let lower = names(&lines).map(|names| names.iter().map(|name| name.to_lowercase()).collect());
        let expected: Option<Vec<_>> = (set.len() <= VARY_NAMES_MAX).then(|| set.into_iter().collect());
        prop_assert_eq!(lower, expected);
    }
}
