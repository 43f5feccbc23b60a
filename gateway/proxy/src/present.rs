//! A stored answer as one request gets it: whole, in parts (RFC 9110 §14), or as word that the client has it already
//! (§15.4.5).

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use base::{Driver, Memory, Part, Scratch as _, SocketId, limits};
use cache::policy::{self, RequestFacts};
use cache::{BodyState, Flight, NodeStore, Object, Resident};
use http::range::{Ranges, Resolved};
use http::{Fields, Name, Parsed, parse_request};
use telemetry::{CacheLabel, Stage};

use crate::Proxy;
use crate::answer::{self, HEAD_ROOM, REQUEST_ID_MAX, Reserved, Sink as _, Told};
use crate::client::{About, Answer, Framing, Serving};
use crate::decide::Question;
use crate::read::Flow;

/// On which ground a stored answer serves without asking the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    Fresh,
    /// Why it may be stale, for `Cache-Status`.
    Stale(&'static str),
}

/// What a request gets of a stored answer.
enum Shape {
    Whole,
    NotModified,
    /// Ranges of a representation, and its length where it is known.
    Parts(Vec<Range<u64>>, Option<u64>),
    Unsatisfiable(u64),
}

impl Served {
    pub(crate) fn label(self) -> CacheLabel {
        match self {
            Self::Fresh => CacheLabel::Hit,
            Self::Stale(_) => CacheLabel::Stale,
        }
    }

    pub(crate) fn detail(self) -> Option<&'static str> {
        match self {
            Self::Fresh => None,
            Self::Stale(why) => Some(why),
        }
    }
}

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    /// Answers from the store.
    #[inline]
    pub(crate) fn serve_stored(
        &mut self,
        io: &mut D,
        question: &Question<'_>,
        resident: &Rc<Resident<D::Memory>>,
        facts: &RequestFacts,
        served: Served,
    ) -> Flow {
        if let Served::Stale(why) = served {
            self.cells.served_stale.add(why);
        }
        if question.tries == 0 {
            if !facts.conditional && !facts.range {
                return self.serve_hit(io, question, resident, facts, served);
            }
            match shape(&question.request.fields, facts, &resident.object) {
                Shape::Whole => return self.serve_hit(io, question, resident, facts, served),
                Shape::NotModified => {
                    return self.serve_not_modified(io, question, &resident.object, served);
                }
                Shape::Parts(..) | Shape::Unsatisfiable(_) => {}
            }
        }
        let exchange = self.exchange_of(io, question, *facts, served.label());
        self.begin(io, question.socket, exchange);
        let told = Told::hit(served);
        self.serve_object(io, question.socket, Rc::clone(resident), told, None);
        Flow::Wait
    }

    /// 304 from the store, in one piece.
    fn serve_not_modified(
        &mut self,
        io: &mut D,
        question: &Question<'_>,
        object: &Object<D::Memory>,
        served: Served,
    ) -> Flow {
        let now = io.now().wall;
        let Some(client) = self.clients.at(question.socket) else {
            return Flow::Wait;
        };
        let Some(work) = client.work.as_mut() else {
            return Flow::Wait;
        };
        let from = io.stamp();
        let need = object.head.fields.len() + HEAD_ROOM + REQUEST_ID_MAX;
        let told = Told::hit(served);
        let write = |out: &mut dyn FnMut(&[u8])| {
            answer::not_modified_head(out, object, now, told, &question.asked, question.id);
        };
        if let Some(edits) = self.settings.answer_edits(question.asked.route) {
            let mut out = Vec::with_capacity(need);
            write(&mut |bytes| out.extend_from_slice(bytes));
            let out = edits.apply(&out);
            work.output.push(Part::Heap(out.into_boxed_slice()));
        } else if need <= limits::SCRATCH_BYTES {
            let Some(scratch) = work.output.scratch(io, need) else {
                return Flow::Parched;
            };
            let mut out = Reserved::new(scratch.spare());
            write(&mut |bytes| out.put(bytes));
            let used = out.used();
            scratch.advance(used);
            work.output.wrote(used);
        } else {
            let mut out = Vec::with_capacity(need);
            write(&mut |bytes| out.extend_from_slice(bytes));
            work.output.push(Part::Heap(out.into_boxed_slice()));
        }
        self.encoded = io.stamp();
        let mut timing = question.timing();
        timing.enter(Stage::Encode, from);
        timing.enter(Stage::Send, self.encoded);
        let about = About {
            key: object.key.hash().short(),
            ..question.about(self.backlog)
        };
        if self.scribe.draws(304) {
            let asker = client.source.asker(work, io, question.socket);
            self.scribe.say(work, &question.said(asker));
        }
        work.record(question.asked, (304, served.label()), &timing, about);
        self.answered(question.socket, question.asked)
    }

    /// Begins to serve an object to a client whose exchange is set up.
    pub(crate) fn serve_object(
        &mut self,
        io: &mut D,
        socket: SocketId,
        resident: Rc<Resident<D::Memory>>,
        told: Told,
        flight: Option<Arc<Flight<D::Memory>>>,
    ) {
        let now = io.now().wall;
        let mut table = self.table.take().unwrap_or_default();
        let limits = self.settings.limits.head;
        let Some(exchange) = self.exchange(socket) else {
            return;
        };
        let object = &resident.object;
        let facts = exchange.facts;
        exchange.timing.enter(Stage::Encode, io.stamp());
        let shape = match facts.conditional || facts.range {
            false => Shape::Whole,
            true => match parse_request(&exchange.head, &mut table, &limits) {
                Parsed::Whole(request) => shape(&request.fields, &facts, object),
                _ => Shape::Whole,
            },
        };
        let mut written = write_head(object, &shape, now, told, exchange);
        let own = std::mem::take(&mut exchange.own);
        if !own.is_empty() {
            // Before the line that ends the head.
            let end = written.head.len().saturating_sub(2);
            written.head.splice(end..end, own);
        }
        let filling = object.body.state() == BodyState::Filling;
        let next = if filling {
            Stage::UpstreamBody
        } else {
            Stage::Send
        };
        let resident_key = object.key.hash().short();
        let serving = Serving {
            offset: written.first.start,
            end: written.first.end,
            pieces: written.pieces,
            framing: written.framing,
            resident,
            flight,
            spill: None,
        };
        exchange.about.key = resident_key;
        exchange.timing.enter(next, io.stamp());
        exchange.status = written.status;
        exchange.asked.keep_alive &= written.framing != Framing::Close;
        exchange.answer = Answer::Serving(serving);
        let route = exchange.asked.route;
        if let Some(edits) = self.settings.answer_edits(route) {
            written.head = edits.apply(&written.head);
        }
        let client = self.clients.at(socket);
        if let Some(work) = client.and_then(|client| client.work.as_mut()) {
            work.output
                .push(Part::Heap(written.head.into_boxed_slice()));
        }
        self.table = Some(table);
        self.touch(socket);
    }
}

/// A head, and what of the body goes behind it.
struct Written {
    head: Vec<u8>,
    status: u16,
    framing: Framing,
    first: Range<u64>,
    pieces: VecDeque<(Box<[u8]>, Range<u64>)>,
}

fn write_head<D: Driver>(
    object: &Object<D::Memory>,
    shape: &Shape,
    now: base::Wall,
    told: Told,
    exchange: &crate::client::Exchange<D>,
) -> Written {
    let mut head = Vec::with_capacity(object.head.fields.len() + HEAD_ROOM + REQUEST_ID_MAX);
    let (asked, id) = (&exchange.asked, &exchange.request_id);
    let mut written = Written {
        head: Vec::new(),
        status: object.head.status,
        framing: Framing::Length,
        first: 0..u64::MAX,
        pieces: VecDeque::new(),
    };
    match shape {
        Shape::Whole => {
            written.framing = answer::stored_head(&mut head, object, now, told, asked, id);
        }
        Shape::NotModified => {
            let mut put = |bytes: &[u8]| head.extend_from_slice(bytes);
            answer::not_modified_head(&mut put, object, now, told, asked, id);
            (written.status, written.first) = (304, 0..0);
        }
        Shape::Unsatisfiable(length) => {
            answer::unsatisfiable_head(&mut head, object, *length, now, told, asked, id);
            (written.status, written.first) = (416, 0..0);
        }
        Shape::Parts(parts, length) => {
            written.status = 206;
            let content_type = object.head.field(Name::ContentType);
            let first = object.part.map_or(0, |part| part.first);
            let about = answer::PartHead {
                now,
                told,
                asked,
                id,
            };
            match parts.as_slice() {
                [part] => {
                    answer::part_head(&mut head, object, part, *length, &about);
                    written.first = part.start - first..part.end - first;
                }
                parts => {
                    written.pieces = answer::multipart(parts, first, *length, content_type, id);
                    let sizes = written.pieces.iter();
                    let total =
                        sizes.map(|(before, part)| before.len() as u64 + (part.end - part.start));
                    answer::multipart_head(&mut head, object, total.sum(), &about);
                    written.first = 0..0;
                }
            }
        }
    }
    if asked.head_only {
        written.first = 0..0;
        written.pieces.clear();
    }
    written.head = head;
    written
}

/// What the request gets of this object: conditions come first, and a range counts for a GET of a 200 only
/// (RFC 9110 §13.2.2, §14.2).
fn shape<M: Memory>(fields: &Fields<'_>, facts: &RequestFacts, object: &Object<M>) -> Shape {
    if let Some(part) = object.part {
        return shape_of_part(fields, part);
    }
    if object.head.status != 200 {
        return Shape::Whole;
    }
    let head = &object.head.fields;
    if facts.conditional && policy::is_not_modified(fields, &object.terms, head) {
        return Shape::NotModified;
    }
    // While the length is not known the whole is as good an answer as any (§14.2).
    let Some(length) = object.body.length().filter(|_| facts.range) else {
        return Shape::Whole;
    };
    let ranges = fields.first(Name::Range).and_then(Ranges::parse);
    let single = !fields.is_repeated(Name::Range);
    let Some(ranges) =
        ranges.filter(|_| single && policy::range_applies(fields, &object.terms, head))
    else {
        return Shape::Whole;
    };
    match ranges.resolve(length) {
        Resolved::Whole => Shape::Whole,
        Resolved::Unsatisfiable => Shape::Unsatisfiable(length),
        Resolved::Parts(parts) => Shape::Parts(parts.as_slice().to_vec(), Some(length)),
    }
}

/// What the request gets of a part that was found to hold what it asks for.
fn shape_of_part(fields: &Fields<'_>, part: cache::Part) -> Shape {
    let ranges = fields.first(Name::Range).and_then(Ranges::parse);
    match ranges.map(|ranges| ranges.resolve(part.whole())) {
        Some(Resolved::Parts(ranges)) => Shape::Parts(ranges.as_slice().to_vec(), part.complete),
        _ => Shape::Unsatisfiable(part.whole()),
    }
}
