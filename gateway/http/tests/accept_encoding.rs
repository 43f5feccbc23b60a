//! `Accept-Encoding` compared (RFC 9110 §12.5.3).

use std::collections::BTreeMap;

use proptest::prelude::*;
use ultragate_http::accept_encoding::append_normal_form;

fn normal(lines: &[&str]) -> String {
    let mut out = b"before".to_vec();
    append_normal_form(lines.iter().map(|line| line.as_bytes()), &mut out);
    String::from_utf8(out.split_off(b"before".len())).expect("text")
}

#[test]
fn the_codings_that_are_accepted() {
    for (lines, expected) in [
        (&[][..], ""),
        (&["", " ,"], ""),
        (&["gzip"], "gzip"),
        (&["GZip"], "gzip"),
        (&["x-gzip, X-Compress"], "compress,gzip"),
        (&["gzip, deflate, br, zstd"], "br,deflate,gzip,zstd"),
        (&["zstd,br", "gzip , deflate;q=0.1"], "br,deflate,gzip,zstd"),
        (&["gzip;q=1.0, br;q=0.001"], "br,gzip"),
        (&["gzip, x-gzip, gzip;q=0.5"], "gzip"),
        (&["gzip;q=0"], ""),
        (&["gzip;q=0.000, br"], "br"),
        (&["gzip, gzip;q=0"], ""),
        (&["x-gzip;q=0, gzip"], ""),
        (&["identity"], ""),
        (&["identity;q=0.5, gzip"], "gzip"),
        (&["identity;q=0"], "identity;q=0"),
        (&["gzip, Identity;Q=0.0"], "gzip,identity;q=0"),
        (&["*"], "*"),
        (&["*;q=0.1, gzip"], "*,gzip"),
        (&["*, gzip;q=0"], "*,gzip;q=0"),
        (&["*, identity;q=0"], "*,identity;q=0"),
        (&["*, identity"], "*"),
        (&["*;q=0"], "*;q=0"),
        (&["*;q=0, identity"], "*;q=0,identity"),
        (&["*;q=0, identity;q=0"], "*;q=0"),
        (&["*;q=0, gzip, br;q=0"], "*;q=0,gzip"),
        (&["sdch, exi, gzip"], "exi,gzip,sdch"),
        (&["x-unknown;q=0"], ""),
    ] {
        assert_eq!(normal(lines), expected, "{lines:?}");
        assert_eq!(normal(&[expected]), expected, "{lines:?}");
    }
}

#[test]
fn what_is_malformed_is_only_combined() {
    for line in [
        "gzip;q=2",
        "gzip;level=1",
        "gz ip",
        "gzip;q=1;q=0",
        ";q=0",
        "\"gzip\"",
    ] {
        assert_eq!(
            normal(&["BR , x-Gzip", line]),
            format!("BR,x-Gzip,{line}"),
            "{line}"
        );
    }
}

proptest! {
    /// Two fields of one normal form accept the same codings.
    #[test]
    fn as_acceptance_is_defined(
        members in prop::collection::vec(
            (prop::sample::select(vec!["a", "B", "gzip", "X-Gzip", "identity", "*"]), 0..3u8),
            0..6,
        ),
    ) {
        let line: Vec<_> = members.iter().map(|(name, weight)| format!("{name};q=0.{weight}")).collect();
        let written = normal(&[&line.join(", ")]);
        let accepts = |members: &[(String, bool)], coding: &str| {
            let mut listed = BTreeMap::new();
            for (name, accepted) in members {
                let entry = listed.entry(name.to_lowercase().replace("x-", "")).or_insert(true);
                *entry &= accepted;
            }
            let rest = listed.get("*").copied();
            let default = if coding == "identity" { rest.unwrap_or(true) } else { rest.unwrap_or(false) };
            listed.get(coding).copied().unwrap_or(default)
        };
        let before: Vec<_> = members.iter().map(|(name, weight)| ((*name).to_owned(), *weight > 0)).collect();
        let after: Vec<_> = written.split(',').filter(|member| !member.is_empty()).map(|member| {
            let name = member.trim_end_matches(";q=0");
            (name.to_owned(), name == member)
        }).collect();
        for coding in ["a", "b", "gzip", "identity", "other"] {
            let (before, after) = (accepts(&before, coding), accepts(&after, coding));
            prop_assert_eq!(before, after, "{} in {:?} and {}", coding, line, written);
        }
    }
}
