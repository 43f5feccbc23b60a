//! A client's connection: what is kept of it while it idles (little), and what it borrows while it works.

use std::collections::VecDeque;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, Range};
use std::rc::Rc;
use std::sync::Arc;

use base::{Driver, Memory, Moment, Part, Scratch as _, SocketId, Stamp, limits};
use cache::policy::RequestFacts;
use cache::{Flight, Resident};
use http::{BodyDecoder, BodyLength, Version};
use telemetry::{CacheLabel, MethodLabel, RouteLabel, Spent, Trace};

use crate::address::Source;
use crate::decide::has_body;
use crate::scribe::{Said, Sayings};
use crate::table::Ticket;
use crate::timing::Timing;

/// What a client is given time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// The rest of a head (or the first byte of the first).
    Head,
    /// The next request.
    Idle,
    /// The body it is sending.
    Body,
    /// Nothing: an origin is being waited for, which has its own deadline.
    Answer,
    /// Taking what is sent to it.
    Send,
    /// Closing, after we ended our direction.
    Linger,
}

/// A client's connection. Small: an idle one costs this and nothing else.
pub(crate) struct Client<D: Driver> {
    pub(crate) deadline: Moment,
    /// When the wheel looks at it next.
    pub(crate) scheduled: Moment,
    pub(crate) patience: Patience,
    /// The driver receives for us.
    pub(crate) receiving: bool,
    /// The client ended its direction.
    pub(crate) ended: bool,
    /// No further request is read; the connection ends after what is to be sent.
    pub(crate) last: bool,
    /// Unread bytes may come: end our direction, discard, then close (RFC 9112 §9.6).
    pub(crate) linger: bool,
    /// It came beyond the bound: it stays for its refusal and takes nobody's place.
    pub(crate) refused: bool,
    /// Listed for the end of the turn.
    pub(crate) dirty: bool,
    /// A PROXY header is still to come.
    pub(crate) awaits_preface: bool,
    /// Borrowed from the proxy while there is work.
    pub(crate) work: Option<Box<Work<D>>>,
    pub(crate) source: Source,
}

/// What a client needs while a request is under way or an answer on its way.
pub(crate) struct Work<D: Driver> {
    pub(crate) input: Input<D>,
    pub(crate) output: Output<D>,
    /// A message of ours is with the driver.
    pub(crate) sending: bool,
    /// Answers whose last byte is in the message with the driver come first, so many of them.
    pub(crate) records_sending: usize,
    pub(crate) records: Vec<Record>,
    /// The rest of those records that have one, in their order.
    pub(crate) rares: Vec<Rare>,
    /// What the access log gets of those rares that it gets, in their order.
    pub(crate) sayings: Sayings,
    /// The next rare is one of them.
    is_said: bool,
    pub(crate) exchange: Option<Exchange<D>>,
    /// Since when a request waits in the input that could not be taken yet, for want of scratch or of the index.
    pub(crate) waits_since: Option<Stamp>,
    /// Bytes of request body received, and since when.
    pub(crate) body_received: u64,
    pub(crate) body_since: Moment,
    /// Who asks, where a trusted proxy says so.
    pub(crate) believed: Option<IpAddr>,
    /// A trusted proxy says that it asks under TLS.
    pub(crate) is_secure: bool,
}

/// Answers to be counted when the kernel has taken them: alike ones in a row (pipelined hits) are one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) asked: Asked,
    pub(crate) status: u16,
    pub(crate) cache: CacheLabel,
    /// The next of the rares tells the rest; of answers made at once there is none.
    is_rare: bool,
    pub(crate) count: u32,
    /// Completions of the turn that took them up.
    pub(crate) backlog: u32,
    /// Hash of the last one's key; 0: there is none.
    pub(crate) key: u64,
    pub(crate) sent_bytes: u64,
    /// Nanoseconds they spent together before they were sent.
    pub(crate) before: Before,
}

/// Nanoseconds in the stages of an answer made at once: wait, parse, lookup, encode.
pub(crate) type Before = [u64; 4];

/// The rest of what is told of an answer that was not made at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rare {
    /// Before it was sent.
    pub(crate) spent: Spent,
    pub(crate) about: About,
    pub(crate) body_bytes: u64,
    /// The next of the sayings belongs to it.
    is_said: bool,
}

/// What the flight recorder is told besides.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct About {
    pub(crate) key: u64,
    pub(crate) backlog: u32,
    pub(crate) upstream: Option<u16>,
    pub(crate) trace: Trace,
}

/// What is known of a request when its head's bytes are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) start: Stamp,
    pub(crate) method: MethodLabel,
    pub(crate) route: RouteLabel,
    pub(crate) version: Version,
    /// The answer carries no body whatever its fields say.
    pub(crate) head_only: bool,
    /// The client would go on after this answer.
    pub(crate) keep_alive: bool,
}

/// A request that is not answered at once.
pub(crate) struct Exchange<D: Driver> {
    pub(crate) asked: Asked,
    pub(crate) timing: Timing,
    pub(crate) cache: CacheLabel,
    pub(crate) status: u16,
    /// Why it went forward, for `Cache-Status`.
    pub(crate) why: &'static str,
    pub(crate) request_id: Box<[u8]>,
    /// The request body still to be read.
    pub(crate) body: Option<BodyDecoder>,
    /// The bytes of its head, to decide on it again.
    pub(crate) head: Box<[u8]>,
    /// Who asks, where there is an access log: a connection that was reset no longer tells.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) facts: RequestFacts,
    /// Lines of the origin's head that are for this client and not stored.
    pub(crate) own: Box<[u8]>,
    /// The key's hash, and the upstream that is asked.
    pub(crate) about: About,
    /// Decisions before the one under way.
    pub(crate) tries: u8,
    pub(crate) answer: Answer<D>,
}

/// Where an exchange's answer comes from.
pub(crate) enum Answer<D: Driver> {
    /// From a flight that has no answer yet.
    Following(Arc<Flight<D::Memory>>),
    /// From a fetch of its own that has none yet.
    Fetching(Ticket),
    /// From a stored object, perhaps still growing.
    Serving(Serving<D>),
    /// From a fetch, passed through.
    Streaming(Ticket, Framing),
    /// Both directions pass as they are.
    Tunnel(Ticket),
}

/// How far an object is sent.
pub(crate) struct Serving<D: Driver> {
    pub(crate) resident: Rc<Resident<D::Memory>>,
    pub(crate) offset: u64,
    /// Where this piece of it ends; beyond its length: with the body.
    pub(crate) end: u64,
    /// Pieces behind this one, with the bytes before each.
    pub(crate) pieces: VecDeque<(Box<[u8]>, Range<u64>)>,
    pub(crate) framing: Framing,
    /// The flight that fills the object, until it is complete.
    pub(crate) flight: Option<Arc<Flight<D::Memory>>>,
    /// The object outgrew its place: after its last byte the fetch goes on.
    pub(crate) spill: Option<Ticket>,
}

/// How the client finds the end of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By Content-Length, or there is no body.
    Length,
    /// By the last chunk.
    Chunked,
    /// By the end of the connection.
    Close,
}

impl<D: Driver> Client<D> {
    pub(crate) fn new(deadline: Moment) -> Self {
        Self {
            deadline,
            scheduled: Moment(u64::MAX),
            patience: Patience::Head,
            receiving: true,
            ended: false,
            last: false,
            linger: false,
            refused: false,
            dirty: false,
            awaits_preface: false,
            work: None,
            source: Source::default(),
        }
    }
}

impl<D: Driver> Work<D> {
    pub(crate) fn new() -> Self {
        Self {
            input: Input::new(),
            output: Output::new(),
            sending: false,
            records_sending: 0,
            records: Vec::new(),
            rares: Vec::new(),
            sayings: Sayings::default(),
            is_said: false,
            exchange: None,
            waits_since: None,
            body_received: 0,
            body_since: Moment(0),
            believed: None,
            is_secure: false,
        }
    }

    /// Nothing is under way: the work can go back.
    pub(crate) fn is_over(&self) -> bool {
        self.exchange.is_none()
            && !self.sending
            && self.output.is_empty()
            && self.input.is_empty()
            && self.records.is_empty()
    }

    /// Empties it for the next borrower, its capacities kept.
    pub(crate) fn reset(&mut self) {
        self.input.clear();
        self.output.clear();
        self.sending = false;
        self.records_sending = 0;
        self.records.clear();
        self.rares.clear();
        self.sayings.clear();
        self.is_said = false;
        self.exchange = None;
        self.waits_since = None;
        self.body_received = 0;
        self.believed = None;
        self.is_secure = false;
    }

    /// Notes an answer made at once, whose last byte is in the output.
    #[inline]
    pub(crate) fn record_at_once(
        &mut self,
        asked: Asked,
        (status, cache): (u16, CacheLabel),
        before: Before,
        key: u64,
        backlog: u32,
    ) {
        if cfg!(feature = "mute") {
            return;
        }
        let sent_bytes = self.output.take_written();
        if self.records.len() > self.records_sending
            && let Some(last) = self.records.last_mut()
            && last.asked == asked
            && last.status == status
            && last.cache == cache
            && !last.is_rare
        {
            last.count += 1;
            last.key = key;
            last.sent_bytes += sent_bytes;
            for (all, ns) in last.before.iter_mut().zip(before) {
                *all += ns;
            }
            return;
        }
        self.records.push(Record {
            asked,
            status,
            cache,
            is_rare: false,
            count: 1,
            backlog,
            key,
            sent_bytes,
            before,
        });
    }

    /// Notes another answer, whose last byte is in the output or never will be.
    pub(crate) fn record(
        &mut self,
        asked: Asked,
        (status, cache): (u16, CacheLabel),
        timing: &Timing,
        about: About,
    ) {
        self.rares.push(Rare {
            spent: timing.so_far(),
            about,
            body_bytes: mem::take(&mut self.body_received),
            is_said: mem::take(&mut self.is_said),
        });
        self.records.push(Record {
            asked,
            status,
            cache,
            is_rare: true,
            count: 1,
            backlog: about.backlog,
            key: about.key,
            sent_bytes: self.output.take_written(),
            before: Before::default(),
        });
    }

    /// Has the access log get the next record; false where there is no room for what it gets.
    pub(crate) fn say(&mut self, said: &Said<'_>) -> bool {
        self.is_said = self.sayings.push(said);
        self.is_said
    }

    /// The first `count` records, each with its rest.
    #[inline]
    pub(crate) fn told(&self, count: usize) -> impl Iterator<Item = (&Record, Option<&Rare>)> {
        let mut rares = self.rares.iter();
        let records = self.records.iter().take(count);
        records.map(move |record| (record, record.is_rare.then(|| rares.next()).flatten()))
    }

    /// Those of the first `count` records that the access log gets, with what it gets.
    pub(crate) fn said(&self, count: usize) -> impl Iterator<Item = (&Record, &Rare, Said<'_>)> {
        let mut sayings = self.sayings.iter();
        self.told(count).filter_map(move |(record, rare)| {
            let rare = rare.filter(|rare| rare.is_said)?;
            Some((record, rare, sayings.next()?))
        })
    }

    /// Lets go of the first `count` records.
    #[inline]
    pub(crate) fn forget(&mut self, count: usize) {
        if count >= self.records.len() {
            self.records.clear();
            if !self.rares.is_empty() {
                self.rares.clear();
                self.sayings.clear();
            }
            return;
        }
        let gone = self.records.drain(..count);
        let rares = gone.filter(|record| record.is_rare).count();
        let gone = self.rares.drain(..rares);
        let sayings = gone.filter(|rare| rare.is_said).count();
        self.sayings.forget(sayings);
    }
}

/// Received bytes, in a buffer of the driver's or copied out of it.
pub(crate) enum Bytes<D: Driver> {
    Buffer(D::Received),
    Copied(Vec<u8>),
}

impl<D: Driver> Deref for Bytes<D> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Buffer(buffer) => buffer,
            Self::Copied(bytes) => bytes,
        }
    }
}

impl<D: Driver> Bytes<D> {
    /// A range of these bytes as a part to send.
    pub(crate) fn part(self, range: Range<usize>) -> Part<D> {
        match self {
            Self::Buffer(buffer) => {
                // Buffers are far smaller than 4 GiB.
                let range = range.start as u32..range.end as u32;
                Part::Received(buffer, range)
            }
            Self::Copied(mut bytes) => {
                bytes.truncate(range.end);
                bytes.drain(..range.start.min(bytes.len()));
                Part::Heap(bytes.into_boxed_slice())
            }
        }
    }
}

/// Bytes of a client not yet read as requests or body, in order.
pub(crate) struct Input<D: Driver> {
    queue: VecDeque<(Bytes<D>, usize)>,
    /// The front holds the beginning of a head: more bytes go behind it, not after it.
    partial: bool,
}

impl<D: Driver> Input<D> {
    fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            partial: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn buffers(&self) -> usize {
        self.queue.len()
    }

    /// The beginning of a head is here, and no more.
    pub(crate) fn is_partial(&self) -> bool {
        self.partial && self.queue.len() == 1
    }

    /// What is here is an empty line at most, which some clients leave behind a body (RFC 9112 §2.2).
    pub(crate) fn is_blank(&self) -> bool {
        self.queue.iter().all(|(bytes, at)| {
            let rest = bytes.get(*at..).unwrap_or_default();
            rest.is_empty() || rest == b"\r\n" || rest == b"\r"
        })
    }

    /// What waits in the first buffer.
    pub(crate) fn first(&self) -> &[u8] {
        let first = self.queue.front();
        first
            .and_then(|(bytes, at)| bytes.get(*at..))
            .unwrap_or_default()
    }

    pub(crate) fn push(&mut self, bytes: Bytes<D>) {
        self.queue.push_back((bytes, 0));
    }

    /// Copies what waits here out of the driver's buffers.
    pub(crate) fn release_buffers(&mut self) {
        for (bytes, at) in &mut self.queue {
            if let Bytes::Buffer(buffer) = bytes {
                *bytes = Bytes::Copied(buffer.get(*at..).unwrap_or_default().to_vec());
                *at = 0;
            }
        }
    }

    /// The next bytes and where in them to begin. Behind the beginning of a head nothing is worth reading until a line
    /// ends or `head_bytes` are there: a head that comes byte by byte is not read anew for each.
    pub(crate) fn pop(&mut self, head_bytes: usize) -> Option<(Bytes<D>, usize)> {
        if self.partial {
            let mut line_ended = false;
            while !line_ended && self.queue.len() > 1 {
                line_ended = self.join_front();
            }
            let (front, _) = self.queue.front()?;
            if !line_ended && front.len() < head_bytes {
                return None;
            }
        }
        self.partial = false;
        self.queue.pop_front()
    }

    /// Gives back what was not read.
    pub(crate) fn put_back(&mut self, bytes: Bytes<D>, at: usize) {
        if at < bytes.len() {
            self.queue.push_front((bytes, at));
        }
    }

    /// Keeps the beginning of a head until more comes. Frees the buffer it came in.
    pub(crate) fn put_back_partial(&mut self, bytes: &Bytes<D>, at: usize) {
        let rest = bytes.get(at..).unwrap_or_default();
        if !rest.is_empty() {
            self.queue.push_front((Bytes::Copied(rest.to_vec()), 0));
            self.partial = true;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.partial = false;
    }

    /// Puts the bytes that came behind the beginning of a head into one piece with it; whether a line ended in them.
    fn join_front(&mut self) -> bool {
        let Some((Bytes::Copied(mut joined), _)) = self.queue.pop_front() else {
            return true;
        };
        let mut line_ended = false;
        if let Some((next, at)) = self.queue.pop_front() {
            let next = next.get(at..).unwrap_or_default();
            line_ended = next.contains(&b'\n');
            joined.extend_from_slice(next);
        }
        self.queue.push_front((Bytes::Copied(joined), 0));
        line_ended
    }
}

/// What is to be sent next to one peer, in order.
pub(crate) struct Output<D: Driver> {
    pub(crate) parts: Vec<Part<D>>,
    bytes: usize,
    /// Bytes put here since they were last asked for.
    written: u64,
}

impl<D: Driver> Output<D> {
    pub(crate) fn new() -> Self {
        Self {
            parts: Vec::new(),
            bytes: 0,
            written: 0,
        }
    }

    /// Bytes put here since this was last called.
    #[inline]
    pub(crate) fn take_written(&mut self) -> u64 {
        std::mem::take(&mut self.written)
    }

    /// Counts what was written to a scratch buffer.
    #[inline]
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether another answer or piece of one may be put behind.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.parts.len() + 3 <= limits::PARTS_MAX && self.bytes < limits::SEND_WINDOW_BYTES
    }

    /// Body bytes that still fit the window.
    pub(crate) fn window(&self) -> usize {
        limits::SEND_WINDOW_BYTES.saturating_sub(self.bytes)
    }

    /// The scratch buffer at the end, with `need` bytes of room; a new one if the last has less. `None`: all are in
    /// flight, or `need` is more than one holds.
    #[inline]
    pub(crate) fn scratch(&mut self, io: &mut D, need: usize) -> Option<&mut D::Scratch> {
        let room = match self.parts.last_mut() {
            Some(Part::Scratch(last)) => last.spare().len(),
            _ => 0,
        };
        if room < need {
            let mut fresh = io.scratch()?;
            if fresh.spare().len() < need {
                return None;
            }
            self.parts.push(Part::Scratch(fresh));
        }
        self.bytes += need;
        match self.parts.last_mut() {
            Some(Part::Scratch(last)) => Some(last),
            _ => None,
        }
    }

    pub(crate) fn push(&mut self, part: Part<D>) {
        let bytes = part.bytes().len();
        self.bytes += bytes;
        self.wrote(bytes);
        self.parts.push(part);
    }

    /// Puts a head (rare: not of a hit) behind what is there, in one part with the head before it.
    pub(crate) fn push_head(&mut self, head: Vec<u8>) {
        self.bytes += head.len();
        self.wrote(head.len());
        let whole = match self.parts.pop() {
            Some(Part::Heap(before)) => {
                let mut whole = before.into_vec();
                whole.extend_from_slice(&head);
                whole
            }
            Some(other) => {
                self.parts.push(other);
                head
            }
            None => head,
        };
        self.parts.push(Part::Heap(whole.into_boxed_slice()));
    }

    /// Hands everything to the driver.
    pub(crate) fn send(&mut self, io: &mut D, socket: SocketId) {
        self.bytes = 0;
        io.send(socket, &mut self.parts);
    }

    pub(crate) fn clear(&mut self) {
        self.parts.clear();
        self.bytes = 0;
    }

    /// Bytes to be sent, for the time they may take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl<D: Driver> Serving<D> {
    /// The next piece of the body within `window` bytes, and moves past it.
    pub(crate) fn next(
        &mut self,
        window: usize,
    ) -> Option<(<D::Memory as Memory>::Pin, Range<u32>)> {
        let (pin, start, end) = self.resident.piece(self.offset)?;
        let left = u32::try_from(self.end.saturating_sub(self.offset)).unwrap_or(u32::MAX);
        let end = end.min(start.saturating_add(left));
        let end = end.min(start.saturating_add(u32::try_from(window).unwrap_or(u32::MAX)));
        self.offset += u64::from(end.saturating_sub(start));
        Some((pin, start..end))
    }
}

impl<D: Driver> Exchange<D> {
    /// What the access log gets of it.
    pub(crate) fn said(&self) -> Said<'_> {
        Said {
            peer: self.peer,
            head: &self.head,
            id: &self.request_id,
        }
    }

    pub(crate) fn new(
        asked: Asked,
        timing: Timing,
        cache: CacheLabel,
        id: &[u8],
        body: BodyLength,
        facts: RequestFacts,
    ) -> Self {
        Self {
            asked,
            timing,
            cache,
            status: 0,
            why: "miss",
            request_id: id.into(),
            body: has_body(body).then(|| BodyDecoder::new(body)),
            head: Box::default(),
            peer: None,
            facts,
            own: Box::default(),
            about: About::default(),
            tries: 0,
            answer: Answer::Fetching(Ticket::NONE),
        }
    }

    /// Bytes of the client belong to this exchange: its body, or a tunnel.
    pub(crate) fn takes_input(&self) -> bool {
        self.body.is_some() || self.tunnel().is_some()
    }

    /// The fetch whose connection is the other end of a tunnel.
    pub(crate) fn tunnel(&self) -> Option<Ticket> {
        match self.answer {
            Answer::Tunnel(ticket) => Some(ticket),
            _ => None,
        }
    }
}

impl Asked {
    /// Bytes that could not be read as a request: the connection ends after the answer.
    pub(crate) fn unreadable(start: Stamp) -> Self {
        Self {
            start,
            method: MethodLabel::Other,
            route: RouteLabel::Invalid,
            version: Version::Http11,
            head_only: false,
            keep_alive: false,
        }
    }
}
