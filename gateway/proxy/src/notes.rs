//! Which requests the flight recorder gets: every one that took long, every error, and one in so many of the rest.

use base::{RouteId, SocketId, Span, Stamp};
use telemetry::{CacheLabel, Cause, Noted, RouteLabel, ShardCells, Spent, Stage};

use crate::client::{About, Rare, Record};
use crate::settings::Settings;

/// Statuses of tunnels: their requests last as long as somebody talks.
const SWITCHED: u16 = 101;

pub(crate) struct Notes {
    /// From which duration answers without an origin are slow.
    hit_ns: u64,
    /// From which those are that an origin had a part in, by route.
    routes_ns: Box<[u64]>,
    /// The least of all.
    least_ns: u64,
    one_in: u64,
    /// Requests until the next that is drawn.
    until_drawn: u64,
}

/// A request whose time is over.
pub(crate) struct Over<'a> {
    pub(crate) record: &'a Record,
    pub(crate) rare: Option<&'a Rare>,
    pub(crate) socket: SocketId,
    pub(crate) end: Stamp,
    /// Its answer got out whole.
    pub(crate) whole: bool,
}

impl Over<'_> {
    /// What its requests spent in all.
    pub(crate) fn spent(&self) -> Spent {
        let record = self.record;
        let mut spent = Spent::default();
        match self.rare {
            Some(rare) => spent = rare.spent,
            None => {
                let stages = [Stage::Wait, Stage::Parse, Stage::Lookup, Stage::Encode];
                for (stage, ns) in stages.into_iter().zip(record.before) {
                    spent.add(stage, Span(ns));
                }
            }
        }
        let all_ns = (self.end - record.asked.start).0 * u64::from(record.count);
        spent.add(Stage::Send, Span(all_ns.saturating_sub(spent.total().0)));
        spent
    }

    pub(crate) fn duration(&self) -> Span {
        self.end - self.record.asked.start
    }

    pub(crate) fn noted(&self, cause: Cause) -> Noted {
        let Self { record, rare, .. } = self;
        let asked = &record.asked;
        let about = rare.map_or_else(About::default, |rare| rare.about);
        Noted {
            cause,
            end: self.end,
            duration: self.duration(),
            spent: self.spent().mean(record.count),
            count: record.count,
            method: asked.method,
            status: record.status,
            route: asked.route,
            cache: record.cache,
            key: record.key,
            connection: u64::from(self.socket.generation) << 32 | u64::from(self.socket.index),
            sent_bytes: record.sent_bytes,
            body_bytes: rare.map_or(0, |rare| rare.body_bytes),
            backlog: record.backlog,
            upstream: about.upstream,
            trace: about.trace,
        }
    }
}

impl Notes {
    pub(crate) fn new(settings: &Settings) -> Self {
        let ns = |span: Option<Span>| span.map_or(u64::MAX, |span| span.0);
        let hit_ns = ns(settings.slow_threshold);
        let routes_ns: Box<[u64]> = settings.slow_thresholds().map(ns).collect();
        let one_in = settings.sample_one_in.map_or(u64::MAX, u64::from);
        Self {
            least_ns: routes_ns.iter().fold(hit_ns, |least, ns| least.min(*ns)),
            hit_ns,
            routes_ns,
            one_in,
            until_drawn: one_in,
        }
    }

    /// Writes a request down if it is worth it.
    #[inline]
    pub(crate) fn see(&mut self, cells: &ShardCells, over: &Over<'_>, duration: Span) {
        let record = over.record;
        let count = u64::from(record.count);
        let is_plain = duration.0 < self.least_ns && record.status < 499 && over.whole;
        if is_plain && count < self.until_drawn {
            self.until_drawn -= count;
            return;
        }
        self.look(cells, over, duration);
    }

    #[cold]
    fn look(&mut self, cells: &ShardCells, over: &Over<'_>, duration: Span) {
        let record = over.record;
        let count = u64::from(record.count);
        let is_drawn = count >= self.until_drawn;
        self.until_drawn = match is_drawn {
            true => self.one_in,
            false => self.until_drawn - count,
        };
        let cause = if record.status >= 499 || !over.whole {
            Cause::Error
        } else if duration.0 >= self.threshold(record) && record.status != SWITCHED {
            Cause::Slow
        } else if is_drawn {
            Cause::Drawn
        } else {
            return;
        };
        cells.recorder.note(&over.noted(cause));
    }

    fn threshold(&self, record: &Record) -> u64 {
        let of_route = |RouteId(id)| self.routes_ns.get(usize::from(id)).copied();
        match (record.cache, record.asked.route) {
            (CacheLabel::Hit | CacheLabel::Stale | CacheLabel::None, _) => self.hit_ns,
            (_, RouteLabel::Route(id)) => of_route(id).unwrap_or(u64::MAX),
            _ => self.hit_ns,
        }
    }
}
