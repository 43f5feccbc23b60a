//! From an origin's bytes to the head of its answer, and what is to become of it: stored, passed on, or a tunnel.

use std::mem;
use std::sync::Arc;

use base::{Closing, Driver, SocketId, Wall, limits};
use cache::policy::{self, HeadSays, Reason, Terms, Trouble};
use cache::{Body, BodyWriter, Brought, Head, Key, KeyView, Leader, NodeStore, Object, Variant};
use http::vary::Vary;
use http::{
    BodyDecoder, BodyLength, FieldTable, Method, Name, Parsed, Refusal, Response, parse_request,
    parse_response, repair_response,
};
use telemetry::{RouteLabel, UpstreamError, UpstreamStage};

use crate::Proxy;
use crate::answer::{self, PassedLength, Told};
use crate::client::{Answer, Bytes};
use crate::fetch::{Copy, Filling, Stage};
use crate::index_turn::Landing;
use crate::table::Ticket;

/// An object and the right to fill it.
pub(crate) type Reserved<M> = (Object<M>, BodyWriter<M>);

/// What to do after a head.
enum After {
    /// An interim answer: the next head follows.
    Again(usize),
    /// The body, or what passes in the tunnel, begins here.
    Body(usize),
    /// Bytes are missing.
    More,
    /// The fetch is over.
    Over,
}

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    pub(crate) fn origin_received(&mut self, io: &mut D, socket: SocketId, buffer: D::Received) {
        let Some(conn) = self.conns.at(socket) else {
            return;
        };
        let Some(ticket) = conn.fetch else {
            // Nobody asked for anything: whatever it is, it must not be the next one's answer.
            return self.close_conn(io, socket, Closing::Orderly);
        };
        let unsolicited = self.is_unsolicited(socket);
        if unsolicited && self.is_second(ticket, socket) {
            return self.second_failed(io, ticket);
        }
        if !unsolicited {
            self.settle_race(io, ticket, socket);
        }
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        match fetch.stage {
            Stage::Connecting | Stage::Head if unsolicited => {
                self.broke_before_answer(io, ticket, socket);
            }
            Stage::Connecting | Stage::Head => {
                let bytes = if fetch.carry.is_empty() {
                    Bytes::Buffer(buffer)
                } else {
                    fetch.carry.extend_from_slice(&buffer);
                    Bytes::Copied(mem::take(&mut fetch.carry))
                };
                self.read_heads(io, ticket, bytes);
            }
            Stage::Body => self.origin_body(io, ticket, Bytes::Buffer(buffer), 0),
            Stage::Tunnel => self.tunnel_down(io, ticket, Bytes::Buffer(buffer), 0),
            Stage::Done => {}
        }
    }

    /// Reads heads until the final one, then its body.
    fn read_heads(&mut self, io: &mut D, ticket: Ticket, bytes: Bytes<D>) {
        let mut table = self.table.take().unwrap_or_default();
        let mut at = 0;
        let after = loop {
            match self.read_head(io, ticket, &bytes, at, &mut table) {
                After::Again(length) => at += length,
                other => break other,
            }
        };
        self.table = Some(table);
        match after {
            After::Body(length) => {
                let at = at + length;
                match self.fetches.at(ticket).map(|fetch| fetch.stage) {
                    Some(Stage::Tunnel) => self.tunnel_down(io, ticket, bytes, at),
                    Some(_) => self.origin_body(io, ticket, bytes, at),
                    None => {}
                }
            }
            After::More => {
                if let Some(fetch) = self.fetches.at(ticket) {
                    fetch.carry = bytes.get(at..).unwrap_or_default().to_vec();
                }
            }
            After::Again(_) | After::Over => {}
        }
    }

    fn read_head(
        &mut self,
        io: &mut D,
        ticket: Ticket,
        bytes: &[u8],
        at: usize,
        table: &mut FieldTable,
    ) -> After {
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.is_empty() {
            return After::More;
        }
        let limits = self.settings.limits.head;
        match parse_response(rest, table, &limits) {
            Parsed::Whole(response) => self.head_arrived(io, ticket, &response, response.length),
            Parsed::Partial => After::More,
            Parsed::Refused(refusal) => {
                let Some((repaired, replaced)) = repair_response(rest) else {
                    return self.garbage(io, ticket, refusal);
                };
                match parse_response(&repaired, table, &limits) {
                    Parsed::Whole(response) => self.head_arrived(io, ticket, &response, replaced),
                    _ => self.garbage(io, ticket, refusal),
                }
            }
        }
    }

    fn garbage(&mut self, io: &mut D, ticket: Ticket, refusal: Refusal) -> After {
        self.fail(io, ticket, UpstreamError::Protocol, 502, refusal.reason);
        After::Over
    }

    fn head_arrived(
        &mut self,
        io: &mut D,
        ticket: Ticket,
        response: &Response<'_>,
        length: usize,
    ) -> After {
        let Some(fetch) = self.fetches.at(ticket) else {
            return After::Over;
        };
        match response.status {
            101 if fetch.order.upgrade => {
                self.upstream_took(ticket, UpstreamStage::FirstByte);
                self.switch(ticket, response);
                After::Body(length)
            }
            101 => {
                let reason = "the origin switched protocols unasked";
                self.fail(io, ticket, UpstreamError::Protocol, 502, reason);
                After::Over
            }
            100..=199 => {
                fetch.interim += 1;
                if fetch.interim > limits::INTERIM_ANSWERS_MAX {
                    let reason = "the origin sent too many interim answers";
                    self.fail(io, ticket, UpstreamError::Protocol, 502, reason);
                    return After::Over;
                }
                self.pass_interim(ticket, response);
                After::Again(length)
            }
            status => {
                self.endpoint_answered(io, ticket, status);
                if self.is_retried_status(io, ticket, status) {
                    self.try_again(io, ticket);
                    return After::Over;
                }
                self.upstream_took(ticket, UpstreamStage::FirstByte);
                self.final_head(io, ticket, response);
                After::Body(length)
            }
        }
    }

    /// The head of the final answer.
    fn final_head(&mut self, io: &mut D, ticket: Ticket, response: &Response<'_>) {
        let now = io.now().wall;
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        fetch.stage = Stage::Body;
        fetch.keeps_alive = response.keeps_alive() && !fetch.order.is_alone;
        fetch.decoder = Some(BodyDecoder::new(response.body(fetch.order.method)));
        if let Some(socket) = fetch.socket {
            self.expect_bytes(io, socket);
        }
        let overtaken = self.is_overtaken(ticket);
        self.invalidate(io, ticket, response);
        let trouble = Trouble::Status(response.status);
        if self.confirmed(io, ticket, response)
            || self.serve_stale(io, ticket, trouble)
            || self.completed(io, ticket, response)
        {
            return;
        }
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        let order = &fetch.order;
        let leads = fetch.leader.is_some();
        match policy::storable(&order.facts, response, fetch.requested, now, &order.rules) {
            _ if !leads => {
                if !overtaken {
                    self.copy_post(io, ticket, response);
                }
                self.pass_answer(io, ticket, response, None);
            }
            Ok(terms) if policy::part(response).is_some() => {
                self.copy(io, ticket, response, terms);
                self.pass_answer(io, ticket, response, None);
            }
            Ok(terms) => {
                if let Err(why) = self.store_answer(io, ticket, response, terms) {
                    self.pass_answer(io, ticket, response, Some(why));
                }
            }
            Err(reason) => {
                self.expect_no_storing(io, ticket, response, reason);
                self.pass_answer(io, ticket, response, Some(reason.as_str()));
            }
        }
    }

    /// Whether what is stored under the key was ended since the request was made.
    fn is_overtaken(&mut self, ticket: Ticket) -> bool {
        let fetch = self.fetches.at(ticket);
        let began = fetch.and_then(|fetch| Some((fetch.order.key.as_ref()?.hash(), fetch.purges)));
        began.is_some_and(|(hash, purges)| self.flights.purges(hash) != purges)
    }

    /// An answer to POST that is what GET would get (RFC 9110 §9.3.3) is kept for GET.
    fn copy_post(&mut self, io: &D, ticket: Ticket, response: &Response<'_>) {
        let now = io.now().wall;
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        let order = &fetch.order;
        if order.method != Method::Post || !response.fields.has(Name::ContentLocation) {
            return;
        }
        let Some(key) = order.key.as_ref().map(Key::view) else {
            return;
        };
        let target = (key.scheme, key.host, key.target);
        let times = (fetch.requested, now);
        let terms = policy::storable_post(&order.facts, response, target, times, &order.rules);
        // It invalidated what was there before it: that was no purge of its own.
        if let Some(key) = &order.key {
            fetch.purges = self.flights.purges(key.hash());
        }
        if let Ok(terms) = terms {
            self.copy(io, ticket, response, terms);
        }
    }

    /// Keeps a copy of an answer that is passed on, if there is room for it.
    fn copy(&mut self, io: &D, ticket: Ticket, response: &Response<'_>, terms: Terms) {
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        let (rules, purges) = (fetch.order.rules, fetch.purges);
        let (asked, route) = (fetch.order.asked.clone(), fetch.order.route);
        let (Some(key), Some(length)) = (fetch.order.key.clone(), response.content_length()) else {
            return;
        };
        let Some(variant) = self.variant_for((&asked, route), response) else {
            return;
        };
        let head = Head {
            status: response.status,
            fields: policy::head_fields(response, io.now().wall, &rules).into_boxed_slice(),
        };
        let leader = self.flights.alone_since(&key, self.shard, purges);
        if length > self.settings.object_bytes_max {
            self.cells.uncached_max_object.add(1);
            return;
        }
        let Some((object, writer)) = self.reserve(io, key, head, terms, variant, Some(length))
        else {
            self.cells.uncached_slab_full.add(1);
            return;
        };
        let object = Arc::new(object.of_part(policy::part(response)));
        if let Some(fetch) = self.fetches.at(ticket) {
            let filling = Filling { object, writer };
            fetch.copy = Some(Copy { filling, leader });
        }
    }

    /// What is not stored now will hardly be next time: for a while nobody waits for it. What it was to confirm is used no
    /// more.
    fn expect_no_storing(
        &mut self,
        io: &D,
        ticket: Ticket,
        response: &Response<'_>,
        reason: Reason,
    ) {
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        let Some(key) = fetch.order.key.clone() else {
            return;
        };
        // A refusal is about who asks: it says nothing of the answer, and one client's must not end it for all.
        let is_of_target = response.status < 400 || GONE.contains(&response.status);
        // What an answer to HEAD says of what is stored was acted on.
        let is_of_answer = !matches!(reason, Reason::Method | Reason::Authorization);
        let replaces = fetch.basis.is_some() && is_of_target && is_of_answer;
        // An origin in trouble now may answer next time, and what is one client's own says nothing of others'.
        let is_telling = is_of_target && !fetch.order.facts.is_unshared(false);
        if is_telling && reason.is_of_answer() {
            self.expect_passing(io, &key);
        }
        if replaces {
            self.purge(io, &key);
        }
    }

    /// For a while nobody waits for this key's answers.
    pub(crate) fn expect_passing(&self, io: &D, key: &Key) {
        let until = Wall::from_secs(io.now().wall.as_secs() + limits::PASSING_SECONDS);
        self.flights.pass_until(key.hash(), until);
    }

    /// Begins to store the answer and shares it with the followers; an error is why there is no room for it.
    fn store_answer(
        &mut self,
        io: &D,
        ticket: Ticket,
        response: &Response<'_>,
        terms: Terms,
    ) -> Result<(), &'static str> {
        let max = self.settings.object_bytes_max;
        let Some(fetch) = self.fetches.at(ticket) else {
            return Err("gone");
        };
        let length = match response.body(fetch.order.method) {
            BodyLength::Empty => Some(0),
            BodyLength::Length(length) => Some(length),
            BodyLength::Chunked | BodyLength::UntilClose => None,
        };
        let rules = fetch.order.rules;
        let (asked, route) = (fetch.order.asked.clone(), fetch.order.route);
        let Some(key) = fetch.order.key.clone() else {
            return Err("gone");
        };
        if length.is_some_and(|length| length > max) {
            self.cells.uncached_max_object.add(1);
            self.expect_passing(io, &key);
            return Err(Reason::TooLarge.as_str());
        }
        let Some(variant) = self.variant_for((&asked, route), response) else {
            self.expect_passing(io, &key);
            return Err("vary");
        };
        let head = Head {
            status: response.status,
            fields: policy::head_fields(response, io.now().wall, &rules).into_boxed_slice(),
        };
        let Some((object, writer)) = self.reserve(io, key, head, terms, variant, length) else {
            self.cells.uncached_slab_full.add(1);
            return Err("storage-full");
        };
        let object = Arc::new(object);
        self.publish(io, ticket, response, &object, Brought::Stored);
        if let Some(fetch) = self.fetches.at(ticket) {
            fetch.filling = Some(Filling { object, writer });
        }
        Ok(())
    }

    /// For which requests an answer is.
    pub(crate) fn variant_for(
        &mut self,
        (asked, route): (&[u8], RouteLabel),
        response: &Response<'_>,
    ) -> Option<Variant> {
        if !response.fields.has(Name::Vary) {
            return Some(Variant::default());
        }
        let Vary::Names(names) = Vary::read(response.fields.all(Name::Vary)) else {
            return None;
        };
        let route = self.settings.route_of(route)?;
        let edits = &route.rewrite.request;
        if names.as_slice().iter().any(|name| edits.is_varying(name)) {
            return None;
        }
        let mut table = FieldTable::new();
        match parse_request(asked, &mut table, &self.settings.limits.head) {
            Parsed::Whole(request) => Variant::of(response.fields.all(Name::Vary), &request.fields),
            _ => None,
        }
    }

    /// The origin confirmed what is stored (RFC 9111 §4.3.4): it serves on under its new head.
    fn confirmed(&mut self, io: &mut D, ticket: Ticket, response: &Response<'_>) -> bool {
        let now = io.now().wall;
        let Some(fetch) = self.fetches.at(ticket) else {
            return false;
        };
        let Some(basis) = fetch.basis.clone() else {
            return false;
        };
        let (facts, rules, requested) = (fetch.order.facts, fetch.order.rules, fetch.requested);
        let head_only = fetch.order.method == Method::Head && response.status == 200;
        if head_only {
            return self.head_confirmed(io, ticket, response, &basis);
        }
        if response.status != 304 {
            return false;
        }
        if !policy::speaks_of(response, &basis.terms, &basis.head.fields) {
            self.start_over(io, ticket, &basis.key);
            return true;
        }
        let (fields, terms) = policy::freshened(
            &facts,
            (basis.head.status, &basis.head.fields),
            response,
            (requested, now),
            &rules,
        );
        let refused = terms.err();
        let terms = terms.unwrap_or(basis.terms);
        let variant = self.variant_after(io, ticket, response, &basis);
        let object = Arc::new(basis.freshened(fields.into_boxed_slice(), terms, variant));
        // What is one client's by its credentials ends nothing for the others.
        if refused.is_some_and(|reason| reason != Reason::Authorization) {
            let key = object.key.clone();
            self.purge(io, &key);
        }
        let Some(fetch) = self.fetches.at(ticket) else {
            return true;
        };
        let brought = match refused {
            Some(reason) => {
                self.cells.not_stored.add(reason.as_str());
                Brought::Withdrawn(reason.as_str())
            }
            None => {
                fetch.confirmed = Some(Arc::clone(&object));
                Brought::Revalidated
            }
        };
        self.publish(io, ticket, response, &object, brought);
        true
    }

    /// Shares what a fetch brought with those who wait; its own client gets the lines besides that nobody else does.
    pub(crate) fn publish(
        &mut self,
        io: &D,
        ticket: Ticket,
        response: &Response<'_>,
        object: &Arc<Object<D::Memory>>,
        brought: Brought,
    ) {
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        let Some(leader) = &fetch.leader else {
            return;
        };
        let now = io.now().wall;
        leader.publish(Arc::clone(object), brought);
        let flight = leader.flight().id();
        let updates = brought != Brought::Stored;
        let own = policy::own_fields(response, updates, now, &fetch.order.rules);
        let client = fetch.client.filter(|_| !own.is_empty());
        self.moved.push(flight);
        if let Some(client) = client.filter(|client| self.follows(*client, flight))
            && let Some(exchange) = self.exchange(client)
        {
            exchange.own = own.into_boxed_slice();
        }
    }

    /// For which requests a stored answer is once another has updated its fields. Where it varies by others than before, what is
    /// stored as it was is used no more.
    fn variant_after(
        &mut self,
        io: &D,
        ticket: Ticket,
        response: &Response<'_>,
        basis: &Object<D::Memory>,
    ) -> Variant {
        let fetch = self.fetches.at(ticket);
        let asked = fetch.map(|fetch| (fetch.order.asked.clone(), fetch.order.route));
        let new = asked
            .filter(|_| response.fields.has(Name::Vary))
            .and_then(|(asked, route)| self.variant_for((&asked, route), response))
            .filter(|new| !new.varies_as(&basis.variant));
        let Some(new) = new else {
            return basis.variant.clone();
        };
        self.index_remove(io, basis.key.hash(), &basis.key.view());
        new
    }

    /// The answer speaks of something that is not stored, and nobody asked for: what led to it is used no more, and those who
    /// wait are decided on again.
    pub(crate) fn start_over(&mut self, io: &mut D, ticket: Ticket, key: &Key) {
        self.purge(io, key);
        self.drop_conn(io, ticket);
        let fetch = self.fetches.remove(ticket);
        if let Some(leader) = fetch.and_then(|fetch| fetch.leader) {
            self.lead_ends(&leader);
        }
    }

    /// An answer to HEAD speaks of what is stored for GET (RFC 9111 §4.3.5): it updates that, or ends its use; the client
    /// gets it as it is.
    fn head_confirmed(
        &mut self,
        io: &D,
        ticket: Ticket,
        response: &Response<'_>,
        basis: &Arc<Object<D::Memory>>,
    ) -> bool {
        let now = io.now().wall;
        let length = basis.body.length();
        let Some(fetch) = self.fetches.at(ticket) else {
            return false;
        };
        let (mut facts, rules, requested) = (fetch.order.facts, fetch.order.rules, fetch.requested);
        if basis.head.status != response.status {
            self.purge(io, &basis.key);
            return false;
        }
        match policy::head_says(response, &basis.terms, &basis.head.fields, length) {
            HeadSays::Nothing => {}
            HeadSays::Invalidate => {
                let key = basis.key.clone();
                self.purge(io, &key);
            }
            HeadSays::Update => {
                facts.method = Method::Get;
                let stored = (basis.head.status, &*basis.head.fields);
                let times = (requested, now);
                let (fields, terms) = policy::freshened(&facts, stored, response, times, &rules);
                let outdated = self
                    .fetches
                    .at(ticket)
                    .and_then(|fetch| fetch.leader.as_ref());
                let outdated = outdated.is_some_and(Leader::is_outdated);
                if let Ok(terms) = terms
                    && !outdated
                {
                    let variant = self.variant_after(io, ticket, response, basis);
                    let fields = fields.into_boxed_slice();
                    let object = Arc::new(basis.freshened(fields, terms, variant));
                    let basis = Some(Arc::clone(basis));
                    self.land(Landing {
                        object,
                        basis,
                        leader: None,
                    });
                }
            }
        }
        false
    }

    /// Ends a fetch by serving what is stored to those who wait for it, where trouble with the origin allows that
    /// (RFC 9111 §4.2.4, RFC 5861 §4).
    pub(crate) fn serve_stale(&mut self, io: &mut D, ticket: Ticket, trouble: Trouble) -> bool {
        let now = io.now().wall;
        let Some(fetch) = self.fetches.at(ticket) else {
            return false;
        };
        let (Some(basis), Some(_)) = (fetch.basis.clone(), &fetch.leader) else {
            return false;
        };
        let order = &fetch.order;
        let allowed =
            policy::stale_on_error(&order.facts, &basis.terms, now, trouble, &order.rules);
        let Some(why) = allowed else {
            return false;
        };
        let mut any = order.facts;
        any.stale_if_error = None;
        let for_any = policy::stale_on_error(&any, &basis.terms, now, trouble, &order.rules);
        let by_request = for_any.is_none();
        // Of the error nothing is wanted.
        self.drop_conn(io, ticket);
        let leader = self.fetches.remove(ticket).and_then(|fetch| fetch.leader);
        if let Some(leader) = leader {
            self.lead_ends(&leader);
            leader.publish(basis, Brought::Stale { why, by_request });
            leader.land();
        }
        true
    }

    /// Reserves memory for an object, evicting where there is none.
    pub(crate) fn reserve(
        &mut self,
        io: &D,
        key: Key,
        head: Head,
        terms: Terms,
        variant: Variant,
        length: Option<u64>,
    ) -> Option<Reserved<D::Memory>> {
        let max = self.settings.object_bytes_max;
        let (mut evicted, mut wanted) = (0, length.unwrap_or(0));
        let (body, writer) = loop {
            if let Some(reserved) = Body::new(&self.memory, length, max) {
                break reserved;
            }
            match self.index_make_room(io, wanted) {
                0 => return None,
                count => evicted += count,
            }
            if evicted > limits::ROOM_EVICTIONS_MAX {
                return None;
            }
            // What other fronts and sends hold comes back later: one more at a time.
            wanted = 1;
        };
        Some((Object::new(key, head, terms, variant, body), writer))
    }

    /// The answer is for its client alone: those who waited for it fetch for themselves.
    fn pass_answer(
        &mut self,
        io: &mut D,
        ticket: Ticket,
        response: &Response<'_>,
        detail: Option<&'static str>,
    ) {
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        if let Some(leader) = fetch.leader.take() {
            self.lead_ends(&leader);
            leader.pass();
        }
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        let detail = detail.or(fetch.order.detail);
        if let Some(why) = detail {
            self.cells.not_stored.add(why);
        }
        let told = Told::forwarded(fetch.order.why, detail);
        let length = match response.body(fetch.order.method) {
            BodyLength::Empty => PassedLength::NoBody(declared(response)),
            BodyLength::Length(length) => PassedLength::Body(Some(length)),
            BodyLength::Chunked | BodyLength::UntilClose => PassedLength::Body(None),
        };
        let Some(client) = fetch.client else {
            return self.abort(io, ticket);
        };
        let date = *self.date.at(io.now().wall);
        let draining = self.draining;
        let Some(exchange) = self.exchange(client) else {
            return self.abort(io, ticket);
        };
        exchange.timing.enter(telemetry::Stage::Encode, io.stamp());
        exchange.asked.keep_alive &= !draining && exchange.body.is_none();
        let mut head = Vec::with_capacity(response.length + answer::HEAD_ROOM);
        let id = &exchange.request_id;
        let framing = answer::passed_head(
            &mut head,
            response,
            length,
            &date,
            told,
            &exchange.asked,
            id,
        );
        exchange.asked.keep_alive &= framing != crate::client::Framing::Close;
        let route = exchange.asked.route;
        exchange
            .timing
            .enter(telemetry::Stage::UpstreamBody, io.stamp());
        exchange.status = response.status;
        exchange.answer = Answer::Streaming(ticket, framing);
        if let Some(edits) = self.settings.answer_edits(route) {
            head = edits.apply(&head);
        }
        self.put(client, head);
    }

    /// A success of an unsafe method ends the use of what is stored for its target, and for what its answer names
    /// (RFC 9111 §4.4).
    fn invalidate(&mut self, io: &D, ticket: Ticket, response: &Response<'_>) {
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        if !policy::invalidates(fetch.order.method, response.status) {
            return;
        }
        let Some(key) = fetch.order.key.clone() else {
            return;
        };
        let view = key.view();
        for target in policy::invalidated_targets(response, view.scheme, view.host, view.target) {
            let view = KeyView {
                target: &target,
                ..view
            };
            let key = Key::new(self.hasher.hash(&view), &view);
            self.purge(io, &key);
        }
        self.purge(io, &key);
    }

    /// Ends the use of what is stored under a key, and of what is being fetched for it.
    pub(crate) fn purge(&mut self, io: &D, key: &Key) {
        self.flights.outdate(key);
        self.index_remove(io, key.hash(), &key.view());
    }

    /// An interim answer goes to the client, if it speaks HTTP/1.1 and has no final head yet.
    fn pass_interim(&mut self, ticket: Ticket, response: &Response<'_>) {
        let Some(client) = self.fetches.at(ticket).and_then(|fetch| fetch.client) else {
            return;
        };
        let waits = self.exchange(client).is_some_and(|exchange| {
            exchange.asked.version == http::Version::Http11
                && matches!(exchange.answer, Answer::Fetching(_) | Answer::Following(..))
        });
        if waits {
            let mut head = Vec::new();
            answer::interim_head(&mut head, response);
            self.put(client, head);
        }
    }

    /// The origin took the upgrade: both directions pass as they are from here on.
    fn switch(&mut self, ticket: Ticket, response: &Response<'_>) {
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        fetch.stage = Stage::Tunnel;
        let (client, socket) = (fetch.client, fetch.socket);
        if let Some(conn) = socket.and_then(|socket| self.conns.at(socket)) {
            conn.tunnel = true;
        }
        let Some(client) = client else {
            return;
        };
        self.enter_stage(client, telemetry::Stage::UpstreamBody);
        let Some(exchange) = self.exchange(client) else {
            return;
        };
        exchange.status = 101;
        exchange.asked.keep_alive = false;
        exchange.answer = Answer::Tunnel(ticket);
        let mut head = Vec::new();
        answer::switching_head(&mut head, response, &exchange.request_id);
        self.put(client, head);
    }

    /// Puts bytes into a client's output.
    pub(crate) fn put(&mut self, client: SocketId, bytes: Vec<u8>) {
        if let Some(work) = self
            .clients
            .at(client)
            .and_then(|client| client.work.as_mut())
        {
            work.output.push_head(bytes);
        }
        self.touch(client);
    }
}

/// Errors that say of a target what they would say to anybody.
const GONE: [u16; 4] = [404, 405, 410, 414];

/// The length a body would have: not on statuses that forbid saying so (RFC 9110 §8.6).
fn declared(response: &Response<'_>) -> Option<u64> {
    let length = response.content_length();
    length.filter(|_| answer::says_length(response.status))
}
