//! Requests that stand for the bucket in which their durations fall.

use std::collections::BTreeMap;

use base::Span;

use crate::CacheLabel;
use crate::cells::RouteLabel;
use crate::edges::{CLASSIC, classic_of};
use crate::reader::DurationLedger;

/// Characters of an exemplar's labels, names and values together (OpenMetrics 1.0.0, "Exemplars").
const LABELS_MAX: usize = 128;

/// A request that can be looked up elsewhere, by its trace or in the log.
#[derive(Clone, Debug)]
pub struct Exemplar {
    /// Its route.
    pub route: RouteLabel,
    /// How the cache took part.
    pub cache: CacheLabel,
    /// What was recorded of it.
    pub duration: Span,
    /// When it ended, since the Unix epoch.
    pub at: Span,
    /// Its trace, or empty.
    pub trace_id: String,
    /// Its identifier, or empty.
    pub request_id: String,
}

/// The latest exemplar of each classic bucket of one row.
pub(crate) type ByBucket<'a> = [Option<&'a Exemplar>; CLASSIC];

impl Exemplar {
    /// Its labels, of those that fit; there need not be any.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let mut room = LABELS_MAX;
        let both = [
            ("trace_id", self.trace_id.as_str()),
            ("request_id", self.request_id.as_str()),
        ];
        both.into_iter().filter(move |(name, value)| {
            let takes = name.len() + value.chars().count();
            let fits = !value.is_empty() && takes <= room;
            room -= if fits { takes } else { 0 };
            fits
        })
    }
}

/// Exemplars by the row that counted them; those without a row of their own belong to the row `other`.
pub(crate) fn by_row<'a>(
    exemplars: &'a [Exemplar],
    ledger: &DurationLedger,
) -> BTreeMap<(Option<usize>, u8), ByBucket<'a>> {
    let mut rows = BTreeMap::new();
    for exemplar in exemplars {
        if exemplar.labels().next().is_none() {
            continue;
        }
        let cache = exemplar.cache as u8;
        let own = (Some(exemplar.route.index()), cache);
        let row = if ledger.rows.contains_key(&own) {
            own
        } else {
            (None, cache)
        };
        let buckets = rows.entry(row).or_insert([None; CLASSIC]);
        if let Some(latest) = buckets.get_mut(classic_of(exemplar.duration.0))
            && latest.is_none_or(|latest: &Exemplar| latest.at <= exemplar.at)
        {
            *latest = Some(exemplar);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::RouteId;

    const ROUTE: RouteLabel = RouteLabel::Route(RouteId(0));

    fn exemplar(duration: u64, at: u64, trace_id: &str) -> Exemplar {
        Exemplar {
            route: ROUTE,
            cache: CacheLabel::Hit,
            duration: Span(duration),
            at: Span(at),
            trace_id: trace_id.to_owned(),
            request_id: String::new(),
        }
    }

    #[test]
    fn the_latest_of_a_bucket_stands_for_it() {
        let mut ledger = DurationLedger::default();
        let row = (Some(ROUTE.index()), CacheLabel::Hit as u8);
        ledger.rows.insert(row, Default::default());
        let all = [
            exemplar(10_001, 5, "early"),
            exemplar(25_000, 7, "late"),
            exemplar(20_000, 6, "between"),
            exemplar(25_001, 1, "next"),
            exemplar(u64::MAX, 1, "last"),
            exemplar(1, 1, ""),
        ];
        let rows = by_row(&all, &ledger);
        assert_eq!(rows.len(), 1);
        let named = rows[&row].iter().enumerate().filter_map(|(bucket, found)| {
            let found = found.as_ref()?;
            Some((bucket, found.trace_id.as_str()))
        });
        assert_eq!(
            named.collect::<Vec<_>>(),
            [(1, "late"), (2, "next"), (CLASSIC - 1, "last")]
        );
    }

    #[test]
    fn without_a_row_it_belongs_to_the_row_other() {
        let all = [exemplar(1, 1, "a")];
        let rows = by_row(&all, &DurationLedger::default());
        assert!(rows[&(None, CacheLabel::Hit as u8)][0].is_some());
    }

    #[test]
    fn labels_that_are_too_long_are_left_out() {
        let labels = |trace: usize, request: usize| {
            let mut exemplar = exemplar(1, 1, &"é".repeat(trace));
            exemplar.request_id = "x".repeat(request);
            let names = exemplar.labels().map(|(name, _)| name);
            names.collect::<Vec<_>>()
        };
        assert_eq!(labels(32, 36), ["trace_id", "request_id"]);
        assert_eq!(labels(32, 78), ["trace_id", "request_id"]);
        assert_eq!(labels(32, 79), ["trace_id"]);
        assert_eq!(labels(121, 118), ["request_id"]);
        assert_eq!(labels(121, 119), [""; 0]);
        assert_eq!(labels(0, 0), [""; 0]);
    }
}
