//! `GET /admin/slow`: what the flight recorders hold.
//!
//! | parameter | means |
//! |---|---|
//! | `threshold=500us` | requests of at least this duration; without it every one that was written down |
//! | `percentile=99` | … of at least this percentile of all requests of the last minute |
//! | `last=10m` | that ended within this time |
//! | `top=100` | so many, the longest; at most 1000 |
//! | `format=table` | a table instead of JSON; so does `Accept: text/plain` |

use axum::http::{HeaderMap, header};
use base::{Span, Stamp};
use telemetry::Wanted;

use super::Control;
use crate::clock;
use crate::config::parse_span;

const TOP_MAX: usize = 1000;

/// What a query asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Query {
    threshold: Span,
    percentile: Option<f64>,
    last: Span,
    top: usize,
    table: bool,
}

impl Query {
    /// # Errors
    /// What is wrong with it, and what is right.
    pub(crate) fn read(query: &str, fields: &HeaderMap) -> Result<Self, String> {
        let mut wanted = Self {
            threshold: Span(0),
            percentile: None,
            last: Span::from_secs(600),
            top: 100,
            table: wants_text(fields),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let wrong = |want: &str| format!("{name}={value}: {want}");
            match name {
                "threshold" => wanted.threshold = span(value).ok_or_else(|| wrong(A_TIME))?,
                "last" => wanted.last = span(value).ok_or_else(|| wrong(A_TIME))?,
                "percentile" => {
                    let read = value.parse().ok().filter(|at| (0.0..=100.0).contains(at));
                    wanted.percentile = Some(read.ok_or_else(|| wrong("a number from 0 to 100"))?);
                }
                "top" => {
                    let read = value.parse().ok().filter(|top| (1..=TOP_MAX).contains(top));
                    wanted.top = read.ok_or_else(|| wrong("a number from 1 to 1000"))?;
                }
                "format" => {
                    wanted.table = match value {
                        "table" => true,
                        "json" => false,
                        _ => return Err(wrong("json or table")),
                    };
                }
                _ => {
                    return Err(format!(
                        "{name}: there are threshold, percentile, last, top and format"
                    ));
                }
            }
        }
        Ok(wanted)
    }
}

const A_TIME: &str = "a time, such as 500us, 10ms or 10m";

fn span(text: &str) -> Option<Span> {
    parse_span(text).ok().map(Span)
}

/// Whether text is asked for by name; no wildcard does.
fn wants_text(fields: &HeaderMap) -> bool {
    let mut accepted = fields.get_all(header::ACCEPT).iter();
    accepted.any(|value| {
        value
            .to_str()
            .is_ok_and(|value| value.contains("text/plain"))
    })
}

/// The time that `GET /admin/gaps?last=60s` asks for; a minute without it.
///
/// # Errors
/// What is wrong with it, and what is right.
pub(crate) fn last(query: &str) -> Result<Span, String> {
    match query.split_once('=') {
        None if query.is_empty() => Ok(Span::from_secs(60)),
        Some(("last", value)) => span(value).ok_or_else(|| format!("last={value}: {A_TIME}")),
        _ => Err(format!("{query}: there is last")),
    }
}

impl Control {
    /// What `/admin/gaps` answers.
    pub(crate) fn gaps(&self, last: Span) -> String {
        let reader = &self.state().reader;
        reader.gaps_json(last, Stamp(clock::moment().0), clock::epoch_ns())
    }

    /// What `/admin/slow` answers: its media type and its body.
    pub(crate) fn slow(&self, query: &Query) -> (&'static str, String) {
        let state = self.state();
        let latency = state.reader.window().latency();
        // The histogram rounds up, by a thousandth at most.
        let percentile = query.percentile.and_then(|at| latency.quantile(at / 100.0));
        let percentile = percentile.map(|span| Span(span.0 - span.0 / 1000));
        let wanted = Wanted {
            threshold: percentile.map_or(query.threshold, |least| least.max(query.threshold)),
            last: query.last,
            top: query.top,
            now: Stamp(clock::moment().0),
            epoch_ns: clock::epoch_ns(),
        };
        let slow = state.reader.slow(wanted);
        match query.table {
            true => ("text/plain; charset=utf-8", slow.table()),
            false => ("application/json", slow.json()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Query, String> {
        Query::read(query, &HeaderMap::new())
    }

    #[test]
    fn a_query_is_read_whole_or_refused_with_what_would_be_right() {
        let query = read("threshold=500us&last=10m&percentile=99.9&top=5&format=table").unwrap();
        assert_eq!(
            query,
            Query {
                threshold: Span(500_000),
                percentile: Some(99.9),
                last: Span::from_secs(600),
                top: 5,
                table: true,
            }
        );
        assert_eq!(read("").unwrap().top, 100);
        for (query, right) in [
            ("threshold=fast", "500us"),
            ("last=", "10m"),
            ("percentile=101", "0 to 100"),
            ("percentile=nan", "0 to 100"),
            ("top=0", "1 to 1000"),
            ("format=xml", "json or table"),
            ("treshold=1ms", "threshold, percentile"),
        ] {
            let refused = read(query).unwrap_err();
            assert!(refused.contains(right), "{query}: {refused}");
        }
    }

    #[test]
    fn gaps_are_asked_for_by_their_time_alone() {
        assert_eq!(last(""), Ok(Span::from_secs(60)));
        assert_eq!(last("last=2s"), Ok(Span::from_secs(2)));
        for (query, right) in [("last=x", "10m"), ("first=2s", "last"), ("last", "last")] {
            assert!(last(query).unwrap_err().contains(right), "{query}");
        }
    }

    #[test]
    fn text_is_asked_for_by_name_alone() {
        for (accept, is_table) in [("text/plain", true), ("*/*", false), ("text/*", false)] {
            let fields = [(header::ACCEPT, accept.parse().unwrap())]
                .into_iter()
                .collect();
            assert_eq!(
                Query::read("", &fields).unwrap().table,
                is_table,
                "{accept}"
            );
        }
    }
}
