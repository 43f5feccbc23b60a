//! Cache keys: scheme, host, path and query, byte for byte (RFC 9111 §2). Host and scheme are always in the key.

use std::fmt;
use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;

/// A key as seen in a request; borrows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyView<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The authority in lower case.
    pub host: &'a [u8],
    /// Path and query as received.
    pub target: &'a [u8],
}

/// A keyed 128-bit hash of a key, the same on every shard of this process. It only finds keys: whoever uses it compares
/// the bytes as well, so that a collision, lucky or made, costs a miss and never serves another key's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(pub u128);

impl KeyHash {
    /// Its first half, which tells keys apart to the eye.
    #[must_use]
    #[inline]
    pub fn short(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

/// Hashes keys with the process's seeds.
#[derive(Clone)]
pub struct KeyHasher {
    lanes: [Lane; 2],
}

/// One of two independent 64-bit hashes.
#[derive(Clone)]
struct Lane {
    start: u64,
    seed: SharedSeed,
}

/// A key that is kept: its hash and its bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    hash: KeyHash,
    /// Scheme, host and target, one behind the other.
    bytes: Box<[u8]>,
    /// Where host and target begin. Kept beside the bytes, so no byte of a part can pass for a border.
    host_at: u32,
    target_at: u32,
}

impl KeyHash {
    /// The half that chooses a place in a table.
    pub(crate) fn place(self) -> u64 {
        (self.0 >> 64) as u64
    }

    /// The half that tells keys in one place apart.
    pub(crate) fn mark(self) -> u64 {
        self.0 as u64
    }
}

impl KeyHasher {
    /// A hasher from two random seeds.
    #[must_use]
    pub fn new(seeds: [u64; 2]) -> Self {
        let [a, b] = seeds;
        Self {
            lanes: [Lane::new(a, b), Lane::new(!b, a)],
        }
    }

    /// The hash of a key.
    #[must_use]
    #[inline]
    pub fn hash(&self, key: &KeyView<'_>) -> KeyHash {
        let [high, low] = &self.lanes;
        KeyHash(u128::from(high.hash(key)) << 64 | u128::from(low.hash(key)))
    }
}

impl Lane {
    fn new(start: u64, seed: u64) -> Self {
        Self {
            start,
            seed: SharedSeed::from_u64(seed),
        }
    }

    #[inline]
    fn hash(&self, key: &KeyView<'_>) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.start, &self.seed);
        hasher.write(key.scheme.as_bytes());
        hasher.write(key.host);
        hasher.write(key.target);
        hasher.write_u64(key.scheme.len() as u64);
        hasher.write_u64(key.host.len() as u64);
        hasher.finish()
    }
}

impl fmt::Debug for KeyHasher {
    /// The seeds stay secret, in logs too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher")
    }
}

impl Key {
    /// Keeps a key.
    #[must_use]
    pub fn new(hash: KeyHash, view: &KeyView<'_>) -> Self {
        let scheme = view.scheme.as_bytes();
        let host_at = scheme.len();
        let target_at = host_at + view.host.len();
        Self {
            hash,
            bytes: [scheme, view.host, view.target].concat().into(),
            host_at: border(host_at),
            target_at: border(target_at),
        }
    }

    /// The hash.
    #[must_use]
    #[inline]
    pub fn hash(&self) -> KeyHash {
        self.hash
    }

    /// Whether this is the key seen (all bytes compared, not the hash).
    #[must_use]
    #[inline]
    pub fn is(&self, view: &KeyView<'_>) -> bool {
        self.view_parts() == (view.scheme.as_bytes(), view.host, view.target)
    }

    /// The key as a request would show it.
    #[must_use]
    pub fn view(&self) -> KeyView<'_> {
        let (scheme, host, target) = self.view_parts();
        KeyView {
            // It came from a `str`.
            scheme: std::str::from_utf8(scheme).unwrap_or_default(),
            host,
            target,
        }
    }

    /// `scheme://host/path?query`, for logs.
    #[must_use]
    pub fn to_uri(&self) -> String {
        let (scheme, host, target) = self.view_parts();
        let text = String::from_utf8_lossy;
        format!("{}://{}{}", text(scheme), text(host), text(target))
    }

    /// Bytes this key holds outside itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    fn view_parts(&self) -> (&[u8], &[u8], &[u8]) {
        let (host_at, target_at) = (self.host_at as usize, self.target_at as usize);
        (
            self.bytes.get(..host_at).unwrap_or_default(),
            self.bytes.get(host_at..target_at).unwrap_or_default(),
            self.bytes.get(target_at..).unwrap_or_default(),
        )
    }
}

/// Request heads are bounded far below 4 GiB; a border beyond is kept as one that matches nothing.
fn border(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_uri())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn view<'a>(scheme: &'a str, host: &'a str, target: &'a str) -> KeyView<'a> {
        KeyView {
            scheme,
            host: host.as_bytes(),
            target: target.as_bytes(),
        }
    }

    #[test]
    fn a_kept_key_is_what_was_seen_and_nothing_else() {
        let hasher = KeyHasher::new([1, 2]);
        let seen = view("http", "a.example", "/x?y=1");
        let key = Key::new(hasher.hash(&seen), &seen);
        assert!(key.is(&seen));
        assert_eq!(key.to_uri(), "http://a.example/x?y=1");
        for other in [
            view("https", "a.example", "/x?y=1"),
            view("http", "b.example", "/x?y=1"),
            view("http", "a.example", "/x?y=2"),
            view("http", "a.example", "/x"),
            view("http", "a.exampl", "e/x?y=1"),
            view("httpa", ".example", "/x?y=1"),
        ] {
            assert!(!key.is(&other), "{other:?}");
            assert_ne!(hasher.hash(&seen), hasher.hash(&other), "{other:?}");
        }
    }

    #[test]
    fn other_seeds_give_other_hashes_in_both_halves() {
        let seen = view("http", "h", "/");
        let hashes: Vec<_> = [[1, 2], [2, 1], [1, 1], [0, 0], [1, 3], [3, 2]]
            .into_iter()
            .map(|seeds| KeyHasher::new(seeds).hash(&seen))
            .collect();
        let places: HashSet<_> = hashes.iter().map(|h| h.place()).collect();
        let marks: HashSet<_> = hashes.iter().map(|h| h.mark()).collect();
        assert_eq!((places.len(), marks.len()), (hashes.len(), hashes.len()));
    }

    #[test]
    fn both_halves_spread_keys_that_differ_by_a_digit() {
        let hasher = KeyHasher::new([0x5eed, 0xf00d]);
        let mut places = [0_u32; 1024];
        let mut marks = [0_u32; 1024];
        for n in 0..102_400 {
            let target = format!("/object/{n}");
            let hash = hasher.hash(&view("http", "h", &target));
            places[(hash.place() & 1023) as usize] += 1;
            marks[(hash.mark() & 1023) as usize] += 1;
        }
        // A hundred a bucket, standard deviation ten: eight of them is beyond chance.
        for count in places.into_iter().chain(marks) {
            assert!((20..180).contains(&count), "{count}");
        }
    }
}
