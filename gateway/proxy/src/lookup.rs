//! A request that may be answered from the store: a stored answer that serves, a wait for somebody else's fetch, or a fetch of
//! its own.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use base::{Driver, Memory, Moment, SocketId, UpstreamId, limits};
use cache::policy::{self, RequestFacts, Reuse, Rules};
use cache::{
    Brought, FlightState, Held, Joined, Key, KeyHash, KeyView, Leader, NodeStore, Object, Part,
    Resident,
};
use http::range::{Ranges, Resolved};
use http::{Fields, Method, Name, Parsed, parse_request};
use telemetry::{CacheLabel, RouteLabel, Stage};

use crate::client::{Answer, Exchange, Patience};
use crate::decide::Question;
use crate::fetch::{Fetch, Missing, Order};
use crate::forwarding::Hop;
use crate::present::Served;
use crate::read::Flow;
use crate::request::{self, Wish, Writer};
use crate::rewrite::Values;
use crate::timing::Reading;
use crate::upstream::Priority;
use crate::{Followers, Proxy};

/// Where a request goes and what is decided for its route.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) upstream: UpstreamId,
    pub(crate) priority: Priority,
    pub(crate) rules: Rules,
}

/// How a request goes forward.
pub(crate) struct Forward<D: Driver> {
    pub(crate) way: Way,
    pub(crate) facts: RequestFacts,
    /// What the answer is stored under, or invalidates.
    pub(crate) key: Option<Key>,
    /// Of a key that is known to vary, which variant is asked for.
    pub(crate) variant: Vec<u8>,
    /// `fwd` of `Cache-Status`.
    pub(crate) why: &'static str,
    pub(crate) detail: Option<&'static str>,
    pub(crate) sharing: Sharing,
    /// The stored answer that the origin is asked to confirm.
    pub(crate) basis: Option<Arc<Object<D::Memory>>>,
    /// What is missing of the stored part.
    pub(crate) missing: Option<Box<Missing<D::Memory>>>,
}

/// Who is a fetch for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Its client alone; nothing is stored.
    Private,
    /// Its client alone, and the store.
    Alone,
    /// Whoever asks for the same meanwhile, and the store.
    Shared,
}

/// What a look into the store found.
enum Found<D: Driver> {
    /// A stored answer for requests like this one, fresh or not, from the front or the index behind it.
    Answer(Rc<Resident<D::Memory>>, Place),
    /// Nothing under the key.
    Nothing,
    /// Parts of an answer, not the one asked for; what one of them lacks of that.
    Partial(Option<Box<Missing<D::Memory>>>),
    /// Answers for other requests: what this one has in the fields they vary by.
    OtherVariants(Vec<u8>),
    /// The index was not asked: it had its share of this turn.
    PutOff,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Front,
    Index,
}

/// Decisions on one request; what keeps missing fetches for itself.
const TRIES_MAX: u8 = 3;

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    pub(crate) fn look_up(
        &mut self,
        io: &mut D,
        question: &Question<'_>,
        view: &KeyView<'_>,
        facts: RequestFacts,
        way: Way,
    ) -> Flow {
        let hash = self.hasher.hash(view);
        let (mut why, mut variant, mut basis, mut missing) = ("uri-miss", None, None, None);
        match self.find(io, question, &facts, hash, view) {
            Found::Answer(resident, place) => {
                let terms = &resident.object.terms;
                match policy::reuse(&facts, terms, io.now().wall) {
                    Reuse::Fresh => {
                        self.count_hit(place);
                        return self.serve_stored(io, question, &resident, &facts, Served::Fresh);
                    }
                    Reuse::StaleAllowed => {
                        self.count_hit(place);
                        let served = Served::Stale("max-stale");
                        return self.serve_stored(io, question, &resident, &facts, served);
                    }
                    Reuse::StaleWhileRevalidate if resident.object.part.is_none() => {
                        self.count_hit(place);
                        self.refresh(io, question, facts, way, &resident.object);
                        let served = Served::Stale("stale-while-revalidate");
                        return self.serve_stored(io, question, &resident, &facts, served);
                    }
                    Reuse::StaleWhileRevalidate => why = "stale",
                    // A part is not validated: it is asked for again.
                    Reuse::Validate(reason) if resident.object.part.is_some() => {
                        why = reason.fwd();
                    }
                    Reuse::Validate(reason) => {
                        why = reason.fwd();
                        variant = Some(resident.object.variant.signature().to_vec());
                        basis = Some(Arc::clone(&resident.object));
                    }
                }
            }
            Found::Nothing => {}
            Found::Partial(lacking) => {
                why = "partial";
                // Who is to wait for nobody gets it from nobody's part either: completing it may be what failed.
                missing = lacking.filter(|_| !question.alone);
            }
            Found::OtherVariants(selected) => {
                why = "vary-miss";
                variant = Some(selected);
            }
            Found::PutOff => return Flow::PutOff,
        }
        if facts.only_if_cached {
            return self.answer_local(io, question, 504, "nothing fresh is stored");
        }
        let mut forward = Forward {
            way,
            facts,
            key: Some(Key::new(hash, view)),
            variant: variant.unwrap_or_else(|| question.variant.clone()),
            why,
            detail: None,
            sharing: Sharing::Private,
            basis,
            missing,
        };
        forward.sharing = self.sharing(io, question, &forward, hash);
        self.forward(io, question, forward)
    }

    /// Whether others may wait for what this request fetches.
    fn sharing(
        &self,
        io: &D,
        question: &Question<'_>,
        forward: &Forward<D>,
        hash: KeyHash,
    ) -> Sharing {
        let has_basis = forward.basis.is_some();
        let asks_whole =
            forward.way.rules.fetch_whole && forward.facts.range && !forward.facts.conditional;
        if question.request.method != Method::Get {
            return if has_basis {
                Sharing::Alone
            } else {
                Sharing::Private
            };
        }
        let completes_range = forward.missing.is_some() && forward.facts.range;
        let alone = question.tries >= TRIES_MAX
            || question.alone
            || completes_range
            || forward.facts.is_unshared(has_basis || asks_whole)
            || forward
                .basis
                .as_ref()
                .is_some_and(|basis| !may_collapse(basis))
            || self.flights.is_passing(hash, io.now().wall);
        if alone {
            Sharing::Alone
        } else {
            Sharing::Shared
        }
    }

    fn count_hit(&self, place: Place) {
        match place {
            Place::Front => self.cells.front_hits.add(1),
            Place::Index => self.cells.index_hits.add(1),
        }
    }

    #[inline]
    fn find(
        &mut self,
        io: &D,
        question: &Question<'_>,
        facts: &RequestFacts,
        hash: KeyHash,
        view: &KeyView<'_>,
    ) -> Found<D> {
        let fields = &question.request.fields;
        if let Some(held) = self.front.find(hash, view) {
            let due = held.due_touch(io.now().moment);
            let found = chosen(held, fields, facts, &mut self.selected, Place::Front);
            if due {
                self.index_touch(io, hash);
            }
            return found;
        }
        if self.index_is_spent() && question.tries == 0 {
            return Found::PutOff;
        }
        self.find_in_index(io, fields, facts, hash, view)
    }

    fn find_in_index(
        &mut self,
        io: &D,
        fields: &Fields<'_>,
        facts: &RequestFacts,
        hash: KeyHash,
        view: &KeyView<'_>,
    ) -> Found<D> {
        let Some(entry) = self.index_get(io, hash, view) else {
            return Found::Nothing;
        };
        match self.front.admit(entry) {
            Some(held) => chosen(held, fields, facts, &mut self.selected, Place::Index),
            None => Found::Nothing,
        }
    }

    /// Sets up the exchange of a request that is not answered at once, and the fetch it needs, if any.
    pub(crate) fn forward(
        &mut self,
        io: &mut D,
        question: &Question<'_>,
        forward: Forward<D>,
    ) -> Flow {
        if self.is_too_long(question.request) {
            return self.answer_local(io, question, 413, "request body too long");
        }
        if request::goes_in_a_circle(question.request) {
            return self.answer_local(io, question, 508, "the request goes in a circle");
        }
        let joined = match &forward.key {
            Some(key) if forward.sharing == Sharing::Shared => {
                Some(self.join(io, key, &forward.variant))
            }
            Some(key) if forward.sharing == Sharing::Alone => {
                Some(Joined::Lead(self.flights.alone(key, self.shard)))
            }
            _ => None,
        };
        if let Some(Joined::Lead(_)) = &joined
            && forward.sharing == Sharing::Shared
            && let Some(resident) = self.landed_meanwhile(io, question, &forward)
        {
            // The leader is dropped: whoever joined it meanwhile finds what was found here.
            return self.serve_stored(io, question, &resident, &forward.facts, Served::Fresh);
        }
        let cache = match (&joined, forward.detail) {
            (Some(Joined::Follow(_)), _) => CacheLabel::Collapsed,
            (_, Some(_)) => CacheLabel::Bypass,
            _ => CacheLabel::Miss,
        };
        let mut exchange = self.exchange_of(io, question, forward.facts, cache);
        exchange.why = forward.why;
        exchange.about.key = forward.key.as_ref().map_or(0, |key| key.hash().short());
        exchange.about.upstream = Some(forward.way.upstream.0);
        let waits = match joined {
            Some(Joined::Follow(_)) => Stage::CollapseWait,
            _ => Stage::UpstreamConnect,
        };
        exchange.timing.enter(waits, io.stamp());
        let socket = question.socket;
        match joined {
            Some(Joined::Follow(flight)) => {
                exchange.answer = Answer::Following(flight);
                self.begin(io, socket, exchange);
                self.follow(socket);
            }
            Some(Joined::Lead(leader)) => {
                exchange.answer = Answer::Following(Arc::clone(leader.flight()));
                let fetch = self.fetch_for(io, question, forward, Some(socket), Some(leader));
                self.begin(io, socket, exchange);
                self.follow(socket);
                self.fetch(io, fetch);
            }
            None => {
                let fetch = self.fetch_for(io, question, forward, Some(socket), None);
                self.begin(io, socket, exchange);
                self.fetch(io, fetch);
            }
        }
        Flow::Wait
    }

    pub(crate) fn exchange_of(
        &mut self,
        io: &D,
        question: &Question<'_>,
        facts: RequestFacts,
        cache: CacheLabel,
    ) -> Exchange<D> {
        let body = question.request.body;
        let (asked, timing) = (question.asked, question.timing());
        let mut exchange = Exchange::new(asked, timing, cache, question.id, body, facts);
        exchange.head = question.head.into();
        if self.cells.log.is_on()
            && let Some(client) = self.clients.at(question.socket)
        {
            exchange.peer = client.address(io, question.socket);
        }
        exchange.tries = question.tries;
        exchange.about = question.about(self.backlog);
        exchange
    }

    /// Joins the flight of a key's variant. One whose answer went stale while it came is of no use to who asks now, nor to
    /// the store: it is left to those it has, and the next is begun.
    fn join(&self, io: &D, key: &Key, variant: &[u8]) -> Joined<D::Memory> {
        match self.flights.join(key, variant, self.shard) {
            Joined::Follow(flight) if self.is_useless(io, &flight.look(self.shard)) => {
                self.flights.outdate(key);
                self.flights.join(key, variant, self.shard)
            }
            Joined::Follow(flight) if self.is_crowded(&flight) => {
                Joined::Lead(self.flights.alone(key, self.shard))
            }
            joined => joined,
        }
    }

    fn is_useless(&self, io: &D, state: &FlightState<D::Memory>) -> bool {
        match state {
            FlightState::Streaming(
                object,
                Brought::Stored | Brought::Completed | Brought::Revalidated,
            ) => {
                let terms = &object.terms;
                let lifetime = &terms.lifetime;
                lifetime.was_fresh() && !lifetime.is_fresh(io.now().wall) && !terms.no_cache
            }
            _ => false,
        }
    }

    /// No more wait for this flight on this shard than [`FLIGHT_WAITERS_MAX`](limits::FLIGHT_WAITERS_MAX).
    fn is_crowded(&self, flight: &cache::Flight<D::Memory>) -> bool {
        let followers = self.followers.get(&flight.id());
        followers.is_some_and(|followers| followers.clients.len() >= limits::FLIGHT_WAITERS_MAX)
    }

    /// The flight before this one may have landed between the look into the index and the join.
    fn landed_meanwhile(
        &mut self,
        io: &D,
        question: &Question<'_>,
        forward: &Forward<D>,
    ) -> Option<Rc<Resident<D::Memory>>> {
        let key = forward.key.as_ref()?;
        let fields = &question.request.fields;
        let found = self.find_in_index(io, fields, &forward.facts, key.hash(), &key.view());
        let Found::Answer(resident, place) = found else {
            return None;
        };
        let terms = &resident.object.terms;
        let reuse = policy::reuse(&forward.facts, terms, io.now().wall);
        if reuse != Reuse::Fresh {
            return None;
        }
        self.count_hit(place);
        Some(resident)
    }

    fn fetch_for(
        &mut self,
        io: &D,
        question: &Question<'_>,
        forward: Forward<D>,
        client: Option<SocketId>,
        leader: Option<Leader<D::Memory>>,
    ) -> Fetch<D> {
        let request = question.request;
        let conditions = match (&forward.basis, &forward.missing) {
            (Some(basis), _) => policy::validators(&basis.terms, &basis.head.fields),
            (None, Some(missing)) => {
                let part = &missing.part;
                policy::range_if_same(&part.terms, &part.head.fields, &missing.range)
            }
            (None, None) => Vec::new(),
        };
        let upstream = self.settings.upstream(forward.way.upstream);
        let preface = upstream.and_then(|upstream| upstream.send_proxy_protocol);
        let wish = Wish {
            whole: forward.sharing == Sharing::Shared
                || forward.basis.is_some()
                || forward.missing.is_some(),
            upgrade: request::wants_upgrade(request),
            conditions: &conditions,
            last: preface.is_some(),
        };
        let host = if request.host.is_empty() {
            &self.settings.default_host
        } else {
            request.host
        };
        let upstream = self.settings.upstream(forward.way.upstream);
        let hash = upstream.map_or(0, |upstream| upstream.hash(request, host));
        let mut head = self.request_head(io, question, wish);
        if let Some(version) = preface {
            head.splice(..0, self.preface(io, question.socket, version));
        }
        let order = Order {
            upstream: forward.way.upstream,
            priority: forward.way.priority,
            hash,
            rules: forward.way.rules,
            head,
            asked: question.head.into(),
            method: request.method,
            facts: forward.facts,
            body: request.body,
            upgrade: wish.upgrade,
            key: forward.key,
            why: forward.why,
            detail: forward.detail,
            route: question.asked.route,
            is_alone: preface.is_some(),
        };
        let (basis, missing) = (forward.basis, forward.missing);
        let now = io.now().wall;
        Fetch::new(Box::new(order), basis, missing, client, leader, now)
    }

    /// The head of the request that an origin gets.
    fn request_head(&mut self, io: &D, question: &Question<'_>, wish: Wish<'_>) -> Vec<u8> {
        let Question {
            socket, request, ..
        } = *question;
        let source = self.clients.at(socket);
        let source = source.and_then(|client| client.source.get(io, socket));
        let asker = self.client_address(io, socket);
        let asker = asker.map_or_else(|| "unknown".to_owned(), |asker| asker.to_string());
        let host = match request.host {
            b"" => &self.settings.default_host,
            host => host,
        };
        let Some(route) = self.settings.route_of(question.asked.route) else {
            return Vec::new();
        };
        let writer = Writer {
            forwarding: &self.settings.forwarding,
            hop: Hop {
                source: source.map(|address| address.ip()),
                host: &host.to_ascii_lowercase(),
            },
            route,
            values: Values {
                client_address: asker.as_bytes(),
                request_id: question.id,
            },
        };
        writer.head(request, wish)
    }

    /// Asks the origin behind the back of a client that is answered stale, unless somebody does so already
    /// (RFC 5861 §3).
    fn refresh(
        &mut self,
        io: &mut D,
        question: &Question<'_>,
        facts: RequestFacts,
        way: Way,
        object: &Arc<Object<D::Memory>>,
    ) {
        let variant = object.variant.signature();
        if question.request.method != Method::Get || self.index_is_spent() {
            return;
        }
        let Some(leader) = self.flights.lead(&object.key, variant, self.shard) else {
            return;
        };
        let forward = Forward {
            way,
            facts,
            key: Some(object.key.clone()),
            variant: Vec::new(),
            why: "stale",
            detail: None,
            sharing: Sharing::Shared,
            basis: Some(Arc::clone(object)),
            missing: None,
        };
        let mut fetch = self.fetch_for(io, question, forward, None, Some(leader));
        fetch.leave_unattended(io.now().moment);
        self.fetch(io, fetch);
    }

    /// Installs an exchange.
    pub(crate) fn begin(&mut self, io: &D, socket: SocketId, exchange: Exchange<D>) {
        let has_body = exchange.body.is_some();
        if let Some(client) = self.clients.at(socket)
            && let Some(work) = client.work.as_mut()
        {
            work.exchange = Some(exchange);
            work.body_received = 0;
            work.body_since = Moment(0);
        }
        if has_body {
            self.await_body(io, socket);
        } else {
            self.set_patience(socket, Patience::Answer, Moment(u64::MAX));
        }
    }

    /// Starts a fetch.
    fn fetch(&mut self, io: &mut D, mut fetch: Fetch<D>) {
        self.cells.misses.add(1);
        self.cells.forwards.add(fetch.order.why);
        if let Some(key) = &fetch.order.key {
            fetch.purges = self.flights.purges(key.hash());
        }
        let flight = fetch.leader.as_ref().map(|leader| leader.flight().id());
        let client = fetch.client;
        let ticket = self.fetches.insert(Box::new(fetch));
        match flight {
            Some(flight) => {
                self.leading.insert(flight, ticket);
            }
            None => {
                if let Some(exchange) = client.and_then(|client| self.exchange(client)) {
                    exchange.answer = Answer::Fetching(ticket);
                }
            }
        }
        self.enqueue(io, ticket);
    }

    /// Has a client wait for the flight its exchange names.
    fn follow(&mut self, socket: SocketId) {
        let Some(exchange) = self.exchange(socket) else {
            return;
        };
        let Answer::Following(flight) = &exchange.answer else {
            return;
        };
        let flight = Arc::clone(flight);
        let id = flight.id();
        self.followers
            .entry(id)
            .or_insert_with(|| Followers {
                flight,
                resident: None,
                clients: Vec::new(),
            })
            .clients
            .push(socket);
        // It may have moved between the join and now.
        self.moved.push(id);
    }

    /// What was waited for does not serve this client: its request is decided on again. `variant` is what it has in the
    /// fields that the answer turned out to vary by; if `alone`, it waits for nobody.
    pub(crate) fn decide_again(
        &mut self,
        io: &mut D,
        socket: SocketId,
        variant: Vec<u8>,
        alone: bool,
    ) {
        let work = self
            .clients
            .at(socket)
            .and_then(|client| client.work.as_mut());
        let Some(mut exchange) = work.and_then(|work| work.exchange.take()) else {
            return;
        };
        exchange.timing.enter(Stage::Lookup, io.stamp());
        let mut table = self.table.take().unwrap_or_default();
        let limits = self.settings.limits.head;
        if let Parsed::Whole(request) = parse_request(&exchange.head, &mut table, &limits) {
            let mut question = Question {
                socket,
                request: &request,
                head: &exchange.head,
                asked: exchange.asked,
                reading: Reading::before(exchange.asked.start),
                earlier: Some(exchange.timing),
                id: &exchange.request_id,
                tries: exchange.tries.saturating_add(1),
                variant,
                alone,
            };
            question.asked.route = RouteLabel::NoMatch;
            let flow = self.decide_on(io, &mut question);
            if flow == Flow::Parched {
                let asked = question.asked;
                self.answer_error(io, socket, asked, 503, "no buffer left for an answer");
            }
        }
        self.table = Some(table);
        self.touch(socket);
    }
}

/// Whether those who wait for a validation can be served by what it brings: not where each use wants one of its own.
fn may_collapse<M: Memory>(basis: &Object<M>) -> bool {
    !basis.terms.no_cache && basis.terms.lifetime.was_fresh()
}

/// The answer of an entry that was chosen for requests with these fields.
#[inline]
fn chosen<D: Driver>(
    held: &Held<D::Memory>,
    fields: &Fields<'_>,
    facts: &RequestFacts,
    selected: &mut Vec<u8>,
    place: Place,
) -> Found<D> {
    match held.entry().select(fields, selected) {
        Some(at) => Found::Answer(Rc::clone(held.resident(at)), place),
        None => chosen_else(held, fields, facts, selected, place),
    }
}

/// Likewise where no whole answer was.
#[cold]
fn chosen_else<D: Driver>(
    held: &Held<D::Memory>,
    fields: &Fields<'_>,
    facts: &RequestFacts,
    selected: &mut Vec<u8>,
    place: Place,
) -> Found<D> {
    let entry = held.entry();
    let ranges = asked_ranges(fields, facts);
    let holds = |part: &Part| {
        let ranges = ranges.as_ref().map(|ranges| ranges.resolve(part.whole()));
        match ranges {
            Some(Resolved::Parts(ranges)) => {
                ranges.as_slice().iter().all(|range| part.holds(range))
            }
            _ => false,
        }
    };
    if let Some(at) = entry.select_part(fields, selected, holds) {
        return Found::Answer(Rc::clone(held.resident(at)), place);
    }
    let lacks = |part: &Part| part.lacks(&wanted(facts, ranges.as_ref(), part.complete?)?);
    let is_begun = |part: &Part| lacks(part).is_some();
    if let Some(at) = entry.select_part(fields, selected, is_begun) {
        let object = entry.objects().get(at);
        let missing = object
            .filter(|object| object.has_strong_tag())
            .and_then(|object| {
                let range = lacks(object.part.as_ref()?)?;
                let part = Arc::clone(object);
                Some(Box::new(Missing { part, range }))
            });
        return Found::Partial(missing);
    }
    if entry.select_part(fields, selected, |_| true).is_some() {
        return Found::Partial(None);
    }
    if let Some(object) = entry.objects().first() {
        object.variant.select(fields, selected);
    }
    Found::OtherVariants(selected.clone())
}

/// What a request wants of a representation of this length, where that is one piece of it.
fn wanted(facts: &RequestFacts, ranges: Option<&Ranges>, length: u64) -> Option<Range<u64>> {
    if facts.method != Method::Get || facts.conditional {
        return None;
    }
    if !facts.range {
        return Some(0..length);
    }
    match ranges?.resolve(length) {
        Resolved::Parts(parts) => match parts.as_slice() {
            [part] => Some(part.clone()),
            _ => None,
        },
        Resolved::Whole | Resolved::Unsatisfiable => None,
    }
}

/// The ranges that a request asks for and a part may answer: conditions are for the whole.
fn asked_ranges(fields: &Fields<'_>, facts: &RequestFacts) -> Option<Ranges> {
    let is_asked = facts.range && !facts.conditional && !fields.is_repeated(Name::Range);
    fields
        .first(Name::Range)
        .filter(|_| is_asked)
        .and_then(Ranges::parse)
}
