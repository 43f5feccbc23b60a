//! A fetch: one request to an origin and what comes of it. It outlives the client that caused it when others follow or the
//! answer is being stored.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use base::{Driver, Memory, Moment, Part, SocketId, Span, Stamp, UpstreamId, Wall, limits};
use cache::policy::{RequestFacts, Rules};
use cache::{BodyWriter, Key, Leader, Object};
use http::{BodyDecoder, BodyLength, Method};
use telemetry::RouteLabel;

use crate::body;
use crate::client::{Bytes, Framing, Output};
use crate::settings::Upstream;
use crate::table::Ticket;
use crate::upstream::{Priority, Slot};

/// What to ask of which upstream; kept for a second try.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) upstream: UpstreamId,
    pub(crate) priority: Priority,
    /// Of what its upstream is balanced by.
    pub(crate) hash: u64,
    pub(crate) rules: Rules,
    pub(crate) head: Vec<u8>,
    /// The head that the client sent: which variant the answer is for.
    pub(crate) asked: Box<[u8]>,
    pub(crate) method: Method,
    pub(crate) facts: RequestFacts,
    pub(crate) body: BodyLength,
    /// The client asked for an upgrade.
    pub(crate) upgrade: bool,
    /// The key its answer concerns: stored under it, or invalidated by an unsafe method.
    pub(crate) key: Option<Key>,
    /// Why it goes forward, for `Cache-Status`.
    pub(crate) why: &'static str,
    /// More of why.
    pub(crate) detail: Option<&'static str>,
    /// Which rules of fields it went under.
    pub(crate) route: RouteLabel,
    /// Its connection is told of one client and carries nothing else.
    pub(crate) is_alone: bool,
}

/// A request to an origin under way.
pub(crate) struct Fetch<D: Driver> {
    pub(crate) order: Box<Order>,
    pub(crate) stage: Stage,
    /// The connection, once there is one.
    pub(crate) socket: Option<SocketId>,
    /// Endpoints that failed it.
    pub(crate) tried: Vec<Slot>,
    /// A second connection that the request was sent on for the first one's slowness.
    pub(crate) hedge: Option<SocketId>,
    /// It went out on a second one already.
    pub(crate) hedged: bool,
    /// A pooled connection turned out dead: only new ones from now on.
    pub(crate) fresh_only: bool,
    /// The client that sends the body and gets what is not stored; none of a refresh.
    pub(crate) client: Option<SocketId>,
    pub(crate) leader: Option<Leader<D::Memory>>,
    /// The stored answer that the origin is asked to confirm.
    pub(crate) basis: Option<Arc<Object<D::Memory>>>,
    /// What of a stored part's representation the origin is asked for instead of all that the client wants.
    pub(crate) missing: Option<Box<Missing<D::Memory>>>,
    pub(crate) filling: Option<Filling<D>>,
    /// A copy for the store of what is passed on.
    pub(crate) copy: Option<Copy<D>>,
    /// The key's purges when it began.
    pub(crate) purges: u32,
    /// What was stored, confirmed; it is kept when the answer is whole.
    pub(crate) confirmed: Option<Arc<Object<D::Memory>>>,
    /// The beginning of a head that has not come whole.
    pub(crate) carry: Vec<u8>,
    pub(crate) decoder: Option<BodyDecoder>,
    /// Body bytes the client has not taken yet.
    pub(crate) held: VecDeque<Held<D>>,
    /// The origin has the whole request.
    pub(crate) asked_whole: bool,
    /// A byte of the request body was handed on.
    pub(crate) body_begun: bool,
    /// All of it that was handed on, where it may be sent again.
    pub(crate) kept: Option<Box<Kept>>,
    pub(crate) requested: Wall,
    /// When the origin was set to what it does now.
    pub(crate) since: Stamp,
    pub(crate) interim: usize,
    /// The origin keeps the connection after this answer.
    pub(crate) keeps_alive: bool,
    /// When it ends at the latest, its client gone.
    pub(crate) ends_by: Moment,
    /// When it ends at the latest, whoever waits.
    pub(crate) total_by: Moment,
    /// How often that was put off for the sake of clients on other shards.
    pub(crate) put_off: u8,
}

/// What a stored part lacks of what a client wants.
pub(crate) struct Missing<M: Memory> {
    pub(crate) part: Arc<Object<M>>,
    pub(crate) range: Range<u64>,
}

/// An answer on its way into the store.
pub(crate) struct Filling<D: Driver> {
    pub(crate) object: Arc<Object<D::Memory>>,
    pub(crate) writer: BodyWriter<D::Memory>,
}

/// What a copy is kept under when it is whole.
pub(crate) struct Copy<D: Driver> {
    pub(crate) filling: Filling<D>,
    pub(crate) leader: Leader<D::Memory>,
}

/// Body bytes to pass on.
pub(crate) struct Held<D: Driver> {
    pub(crate) bytes: Bytes<D>,
    pub(crate) range: Range<usize>,
}

/// A request body that may be sent again: what was handed on of it so far.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) bytes: Vec<u8>,
    /// Of a chunked one that is whole.
    pub(crate) trailers: Option<Vec<u8>>,
}

/// How far a fetch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its connection does not stand yet.
    Connecting,
    /// Waiting for the head of the final answer.
    Head,
    /// Reading the body.
    Body,
    /// Bytes pass both ways.
    Tunnel,
    /// The whole answer is here.
    Done,
}

/// A connection to an origin.
pub(crate) struct Conn<D: Driver> {
    pub(crate) upstream: UpstreamId,
    pub(crate) slot: Slot,
    /// Its fetch; none while it idles in the pool.
    pub(crate) fetch: Option<Ticket>,
    pub(crate) connected: bool,
    pub(crate) receiving: bool,
    pub(crate) output: Output<D>,
    pub(crate) sending: bool,
    /// It carries a tunnel.
    pub(crate) tunnel: bool,
    /// Our direction ends after what is to be sent (a tunnel whose client ended its own).
    pub(crate) ending: bool,
    /// It has ended.
    pub(crate) shut: bool,
    /// The kernel has taken the head of the request it carries now.
    pub(crate) asked: bool,
    /// It idles in the pool.
    pub(crate) pooled: bool,
    /// It counts among the requests under way at its endpoint.
    pub(crate) busy: bool,
    pub(crate) born: Moment,
    /// Requests it carried before this one.
    pub(crate) served: u32,
    pub(crate) deadline: Moment,
    pub(crate) scheduled: Moment,
}

impl<D: Driver> Fetch<D> {
    pub(crate) fn new(
        order: Box<Order>,
        basis: Option<Arc<Object<D::Memory>>>,
        missing: Option<Box<Missing<D::Memory>>>,
        client: Option<SocketId>,
        leader: Option<Leader<D::Memory>>,
        requested: Wall,
    ) -> Self {
        Self {
            asked_whole: matches!(order.body, BodyLength::Empty | BodyLength::Length(0)),
            order,
            stage: Stage::Connecting,
            socket: None,
            tried: Vec::new(),
            hedge: None,
            hedged: false,
            kept: None,
            fresh_only: false,
            client,
            leader,
            basis,
            missing,
            filling: None,
            copy: None,
            purges: 0,
            confirmed: None,
            carry: Vec::new(),
            decoder: None,
            held: VecDeque::new(),
            body_begun: false,
            requested,
            since: Stamp::default(),
            interim: 0,
            keeps_alive: false,
            ends_by: Moment(u64::MAX),
            total_by: Moment(u64::MAX),
            put_off: 0,
        }
    }

    /// After which wait it is sent to a second endpoint: only what is safe to do twice, costs no body and was not sent twice
    /// yet.
    pub(crate) fn hedges(&self, upstream: &Upstream) -> Option<Span> {
        let may = self.order.method == Method::Get
            && !self.hedged
            && !self.order.upgrade
            && matches!(self.order.body, BodyLength::Empty | BodyLength::Length(0));
        upstream.hedge_after.filter(|_| may)
    }

    /// Keeps body bytes that are handed on, as long as all of them are kept and no more than `max`.
    pub(crate) fn keep_body(&mut self, bytes: &[u8], pieces: &[Range<usize>], max: usize) {
        if !self.body_begun && is_idempotent(self.order.method) {
            self.kept = Some(Box::default());
        }
        let Some(kept) = &mut self.kept else {
            return;
        };
        let size: usize = pieces.iter().map(ExactSizeIterator::len).sum();
        if kept.bytes.len() + size > max {
            self.kept = None;
            return;
        }
        let pieces = pieces.iter().filter_map(|piece| bytes.get(piece.clone()));
        pieces.for_each(|piece| kept.bytes.extend_from_slice(piece));
    }

    pub(crate) fn keep_trailers(&mut self, trailers: &[u8]) {
        if let Some(kept) = &mut self.kept {
            kept.trailers = Some(trailers.to_vec());
        }
    }

    /// Puts again what was handed on of the body before.
    pub(crate) fn repeat_body(&self, output: &mut Output<D>) {
        let Some(kept) = &self.kept else {
            return;
        };
        let framing = match self.order.body {
            BodyLength::Chunked => Framing::Chunked,
            _ => Framing::Length,
        };
        if !kept.bytes.is_empty() {
            let again = Part::Heap(kept.bytes.clone().into_boxed_slice());
            body::push(output, again, framing);
        }
        if let Some(trailers) = &kept.trailers {
            body::push_last_chunk(output, trailers);
        }
    }

    /// It goes on without the client it was for, or without any from the start: for a bounded time.
    pub(crate) fn leave_unattended(&mut self, now: Moment) {
        self.client = None;
        self.ends_by = now + limits::UNATTENDED_FETCH_MAX;
    }

    /// Whether the request may be sent again: no byte of an answer came, and either nobody can have acted on it or
    /// acting twice is the same as once (RFC 9110 §9.2.2).
    pub(crate) fn may_repeat(&self) -> bool {
        matches!(self.stage, Stage::Connecting | Stage::Head)
            && self.carry.is_empty()
            && self.interim == 0
            && (!self.body_begun || self.kept.is_some())
            && (self.stage == Stage::Connecting || is_idempotent(self.order.method))
    }
}

/// RFC 9110 §9.2.2.
pub(crate) fn is_idempotent(method: Method) -> bool {
    matches!(
        method,
        Method::Get | Method::Head | Method::Put | Method::Delete | Method::Options | Method::Trace
    )
}
