//! The access log's way off the shards: lines of one size and the heads behind them, handed over by the batch.

use std::mem;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use base::ShardId;

use crate::json::Object;
use crate::reader::Labels;
use crate::{Counter, Noted, Spent};

/// Lines that a batch holds at most.
const LINES_MAX: usize = 2_048;
/// Bytes of heads that a batch holds at most.
const TEXT_BYTES_MAX: usize = 512 << 10;
/// Bytes of one head that are kept; the rest of a longer one is cut off.
pub const HEAD_BYTES_MAX: usize = 4_096;

/// A request that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// What the flight recorder would keep of it.
    pub noted: Noted,
    /// Its answer got out whole.
    pub whole: bool,
    /// Who asked.
    pub peer: Option<SocketAddr>,
    head: u16,
    id: u8,
}

impl Line {
    /// A line about a request.
    #[must_use]
    pub fn of(noted: Noted, whole: bool, peer: Option<SocketAddr>) -> Self {
        Self {
            noted,
            whole,
            peer,
            head: 0,
            id: 0,
        }
    }
}

/// Lines, each with the head of its request and the request's id. Takes its memory when it is made.
#[derive(Debug, Default)]
pub struct Batch {
    lines: Vec<Line>,
    text: Vec<u8>,
}

impl Batch {
    /// An empty one with room.
    #[must_use]
    pub fn with_room() -> Self {
        Self {
            lines: Vec::with_capacity(LINES_MAX),
            text: Vec::with_capacity(TEXT_BYTES_MAX),
        }
    }

    /// Adds a line; false where there is no room.
    pub fn push(&mut self, line: Line, head: &[u8], id: &[u8]) -> bool {
        let head = head.get(..HEAD_BYTES_MAX).unwrap_or(head);
        let id = id.get(..usize::from(u8::MAX)).unwrap_or(id);
        let bytes = self.text.len() + head.len() + id.len();
        if self.lines.len() >= LINES_MAX || bytes > TEXT_BYTES_MAX {
            return false;
        }
        self.text.extend_from_slice(head);
        self.text.extend_from_slice(id);
        self.lines.push(Line {
            head: head.len() as u16,
            id: id.len() as u8,
            ..line
        });
        true
    }

    /// Lines in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Each line with its head and its id.
    pub fn iter(&self) -> impl Iterator<Item = (&Line, &[u8], &[u8])> {
        let mut rest = self.text.as_slice();
        self.lines.iter().map(move |line| {
            let mut next = |bytes: usize| {
                let (taken, left) = rest.split_at(bytes.min(rest.len()));
                rest = left;
                taken
            };
            (
                line,
                next(usize::from(line.head)),
                next(usize::from(line.id)),
            )
        })
    }

    /// Empties it, its room kept.
    pub fn clear(&mut self) {
        self.lines.clear();
        self.text.clear();
    }

    fn append(&mut self, other: &mut Self) {
        self.lines.append(&mut other.lines);
        self.text.append(&mut other.text);
    }
}

/// Where a shard's batch waits for the log's thread. The shard never waits for it.
#[derive(Debug, Default)]
pub struct Handover {
    slot: Mutex<Batch>,
    is_on: bool,
    /// Lines that the shard wrote.
    pub written: Counter,
    /// Lines that the shard had no room for.
    pub dropped: Counter,
    /// Lines that the log's thread took.
    pub taken: Counter,
}

impl Handover {
    pub(crate) fn with_room() -> Self {
        Self {
            slot: Mutex::new(Batch::with_room()),
            is_on: true,
            ..Self::default()
        }
    }

    /// Whether there is an access log.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Leaves a batch for the log's thread and an empty one in its place, unless the one before still waits or is being taken.
    /// The shard's.
    #[inline]
    pub fn offer(&self, batch: &mut Batch) {
        if let Ok(mut slot) = self.slot.try_lock()
            && slot.is_empty()
        {
            mem::swap(&mut *slot, batch);
        }
    }

    /// Leaves what is left when the shard ends, or is built anew; dropped where as much waits already.
    pub fn leave(&self, batch: &mut Batch) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.len() < LINES_MAX {
            return slot.append(batch);
        }
        drop(slot);
        let lost = batch.len() as u64;
        self.dropped.add(lost);
        self.written.set(self.written.read() - lost);
        batch.clear();
    }

    /// Takes what waits, for an empty batch. The log's thread's.
    pub fn take(&self, empty: &mut Batch) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut *slot, empty);
        drop(slot);
        self.taken.add(empty.len() as u64);
    }

    /// Lines written and not taken.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        let taken = self.taken.read();
        self.written.read().saturating_sub(taken)
    }
}

/// What the head of a request says, as far as it could be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// The method as written.
    pub method: &'a str,
    /// The target as written.
    pub target: &'a str,
    /// The protocol as written.
    pub protocol: &'a str,
    /// `Host`.
    pub host: &'a str,
    /// `Referer`.
    pub referer: &'a str,
    /// `User-Agent`.
    pub user_agent: &'a str,
    /// The request's id.
    pub id: &'a str,
}

impl Labels {
    /// Writes a line as a JSON object and ends it; `at` is when the request was over, in the words of RFC 3339.
    pub fn write_access(
        &self,
        out: &mut String,
        shard: ShardId,
        at: &str,
        line: &Line,
        said: &Said<'_>,
    ) {
        let noted = &line.noted;
        let mut json = Object::open(out);
        json.string("at", at);
        json.string("client", &peer_text(line));
        json.string("method", said.method);
        json.string("target", said.target);
        json.string("protocol", said.protocol);
        json.string("host", said.host);
        json.count("status", u64::from(noted.status));
        json.flag("whole", line.whole);
        json.count("sent_bytes", noted.sent_bytes);
        json.count("body_bytes", noted.body_bytes);
        json.span("duration_seconds", Some(noted.duration));
        write_stages(&mut json, &noted.spent);
        json.string("route", self.route(noted.route.index()));
        json.string("cache", noted.cache.as_str());
        json.string("key_hash", &noted.key_text());
        json.string("upstream", self.upstream(noted).unwrap_or_default());
        json.string("request_id", said.id);
        json.string("referer", said.referer);
        json.string("user_agent", said.user_agent);
        json.count("shard", u64::from(shard.0));
        json.string("connection", &noted.connection_text());
        if noted.trace.is_some() {
            json.string("trace_id", &noted.trace.id_text());
        }
        json.close();
        out.push('\n');
    }
}

/// Who asked, `-` where the kernel could not say.
#[must_use]
pub fn peer_text(line: &Line) -> String {
    line.peer.map_or_else(
        || "-".to_owned(),
        |peer| peer.ip().to_canonical().to_string(),
    )
}

pub(crate) fn write_stages(json: &mut Object<'_>, spent: &Spent) {
    let mut stages = json.object("stages_seconds");
    for (stage, span) in spent.stages() {
        stages.span(stage.as_str(), Some(span));
    }
    stages.close();
}
