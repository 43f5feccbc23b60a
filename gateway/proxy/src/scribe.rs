//! Which requests the access log gets: every one that failed, and one in so many of the rest.

use std::net::SocketAddr;
use std::sync::Arc;

use base::{Driver, SocketId, Stamp, limits};
use telemetry::access::{Batch, HEAD_BYTES_MAX, Line};
use telemetry::{Cause, ShardCells};

use crate::client::Work;
use crate::notes::Over;
use crate::settings::Settings;

/// From which status on a request is written down without being drawn: a client that gave up is 499.
const FAILED: u16 = 499;

/// The shard's end of the access log.
pub(crate) struct Scribe {
    one_in: u64,
    /// Requests until the next that is drawn.
    until_drawn: u64,
    batch: Batch,
    cells: Arc<ShardCells>,
}

impl Scribe {
    pub(crate) fn new(settings: &Settings, cells: Arc<ShardCells>) -> Self {
        let one_in = settings.log_one_in.map(|count| u64::from(count.get()));
        let one_in = one_in.unwrap_or(u64::MAX);
        let is_on = cells.log.is_on();
        Self {
            one_in,
            until_drawn: one_in,
            batch: if is_on {
                Batch::with_room()
            } else {
                Batch::default()
            },
            cells,
        }
    }

    /// Whether the next request is written down.
    #[inline]
    pub(crate) fn draws(&mut self, status: u16) -> bool {
        self.until_drawn -= 1;
        if self.until_drawn > 0 && status < FAILED {
            return false;
        }
        self.drawn()
    }

    #[cold]
    fn drawn(&mut self) -> bool {
        if self.until_drawn == 0 {
            self.until_drawn = self.one_in;
        }
        self.cells.log.is_on()
    }

    /// Has the log get a connection's next record, unless what it gets of those before takes all the room there is.
    #[cold]
    #[inline(never)]
    pub(crate) fn say<D: Driver>(&self, work: &mut Work<D>, said: &Said<'_>) {
        if !work.say(said) {
            self.cells.log.dropped.add(1);
        }
    }

    /// Writes down those of the first `count` answers on a connection that are to be.
    #[cold]
    pub(crate) fn write<D: Driver>(
        &mut self,
        work: &Work<D>,
        count: usize,
        socket: SocketId,
        end: Stamp,
        whole: bool,
    ) {
        for (record, rare, said) in work.said(count) {
            let rare = Some(rare);
            let over = Over {
                record,
                rare,
                socket,
                end,
                whole,
            };
            let line = Line::of(over.noted(Cause::Drawn), whole, said.peer);
            let log = &self.cells.log;
            match self.batch.push(line, said.head, said.id) {
                true => log.written.add(1),
                false => log.dropped.add(1),
            }
        }
    }

    /// Ends a turn.
    #[inline]
    pub(crate) fn hand_over(&mut self) {
        if !self.batch.is_empty() {
            self.cells.log.offer(&mut self.batch);
        }
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        if !self.batch.is_empty() {
            self.cells.log.leave(&mut self.batch);
        }
    }
}

/// What the log is told of a request beside its record.
#[derive(Clone, Copy)]
pub(crate) struct Said<'a> {
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) head: &'a [u8],
    pub(crate) id: &'a [u8],
}

/// What was said of those records that the log gets, in their order.
#[derive(Default)]
pub(crate) struct Sayings {
    marks: Vec<Mark>,
    text: Vec<u8>,
}

struct Mark {
    peer: Option<SocketAddr>,
    head: usize,
    id: usize,
}

/// Bytes of heads that a connection keeps while its answers wait to be taken: as many as may wait to be read.
const BYTES_MAX: usize = limits::PIPELINE_BYTES_MAX;
/// Bytes that are kept for the next request.
const KEPT_BYTES: usize = 4 * HEAD_BYTES_MAX;

impl Sayings {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// False where there is no room.
    pub(crate) fn push(&mut self, said: &Said<'_>) -> bool {
        let head = said.head.get(..HEAD_BYTES_MAX).unwrap_or(said.head);
        if self.text.len() + head.len() + said.id.len() > BYTES_MAX {
            return false;
        }
        self.text.extend_from_slice(head);
        self.text.extend_from_slice(said.id);
        self.marks.push(Mark {
            peer: said.peer,
            head: head.len(),
            id: said.id.len(),
        });
        true
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Said<'_>> {
        let mut rest = self.text.as_slice();
        self.marks.iter().map(move |mark| {
            let (head, behind) = rest.split_at_checked(mark.head).unwrap_or((rest, &[]));
            let (id, behind) = behind.split_at_checked(mark.id).unwrap_or((behind, &[]));
            rest = behind;
            Said {
                peer: mark.peer,
                head,
                id,
            }
        })
    }

    /// Lets go of the first `count`.
    pub(crate) fn forget(&mut self, count: usize) {
        let bytes: usize = self
            .marks
            .drain(..count)
            .map(|mark| mark.head + mark.id)
            .sum();
        self.text.drain(..bytes);
    }

    pub(crate) fn clear(&mut self) {
        if !self.marks.is_empty() {
            self.marks.clear();
            self.text.clear();
            self.text.shrink_to(KEPT_BYTES);
        }
    }
}
