//! From values to places on an axis, the ticks on it, and numbers as people write them.

/// What an axis shows, from end to end. Ends are positive on a logarithmic one, and differ on every one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    Linear {
        low: f64,
        high: f64,
    },
    Log {
        low: f64,
        high: f64,
    },
    /// Of nines: a share `q` stands at -log10(1 - q). Values are such nines already.
    Nines {
        low: f64,
        high: f64,
    },
}

/// A labelled place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    pub(crate) value: f64,
    pub(crate) label: String,
}

/// No axis has more labels than these.
const TICKS_MAX: usize = 8;
/// The widest a logarithmic axis gets, as powers of ten.
const EXPONENT_MAX: f64 = 15.0;

impl Scale {
    /// From nothing to a little over the highest of the values.
    pub(crate) fn from_zero(values: impl Iterator<Item = f64>) -> Scale {
        let high = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        Scale::Linear {
            low: 0.0,
            high: if high > 0.0 { high * 1.08 } else { 1.0 },
        }
    }

    /// About all positive values, with room on either side, and at least a factor of two.
    pub(crate) fn about(values: impl Iterator<Item = f64>) -> Scale {
        let ends = values
            .filter(|value| value.is_finite() && *value > 0.0)
            .map(|value| value.log10().clamp(-EXPONENT_MAX, EXPONENT_MAX))
            .fold(None, |ends: Option<(f64, f64)>, value| {
                Some(ends.map_or((value, value), |(low, high)| {
                    (low.min(value), high.max(value))
                }))
            });
        let (low, high) = ends.unwrap_or((0.0, 1.0));
        let room = ((high - low) * 0.06).max((0.32 - (high - low)) / 2.0);
        Scale::Log {
            low: 10f64.powf(low - room),
            high: 10f64.powf(high + room),
        }
    }

    /// Where a value stands, 0 to 1 within the ends.
    pub(crate) fn place(self, value: f64) -> f64 {
        match self {
            Scale::Linear { low, high } | Scale::Nines { low, high } => {
                (value - low) / (high - low)
            }
            Scale::Log { low, high } => {
                let least = 10f64.powf(-EXPONENT_MAX);
                (value.max(least) / low).log10() / (high / low).log10()
            }
        }
    }

    /// In order, at most [`TICKS_MAX`]; `label` words a value.
    pub(crate) fn ticks(self, label: impl Fn(f64) -> String) -> Vec<Tick> {
        let values = match self {
            Scale::Linear { low, high } => linear(low, high),
            Scale::Log { low, high } => logarithmic(low, high),
            Scale::Nines { low, high } => {
                let marks = NINES.into_iter();
                marks.filter(|nines| (low..=high).contains(nines)).collect()
            }
        };
        let tick = |value| Tick {
            value,
            label: label(value),
        };
        values.into_iter().map(tick).collect()
    }
}

/// 50, 90, 99, 99.9 and 99.99 %.
pub(crate) const NINES: [f64; 5] = [std::f64::consts::LOG10_2, 1.0, 2.0, 3.0, 4.0];

/// `-log10(1 - share)`.
pub(crate) fn nines(share: f64) -> f64 {
    -(1.0 - share).log10()
}

/// Whole multiples of one, two or five times a power of ten.
fn linear(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / (TICKS_MAX - 2) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(rough);
    let first = (low / step - 1e-9).ceil();
    (0..TICKS_MAX)
        .map(|index| (first + index as f64) * step)
        .filter(|value| *value <= high)
        .collect()
}

/// The densest of the usual divisions of a power of ten that is not too dense.
fn logarithmic(low: f64, high: f64) -> Vec<f64> {
    const DIVISIONS: [&[f64]; 5] = [
        &[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
        &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
        &[1.0, 2.0, 5.0],
        &[1.0, 3.0],
        &[1.0],
    ];
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let all = |division: &[f64], step: usize| -> Vec<f64> {
        (first..=last)
            .step_by(step)
            .flat_map(|power| {
                division
                    .iter()
                    .map(move |factor| factor * 10f64.powi(power))
            })
            .filter(|value| *value >= low * 0.999 && *value <= high * 1.001)
            .collect()
    };
    DIVISIONS
        .iter()
        .map(|division| all(division, 1))
        .find(|ticks| ticks.len() <= TICKS_MAX)
        .unwrap_or_else(|| all(&[1.0], ((last - first) as usize).div_ceil(TICKS_MAX - 1)))
}

/// As short as a tick or a target wants it: `500 µs`, `1.5 ms`.
pub(crate) fn duration(us: f64) -> String {
    let (value, unit) = match us {
        us if us < 1.0 => (us * 1e3, "ns"),
        us if us < 1e3 => (us, "µs"),
        us if us < 1e6 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    format!("{} {unit}", short(value))
}

/// As a share of all: `99.9 %`.
pub(crate) fn percent_of_nines(nines: f64) -> String {
    format!("{} %", short(100.0 * (1.0 - 10f64.powf(-nines))))
}

/// `100k`, `1.5M`.
pub(crate) fn thousands(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", short(value / 1e6)),
        value if value >= 1e3 => format!("{}k", short(value / 1e3)),
        value => short(value),
    }
}

/// Up to four digits after the point, none of them a closing zero.
pub(crate) fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Three digits that mean something, and commas: `9.56`, `97.3`, `80,432`.
pub(crate) fn figure(value: f64) -> String {
    let digits = match value.abs() {
        size if size < 9.995 => 2,
        size if size < 99.95 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.char_indices() {
        let left = whole.len() - index;
        if index > 0 && left.is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale) -> Vec<String> {
        let ticks = scale.ticks(duration);
        ticks.into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn a_logarithmic_axis_is_divided_by_what_it_spans() {
        let log = |low, high| labels(Scale::Log { low, high });
        assert_eq!(
            log(100.0, 10_000.0),
            [
                "100 µs", "200 µs", "500 µs", "1 ms", "2 ms", "5 ms", "10 ms"
            ]
        );
        assert_eq!(
            log(400.0, 900.0),
            ["400 µs", "500 µs", "600 µs", "700 µs", "800 µs", "900 µs"]
        );
        assert_eq!(
            log(10.0, 1e6),
            ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s"]
        );
    }

    #[test]
    fn whatever_the_values_ticks_are_few_and_in_order() {
        for low in [1e-9, 0.3, 1.0, 7.0, 480.0] {
            for factor in [1.0, 1.01, 2.0, 9.0, 1e3, 1e7, 1e30] {
                let scale = Scale::about([low, low * factor].into_iter());
                let ticks = scale.ticks(duration);
                assert!(
                    (2..=TICKS_MAX).contains(&ticks.len()),
                    "{low} x {factor}: {ticks:?}"
                );
                assert!(ticks.is_sorted_by(|a, b| a.value < b.value), "{ticks:?}");
                for tick in ticks {
                    let place = scale.place(tick.value);
                    assert!((-0.01..=1.01).contains(&place), "{tick:?} at {place}");
                }
            }
        }
    }

    #[test]
    fn an_axis_about_nothing_is_an_axis() {
        assert!(labels(Scale::about(std::iter::empty())).len() >= 2);
        assert!(labels(Scale::about([0.0, f64::NAN, -1.0].into_iter())).len() >= 2);
        assert!(labels(Scale::from_zero(std::iter::empty())).len() >= 2);
    }

    #[test]
    fn a_linear_axis_has_round_steps() {
        let ticks = |high| -> Vec<f64> {
            let scale = Scale::Linear { low: 0.0, high };
            scale
                .ticks(short)
                .into_iter()
                .map(|tick| tick.value)
                .collect()
        };
        assert_eq!(ticks(10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(
            ticks(108_000.0),
            [0.0, 20_000.0, 40_000.0, 60_000.0, 80_000.0, 100_000.0]
        );
        for exponent in -6..9 {
            for factor in [1.0, 1.7, 3.3, 9.99] {
                let count = ticks(factor * 10f64.powi(exponent)).len();
                assert!((3..=TICKS_MAX).contains(&count), "{factor}e{exponent}");
            }
        }
    }

    #[test]
    fn percentiles_stand_at_their_nines() {
        let scale = Scale::Nines {
            low: 0.125,
            high: 4.0,
        };
        let ticks = scale.ticks(percent_of_nines);
        let labels: Vec<_> = ticks.iter().map(|tick| tick.label.as_str()).collect();
        assert_eq!(labels, ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        assert!((nines(0.999) - 3.0).abs() < 1e-9);
        assert!((scale.place(4.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn numbers_are_written_as_people_do() {
        assert_eq!(duration(500.0), "500 µs");
        assert_eq!(duration(1500.0), "1.5 ms");
        assert_eq!(duration(2e6), "2 s");
        assert_eq!(thousands(100_000.0), "100k");
        assert_eq!(figure(9.557), "9.56");
        assert_eq!(figure(97.34), "97.3");
        assert_eq!(figure(80_431.6), "80,432");
        assert_eq!(figure(1_234_567.0), "1,234,567");
        assert_eq!(figure(999.7), "1,000");
    }
}
