//! Followers of flights: clients of this shard that wait for what one fetch, here or on another shard, brings.

use std::rc::Rc;
use std::sync::Arc;

use base::{Driver, SocketId};
use cache::{BodyState, Flight, FlightId, FlightState, Joined, NodeStore, Object, Resident};
use telemetry::CacheLabel;

use crate::answer::Told;
use crate::client::{Answer, Exchange};
use crate::fetch::Order;
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
            FlightState::Streaming(object) => self.followers_stream(io, id, followers, &object),
            FlightState::Passed => {
                for socket in followers.clients {
                    self.go_alone(io, socket, id);
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
                    self.rejoin(io, socket, id);
                    self.orphan(io, socket, id);
                }
            }
        }
    }

    /// The answer is storable: those who wait begin, those who have begun go on, until the body is final.
    fn followers_stream(
        &mut self,
        io: &mut D,
        id: FlightId,
        mut followers: Followers<D>,
        object: &Arc<Object<D::Memory>>,
    ) {
        // Read first: what is published by then is all there is when the state is final.
        let state = object.body.state();
        let resident = resident_of(&mut followers, object);
        let flight = Arc::clone(&followers.flight);
        for &socket in &followers.clients {
            if self.follows(socket, id) && state == BodyState::Failed {
                // Nothing of it was sent yet: there is still a whole answer to be had.
                self.go_alone(io, socket, id);
            } else if self.follows(socket, id) {
                let told = self.told(socket);
                let flight = (state == BodyState::Filling).then(|| Arc::clone(&flight));
                self.serve_object(io, socket, Rc::clone(&resident), told, flight);
            } else {
                self.touch(socket);
            }
        }
        if state == BodyState::Filling {
            followers
                .clients
                .retain(|socket| self.is_served_by(*socket, id));
            self.followers.insert(id, followers);
        }
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
            let told = self.told(socket);
            self.serve_object(io, socket, Resident::new(object), told, Some(flight));
        }
    }

    /// The answer was its leader's alone: a follower fetches for itself, and does not share.
    fn go_alone(&mut self, io: &mut D, socket: SocketId, id: FlightId) {
        if !self.follows(socket, id) {
            return;
        }
        match self.own_order(socket) {
            Some(order) => self.fetch(io, socket, order, None),
            None => self.fail_exchange(io, socket, 502, "the origin's answer broke off"),
        }
    }

    /// The order of a follower that fetches after all: it counts as a miss.
    fn own_order(&mut self, socket: SocketId) -> Option<Box<Order>> {
        let exchange = self.exchange(socket)?;
        let order = exchange.order.take()?;
        exchange.cache = CacheLabel::Miss;
        Some(order)
    }

    /// The leader went away: somebody leads anew.
    fn rejoin(&mut self, io: &mut D, socket: SocketId, id: FlightId) {
        if !self.follows(socket, id) {
            return;
        }
        let shard = self.shard;
        let Some(exchange) = self.exchange(socket) else {
            return;
        };
        let Answer::Following(_, key) = &exchange.answer else {
            return;
        };
        let key = key.clone();
        match self.flights.join(&key, shard) {
            Joined::Follow(flight) => {
                if let Some(exchange) = self.exchange(socket) {
                    exchange.answer = Answer::Following(flight, key);
                }
                self.follow(socket);
            }
            Joined::Lead(leader) => {
                let Some(exchange) = self.exchange(socket) else {
                    return;
                };
                exchange.answer = Answer::Following(Arc::clone(leader.flight()), key);
                let order = self.own_order(socket);
                self.follow(socket);
                match order {
                    Some(order) => self.fetch(io, socket, order, Some(leader)),
                    // It led the flight that was lost, and its order with it.
                    None => self.fail_exchange(io, socket, 502, "the fetch was abandoned"),
                }
            }
        }
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
    fn follows(&mut self, socket: SocketId, id: FlightId) -> bool {
        matches!(
            self.exchange(socket),
            Some(Exchange { answer: Answer::Following(flight, _), .. }) if flight.id() == id
        )
    }

    /// Whether a client is being served from what this flight fills.
    fn is_served_by(&mut self, socket: SocketId, id: FlightId) -> bool {
        match self.exchange(socket).map(|exchange| &exchange.answer) {
            Some(Answer::Serving(serving)) => serving
                .flight
                .as_ref()
                .is_some_and(|flight| flight.id() == id),
            _ => false,
        }
    }

    /// How a follower's or leader's answer was come by.
    fn told(&mut self, socket: SocketId) -> Told {
        let exchange = self.exchange(socket);
        let collapsed = exchange
            .as_ref()
            .is_some_and(|exchange| exchange.cache == CacheLabel::Collapsed);
        Told {
            why: exchange.map_or("miss", |exchange| exchange.why),
            stored: !collapsed,
            collapsed,
            detail: None,
        }
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
