//! Objects to test with.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file uses its part of it"
)]

use std::sync::Arc;

use base::Wall;
use cache::policy::{Lifetime, Terms};
use cache::{
    Body, BodyWriter, Entry, Head, HeapMemory, Key, KeyHash, KeyHasher, KeyView, Object, Variant,
};

pub type Stored = Arc<Object<HeapMemory>>;
pub type Put = Arc<Entry<HeapMemory>>;

/// Of answers fresh for a minute, and nothing else.
pub const TERMS: Terms = Terms {
    lifetime: Lifetime {
        received: Wall::from_secs(784_111_777),
        initial_age_ms: 0,
        fresh_for: 60,
    },
    date: Wall::from_secs(784_111_777),
    heuristic: false,
    no_cache: false,
    must_revalidate: false,
    immutable: false,
    stale_while_revalidate: 0,
    stale_if_error: None,
    etag: None,
    last_modified: None,
};

pub fn view(target: &str) -> KeyView<'_> {
    KeyView {
        scheme: "http",
        host: b"cache.example",
        target: target.as_bytes(),
    }
}

pub fn hash(target: &str) -> KeyHash {
    KeyHasher::new([0x5eed, 0xf00d]).hash(&view(target))
}

pub fn key(target: &str) -> Key {
    Key::new(hash(target), &view(target))
}

/// An object under `key` that is still to be filled.
pub fn filling(
    memory: &HeapMemory,
    key: Key,
    length: Option<u64>,
) -> (Stored, BodyWriter<HeapMemory>) {
    let head = Head {
        status: 200,
        fields: Box::from(&b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"[..]),
    };
    filling_as(memory, key, length, head, Variant::default())
}

fn filling_as(
    memory: &HeapMemory,
    key: Key,
    length: Option<u64>,
    head: Head,
    variant: Variant,
) -> (Stored, BodyWriter<HeapMemory>) {
    let (body, writer) = Body::new(memory, length, 1 << 30).expect("the slab has room");
    let object = Object::new(key, head, TERMS, variant, body);
    (Arc::new(object), writer)
}

/// A complete object under `key`.
pub fn stored_as(memory: &HeapMemory, key: Key, body: &[u8]) -> Stored {
    let made = filling(memory, key, Some(body.len() as u64));
    whole(made, body)
}

/// A complete object under a target.
pub fn stored(memory: &HeapMemory, target: &str, body: &[u8]) -> Stored {
    stored_as(memory, key(target), body)
}

/// A complete object of a variant, with these field lines, which are its body as well.
pub fn varied(memory: &HeapMemory, target: &str, variant: Variant, fields: &str) -> Stored {
    let head = Head {
        status: 200,
        fields: fields.as_bytes().into(),
    };
    let body = fields.as_bytes();
    let made = filling_as(memory, key(target), Some(body.len() as u64), head, variant);
    whole(made, body)
}

/// An entry of one object.
pub fn entry(object: Stored) -> Put {
    Arc::new(Entry::with(None, object))
}

fn whole((object, mut writer): (Stored, BodyWriter<HeapMemory>), body: &[u8]) -> Stored {
    writer.append(body).expect("the slab has room");
    assert!(writer.finish());
    object
}
