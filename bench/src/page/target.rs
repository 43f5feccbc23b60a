//! What a percentile is to stay below.

use std::fmt;
use std::str::FromStr;

use super::axis::{duration, short};

/// As `p99=1ms`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Target {
    /// Above 0 and below 1.
    pub(crate) share: f64,
    pub(crate) us: f64,
}

/// What the gateway promises for cached requests.
pub(crate) const DEFAULT: [&str; 2] = ["p50=500us", "p99=1ms"];

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const UNITS: [(&str, f64); 5] = [
            ("ns", 1e-3),
            ("us", 1.0),
            ("µs", 1.0),
            ("ms", 1e3),
            ("s", 1e6),
        ];
        let wanted = || "wanted is a percentile and a time, as p99=1ms or p99.9=500us".to_owned();
        let (percentile, time) = text.split_once('=').ok_or_else(wanted)?;
        let percent: f64 = percentile
            .strip_prefix(['p', 'P'])
            .and_then(|number| number.parse().ok())
            .ok_or_else(wanted)?;
        let time = UNITS.iter().find_map(|(unit, us)| {
            let number: f64 = time.strip_suffix(unit)?.parse().ok()?;
            Some(number * us)
        });
        let us = time.ok_or_else(wanted)?;
        if !(percent > 0.0 && percent < 100.0) {
            return Err("a percentile lies above 0 and below 100".to_owned());
        }
        if !(us.is_finite() && us > 0.0) {
            return Err("a time to stay below is above 0".to_owned());
        }
        Ok(Target {
            share: percent / 100.0,
            us,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "P{} ≤ {}",
            short(self.share * 100.0),
            duration(self.us)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_and_worded() {
        let shown = |text: &str| text.parse::<Target>().map(|target| target.to_string());
        assert_eq!(shown("p99=1ms").as_deref(), Ok("P99 ≤ 1 ms"));
        assert_eq!(shown("p99.9=0.5s").as_deref(), Ok("P99.9 ≤ 500 ms"));
        assert_eq!(shown("P50=500us").as_deref(), Ok("P50 ≤ 500 µs"));
        for wrong in [
            "", "p99", "99=1ms", "p99=1", "p100=1ms", "p0=1ms", "p99=-1ms", "pNaN=1ms", "p99=infs",
        ] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }
}
