//! `Accept-Language` compared and put to stored answers (RFC 9110 §12.5.4, RFC 4647 §3.3.1).

use proptest::prelude::*;
use ultragate_http::accept_language::{append_normal_form, prefers, weight};

fn normal(lines: &[&str]) -> String {
    let mut out = b"before".to_vec();
    append_normal_form(lines.iter().map(|line| line.as_bytes()), &mut out);
    String::from_utf8(out.split_off(b"before".len())).expect("text")
}

fn preferred(line: &str, candidates: &[&str]) -> Option<usize> {
    let candidates: Vec<_> = candidates
        .iter()
        .map(|language| language.as_bytes())
        .collect();
    prefers([line.as_bytes()].into_iter(), &candidates)
}

#[test]
fn order_case_and_blanks_do_not_matter() {
    for (lines, expected) in [
        (&[][..], ""),
        (&["", ","], ""),
        (&["en"], "en"),
        (&["EN-us"], "en-us"),
        (&["en, de"], "de,en"),
        (&["de,en"], "de,en"),
        (&["de", "en"], "de,en"),
        (&["de,, en ,"], "de,en"),
        (&["en;q=0.5, de"], "de,en;q=0.5"),
        (&["en ; q=0.5,de;Q=1.000"], "de,en;q=0.5"),
        (&["en\t;\tq=0.500"], "en;q=0.5"),
        (
            &["a;q=0.9, b;q=0.95, c;q=0.001"],
            "b;q=0.95,a;q=0.9,c;q=0.001",
        ),
        (&["a;q=0.050"], "a;q=0.05"),
        (&["a;q=1."], "a"),
        (&["a;q=1.0"], "a"),
        (&["a;q=0."], "a;q=0"),
        (&["a;q=0.000, b;q=0, *"], "*,a;q=0,b;q=0"),
        (&["*;q=0.1, en"], "en,*;q=0.1"),
        (&["en, EN, en;q=1"], "en"),
        (&["en, en;q=0.5"], "en,en;q=0.5"),
    ] {
        assert_eq!(normal(lines), expected, "{lines:?}");
        assert_eq!(normal(&[expected]), expected, "{lines:?}");
    }
}

#[test]
fn weights_matter() {
    for (one, other) in [
        ("en, de;q=0.5", "en;q=0.5, de"),
        ("en;q=0.5", "en"),
        ("en;q=0", ""),
        ("en;q=0.5", "en;q=0.51"),
        ("en", "en-us"),
    ] {
        assert_ne!(normal(&[one]), normal(&[other]), "{one} {other}");
    }
}

#[test]
fn what_is_malformed_is_only_combined() {
    for line in [
        "en;q",
        "en;q=",
        "en;q=2",
        "en;q=1.001",
        "en;q=0.0001",
        "en;q=00.1",
        "en;q=.5",
        "en;q=-1",
        "en;q=0,5;",
        "en;q= 0.5",
        "en;q =0.5",
        "en;p=0.5",
        "en;q=0.5;q=0.6",
        "en;",
        ";q=1",
        "en us",
        "en q=1",
        "en;q=\"1\"",
        "en;q=a",
        "\"en\"",
        "en/us",
    ] {
        assert_eq!(
            normal(&["DE , Fr", line]),
            format!("DE,Fr,{line}"),
            "{line}"
        );
        assert_eq!(preferred(&format!("de, {line}"), &["de"]), None, "{line}");
    }
    let many = (0..33).map(|at| format!("X{at}")).collect::<Vec<_>>();
    assert_eq!(normal(&[&many.join(" , ")]), many.join(","));
    assert_eq!(normal(&[&many[1..].join(" , ")]).split(',').count(), 32);
}

#[test]
fn the_preferred_of_stored_answers() {
    for (line, candidates, expected) in [
        ("en", &["de", "en"][..], Some(1)),
        ("de, en;q=0.5", &["en", "de"], Some(1)),
        ("fr, de;q=0.1", &["en", "de"], Some(1)),
        ("fr", &["en", "de"], None),
        ("en, de", &["de", "en"], Some(0)),
        ("en", &["en", "en"], Some(0)),
        ("en", &["EN-us"], Some(0)),
        ("EN-US", &["en-us-x-twain"], Some(0)),
        ("en-us", &["en"], None),
        ("en", &["eng"], None),
        ("en-u", &["en-us"], None),
        ("*", &["de"], Some(0)),
        ("*;q=0.5, en", &["de", "en"], Some(1)),
        ("en, *;q=0", &["de"], None),
        ("*, de;q=0", &["de"], None),
        ("*, de;q=0", &["de-ch", "en"], Some(1)),
        ("de;q=0, de-ch", &["de", "de-ch"], Some(1)),
        ("en;q=0.8, en-gb;q=0.2, de;q=0.5", &["en-gb", "de"], Some(1)),
        (
            "en;q=0.2, en-gb;q=0.8, de;q=0.5",
            &["de", "en-gb-oed"],
            Some(1),
        ),
        ("en", &["de, en"], Some(0)),
        ("en;q=0.5, mi", &["en", "mi, en"], Some(1)),
        ("en;q=0", &["en"], None),
        ("*", &[""], None),
        ("*", &[","], None),
        ("", &["en"], None),
        ("en", &[], None),
    ] {
        assert_eq!(
            preferred(line, candidates),
            expected,
            "{line} {candidates:?}"
        );
    }
}

#[test]
fn the_weight_of_one() {
    for (line, language, expected) in [
        ("en, de;q=0.25", "de", Some(250)),
        ("en, de;q=0.25", "fr, de, en", Some(1000)),
        ("en, de;q=0", "de", Some(0)),
        ("en", "de", None),
        ("en", "", None),
        ("en;q=x", "en", None),
    ] {
        let lines = [line.as_bytes()].into_iter();
        assert_eq!(
            weight(lines, language.as_bytes()),
            expected,
            "{line} {language}"
        );
    }
}

proptest! {
    #[test]
    fn shuffled_and_respelt_it_is_the_same(
        mut members in prop::collection::vec(("[a-c*]", 0..=1000u16, any::<bool>()), 0..8),
        cut in 0..8usize,
    ) {
        let write = |(name, weight, is_terse): &(String, u16, bool)| match (weight, is_terse) {
            (1000, true) => name.clone(),
            (1000, false) => format!(" {} ; Q=1.000 ", name.to_uppercase()),
            (weight, true) => format!("{name};q=0.{weight:03}"),
            (weight, false) => format!("\t{} ;q=0.{weight:03}", name.to_uppercase()),
        };
        let one: Vec<_> = members.iter().map(write).collect();
        members.reverse();
        for member in &mut members {
            member.2 = !member.2;
        }
        let other: Vec<_> = members.iter().map(write).collect();
        let cut = cut.min(other.len());
        let normal_one = normal(&[&one.join(",")]);
        prop_assert_eq!(&normal(&[&other[..cut].join(","), &other[cut..].join(" , ")]), &normal_one);
        prop_assert_eq!(&normal(&[&normal_one]), &normal_one);
    }
}
