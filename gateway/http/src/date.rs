//! HTTP dates (RFC 9110 §5.6.7).

use base::{Wall, civil};

/// Bytes of an IMF-fixdate.
pub const DATE_BYTES: usize = 29;

/// `Sun, 06 Nov 1994 08:49:37 GMT`. After the year 9999 it stays at its last second.
#[must_use]
pub fn format(at: Wall) -> [u8; DATE_BYTES] {
    let secs = at.as_secs().min(LAST_SECOND);
    let (days, clock) = (secs / DAY_SECS, secs % DAY_SECS);
    let (year, month, day) = civil(days);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    // 1970-01-01 was a Thursday.
    put(&mut text, 0, name(&WEEKDAYS, (days + 4) % 7));
    put(&mut text, 5, &two_digits(day));
    put(&mut text, 8, name(&MONTHS, month - 1));
    put(&mut text, 12, &two_digits(year / 100));
    put(&mut text, 14, &two_digits(year % 100));
    put(&mut text, 17, &two_digits(clock / 3600));
    put(&mut text, 20, &two_digits(clock / 60 % 60));
    put(&mut text, 23, &two_digits(clock % 60));
    text
}

/// Reads any of the three forms; `now` decides the century of a two-digit year (RFC 9110 §5.6.7). `None` for anything
/// else, however close to a date it looks. Names are read in any case (RFC 9111 §4.2); the weekday must be one, and is
/// not compared with the date. What lies before 1970 is read as 1970, for it is as long past.
#[must_use]
pub fn parse(text: &[u8], now: Wall) -> Option<Wall> {
    let comma = text.iter().position(|&byte| byte == b',');
    match comma {
        Some(3) => imf(text),
        Some(end) => rfc850(text, end, now),
        None => asctime(text),
    }
}

const DAY_SECS: u64 = 86_400;
/// 9999-12-31 23:59:59.
const LAST_SECOND: u64 = 253_402_300_799;

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A day of the proleptic Gregorian calendar.
#[derive(Clone, Copy)]
struct Day {
    year: u64,
    month: u64,
    day: u64,
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf(text: &[u8]) -> Option<Wall> {
    let (weekday, rest) = text.split_at_checked(3)?;
    let [b',', b' ', day @ ..] = rest else {
        return None;
    };
    let (date, rest) = day.split_at_checked(11)?;
    let [d1, d2, b' ', m1, m2, m3, b' ', y1, y2, y3, y4] = date else {
        return None;
    };
    let day = Day {
        year: number(&[*y1, *y2, *y3, *y4])?,
        month: month(&[*m1, *m2, *m3])?,
        day: number(&[*d1, *d2])?,
    };
    is_short_weekday(weekday).then_some(())?;
    wall(day, clock_and_zone(rest)?)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850(text: &[u8], comma: usize, now: Wall) -> Option<Wall> {
    let (weekday, rest) = text.split_at_checked(comma)?;
    let (date, rest) = rest.split_at_checked(11)?;
    let [b',', b' ', d1, d2, b'-', m1, m2, m3, b'-', y1, y2] = date else {
        return None;
    };
    let is_weekday = WEEKDAYS
        .iter()
        .any(|name| weekday.eq_ignore_ascii_case(name.as_bytes()));
    is_weekday.then_some(())?;
    let clock = clock_and_zone(rest)?;
    let (month, day) = (month(&[*m1, *m2, *m3])?, number(&[*d1, *d2])?);
    let year = full_year(
        number(&[*y1, *y2])?,
        |year| Day { year, month, day },
        clock,
        now,
    );
    wall(Day { year, month, day }, clock)
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &[u8]) -> Option<Wall> {
    let (date, rest) = text.split_at_checked(11)?;
    let [w1, w2, w3, b' ', m1, m2, m3, b' ', d1, d2, b' '] = date else {
        return None;
    };
    let (clock, year) = rest.split_at_checked(8)?;
    let [b' ', y1, y2, y3, y4] = year else {
        return None;
    };
    is_short_weekday(&[*w1, *w2, *w3]).then_some(())?;
    let tens = if *d1 == b' ' { b'0' } else { *d1 };
    let day = Day {
        year: number(&[*y1, *y2, *y3, *y4])?,
        month: month(&[*m1, *m2, *m3])?,
        day: number(&[tens, *d2])?,
    };
    wall(day, seconds_of_day(clock)?)
}

/// The latest year with these two digits for which the date is not more than 50 years ahead of `now`.
fn full_year(digits: u64, on: impl Fn(u64) -> Day, clock: u64, now: Wall) -> u64 {
    let now = now.as_secs().min(LAST_SECOND);
    let (this_year, _, _) = civil(now / DAY_SECS);
    let mut year = this_year - this_year % 100 + 100 + digits;
    while seconds(on(year - 50), clock) > now.cast_signed() {
        year -= 100;
    }
    year
}

/// ` 08:49:37 GMT`, the space before it included.
fn clock_and_zone(text: &[u8]) -> Option<u64> {
    let [b' ', rest @ ..] = text else { return None };
    let (clock, zone) = rest.split_at_checked(8)?;
    zone.eq_ignore_ascii_case(b" GMT")
        .then(|| seconds_of_day(clock))?
}

/// `08:49:37`; the 60th second is a leap second.
fn seconds_of_day(text: &[u8]) -> Option<u64> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = text else {
        return None;
    };
    let (hour, minute) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
    let second = number(&[*s1, *s2])?;
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

fn wall(day: Day, clock: u64) -> Option<Wall> {
    let is_there = (1..=month_days(day)).contains(&day.day);
    is_there.then(|| Wall::from_secs(u64::try_from(seconds(day, clock)).unwrap_or(0)))
}

/// Of four digits at most.
fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, &byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + u64::from(byte - b'0'))
    })
}

/// 1 to 12.
fn month(text: &[u8]) -> Option<u64> {
    let at = MONTHS
        .iter()
        .position(|name| text.eq_ignore_ascii_case(name.as_bytes()))?;
    Some(at as u64 + 1)
}

fn is_short_weekday(text: &[u8]) -> bool {
    WEEKDAYS
        .iter()
        .any(|name| text.eq_ignore_ascii_case(&name.as_bytes()[..3]))
}

fn month_days(day: Day) -> u64 {
    let is_leap = day.year.is_multiple_of(4)
        && (!day.year.is_multiple_of(100) || day.year.is_multiple_of(400));
    match day.month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Seconds from the epoch, negative before it. Days are counted in years that begin in March, so that the leap day is
/// the last (Hinnant, "chrono-compatible low-level date algorithms").
fn seconds(day: Day, clock: u64) -> i64 {
    let year = day.year + 400 - u64::from(day.month <= 2);
    let month = (day.month + 9) % 12;
    let days =
        year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day.day - 1;
    (days * DAY_SECS + clock).cast_signed() - EPOCH_SECS
}

/// From the first of March of the year -400, which [`seconds`] counts from, to the epoch.
const EPOCH_SECS: i64 = (719_468 + 146_097) * DAY_SECS as i64;

fn name<const N: usize>(names: &[&'static str; N], at: u64) -> &'static [u8] {
    let name = usize::try_from(at).ok().and_then(|at| names.get(at));
    name.and_then(|name| name.as_bytes().get(..3))
        .unwrap_or_default()
}

/// Of a number below 100.
fn two_digits(number: u64) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

fn put(text: &mut [u8; DATE_BYTES], at: usize, part: &[u8]) {
    for (place, &byte) in text.iter_mut().skip(at).zip(part) {
        *place = byte;
    }
}
