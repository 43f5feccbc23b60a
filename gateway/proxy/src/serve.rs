//! Answers to clients: hits in one piece, objects and streams window by window.

use std::collections::VecDeque;
use std::rc::Rc;

use base::{Driver, Memory, Moment, Part, Scratch as _, SocketId, Stamp, limits};
use cache::policy::RequestFacts;
use cache::{BodyState, NodeStore, Object, Resident};
use http::{BodyLength, Name};
use telemetry::{CacheLabel, RequestRecord, RouteLabel, ShardCells, Stage};

use crate::Proxy;
use crate::answer::{self, HIT_ROOM, Own, Reserved, Sink as _, Told, error_body};
use crate::body;
use crate::client::{About, Answer, Asked, Exchange, Framing, Output, Patience, Serving, Work};
use crate::decide::Question;
use crate::fetch;
use crate::notes::{Notes, Over};
use crate::present::Served;
use crate::read::Flow;
use crate::scribe::{Said, Scribe};
use crate::settings::Settings;
use crate::table::Ticket;
use crate::timing::Timing;

/// What a step of an answer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// More when the kernel took what there is, or more has come.
    Waiting,
    /// The answer is whole in the output.
    Over,
    /// The answer cannot be made whole: the client must see that it is cut.
    Cut,
}

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    /// A fresh object: small ones go behind their head in one copy, larger ones are sent from where they lie.
    #[inline]
    pub(crate) fn serve_hit(
        &mut self,
        io: &mut D,
        question: &Question<'_>,
        resident: &Rc<Resident<D::Memory>>,
        facts: &RequestFacts,
        served: Served,
    ) -> Flow {
        let (socket, asked, id) = (question.socket, question.asked, question.id);
        let from = io.stamp();
        let Some(client) = self.clients.at(socket) else {
            return Flow::Wait;
        };
        let Some(work) = client.work.as_mut() else {
            return Flow::Wait;
        };
        let object = &resident.object;
        let body = if asked.head_only {
            Some(&[][..])
        } else {
            resident.whole()
        };
        let body = body.filter(|body| body.len() <= limits::COPY_BODY_BYTES_MAX);
        let settings = &self.settings;
        let prefix = resident.prefix(|| prefix_of(settings, object, asked.route));
        let need = prefix.len() + HIT_ROOM + id.len() + body.map_or(0, <[u8]>::len);
        let lifetime = &object.terms.lifetime;
        let age = lifetime.age(io.now().wall);
        let life = answer::Life {
            age,
            fresh_for: lifetime.fresh_for,
            stale: served.detail(),
        };
        if need <= limits::SCRATCH_BYTES {
            let Some(scratch) = work.output.scratch(io, need) else {
                return Flow::Parched;
            };
            let mut out = Reserved::new(scratch.spare());
            answer::hit_head(&mut out, prefix, life, &asked, id);
            out.put(body.unwrap_or_default());
            let used = out.used();
            scratch.advance(used);
            work.output.wrote(used);
        } else {
            let mut head = Vec::with_capacity(need);
            answer::hit_head(&mut head, prefix, life, &asked, id);
            head.extend_from_slice(body.unwrap_or_default());
            work.output.push(Part::Heap(head.into_boxed_slice()));
        }
        let status = object.head.status;
        let key = object.key.hash().short();
        self.encoded = io.stamp();
        let is_traced = question.request.fields.has(Name::Traceparent);
        let is_drawn = body.is_some() && self.scribe.draws(status);
        if body.is_some() && !is_traced && !is_drawn {
            let before = question.reading.spent_by(from, self.encoded);
            let label = served.label();
            work.record_at_once(asked, (status, label), before, key, self.backlog);
            return self.answered(socket, asked);
        }
        let mut timing = Timing::looking_up(&question.reading);
        timing.enter(Stage::Encode, from);
        timing.enter(Stage::Send, self.encoded);
        let label = served.label();
        let about = About {
            key,
            ..question.about(self.backlog)
        };
        if body.is_some() {
            if is_drawn {
                let asker = client.source.asker(work, io, socket);
                self.scribe.say(work, &question.said(asker));
            }
            work.record(asked, (status, label), &timing, about);
            return self.answered(socket, asked);
        }
        let mut exchange = Exchange::new(asked, timing, label, &[], BodyLength::Empty, *facts);
        exchange.status = status;
        exchange.about = about;
        if self.cells.log.is_on() {
            (exchange.head, exchange.request_id) = (question.head.into(), question.id.into());
            exchange.peer = client.source.asker(work, io, socket);
        }
        exchange.answer = Answer::Serving(Serving {
            resident: Rc::clone(resident),
            offset: 0,
            end: u64::MAX,
            pieces: VecDeque::new(),
            framing: Framing::Length,
            flight: None,
            spill: None,
        });
        work.exchange = Some(exchange);
        Flow::Wait
    }

    /// An answer of the gateway's own.
    pub(crate) fn answer_own(
        &mut self,
        io: &mut D,
        question: &Question<'_>,
        asked: Asked,
        mut timing: Timing,
        own: &Own<'_>,
    ) -> Flow {
        let (socket, id) = (question.socket, question.id);
        let Some(client) = self.clients.at(socket) else {
            return Flow::Wait;
        };
        let Some(work) = client.work.as_mut() else {
            return Flow::Wait;
        };
        let date = *self.date.at(io.now().wall);
        let need = answer::own_room(own);
        if need <= limits::SCRATCH_BYTES {
            let Some(scratch) = work.output.scratch(io, need) else {
                return Flow::Parched;
            };
            let mut out = Reserved::new(scratch.spare());
            answer::own(&mut out, own, &date, &asked, id);
            let used = out.used();
            scratch.advance(used);
            work.output.wrote(used);
        } else {
            let mut whole = Vec::with_capacity(need);
            answer::own(&mut whole, own, &date, &asked, id);
            work.output.push(Part::Heap(whole.into_boxed_slice()));
        }
        self.encoded = io.stamp();
        timing.enter(Stage::Send, self.encoded);
        let about = About {
            backlog: self.backlog,
            ..About::default()
        };
        if self.scribe.draws(own.status) {
            let asker = client.source.asker(work, io, socket);
            self.scribe.say(work, &question.said(asker));
        }
        work.record(asked, (own.status, CacheLabel::None), &timing, about);
        self.answered(socket, asked)
    }

    /// An error to a client whose request is over with it. Never waits for scratch: it must get out.
    pub(crate) fn answer_error(
        &mut self,
        io: &mut D,
        socket: SocketId,
        asked: Asked,
        status: u16,
        reason: &str,
    ) {
        self.answer_error_to(io, socket, asked, (status, reason), None);
    }

    /// The same; `bytes` are what the client sent, where they no longer wait to be read.
    pub(crate) fn answer_error_to(
        &mut self,
        io: &mut D,
        socket: SocketId,
        mut asked: Asked,
        (status, reason): (u16, &str),
        bytes: Option<&[u8]>,
    ) {
        let date = *self.date.at(io.now().wall);
        let draining = self.draining;
        let Some(client) = self.clients.at(socket) else {
            return;
        };
        let Some(work) = client.work.as_mut() else {
            return;
        };
        let exchange = work.exchange.take();
        let unread = exchange.as_ref().is_some_and(Exchange::takes_input);
        let unread = unread || asked.route == RouteLabel::Invalid;
        asked.keep_alive &= !unread && !draining;
        let id = exchange
            .as_ref()
            .map_or(&b"-"[..], |exchange| &exchange.request_id);
        let body = error_body(status, reason);
        let told = exchange
            .as_ref()
            .map(|exchange| Told::forwarded(exchange.why, None));
        let own = Own {
            status,
            content_type: b"text/plain; charset=utf-8",
            body: &body,
            told,
        };
        let mut timing = exchange
            .as_ref()
            .map_or(Timing::new(asked.start), |exchange| exchange.timing);
        timing.enter(Stage::Encode, io.stamp());
        let mut whole = Vec::with_capacity(answer::own_room(&own));
        answer::own(&mut whole, &own, &date, &asked, id);
        timing.enter(Stage::Send, io.stamp());
        let (cache, about) = exchange
            .as_ref()
            .map_or((CacheLabel::None, About::default()), |exchange| {
                (exchange.cache, exchange.about)
            });
        work.output.push(Part::Heap(whole.into_boxed_slice()));
        if self.scribe.draws(status) {
            let peer = client.source.asker(work, io, socket);
            match (&exchange, bytes) {
                (Some(exchange), _) => self.scribe.say(work, &exchange.said()),
                (None, Some(head)) => self.scribe.say(work, &Said { peer, head, id }),
                (None, None) => {
                    let head: Box<[u8]> = work.input.first().into();
                    self.scribe.say(
                        work,
                        &Said {
                            peer,
                            head: &head,
                            id,
                        },
                    );
                }
            }
        }
        work.record(asked, (status, cache), &timing, about);
        self.answered(socket, asked);
        if unread {
            self.answered_unread(socket);
        }
        self.touch(socket);
    }

    /// After an answer: the connection goes on, or ends once it is sent.
    pub(crate) fn answered(&mut self, socket: SocketId, asked: Asked) -> Flow {
        if !asked.keep_alive
            && let Some(client) = self.clients.at(socket)
        {
            client.last = true;
        }
        Flow::Next
    }

    /// After an answer that left bytes of the request unread.
    pub(crate) fn answered_unread(&mut self, socket: SocketId) {
        if let Some(client) = self.clients.at(socket) {
            client.last = true;
            client.linger = true;
        }
    }

    /// Brings a client's answer forward and sends what there is, once a turn.
    pub(crate) fn flush(&mut self, io: &mut D, socket: SocketId) {
        match self.clients.at(socket) {
            Some(client) => client.dirty = false,
            None => return,
        }
        if self
            .exchange(socket)
            .is_some_and(|exchange| exchange.takes_input())
        {
            self.advance(io, socket);
        }
        loop {
            match self.step(io, socket) {
                Step::Waiting => break,
                Step::Over => {
                    self.finish(io, socket);
                    self.advance(io, socket);
                }
                Step::Cut => return self.cut(io, socket),
            }
        }
        self.send(io, socket);
        self.settle(io, socket);
    }

    /// Puts the next window of the current answer into the output.
    fn step(&mut self, io: &mut D, socket: SocketId) -> Step {
        let Some(work) = self
            .clients
            .at(socket)
            .and_then(|client| client.work.as_mut())
        else {
            return Step::Waiting;
        };
        let Some(exchange) = work.exchange.as_mut() else {
            return Step::Waiting;
        };
        match &mut exchange.answer {
            Answer::Following(..) | Answer::Fetching(_) => Step::Waiting,
            Answer::Serving(_) => match serve_window(work) {
                Err(spill) => {
                    if let Some(exchange) = work.exchange.as_mut() {
                        exchange.answer = spill;
                    }
                    self.step(io, socket)
                }
                Ok(step) => step,
            },
            Answer::Streaming(ticket, framing) => {
                let (ticket, framing) = (*ticket, *framing);
                self.stream_window(io, socket, ticket, framing)
            }
            Answer::Tunnel(ticket) => {
                let ticket = *ticket;
                self.stream_window(io, socket, ticket, Framing::Close)
            }
        }
    }

    /// Passes on what a fetch holds for this client.
    fn stream_window(
        &mut self,
        io: &mut D,
        socket: SocketId,
        ticket: Ticket,
        framing: Framing,
    ) -> Step {
        let Some(fetch) = self.fetches.at(ticket) else {
            return Step::Cut;
        };
        let Some(work) = self
            .clients
            .at(socket)
            .and_then(|client| client.work.as_mut())
        else {
            return Step::Waiting;
        };
        while work.output.has_room()
            && let Some(held) = fetch.held.pop_front()
        {
            body::push(&mut work.output, held.bytes.part(held.range), framing);
        }
        if fetch.stage == fetch::Stage::Done && fetch.held.is_empty() && work.output.has_room() {
            if framing == Framing::Chunked {
                let trailers = fetch
                    .decoder
                    .as_ref()
                    .map_or(&[][..], |decoder| decoder.trailers());
                body::push_last_chunk(&mut work.output, trailers);
            }
            self.fetches.remove(ticket);
            return Step::Over;
        }
        self.resume_origin(io, ticket);
        Step::Waiting
    }

    /// The answer under way is whole in the output.
    fn finish(&mut self, io: &D, socket: SocketId) {
        let Some(work) = self
            .clients
            .at(socket)
            .and_then(|client| client.work.as_mut())
        else {
            return;
        };
        let Some(mut exchange) = work.exchange.take() else {
            return;
        };
        exchange.timing.enter(Stage::Send, io.stamp());
        let timing = &exchange.timing;
        let (asked, status, cache) = (exchange.asked, exchange.status, exchange.cache);
        if self.scribe.draws(status) {
            self.scribe.say(work, &exchange.said());
        }
        work.record(asked, (status, cache), timing, exchange.about);
        if work.output.is_empty() && !work.sending {
            self.count_ended(socket, io.stamp());
        }
        self.answered(socket, exchange.asked);
        if let Answer::Serving(serving) = &exchange.answer
            && let Some(flight) = &serving.flight
        {
            self.disown(io, socket, flight.id());
        }
        if exchange.body.is_some() {
            // It would be taken for the next request.
            self.answered_unread(socket);
        }
    }

    /// Hands the output to the driver, unless a message is still with it.
    fn send(&mut self, io: &mut D, socket: SocketId) {
        let Some(work) = self
            .clients
            .at(socket)
            .and_then(|client| client.work.as_mut())
        else {
            return;
        };
        if work.sending || work.output.is_empty() {
            return;
        }
        let bytes = work.output.bytes() as u64;
        work.sending = true;
        // The last answer is whole unless its exchange is still here.
        work.records_sending = work.records.len();
        work.output.send(io, socket);
        self.expect_taking(io, socket, bytes);
    }

    /// The kernel took a message: its answers are counted.
    pub(crate) fn client_sent(&mut self, io: &mut D, socket: SocketId) {
        let end = self.reaped;
        let Some(client) = self.clients.at(socket) else {
            return;
        };
        let Some(work) = client.work.as_mut() else {
            return;
        };
        work.sending = false;
        let sent = work.records_sending.min(work.records.len());
        let whole = |record, rare| Over {
            record,
            rare,
            socket,
            end,
            whole: true,
        };
        if work.rares.is_empty() {
            for record in work.records.get(..sent).unwrap_or_default() {
                count(&self.cells, &mut self.notes, &whole(record, None));
            }
        } else {
            for (record, rare) in work.told(sent) {
                count_rare(&self.cells, &mut self.notes, &whole(record, rare));
            }
        }
        if !work.sayings.is_empty() {
            self.scribe.write(work, sent, socket, end, true);
        }
        work.forget(sent);
        work.records_sending = 0;
        if let Some(exchange) = &work.exchange {
            let tunnel = exchange.tunnel();
            if exchange.body.is_some() {
                self.await_body(io, socket);
            } else {
                self.set_patience(socket, Patience::Answer, Moment(u64::MAX));
            }
            if let Some(ticket) = tunnel {
                self.tunnel_moved(io, ticket);
            }
        } else if work.output.is_empty() && work.input.is_empty() {
            return self.settle(io, socket);
        }
        self.advance(io, socket);
        self.touch(socket);
    }

    /// Counts answers that ended without another byte: what there was of them is with the kernel.
    #[cold]
    pub(crate) fn count_ended(&mut self, socket: SocketId, end: Stamp) {
        let client = self.clients.at(socket);
        if let Some(work) = client.and_then(|client| client.work.as_mut()) {
            let to = (&*self.cells, &mut self.notes, &mut self.scribe);
            count_all(to, work, (socket, end), true);
            work.forget(work.records.len());
        }
    }

    /// Counts requests whose answers did not get out whole.
    pub(crate) fn count_unsent(&mut self, socket: SocketId, work: &Work<D>) {
        let to = (&*self.cells, &mut self.notes, &mut self.scribe);
        count_all(to, work, (socket, self.reaped), false);
    }
}

/// What is the same in the heads of all hits on an object. A key has one route: what that makes of its answers is made of them
/// here, once.
#[cold]
fn prefix_of<M: Memory>(settings: &Settings, object: &Object<M>, route: RouteLabel) -> Vec<u8> {
    let prefix = answer::hit_prefix(object);
    match settings.answer_edits(route) {
        Some(edits) => edits.apply(&prefix),
        None => prefix,
    }
}

/// Counts all answers on a connection.
fn count_all<D: Driver>(
    (cells, notes, scribe): (&ShardCells, &mut Notes, &mut Scribe),
    work: &Work<D>,
    (socket, end): (SocketId, Stamp),
    whole: bool,
) {
    let all = work.records.len();
    for (record, rare) in work.told(all) {
        let over = Over {
            record,
            rare,
            socket,
            end,
            whole,
        };
        count_rare(cells, notes, &over);
    }
    scribe.write(work, all, socket, end, whole);
}

/// The next window of a stored body. `Err` with what follows where the object outgrew its place.
fn serve_window<D: Driver>(work: &mut Work<D>) -> Result<Step, Answer<D>> {
    let Some(exchange) = work.exchange.as_mut() else {
        return Ok(Step::Waiting);
    };
    let Answer::Serving(serving) = &mut exchange.answer else {
        return Ok(Step::Waiting);
    };
    let output = &mut work.output;
    while output.has_room() {
        if serving.offset >= serving.end {
            let Some((before, part)) = serving.pieces.pop_front() else {
                return Ok(Step::Over);
            };
            (serving.offset, serving.end) = (part.start, part.end);
            output.push(Part::Heap(before));
            continue;
        }
        // Read before the bytes: what a final state then leaves unread is nothing.
        let state = serving.resident.object.body.state();
        let Some((pin, range)) = serving.next(output.window()) else {
            return after_published(serving, output, state);
        };
        body::push(output, Part::Pinned(pin, range), serving.framing);
    }
    Ok(Step::Waiting)
}

/// Everything published so far is in the output: wait for more, end, go on with the fetch, or give up.
fn after_published<D: Driver>(
    serving: &mut Serving<D>,
    output: &mut Output<D>,
    state: BodyState,
) -> Result<Step, Answer<D>> {
    if let Some(ticket) = serving.spill {
        return Err(Answer::Streaming(ticket, serving.framing));
    }
    match state {
        BodyState::Filling => Ok(Step::Waiting),
        BodyState::Failed => Ok(Step::Cut),
        BodyState::Complete => {
            if serving.framing == Framing::Chunked {
                body::push_last_chunk(output, &[]);
            }
            Ok(Step::Over)
        }
    }
}

#[inline]
fn count(cells: &ShardCells, notes: &mut Notes, over: &Over<'_>) {
    let record = over.record;
    let request = request_of(over);
    cells.requests_at_once(&request, record.count, record.before);
    notes.see(cells, over, request.duration);
}

#[inline(never)]
fn count_rare(cells: &ShardCells, notes: &mut Notes, over: &Over<'_>) {
    let request = request_of(over);
    match over.rare {
        Some(_) => cells.request_of(&request, &over.spent()),
        None => cells.requests_at_once(&request, over.record.count, over.record.before),
    }
    notes.see(cells, over, request.duration);
}

#[inline]
fn request_of(over: &Over<'_>) -> RequestRecord {
    let record = over.record;
    RequestRecord {
        method: record.asked.method,
        status: record.status,
        route: record.asked.route,
        cache: record.cache,
        duration: over.duration(),
    }
}
