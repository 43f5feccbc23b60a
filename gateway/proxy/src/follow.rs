//! Followers of flights: clients of this shard that wait for what one fetch, here or on another shard, brings.

use std::rc::Rc;
use std::sync::Arc;

use base::{Driver, SocketId};
use cache::policy::{self, Reuse};
use cache::{
    BodyState, Brought, Flight, FlightId, FlightState, Leader, NodeStore, Object, Resident,
};
use http::{Parsed, parse_request};
use telemetry::CacheLabel;

use crate::answer::Told;
use crate::client::{Answer, Exchange};
use crate::{Followers, Proxy};

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    /// A flight has something new for the clients that follow it.
    pub(crate) fn flight_moved(&mut self, io: &mut D, id: FlightId) {
        let Some(followers) = self.followers.remove(&id) else {
            return;
        };
        match followers.flight.look(self.shard) {
            FlightState::Waiting => {
                self.followers.insert(id, followers);
            }
            FlightState::Streaming(object, brought) => {
                self.followers_stream(io, id, followers, &object, brought);
            }
            FlightState::Passed => {
                for socket in followers.clients {
                    self.go_on(io, socket, id, true);
                }
            }
            FlightState::Failed(failure) => {
                for socket in followers.clients {
                    if self.follows(socket, id) {
                        self.fail_exchange(io, socket, failure.status, failure.reason);
                    }
                }
            }
            FlightState::Abandoned => {
                for socket in followers.clients {
                    self.go_on(io, socket, id, false);
                    self.orphan(io, socket, id);
                }
            }
        }
    }

    /// There is an answer to share: those who wait begin, those who have begun go on, until the body is final.
    fn followers_stream(
        &mut self,
        io: &mut D,
        id: FlightId,
        mut followers: Followers<D>,
        object: &Arc<Object<D::Memory>>,
        brought: Brought,
    ) {
        // Read first: what is published by then is all there is when the state is final.
        let state = object.body.state();
        let resident = resident_of(&mut followers, object);
        let flight = Arc::clone(&followers.flight);
        for &socket in &followers.clients {
            if !self.follows(socket, id) {
                self.touch(socket);
            } else if state == BodyState::Failed {
                // Nothing of it was sent yet: there is still a whole answer to be had.
                self.go_on(io, socket, id, true);
            } else if !self.may_share(io, socket, object, brought) {
                self.go_on(io, socket, id, true);
            } else if self.is_for(socket, object) {
                let told = self.told(socket, brought);
                let flight = (state == BodyState::Filling).then(|| Arc::clone(&flight));
                self.serve_object(io, socket, Rc::clone(&resident), told, flight);
            } else {
                self.go_on_varied(io, socket, id, object);
            }
        }
        if state == BodyState::Filling {
            followers
                .clients
                .retain(|socket| self.is_served_by(*socket, id));
            // Who was decided on again may wait for the same flight anew.
            if let Some(anew) = self.followers.remove(&id) {
                followers.clients.extend(anew.clients);
            }
            self.followers.insert(id, followers);
        }
    }

    /// A fetch no longer leads its flight: the followers of this shard hear what became of it.
    pub(crate) fn lead_ends(&mut self, leader: &Leader<D::Memory>) -> FlightId {
        let flight = leader.flight().id();
        self.leading.remove(&flight);
        self.moved.push(flight);
        flight
    }

    /// Begins to serve one client that waits, before the others hear of the flight.
    pub(crate) fn begin_serving(
        &mut self,
        io: &mut D,
        socket: SocketId,
        flight: Arc<Flight<D::Memory>>,
        object: Arc<Object<D::Memory>>,
    ) {
        if self.follows(socket, flight.id()) {
            let told = self.told(socket, Brought::Stored);
            self.serve_object(io, socket, Resident::new(object), told, Some(flight));
        }
    }

    /// The flight has nothing for a client that waited for it.
    fn go_on(&mut self, io: &mut D, socket: SocketId, id: FlightId, alone: bool) {
        if self.follows(socket, id) {
            self.decide_again(io, socket, Vec::new(), alone);
        }
    }

    /// The answer is for other requests than this client's (RFC 9111 §4.1): it waits among those that ask for its variant.
    fn go_on_varied(
        &mut self,
        io: &mut D,
        socket: SocketId,
        id: FlightId,
        object: &Object<D::Memory>,
    ) {
        if self.follows(socket, id) {
            let variant = self.variant_of(socket, object);
            self.decide_again(io, socket, variant, false);
        }
    }

    /// Whether a flight's answer may be used without validation for a client that waits for it: always for whose request it
    /// answers.
    fn may_share(
        &mut self,
        io: &D,
        socket: SocketId,
        object: &Object<D::Memory>,
        brought: Brought,
    ) -> bool {
        if self.is_led_by(socket) {
            return true;
        }
        // A part was put together for its leader's range.
        let facts = self.exchange(socket).map(|exchange| exchange.facts);
        let Some(facts) = facts.filter(|_| object.part.is_none()) else {
            return false;
        };
        let (terms, now) = (&object.terms, io.now().wall);
        match brought {
            // What the answer or the route allows is for everybody, what its leader's request allows is not.
            Brought::Stale { by_request, .. } => !by_request,
            Brought::Withdrawn(_) => false,
            Brought::Stored | Brought::Completed | Brought::Revalidated => {
                policy::reuse(&facts, terms, now) == Reuse::Fresh
            }
        }
    }

    /// Whether the flight that a client waits for is its own.
    fn is_led_by(&mut self, socket: SocketId) -> bool {
        let exchange = self.exchange(socket);
        exchange.is_some_and(|exchange| exchange.cache != CacheLabel::Collapsed)
    }

    /// Whether a flight's answer is for a client that waits for it: always for whose request it answers.
    fn is_for(&mut self, socket: SocketId, object: &Object<D::Memory>) -> bool {
        object.variant.is_plain()
            || self.is_led_by(socket)
            || object.variant.is(&self.variant_of(socket, object))
    }

    /// What a client's request has in the fields that an answer varies by.
    fn variant_of(&mut self, socket: SocketId, object: &Object<D::Memory>) -> Vec<u8> {
        let limits = self.settings.limits.head;
        let mut table = self.table.take().unwrap_or_default();
        let mut variant = Vec::new();
        if let Some(exchange) = self.exchange(socket)
            && let Parsed::Whole(request) = parse_request(&exchange.head, &mut table, &limits)
        {
            object.variant.select(&request.fields, &mut variant);
        }
        self.table = Some(table);
        variant
    }

    /// The leader went away and nobody writes on: who is being served from what it left is cut.
    fn orphan(&mut self, io: &mut D, socket: SocketId, id: FlightId) {
        if !self.is_served_by(socket, id) {
            return;
        }
        match self.exchange(socket).map(|exchange| &exchange.answer) {
            Some(Answer::Serving(serving))
                if serving.resident.object.body.state() == BodyState::Complete =>
            {
                self.touch(socket);
            }
            _ => self.cut(io, socket),
        }
    }

    /// A client's exchange ends with an error of ours.
    pub(crate) fn fail_exchange(
        &mut self,
        io: &mut D,
        socket: SocketId,
        status: u16,
        reason: &str,
    ) {
        if let Some(asked) = self.exchange(socket).map(|exchange| exchange.asked) {
            self.answer_error(io, socket, asked, status, reason);
        }
    }

    pub(crate) fn unfollow(&mut self, id: FlightId, socket: SocketId) {
        if let Some(followers) = self.followers.get_mut(&id) {
            followers.clients.retain(|other| *other != socket);
            if followers.clients.is_empty() {
                self.followers.remove(&id);
            }
        }
    }

    /// Whether a client waits for this flight's verdict.
    pub(crate) fn follows(&mut self, socket: SocketId, id: FlightId) -> bool {
        matches!(
            self.exchange(socket),
            Some(Exchange { answer: Answer::Following(flight), .. }) if flight.id() == id
        )
    }

    /// Whether a client is being served from what this flight fills.
    pub(crate) fn is_served_by(&mut self, socket: SocketId, id: FlightId) -> bool {
        match self.exchange(socket).map(|exchange| &exchange.answer) {
            Some(Answer::Serving(serving)) => serving
                .flight
                .as_ref()
                .is_some_and(|flight| flight.id() == id),
            _ => false,
        }
    }

    /// How a follower's or leader's answer was come by; its exchange is labelled by it.
    fn told(&mut self, socket: SocketId, brought: Brought) -> Told {
        if let Brought::Stale { why, .. } = brought {
            self.cells.served_stale.add(why);
        }
        let mut told = Told::forwarded("miss", None);
        let Some(exchange) = self.exchange(socket) else {
            return told;
        };
        told.forwarded = Some(exchange.why);
        told.collapsed = exchange.cache == CacheLabel::Collapsed;
        match brought {
            Brought::Stored => told.stored = !told.collapsed,
            Brought::Completed => {
                told.stored = !told.collapsed;
                told.forward_status = Some(206);
            }
            Brought::Revalidated => {
                told.stored = !told.collapsed;
                told.forward_status = Some(304);
                if !told.collapsed {
                    exchange.cache = CacheLabel::Revalidated;
                }
            }
            Brought::Withdrawn(why) => {
                told.detail = Some(why);
                told.forward_status = Some(304);
                exchange.cache = CacheLabel::Revalidated;
            }
            Brought::Stale { why, .. } => {
                told.detail = Some(why);
                exchange.cache = CacheLabel::Stale;
            }
        }
        told
    }
}

/// The resident of a flight's object, shared by the followers on this shard.
fn resident_of<D: Driver>(
    followers: &mut Followers<D>,
    object: &Arc<Object<D::Memory>>,
) -> Rc<Resident<D::Memory>> {
    let resident = followers
        .resident
        .get_or_insert_with(|| Resident::new(Arc::clone(object)));
    Rc::clone(resident)
}
