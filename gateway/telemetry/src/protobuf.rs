//! The protobuf format: messages of `io.prometheus.client` (prometheus/client_model, `metrics.proto`), each behind its
//! length.

use base::Span;

use crate::edges::{NATIVE_FIRST, SCHEMA, native_bound};
use crate::exemplar::Exemplar;
use crate::exposition::{Histogram, Pairs, Value};
use crate::names::{Entry, Kind};

/// Families in delimited messages.
#[derive(Debug, Default)]
pub(crate) struct Families {
    finished: Message,
    /// The family being written; it is finished by the next.
    family: Message,
}

/// The wire types in use (protobuf's "Encoding", "Message Structure").
#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
}

/// A message being written, field by field. A field that holds its default is written all the same: it is there.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Families {
    pub(crate) fn new() -> Self {
        Self {
            finished: Message(Vec::with_capacity(64 << 10)),
            family: Message::default(),
        }
    }

    pub(crate) fn begin(&mut self, family: &Entry) {
        self.end();
        self.family.text(1, family.name);
        self.family.text(2, family.help);
        let kind = match family.kind {
            Kind::Counter => 0,
            Kind::Gauge => 1,
            Kind::Summary => 2,
            Kind::Histogram => 4,
        };
        self.family.count(3, kind);
        if let Some(unit) = family.unit_suffix() {
            self.family.text(5, unit);
        }
    }

    pub(crate) fn sample(&mut self, kind: Kind, labels: Pairs<'_>, value: Value) {
        let field = match kind {
            Kind::Counter => 3,
            _ => 2,
        };
        self.metric(labels, |metric| {
            metric.message(field, |message| message.real(1, value.real()));
        });
    }

    pub(crate) fn summary(
        &mut self,
        labels: Pairs<'_>,
        quantiles: &[(f64, Option<Span>)],
        totals: Option<(Span, u64)>,
    ) {
        self.metric(labels, |metric| {
            metric.message(4, |summary| {
                if let Some((sum, count)) = totals {
                    summary.count(1, count);
                    summary.real(2, Value::Span(sum).real());
                }
                for (quantile, value) in quantiles {
                    summary.message(3, |message| {
                        message.real(1, *quantile);
                        let value = value.map_or(f64::NAN, |value| Value::Span(value).real());
                        message.real(2, value);
                    });
                }
            });
        });
    }

    pub(crate) fn histogram(&mut self, labels: Pairs<'_>, histogram: &Histogram<'_>) {
        self.metric(labels, |metric| {
            metric.message(7, |message| {
                message.count(1, histogram.counts.iter().sum());
                message.real(2, histogram.value(histogram.sum).real());
                message.buckets(histogram);
                message.native(histogram);
            });
        });
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.end();
        let Message(bytes) = self.finished;
        bytes
    }

    fn end(&mut self) {
        let Message(family) = &mut self.family;
        if !family.is_empty() {
            self.finished.varint(family.len() as u64);
            self.finished.0.append(family);
        }
    }

    fn metric(&mut self, labels: Pairs<'_>, write: impl FnOnce(&mut Message)) {
        self.family.message(4, |metric| {
            for (name, value) in labels {
                metric.label(name, value);
            }
            write(metric);
        });
    }
}

impl Message {
    /// The classic buckets; the last one ends at infinity.
    fn buckets(&mut self, histogram: &Histogram<'_>) {
        let edges = histogram
            .edges
            .iter()
            .map(|edge| histogram.value(*edge).real());
        let edges = edges.chain([f64::INFINITY]);
        let exemplars = histogram.exemplars.iter().copied();
        let exemplars = exemplars.chain(std::iter::repeat(None));
        let mut below = 0;
        for ((edge, count), exemplar) in edges.zip(histogram.counts).zip(exemplars) {
            below += count;
            self.message(3, |bucket| {
                bucket.count(1, below);
                bucket.real(2, edge);
                if let Some(exemplar) = exemplar {
                    bucket.message(3, |message| message.exemplar(exemplar));
                }
            });
        }
    }

    /// The native histogram, where there is one, with the exemplars of the classic buckets.
    fn native(&mut self, histogram: &Histogram<'_>) {
        let Some(native) = histogram.native else {
            return;
        };
        self.signed(5, i64::from(SCHEMA));
        self.real(6, native_bound(NATIVE_FIRST));
        self.count(7, native.zero);
        for span in &native.spans {
            self.message(12, |message| {
                message.signed(1, i64::from(span.offset));
                message.count(2, u64::from(span.length));
            });
        }
        for delta in &native.deltas {
            self.signed(13, *delta);
        }
        for exemplar in histogram.exemplars.iter().flatten() {
            self.message(16, |message| message.exemplar(exemplar));
        }
    }

    fn exemplar(&mut self, exemplar: &Exemplar) {
        for (name, value) in exemplar.labels() {
            self.label(name, value);
        }
        self.real(2, Value::Span(exemplar.duration).real());
        // google.protobuf.Timestamp
        self.message(3, |at| {
            at.count(1, exemplar.at.as_secs());
            at.count(2, exemplar.at.0 % 1_000_000_000);
        });
    }

    fn label(&mut self, name: &str, value: &str) {
        self.message(1, |pair| {
            pair.text(1, name);
            pair.text(2, value);
        });
    }

    /// `uint64`, `uint32`, `int64` that are not negative, enumerations.
    fn count(&mut self, field: u32, value: u64) {
        self.key(field, Wire::Varint);
        self.varint(value);
    }

    /// `sint32`, `sint64`: the sign in the lowest bit.
    fn signed(&mut self, field: u32, value: i64) {
        self.key(field, Wire::Varint);
        self.varint(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    /// `double`.
    fn real(&mut self, field: u32, value: f64) {
        self.key(field, Wire::Fixed64);
        self.0.extend(value.to_le_bytes());
    }

    /// `string`.
    fn text(&mut self, field: u32, value: &str) {
        self.key(field, Wire::Bytes);
        self.varint(value.len() as u64);
        self.0.extend(value.as_bytes());
    }

    /// A message within: written in place, then moved behind its length.
    fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.key(field, Wire::Bytes);
        let start = self.0.len();
        write(self);
        let end = self.0.len();
        self.varint((end - start) as u64);
        let length = self.0.len() - end;
        if let Some(message) = self.0.get_mut(start..) {
            message.rotate_right(length);
        }
    }

    fn key(&mut self, field: u32, wire: Wire) {
        self.varint(u64::from(field) << 3 | wire as u64);
    }

    /// Seven bits a byte, the lowest first.
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message = Message::default();
        write(&mut message);
        message.0
    }

    /// The examples of protobuf's own description of its encoding, and borders.
    #[test]
    fn fields_are_encoded_as_described() {
        assert_eq!(written(|m| m.count(1, 150)), [0x08, 0x96, 0x01]);
        assert_eq!(written(|m| m.text(2, "testing")), *b"\x12\x07testing");
        assert_eq!(
            written(|m| m.message(3, |m| m.count(1, 150))),
            [0x1a, 0x03, 0x08, 0x96, 0x01]
        );
        for (value, zigzag) in [(0, 0), (-1, 1), (1, 2), (-2, 3), (63, 126)] {
            assert_eq!(written(|m| m.signed(1, value)), [0x08, zigzag]);
        }
        assert_eq!(
            written(|m| m.signed(16, i64::MIN)),
            [
                0x80, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01
            ]
        );
        assert_eq!(
            written(|m| m.real(6, 1.0)),
            [0x31, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]
        );
    }

    #[test]
    fn a_long_message_has_a_long_length() {
        let bytes = written(|m| m.message(1, |m| m.text(1, &"x".repeat(200))));
        assert_eq!(bytes[..6], [0x0a, 0xcb, 0x01, 0x0a, 0xc8, 0x01]);
        assert_eq!(bytes.len(), 206);
        assert!(bytes[6..].iter().all(|byte| *byte == b'x'));
    }
}
