//! One upstream as one shard sees it: its endpoints with the connections this shard has to them, and who waits for one.

use std::collections::VecDeque;
use std::sync::Arc;

use base::{Moment, ShardId, SocketId, Span};

use super::balance::{self, Balance, Choice};
use super::breaker::Breaker;
use super::budget::Budget;
use super::concurrency::Concurrency;
use super::endpoint::{Ejection, Endpoint, State};
use super::latency::Latency;
use super::members::Members;
use super::waiting::Waiting;
use crate::table::Ticket;

/// The place of an endpoint in its pool. It is given to another only when no connection to the one before is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) u16);

impl Slot {
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One endpoint as this shard sees it.
pub(crate) struct Place {
    pub(crate) endpoint: Arc<Endpoint>,
    /// It is no member any more; what is under way ends.
    gone: bool,
    /// Idle connections; the last used is taken first, so that spare ones age out.
    idle: Vec<SocketId>,
    /// Connections, idle and busy ones.
    open: u32,
    /// Requests under way.
    pub(super) busy: u32,
    pub(super) latency: Latency,
    /// Of its turns.
    pub(super) credit: i64,
    /// Of its address.
    pub(super) hash: u64,
}

/// What a request wants of the pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) balance: Balance,
    /// Of what [`Balance::Hash`] goes by.
    pub(crate) hash: u64,
    /// Endpoints that failed it already.
    pub(crate) tried: &'a [Slot],
    /// It may be the one to find out whether an endpoint is well again: should it fail, it can go elsewhere.
    pub(crate) may_find_out: bool,
    /// Percent of the endpoints that must be usable; with fewer all are asked.
    pub(crate) panic_percent: u32,
    pub(crate) slow_start: Span,
}

/// The connections of one upstream on this shard.
pub(crate) struct Pool {
    places: Vec<Place>,
    /// The version of the members that the places follow.
    seen: u64,
    /// Connections, idle and busy ones.
    pub(crate) open: usize,
    /// Fetches that wait for one.
    pub(crate) waiting: Waiting,
    pub(crate) budget: Budget,
    pub(crate) breaker: Breaker,
    pub(crate) concurrency: Concurrency,
    /// Fetches that are sent to a second endpoint, too, should they have no answer by then: in order, for all wait as long.
    pub(crate) hedges: VecDeque<(Ticket, Moment)>,
    /// When spare connections are made again.
    pub(crate) next_fill: Moment,
    random: u64,
    /// Lent to whoever chooses.
    choices: Vec<Choice>,
}

impl Place {
    pub(crate) fn new(endpoint: Arc<Endpoint>) -> Self {
        // FNV-1a over the address as text: the same in every process.
        let text = endpoint.address.to_string();
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self {
            endpoint,
            gone: false,
            idle: Vec::new(),
            open: 0,
            busy: 0,
            latency: Latency::default(),
            credit: 0,
            hash: balance::mix(hash),
        }
    }
}

impl Pool {
    /// A pool without connections. Shards begin in different places of the same order.
    pub(crate) fn new(members: &Members, shard: ShardId, seed: u64, now: Moment) -> Self {
        let mut pool = Self {
            places: Vec::new(),
            seen: u64::MAX,
            open: 0,
            waiting: Waiting::default(),
            budget: Budget::new(now),
            breaker: Breaker::default(),
            concurrency: Concurrency::new(),
            hedges: VecDeque::new(),
            next_fill: now,
            random: seed ^ u64::from(shard.0),
            choices: Vec::new(),
        };
        pool.follow(members);
        let count = pool.places.len().max(1);
        if let Some(place) = pool.places.get_mut(usize::from(shard.0) % count) {
            place.credit = 1;
        }
        pool
    }

    /// Follows the members; what idles at endpoints that are gone is to be closed.
    pub(crate) fn follow(&mut self, members: &Members) -> Vec<SocketId> {
        let version = members.version();
        if version == self.seen {
            return Vec::new();
        }
        self.seen = version;
        let list = members.list();
        let mut idle = Vec::new();
        for place in &mut self.places {
            place.gone = !list.iter().any(|it| Arc::ptr_eq(it, &place.endpoint));
            if place.gone {
                idle.append(&mut place.idle);
            }
        }
        for endpoint in list.iter() {
            let known = |place: &Place| Arc::ptr_eq(&place.endpoint, endpoint);
            if self.places.iter().any(known) {
                continue;
            }
            let new = Place::new(Arc::clone(endpoint));
            let free = self.places.iter_mut().find(|it| it.gone && it.open == 0);
            match free {
                Some(place) => *place = new,
                None => self.places.push(new),
            }
        }
        idle
    }

    /// The endpoint to ask; none where none is left to be asked.
    pub(crate) fn choose(&mut self, ask: &Ask<'_>, now: Moment) -> Option<Slot> {
        let (mut present, mut usable) = (0usize, 0usize);
        self.choices.clear();
        for (place, slot) in self.places.iter().zip((0..).map(Slot)) {
            if place.gone {
                continue;
            }
            present += 1;
            let state = place.endpoint.state(now);
            usable += usize::from(state == State::Usable);
            if ask.tried.contains(&slot) {
                continue;
            }
            match state {
                State::Usable => self.choices.push(Choice {
                    slot,
                    weight: place.endpoint.weight_at(now, ask.slow_start),
                }),
                State::OnTrial if ask.may_find_out && place.endpoint.try_it(now) => {
                    return Some(slot);
                }
                State::OnTrial | State::Ejected | State::Down => {}
            }
        }
        if usable * 100 < present * ask.panic_percent as usize {
            self.choose_among_all(ask);
        }
        balance::choose(
            ask.balance,
            &self.choices,
            &mut self.places,
            ask.hash,
            &mut self.random,
            now,
        )
    }

    /// So few are usable that leaving the others out would only bring these down, too.
    fn choose_among_all(&mut self, ask: &Ask<'_>) {
        let places = self.places.iter().zip((0..).map(Slot));
        let all = places.filter(|(place, slot)| !place.gone && !ask.tried.contains(slot));
        self.choices.clear();
        self.choices.extend(all.map(|(place, slot)| Choice {
            slot,
            weight: u64::from(place.endpoint.weight()) * 1_000,
        }));
    }

    /// An idle connection to an endpoint.
    pub(crate) fn take_idle(&mut self, slot: Slot) -> Option<SocketId> {
        let place = self.places.get_mut(slot.index())?;
        let socket = place.idle.pop()?;
        place.busy += 1;
        Some(socket)
    }

    /// An idle connection to any other of the endpoints that the last choice was among, and to which.
    pub(crate) fn take_any_idle(&mut self) -> Option<(Slot, SocketId)> {
        let choices = self.choices.iter();
        let slot = choices.map(|choice| choice.slot).find(|slot| {
            let place = self.places.get(slot.index());
            place.is_some_and(|place| !place.idle.is_empty())
        })?;
        Some((slot, self.take_idle(slot)?))
    }

    /// The connection that idles longest at the endpoint with the most idle ones.
    pub(crate) fn spare(&self) -> Option<SocketId> {
        let most = self.places.iter().max_by_key(|place| place.idle.len())?;
        most.idle.first().copied()
    }

    pub(crate) fn has_idle(&self) -> bool {
        self.places.iter().any(|place| !place.idle.is_empty())
    }

    /// Requests under way.
    pub(crate) fn busy(&self) -> usize {
        self.places.iter().map(|place| place.busy as usize).sum()
    }

    /// Endpoints there are.
    pub(crate) fn endpoints(&self) -> usize {
        self.places.iter().filter(|place| !place.gone).count()
    }

    /// Whether an endpoint's mean latency is too many times that of the median of the others.
    pub(crate) fn stands_out(&self, slot: Slot, rules: &Ejection) -> bool {
        if rules.latency_factor == 0 {
            return false;
        }
        let own = self.endpoint(slot).map_or(0, |it| it.mean_us());
        let places = self.places.iter().zip((0..).map(Slot));
        let others = places.filter(|(place, other)| !place.gone && *other != slot);
        let mut others: Vec<u64> = others.map(|(place, _)| place.endpoint.mean_us()).collect();
        others.retain(|mean| *mean > 0);
        others.sort_unstable();
        let median = others.get(others.len() / 2).copied();
        median.is_some_and(|median| own > median * u64::from(rules.latency_factor))
    }

    pub(crate) fn endpoint(&self, slot: Slot) -> Option<&Arc<Endpoint>> {
        self.places.get(slot.index()).map(|place| &place.endpoint)
    }

    /// A connection to an endpoint begins, for a request or to be spare.
    pub(crate) fn opened(&mut self, slot: Slot, busy: bool) {
        self.open += 1;
        if let Some(place) = self.places.get_mut(slot.index()) {
            place.open += 1;
            place.busy += u32::from(busy);
        }
    }

    /// A connection has nothing to do any more; whether it may idle here.
    pub(crate) fn rest(&mut self, slot: Slot, socket: SocketId) -> bool {
        let Some(place) = self.places.get_mut(slot.index()) else {
            return false;
        };
        if place.gone {
            return false;
        }
        place.idle.push(socket);
        true
    }

    /// A request lets go of its connection.
    pub(crate) fn no_more_busy(&mut self, slot: Slot) {
        if let Some(place) = self.places.get_mut(slot.index()) {
            place.busy = place.busy.saturating_sub(1);
        }
    }

    /// A connection has ended.
    pub(crate) fn closed(&mut self, slot: Slot, socket: SocketId, pooled: bool) {
        self.open = self.open.saturating_sub(1);
        if let Some(place) = self.places.get_mut(slot.index()) {
            place.open = place.open.saturating_sub(1);
            if pooled {
                place.idle.retain(|other| *other != socket);
            }
        }
    }

    /// An endpoint answered after `latency`.
    pub(crate) fn heard(&mut self, slot: Slot, latency: Span, now: Moment) {
        if let Some(place) = self.places.get_mut(slot.index()) {
            place.latency.observe(latency, now);
        }
    }

    /// Since when the fetch that waits longest for a connection does.
    pub(crate) fn longest_wait(&self) -> Option<Moment> {
        self.waiting.oldest().map(|waiter| waiter.since)
    }
}
