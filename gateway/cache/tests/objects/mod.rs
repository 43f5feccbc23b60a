//! Objects to test with.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file uses its part of it"
)]

use std::sync::Arc;

use base::Wall;
use cache::policy::Lifetime;
use cache::{BodyWriter, Head, HeapMemory, Key, KeyHash, KeyHasher, KeyView, Object};

pub type Stored = Arc<Object<HeapMemory>>;

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
    let lifetime = Lifetime {
        received: Wall(784_111_777),
        initial_age: 0,
        fresh_for: 60,
    };
    let made = Object::new(memory, key, head, lifetime, length, 1 << 30);
    let (object, writer) = made.expect("the slab has room");
    (Arc::new(object), writer)
}

/// A complete object under `key`.
pub fn stored_as(memory: &HeapMemory, key: Key, body: &[u8]) -> Stored {
    let (object, mut writer) = filling(memory, key, Some(body.len() as u64));
    writer.append(body).expect("the slab has room");
    assert!(writer.finish());
    object
}

/// A complete object under a target.
pub fn stored(memory: &HeapMemory, target: &str, body: &[u8]) -> Stored {
    stored_as(memory, key(target), body)
}
