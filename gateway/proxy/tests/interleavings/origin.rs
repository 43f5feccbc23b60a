//! The origin: what it says of each target, and its connections.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::{self, Display, Formatter};

use base::SocketId;

use crate::chance::{Chance, mix};
use crate::wire::{HEAD_END, field, resolve};

pub(crate) const TARGETS: usize = 4;

/// The tag of what is no representation.
pub(crate) const ERROR_TAG: &str = "err";
pub(crate) const ERROR_BODY: &str = "bad";
pub(crate) const POST_BODY: &str = "done";

const CONTROLS: [&str; 9] = [
    "max-age=60",
    "max-age=1",
    "max-age=0",
    "no-cache",
    "max-age=1, stale-while-revalidate=100",
    "max-age=1, stale-if-error=100",
    "no-store",
    "public, max-age=60",
    "max-age=5, must-revalidate",
];

/// What an entity tag says of its representation; `-` where it is the same for all.
pub(crate) struct Tag<'a> {
    pub(crate) target: &'a str,
    pub(crate) v: &'a str,
    pub(crate) w: &'a str,
    /// The request whose own it is.
    pub(crate) owner: &'a str,
}

impl<'a> Tag<'a> {
    pub(crate) fn read(tag: &'a str) -> Option<Self> {
        let mut parts = tag.split('.');
        let target = parts.next()?.strip_prefix('t')?;
        parts.next()?; // the version
        Some(Self {
            target,
            v: parts.next()?,
            w: parts.next()?,
            owner: parts.next()?,
        })
    }
}

/// The representation that a tag names: its bytes, and how many there are, follow from the tag alone.
pub(crate) fn body_of(tag: &str) -> String {
    let hash = tag
        .bytes()
        .fold(7, |hash, byte| mix(hash ^ u64::from(byte)));
    let length = [0_u64, 5, 11, 40, 3000, 5000, 70_000, 150_000][(hash % 8) as usize];
    let words = (0..length.div_ceil(8)).map(|at| mix(hash.wrapping_add(at)).to_le_bytes());
    let letters = words.flatten().map(|byte| b'a' + byte % 16);
    let mut body = String::from_utf8(letters.collect()).expect("letters");
    body.truncate(length as usize);
    body
}

/// An answer of the origin.
pub(crate) struct Said {
    pub(crate) text: String,
    /// Its end is the connection's.
    pub(crate) closes: bool,
    /// The target that it changed.
    pub(crate) purges: Option<usize>,
}

impl Said {
    fn plain(text: String) -> Self {
        Self {
            text,
            closes: false,
            purges: None,
        }
    }
}

/// The origin's mind.
#[derive(Default)]
pub(crate) struct Origin {
    versions: [u64; TARGETS],
    /// All it ever gave out.
    tags: BTreeSet<String>,
}

/// A request as the origin reads it.
struct Request<'a> {
    head: &'a str,
    method: &'a str,
    target: usize,
    id: &'a str,
    /// Its id and when it was answered.
    stamp: String,
}

impl<'a> Request<'a> {
    fn read(head: &'a str, now: u64) -> Option<Self> {
        let mut line = head.split(' ');
        let method = line.next()?;
        let target = line.next()?.strip_prefix('/')?.parse().ok()?;
        let id = field(head, "X-Request-Id")?;
        let stamp = format!("{id}.{now}");
        Some(Self {
            head,
            method,
            target,
            id,
            stamp,
        })
    }
}

impl Origin {
    pub(crate) fn tags(&self) -> Vec<String> {
        self.tags.iter().cloned().collect()
    }

    pub(crate) fn answer(&mut self, chance: &mut Chance, head: &str, now: u64) -> Option<Said> {
        let request = Request::read(head, now)?;
        let version = &mut self.versions[request.target];
        *version += u64::from(chance.one_in(6));
        if request.method == "POST" {
            *version += 1;
            return Some(post(chance, &request));
        }
        if chance.one_in(12) {
            let body = if request.method == "HEAD" {
                ""
            } else {
                ERROR_BODY
            };
            return Some(error(&request, "503 No\r\nContent-Length: 3", body));
        }
        Some(self.representation(chance, &request))
    }

    /// An answer about the representation that this request selects.
    fn representation(&mut self, chance: &mut Chance, request: &Request<'_>) -> Said {
        let vary = match request.target {
            3 => chance.pick(&["", "V", "V, W", "W"]),
            target => ["", "V", "V, W"][target],
        };
        let private = chance.one_in(8);
        let varied = |name| match field(request.head, name) {
            Some(value) if vary.contains(name) => value,
            _ => "-",
        };
        let (v, w) = (varied("V"), varied("W"));
        let owner = if private { request.id } else { "-" };
        let version = self.versions[request.target];
        let tag = format!("t{}.{version}.{v}.{w}.{owner}", request.target);
        let control = match private {
            true => "private, max-age=60",
            false => chance.pick(&CONTROLS),
        };
        let (id, stamp) = (request.id, &request.stamp);
        let mut fields = format!(
            "ETag: \"{tag}\"\r\nCache-Control: {control}\r\nX-For: {stamp}\r\nSet-Cookie: {id}\r\n"
        );
        if !vary.is_empty() {
            fields += &format!("Vary: {vary}\r\n");
        }
        let said = choose_form(chance, request, &tag, &fields);
        self.tags.insert(tag);
        said
    }
}

fn post(chance: &mut Chance, request: &Request<'_>) -> Said {
    let (status, purges) = match chance.one_in(4) {
        true => ("500 No", None),
        false => ("200 OK", Some(request.target)),
    };
    let (id, length) = (request.id, POST_BODY.len());
    let text = format!(
        "HTTP/1.1 {status}\r\nX-Post: {id}\r\nETag: \"post\"\r\nContent-Length: {length}\r\n\r\n{POST_BODY}"
    );
    Said {
        purges,
        ..Said::plain(text)
    }
}

fn error(request: &Request<'_>, status: &str, body: &str) -> Said {
    let stamp = &request.stamp;
    Said::plain(format!(
        "HTTP/1.1 {status}\r\nX-For: {stamp}\r\nETag: \"{ERROR_TAG}\"\r\n\r\n{body}"
    ))
}

/// 304 and 206 where the request allows them, but not always, else the whole.
fn choose_form(chance: &mut Chance, request: &Request<'_>, tag: &str, fields: &str) -> Said {
    let quoted = format!("\"{tag}\"");
    let is_this = |name| field(request.head, name).map(|value| value == quoted);
    if is_this("If-None-Match") == Some(true) && !chance.one_in(4) {
        return Said::plain(format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n"));
    }
    let body = body_of(tag);
    if let Some(range) = field(request.head, "Range")
        && request.method == "GET"
        && !range.contains(',')
        && is_this("If-Range") != Some(false)
        && !chance.one_in(4)
    {
        return part(request, fields, range, &body);
    }
    whole(chance, request.method == "HEAD", fields, &body)
}

fn part(request: &Request<'_>, fields: &str, range: &str, body: &str) -> Said {
    let complete = body.len();
    let parts = resolve(range, complete);
    let Some(part) = parts.first() else {
        let status = format!("416 No\r\nContent-Range: bytes */{complete}\r\nContent-Length: 0");
        return error(request, &status, "");
    };
    let (first, last, length) = (part.start, part.end - 1, part.len());
    let bytes = &body[part.clone()];
    Said::plain(format!(
        "HTTP/1.1 206 Part\r\n{fields}Content-Range: bytes {first}-{last}/{complete}\r\nContent-Length: {length}\r\n\r\n{bytes}"
    ))
}

/// In chunks, until the end of the connection, or with its length.
fn whole(chance: &mut Chance, head_only: bool, fields: &str, body: &str) -> Said {
    let ok = format!("HTTP/1.1 200 OK\r\n{fields}");
    let length = body.len();
    let sent = if head_only { "" } else { body };
    match chance.below(4) {
        0 => {
            let mut text = format!("{ok}Transfer-Encoding: chunked\r\n\r\n");
            let mut rest = sent;
            while !rest.is_empty() {
                let (chunk, more) = rest.split_at(rest.len().min(1 + chance.below(30_000)));
                text += &format!("{:x}\r\n{chunk}\r\n", chunk.len());
                rest = more;
            }
            Said::plain(text + if head_only { "" } else { "0\r\n\r\n" })
        }
        1 if !head_only => Said {
            closes: true,
            ..Said::plain(format!("{ok}Connection: close\r\n\r\n{body}"))
        },
        _ => Said::plain(format!("{ok}Content-Length: {length}\r\n\r\n{sent}")),
    }
}

/// A connection of a shard to the origin.
pub(crate) struct Connection {
    pub(crate) shard: usize,
    pub(crate) socket: SocketId,
    pub(crate) came: String,
    /// The answer under way, if any.
    pub(crate) answer: Option<Going>,
}

/// An answer on its way to the gateway.
pub(crate) struct Going {
    pub(crate) bytes: VecDeque<u8>,
    pub(crate) closes: bool,
    pub(crate) purges: Option<usize>,
}

impl Connection {
    pub(crate) fn new(shard: usize, socket: SocketId) -> Self {
        Self {
            shard,
            socket,
            came: String::new(),
            answer: None,
        }
    }
}

impl Display for Connection {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let Self { shard, socket, .. } = self;
        write!(to, "the origin on socket {} of shard {shard}", socket.index)
    }
}

impl From<Said> for Going {
    fn from(said: Said) -> Self {
        Self {
            bytes: said.text.into_bytes().into(),
            closes: said.closes,
            purges: said.purges,
        }
    }
}

impl Said {
    /// For the log.
    pub(crate) fn head(&self) -> &str {
        self.text.split(HEAD_END).next().unwrap_or_default()
    }
}
