//! What a storm came to, as a table.

use std::fmt;

use crate::drivers::Backend;
use crate::watch::sample;

use super::load::{Kind, Tally};

/// One run.
#[derive(Debug)]
pub struct Report {
    /// The driver.
    pub backend: Backend,
    /// Changes of mood.
    pub changes: u64,
    /// What clients saw.
    pub tallies: Vec<(Kind, Tally)>,
    /// Bodies of requests that origins got whole and wrong.
    pub wrong_uploads: u64,
    /// Requests that origins in the storm got.
    pub origin_requests: u64,
    /// By the gateway's own record.
    pub hits: Hits,
    /// Shards rebuilt.
    pub panics: u64,
    /// Resident bytes at the start, at the end of the storm, and at rest.
    pub rss: [u64; 3],
    /// What did not go.
    pub leaks: Leaks,
}

/// Answers from the cache.
#[derive(Clone, Copy, Debug)]
pub struct Hits {
    /// All.
    pub all: u64,
    /// Of those, those that took longer than a millisecond.
    pub slow: u64,
}

/// What is left beyond what there was at the start; at rest every number is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaks {
    /// Open descriptors of the process.
    pub descriptors: i64,
    /// Connections of clients.
    pub clients: i64,
    /// Connections to origins.
    pub upstreams: i64,
    /// Exchanges with origins under way or waiting.
    pub exchanges: i64,
    /// Receive and scratch buffers that hold something.
    pub buffers: i64,
    /// Objects in the index.
    pub objects: i64,
    /// Bytes of the slab.
    pub slab_bytes: i64,
}

impl Hits {
    pub(super) fn of(exposition: &str) -> Hits {
        let family = "http_request_duration_seconds";
        let hit = "cache=\"hit\"";
        let all = sample(exposition, &format!("{family}_count"), &[hit]);
        let fast = sample(
            exposition,
            &format!("{family}_bucket"),
            &[hit, "le=\"0.001\""],
        );
        Hits {
            all: all as u64,
            slow: (all - fast) as u64,
        }
    }
}

impl Report {
    /// Requests of all clients.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.tallies.iter().map(|(_, tally)| tally.requests).sum()
    }

    /// Answers, and bodies of requests, that looked whole and were not what they should have been.
    #[must_use]
    pub fn wrong(&self) -> u64 {
        let answers: u64 = self.tallies.iter().map(|(_, tally)| tally.wrong).sum();
        answers + self.wrong_uploads
    }

    /// Requests of steady clients that did not get a 200.
    #[must_use]
    pub fn unsteady(&self) -> u64 {
        let steady = self
            .tallies
            .iter()
            .filter(|(kind, _)| *kind == Kind::Steady);
        let lost = steady.map(|(_, tally)| {
            let right = tally.answers.get("200").copied().unwrap_or_default();
            tally.requests - right
        });
        lost.sum()
    }

    /// Whether nothing is wrong that must not be, whatever the machine did meanwhile.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.wrong() == 0 && self.panics == 0 && self.leaks == Leaks::default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.backend.name();
        writeln!(
            f,
            "{name}: {} requests, {} at origins, {} changes of mood",
            self.requests(),
            self.origin_requests,
            self.changes
        )?;
        for (kind, tally) in &self.tallies {
            write!(f, "  {:<8} {:>8}", kind.name(), tally.requests)?;
            for (class, count) in &tally.answers {
                write!(f, "  {class}: {count}")?;
            }
            writeln!(f)?;
            if let Some(why) = &tally.first_wrong {
                writeln!(f, "           first wrong: {why}")?;
            }
        }
        let seen: u64 = self
            .tallies
            .iter()
            .map(|(_, tally)| tally.cached_slow)
            .sum();
        let all: u64 = self.tallies.iter().map(|(_, tally)| tally.cached).sum();
        let Hits { all: told, slow } = self.hits;
        writeln!(
            f,
            "  hits slower than 1 ms: {slow} of {told} by the gateway, {seen} of {all} by its clients"
        )?;
        let [start, storm, rest] = self.rss.map(|bytes| bytes >> 20);
        writeln!(
            f,
            "  resident: {start} MiB at the start, {storm} MiB in the storm, {rest} MiB at rest"
        )?;
        let Leaks {
            descriptors,
            clients,
            upstreams,
            exchanges,
            buffers,
            objects,
            slab_bytes,
        } = self.leaks;
        writeln!(
            f,
            "  leaked: {descriptors} descriptors, {clients} clients, {upstreams} upstreams, {exchanges} exchanges, \
             {buffers} buffers, {objects} objects, {slab_bytes} bytes of the slab"
        )?;
        writeln!(f, "  shards lost: {}", self.panics)?;
        write!(f, "  wrong bytes: {}", self.wrong())
    }
}
