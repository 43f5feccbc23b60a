//! `Cache-Control`, directive by directive (RFC 9111 §5.2).

use proptest::prelude::*;
use ultragate_http::cache_control::{CacheControl, Qualified, qualified_fields};

fn read(line: &str) -> CacheControl {
    CacheControl::read([line.as_bytes()].into_iter())
}

#[test]
fn every_directive_in_any_case() {
    let line = "Max-Age=1, s-MAXAGE=2, stale-while-revalidate=3, Stale-If-Error=4, max-stale=5, \
        min-fresh=6, no-store, no-cache, private, public, must-revalidate, proxy-revalidate, must-understand, immutable, \
        no-transform, only-if-cached";
    let expected = CacheControl {
        max_age: Some(Ok(1)),
        s_maxage: Some(Ok(2)),
        stale_while_revalidate: Some(Ok(3)),
        stale_if_error: Some(Ok(4)),
        max_stale: Some(Ok(5)),
        min_fresh: Some(Ok(6)),
        no_store: true,
        no_cache: true,
        no_cache_qualified: false,
        private: true,
        private_qualified: false,
        public: true,
        must_revalidate: true,
        proxy_revalidate: true,
        must_understand: true,
        immutable: true,
        no_transform: true,
        only_if_cached: true,
    };
    assert_eq!(read(line), expected);
    assert_eq!(read(&line.to_ascii_uppercase()), expected);
    assert_eq!(
        CacheControl::read(line.split(',').rev().map(str::as_bytes)),
        expected
    );
}

#[test]
fn nothing_known_says_nothing() {
    for line in [
        "",
        ",",
        " , ,",
        "unknown",
        "max-ages=1",
        "xmax-age=1",
        "no-store-ever",
        "foo=bar, baz=\"qux\"",
        "=1",
        "\"no-store\"",
    ] {
        assert_eq!(read(line), CacheControl::default(), "{line:?}");
    }
}

#[test]
fn ages() {
    for (value, age) in [
        ("0", Ok(0)),
        ("3600", Ok(3600)),
        ("003600", Ok(3600)),
        ("2147483649", Ok(2_147_483_649)),
        ("18446744073709551616", Ok(u64::MAX)),
        ("99999999999999999999999999999999", Ok(u64::MAX)),
        ("\"3600\"", Ok(3600)),
        ("", Err(())),
        ("\"\"", Err(())),
        ("\"", Err(())),
        ("-1", Err(())),
        ("+1", Err(())),
        ("1.0", Err(())),
        ("1a", Err(())),
        ("a1", Err(())),
        ("'1'", Err(())),
        ("\"-1\"", Err(())),
        (" 1", Err(())),
        ("1 2", Err(())),
        ("1;2", Err(())),
        ("0x1", Err(())),
        ("\"1\"2", Err(())),
        ("\u{ff11}", Err(())),
    ] {
        assert_eq!(
            read(&format!("max-age={value}")).max_age,
            Some(age),
            "{value:?}"
        );
        assert_eq!(
            read(&format!("a, s-maxage={value} , b")).s_maxage,
            Some(age),
            "{value:?}"
        );
    }
    for line in [
        "max-age",
        "max-age =1",
        "max-age:1",
        "max-age 1",
        "max-age;x",
    ] {
        assert_eq!(read(line).max_age, Some(Err(())), "{line:?}");
    }
}

#[test]
fn of_duplicates_the_more_restrictive_counts() {
    for (line, age) in [
        ("max-age=1, max-age=3600", Ok(1)),
        ("max-age=3600, max-age=1", Ok(1)),
        ("max-age=3600, max-age=x", Err(())),
        ("max-age, max-age=3600", Err(())),
        ("max-age=5, MAX-AGE=5", Ok(5)),
    ] {
        assert_eq!(read(line).max_age, Some(age), "{line}");
        let lines = line.split(',').map(str::as_bytes);
        assert_eq!(CacheControl::read(lines).max_age, Some(age), "{line}");
    }
    assert_eq!(read("min-fresh=1, min-fresh=9").min_fresh, Some(Ok(9)));
    assert_eq!(read("max-stale, max-stale=9").max_stale, Some(Ok(9)));
    assert_eq!(read("max-stale").max_stale, Some(Ok(u64::MAX)));
    assert_eq!(read("max-stale=").max_stale, Some(Err(())));
}

#[test]
fn quoted_strings_hide_what_is_in_them() {
    for line in [
        "a=\"no-store\"",
        "a=\"b, no-store\"",
        "a=\"\\\", no-store, \\\\\"",
        "a=\", max-age=5 ,\"",
    ] {
        assert_eq!(read(line), CacheControl::default(), "{line}");
    }
    let after = read("a=\"b, max-age=5\", no-store, c=\"d\\\\\", max-age=7");
    assert!(after.no_store);
    assert_eq!(after.max_age, Some(Ok(7)));
}

#[test]
fn arguments_of_restricting_directives() {
    assert!(read("no-cache=\"Set-Cookie, X\"").no_cache);
    assert!(read("private=\"X\"").private);
    assert!(read("no-store=x").no_store);
    assert!(read("no-store; max-age=5").no_store);
    assert!(read("private x").private);
    assert!(!read("public x").public);
    assert!(!read("must-understand; x").must_understand);
    assert_eq!(read("no-cache=\"max-age=5\"").max_age, None);
}

#[test]
fn fields_that_no_cache_and_private_name() {
    for (argument, fields) in [
        ("=\"Set-Cookie\"", vec!["Set-Cookie"]),
        ("=\"a, B ,,c\"", vec!["a", "B", "c"]),
        ("=\" a\t\"", vec!["a"]),
        ("=Set-Cookie", vec!["Set-Cookie"]),
        ("=1", vec![]),
        ("=True", vec![]),
        ("=false", vec![]),
        ("", vec![]),
        ("=", vec![]),
        ("=\"\"", vec![]),
        ("=\" , \"", vec![]),
        ("=\"a b\"", vec![]),
        ("=\"a, b c\"", vec![]),
        ("=\"a\\b\"", vec![]),
        ("=\"a\"b", vec![]),
        ("=\"a\"\"b\"", vec![]),
        ("='a'b'", vec!["'a'b'"]),
        (" =\"a\"", vec![]),
        ("= \"a\"", vec![]),
        ("= a", vec![]),
        ("=a b", vec![]),
        ("=a\"b,c\"", vec![]),
    ] {
        for (directive, name) in [
            (Qualified::NoCache, "No-Cache"),
            (Qualified::Private, "PRIVATE"),
        ] {
            let line = format!("x, {name}{argument}, max-age=5");
            let control = read(&line);
            let (there, qualified) = match directive {
                Qualified::NoCache => (control.no_cache, control.no_cache_qualified),
                Qualified::Private => (control.private, control.private_qualified),
            };
            let named: Vec<_> = qualified_fields([line.as_bytes()].into_iter(), directive)
                .map(|field| String::from_utf8_lossy(field).into_owned())
                .collect();
            assert!(there, "{line}");
            assert_eq!(qualified, !fields.is_empty(), "{line}");
            assert_eq!(named, fields, "{line}");
            assert_eq!(control.max_age, Some(Ok(5)), "{line}");
        }
    }
}

#[test]
fn a_directive_for_the_whole_answer_outweighs_one_for_fields() {
    for line in [
        "no-cache, no-cache=\"a\"",
        "no-cache=\"a\", no-cache",
        "no-cache=\"a\", no-cache, no-cache=\"b\"",
        "no-cache=\"a\", no-cache=\"\"",
    ] {
        assert!(read(line).no_cache, "{line}");
        assert!(!read(line).no_cache_qualified, "{line}");
    }
    let lines = ["no-cache=\"a\", private=\"x\"", "no-cache=\"b, c\""];
    let lines = || lines.iter().map(|line| line.as_bytes());
    let control = CacheControl::read(lines());
    assert!(control.no_cache_qualified && control.private_qualified);
    let fields: Vec<_> = qualified_fields(lines(), Qualified::NoCache).collect();
    assert_eq!(fields, [b"a", b"b", b"c"]);
}

#[test]
fn a_quote_that_does_not_end_forbids_storing() {
    for line in [
        "max-age=60, a=\"b",
        "a=\"b, no-store",
        "max-age=\"60",
        "a=\"b\\\"",
    ] {
        assert!(read(line).no_store, "{line}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..4)) {
        let _ = CacheControl::read(lines.iter().map(Vec::as_slice));
    }

    /// Neither the order of directives nor their spread over lines matters.
    #[test]
    fn order_and_lines_do_not_matter(
        mut directives in prop::collection::vec(prop::sample::select(vec![
            "max-age=1", "max-age=5", "max-age=x", "max-age", "s-maxage=\"7\"", "public",
            "no-cache=\"a, b\"", "x=\"max-age=0\"", "private", "min-fresh=3", "min-fresh=8", "max-stale", "max-stale=2",
            "", "MUST-revalidate",
        ]), 0..8),
        cut in 0..8usize,
    ) {
        let one = read(&directives.join(", "));
        directives.reverse();
        let cut = cut.min(directives.len());
        let lines = [directives[..cut].join(","), directives[cut..].join(" ,")];
        prop_assert_eq!(CacheControl::read(lines.iter().map(String::as_bytes)), one);
    }
}
