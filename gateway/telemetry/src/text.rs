//! The text formats: classic Prometheus 0.0.4, and `OpenMetrics` 1.0.0, which differs in what it says about families, in
//! how it writes the numbers in labels, and in exemplars.

use std::fmt::{self, Write};

use base::Span;

use crate::exemplar::Exemplar;
use crate::exposition::{Histogram, Pairs, Value};
use crate::names::{Entry, Kind};

/// An exposition in lines. Writing to a string cannot fail.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) text: String,
    dialect: Dialect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Classic,
    OpenMetrics,
}

/// A label beside the family's own, whose value is a number.
type Extra = Option<(&'static str, Value)>;

impl Text {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self {
            text: String::with_capacity(64 << 10),
            dialect,
        }
    }

    pub(crate) fn begin(&mut self, family: &Entry) {
        let name = match self.dialect {
            Dialect::Classic => family.name,
            Dialect::OpenMetrics => family.stem(),
        };
        let kind = match family.kind {
            // A counter must end so there, and what ends otherwise is not known to be one.
            Kind::Counter if name == family.name && self.dialect == Dialect::OpenMetrics => {
                "unknown"
            }
            kind => kind.as_str(),
        };
        let help = Escaped(family.help, self.dialect == Dialect::OpenMetrics);
        let _ = writeln!(self.text, "# HELP {name} {help}");
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
        if let (Dialect::OpenMetrics, Some(unit)) = (self.dialect, family.unit_suffix()) {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
    }

    pub(crate) fn sample(&mut self, name: &str, labels: Pairs<'_>, value: Value) {
        self.line((name, ""), labels, None, value);
    }

    pub(crate) fn histogram(&mut self, name: &str, labels: Pairs<'_>, histogram: &Histogram<'_>) {
        let edges = histogram.edges.iter().map(|edge| histogram.value(*edge));
        let edges = edges.chain([Value::Real(f64::INFINITY)]);
        let exemplars = histogram.exemplars.iter().copied();
        let exemplars = exemplars.chain(std::iter::repeat(None));
        let mut below = 0;
        for ((edge, count), exemplar) in edges.zip(histogram.counts).zip(exemplars) {
            below += count;
            let value = Value::Count(below);
            self.line((name, "_bucket"), labels, Some(("le", edge)), value);
            if let (Dialect::OpenMetrics, Some(exemplar)) = (self.dialect, exemplar) {
                self.exemplar(exemplar);
            }
        }
        self.totals(name, labels, histogram.value(histogram.sum), below);
    }

    pub(crate) fn quantiles(
        &mut self,
        name: &str,
        labels: Pairs<'_>,
        quantiles: &[(f64, Option<Span>)],
    ) {
        for (quantile, value) in quantiles {
            let value = value.map_or(Value::Real(f64::NAN), Value::Span);
            let quantile = ("quantile", Value::Real(*quantile));
            self.line((name, ""), labels, Some(quantile), value);
        }
    }

    pub(crate) fn totals(&mut self, name: &str, labels: Pairs<'_>, sum: Value, count: u64) {
        self.line((name, "_sum"), labels, None, sum);
        self.line((name, "_count"), labels, None, Value::Count(count));
    }

    pub(crate) fn finish(mut self) -> String {
        if self.dialect == Dialect::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn line(
        &mut self,
        (name, suffix): (&str, &str),
        labels: Pairs<'_>,
        extra: Extra,
        value: Value,
    ) {
        let text = &mut self.text;
        text.push_str(name);
        text.push_str(suffix);
        let mut mark = '{';
        for (name, value) in labels {
            let _ = write!(text, "{mark}{name}=\"{}\"", Escaped(value, true));
            mark = ',';
        }
        if let Some((name, value)) = extra {
            let _ = match self.dialect {
                Dialect::Classic => write!(text, "{mark}{name}=\"{value}\""),
                Dialect::OpenMetrics => {
                    write!(text, "{mark}{name}=\"{}\"", Canonical(value.real()))
                }
            };
            mark = ',';
        }
        if mark == ',' {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }

    /// Puts an exemplar behind the line just written.
    fn exemplar(&mut self, exemplar: &Exemplar) {
        let text = &mut self.text;
        text.pop();
        text.push_str(" # ");
        let mut mark = '{';
        for (name, value) in exemplar.labels() {
            let _ = write!(text, "{mark}{name}=\"{}\"", Escaped(value, true));
            mark = ',';
        }
        let [value, at] = [exemplar.duration, exemplar.at].map(Value::Span);
        let _ = writeln!(text, "}} {value} {at}");
    }
}

/// A label value, or (without quotes to escape) a classic help text.
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

/// A number in a label as every exposer should write it, so that series of different sources have one name: always a
/// float, with an exponent below 0.0001 and from a million on (`OpenMetrics` 1.0.0, "Considerations: Canonical Numbers").
struct Canonical(f64);

impl fmt::Display for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value) = *self;
        if !value.is_finite() {
            return write!(f, "{}", Value::Real(value));
        }
        let size = value.abs();
        if size == 0.0 || (0.0001..1_000_000.0).contains(&size) {
            return write!(f, "{value:?}");
        }
        // Rust's shortest digits, Go's exponent: a sign and at least two places.
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(f, "{digits}e{sign}{:02}", exponent.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Unit;

    fn begun(dialect: Dialect, name: &'static str, kind: Kind, unit: Unit) -> String {
        let mut text = Text::new(dialect);
        text.begin(&Entry {
            name,
            kind,
            unit,
            labels: &[],
            help: "A \"b\" \\ c.",
        });
        text.finish()
    }

    #[test]
    fn open_metrics_names_the_family_without_its_suffix() {
        let said = begun(
            Dialect::OpenMetrics,
            "lock_wait_seconds_total",
            Kind::Counter,
            Unit::Seconds,
        );
        assert_eq!(
            said,
            "# HELP lock_wait_seconds A \\\"b\\\" \\\\ c.\n# TYPE lock_wait_seconds counter\n\
             # UNIT lock_wait_seconds seconds\n# EOF\n"
        );
        let said = begun(
            Dialect::Classic,
            "lock_wait_seconds_total",
            Kind::Counter,
            Unit::Seconds,
        );
        assert_eq!(
            said,
            "# HELP lock_wait_seconds_total A \"b\" \\\\ c.\n# TYPE lock_wait_seconds_total counter\n"
        );
    }

    #[test]
    fn a_counter_named_otherwise_is_unknown_to_open_metrics() {
        let said = begun(
            Dialect::OpenMetrics,
            "odd_bytes",
            Kind::Counter,
            Unit::Bytes,
        );
        assert!(said.contains("# TYPE odd_bytes unknown\n# UNIT odd_bytes bytes\n"));
        let said = begun(
            Dialect::OpenMetrics,
            "odd_total",
            Kind::Gauge,
            Unit::Seconds,
        );
        assert!(said.ends_with("# TYPE odd_total gauge\n# EOF\n"));
    }

    #[test]
    fn numbers_in_labels_have_one_spelling() {
        for (value, text) in [
            (0.0, "0.0"),
            (0.000_01, "1e-05"),
            (0.000_025, "2.5e-05"),
            (0.0001, "0.0001"),
            (0.00015, "0.00015"),
            (1.0, "1.0"),
            (2.5, "2.5"),
            (256.0, "256.0"),
            (100_000.0, "100000.0"),
            (1e6, "1e+06"),
            (1e10, "1e+10"),
            (1.5e-10, "1.5e-10"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(Canonical(value).to_string(), text);
        }
    }
}
