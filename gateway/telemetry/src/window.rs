//! What happened lately: one sample a second, kept for a minute, on the control thread.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use base::limits::WINDOW_SAMPLES_MAX;
use base::{Moment, Span};

use crate::histogram::CELLS;
use crate::reader::Rest;
use crate::{CacheLabel, HistogramSnapshot, ShardCells};

/// The span of the rates.
const RATE_SPAN: Span = Span::from_secs(10);
/// The span of the quantiles.
const LATENCY_SPAN: Span = Span::from_secs(60);

/// Counts since start, of all shards together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) requests: u64,
    pub(crate) server_errors: u64,
    pub(crate) cache: [u64; CacheLabel::COUNT],
}

/// Counts since start, of one shard.
#[derive(Clone, Copy, Debug, Default)]
struct ShardTotals {
    requests: u64,
    busy_ns: u64,
}

#[derive(Default)]
struct Sample {
    at: Moment,
    totals: Totals,
    shards: Vec<ShardTotals>,
    /// Cells of the latency histogram that grew since the sample before.
    latency: Vec<(u16, u32)>,
}

/// The last minute in samples.
///
/// The first sample is the border: the window reaches from it to the last one, so what it recorded itself lies outside.
pub struct Window {
    samples: VecDeque<Sample>,
    /// The sum of `latency` over all samples but the first.
    latency: HistogramSnapshot,
    /// All shards' latency cells at the last sample, and room for the next.
    cells: Box<[u32]>,
    next_cells: Box<[u32]>,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            samples: VecDeque::with_capacity(WINDOW_SAMPLES_MAX),
            latency: HistogramSnapshot::default(),
            cells: vec![0; CELLS].into_boxed_slice(),
            next_cells: vec![0; CELLS].into_boxed_slice(),
        }
    }
}

impl Window {
    /// Requests a second over the last 10 s.
    #[must_use]
    pub fn requests_per_second(&self) -> f64 {
        self.recent().map_or(0.0, |(old, new)| {
            let requests = new.totals.requests - old.totals.requests;
            ratio(requests, (new.at - old.at).0) * 1e9
        })
    }

    /// Share of 5xx among the requests of the last 10 s; 0 without requests.
    #[must_use]
    pub fn error_rate(&self) -> f64 {
        self.recent().map_or(0.0, |(old, new)| {
            let errors = new.totals.server_errors - old.totals.server_errors;
            ratio_or(errors, new.totals.requests - old.totals.requests, 0.0)
        })
    }

    /// Share of hits (fresh or stale) among the lookups of the last 10 s; `NaN` without any.
    #[must_use]
    pub fn cache_hit_rate(&self) -> f64 {
        use CacheLabel::{Collapsed, Hit, Miss, Revalidated, Stale};
        self.recent().map_or(f64::NAN, |(old, new)| {
            let count = |labels: &[CacheLabel]| {
                let at = |totals: &Totals, label| totals.cache.get(label as usize).copied();
                let grown = |label| {
                    let now = at(&new.totals, label).unwrap_or(0);
                    now.saturating_sub(at(&old.totals, label).unwrap_or(0))
                };
                labels.iter().map(|label| grown(*label)).sum::<u64>()
            };
            let lookups = count(&[Hit, Stale, Revalidated, Miss, Collapsed]);
            ratio_or(count(&[Hit, Stale]), lookups, f64::NAN)
        })
    }

    /// A shard's share of the requests of the last 10 s, by position; 0 without requests.
    #[must_use]
    pub fn request_share(&self, shard: usize) -> f64 {
        self.shard(shard).map_or(0.0, |(old, new, sample, before)| {
            let all = sample.totals.requests - before.totals.requests;
            ratio_or(new.requests.saturating_sub(old.requests), all, 0.0)
        })
    }

    /// Share of the last 10 s in which a shard's loop had something to do, by position.
    #[must_use]
    pub fn busy_ratio(&self, shard: usize) -> f64 {
        self.shard(shard).map_or(0.0, |(old, new, sample, before)| {
            let busy = new.busy_ns.saturating_sub(old.busy_ns);
            ratio_or(busy, (sample.at - before.at).0, 0.0).min(1.0)
        })
    }

    /// Durations of the requests of the last 60 s.
    #[must_use]
    pub fn latency(&self) -> &HistogramSnapshot {
        &self.latency
    }

    /// Takes a sample. Meant to be called once a second; a call that is not later than the last one does nothing.
    pub(crate) fn tick(
        &mut self,
        now: Moment,
        totals: Totals,
        shards: &[Arc<ShardCells>],
        rest: &Rest,
    ) {
        let last = self.samples.back();
        if last.is_some_and(|last| last.at >= now) {
            return;
        }
        let first = last.is_none();
        let totals = last.map_or(totals, |last| totals.at_least(&last.totals));
        let mut sample = self.expire(now).unwrap_or_default();
        sample.at = now;
        sample.totals = totals;
        sample.shards.clear();
        sample.shards.extend(shards.iter().map(|cells| ShardTotals {
            requests: cells.requests(),
            busy_ns: cells.busy_ns.read(),
        }));
        self.read_latency(shards, &mut sample, first, rest);
        self.samples.push_back(sample);
    }

    /// Drops what lies before the window; gives back one dropped sample for its memory.
    fn expire(&mut self, now: Moment) -> Option<Sample> {
        let mut dropped = None;
        while self.samples.get(1).is_some_and(|second| {
            now - second.at >= LATENCY_SPAN || self.samples.len() >= WINDOW_SAMPLES_MAX
        }) {
            dropped = self.samples.pop_front();
            let border = self.samples.front_mut().map(|first| &mut first.latency);
            for (cell, count) in border.into_iter().flat_map(|latency| latency.drain(..)) {
                self.latency.remove(usize::from(cell), u64::from(count));
            }
        }
        dropped
    }

    /// Finds the cells that grew. Of the first sample only its state counts.
    fn read_latency(
        &mut self,
        shards: &[Arc<ShardCells>],
        sample: &mut Sample,
        first: bool,
        rest: &Rest,
    ) {
        self.next_cells.fill(0);
        for cells in shards {
            rest.take();
            cells.latency.sum_into(&mut self.next_cells);
        }
        sample.latency.clear();
        let grown = self.cells.iter().zip(&self.next_cells).enumerate();
        for (cell, (old, new)) in grown.filter(|(_, (old, new))| !first && old != new) {
            let count = new.wrapping_sub(*old);
            self.latency.add(cell, u64::from(count));
            sample.latency.push((cell as u16, count));
        }
        std::mem::swap(&mut self.cells, &mut self.next_cells);
    }

    /// The last sample, behind the one from which the rates' span begins.
    fn recent(&self) -> Option<(&Sample, &Sample)> {
        let new = self.samples.back()?;
        let begins = |old: &&Sample| new.at - old.at >= RATE_SPAN;
        let old = self.samples.iter().rev().find(begins);
        let old = old.or(self.samples.front())?;
        (old.at < new.at).then_some((old, new))
    }

    fn shard(&self, shard: usize) -> Option<(&ShardTotals, &ShardTotals, &Sample, &Sample)> {
        let (before, sample) = self.recent()?;
        Some((
            before.shards.get(shard)?,
            sample.shards.get(shard)?,
            sample,
            before,
        ))
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("samples", &self.samples.len())
            .field("requests_per_second", &self.requests_per_second())
            .finish_non_exhaustive()
    }
}

impl Totals {
    /// Cells are read one after another while shards write; no total may seem to shrink.
    fn at_least(self, earlier: &Self) -> Self {
        Self {
            requests: self.requests.max(earlier.requests),
            server_errors: self.server_errors.max(earlier.server_errors),
            cache: self.cache,
        }
    }
}

fn ratio_or(part: u64, whole: u64, without: f64) -> f64 {
    if whole == 0 {
        without
    } else {
        ratio(part, whole)
    }
}

#[allow(clippy::cast_precision_loss)]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}
