//! What answers to unsafe methods invalidate (RFC 9111 §4.4).

#![allow(clippy::unwrap_used, reason = "a test panics to fail")]

mod heads;

use cache::policy::{invalidated_targets, invalidates};
use heads::with_answer;
use http::Method;
use proptest::prelude::*;

#[test]
fn successes_of_methods_not_known_to_be_safe_invalidate() {
    for status in 100..=999 {
        let is_success = (200..400).contains(&status);
        for method in [
            Method::Post,
            Method::Put,
            Method::Delete,
            Method::Patch,
            Method::Connect,
            Method::Other,
        ] {
            assert_eq!(invalidates(method, status), is_success, "{method:?}");
        }
        for method in [Method::Get, Method::Head, Method::Options, Method::Trace] {
            assert!(!invalidates(method, status), "{method:?}");
        }
    }
}

fn targets(lines: &[&str], host: &str, target: &str) -> Vec<String> {
    let found = with_answer(201, lines, |response| {
        invalidated_targets(response, "http", host.as_bytes(), target.as_bytes())
    });
    let text = |target| String::from_utf8(target).unwrap();
    found.into_iter().map(text).collect()
}

#[test]
fn references_are_resolved_at_the_requests_origin() {
    for (reference, expected) in [
        ("/x", "/x"),
        ("/x?q=/../a", "/x?q=/../a"),
        ("/x#part", "/x"),
        ("http://h/x", "/x"),
        ("HTTP://H/X", "/X"),
        ("http://h:80/x", "/x"),
        ("http://h:/x", "/x"),
        ("http://h", "/"),
        ("http://h?q", "/?q"),
        ("http://h#part", "/"),
        ("//h/x", "/x"),
        ("", "/b/c/d;p?q"),
        ("#part", "/b/c/d;p?q"),
        ("?y", "/b/c/d;p?y"),
        ("g", "/b/c/g"),
        ("g:1/x", ""),
        ("./g:1", "/b/c/g:1"),
        // RFC 3986 §5.4
        ("./g", "/b/c/g"),
        ("g/", "/b/c/g/"),
        ("/g", "/g"),
        ("g?y", "/b/c/g?y"),
        ("g?y#s", "/b/c/g?y"),
        (";x", "/b/c/;x"),
        ("g;x", "/b/c/g;x"),
        (".", "/b/c/"),
        ("./", "/b/c/"),
        ("..", "/b/"),
        ("../", "/b/"),
        ("../g", "/b/g"),
        ("../..", "/"),
        ("../../", "/"),
        ("../../g", "/g"),
        ("../../../g", "/g"),
        ("../../../../g", "/g"),
        ("/./g", "/g"),
        ("/../g", "/g"),
        ("g.", "/b/c/g."),
        (".g", "/b/c/.g"),
        ("g..", "/b/c/g.."),
        ("..g", "/b/c/..g"),
        ("./../g", "/b/g"),
        ("./g/.", "/b/c/g/"),
        ("g/./h", "/b/c/g/h"),
        ("g/../h", "/b/c/h"),
        ("g;x=1/./y", "/b/c/g;x=1/y"),
        ("g;x=1/../y", "/b/c/y"),
        ("g?y/./x", "/b/c/g?y/./x"),
        ("g?y/../x", "/b/c/g?y/../x"),
        ("g#s/../x", "/b/c/g"),
        ("a//b/../c", "/b/c/a//c"),
        // Other origins.
        ("https://h/x", ""),
        ("http://h2/x", ""),
        ("http://h:8080/x", ""),
        ("http://u@h/x", ""),
        ("//h2/x", ""),
        ("http:x", ""),
        ("mailto:a@h", ""),
    ] {
        for name in ["Location", "Content-Location"] {
            let line = format!("{name}: {reference}");
            let found = targets(&[&line], "h", "/b/c/d;p?q");
            let expected: &[&str] = if expected.is_empty() {
                &[]
            } else {
                &[expected]
            };
            assert_eq!(found, expected, "{line}");
        }
    }
}

#[test]
fn a_port_that_is_not_the_schemes_counts() {
    let at = |host, reference: &str| targets(&[&format!("Location: {reference}")], host, "/");
    assert_eq!(at("h:8080", "http://h:8080/x"), ["/x"]);
    assert_eq!(at("h:80", "http://h/x"), ["/x"]);
    assert_eq!(at("[::1]:80", "http://[::1]/x"), ["/x"]);
    assert!(at("h:8080", "http://h/x").is_empty());
    assert!(at("h", "http://h:443/x").is_empty());
}

#[test]
fn both_fields_count() {
    let lines = ["Content-Location: b", "Location: /a"];
    assert_eq!(targets(&lines, "h", "/"), ["/a", "/b"]);
    assert!(targets(&["X: y"], "h", "/").is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn whatever_is_referred_to_is_a_path_without_dots(
        reference in "[a-z:/?#.@\u{80}-\u{ff} ]{0,24}",
        base in "/[a-z/?]{0,12}",
    ) {
        let line = format!("Location: {}", reference.trim());
        for target in targets(&[&line], "h", &base) {
            prop_assert!(target.starts_with('/'), "{target}");
            let path = target.split('?').next().unwrap();
            let is_dotted = path.split('/').any(|segment| segment == "." || segment == "..");
            prop_assert!(!is_dotted, "{target}");
        }
    }
}
