//! `CDN-Cache-Control` (RFC 9213).

use ultragate_http::cache_control::{CacheControl, Qualified};
use ultragate_http::targeted::{qualified_fields, read};

fn control(lines: &[&str]) -> Option<CacheControl> {
    read(lines.iter().map(|line| line.as_bytes()))
}

fn fields(lines: &[&str], directive: Qualified) -> Vec<String> {
    let mut fields = Vec::new();
    let lines = lines.iter().map(|line| line.as_bytes());
    qualified_fields(lines, directive, |field| {
        fields.push(String::from_utf8_lossy(field).into_owned());
    });
    fields
}

#[test]
fn every_directive_of_answers() {
    let line = "max-age=1, s-maxage=2, stale-while-revalidate=3, stale-if-error=4, no-store, no-cache, private, public, \
        must-revalidate, proxy-revalidate, must-understand, immutable, no-transform";
    let expected = CacheControl {
        max_age: Some(Ok(1)),
        s_maxage: Some(Ok(2)),
        stale_while_revalidate: Some(Ok(3)),
        stale_if_error: Some(Ok(4)),
        no_store: true,
        no_cache: true,
        private: true,
        public: true,
        must_revalidate: true,
        proxy_revalidate: true,
        must_understand: true,
        immutable: true,
        no_transform: true,
        ..CacheControl::default()
    };
    assert_eq!(control(&[line]), Some(expected));
    let lines: Vec<_> = line.split(", ").collect();
    assert_eq!(control(&lines), Some(expected));
    let parameters: Vec<_> = lines.iter().map(|one| format!("{one};a;b=1")).collect();
    assert_eq!(control(&[&parameters.join(",")]), Some(expected));
}

#[test]
fn as_if_absent() {
    for lines in [
        &[][..],
        &[""],
        &["  "],
        &["max-age=10000, &&&&&"],
        &["&&&&&, max-age=10000"],
        &["max-age=10000,"],
        &["max-age=10000,,no-store"],
        &["max-age=10000", ""],
        &["MaX-aGe=3600"],
        &["No-Store"],
        &["max-age =100"],
        &["max-age= 100"],
        &["max-age=100s"],
        &["max-age=1000000000000000"],
        &["max-age=1, x=\"y"],
    ] {
        assert_eq!(control(lines), None, "{lines:?}");
    }
}

#[test]
fn a_known_directive_of_a_wrong_type_takes_the_field_with_it() {
    for text in [
        "max-age",
        "max-age=?1",
        "max-age=\"10000\"",
        "max-age=a",
        "max-age=1.5",
        "max-age=@5",
        "max-age=:YQ==:",
        "max-age=%\"5\"",
        "max-age=(5)",
        "s-maxage=\"1\"",
        "stale-while-revalidate",
        "stale-if-error=a",
        "no-store=1",
        "no-store=\"\"",
        "no-store=?0",
        "no-store=true",
        "no-cache=?0",
        "no-cache=a",
        "no-cache=(\"a\" \"b\")",
        "no-cache=0",
        "private=a",
        "private=?0",
        "public=1",
        "must-revalidate=\"x\"",
        "proxy-revalidate=()",
        "must-understand=?0",
        "immutable=1",
        "no-transform=a",
    ] {
        assert_eq!(control(&[text]), None, "{text}");
        assert_eq!(control(&["public;x", text, "y"]), None, "{text}");
    }
}

#[test]
fn what_is_unknown_is_skipped() {
    let hour = CacheControl {
        max_age: Some(Ok(3600)),
        ..CacheControl::default()
    };
    for line in [
        "max-age=3600",
        "foobar, max-age=3600",
        "max-age=3600, foo=\"no-store, max-age=0\"",
        "max-age=3600;no-store",
        "a=1.5, b=(x y), max-age=3600, c=?0, d=:YQ==:, e=@1, f=%\"a\"",
        "max-age=3600, only-if-cached, min-fresh=a, max-stale=\"\"",
        "max-age=3600, no-store-ever=1",
    ] {
        assert_eq!(control(&[line]), Some(hour), "{line}");
    }
    for line in ["none", "foo=1", "only-if-cached", "max-stale=5"] {
        assert_eq!(control(&[line]), Some(CacheControl::default()), "{line}");
    }
}

#[test]
fn ages() {
    for (text, age) in [
        ("0", Ok(0)),
        ("-0", Ok(0)),
        ("0060", Ok(60)),
        ("2147483648", Ok(1 << 31)),
        ("99999999999", Ok(99_999_999_999)),
        ("999999999999999", Ok(999_999_999_999_999)),
        ("-1", Err(())),
    ] {
        for (name, value) in [
            (
                "max-age",
                (|control| control.max_age) as fn(CacheControl) -> _,
            ),
            ("s-maxage", |control| control.s_maxage),
            ("stale-while-revalidate", |control| {
                control.stale_while_revalidate
            }),
            ("stale-if-error", |control| control.stale_if_error),
        ] {
            let read = control(&[&format!("{name}={text}")]).and_then(value);
            assert_eq!(read, Some(age), "{name}={text}");
        }
    }
}

#[test]
fn of_a_directive_given_twice_the_last_counts() {
    for (lines, age) in [
        (&["max-age=1, max-age=2"][..], Ok(2)),
        (&["max-age=2, max-age=1"], Ok(1)),
        (&["max-age=1", "max-age=-1"], Err(())),
        (&["max-age=\"1\", max-age=1"], Ok(1)),
        (&["max-age=\"1\", max-age=2, max-age=1"], Ok(1)),
    ] {
        let read = control(lines).and_then(|control| control.max_age);
        assert_eq!(read, Some(age), "{lines:?}");
    }
    assert_eq!(control(&["max-age=1, max-age=\"1\""]), None);
    assert_eq!(control(&["max-age=x, max-age=\"1\""]), None);
    for (line, qualified) in [
        ("no-cache, no-cache=\"a\"", true),
        ("no-cache=\"a\", no-cache", false),
        ("no-cache=b, no-cache=\"a\"", true),
    ] {
        let read = control(&[line]).expect("a field");
        assert!(read.no_cache, "{line}");
        assert_eq!(read.no_cache_qualified, qualified, "{line}");
    }
}

#[test]
fn fields_that_no_cache_and_private_name() {
    for (argument, expected) in [
        ("", &[][..]),
        ("=\"\"", &[]),
        ("=\" , \"", &[]),
        ("=\"a b\"", &[]),
        ("=\"a\\\"b\"", &[]),
        ("=\"Set-Cookie\"", &["Set-Cookie"]),
        ("=\"a, B ,,c\";x=\"d\"", &["a", "B", "c"]),
    ] {
        for (directive, name) in [
            (Qualified::NoCache, "no-cache"),
            (Qualified::Private, "private"),
        ] {
            let line = format!("x=\"y\", {name}{argument}");
            let read = control(&[&line]).expect("a field");
            let (there, qualified) = match directive {
                Qualified::NoCache => (read.no_cache, read.no_cache_qualified),
                Qualified::Private => (read.private, read.private_qualified),
            };
            assert!(there, "{line}");
            assert_eq!(qualified, !expected.is_empty(), "{line}");
            assert_eq!(fields(&[&line], directive), expected, "{line}");
            assert_eq!(
                fields(&["max-age=1", &line, "z"], directive),
                expected,
                "{line}"
            );
            assert!(fields(&[&line, "&"], directive).is_empty(), "{line}");
        }
    }
    let twice = "no-cache=\"a\", private=\"p\", no-cache=\"b\"";
    assert_eq!(fields(&[twice], Qualified::NoCache), ["b"]);
    assert_eq!(fields(&[twice, "no-cache"], Qualified::NoCache), [""; 0]);
    assert_eq!(
        fields(&["no-cache=\"a", "b\""], Qualified::NoCache),
        ["a", "b"]
    );
}
