//! From an origin's bytes to the head of its answer, and what is to become of it: stored, passed on, or a tunnel.

use std::mem;
use std::sync::Arc;

use base::{Closing, Driver, SocketId, limits};
use cache::policy::{self, Lifetime};
use cache::{BodyWriter, Head, Key, NodeStore, Object};
use http::{
    BodyDecoder, BodyLength, FieldTable, Parsed, Refusal, Response, parse_response, repair_response,
};

use crate::Proxy;
use crate::answer::{self, PassedLength, Told};
use crate::client::{Answer, Bytes};
use crate::fetch::{Filling, Stage, is_safe};
use crate::table::Ticket;

/// Room asked for where the length of a body is not known.
const EXTENT_BYTES: u64 = limits::EXTENT_BYTES_MAX as u64;

/// An object and the right to fill it.
type Reserved<M> = (Object<M>, BodyWriter<M>);

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
        self.fail(io, ticket, 502, refusal.reason);
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
                self.switch(ticket, response);
                After::Body(length)
            }
            101 => {
                self.fail(io, ticket, 502, "the origin switched protocols unasked");
                After::Over
            }
            100..=199 => {
                fetch.interim += 1;
                if fetch.interim > limits::INTERIM_ANSWERS_MAX {
                    self.fail(io, ticket, 502, "the origin sent too many interim answers");
                    return After::Over;
                }
                self.pass_interim(ticket, response);
                After::Again(length)
            }
            _ => {
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
        fetch.keeps_alive = response.keeps_alive();
        fetch.decoder = Some(BodyDecoder::new(response.body(fetch.order.method)));
        if let Some(socket) = fetch.socket {
            self.expect_bytes(io, socket);
        }
        self.invalidate(io, ticket, response);
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        let (facts, requested) = (fetch.order.facts, fetch.requested);
        let shared = fetch.leader.is_some();
        let verdict = policy::storable(&facts, response, requested, now);
        match verdict {
            Ok(lifetime) if shared => {
                if !self.store_answer(io, ticket, response, lifetime) {
                    self.pass_answer(io, ticket, response, Some("storage-full"));
                }
            }
            Ok(_) => self.pass_answer(io, ticket, response, None),
            Err(reason) => self.pass_answer(io, ticket, response, shared.then(|| reason.as_str())),
        }
    }

    /// Begins to store the answer and shares it with the followers; `false` where there is no room for it.
    fn store_answer(
        &mut self,
        io: &D,
        ticket: Ticket,
        response: &Response<'_>,
        lifetime: Lifetime,
    ) -> bool {
        let max = self.settings.object_bytes_max;
        let Some(fetch) = self.fetches.at(ticket) else {
            return false;
        };
        let length = match response.body(fetch.order.method) {
            BodyLength::Empty => Some(0),
            BodyLength::Length(length) => Some(length),
            BodyLength::Chunked | BodyLength::UntilClose => None,
        };
        let Some(key) = fetch.order.key.clone() else {
            return false;
        };
        if length.is_some_and(|length| length > max) {
            return false;
        }
        let Some((object, writer)) = self.reserve(io, key, response, lifetime, length) else {
            self.cells.stream_uncached.add(1);
            return false;
        };
        let object = Arc::new(object);
        let Some(fetch) = self.fetches.at(ticket) else {
            return false;
        };
        if let Some(leader) = &fetch.leader {
            leader.publish(Arc::clone(&object));
            self.moved.push(leader.flight().id());
        }
        fetch.filling = Some(Filling { object, writer });
        true
    }

    /// Reserves memory for an object, evicting once where there is none.
    fn reserve(
        &mut self,
        io: &D,
        key: Key,
        response: &Response<'_>,
        lifetime: Lifetime,
        length: Option<u64>,
    ) -> Option<Reserved<D::Memory>> {
        let head = Head {
            status: response.status,
            fields: policy::head_fields(response, io.now().wall).into_boxed_slice(),
        };
        let max = self.settings.object_bytes_max;
        let object = Object::new(
            &self.memory,
            key.clone(),
            head.clone(),
            lifetime,
            length,
            max,
        );
        if object.is_some() || !self.index_make_room(io, length.unwrap_or(EXTENT_BYTES)) {
            return object;
        }
        Object::new(&self.memory, key, head, lifetime, length, max)
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
            let flight = leader.flight().id();
            self.leading.remove(&flight);
            self.moved.push(flight);
            leader.pass();
        }
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        let told = Told::forwarded(fetch.order.why, detail.or(fetch.order.detail));
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
        exchange.status = response.status;
        exchange.answer = Answer::Streaming(ticket, framing);
        self.put(client, head);
    }

    /// A success of an unsafe method ends the use of what is stored for its target (RFC 9111 §4.4).
    fn invalidate(&mut self, io: &D, ticket: Ticket, response: &Response<'_>) {
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        if is_safe(fetch.order.method) || !(200..400).contains(&response.status) {
            return;
        }
        if let Some(key) = fetch.order.key.clone() {
            self.flights.outdate(&key);
            self.index_remove(io, key.hash(), &key.view());
        }
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

/// The length a body would have: not on statuses that forbid saying so (RFC 9110 §8.6).
fn declared(response: &Response<'_>) -> Option<u64> {
    let length = response.content_length();
    length.filter(|_| answer::says_length(response.status))
}
