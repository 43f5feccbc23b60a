//! From a client's bytes to requests.

use std::mem;

use base::{Driver, Room, SocketId, Stamp, limits};
use cache::NodeStore;
use http::{Parsed, Refusal, parse_request};

use crate::Proxy;
use crate::client::{Asked, Bytes, Client, Patience, Work};
use crate::timing::Reading;

/// What a decision means for the reading of what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Answered; on to the next request.
    Next,
    /// An exchange is under way: what follows waits.
    Wait,
    /// No scratch buffer is left: the request was not taken and is to be decided again.
    Parched,
    /// The index had its share of this turn: likewise, in the next.
    PutOff,
}

/// Why reading stopped, and where in the bytes.
enum Stop {
    End,
    Partial(usize),
    Blocked(usize),
    Parched(usize),
    PutOff(usize),
}

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    /// A new client: 503 at the bound, else its first head is waited for.
    pub(crate) fn accepted(&mut self, io: &mut D, socket: SocketId) {
        self.cells.accepted.add(1);
        self.cells.clients.add(1);
        let served = self.clients.len() - self.refused;
        let over = served >= self.settings.limits.clients_max;
        let deadline = io.now().moment + self.settings.limits.header_timeout;
        let mut client = Client::new(deadline);
        client.awaits_preface = self.settings.proxy_protocol;
        self.clients.insert(socket, client);
        io.receive(socket, Room::Small);
        self.set_patience(socket, Patience::Head, deadline);
        if over {
            self.cells.refused.add(1);
            self.refuse_connection(io, socket);
        }
    }

    pub(crate) fn client_received(
        &mut self,
        io: &mut D,
        socket: SocketId,
        buffer: D::Received,
        came: Stamp,
    ) {
        let Some(client) = self.clients.at(socket) else {
            return;
        };
        if client.last {
            return;
        }
        let works = &mut self.works;
        let work = client
            .work
            .get_or_insert_with(|| works.pop().unwrap_or_else(|| Box::new(Work::new())));
        work.input.push(Bytes::Buffer(buffer));
        if client.awaits_preface && !self.read_preface(io, socket) {
            return;
        }
        self.advance_since(io, socket, came);
        self.touch(socket);
    }

    /// Reads as far as may be: requests until one has to be waited for, a body as fast as the origin takes it.
    pub(crate) fn advance(&mut self, io: &mut D, socket: SocketId) {
        self.advance_since(io, socket, io.arrival());
    }

    /// The same; requests count from `came`.
    fn advance_since(&mut self, io: &mut D, socket: SocketId, came: Stamp) {
        let head_bytes = self.settings.limits.head.head_bytes;
        while let Some(client) = self.clients.at(socket) {
            let Some(work) = client.work.as_mut() else {
                break;
            };
            if client.last {
                work.input.clear();
                break;
            }
            if let Some(exchange) = &work.exchange {
                if exchange.takes_input() {
                    self.upload(io, socket);
                }
                break;
            }
            if !work.output.has_room() {
                break;
            }
            let Some((bytes, at)) = work.input.pop(head_bytes) else {
                break;
            };
            let arrival = work.waits_since.take().unwrap_or(came);
            let stop = self.read(io, socket, (&bytes, at), arrival);
            if !self.keep_rest(io, socket, bytes, (stop, arrival)) {
                break;
            }
        }
        self.settle_receiving(io, socket);
    }

    /// Decides on the requests in `bytes` one after the other.
    fn read(
        &mut self,
        io: &mut D,
        socket: SocketId,
        (bytes, mut at): (&Bytes<D>, usize),
        arrival: Stamp,
    ) -> Stop {
        let mut begun = io.stamp();
        let mut table = self.table.take().unwrap_or_default();
        let stop = loop {
            let rest = bytes.get(at..).unwrap_or_default();
            if rest.is_empty() {
                break Stop::End;
            }
            match parse_request(rest, &mut table, &self.settings.limits.head) {
                Parsed::Whole(request) => {
                    let head = rest.get(..request.length).unwrap_or_default();
                    let reading = Reading {
                        start: arrival,
                        begun,
                        parsed: io.stamp(),
                    };
                    let flow = self.decide(io, socket, &request, head, reading);
                    begun = self.encoded;
                    match flow {
                        Flow::Parched => break Stop::Parched(at),
                        Flow::PutOff => break Stop::PutOff(at),
                        Flow::Next | Flow::Wait => {}
                    }
                    at += request.length;
                    if flow == Flow::Wait || !self.may_read_on(socket) {
                        break Stop::Blocked(at);
                    }
                }
                Parsed::Partial => break Stop::Partial(at),
                Parsed::Refused(refusal) => {
                    self.refuse(io, socket, refusal, rest);
                    break Stop::End;
                }
            }
        };
        self.table = Some(table);
        stop
    }

    /// Puts back what was not read; whether to go on.
    fn keep_rest(
        &mut self,
        io: &mut D,
        socket: SocketId,
        bytes: Bytes<D>,
        (stop, arrival): (Stop, Stamp),
    ) -> bool {
        let Some(client) = self.clients.at(socket) else {
            return false;
        };
        let Some(work) = client.work.as_mut() else {
            return false;
        };
        match stop {
            Stop::End => true,
            Stop::Blocked(at) => {
                work.input.put_back(bytes, at);
                true
            }
            Stop::Partial(at) => {
                work.input.put_back_partial(&bytes, at);
                let more = work.input.buffers() > 1;
                if client.patience != Patience::Head {
                    let deadline = io.now().moment + self.settings.limits.header_timeout;
                    self.set_patience(socket, Patience::Head, deadline);
                }
                more
            }
            Stop::Parched(at) => {
                work.input.put_back(bytes, at);
                work.waits_since = Some(arrival);
                self.cells.scratch_starvation.add(1);
                self.parched.push(socket);
                false
            }
            Stop::PutOff(at) => {
                work.input.put_back(bytes, at);
                work.waits_since = Some(arrival);
                self.put_off(socket);
                false
            }
        }
    }

    fn may_read_on(&mut self, socket: SocketId) -> bool {
        self.clients.at(socket).is_some_and(|client| {
            !client.last
                && client
                    .work
                    .as_ref()
                    .is_some_and(|work| work.output.has_room())
        })
    }

    /// Stops receiving from a client whose bytes pile up, and starts again when they are read.
    fn settle_receiving(&mut self, io: &mut D, socket: SocketId) {
        let Some(client) = self.clients.at(socket) else {
            return;
        };
        let mut waiting = 0;
        if let Some(work) = client.work.as_mut() {
            waiting = work.input.buffers();
            if waiting > 0 && io.buffers_free(Room::Small) < limits::SMALL_BUFFERS_LOW {
                work.input.release_buffers();
            }
        }
        if client.receiving && waiting >= INPUT_BUFFERS_MAX && !client.last {
            client.receiving = false;
            io.pause(socket);
        } else if !client.receiving && !client.ended && (client.last || waiting <= 1) {
            client.receiving = true;
            io.receive(socket, Room::Small);
            if self
                .exchange(socket)
                .is_some_and(|exchange| exchange.body.is_some())
            {
                self.await_body(io, socket);
            }
        }
    }

    /// Lets the clients that waited for scratch try again.
    pub(crate) fn quench(&mut self, io: &mut D) {
        if self.parched.is_empty() {
            return;
        }
        // One scratch buffer tells that the pool has some again.
        if io.scratch().is_none() {
            return;
        }
        for socket in mem::take(&mut self.parched) {
            self.advance(io, socket);
            self.touch(socket);
        }
    }

    /// Answers bytes that are no request, and ends the connection.
    fn refuse(&mut self, io: &mut D, socket: SocketId, refusal: Refusal, bytes: &[u8]) {
        let asked = Asked::unreadable(io.arrival());
        let Refusal { status, reason, .. } = refusal;
        self.answer_error_to(io, socket, asked, (status, reason), Some(bytes));
    }

    fn refuse_connection(&mut self, io: &mut D, socket: SocketId) {
        let asked = Asked::unreadable(io.arrival());
        let works = &mut self.works;
        if let Some(client) = self.clients.at(socket) {
            self.refused += 1;
            client.refused = true;
            client.work = Some(works.pop().unwrap_or_else(|| Box::new(Work::new())));
        }
        self.answer_error(io, socket, asked, 503, "too many connections");
        self.touch(socket);
    }
}

/// Buffers of unread bytes at which a client is paused.
const INPUT_BUFFERS_MAX: usize = limits::PIPELINE_BYTES_MAX / limits::RECEIVE_SMALL_BYTES;
