//! Families of samples, written in one of three formats.

use std::fmt;

use base::Span;

use crate::duration::Buckets;
use crate::edges::{self, CLASSIC_NS};
use crate::exemplar::{ByBucket, Exemplar};
use crate::format::Format;
use crate::names::{Family, METRICS_SCRAPE_DURATION, METRICS_SERIES};
use crate::native::Native;
use crate::protobuf::Families;
use crate::text::{Dialect, Text};

/// Series between two pauses: below 200 µs of rendering.
const PAUSE_SERIES: u64 = 1_000;

/// An exposition being written, family by family. A family appears once, and only if it has samples.
pub struct Exposition {
    written: Written,
    series: u64,
    names: Vec<&'static str>,
    pause: Option<Box<dyn FnMut() + Send>>,
}

#[derive(Debug)]
enum Written {
    Text(Text),
    Protobuf(Families),
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

/// Labels with their values.
pub(crate) type Pairs<'a> = &'a [(&'static str, &'a str)];

/// One bucket histogram to be written.
pub(crate) struct Histogram<'a> {
    /// Upper edges, inclusive.
    pub(crate) edges: &'a [u64],
    /// What the edges and the sum count.
    pub(crate) measure: fn(u64) -> Value,
    /// By bucket, not cumulative, one more than there are edges.
    pub(crate) counts: &'a [u64],
    pub(crate) sum: u64,
    /// By bucket, or none.
    pub(crate) exemplars: &'a [Option<&'a Exemplar>],
    pub(crate) native: Option<&'a Native>,
}

impl Exposition {
    /// An empty exposition in the classic text format.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Format::Text)
    }

    /// An empty exposition, with room for a usual one.
    #[must_use]
    pub fn of(format: Format) -> Self {
        let written = match format {
            Format::Text => Written::Text(Text::new(Dialect::Classic)),
            Format::OpenMetrics => Written::Text(Text::new(Dialect::OpenMetrics)),
            Format::Protobuf => Written::Protobuf(Families::new()),
        };
        Self {
            written,
            series: 0,
            names: Vec::new(),
            pause: None,
        }
    }

    /// An empty exposition in the classic text format that calls `pause` between slices of less than 200 µs, so that a
    /// thread that shares its CPU with a shard can step back.
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
        let repeated = self.names.contains(&family.name);
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

    /// Series written so far, counted as the text formats have them: a native histogram as its classic buckets.
    #[must_use]
    pub fn series(&self) -> u64 {
        self.series
    }

    /// Adds `metrics_scrape_duration_seconds` and `metrics_series`, and gives the exposition out.
    #[must_use]
    pub fn encode(mut self, took: Span) -> Vec<u8> {
        self.value(&METRICS_SCRAPE_DURATION, took);
        let series = self.series + 1;
        self.value(&METRICS_SERIES, series);
        match self.written {
            Written::Text(text) => text.finish().into_bytes(),
            Written::Protobuf(families) => families.finish(),
        }
    }

    /// The same as text, of a text format.
    #[must_use]
    pub fn finish(self, took: Span) -> String {
        debug_assert!(matches!(self.written, Written::Text(_)), "no text");
        String::from_utf8(self.encode(took)).unwrap_or_default()
    }

    /// Counts what was written, and pauses where a slice ends.
    fn count(&mut self, series: usize) {
        let slice = self.series / PAUSE_SERIES;
        self.series += series as u64;
        if let Some(pause) = &mut self.pause
            && self.series / PAUSE_SERIES > slice
        {
            pause();
        }
    }
}

impl Default for Exposition {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exposition")
            .field("series", &self.series)
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
        let family = self.family;
        let value = value.into();
        self.write(labels, 1, |written, labels| match written {
            Written::Text(text) => text.sample(family.name, labels, value),
            Written::Protobuf(families) => families.sample(family.kind, labels, value),
        })
    }

    /// Writes one bucket histogram. `counts` are by bucket, not cumulative, one more than there are `edges`.
    pub fn histogram(
        &mut self,
        labels: [&str; N],
        edges_ns: &[u64],
        counts: &[u64],
        Span(sum): Span,
    ) -> &mut Self {
        let histogram = Histogram {
            edges: edges_ns,
            measure: nanoseconds,
            counts,
            sum,
            exemplars: &[],
            native: None,
        };
        self.buckets(labels, &histogram)
    }

    /// Writes one bucket histogram of plain numbers.
    pub fn histogram_of_counts(
        &mut self,
        labels: [&str; N],
        edges: &[u64],
        counts: &[u64],
        sum: u64,
    ) -> &mut Self {
        let histogram = Histogram {
            edges,
            measure: Value::Count,
            counts,
            sum,
            exemplars: &[],
            native: None,
        };
        self.buckets(labels, &histogram)
    }

    /// Writes one histogram of durations: classic buckets with their exemplars, and a native histogram where the format
    /// has such.
    pub(crate) fn durations(
        &mut self,
        labels: [&str; N],
        cells: &Buckets,
        exemplars: Option<&ByBucket<'_>>,
    ) -> &mut Self {
        let native = match self.exposition.written {
            Written::Protobuf(_) => Some(Native::of(&edges::native(&cells.counts))),
            Written::Text(_) => None,
        };
        let histogram = Histogram {
            edges: &CLASSIC_NS,
            measure: nanoseconds,
            counts: &edges::classic(&cells.counts),
            sum: cells.sum.0,
            exemplars: exemplars.map_or(&[], |all| all),
            native: native.as_ref(),
        };
        self.buckets(labels, &histogram)
    }

    fn buckets(&mut self, labels: [&str; N], histogram: &Histogram<'_>) -> &mut Self {
        let name = self.family.name;
        let series = histogram.counts.len() + 2;
        self.write(labels, series, |written, labels| match written {
            Written::Text(text) => text.histogram(name, labels, histogram),
            Written::Protobuf(families) => families.histogram(labels, histogram),
        })
    }

    /// Writes one summary; a quantile without a value is `NaN`.
    pub fn summary(
        &mut self,
        labels: [&str; N],
        quantiles: &[(f64, Option<Span>)],
        sum: Span,
        count: u64,
    ) -> &mut Self {
        let name = self.family.name;
        let series = quantiles.len() + 2;
        self.write(labels, series, |written, labels| match written {
            Written::Text(text) => {
                text.quantiles(name, labels, quantiles);
                text.totals(name, labels, Value::Span(sum), count);
            }
            Written::Protobuf(families) => families.summary(labels, quantiles, Some((sum, count))),
        })
    }

    /// Writes quantiles without sum and count.
    pub fn quantiles(&mut self, labels: [&str; N], quantiles: &[(f64, Option<Span>)]) -> &mut Self {
        let name = self.family.name;
        let series = quantiles.len();
        self.write(labels, series, |written, labels| match written {
            Written::Text(text) => text.quantiles(name, labels, quantiles),
            Written::Protobuf(families) => families.summary(labels, quantiles, None),
        })
    }

    /// Has so many series written, below the family's head.
    fn write(
        &mut self,
        values: [&str; N],
        series: usize,
        write: impl FnOnce(&mut Written, Pairs<'_>),
    ) -> &mut Self {
        if self.repeated {
            return self;
        }
        if !self.begun {
            let family = self.family.entry();
            match &mut self.exposition.written {
                Written::Text(text) => text.begin(&family),
                Written::Protobuf(families) => families.begin(&family),
            }
            self.exposition.names.push(family.name);
            self.begun = true;
        }
        let mut labels = self.family.labels.map(|name| (name, ""));
        for (label, value) in labels.iter_mut().zip(values) {
            label.1 = value;
        }
        write(&mut self.exposition.written, &labels);
        self.exposition.count(series);
        self
    }
}

impl Histogram<'_> {
    /// An edge, or the sum.
    pub(crate) fn value(&self, counted: u64) -> Value {
        (self.measure)(counted)
    }
}

fn nanoseconds(ns: u64) -> Value {
    Value::Span(Span(ns))
}

impl Value {
    /// The nearest number that the wire has; durations in seconds.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn real(self) -> f64 {
        match self {
            Self::Count(value) => value as f64,
            Self::Signed(value) => value as f64,
            Self::Real(value) => value,
            Self::Span(Span(ns)) => ns as f64 / 1e9,
        }
    }
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
    use crate::cells::RouteLabel;
    use crate::names::{Kind, Unit};
    use crate::{CacheLabel, names};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    fn in_format(format: Format, write: impl FnOnce(&mut Exposition)) -> Vec<u8> {
        let mut exposition = Exposition::of(format);
        write(&mut exposition);
        match exposition.written {
            Written::Text(text) => text.finish().into_bytes(),
            Written::Protobuf(families) => families.finish(),
        }
    }

    fn text(write: impl FnOnce(&mut Exposition)) -> String {
        String::from_utf8(in_format(Format::Text, write)).unwrap()
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

    static WAIT: Family<1> = Family {
        name: "wait_seconds_total",
        kind: Kind::Counter,
        unit: Unit::Seconds,
        labels: ["site"],
        help: "Time \"lost\".",
    };
    static DURATION: Family<2> = Family {
        name: "duration_seconds",
        kind: Kind::Histogram,
        unit: Unit::Seconds,
        labels: ["route", "cache"],
        help: "Durations.",
    };
    static SIZE: Family<1> = Family {
        name: "batch_size",
        kind: Kind::Histogram,
        unit: Unit::Count,
        labels: ["shard"],
        help: "Batches.",
    };
    static TARGET: Family<0> = Family {
        name: "target_seconds",
        kind: Kind::Summary,
        unit: Unit::Seconds,
        labels: [],
        help: "Targets.",
    };
    static POOL: Family<0> = Family {
        name: "pool_bytes",
        kind: Kind::Summary,
        unit: Unit::Bytes,
        labels: [],
        help: "A summary with its sum.",
    };
    static RATE: Family<0> = Family {
        name: "rate",
        kind: Kind::Gauge,
        unit: Unit::Ratio,
        labels: [],
        help: "Rate.",
    };

    /// One of each kind.
    fn one_of_each(out: &mut Exposition) {
        let mut cells = Buckets::default();
        for (ns, count) in [(900, 2), (40_000, 3), (1_000_000, 1), (90_000_000_000, 1)] {
            cells.counts[edges::cell_of(ns)] += count;
        }
        cells.sum = Span(90_001_121_800);
        let exemplar = |duration, trace_id: &str, request_id: &str| Exemplar {
            route: RouteLabel::Internal,
            cache: CacheLabel::Hit,
            duration: Span(duration),
            at: Span(1_700_000_000_123_000_000),
            trace_id: trace_id.to_owned(),
            request_id: request_id.to_owned(),
        };
        let quick = exemplar(40_000, "", "a\"b");
        let slow = exemplar(90_000_000_000, "0af7651916cd43dd", "7");
        let mut exemplars = [None; CLASSIC_NS.len() + 1];
        exemplars[2] = Some(&quick);
        exemplars[CLASSIC_NS.len()] = Some(&slow);
        out.family(&WAIT).sample(["store"], Span::from_micros(2));
        out.family(&DURATION)
            .durations(["a\nb", "hit"], &cells, Some(&exemplars));
        out.family(&SIZE)
            .histogram_of_counts(["0"], &[1, 2], &[4, 0, 1], 9);
        let millisecond = Some(Span::from_millis(1));
        out.family(&TARGET).quantiles([], &[(0.99, millisecond)]);
        out.family(&POOL)
            .summary([], &[(1.0, None)], Span::from_secs(2), 3);
        out.value(&RATE, f64::NAN);
    }

    #[test]
    fn classic_text_to_the_byte() {
        let wanted = include_str!("../tests/data/one_of_each.prom");
        assert_eq!(text(one_of_each), wanted);
    }

    #[test]
    fn open_metrics_to_the_byte() {
        let text = String::from_utf8(in_format(Format::OpenMetrics, one_of_each)).unwrap();
        assert_eq!(text, include_str!("../tests/data/one_of_each.openmetrics"));
    }

    /// The bytes stand beside what they mean, read by another program.
    #[test]
    fn protobuf_to_the_byte() {
        let bytes = in_format(Format::Protobuf, one_of_each);
        let found: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let wanted = include_str!("../tests/data/one_of_each.protobuf");
        let lines = wanted.lines().filter_map(|line| line.split('#').next());
        let wanted: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn every_format_counts_the_same_series() {
        let count = |format| {
            let mut out = Exposition::of(format);
            one_of_each(&mut out);
            out.series()
        };
        let formats = [Format::Text, Format::OpenMetrics, Format::Protobuf];
        assert_eq!(formats.map(count), [1 + 32 + 5 + 1 + 3 + 1; 3]);
    }
}
