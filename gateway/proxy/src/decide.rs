//! What becomes of a request: a built-in page, a hit, a wait for somebody else's fetch, or a fetch of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use base::{Driver, SocketId};
use cache::policy::RequestFacts;
use cache::{Key, KeyView, NodeStore};
use http::{BodyLength, Method, Name, Request, Target};
use telemetry::{MethodLabel, RouteLabel, Stage, Trace};

use crate::Proxy;
use crate::answer::{Own, REQUEST_ID_MAX, error_body};
use crate::client::{About, Asked, Exchange};
use crate::lookup::{Forward, Sharing, Way};
use crate::read::Flow;
use crate::request;
use crate::scribe::Said;
use crate::timing::{Reading, Timing};
use crate::upstream::mix;

/// Where the admin paths are, and how they come here.
const ADMIN_ELSEWHERE: &str =
    "admin paths are on the operator port; [admin] on_data_port = true serves them here too";

/// A request being decided on.
pub(crate) struct Question<'q> {
    pub(crate) socket: SocketId,
    pub(crate) request: &'q Request<'q>,
    /// The bytes of its head.
    pub(crate) head: &'q [u8],
    pub(crate) asked: Asked,
    pub(crate) reading: Reading,
    /// How far it was when it was decided on before.
    pub(crate) earlier: Option<Timing>,
    /// The id under which logs and the origin know it.
    pub(crate) id: &'q [u8],
    /// Decisions before this one.
    pub(crate) tries: u8,
    /// What it has in the fields that the answer to it varies by, where that is known before the store knows.
    pub(crate) variant: Vec<u8>,
    /// It waits for nobody else's fetch.
    pub(crate) alone: bool,
}

impl Question<'_> {
    /// What the access log gets of it.
    pub(crate) fn said(&self, peer: Option<SocketAddr>) -> Said<'_> {
        Said {
            peer,
            head: self.head,
            id: self.id,
        }
    }

    /// What the flight recorder is told of it.
    pub(crate) fn about(&self, backlog: u32) -> About {
        let parent = self.request.fields.first(Name::Traceparent);
        About {
            backlog,
            trace: parent.map_or_else(Trace::default, Trace::of),
            ..About::default()
        }
    }

    /// Its stages up to the lookup that it is in.
    pub(crate) fn timing(&self) -> Timing {
        let reading = || Timing::looking_up(&self.reading);
        self.earlier.unwrap_or_else(reading)
    }
}

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    pub(crate) fn decide(
        &mut self,
        io: &mut D,
        socket: SocketId,
        request: &Request<'_>,
        head: &[u8],
        reading: Reading,
    ) -> Flow {
        let mut own_id = [0; 16];
        let mut question = Question {
            socket,
            request,
            head,
            asked: Asked {
                start: reading.start,
                method: method_label(request.method),
                route: RouteLabel::NoMatch,
                version: request.version,
                head_only: request.method == Method::Head,
                keep_alive: request.keeps_alive() && !self.draining,
            },
            reading,
            earlier: None,
            id: self.request_id(request, &mut own_id),
            tries: 0,
            variant: Vec::new(),
            alone: false,
        };
        if self.settings.forwarding.is_read() {
            self.believe(io, socket, &request.fields);
        }
        if let Some(flow) = self.built_in(io, &mut question) {
            return flow;
        }
        self.decide_on(io, &mut question)
    }

    pub(crate) fn decide_on(&mut self, io: &mut D, question: &mut Question<'_>) -> Flow {
        let mut host = std::mem::take(&mut self.host);
        lower_case_into(
            &mut host,
            question.request.host,
            &self.settings.default_host,
        );
        let flow = self.route(io, question, &host);
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
        let (may_cache, rules) = (route.cache, route.rules);
        let way = Way {
            upstream: route.upstream,
            priority: route.priority,
            rules,
        };
        question.asked.route = RouteLabel::Route(route.id);
        if let Some((status, reason)) = answered_here(request) {
            return self.answer_local(io, question, status, reason);
        }
        let facts = RequestFacts::of(request, &rules);
        let view = KeyView {
            scheme: self.scheme(question.socket),
            host,
            target,
        };
        let refused = match facts.cacheable() {
            _ if !may_cache => "route",
            _ if request::wants_upgrade(request) => "upgrade",
            Err(reason) => reason.as_str(),
            Ok(()) => return self.look_up(io, question, &view, facts, way),
        };
        let forward = Forward {
            way,
            facts,
            key: may_cache.then(|| Key::new(self.hasher.hash(&view), &view)),
            variant: Vec::new(),
            why: match request.method {
                Method::Get | Method::Head => "bypass",
                _ => "method",
            },
            detail: Some(refused),
            sharing: Sharing::Private,
            basis: None,
            missing: None,
        };
        self.forward(io, question, forward)
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
    pub(crate) fn answer_local(
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
        let mut timing = question.timing();
        timing.enter(Stage::Encode, io.stamp());
        let flow = self.answer_own(io, question, asked, timing, own);
        if unread && flow == Flow::Next {
            self.answered_unread(question.socket);
        }
        flow
    }

    pub(crate) fn is_too_long(&self, request: &Request<'_>) -> bool {
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
