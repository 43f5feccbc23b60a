//! Requests that stand for the bucket in which their durations fall.

use std::collections::BTreeMap;

use base::{Span, Stamp};

use crate::CacheLabel;
use crate::cells::RouteLabel;
use crate::edges::{CLASSIC, classic_of};
use crate::reader::{DurationLedger, Reader};
use crate::recorder::Noted;

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

impl Reader {
    /// Of the requests that the recorders of all shards hold and that belong to a trace, the latest of each bucket. `now`,
    /// on the clock of the shards' drivers, is `epoch_ns` nanoseconds after the Unix epoch.
    #[must_use]
    pub fn exemplars(&self, now: Stamp, epoch_ns: u64) -> Vec<Exemplar> {
        let mut latest = BTreeMap::new();
        let held = self
            .shards
            .iter()
            .flat_map(|cells| cells.recorder.requests());
        for noted in held.filter(|noted| noted.trace.is_some()) {
            let bucket = classic_of(noted.duration.0);
            let row = (noted.route.index(), noted.cache as u8);
            let known = latest.entry((row, bucket)).or_insert(noted);
            if known.end < noted.end {
                *known = noted;
            }
        }
        let exemplar = |noted: Noted| Exemplar {
            route: noted.route,
            cache: noted.cache,
            duration: noted.duration,
            at: Span(epoch_ns.saturating_sub(now.0.saturating_sub(noted.end.0))),
            trace_id: noted.trace.id_text(),
            request_id: String::new(),
        };
        latest.into_values().map(exemplar).collect()
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
    use crate::recorder::{Cause, Trace};
    use crate::{Labels, MethodLabel, ShardCells, Spent};
    use base::{RouteId, ShardId};
    use std::sync::Arc;

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
    fn what_the_recorders_hold_of_traces_becomes_exemplars() {
        let shards = [0, 1].map(|shard| Arc::new(ShardCells::new(ShardId(shard), 1)));
        let noted = |end, micros, trace| Noted {
            cause: Cause::Drawn,
            end: Stamp(end),
            duration: Span::from_micros(micros),
            spent: Spent::default(),
            count: 1,
            method: MethodLabel::Get,
            status: 200,
            route: ROUTE,
            cache: CacheLabel::Hit,
            key: 0,
            connection: 0,
            sent_bytes: 0,
            body_bytes: 0,
            backlog: 0,
            upstream: None,
            trace: Trace {
                id: trace,
                parent: 0,
            },
        };
        shards[0].recorder.note(&noted(1_000, 40, 1));
        shards[1].recorder.note(&noted(3_000, 41, 2));
        shards[0].recorder.note(&noted(2_000, 42, 3));
        shards[0].recorder.note(&noted(4_000, 43, 0));
        shards[0].recorder.note(&noted(2_500, 80, 4));
        let reader = Reader::new(shards.to_vec(), Labels::default());
        let found = reader.exemplars(Stamp(5_000), 1_000_000);
        let told = found
            .iter()
            .map(|found| (found.at, found.trace_id.as_str()));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                (Span(998_000), "00000000000000000000000000000002"),
                (Span(997_500), "00000000000000000000000000000004")
            ]
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
