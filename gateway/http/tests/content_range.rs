//! `Content-Range` (RFC 9110 §14.4).

use proptest::prelude::*;
use ultragate_http::content_range::ContentRange::{self, Satisfied, Unsatisfied};

const fn satisfied(first: u64, last: u64, complete: Option<u64>) -> ContentRange {
    Satisfied {
        first,
        last,
        complete,
    }
}

#[test]
fn what_is_read_and_written() {
    for (text, range) in [
        ("bytes 0-0/1", satisfied(0, 0, Some(1))),
        ("bytes 42-1233/1234", satisfied(42, 1233, Some(1234))),
        ("bytes 42-1233/*", satisfied(42, 1233, None)),
        ("bytes */1234", Unsatisfied { complete: 1234 }),
        ("bytes */0", Unsatisfied { complete: 0 }),
        (
            "bytes 18446744073709551612-18446744073709551613/18446744073709551614",
            satisfied(u64::MAX - 3, u64::MAX - 2, Some(u64::MAX - 1)),
        ),
    ] {
        assert_eq!(ContentRange::parse(text.as_bytes()), Some(range), "{text}");
        assert_eq!(range.format().bytes(), text.as_bytes());
    }
    for text in ["BYTES 1-2/3", "Bytes 01-002/03"] {
        assert_eq!(
            ContentRange::parse(text.as_bytes()),
            Some(satisfied(1, 2, Some(3))),
            "{text}"
        );
    }
}

#[test]
fn what_is_invalid() {
    for text in [
        "",
        "bytes",
        "bytes ",
        "bytes 0-1",
        "bytes 0-1/",
        "bytes /2",
        "bytes -/2",
        "bytes 0-/2",
        "bytes -1/2",
        "bytes 0/2",
        "bytes */*",
        "bytes */",
        "bytes *",
        "bytes 1-0/2",
        "bytes 0-2/2",
        "bytes 0-1/1",
        "bytes 0-0/0",
        "bytes 0-1/2/3",
        "bytes 0-1-2/3",
        "bytes  0-1/2",
        "bytes\t0-1/2",
        "bytes=0-1/2",
        "bytes 0 -1/2",
        "bytes 0-1 /2",
        "bytes 0-1/ 2",
        "bytes 0-1/2 ",
        "bytes 0-1/2, 0-1/2",
        "bytes +0-1/2",
        "bytes 0-1/+2",
        "bytes 0-a/b",
        "bytes 0x0-1/2",
        "items 0-1/2",
        "bytes 0-1/18446744073709551615",
        "bytes 0-18446744073709551615/*",
        "bytes 99999999999999999999-99999999999999999999/*",
        "bytes */99999999999999999999",
        "0-1/2",
    ] {
        assert_eq!(ContentRange::parse(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn the_longest_is_written_whole() {
    let longest = satisfied(u64::MAX, u64::MAX, Some(u64::MAX));
    let text = "bytes 18446744073709551615-18446744073709551615/18446744073709551615";
    assert_eq!(longest.format().bytes(), text.as_bytes());
}

proptest! {
    #[test]
    fn written_as_the_standard_library_does(
        first in 0..u64::MAX / 2,
        more in 0..1u64 << 62,
        beyond in prop::option::of(1..1u64 << 61),
    ) {
        let last = first + more;
        let range = satisfied(first, last, beyond.map(|beyond| last + beyond));
        let text = match beyond {
            Some(beyond) => format!("bytes {first}-{last}/{}", last + beyond),
            None => format!("bytes {first}-{last}/*"),
        };
        let written = range.format();
        prop_assert_eq!(written.bytes(), text.as_bytes());
        prop_assert_eq!(ContentRange::parse(text.as_bytes()), Some(range));
    }
}
