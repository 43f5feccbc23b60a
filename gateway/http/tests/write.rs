//! Numbers and phrases as written.

use proptest::prelude::*;
use ultragate_http::write::{ChunkLine, Decimal, reason_phrase};

#[test]
fn numbers_at_their_ends() {
    for value in [
        0,
        1,
        9,
        10,
        99,
        100,
        u64::from(u32::MAX),
        u64::MAX - 1,
        u64::MAX,
    ] {
        assert_eq!(Decimal::new(value).bytes(), value.to_string().as_bytes());
        assert_eq!(
            ChunkLine::new(value).bytes(),
            format!("{value:x}\r\n").as_bytes()
        );
    }
}

#[test]
fn phrases() {
    for (status, phrase) in [
        (200, "OK"),
        (304, "Not Modified"),
        (431, "Request Header Fields Too Large"),
        (504, "Gateway Timeout"),
    ] {
        assert_eq!(reason_phrase(status), phrase);
    }
    for status in [0, 99, 104, 299, 306, 418, 499, 599, 600, 999, u16::MAX] {
        assert_eq!(reason_phrase(status), "", "{status}");
    }
}

proptest! {
    #[test]
    fn any_number(value: u64, shift in 0..64u32) {
        let value = value >> shift;
        let (decimal, line) = (Decimal::new(value), ChunkLine::new(value));
        prop_assert_eq!(decimal.bytes(), value.to_string().into_bytes());
        prop_assert_eq!(line.bytes(), format!("{value:x}\r\n").into_bytes());
    }
}
