//! Bodies of answers: into the store, to the client, or through a tunnel.

use std::collections::VecDeque;
use std::ops::Range;
use std::slice;
use std::sync::Arc;

use base::limits::{self, ROOM_EVICTIONS_MAX};
use base::{Driver, Room};
use cache::{NodeStore, Short};
use telemetry::{UpstreamError, UpstreamStage};

use crate::Proxy;
use crate::body;
use crate::client::{Answer, Bytes};
use crate::fetch::{Copy, Held, Stage};
use crate::index_turn::Landing;
use crate::table::Ticket;

/// Pieces smaller than this are copied rather than holding a receive buffer.
const COPY_PIECE_BYTES: usize = 4 << 10;

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    /// Takes body bytes from `at` on.
    pub(crate) fn origin_body(&mut self, io: &mut D, ticket: Ticket, bytes: Bytes<D>, at: usize) {
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        let Some(decoder) = fetch.decoder.as_mut() else {
            return;
        };
        let Ok(taken) = body::take(decoder, &bytes, at) else {
            let reason = "the origin sent a malformed chunk";
            return self.fail(io, ticket, UpstreamError::Protocol, 502, reason);
        };
        let surplus = taken.end.is_some_and(|end| end < bytes.len());
        let ended = taken.end.is_some();
        if fetch.filling.is_some() {
            self.fill(io, ticket, bytes, taken.pieces);
        } else {
            if let Some(copy) = fetch.copy.as_mut() {
                let mut pieces = taken.pieces.iter().cloned();
                let fits = pieces.all(|piece| {
                    let data = bytes.get(piece).unwrap_or_default();
                    copy.filling.writer.append(data).is_ok()
                });
                if !fits {
                    fetch.copy = None;
                }
            }
            self.hold(io, ticket, bytes, &taken.pieces);
        }
        if ended {
            // Bytes behind a whole answer belong to nobody: the connection is not used again.
            self.body_done(io, ticket, !surplus);
        } else {
            self.restrain(io, ticket);
        }
    }

    /// Appends to the object being stored, and goes on as a stream where it outgrows its place.
    fn fill(&mut self, io: &mut D, ticket: Ticket, bytes: Bytes<D>, pieces: Vec<Range<usize>>) {
        let mut left = VecDeque::from(pieces);
        let ended = self.append(io, ticket, &bytes, &mut left);
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        if let Some(leader) = &fetch.leader {
            leader.progress();
            self.moved.push(leader.flight().id());
        }
        if let Err(short) = ended {
            match short.wanted {
                None => self.outgrown(io, ticket),
                Some(_) => self.cells.uncached_slab_full.add(1),
            }
            self.spill(io, ticket, bytes, &Vec::from(left));
        }
    }

    /// The object is larger than any that is stored, and the next one will hardly be smaller.
    fn outgrown(&mut self, io: &D, ticket: Ticket) {
        self.cells.uncached_max_object.add(1);
        let key = self
            .fetches
            .at(ticket)
            .and_then(|fetch| fetch.order.key.clone());
        if let Some(key) = key {
            self.expect_passing(io, &key);
        }
    }

    /// Appends pieces to the object being stored, and takes them off `left`, evicting where there is no room.
    fn append(
        &mut self,
        io: &D,
        ticket: Ticket,
        bytes: &Bytes<D>,
        left: &mut VecDeque<Range<usize>>,
    ) -> Result<(), Short> {
        let mut evicted = 0;
        while let Some(piece) = left.front_mut() {
            let fetch = self.fetches.at(ticket);
            let Some(filling) = fetch.and_then(|fetch| fetch.filling.as_mut()) else {
                return Ok(());
            };
            let Err(short) = filling
                .writer
                .append(bytes.get(piece.clone()).unwrap_or_default())
            else {
                left.pop_front();
                continue;
            };
            piece.start += short.taken;
            let Some(extent) = short.wanted.filter(|_| evicted < ROOM_EVICTIONS_MAX) else {
                return Err(short);
            };
            // As for a known length: for the whole extent first, then one more at a time.
            let first = evicted == 0 || short.taken > 0;
            match self.index_make_room(io, if first { extent } else { 1 }) {
                0 => return Err(short),
                count => evicted += count,
            }
        }
        Ok(())
    }

    /// The object outgrew its bound or the slab: it is not stored. The fetch's own client goes on with what follows as a
    /// stream; others that had begun are cut, for nobody keeps what they have yet to read.
    fn spill(&mut self, io: &mut D, ticket: Ticket, bytes: Bytes<D>, left: &[Range<usize>]) {
        self.begin_own(io, ticket);
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        if let Some(filling) = fetch.filling.take() {
            filling.writer.fail();
        }
        let client = fetch.client;
        let Some(leader) = fetch.leader.take() else {
            return self.abort(io, ticket);
        };
        let flight = self.lead_ends(&leader);
        leader.land();
        // A client whose answer needed no body is at its next request by now.
        let owner = client.filter(|client| self.is_served_by(*client, flight));
        let owner = owner.and_then(|client| self.exchange(client));
        let Some(Answer::Serving(serving)) = owner.map(|exchange| &mut exchange.answer) else {
            return self.abort(io, ticket);
        };
        if serving.end < u64::MAX {
            // It was told 304 and wants no body.
            return self.abort(io, ticket);
        }
        serving.spill = Some(ticket);
        self.hold(io, ticket, bytes, left);
    }

    /// Begins to serve the fetch's own client now if that was left to the end of the turn: once the object failed, it would
    /// be told that there is no answer.
    fn begin_own(&mut self, io: &mut D, ticket: Ticket) {
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        if let (Some(client), Some(leader), Some(filling)) =
            (fetch.client, &fetch.leader, &fetch.filling)
        {
            let (flight, object) = (Arc::clone(leader.flight()), Arc::clone(&filling.object));
            self.begin_serving(io, client, flight, object);
        }
    }

    /// Keeps body bytes until the client takes them. One large piece stays in its buffer while buffers are plenty.
    fn hold(&mut self, io: &mut D, ticket: Ticket, bytes: Bytes<D>, pieces: &[Range<usize>]) {
        let scarce = io.buffers_free(Room::Large) < limits::LARGE_BUFFERS_LOW;
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        let keep = if scarce { usize::MAX } else { COPY_PIECE_BYTES };
        let (bytes, range) = body::join(bytes, pieces, keep);
        if !range.is_empty() {
            fetch.held.push_back(Held { bytes, range });
        }
        if let Some(client) = fetch.client {
            self.touch(client);
        }
    }

    /// Stops receiving while the client is behind.
    fn restrain(&mut self, io: &mut D, ticket: Ticket) {
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        let full = fetch.held.len() >= limits::STREAM_BUFFERS_MAX;
        let Some(socket) = fetch.socket else {
            return;
        };
        if !full {
            return self.expect_bytes(io, socket);
        }
        if let Some(conn) = self.conns.at(socket)
            && conn.receiving
        {
            conn.receiving = false;
            io.pause(socket);
        }
        self.set_conn_deadline(socket, base::Moment(u64::MAX));
    }

    /// The answer is whole. `clean`: nothing came behind it.
    pub(crate) fn body_done(&mut self, io: &mut D, ticket: Ticket, clean: bool) {
        self.upstream_took(ticket, UpstreamStage::Body);
        self.release_conn(io, ticket, clean);
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        fetch.stage = Stage::Done;
        if let Some(client) = fetch.client
            && let Some(exchange) = self.exchange(client)
            && matches!(exchange.answer, Answer::Streaming(streamed, _) if streamed == ticket)
        {
            self.enter_stage(client, telemetry::Stage::Send);
        }
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        if let Some(leader) = fetch.leader.take_if(|_| fetch.filling.is_none()) {
            let (confirmed, basis) = (fetch.confirmed.take(), fetch.basis.take());
            self.fetches.remove(ticket);
            self.leading.remove(&leader.flight().id());
            return match confirmed {
                Some(object) => self.land(Landing {
                    object,
                    basis,
                    leader: Some(leader),
                }),
                None => self.landed(Some(leader)),
            };
        }
        if let Some(Copy { filling, leader }) = fetch.copy.take()
            && filling.writer.finish()
        {
            self.land(Landing {
                object: filling.object,
                basis: None,
                leader: Some(leader),
            });
        }
        let Some(fetch) = self.fetches.at(ticket) else {
            return;
        };
        let Some(filling) = fetch.filling.take() else {
            if let Some(client) = fetch.client {
                self.touch(client);
            }
            return;
        };
        let whole = filling.writer.finish();
        let leader = self.fetches.remove(ticket).and_then(|fetch| fetch.leader);
        if let Some(leader) = &leader {
            self.leading.remove(&leader.flight().id());
        }
        if whole {
            let object = filling.object;
            self.flights.forget_passing(object.key.hash());
            self.land(Landing {
                object,
                basis: None,
                leader,
            });
        } else {
            self.landed(leader);
        }
    }

    /// Bytes of the origin in a tunnel.
    pub(crate) fn tunnel_down(&mut self, io: &mut D, ticket: Ticket, bytes: Bytes<D>, at: usize) {
        // What the client sent behind its request was waiting for this.
        if let Some(client) = self.fetches.at(ticket).and_then(|fetch| fetch.client) {
            self.advance(io, client);
        }
        let end = bytes.len();
        if at < end {
            self.hold(io, ticket, bytes, slice::from_ref(&(at..end)));
        }
        self.restrain(io, ticket);
    }
}
