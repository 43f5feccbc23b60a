//! What is claimed of one answer.

use crate::client::Ask;
use crate::origin::{ERROR_BODY, ERROR_TAG, POST_BODY, Tag, body_of};
use crate::wire::{Answer, content_range, parts_of, resolve};

/// Nothing, or what does not hold.
pub(crate) type Held = Result<(), String>;

pub(crate) fn claim(holds: bool, or_else: &str) -> Held {
    if holds {
        Ok(())
    } else {
        Err(or_else.to_owned())
    }
}

/// What a story knows besides the answer.
pub(crate) struct Known {
    /// Something may break, or there is little room.
    pub(crate) faults: bool,
    /// When the target was last changed by an unsafe request.
    pub(crate) purged: u64,
}

/// Holds an answer against what was asked; tells what kind of answer it is.
pub(crate) fn hold(ask: &Ask, answer: &Answer, known: &Known) -> Result<&'static str, String> {
    let id = answer.field("X-Request-Id");
    claim(id == Some(&ask.id), "another's answer")?;
    if ask.method == "POST" {
        return changed(ask, answer, known);
    }
    let Some(tag) = answer.field("ETag").map(|tag| tag.trim_matches('"')) else {
        return our_own(ask, answer, known);
    };
    if tag == ERROR_TAG {
        return origins_error(ask, answer);
    }
    whose(ask, answer, tag)?;
    of_when(ask, answer, known)?;
    match (ask.method, answer.status()) {
        ("HEAD", "200" | "304") => head(answer, tag),
        (_, "200") => {
            claim(answer.body == body_of(tag), "wrong bytes")?;
            Ok("a whole")
        }
        (_, "304") => {
            claim(
                ask.has.as_deref() == Some(tag),
                "304 to who does not have it",
            )?;
            Ok("not modified")
        }
        (_, "206") => parts(ask, answer, &body_of(tag)),
        (_, other) => Err(format!("status {other}")),
    }
}

/// The answer to an unsafe request.
fn changed(ask: &Ask, answer: &Answer, known: &Known) -> Result<&'static str, String> {
    let Some(id) = answer.field("X-Post") else {
        claim(known.faults, "no answer to POST, and nothing broke")?;
        return Ok("an error of our own");
    };
    claim(id == ask.id, "another's answer to POST")?;
    claim(answer.body == POST_BODY, "wrong bytes of an answer to POST")?;
    Ok("an answer to POST")
}

/// An answer that the origin did not give.
fn our_own(ask: &Ask, answer: &Answer, known: &Known) -> Result<&'static str, String> {
    match answer.status() {
        "504" if ask.only_if_cached() => Ok("nothing stored"),
        "416" if ask.range.is_some() => Ok("no part of it"),
        _ if known.faults => Ok("an error of our own"),
        _ => Err("an error, and nothing broke".to_owned()),
    }
}

fn origins_error(ask: &Ask, answer: &Answer) -> Result<&'static str, String> {
    let body = match answer.status() {
        "503" if ask.method != "HEAD" => ERROR_BODY,
        "416" => {
            claim(ask.range.is_some(), "416 to who asked for the whole")?;
            ""
        }
        _ => "",
    };
    claim(answer.body == body, "wrong bytes of an error")?;
    Ok("an error of the origin")
}

/// The representation is one for this client.
fn whose(ask: &Ask, answer: &Answer, tag: &str) -> Held {
    let of = Tag::read(tag).ok_or_else(|| format!("no tag of the origin's: {tag}"))?;
    claim(
        of.target == ask.target.to_string(),
        "another target's answer",
    )?;
    let suits = |made_for: &str, this: &str| made_for == "-" || made_for == this;
    claim(suits(of.v, ask.v) && suits(of.w, ask.w), "another variant")?;
    // Who says that it has another's own representation is told so.
    let said_so = answer.status() == "304" && ask.has.as_deref() == Some(tag);
    claim(
        suits(of.owner, &ask.id) || said_so,
        "another's private answer",
    )?;
    let cookie = answer.field("Set-Cookie");
    claim(cookie.is_none_or(|of| of == ask.id), "another's cookie")
}

/// What is served from the store is not older than it may be.
fn of_when(ask: &Ask, answer: &Answer, known: &Known) -> Held {
    if !is_hit(answer) {
        return Ok(());
    }
    let said_at = answer
        .field("X-For")
        .and_then(|stamp| stamp.split_once('.'));
    let said_at: Option<u64> = said_at.and_then(|(_, at)| at.parse().ok());
    let outlived = said_at.is_some_and(|at| at <= known.purged) && ask.at > known.purged;
    claim(!outlived, "a hit from before an unsafe request")?;
    let Some(control) = answer
        .field("Cache-Control")
        .filter(|_| !says_why_stale(answer))
    else {
        return Ok(());
    };
    let age: Option<u64> = answer.field("Age").and_then(|age| age.parse().ok());
    let age = age.ok_or("a hit without its age")?;
    let life = control
        .split(", ")
        .find_map(|word| word.strip_prefix("max-age="));
    let life = life.map_or(0, |life| life.parse().expect("the origin's number"));
    claim(age < life, "a stale hit that does not say why")
}

/// Served without the origin (RFC 9211 §2.1).
pub(crate) fn is_hit(answer: &Answer) -> bool {
    answer.head.contains("ultragate; hit")
}

pub(crate) fn says_why_stale(answer: &Answer) -> bool {
    answer.head.contains("; detail=")
}

fn head(answer: &Answer, tag: &str) -> Result<&'static str, String> {
    let length = answer.field("Content-Length");
    let length = length.filter(|_| answer.status() == "200");
    let right = body_of(tag).len().to_string();
    claim(
        length.is_none_or(|told| told == right),
        "the length told to HEAD",
    )?;
    Ok("an answer to HEAD")
}

/// The parts that were asked for, those alone.
fn parts(ask: &Ask, answer: &Answer, whole: &str) -> Result<&'static str, String> {
    let ranges = ask.range.as_ref().ok_or("206 to who asked for the whole")?;
    let asked = resolve(ranges, whole.len());
    let Some(told) = answer.field("Content-Range") else {
        let parts = parts_of(&answer.body).ok_or("a multipart body that cannot be read")?;
        let told = parts.iter().map(|(range, _)| range);
        claim(told.eq(&asked), "other parts than were asked for")?;
        let right = parts
            .iter()
            .all(|(range, bytes)| whole.get(range.clone()) == Some(bytes));
        claim(right, "wrong bytes of one of several parts")?;
        return Ok("several parts");
    };
    let (range, complete) = content_range(told).ok_or("a Content-Range that cannot be read")?;
    claim(
        complete.is_none_or(|told| told == whole.len()),
        "the complete length",
    )?;
    claim(asked == [range.clone()], "another part than was asked for")?;
    claim(
        whole.get(range) == Some(&answer.body),
        "wrong bytes of a part",
    )?;
    Ok("a part")
}
