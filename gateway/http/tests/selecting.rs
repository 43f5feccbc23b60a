//! Selecting fields in their normal form (RFC 9111 §4.1).

use proptest::prelude::*;
use ultragate_http::Name;
use ultragate_http::selecting::{append_combined, append_normal_form};

fn combined(lines: &[&str]) -> String {
    let mut out = b"before, ".to_vec();
    append_combined(lines.iter().map(|line| line.as_bytes()), &mut out);
    String::from_utf8(out.split_off(b"before, ".len())).expect("text")
}

#[test]
fn lines_are_combined_and_blanks_around_commas_dropped() {
    for (lines, expected) in [
        (&[][..], ""),
        (&[""], ""),
        (&[" \t"], ""),
        (&["a"], "a"),
        (&[" a\t"], "a"),
        (&["a,b"], "a,b"),
        (&["a , \t b ,c"], "a,b,c"),
        (&["a", "b"], "a,b"),
        (&["a ", " b, c"], "a,b,c"),
        (&["", ""], ","),
        (&["a", "", "b"], "a,,b"),
        (&["a,,b"], "a,,b"),
        (&[",a,"], ",a,"),
        (&[" , a , "], ",a,"),
        (&["A b  c"], "A b  c"),
        (&["a; b = c"], "a; b = c"),
    ] {
        assert_eq!(combined(lines), expected, "{lines:?}");
    }
}

#[test]
fn what_is_quoted_stays() {
    for (lines, expected) in [
        (&["\"a , b\" , c"][..], "\"a , b\",c"),
        (&["\" \" , \" \""], "\" \",\" \""),
        (&["\"a\\\" , b\" , c"], "\"a\\\" , b\",c"),
        (&["\"a\\\\\" , b"], "\"a\\\\\",b"),
        (&["\\\" , \" , b"], "\\\" , \",b"),
        (&["\"a", "b\" , c"], "\"a, b\",c"),
        (&["\"a , b"], "\"a , b"),
    ] {
        assert_eq!(combined(lines), expected, "{lines:?}");
    }
    assert_ne!(combined(&["\"a,b\""]), combined(&["\"a, b\""]));
}

#[test]
fn what_differs_stays_different() {
    for (one, other) in [
        ("a,b", "b,a"),
        ("a", "A"),
        ("a b", "ab"),
        ("a b", "a  b"),
        ("a", "a,"),
        ("a;b", "a; b"),
    ] {
        assert_ne!(combined(&[one]), combined(&[other]), "{one} {other}");
    }
}

#[test]
fn a_field_is_compared_by_what_it_means() {
    let normal = |name, line: &str| {
        let mut out = Vec::new();
        append_normal_form(name, [line.as_bytes()].into_iter(), &mut out);
        String::from_utf8(out).expect("text")
    };
    assert_eq!(normal(Name::AcceptLanguage, "DE;q=0.5, en"), "en,de;q=0.5");
    assert_eq!(normal(Name::AcceptEncoding, "x-gzip;q=0.5, BR"), "br,gzip");
    assert_eq!(normal(Name::Accept, "B;q=0.5 , a"), "B;q=0.5,a");
    assert_eq!(normal(Name::Other, "B;q=0.5 , a"), "B;q=0.5,a");
}

proptest! {
    /// Lines say the same as one line of them joined, and a normal form is its own.
    #[test]
    fn lines_are_one_line(lines in prop::collection::vec("[ab,\" \\\\]{0,8}", 1..4)) {
        let lines: Vec<_> = lines.iter().map(|line| line.trim()).collect();
        let whole = combined(&lines);
        prop_assert_eq!(&combined(&[&lines.join(", ")]), &whole);
        prop_assert_eq!(&combined(&[&whole]), &whole);
    }
}
