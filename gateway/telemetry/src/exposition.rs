//! The classic Prometheus text format, version 0.0.4.

use std::fmt::{self, Write};

use base::Span;

use crate::names::{Family, METRICS_SCRAPE_DURATION, METRICS_SERIES};

/// The media type of an exposition.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Series between two pauses: below 200 µs of rendering.
const PAUSE_SERIES: u64 = 1_000;

/// An exposition being written, family by family. A family appears once, and only if it has samples.
#[derive(Default)]
pub struct Exposition {
    text: String,
    series: u64,
    written: Vec<&'static str>,
    pause: Option<Box<dyn FnMut() + Send>>,
}

/// A sample's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A count.
    Count(u64),
    /// A number that may be negative.
    Signed(i64),
    /// A ratio, a rate; `NaN` where there is nothing to divide.
    Real(f64),
    /// A duration, written in seconds to the nanosecond.
    Span(Span),
}

impl Exposition {
    /// An empty exposition, with room for a usual one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            text: String::with_capacity(64 << 10),
            ..Self::default()
        }
    }

    /// The same, calling `pause` between slices of less than 200 µs, so that a thread that shares its CPU with a shard can
    /// step back.
    #[must_use]
    pub fn pausing(pause: impl FnMut() + Send + 'static) -> Self {
        Self {
            pause: Some(Box::new(pause)),
            ..Self::new()
        }
    }

    /// Begins a family; its samples follow at once. Samples of a family that was already written are refused, because a
    /// second block of one name would make the whole exposition unreadable.
    pub fn family<const N: usize>(&mut self, family: &'static Family<N>) -> Samples<'_, N> {
        let repeated = self.written.contains(&family.name);
        debug_assert!(!repeated, "{} is written twice", family.name);
        Samples {
            exposition: self,
            family,
            begun: false,
            repeated,
        }
    }

    /// A family of one sample without labels.
    pub fn value(&mut self, family: &'static Family<0>, value: impl Into<Value>) {
        self.family(family).sample([], value);
    }

    /// Series written so far.
    #[must_use]
    pub fn series(&self) -> u64 {
        self.series
    }

    /// Adds `metrics_scrape_duration_seconds` and `metrics_series`, and gives the text out.
    #[must_use]
    pub fn finish(mut self, took: Span) -> String {
        self.value(&METRICS_SCRAPE_DURATION, took);
        let series = self.series + 1;
        self.value(&METRICS_SERIES, series);
        self.text
    }

    fn pause(&mut self) {
        if let Some(pause) = &mut self.pause
            && self.series.is_multiple_of(PAUSE_SERIES)
        {
            pause();
        }
    }

    fn begin<const N: usize>(&mut self, family: &Family<N>) {
        let help = Escaped(family.help, false);
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP {} {help}", family.name);
        let kind = family.kind.as_str();
        let _ = writeln!(self.text, "# TYPE {} {kind}", family.name);
        self.written.push(family.name);
    }
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exposition")
            .field("series", &self.series)
            .field("bytes", &self.text.len())
            .finish_non_exhaustive()
    }
}

/// The samples of one family.
#[derive(Debug)]
pub struct Samples<'a, const N: usize> {
    exposition: &'a mut Exposition,
    family: &'static Family<N>,
    begun: bool,
    repeated: bool,
}

impl<const N: usize> Samples<'_, N> {
    /// Writes one sample; label values in the order of the family's labels, escaped here.
    pub fn sample(&mut self, labels: [&str; N], value: impl Into<Value>) -> &mut Self {
        self.line("", labels, None, value.into())
    }

    /// Writes one bucket histogram. `counts` are by bucket, not cumulative, one more than there are `edges`.
    pub fn histogram(
        &mut self,
        labels: [&str; N],
        edges_ns: &[u64],
        counts: &[u64],
        sum: Span,
    ) -> &mut Self {
        let edges = edges_ns.iter().map(|edge| Value::Span(Span(*edge)));
        self.buckets(labels, edges, counts, Value::Span(sum))
    }

    /// Writes one bucket histogram of plain numbers.
    pub fn histogram_of_counts(
        &mut self,
        labels: [&str; N],
        edges: &[u64],
        counts: &[u64],
        sum: u64,
    ) -> &mut Self {
        let edges = edges.iter().map(|edge| Value::Count(*edge));
        self.buckets(labels, edges, counts, Value::Count(sum))
    }

    fn buckets(
        &mut self,
        labels: [&str; N],
        edges: impl Iterator<Item = Value>,
        counts: &[u64],
        sum: Value,
    ) -> &mut Self {
        let mut below = 0;
        for (edge, count) in edges.zip(counts) {
            below += count;
            self.line("_bucket", labels, Some(("le", &edge)), Value::Count(below));
        }
        let all = Value::Count(counts.iter().sum());
        self.line("_bucket", labels, Some(("le", &"+Inf")), all);
        self.totals(labels, sum, all)
    }

    /// Writes one summary; a quantile without a value is `NaN`.
    pub fn summary(
        &mut self,
        labels: [&str; N],
        quantiles: &[(f64, Option<Span>)],
        sum: Span,
        count: u64,
    ) -> &mut Self {
        self.quantiles(labels, quantiles);
        self.totals(labels, Value::Span(sum), Value::Count(count))
    }

    /// Writes quantiles without sum and count.
    pub fn quantiles(&mut self, labels: [&str; N], quantiles: &[(f64, Option<Span>)]) -> &mut Self {
        for (quantile, value) in quantiles {
            let value = value.map_or(Value::Real(f64::NAN), Value::Span);
            self.line("", labels, Some(("quantile", quantile)), value);
        }
        self
    }

    fn totals(&mut self, labels: [&str; N], sum: Value, count: Value) -> &mut Self {
        self.line("_sum", labels, None, sum);
        self.line("_count", labels, None, count)
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: [&str; N],
        extra: Option<(&str, &dyn fmt::Display)>,
        value: Value,
    ) -> &mut Self {
        if self.repeated {
            return self;
        }
        if !self.begun {
            self.exposition.begin(self.family);
            self.begun = true;
        }
        self.exposition.series += 1;
        let text = &mut self.exposition.text;
        text.push_str(self.family.name);
        text.push_str(suffix);
        let mut mark = '{';
        for (name, value) in self.family.labels.iter().zip(labels) {
            let _ = write!(text, "{mark}{name}=\"{}\"", Escaped(value, true));
            mark = ',';
        }
        if let Some((name, value)) = extra {
            let _ = write!(text, "{mark}{name}=\"{value}\"");
            mark = ',';
        }
        if mark == ',' {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
        self.exposition.pause();
        self
    }
}

/// A label value, or (without quotes to escape) a help text.
struct Escaped<'a>(&'a str, bool);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(mut rest, quoted) = *self;
        while let Some(at) = rest.find(|c| c == '\\' || c == '\n' || (quoted && c == '"')) {
            let (plain, special) = rest.split_at(at);
            f.write_str(plain)?;
            f.write_str(match special.as_bytes().first() {
                Some(b'\n') => "\\n",
                Some(b'"') => "\\\"",
                _ => "\\\\",
            })?;
            rest = special.get(1..).unwrap_or_default();
        }
        f.write_str(rest)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Count(value) => write!(f, "{value}"),
            Self::Signed(value) => write!(f, "{value}"),
            Self::Real(value) if value.is_infinite() => {
                f.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
            }
            Self::Real(value) => write!(f, "{value}"),
            Self::Span(Span(ns)) => seconds(f, ns),
        }
    }
}

/// Nanoseconds as seconds, exactly and without needless zeros.
fn seconds(f: &mut fmt::Formatter<'_>, ns: u64) -> fmt::Result {
    let (whole, mut rest) = (ns / 1_000_000_000, ns % 1_000_000_000);
    if rest == 0 {
        return write!(f, "{whole}");
    }
    let mut digits = 9;
    while rest.is_multiple_of(10) {
        rest /= 10;
        digits -= 1;
    }
    write!(f, "{whole}.{rest:0digits$}")
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Count(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Signed(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<Span> for Value {
    fn from(value: Span) -> Self {
        Self::Span(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Count(u64::from(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    fn text(write: impl FnOnce(&mut Exposition)) -> String {
        let mut exposition = Exposition::new();
        write(&mut exposition);
        exposition.text
    }

    #[test]
    fn a_family_has_help_type_and_escaped_samples() {
        let text = text(|out| {
            out.family(&names::CONFIG_INFO)
                .sample(["a\\b\"c\nd"], 1u64)
                .sample(["é{}"], 2u64);
        });
        assert_eq!(
            text,
            "# HELP config_info The configuration in force.\n# TYPE config_info gauge\n\
             config_info{hash=\"a\\\\b\\\"c\\nd\"} 1\nconfig_info{hash=\"é{}\"} 2\n"
        );
    }

    #[test]
    fn a_family_without_samples_does_not_appear() {
        let text = text(|out| {
            out.family(&names::SHARD_INFO);
        });
        assert_eq!(text, "");
    }

    #[test]
    fn buckets_are_cumulative_and_end_at_infinity() {
        let text = text(|out| {
            out.family(&names::HTTP_REQUEST_DURATION).histogram(
                ["api", "hit"],
                &[10_000, 1_500_000],
                &[3, 4, 5],
                Span(2_000_000_001),
            );
        });
        let samples: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(
            samples,
            [
                "http_request_duration_seconds_bucket{route=\"api\",cache=\"hit\",le=\"0.00001\"} 3",
                "http_request_duration_seconds_bucket{route=\"api\",cache=\"hit\",le=\"0.0015\"} 7",
                "http_request_duration_seconds_bucket{route=\"api\",cache=\"hit\",le=\"+Inf\"} 12",
                "http_request_duration_seconds_sum{route=\"api\",cache=\"hit\"} 2.000000001",
                "http_request_duration_seconds_count{route=\"api\",cache=\"hit\"} 12",
            ]
        );
    }

    #[test]
    fn quantiles_without_a_value_are_nan() {
        let text = text(|out| {
            let quantiles = [(0.5, Some(Span(57_000))), (0.9999, None)];
            out.family(&names::REQUEST_LATENCY)
                .summary([], &quantiles, Span::ZERO, 0);
        });
        let samples: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(
            samples,
            [
                "request_latency_seconds{quantile=\"0.5\"} 0.000057",
                "request_latency_seconds{quantile=\"0.9999\"} NaN",
                "request_latency_seconds_sum 0",
                "request_latency_seconds_count 0",
            ]
        );
    }

    #[test]
    fn a_long_exposition_pauses() {
        let pauses = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&pauses);
        let mut out = Exposition::pausing(move || {
            seen.fetch_add(1, Relaxed);
        });
        let mut samples = out.family(&names::SHARD_TURNS);
        for shard in 0..2_500u64 {
            samples.sample([&shard.to_string()], shard);
        }
        assert_eq!(pauses.load(Relaxed), 2);
    }

    #[test]
    fn the_last_family_counts_every_series() {
        let mut out = Exposition::new();
        out.value(&names::ERROR_RATE, 0.25);
        let text = out.finish(Span::from_micros(40));
        assert!(text.contains("\nerror_rate 0.25\n"));
        assert!(text.contains("\nmetrics_scrape_duration_seconds 0.00004\n"));
        assert!(text.ends_with("\nmetrics_series 3\n"));
    }
}
