//! From runs to a word on each metric.

use std::fmt::Write;

use super::statistics::{Interval, median};
use crate::record::Run;

/// What is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    /// CPU time of the server for a request.
    Cpu,
    Rate,
    P50,
    P99,
}

/// In the order of the report.
pub(crate) const ALL: [Metric; 4] = [Metric::Cpu, Metric::Rate, Metric::P50, Metric::P99];

impl Metric {
    fn name(self) -> &'static str {
        match self {
            Metric::Cpu => "CPU µs/request",
            Metric::Rate => "requests/s",
            Metric::P50 => "p50 µs",
            Metric::P99 => "p99 µs",
        }
    }

    fn digits(self) -> usize {
        match self {
            Metric::Cpu => 3,
            Metric::Rate => 0,
            Metric::P50 | Metric::P99 => 1,
        }
    }

    /// Latencies count from the intended send, in clean windows where there are any.
    pub(crate) fn of(self, run: &Run) -> Option<f64> {
        let clean = run.load.clean.as_ref().filter(|clean| clean.windows > 0);
        let latency = clean.map_or(&run.load.latency, |clean| &clean.latency);
        match self {
            Metric::Cpu => run.cpu_us_per_request,
            Metric::Rate => Some(run.load.requests_per_second),
            Metric::P50 => Some(latency.corrected.p50_us),
            Metric::P99 => Some(latency.corrected.p99_us),
        }
    }

    /// The figure's logarithm, with a sign: more is worse.
    pub(crate) fn badness(self, run: &Run) -> Option<f64> {
        let logarithm = self.of(run).map(f64::ln)?;
        Some(match self {
            Metric::Rate => -logarithm,
            _ => logarithm,
        })
    }
}

/// What a metric may become, as a factor by which it is worse; without one it is told and not judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thresholds {
    pub(crate) cpu: f64,
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: Option<f64>,
}

impl Thresholds {
    pub(crate) fn of(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Cpu => Some(self.cpu),
            Metric::Rate => Some(self.rate),
            Metric::P50 => Some(self.p50),
            Metric::P99 => self.p99,
        }
    }
}

/// The word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Worse by more than the threshold: the whole interval lies beyond it.
    Regression,
    /// Not worse by as much: the whole interval lies before it.
    Same,
    /// Better by more than the threshold.
    Better,
    /// The threshold lies within the interval.
    Undecided,
    /// The same, and the interval so wide that nothing could have been told: it reaches as far as the threshold is away.
    TooNoisy,
    /// There is no threshold.
    Told,
    /// The figures are the generator's, or whose its CPU was.
    NotCertified,
}

impl Verdict {
    /// `worse` is the interval of the logarithm of the factor by which a metric is worse.
    pub(crate) fn of(worse: &Interval, threshold: Option<f64>) -> Verdict {
        let Some(limit) = threshold.map(f64::ln) else {
            return Verdict::Told;
        };
        if worse.low > limit {
            Verdict::Regression
        } else if worse.high < -limit {
            Verdict::Better
        } else if worse.high < limit {
            Verdict::Same
        } else if worse.high - worse.middle < limit {
            Verdict::Undecided
        } else {
            Verdict::TooNoisy
        }
    }

    pub(crate) fn is_decided(self) -> bool {
        matches!(self, Verdict::Regression | Verdict::Same | Verdict::Better)
    }

    fn word(self) -> &'static str {
        match self {
            Verdict::Regression => "**regression**",
            Verdict::Same => "same",
            Verdict::Better => "better",
            Verdict::Undecided => "undecided: more rounds would tell",
            Verdict::TooNoisy => "too noisy to tell",
            Verdict::Told => "told, not judged",
            Verdict::NotCertified => "not certified, not judged",
        }
    }
}

/// A metric with its verdict.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) metric: Metric,
    /// Medians of the reference and of what is judged.
    before: f64,
    now: f64,
    /// As a factor by which it is worse, in logarithms.
    worse: Interval,
    threshold: Option<f64>,
    pub(crate) verdict: Verdict,
}

impl Judged {
    /// `None` where either side has no figures.
    pub(crate) fn new(
        metric: Metric,
        (before, now): (&[Run], &[Run]),
        worse: Interval,
        thresholds: &Thresholds,
    ) -> Option<Judged> {
        let middle = |runs: &[Run]| {
            let figures: Vec<f64> = runs.iter().filter_map(|run| metric.of(run)).collect();
            median(&figures)
        };
        let threshold = thresholds.of(metric);
        Some(Judged {
            metric,
            before: middle(before)?,
            now: middle(now)?,
            worse,
            threshold,
            verdict: Verdict::of(&worse, threshold),
        })
    }

    fn row(&self) -> [String; 7] {
        let digits = self.metric.digits();
        let worse = self.worse.exp();
        // Rates are shown as what they are over what they were, as all others.
        let (sign, allowed, ratio) = match self.metric {
            Metric::Rate => (
                "≥",
                self.threshold.map(f64::recip),
                Interval {
                    low: worse.high.recip(),
                    middle: worse.middle.recip(),
                    high: worse.low.recip(),
                },
            ),
            _ => ("≤", self.threshold, worse),
        };
        [
            self.metric.name().to_owned(),
            format!("{:.digits$}", self.before),
            format!("{:.digits$}", self.now),
            format!("{:.3}", ratio.middle),
            format!("{:.3}..{:.3}", ratio.low, ratio.high),
            allowed.map_or_else(|| "-".to_owned(), |bound| format!("{sign} {bound:.2}")),
            self.verdict.word().to_owned(),
        ]
    }
}

/// The table of verdicts, with the confidence of its intervals.
pub(crate) fn table(judged: &[Judged], level: f64) -> String {
    let interval = format!("{} % interval", (level * 1e4).round() / 100.0);
    let heads = [
        "metric",
        "reference",
        "now",
        "ratio",
        &interval,
        "allowed",
        "verdict",
    ];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(judged.iter().map(Judged::row));
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a string never fails.
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
        if index == 0 {
            for width in widths {
                let _ = write!(text, "|{:-<1$}", "", width + 2);
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(low: f64, middle: f64, high: f64) -> Verdict {
        let worse = Interval {
            low: low.ln(),
            middle: middle.ln(),
            high: high.ln(),
        };
        Verdict::of(&worse, Some(1.03))
    }

    #[test]
    fn only_what_lies_beyond_the_threshold_as_a_whole_is_a_regression() {
        assert_eq!(verdict(1.031, 1.05, 1.07), Verdict::Regression);
        assert_eq!(verdict(1.02, 1.04, 1.06), Verdict::Undecided);
        assert_eq!(verdict(0.99, 1.01, 1.029), Verdict::Same);
        assert_eq!(verdict(1.01, 1.02, 1.029), Verdict::Same);
        assert_eq!(verdict(0.93, 0.95, 0.969), Verdict::Better);
        assert_eq!(verdict(0.95, 1.0, 1.05), Verdict::TooNoisy);
        assert_eq!(verdict(0.95, 1.05, 1.2), Verdict::TooNoisy);
        assert_eq!(verdict(1.04, 1.2, 1.4), Verdict::Regression);
        let wide = Interval {
            low: -1.0,
            middle: 0.0,
            high: 1.0,
        };
        assert_eq!(Verdict::of(&wide, None), Verdict::Told);
    }
}
