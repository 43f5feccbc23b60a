//! Where a request's time goes: it is in one stage at any moment, so that its stages add up to the whole.

use base::{Driver, Stamp};
use cache::NodeStore;
use telemetry::{Spent, Stage, UpstreamError, UpstreamStage};

use crate::Proxy;
use crate::client::Before;
use crate::table::Ticket;

/// When a request was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// Its bytes could first have been seen.
    pub(crate) start: Stamp,
    /// The loop took them up.
    pub(crate) begun: Stamp,
    /// Its head was read.
    pub(crate) parsed: Stamp,
}

impl Reading {
    /// What an answer made at once spent in its stages, encoded between two moments.
    #[inline]
    pub(crate) fn spent_by(&self, from: Stamp, to: Stamp) -> Before {
        // What the driver saw may be older than what was done since.
        let begun = self.begun.max(self.start);
        let parsed = self.parsed.max(begun);
        let spans = [begun - self.start, parsed - begun, from - parsed, to - from];
        spans.map(|span| span.0)
    }

    /// Of a request read before.
    pub(crate) fn before(start: Stamp) -> Self {
        Self {
            start,
            begun: start,
            parsed: start,
        }
    }
}

/// A request's stages so far, and the one it is in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    stage: Stage,
    since: Stamp,
    spent: Spent,
}

impl Timing {
    /// Of a request whose bytes could first have been seen at `start`.
    #[inline]
    pub(crate) fn new(start: Stamp) -> Self {
        Self {
            stage: Stage::Wait,
            since: start,
            spent: Spent::default(),
        }
    }

    /// Of a request being looked up.
    #[inline]
    pub(crate) fn looking_up(reading: &Reading) -> Self {
        let mut timing = Self::new(reading.start);
        timing.enter(Stage::Parse, reading.begun);
        timing.enter(Stage::Lookup, reading.parsed);
        timing
    }

    /// The stage before ends, this one begins.
    #[inline]
    pub(crate) fn enter(&mut self, stage: Stage, at: Stamp) {
        // What the driver saw may be older than what was done since.
        let at = at.max(self.since);
        self.spent.add(self.stage, at - self.since);
        self.stage = stage;
        self.since = at;
    }

    /// What was spent until the stage it is in now.
    #[inline]
    pub(crate) fn so_far(&self) -> Spent {
        self.spent
    }
}

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    /// A fetch's origin is through with a stage since the driver told us.
    pub(crate) fn upstream_took(&mut self, ticket: Ticket, stage: UpstreamStage) {
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        if let Some(cells) = self.cells.pool(fetch.order.upstream) {
            cells.took(stage, self.reaped - fetch.since);
        }
        fetch.since = self.reaped.max(fetch.since);
    }

    /// A fetch's origin, or the way there, failed.
    pub(crate) fn upstream_failed(&mut self, ticket: Ticket, error: UpstreamError) {
        let upstream = self.fetches.at(ticket).map(|fetch| fetch.order.upstream);
        if let Some(cells) = upstream.and_then(|id| self.cells.pool(id)) {
            cells.failed(error);
        }
    }
}
