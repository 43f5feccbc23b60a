//! HTTP dates (RFC 9110 §5.6.7) and what is none.

use base::Wall;
use proptest::prelude::*;
use ultragate_http::date::{format, parse};

/// 2026-11-21 09:38:00.
const NOW: Wall = Wall::from_secs(1_795_253_880);

fn read(text: &str) -> Option<u64> {
    parse(text.as_bytes(), NOW).map(Wall::as_secs)
}

#[test]
fn the_three_forms() {
    for text in [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun Nov 06 08:49:37 1994",
        "sun, 06 NOV 1994 08:49:37 gmt",
        "sUNDAY, 06-nov-94 08:49:37 Gmt",
        "SUN NOV  6 08:49:37 1994",
    ] {
        assert_eq!(read(text), Some(784_111_777), "{text}");
    }
}

#[test]
fn dates_near_and_far() {
    for (text, secs) in [
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 29 Feb 2024 23:59:59 GMT", 1_709_251_199),
        ("Tue, 29 Feb 2000 00:00:00 GMT", 951_782_400),
        ("Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_800),
        ("Tue, 19 Jan 2038 03:14:08 GMT", 1 << 31),
        ("Sun, 07 Feb 2106 06:28:16 GMT", 1 << 32),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
        ("Wed, 31 Dec 1969 23:59:59 GMT", 0),
        ("Sat, 01 Jan 0000 00:00:00 GMT", 0),
    ] {
        assert_eq!(read(text), Some(secs), "{text}");
    }
}

#[test]
fn a_two_digit_year_is_at_most_fifty_years_ahead() {
    for (text, full) in [
        (
            "Monday, 21-Nov-76 09:37:59 GMT",
            "Sat, 21 Nov 2076 09:37:59 GMT",
        ),
        (
            "Monday, 21-Nov-76 09:38:01 GMT",
            "Sun, 21 Nov 1976 09:38:01 GMT",
        ),
        (
            "Monday, 01-Jan-77 00:00:00 GMT",
            "Sat, 01 Jan 1977 00:00:00 GMT",
        ),
        (
            "Monday, 01-Jan-00 00:00:00 GMT",
            "Sat, 01 Jan 2000 00:00:00 GMT",
        ),
        (
            "Monday, 29-Feb-28 00:00:00 GMT",
            "Tue, 29 Feb 2028 00:00:00 GMT",
        ),
    ] {
        assert_eq!(read(text), read(full), "{text}");
        assert!(read(text).is_some());
    }
    for now in [0, u64::MAX] {
        assert!(parse(b"Sunday, 06-Nov-94 08:49:37 GMT", Wall::from_secs(now)).is_some());
    }
}

#[test]
fn what_is_no_date() {
    for text in [
        "",
        "0",
        "-1",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 ",
        "Sun, 06 Nov 1994 08:49:37 EST",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        " Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun 06 Nov 1994 08:49:37 GMT",
        "Sun,06 Nov 1994 08:49:37 GMT",
        "Sun,  06 Nov 1994 08:49:37 GMT",
        "Sun, 06  Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov  1994 08:49:37 GMT",
        "Sun, 06 Nov 1994  08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37  GMT",
        "Sun, 06-Nov-1994 08:49:37 GMT",
        "Sun, 06.Nov.1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08.49.37 GMT",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 06 Nov 1994 08:49 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 01994 08:49:37 GMT",
        "Sun, 06 Nov +994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 29 Feb 2023 08:49:37 GMT",
        "Mon, 29 Feb 2100 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 1994 08:49:3x GMT",
        "Xun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nox 1994 08:49:37 GMT",
        "Sun, 06 November 1994 08:49:37 GMT",
        "\"Sun, 06 Nov 1994 08:49:37 GMT\"",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Funday, 06-Nov-94 08:49:37 GMT",
        "Sunday 06-Nov-94 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov  6 08:49:37 94",
        "Sun Nov  6 08:49:37 19940",
        "Sun Nov  6 08:49:37 1994 GMT",
        "Sun Nov  6 08:49:37 99999999999999999999999999",
        "Sunday Nov  6 08:49:37 1994",
        "Sun Nov    08:49:37 1994",
    ] {
        assert_eq!(read(text), None, "{text:?}");
    }
}

#[test]
fn known_dates_are_written() {
    for (secs, text) in [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (NOW.as_secs(), "Sat, 21 Nov 2026 09:38:00 GMT"),
        (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
        (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ] {
        assert_eq!(
            String::from_utf8(format(Wall::from_secs(secs)).to_vec()).unwrap(),
            text
        );
    }
}

/// Every day up to the year 2400 follows the day before it, as a calendar counted by hand does.
#[test]
fn days_follow_each_other() {
    let (mut year, mut month, mut day) = (1970, 0, 1);
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let weekdays = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    for days in 0..157_054u64 {
        let text = std::format!(
            "{}, {day:02} {} {year:04} 12:34:56 GMT",
            weekdays[(days % 7) as usize],
            months[month]
        );
        let at = Wall::from_secs(days * 86_400 + 45_296);
        assert_eq!(format(at), text.as_bytes());
        assert_eq!(parse(text.as_bytes(), NOW), Some(at));
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let last = [
            31,
            28 + u32::from(is_leap),
            31,
            30,
            31,
            30,
            31,
            31,
            30,
            31,
            30,
            31,
        ][month];
        day += 1;
        if day > last {
            (day, month) = (1, month + 1);
        }
        if month == 12 {
            (month, year) = (0, year + 1);
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(secs in 0..253_402_300_800u64) {
        prop_assert_eq!(parse(&format(Wall::from_secs(secs)), NOW), Some(Wall::from_secs(secs)));
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(text in prop::collection::vec(any::<u8>(), 0..60), now: u64) {
        let _ = parse(&text, Wall(now));
    }

    #[test]
    fn damaged_dates_do_not_panic(secs in 0..253_402_300_800u64, at in 0..29usize, byte: u8, now: u64) {
        let mut text = format(Wall::from_secs(secs));
        text[at] = byte;
        let _ = parse(&text, Wall(now));
    }
}
