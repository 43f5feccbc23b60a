//! What the flight recorders hold, as an operator asks for it: the longest first, with where their time went.

use std::cmp::Reverse;
use std::fmt::Write;

use base::{ShardId, Span, Stamp, Taken};

use crate::access::write_stages;
use crate::health::rfc3339_micros;
use crate::json::Object;
use crate::recorder::{Cause, LongTurn, Noted};
use crate::{Reader, Stage};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Requests of at least this duration.
    pub threshold: Span,
    /// That ended within this time before now.
    pub last: Span,
    /// So many of them, the longest.
    pub top: usize,
    /// Now, on the clock of the shards' drivers.
    pub now: Stamp,
    /// The same moment in nanoseconds since the epoch.
    pub epoch_ns: u64,
}

/// What was found.
#[derive(Debug)]
pub struct Slow<'a> {
    reader: &'a Reader,
    wanted: Wanted,
    matched: u64,
    /// Time in each stage, of all that matched.
    stages_ns: [u64; Stage::COUNT],
    requests: Vec<Found>,
    turns: Vec<(ShardId, LongTurn)>,
}

/// Beyond twice as many as are wanted the shorter ones are let go of.
const SLACK: usize = 64;

#[derive(Debug)]
struct Found {
    shard: ShardId,
    noted: Noted,
    /// Time of long turns that fell into its own.
    stalled: Span,
    /// Time of its own in which the CPU was taken.
    taken: Span,
}

impl Reader {
    /// Looks through the recorders of all shards.
    #[must_use]
    pub fn slow(&self, wanted: Wanted) -> Slow<'_> {
        let since = Stamp(wanted.now.0.saturating_sub(wanted.last.0));
        let mut slow = Slow {
            reader: self,
            wanted,
            matched: 0,
            stages_ns: [0; Stage::COUNT],
            requests: Vec::new(),
            turns: Vec::new(),
        };
        for cells in &self.shards {
            let turns: Vec<LongTurn> = cells.recorder.turns().collect();
            for noted in cells.recorder.requests() {
                if noted.end >= since && noted.duration >= wanted.threshold {
                    slow.take(cells.shard, noted);
                }
            }
            slow.trim();
            slow.lay_beside(
                cells.shard,
                &turns,
                &cells.recorder.gaps().collect::<Vec<_>>(),
            );
            let recent = turns.into_iter().filter(|turn| turn.end >= since);
            slow.turns.extend(recent.map(|turn| (cells.shard, turn)));
        }
        slow.turns.sort_by_key(|(_, turn)| Reverse(turn.busy));
        slow.turns.truncate(wanted.top);
        slow
    }
}

impl Reader {
    /// When shards' CPUs were taken within `last` before `now`, as JSON: beginnings in nanoseconds since the epoch, of
    /// which `epoch_ns` is `now`.
    #[must_use]
    pub fn gaps_json(&self, last: Span, now: Stamp, epoch_ns: u64) -> String {
        let since = Stamp(now.0.saturating_sub(last.0));
        let gaps: Vec<(ShardId, Taken)> = self
            .shards
            .iter()
            .flat_map(|cells| cells.recorder.gaps().map(|gap| (cells.shard, gap)))
            .filter(|(_, gap)| gap.until >= since)
            .collect();
        let mut text = String::with_capacity(4 << 10);
        let mut json = Object::open(&mut text);
        json.count("now_unix_ns", epoch_ns);
        json.span("last_seconds", Some(last));
        json.objects("gaps", &gaps, |json, (shard, gap)| {
            json.count("shard", u64::from(shard.0));
            json.count("from_unix_ns", epoch_ns.saturating_sub((now - gap.from).0));
            json.span("seconds", Some(gap.until - gap.from));
        });
        json.close();
        text.push('\n');
        text
    }
}

impl Slow<'_> {
    fn take(&mut self, shard: ShardId, noted: Noted) {
        let count = u64::from(noted.count);
        self.matched += count;
        for (all, stage) in self.stages_ns.iter_mut().zip(Stage::ALL) {
            *all += noted.spent.of(stage) * count;
        }
        self.requests.push(Found {
            shard,
            noted,
            stalled: Span::ZERO,
            taken: Span::ZERO,
        });
        if self.requests.len() > 2 * self.wanted.top + SLACK {
            self.trim();
        }
    }

    /// Keeps the longest.
    fn trim(&mut self) {
        let order = |found: &Found| Reverse((found.noted.duration, found.noted.end));
        self.requests.sort_by_key(order);
        self.requests.truncate(self.wanted.top);
    }

    /// Says of a shard's requests how much of its long turns fell into them, and of what was taken from it.
    fn lay_beside(&mut self, shard: ShardId, turns: &[LongTurn], gaps: &[Taken]) {
        for found in self
            .requests
            .iter_mut()
            .filter(|found| found.shard == shard)
        {
            let noted = &found.noted;
            let began = noted.end.0.saturating_sub(noted.duration.0);
            let overlap = |from: u64, until: Stamp| {
                let end = until.0.min(noted.end.0);
                end.saturating_sub(from.max(began))
            };
            let stalled = turns
                .iter()
                .map(|turn| overlap(turn.end.0.saturating_sub(turn.busy.0), turn.end));
            found.stalled = Span(stalled.sum());
            let taken = gaps.iter().map(|gap| overlap(gap.from.0, gap.until));
            found.taken = Span(taken.sum());
        }
    }

    /// The stage that most of the time went to, and its share.
    fn worst(&self) -> Option<(Stage, f64)> {
        let all: u64 = self.stages_ns.iter().sum();
        let worst = Stage::ALL.into_iter().zip(self.stages_ns);
        let (stage, ns) = worst.max_by_key(|(_, ns)| *ns)?;
        (all > 0).then(|| (stage, ns as f64 / all as f64))
    }

    fn at(&self, stamp: Stamp) -> String {
        let ago = self.wanted.now.0.saturating_sub(stamp.0);
        let ns = self.wanted.epoch_ns.saturating_sub(ago);
        rfc3339_micros(ns)
    }

    /// As a JSON object.
    #[must_use]
    pub fn json(&self) -> String {
        let mut text = String::with_capacity(4 << 10);
        let mut json = Object::open(&mut text);
        json.string("now", &self.at(self.wanted.now));
        json.span("threshold_seconds", Some(self.wanted.threshold));
        json.span("last_seconds", Some(self.wanted.last));
        json.count("matched", self.matched);
        let mut stages = json.object("stages_seconds");
        for (stage, ns) in Stage::ALL.into_iter().zip(self.stages_ns) {
            stages.span(stage.as_str(), Some(Span(ns)));
        }
        stages.close();
        let worst = self.worst().map_or("", |(stage, _)| stage.as_str());
        json.string("worst_stage", worst);
        json.objects("requests", &self.requests, |json, found| {
            self.write(json, found)
        });
        json.objects("long_turns", &self.turns, |json, (shard, turn)| {
            self.write_turn(json, *shard, turn);
        });
        json.close();
        text.push('\n');
        text
    }

    fn write(&self, json: &mut Object<'_>, found: &Found) {
        let noted = &found.noted;
        json.string("at", &self.at(noted.end));
        json.string("cause", noted.cause.as_str());
        json.span("duration_seconds", Some(noted.duration));
        write_stages(json, &noted.spent);
        json.span("stalled_seconds", Some(found.stalled));
        json.span("cpu_taken_seconds", Some(found.taken));
        json.string("method", noted.method.as_str());
        json.count("status", u64::from(noted.status));
        json.string("route", self.reader.labels.route(noted.route.index()));
        json.string("cache", noted.cache.as_str());
        json.count("count", u64::from(noted.count));
        json.string("key", &noted.key_text());
        json.count("shard", u64::from(found.shard.0));
        json.string("connection", &noted.connection_text());
        json.count("sent_bytes", noted.sent_bytes);
        json.count("body_bytes", noted.body_bytes);
        json.count("backlog", u64::from(noted.backlog));
        json.string(
            "upstream",
            self.reader.labels.upstream(noted).unwrap_or_default(),
        );
        if noted.trace.is_some() {
            json.string("trace_id", &noted.trace.id_text());
            json.string("parent_id", &format!("{:016x}", noted.trace.parent));
        }
    }

    fn write_turn(&self, json: &mut Object<'_>, shard: ShardId, turn: &LongTurn) {
        json.string("at", &self.at(turn.end));
        json.count("shard", u64::from(shard.0));
        json.span("busy_seconds", Some(turn.busy));
        json.span("index_seconds", Some(turn.index));
        for (name, count) in [
            ("received", turn.received),
            ("sent", turn.sent),
            ("accepted", turn.accepted),
            ("others", turn.others),
            ("mail", turn.mail),
        ] {
            json.count(name, u64::from(count));
        }
    }

    /// As a table for the eye: what most of the time went to, then a line a request.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::with_capacity(4 << 10);
        // Writing to a string cannot fail.
        let _ = self.write_table(&mut text);
        text
    }

    fn write_table(&self, text: &mut String) -> std::fmt::Result {
        let seconds = |span: Span| span.0 as f64 / 1e9;
        let millis = |span: Span| span.0 as f64 / 1e6;
        write!(
            text,
            "{} requests of {:.3} ms and more in the last {:.0} s",
            self.matched,
            millis(self.wanted.threshold),
            seconds(self.wanted.last)
        )?;
        match self.worst() {
            Some((stage, share)) => writeln!(
                text,
                "; {:.0} % of their time in stage {}",
                share * 100.0,
                stage.as_str()
            )?,
            None => text.push('\n'),
        }
        writeln!(
            text,
            "{:27} {:>10} {:<24} {:>10} {:>10} {:5} {:7} {:6} {:>6} {:12} {:12} {:16} {:>5} {:>11} trace",
            "at",
            "ms",
            "worst stage (ms)",
            "stalled ms",
            "taken ms",
            "cause",
            "method",
            "status",
            "count",
            "cache",
            "route",
            "key",
            "shard",
            "sent bytes"
        )?;
        for found in &self.requests {
            let noted = &found.noted;
            let worst = noted.spent.stages().max_by_key(|(_, span)| *span);
            let worst = worst.map_or_else(String::new, |(stage, span)| {
                format!("{} ({:.3})", stage.as_str(), millis(span))
            });
            let trace = match noted.trace.is_some() {
                true => noted.trace.id_text(),
                false => "-".to_owned(),
            };
            writeln!(
                text,
                "{:27} {:>10.3} {:<24} {:>10.3} {:>10.3} {:5} {:7} {:6} {:>6} {:12} {:12} {:16} {:>5} {:>11} {trace}",
                self.at(noted.end),
                millis(noted.duration),
                worst,
                millis(found.stalled),
                millis(found.taken),
                noted.cause.as_str(),
                noted.method.as_str(),
                noted.status,
                noted.count,
                noted.cache.as_str(),
                self.reader.labels.route(noted.route.index()),
                noted.key_text(),
                found.shard.0,
                noted.sent_bytes,
            )?;
        }
        if !self.turns.is_empty() {
            writeln!(text, "\nturns of the loop over 1 ms")?;
        }
        for (shard, turn) in &self.turns {
            writeln!(
                text,
                "{:27} {:>10.3} ms on shard {}: {:.3} ms asking the index, {} received, {} sent, {} accepted, {} others, {} mail",
                self.at(turn.end),
                millis(turn.busy),
                shard.0,
                millis(turn.index),
                turn.received,
                turn.sent,
                turn.accepted,
                turn.others,
                turn.mail,
            )?;
        }
        Ok(())
    }
}

impl Noted {
    /// The key's hash, `-` where there is none.
    pub(crate) fn key_text(&self) -> String {
        match self.key {
            0 => "-".to_owned(),
            key => format!("{key:016x}"),
        }
    }

    /// The connection's number on its shard.
    pub(crate) fn connection_text(&self) -> String {
        format!("{}.{}", self.connection as u32, self.connection >> 32)
    }
}

impl Cause {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Error => "error",
            Self::Drawn => "drawn",
        }
    }
}
