//! The report for machines. Times are in microseconds where their name says so.

use std::fmt::Write;

use hdrhistogram::Histogram;

use super::gaps::Sum;
use super::histogram::Latencies;
use super::{Run, text};

/// The quantiles by name.
const QUANTILES: [(&str, f64); 7] = [
    ("p50", 0.5),
    ("p75", 0.75),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99_9", 0.999),
    ("p99_99", 0.9999),
    ("max", 1.0),
];

/// Members of an object, in the order of writing.
struct Object(String);

impl Object {
    fn new() -> Self {
        Self(String::new())
    }

    fn raw(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        let comma = if self.0.is_empty() { "" } else { "," };
        // Writing to a string never fails.
        let _ = write!(self.0, "{comma}{}:{value}", quoted(name));
        self
    }

    fn text(self, name: &str, value: &str) -> Self {
        let value = quoted(value);
        self.raw(name, value)
    }

    fn us(self, name: &str, ns: u64) -> Self {
        let us = ns as f64 / 1e3;
        self.raw(name, us)
    }

    fn end(self) -> String {
        format!("{{{}}}", self.0)
    }
}

/// One line of JSON.
pub(crate) fn report(run: &Run<'_>) -> String {
    let (arguments, tally) = (run.arguments, &run.tally);
    let open_loop = arguments.rate.is_some();
    let errors = text::error_counts(tally).fold(Object::new(), |object, (name, count)| {
        object.raw(name, count)
    });
    let mut report = Object::new()
        .text("url", &arguments.url)
        .text("loop", if open_loop { "open" } else { "closed" })
        .raw(
            "rate",
            arguments
                .rate
                .map_or("null".to_owned(), |rate| rate.to_string()),
        )
        .text(
            "arrivals",
            &format!("{:?}", arguments.arrivals).to_lowercase(),
        )
        .raw("threads", arguments.threads)
        .raw("connections", arguments.connections)
        .raw("seconds", tally.elapsed_ns as f64 / 1e9)
        .raw("due", tally.due)
        .raw("unsent", tally.unsent)
        .raw("queued", tally.queued)
        .raw("requests", tally.answers)
        .raw("requests_per_second", tally.rate())
        .raw("bytes", tally.bytes)
        .raw("errors", errors.end())
        .raw("reopened", tally.reopened)
        .text("bodies", &run.compared)
        .raw("latency_us", views(&tally.latencies))
        .raw("generator", generator(run));
    if open_loop && let Some(clean) = &tally.clean {
        let windows = Object::new()
            .raw("windows", clean.windows)
            .raw("of", clean.of)
            .raw("latency_us", views(&clean.latencies));
        report = report.raw("clean", windows.end());
    }
    let findings: Vec<String> = run
        .findings
        .iter()
        .map(|finding| quoted(finding.name()))
        .collect();
    report
        .raw("silences", gaps(&tally.silences))
        .raw("findings", format!("[{}]", findings.join(",")))
        .raw("certified", run.is_certified())
        .raw("exit_code", run.exit_code())
        .end()
        + "\n"
}

fn generator(run: &Run<'_>) -> String {
    let tally = &run.tally;
    let answers = tally.answers.max(1) as f64;
    let late = Object::new()
        .raw("own", tally.late.own)
        .raw("taken", tally.late.taken)
        .us("p99_us", tally.lateness.value_at_quantile(0.99))
        .us("max_us", tally.lateness.max());
    Object::new()
        .text("backend", run.backend.name())
        .raw("busy", tally.busiest_permille as f64 / 1e3)
        .raw(
            "cpu_us_per_request",
            tally.times.worked() as f64 / 1e3 / answers,
        )
        .us("wall_us", tally.times.wall)
        .us("cpu_us", tally.times.cpu)
        .us("spun_us", tally.times.spun)
        .us("asleep_us", tally.times.asleep)
        .us("waiting_us", tally.times.waiting)
        .raw("late", late.end())
        .raw("own_gaps", gaps(&tally.own_gaps))
        .raw("taken_gaps", gaps(&tally.taken_gaps))
        .end()
}

fn gaps(sum: &Sum) -> String {
    Object::new()
        .raw("count", sum.count)
        .us("total_us", sum.total_ns)
        .us("longest_us", sum.longest_ns)
        .end()
}

fn views(latencies: &Latencies) -> String {
    Object::new()
        .raw("corrected", distribution(&latencies.corrected))
        .raw("actual", distribution(&latencies.actual))
        .end()
}

fn distribution(histogram: &Histogram<u64>) -> String {
    let mean = (histogram.mean() * 1e3).round() as u64;
    let object = Object::new()
        .raw("count", histogram.len())
        .raw("mean", mean as f64 / 1e6);
    QUANTILES
        .iter()
        .fold(object, |object, (name, quantile)| {
            object.us(name, histogram.value_at_quantile(*quantile))
        })
        .end()
}

/// A JSON string (RFC 8259 §7).
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\u{0}'..='\u{1f}' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(character));
            }
            _ => quoted.push(character),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        assert_eq!(quoted("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
    }

    #[test]
    fn objects_nest() {
        let inner = Object::new().us("t_us", 1_500).end();
        assert_eq!(
            Object::new().text("a", "b").raw("c", inner).end(),
            r#"{"a":"b","c":{"t_us":1.5}}"#
        );
    }
}
