//! Bytes of a client that belong to its exchange: a request body on its way to the origin, or a tunnel.

use std::ops::Range;
use std::slice;

use base::{Closing, Driver, Moment, Room, SocketId, Span, limits};
use cache::NodeStore;
use http::BodyLength;

use crate::Proxy;
use crate::body;
use crate::client::{Answer, Bytes, Framing, Patience};
use crate::fetch::Stage;
use crate::table::Ticket;
use crate::timeouts::time_for;

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    /// Passes on what the client sent, as far as the origin's window goes.
    pub(crate) fn upload(&mut self, io: &mut D, client: SocketId) {
        while let Some((ticket, conn)) = self.upload_way(client) {
            let Some(work) = self
                .clients
                .at(client)
                .and_then(|client| client.work.as_mut())
            else {
                return;
            };
            let Some((bytes, at)) = work.input.pop(0) else {
                break;
            };
            let whole = match &work.exchange {
                Some(exchange) if matches!(exchange.answer, Answer::Tunnel(_)) => {
                    let all = at..bytes.len();
                    self.pass_up(io, conn, bytes, slice::from_ref(&all), Framing::Length);
                    false
                }
                _ => self.body_up(io, client, ticket, conn, bytes, at),
            };
            self.send_to_origin(io, conn);
            if whole {
                break;
            }
        }
        self.end_upload(io, client);
    }

    /// Once everything is passed on that a client sent before it ended its direction, a tunnel's ends as well. A body that
    /// is not whole then never will be; where the answer has begun all the same, the client still gets it.
    fn end_upload(&mut self, io: &mut D, client: SocketId) {
        let Some(state) = self.clients.at(client) else {
            return;
        };
        let work = state.work.as_ref().filter(|work| work.input.is_empty());
        let Some(exchange) = work.and_then(|work| work.exchange.as_ref()) else {
            return;
        };
        if !state.ended {
            return;
        }
        match exchange.answer {
            Answer::Tunnel(ticket) => {
                if let Some(socket) = self.fetches.at(ticket).and_then(|fetch| fetch.socket)
                    && let Some(conn) = self.conns.at(socket)
                {
                    conn.ending = true;
                    self.end_conn(io, socket);
                }
            }
            Answer::Fetching(_) if exchange.body.is_some() => {
                self.close_client(io, client, Closing::Orderly);
            }
            _ => {}
        }
    }

    /// Where a client's bytes go now: nowhere while the origin is behind, or not connected.
    fn upload_way(&mut self, client: SocketId) -> Option<(Ticket, SocketId)> {
        let exchange = self.exchange(client)?;
        if !exchange.takes_input() {
            return None;
        }
        let ticket = match &exchange.answer {
            Answer::Fetching(ticket) | Answer::Streaming(ticket, _) | Answer::Tunnel(ticket) => {
                *ticket
            }
            Answer::Following(..) | Answer::Serving(_) => return None,
        };
        let fetch = self.fetches.at(ticket)?;
        if !matches!(fetch.stage, Stage::Head | Stage::Body | Stage::Tunnel) {
            return None;
        }
        let socket = fetch.socket?;
        let conn = self.conns.at(socket)?;
        (conn.connected && conn.output.parts.len() < limits::STREAM_BUFFERS_MAX * 3)
            .then_some((ticket, socket))
    }

    /// Body bytes; whether the body is whole, or over otherwise.
    fn body_up(
        &mut self,
        io: &mut D,
        client: SocketId,
        ticket: Ticket,
        conn: SocketId,
        bytes: Bytes<D>,
        at: usize,
    ) -> bool {
        let max = self.settings.limits.body_bytes_max;
        let Some(work) = self
            .clients
            .at(client)
            .and_then(|client| client.work.as_mut())
        else {
            return true;
        };
        let Some(exchange) = work.exchange.as_mut() else {
            return true;
        };
        let Some(decoder) = exchange.body.as_mut() else {
            return true;
        };
        let taken = match body::take(decoder, &bytes, at) {
            Ok(taken) => taken,
            Err(refusal) => {
                self.fail_upload(io, client, refusal.status, refusal.reason);
                return true;
            }
        };
        work.body_received = work.body_received.saturating_add(taken.size() as u64);
        if max.is_some_and(|max| work.body_received > max) {
            self.fail_upload(io, client, 413, "request body too long");
            return true;
        }
        let mut trailers = Vec::new();
        if let Some(end) = taken.end {
            if let Some(decoder) = exchange.body.take() {
                trailers.extend_from_slice(decoder.trailers());
            }
            let rest = bytes.get(end..).unwrap_or_default().to_vec();
            work.input.put_back(Bytes::Copied(rest), 0);
        }
        let Some(fetch) = self.fetches.at(ticket) else {
            return true;
        };
        let bound = self.settings.upstream(fetch.order.upstream);
        let bound = bound.filter(|upstream| upstream.retries > 0);
        let bound = bound.map_or(0, |upstream| upstream.retry_body_max);
        fetch.keep_body(&bytes, &taken.pieces, bound);
        if taken.end.is_some() && fetch.order.body == BodyLength::Chunked {
            fetch.keep_trailers(&trailers);
        }
        fetch.body_begun = true;
        let framing = match fetch.order.body {
            BodyLength::Chunked => Framing::Chunked,
            _ => Framing::Length,
        };
        fetch.asked_whole |= taken.end.is_some();
        self.pass_up(io, conn, bytes, &taken.pieces, framing);
        if taken.end.is_none() {
            self.expect_body(client);
            return false;
        }
        if framing == Framing::Chunked
            && let Some(conn) = self.conns.at(conn)
        {
            body::push_last_chunk(&mut conn.output, &trailers);
        }
        self.set_patience(client, Patience::Answer, Moment(u64::MAX));
        true
    }

    fn pass_up(
        &mut self,
        io: &D,
        conn: SocketId,
        bytes: Bytes<D>,
        pieces: &[Range<usize>],
        framing: Framing,
    ) {
        let Some(conn) = self.conns.at(conn) else {
            return;
        };
        let scarce = io.buffers_free(Room::Small) < limits::SMALL_BUFFERS_LOW;
        let keep = if scarce { usize::MAX } else { 1 };
        let (bytes, range) = body::join(bytes, pieces, keep);
        body::push(&mut conn.output, bytes.part(range), framing);
    }

    /// A client's turn to send its body begins or comes again: what the origin or we took does not count against it.
    pub(crate) fn await_body(&mut self, io: &D, client: SocketId) {
        let now = io.now().moment;
        let rate = self.settings.limits.body_min_rate;
        if let Some(work) = self
            .clients
            .at(client)
            .and_then(|client| client.work.as_mut())
        {
            let due = time_for(work.body_received, rate).0;
            work.body_since = work.body_since.max(Moment(now.0.saturating_sub(due)));
        }
        self.expect_body(client);
    }

    /// Gives a client the time its body may take at its least rate.
    fn expect_body(&mut self, client: SocketId) {
        let limits = self.settings.limits;
        let Some(work) = self
            .clients
            .at(client)
            .and_then(|client| client.work.as_mut())
        else {
            return;
        };
        let span = limits.rate_grace.0 + time_for(work.body_received, limits.body_min_rate).0;
        let deadline = work.body_since + Span(span);
        self.set_patience(client, Patience::Body, deadline);
    }

    /// A request body that cannot be taken to its end: the origin's connection ends with it, for the request there
    /// never becomes whole.
    pub(crate) fn fail_upload(&mut self, io: &mut D, client: SocketId, status: u16, reason: &str) {
        let Some(exchange) = self.exchange(client) else {
            return;
        };
        match exchange.answer {
            Answer::Fetching(ticket) => {
                self.abort(io, ticket);
                self.fail_exchange(io, client, status, reason);
            }
            _ => self.cut_idler(io, client),
        }
    }
}
