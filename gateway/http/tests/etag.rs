//! Entity tags and lists of them (RFC 9110 §8.8.3, §13.1).

use proptest::prelude::*;
use ultragate_http::etag::{EntityTag, EntityTags, TagMember};

fn tags<'a>(lines: &'a [&'a str]) -> EntityTags<'a, impl Iterator<Item = &'a [u8]>> {
    EntityTags::new(lines.iter().map(|line| line.as_bytes()))
}

fn tag(text: &str) -> EntityTag<'_> {
    EntityTag::parse(text.as_bytes()).expect("an entity tag")
}

#[test]
fn what_is_an_entity_tag() {
    for (text, weak, opaque) in [
        ("\"\"", false, ""),
        ("\"abc\"", false, "abc"),
        ("W/\"abc\"", true, "abc"),
        ("W/\"\"", true, ""),
        ("\"a,b\"", false, "a,b"),
        ("\"a\\\"", false, "a\\"),
        ("\"!#~W/\"", false, "!#~W/"),
        ("\"\u{e9}\"", false, "\u{e9}"),
    ] {
        let opaque = opaque.as_bytes();
        assert_eq!(tag(text), EntityTag { weak, opaque }, "{text}");
    }
    for text in [
        "",
        "\"",
        "abc",
        "*",
        "W/",
        "W/\"",
        "W/abc",
        "w/\"abc\"",
        "W\"abc\"",
        "W/ \"abc\"",
        "\"abc",
        "abc\"",
        "'abc'",
        "\"a\"b\"",
        "\"a b\"",
        "\"a\tb\"",
        "\"a\u{7f}\"",
        "\"a\0\"",
        " \"a\"",
        "\"a\" ",
        "\"a\", \"b\"",
    ] {
        assert_eq!(EntityTag::parse(text.as_bytes()), None, "{text:?}");
    }
}

/// The table of §8.8.3.2.
#[test]
fn strong_and_weak_comparison() {
    for (one, other, strong, weak) in [
        ("W/\"1\"", "W/\"1\"", false, true),
        ("W/\"1\"", "W/\"2\"", false, false),
        ("W/\"1\"", "\"1\"", false, true),
        ("\"1\"", "\"1\"", true, true),
        ("\"1\"", "\"2\"", false, false),
        ("\"a\"", "\"A\"", false, false),
        ("\"\"", "\"\"", true, true),
    ] {
        for (one, other) in [(one, other), (other, one)] {
            assert_eq!(tag(one).matches_strong(tag(other)), strong, "{one} {other}");
            assert_eq!(tag(one).matches_weak(tag(other)), weak, "{one} {other}");
            assert_eq!(tags(&[one]).match_strong(Some(other.as_bytes())), strong);
            assert_eq!(tags(&[one]).match_weak(Some(other.as_bytes())), weak);
        }
    }
}

#[test]
fn members_of_lists() {
    use TagMember::{Any, Malformed, Tag};
    for (lines, members) in [
        (&[][..], vec![]),
        (&["", " ", ",", " ,\t, "], vec![]),
        (&["*"], vec![Any]),
        (&[" * ,"], vec![Any]),
        (&["\"a\""], vec![Tag(tag("\"a\""))]),
        (
            &["\"a\", W/\"b\"\t,,\"c,d\" , "],
            vec![Tag(tag("\"a\"")), Tag(tag("W/\"b\"")), Tag(tag("\"c,d\""))],
        ),
        (
            &["\"a\"", "", "\"b\",", ",\"c\""],
            vec![Tag(tag("\"a\"")), Tag(tag("\"b\"")), Tag(tag("\"c\""))],
        ),
        (
            &["abc, \"b\", w/\"c\", \"d\" e"],
            vec![
                Malformed(b"abc"),
                Tag(tag("\"b\"")),
                Malformed(b"w/\"c\""),
                Malformed(b"\"d\" e"),
            ],
        ),
        (
            &["\"a\\\", \"b\""],
            vec![Tag(tag("\"a\\\"")), Tag(tag("\"b\""))],
        ),
        (&["\"a, \"b\""], vec![Malformed(b"\"a, \"b\"")]),
        (
            &["\"a, b", "\"c\""],
            vec![Malformed(b"\"a, b"), Tag(tag("\"c\""))],
        ),
        (&["\"a\"\"b\""], vec![Malformed(b"\"a\"\"b\"")]),
    ] {
        assert_eq!(tags(lines).collect::<Vec<_>>(), members, "{lines:?}");
    }
}

#[test]
fn a_list_matches_by_any_of_its_members() {
    let stored = Some(&b"\"x\""[..]);
    for lines in [
        &["\"x\""][..],
        &["\"x\", \"b\", \"c\""],
        &["\"a\", \"x\", \"c\""],
        &["\"a\", \"b\", \"x\""],
        &["\"a\",\"x\""],
        &["\"a\"", "\"x\""],
        &["abc, \"x\""],
        &[",, \"x\" ,"],
        &["\"a,\", \"x\""],
        &["*, \"x\""],
        &["*"],
    ] {
        assert!(tags(lines).match_weak(stored), "{lines:?}");
        assert!(tags(lines).match_strong(stored), "{lines:?}");
    }
    for lines in [
        &[][..],
        &[""],
        &["x"],
        &["\"X\""],
        &["\"xx\""],
        &["\"a, \"x\""],
        &["\"a, x\""],
        &["'x'"],
        &["w/\"x\""],
        &["*, \"a\""],
        &["\"a\"", "*"],
        &["**"],
        &["\"*\""],
    ] {
        assert!(!tags(lines).match_weak(stored), "{lines:?}");
        assert!(!tags(lines).match_strong(stored), "{lines:?}");
    }
}

#[test]
fn any_matches_what_has_no_tag() {
    assert!(tags(&["*"]).match_weak(None));
    assert!(tags(&["*"]).match_strong(None));
    for lines in [&["\"a\""][..], &["a"], &[""], &["*, *"]] {
        assert!(!tags(lines).match_weak(None), "{lines:?}");
        assert!(!tags(lines).match_strong(None), "{lines:?}");
    }
}

#[test]
fn a_stored_value_that_is_no_tag_matches_itself_weakly() {
    for stored in ["abc", "'abc'", "w/\"abc\"", "W/abc", "\"a b\"", "\"abc"] {
        assert!(
            tags(&[stored]).match_weak(Some(stored.as_bytes())),
            "{stored}"
        );
        assert!(
            !tags(&[stored]).match_strong(Some(stored.as_bytes())),
            "{stored}"
        );
        let among = format!("\"x\", {stored}");
        assert!(
            tags(&[&among]).match_weak(Some(stored.as_bytes())),
            "{stored}"
        );
    }
    for (asked, stored) in [
        ("abc", "\"abc\""),
        ("\"abc\"", "abc"),
        ("abc", "ABC"),
        ("w/\"abc\"", "\"abc\""),
        ("abc", "abc,def"),
    ] {
        assert!(
            !tags(&[asked]).match_weak(Some(stored.as_bytes())),
            "{asked} {stored}"
        );
    }
}

proptest! {
    /// A list of tags is read as the tags it was put together from, wherever its lines break.
    #[test]
    fn lists_are_read_as_written(
        members in prop::collection::vec(("(W/)?\"[!#-~]{0,6}\"", "[ \t]{0,2},[ ,\t]{0,3}", any::<bool>()), 0..8),
    ) {
        let mut lines = vec![String::new()];
        for (member, comma, breaks) in &members {
            let line = lines.last_mut().expect("a line");
            line.push_str(member);
            line.push_str(comma);
            if *breaks {
                lines.push(String::new());
            }
        }
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let expected: Vec<_> = members.iter().map(|(member, ..)| TagMember::Tag(tag(member))).collect();
        prop_assert_eq!(tags(&lines).collect::<Vec<_>>(), expected);
        for (member, ..) in &members {
            prop_assert!(tags(&lines).match_weak(Some(member.as_bytes())));
            prop_assert_eq!(tags(&lines).match_strong(Some(member.as_bytes())), !member.starts_with('W'));
        }
    }
}
