//! What becomes of a request: a built-in page, a hit, a wait for somebody else's fetch, or a fetch of its own.

use std::rc::Rc;
use std::sync::Arc;

use base::{Driver, Memory, Moment, SocketId, Stamp, UpstreamId, Wall, limits};
use cache::policy::RequestFacts;
use cache::{
    FlightId, FlightState, Joined, Key, KeyHash, KeyView, Leader, NodeStore, Resident,
};
use http::{BodyLength, Method, Name, Request, Target};
use telemetry::{CacheLabel, MethodLabel, RouteLabel};

use crate::answer::{Own, REQUEST_ID_MAX, error_body};
use crate::client::{Answer, Asked, Exchange, Patience};
use crate::fetch::{Fetch, Order};
use crate::read::Flow;
use crate::request::{self, Wish};
use crate::{Followers, Proxy};

/// Where the admin paths are, and how they come here.
const ADMIN_ELSEWHERE: &str =
    "admin paths are on the operator port; [admin] on_data_port = true serves them here too";

/// Fields whose conditions only the origin can judge (RFC 9110 §13.1.1, §13.1.4).
const ORIGIN_CONDITIONS: u64 = 1 << Name::IfMatch as u8 | 1 << Name::IfUnmodifiedSince as u8;

/// A request being decided on.
struct Question<'q> {
    socket: SocketId,
    request: &'q Request<'q>,
    asked: Asked,
    /// The id under which logs and the origin know it.
    id: &'q [u8],
}

/// How a request goes forward.
struct Forward {
    upstream: UpstreamId,
    facts: RequestFacts,
    /// What the answer is stored under, or invalidates.
    key: Option<Key>,
    /// `fwd` of `Cache-Status`.
    why: &'static str,
    detail: Option<&'static str>,
    /// Others may share the fetch, and its answer may be stored.
    shared: bool,
}

/// Why no stored answer was found.
enum Unfound {
    /// The word for `Cache-Status` `fwd`.
    Because(&'static str),
    /// The index was not asked: it had its share of this turn.
    PutOff,
}

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    pub(crate) fn decide(
        &mut self,
        io: &mut D,
        socket: SocketId,
        request: &Request<'_>,
        start: Stamp,
    ) -> Flow {
        let mut own_id = [0; 16];
        let mut question = Question {
            socket,
            request,
            asked: Asked {
                start,
                method: method_label(request.method),
                route: RouteLabel::NoMatch,
                version: request.version,
                head_only: request.method == Method::Head,
                keep_alive: request.keeps_alive() && !self.draining,
            },
            id: self.request_id(request, &mut own_id),
        };
        if let Some(flow) = self.built_in(io, &mut question) {
            return flow;
        }
        let mut host = std::mem::take(&mut self.host);
        lower_case_into(&mut host, request.host, &self.settings.default_host);
        let flow = self.route(io, &mut question, &host);
        self.host = host;
        flow
    }

    fn route(&mut self, io: &mut D, question: &mut Question<'_>, host: &[u8]) -> Flow {
        let request = question.request;
        let target = match request.target {
            Target::Path => request.path_and_query,
            Target::Asterisk => b"/",
        };
        let Some(route) = self.settings.route(host, target) else {
            return self.answer_local(io, question, 404, "no route matches");
        };
        let (upstream, may_cache) = (route.upstream, route.cache);
        question.asked.route = RouteLabel::Route(route.id);
        if let Some((status, reason)) = answered_here(request) {
            return self.answer_local(io, question, status, reason);
        }
        let facts = RequestFacts::of(request);
        let view = KeyView {
            scheme: "http",
            host,
            target,
        };
        let refused = match facts.cacheable() {
            _ if !may_cache => "route",
            _ if request::wants_upgrade(request) => "upgrade",
            _ if request.fields.has_any(ORIGIN_CONDITIONS) => "condition",
            Err(reason) => reason.as_str(),
            Ok(()) => return self.look_up(io, question, &view, facts, upstream),
        };
        let forward = Forward {
            upstream,
            facts,
            key: may_cache.then(|| Key::new(self.hasher.hash(&view), &view)),
            why: match request.method {
                Method::Get | Method::Head => "bypass",
                _ => "method",
            },
            detail: Some(refused),
            shared: false,
        };
        self.forward(io, question, forward)
    }

    /// A request that may be answered from the store.
    fn look_up(
        &mut self,
        io: &mut D,
        question: &Question<'_>,
        view: &KeyView<'_>,
        facts: RequestFacts,
        upstream: UpstreamId,
    ) -> Flow {
        let hash = self.hasher.hash(view);
        let mut why = "request";
        if !facts.no_cache {
            match self.find(io, hash, view) {
                Ok(resident) => {
                    return self.serve_hit(
                        io,
                        question.socket,
                        &resident,
                        question.asked,
                        question.id,
                    );
                }
                Err(Unfound::PutOff) => return Flow::PutOff,
                Err(Unfound::Because(miss)) => why = miss,
            }
        }
        if facts.only_if_cached {
            return self.answer_local(io, question, 504, "nothing fresh is stored");
        }
        let forward = Forward {
            upstream,
            facts,
            key: Some(Key::new(hash, view)),
            why,
            detail: None,
            shared: question.request.method == Method::Get,
        };
        self.forward(io, question, forward)
    }

    /// A fresh stored object, from the front or the index behind it.
    fn find(
        &mut self,
        io: &D,
        hash: KeyHash,
        view: &KeyView<'_>,
    ) -> Result<Rc<Resident<D::Memory>>, Unfound> {
        let now = io.now();
        if let Some(resident) = self.front.find(hash, view) {
            if !resident.object.lifetime.is_fresh(now.wall) {
                return Err(Unfound::Because("stale"));
            }
            let resident = Rc::clone(resident);
            if resident.due_touch(now.moment) {
                self.index_touch(io, hash);
            }
            self.cells.front_hits.add(1);
            return Ok(resident);
        }
        if self.index_is_spent() {
            return Err(Unfound::PutOff);
        }
        let object = self.index_get(io, hash, view);
        let object = object.ok_or(Unfound::Because("uri-miss"))?;
        if !object.lifetime.is_fresh(now.wall) {
            return Err(Unfound::Because("stale"));
        }
        self.cells.index_hits.add(1);
        Ok(self.front.admit(object))
    }

    /// Sets up the exchange of a request that is not answered at once, and the fetch it needs, if any.
    fn forward(&mut self, io: &mut D, question: &Question<'_>, forward: Forward) -> Flow {
        if self.is_too_long(question.request) {
            return self.answer_local(io, question, 413, "request body too long");
        }
        let joined = match &forward.key {
            Some(key) if forward.shared => Some(self.join(io, key)),
            _ => None,
        };
        let joined = match joined {
            Some(Joined::Follow(flight)) if self.is_crowded(flight.id()) => None,
            Some(Joined::Lead(leader)) => {
                if let Some(resident) = self.landed_meanwhile(io, &leader, &forward) {
                    return self.serve_hit(
                        io,
                        question.socket,
                        &resident,
                        question.asked,
                        question.id,
                    );
                }
                Some(Joined::Lead(leader))
            }
            other => other,
        };
        let key = forward.key.clone();
        let cache = match (&joined, forward.detail) {
            (Some(Joined::Follow(_)), _) => CacheLabel::Collapsed,
            (_, Some(_)) => CacheLabel::Bypass,
            _ => CacheLabel::Miss,
        };
        let mut exchange = Exchange::new(question.asked, cache, question.id, question.request.body);
        exchange.why = forward.why;
        let order = self.order(question, forward, joined.is_some());
        let socket = question.socket;
        match (joined, key) {
            (Some(Joined::Follow(flight)), Some(key)) => {
                exchange.order = Some(order);
                exchange.answer = Answer::Following(flight, Box::new(key));
                self.begin(io, socket, exchange);
                self.follow(socket);
            }
            (Some(Joined::Lead(leader)), Some(key)) => {
                exchange.answer = Answer::Following(Arc::clone(leader.flight()), Box::new(key));
                self.begin(io, socket, exchange);
                self.follow(socket);
                self.fetch(io, socket, order, Some(leader));
            }
            _ => {
                self.begin(io, socket, exchange);
                self.fetch(io, socket, order, None);
            }
        }
        Flow::Wait
    }

    /// Joins the flight of a key. One whose answer went stale while it came is of no use to who asks now, nor to the store:
    /// it is left to those it has, and the next is begun.
    fn join(&self, io: &D, key: &Key) -> Joined<D::Memory> {
        match self.flights.join(key, self.shard) {
            Joined::Follow(flight) if is_stale(&flight.look(self.shard), io.now().wall) => {
                self.flights.outdate(key);
                self.flights.join(key, self.shard)
            }
            joined => joined,
        }
    }

    /// No more wait for this flight on this shard than [`FLIGHT_WAITERS_MAX`](limits::FLIGHT_WAITERS_MAX).
    fn is_crowded(&self, flight: FlightId) -> bool {
        let followers = self.followers.get(&flight);
        followers.is_some_and(|followers| followers.clients.len() >= limits::FLIGHT_WAITERS_MAX)
    }

    /// The flight before this one may have landed between the look into the index and the join.
    fn landed_meanwhile(
        &mut self,
        io: &D,
        leader: &Leader<D::Memory>,
        forward: &Forward,
    ) -> Option<Rc<Resident<D::Memory>>> {
        let key = forward.key.as_ref()?;
        let object = self.index_get(io, leader.hash(), &key.view())?;
        if !object.lifetime.is_fresh(io.now().wall) {
            return None;
        }
        self.cells.index_hits.add(1);
        Some(self.front.admit(object))
    }

    fn order(&self, question: &Question<'_>, forward: Forward, whole: bool) -> Box<Order> {
        let request = question.request;
        let wish = Wish {
            whole,
            upgrade: request::wants_upgrade(request),
        };
        let host = if request.host.is_empty() {
            &self.settings.default_host
        } else {
            request.host
        };
        Box::new(Order {
            upstream: forward.upstream,
            head: request::head(request, host, wish, question.id),
            method: request.method,
            facts: forward.facts,
            body: request.body,
            upgrade: wish.upgrade,
            key: forward.key,
            why: forward.why,
            detail: forward.detail,
        })
    }

    /// Installs an exchange.
    fn begin(&mut self, io: &D, socket: SocketId, exchange: Exchange<D>) {
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

    /// Starts a fetch for a client's exchange.
    pub(crate) fn fetch(
        &mut self,
        io: &mut D,
        socket: SocketId,
        order: Box<Order>,
        leader: Option<Leader<D::Memory>>,
    ) {
        self.cells.misses.add(1);
        let flight = leader.as_ref().map(|leader| leader.flight().id());
        let fetch = Fetch::new(order, socket, leader, io.now().wall);
        let ticket = self.fetches.insert(Box::new(fetch));
        match flight {
            Some(flight) => {
                self.leading.insert(flight, ticket);
            }
            None => {
                if let Some(exchange) = self.exchange(socket) {
                    exchange.answer = Answer::Fetching(ticket);
                }
            }
        }
        self.enqueue(io, ticket);
    }

    /// Has a client wait for the flight its exchange names.
    pub(crate) fn follow(&mut self, socket: SocketId) {
        let Some(exchange) = self.exchange(socket) else {
            return;
        };
        let Answer::Following(flight, _) = &exchange.answer else {
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

    pub(crate) fn exchange(&mut self, socket: SocketId) -> Option<&mut Exchange<D>> {
        self.clients.at(socket)?.work.as_mut()?.exchange.as_mut()
    }

    /// The paths that the gateway answers itself, for any host, before routing.
    fn built_in(&mut self, io: &mut D, question: &mut Question<'_>) -> Option<Flow> {
        let path = path_of(question.request.path_and_query);
        let health = !path.is_empty() && path == self.settings.health_path;
        if health || (!path.is_empty() && path == self.settings.status_path) {
            question.asked.route = RouteLabel::Internal;
            let pages = Arc::clone(&self.pages);
            let page = Own {
                status: pages.status,
                content_type: b"application/json",
                body: if health {
                    &pages.health
                } else {
                    &pages.summary
                },
                told: None,
            };
            return Some(self.answer_unread(io, question, &page));
        }
        if path.starts_with(b"/admin/") {
            question.asked.route = RouteLabel::Internal;
            return Some(self.answer_local(io, question, 403, ADMIN_ELSEWHERE));
        }
        None
    }

    /// An error of the gateway's own to a request it read.
    fn answer_local(
        &mut self,
        io: &mut D,
        question: &Question<'_>,
        status: u16,
        reason: &str,
    ) -> Flow {
        let body = error_body(status, reason);
        let own = Own {
            status,
            content_type: b"text/plain; charset=utf-8",
            body: &body,
            told: None,
        };
        self.answer_unread(io, question, &own)
    }

    /// An answer that does not read the request's body: where there is one, the connection ends.
    fn answer_unread(&mut self, io: &mut D, question: &Question<'_>, own: &Own<'_>) -> Flow {
        let mut asked = question.asked;
        let unread = has_body(question.request.body);
        asked.keep_alive &= !unread;
        let flow = self.answer_own(io, question.socket, asked, question.id, own);
        if unread && flow == Flow::Next {
            self.answered_unread(question.socket);
        }
        flow
    }

    fn is_too_long(&self, request: &Request<'_>) -> bool {
        match (request.body, self.settings.limits.body_bytes_max) {
            (BodyLength::Length(length), Some(max)) => length > max,
            _ => false,
        }
    }

    /// The client's own request id, where it is one, else a new one.
    fn request_id<'r>(&mut self, request: &Request<'r>, own: &'r mut [u8; 16]) -> &'r [u8] {
        if let Some(theirs) = request.fields.first(Name::XRequestId)
            && !theirs.is_empty()
            && theirs.len() <= REQUEST_ID_MAX
        {
            return theirs;
        }
        self.id_count = self.id_count.wrapping_add(1);
        *own = hex(mix(self.id_seed ^ self.id_count));
        own
    }
}

fn is_stale<M: Memory>(state: &FlightState<M>, now: Wall) -> bool {
    matches!(state, FlightState::Streaming(object) if !object.lifetime.is_fresh(now))
}

/// Whether body bytes (or the framing of none) follow the head.
pub(crate) fn has_body(body: BodyLength) -> bool {
    !matches!(body, BodyLength::Empty | BodyLength::Length(0))
}

/// What is answered here although a route matches: nothing is left of `Max-Forwards` (RFC 9110 §7.6.2).
fn answered_here(request: &Request<'_>) -> Option<(u16, &'static str)> {
    if request.fields.first(Name::MaxForwards) != Some(b"0") {
        return None;
    }
    match request.method {
        Method::Options => Some((200, "the gateway itself answers")),
        Method::Trace => Some((405, "the gateway does not reflect requests")),
        _ => None,
    }
}

fn path_of(path_and_query: &[u8]) -> &[u8] {
    let end = path_and_query.iter().position(|&byte| byte == b'?');
    path_and_query
        .get(..end.unwrap_or(path_and_query.len()))
        .unwrap_or_default()
}

fn lower_case_into(out: &mut Vec<u8>, host: &[u8], default: &[u8]) {
    out.clear();
    out.extend_from_slice(if host.is_empty() { default } else { host });
    out.make_ascii_lowercase();
}

fn method_label(method: Method) -> MethodLabel {
    match method {
        Method::Get => MethodLabel::Get,
        Method::Head => MethodLabel::Head,
        Method::Post => MethodLabel::Post,
        Method::Put => MethodLabel::Put,
        Method::Delete => MethodLabel::Delete,
        Method::Patch => MethodLabel::Patch,
        Method::Options => MethodLabel::Options,
        Method::Trace => MethodLabel::Trace,
        Method::Connect => MethodLabel::Connect,
        Method::Other => MethodLabel::Other,
    }
}

/// A bijection of 64 bits that spreads a counter (the finaliser of SplitMix64).
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Sixteen hexadecimal digits, eight at a time.
fn hex(value: u64) -> [u8; 16] {
    let high = digits((value >> 32) as u32).to_be_bytes();
    let low = digits(value as u32).to_be_bytes();
    let mut out = [0; 16];
    out[..8].copy_from_slice(&high);
    out[8..].copy_from_slice(&low);
    out
}

/// Eight digits as the bytes of a word: nibbles are spread to bytes, then each byte above 9 moves on to the letters.
fn digits(value: u32) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let spread = u64::from(value);
    let spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    let spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    let spread = (spread | spread << 4) & (ONES * 0x0f);
    let letters = ((spread + ONES * 6) >> 4) & ONES;
    spread + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_sixteen_hexadecimal_digits() {
        for value in [0, 1, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, u64::MAX] {
            assert_eq!(hex(value), format!("{value:016x}").as_bytes());
        }
    }
}
