//! Sizes and times with units.

/// Units of a size, largest first; powers of 1024 before powers of 1000.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Units of a time in nanoseconds, largest first.
const SPANS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Bytes of `"4GiB"`, `"64 MiB"`, `"500kB"`, `"4096"`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    parse(text, &SIZES, 1).ok_or_else(|| {
        format!("found {text:?}, expected a size such as \"64MiB\", \"500kB\" or 4096 (bytes)")
    })
}

/// Nanoseconds of `"500us"`, `"10ms"`, `"2s"`, `"1m"`; a plain number is seconds.
pub(crate) fn parse_span(text: &str) -> Result<u64, String> {
    parse(text, &SPANS, 1_000_000_000).ok_or_else(|| {
        format!(
            "found {text:?}, expected a time such as \"500us\", \"10ms\", \"2s\", \"1m\" or 30 (seconds)"
        )
    })
}

/// Bytes in the largest binary unit that divides them.
pub(crate) fn size(bytes: u64) -> String {
    show(bytes, &SIZES[..4], "B")
}

/// Nanoseconds in the largest unit that divides them.
pub(crate) fn span(nanos: u64) -> String {
    match nanos {
        0 => "0s".to_owned(),
        _ => show(nanos, &SPANS, "ns"),
    }
}

fn parse(text: &str, units: &[(&str, u64)], plain: u64) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let factor = match unit.trim_start() {
        "" => plain,
        "µs" => 1_000,
        "KB" => 1_000,
        unit => units.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.checked_mul(factor)
}

fn show(number: u64, units: &[(&str, u64)], smallest: &str) -> String {
    units
        .iter()
        .find(|(_, factor)| number >= *factor && number.is_multiple_of(*factor))
        .map_or_else(
            || format!("{number}{smallest}"),
            |(name, factor)| format!("{}{name}", number / factor),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_both_families_of_units() {
        let table = [
            ("0", 0),
            ("4096", 4096),
            ("1B", 1),
            ("4GiB", 4 << 30),
            ("64 MiB", 64 << 20),
            ("500kB", 500_000),
            ("500KB", 500_000),
            ("2TB", 2_000_000_000_000),
        ];
        for (text, bytes) in table {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn times_are_read_and_a_plain_number_is_seconds() {
        let table = [
            ("0us", 0),
            ("500us", 500_000),
            ("500µs", 500_000),
            ("10ms", 10_000_000),
            ("2s", 2_000_000_000),
            ("30", 30_000_000_000),
            ("1m", 60_000_000_000),
            ("2h", 7_200_000_000_000),
        ];
        for (text, nanos) in table {
            assert_eq!(parse_span(text), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn what_is_ambiguous_or_too_large_is_refused() {
        for text in ["", "64M", "1.5GiB", "-1", "GiB", "4 4GiB", "99999999999TiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        for text in ["", "1.5s", "-1s", "s", "10sec", "1m30s", "99999999999d"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for bytes in [0, 1, 1023, 1024, 1 << 20, 3 << 30, 1_000_000] {
            assert_eq!(parse_size(&size(bytes)), Ok(bytes));
        }
        for nanos in [0, 1, 1_000, 75_000_000_000, 60_000_000_000, 1_500_000] {
            assert_eq!(parse_span(&span(nanos)), Ok(nanos));
        }
    }
}
