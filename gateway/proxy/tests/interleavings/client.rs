//! Clients: what they ask for, and what they wait for.

use std::collections::VecDeque;

use base::SocketId;

use crate::chance::Chance;
use crate::origin::TARGETS;
use crate::wire::HEAD_END;

/// A request.
#[derive(Clone)]
pub(crate) struct Ask {
    /// X-Request-Id: no two requests of a story share one.
    pub(crate) id: String,
    pub(crate) method: &'static str,
    pub(crate) target: usize,
    /// The fields V and W, by which the origin may vary its answers.
    pub(crate) v: &'static str,
    pub(crate) w: &'static str,
    pub(crate) range: Option<String>,
    /// If-None-Match.
    pub(crate) has: Option<String>,
    /// One more field line.
    other: &'static str,
    /// When it was sent.
    pub(crate) at: u64,
}

const ONLY_IF_CACHED: &str = "Cache-Control: only-if-cached\r\n";

const OTHERS: [&str; 14] = [
    "Cache-Control: no-cache\r\n",
    "Cache-Control: max-stale=1000\r\n",
    ONLY_IF_CACHED,
    "Authorization: x\r\n",
    "Cache-Control: max-age=2\r\n",
    "Cache-Control: stale-if-error=10000\r\n",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
];

impl Ask {
    /// One of those who may know some of these tags.
    pub(crate) fn any(chance: &mut Chance, id: String, tags: &[String], at: u64) -> Self {
        let mut ask = Self {
            id,
            method: match chance.below(20) {
                0 => "POST",
                1 | 2 => "HEAD",
                _ => "GET",
            },
            target: chance.below(TARGETS),
            v: chance.pick(&["v0", "v1"]),
            w: chance.pick(&["w0", "w1"]),
            range: None,
            has: None,
            other: "",
            at,
        };
        if ask.method == "GET" && chance.one_in(4) {
            ask.range = Some(any_range(chance));
        }
        if ask.method != "POST" {
            let of_target = format!("t{}.", ask.target);
            let tags: Vec<_> = tags
                .iter()
                .filter(|tag| tag.starts_with(&of_target))
                .collect();
            if chance.one_in(6) && !tags.is_empty() {
                ask.has = Some(chance.pick(&tags).clone());
            }
            ask.other = chance.pick(&OTHERS);
        }
        ask
    }

    pub(crate) fn only_if_cached(&self) -> bool {
        self.other == ONLY_IF_CACHED
    }

    pub(crate) fn text(&self) -> String {
        let Self {
            id,
            method,
            target,
            v,
            w,
            other,
            ..
        } = self;
        let mut text = format!(
            "{method} /{target} HTTP/1.1\r\nHost: t\r\nX-Request-Id: {id}\r\nV: {v}\r\nW: {w}\r\n{other}"
        );
        if let Some(range) = &self.range {
            text += &format!("Range: {range}\r\n");
        }
        if let Some(tag) = &self.has {
            text += &format!("If-None-Match: \"{tag}\"\r\n");
        }
        text + if *method == "POST" {
            "Content-Length: 3\r\n\r\nabc"
        } else {
            "\r\n"
        }
    }
}

fn any_range(chance: &mut Chance) -> String {
    let first = chance.below(20);
    match chance.below(5) {
        0 => format!("bytes={first}-"),
        1 => format!("bytes=-{}", 1 + chance.below(9)),
        2 => "bytes=0-3,10-12".to_owned(),
        _ => format!("bytes={first}-{}", first + chance.below(20)),
    }
}

/// A client's connection.
pub(crate) struct Client {
    /// The shard that accepted it.
    pub(crate) shard: usize,
    pub(crate) socket: SocketId,
    /// Requests without their answer, oldest first.
    pub(crate) waits: VecDeque<Ask>,
    /// Packets not yet sent.
    pub(crate) going: VecDeque<Vec<u8>>,
    pub(crate) came: String,
    pub(crate) ended: bool,
}

impl Client {
    pub(crate) fn new(shard: usize, socket: SocketId) -> Self {
        Self {
            shard,
            socket,
            waits: VecDeque::new(),
            going: VecDeque::new(),
            came: String::new(),
            ended: false,
        }
    }

    /// Puts requests on their way, in one packet or cut in two.
    pub(crate) fn send(&mut self, chance: &mut Chance, asks: Vec<Ask>) {
        let mut bytes: Vec<u8> = asks
            .iter()
            .flat_map(|ask| ask.text().into_bytes())
            .collect();
        self.waits.extend(asks);
        if chance.one_in(4) {
            let rest = bytes.split_off(1 + chance.below(bytes.len() - 1));
            self.going.push_back(bytes);
            bytes = rest;
        }
        self.going.push_back(bytes);
    }

    /// Whether it has all it asked for, and nothing else.
    pub(crate) fn is_content(&self) -> bool {
        self.ended || self.waits.is_empty() && self.going.is_empty() && self.came.is_empty()
    }
}

/// The length of the first request of what an origin got, if it is all there.
pub(crate) fn request_length(came: &str) -> Option<usize> {
    let end = came.find(HEAD_END)? + HEAD_END.len();
    let end = end
        + if came.starts_with("POST") {
            "abc".len()
        } else {
            0
        };
    (came.len() >= end).then_some(end)
}
