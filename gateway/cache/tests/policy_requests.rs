//! What of a request matters (RFC 9111 §5.2.1, §5.4).

mod heads;

use cache::policy::{Reason, RequestFacts, Rules};
use heads::{get, request, request_by};

#[test]
fn requests_for_which_the_store_is_not_looked_at_say_why() {
    for (method, lines, expected) in [
        ("GET", &[][..], Ok(())),
        ("HEAD", &[], Ok(())),
        ("GET", &["Content-Length: 0"], Ok(())),
        ("GET", &["Cookie: a=b"], Ok(())),
        ("GET", &["Authorization: Basic eA=="], Ok(())),
        ("GET", &["Cache-Control: max-stale=60"], Ok(())),
        ("GET", &["Cache-Control: only-if-cached"], Ok(())),
        ("GET", &["Cache-Control: no-cache"], Ok(())),
        ("GET", &["Pragma: no-cache"], Ok(())),
        ("GET", &["Range: bytes=0-1"], Ok(())),
        ("GET", &["If-None-Match: *"], Ok(())),
        (
            "GET",
            &["Cache-Control: no-store"],
            Err(Reason::RequestNoStore),
        ),
        ("GET", &["If-Match: *"], Err(Reason::Condition)),
        (
            "HEAD",
            &["If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT"],
            Err(Reason::Condition),
        ),
        ("HEAD", &["Content-Length: 1"], Err(Reason::RequestBody)),
        (
            "GET",
            &["Transfer-Encoding: chunked"],
            Err(Reason::RequestBody),
        ),
        ("POST", &["Content-Length: 0"], Err(Reason::Method)),
        ("OPTIONS", &[], Err(Reason::Method)),
        ("M-SEARCH", &[], Err(Reason::Method)),
        ("get", &[], Err(Reason::Method)),
    ] {
        let found = request(method, lines).cacheable();
        assert_eq!(found, expected, "{method} {lines:?}");
    }
}

#[test]
fn plain_is_what_asks_for_nothing() {
    for (method, lines, plain) in [
        ("GET", &[][..], true),
        ("HEAD", &[], true),
        ("POST", &["Content-Length: 0"], false),
        ("GET", &["Content-Length: 1"], false),
        ("GET", &["Cookie: a=b"], true),
        ("GET", &["Cache-Control: unknown"], true),
        ("GET", &["Pragma: unknown"], true),
        ("HEAD", &["Range: bytes=0-1"], true),
        ("GET", &["Range: bytes=0-1"], false),
        ("GET", &["Authorization: x"], false),
        ("GET", &["If-None-Match: x"], false),
        ("GET", &["If-Modified-Since: x"], false),
        ("GET", &["If-Range: x"], false),
        ("GET", &["If-Match: x"], false),
        ("GET", &["If-Unmodified-Since: x"], false),
        ("GET", &["Cache-Control: max-age=9999"], false),
        ("GET", &["Cache-Control: max-stale"], false),
        ("GET", &["Cache-Control: only-if-cached"], false),
        ("GET", &["Pragma: no-cache"], false),
    ] {
        assert_eq!(
            request(method, lines).is_plain(),
            plain,
            "{method} {lines:?}"
        );
    }
}

#[test]
fn a_fetch_for_one_client_is_not_waited_for() {
    for (method, lines, unshared) in [
        ("GET", &[][..], false),
        ("GET", &["Cache-Control: no-cache"], true),
        ("GET", &["Cache-Control: max-age=0"], true),
        ("GET", &["Cookie: a=b"], false),
        ("HEAD", &[], true),
        ("POST", &["Content-Length: 0"], true),
        ("GET", &["Content-Length: 1"], true),
        ("GET", &["Authorization: x"], true),
        ("GET", &["Range: bytes=0-1"], true),
        ("GET", &["If-None-Match: x"], true),
        ("GET", &["If-Match: x"], true),
        ("GET", &["Cache-Control: no-store"], true),
    ] {
        assert_eq!(
            request(method, lines).is_unshared(false),
            unshared,
            "{method} {lines:?}"
        );
    }
}

#[test]
fn directives_are_read_with_their_values() {
    type Ages = [Option<u64>; 4];
    let ages = |facts: RequestFacts| -> Ages {
        [
            facts.max_age,
            facts.max_stale,
            facts.min_fresh,
            facts.stale_if_error,
        ]
    };
    for (directives, expected) in [
        ("", [None, None, None, None]),
        ("max-age=9", [Some(9), None, None, None]),
        ("MAX-AGE=\"9\"", [Some(9), None, None, None]),
        ("max-age=9, max-age=7", [Some(7), None, None, None]),
        ("max-age", [Some(0), None, None, None]),
        ("max-age=x", [Some(0), None, None, None]),
        ("max-stale", [None, Some(u64::MAX), None, None]),
        ("max-stale=9", [None, Some(9), None, None]),
        ("max-stale=x", [None, None, None, None]),
        ("min-fresh=9", [None, None, Some(9), None]),
        ("min-fresh=x", [None, None, Some(u64::MAX), None]),
        ("stale-if-error=9", [None, None, None, Some(9)]),
        ("stale-if-error=x", [None, None, None, None]),
        ("stale-if-error", [None, None, None, None]),
    ] {
        assert_eq!(ages(get(directives)), expected, "{directives}");
    }
    let facts = get("no-store, no-cache, only-if-cached");
    assert!(facts.no_store && facts.no_cache && facts.only_if_cached);
}

#[test]
fn pragma_counts_where_there_is_no_cache_control() {
    for (lines, no_cache) in [
        (&["Pragma: no-cache"][..], true),
        (&["Pragma: x, No-Cache"], true),
        (&["Pragma: x", "Pragma: no-cache"], true),
        (&["Pragma: no-cache-at-all"], false),
        (&["Pragma: no-cache", "Cache-Control: x"], false),
        (&["Pragma: no-cache", "Cache-Control:"], false),
    ] {
        assert_eq!(request("GET", lines).no_cache, no_cache, "{lines:?}");
    }
}

#[test]
fn a_route_may_ignore_directives_but_nothing_else() {
    let rules = Rules {
        obey_requests: false,
        ..Rules::default()
    };
    for line in [
        "Cache-Control: no-store, no-cache, only-if-cached, max-age=0, min-fresh=9, max-stale",
        "Pragma: no-cache",
    ] {
        let facts = request_by(&rules, "GET", &[line]);
        assert_eq!(facts, request("GET", &[]), "{line}");
        assert!(facts.is_plain());
    }
    for line in [
        "Authorization: x",
        "Range: bytes=0-1",
        "If-None-Match: x",
        "If-Match: x",
    ] {
        let facts = request_by(&rules, "GET", &[line, "Cache-Control: no-store"]);
        assert_eq!(facts, request("GET", &[line]), "{line}");
    }
}
