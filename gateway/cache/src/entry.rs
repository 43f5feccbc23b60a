//! A cache entry: the answers stored under one key (RFC 9111 §2).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::{Memory, limits};
use http::Fields;

use crate::variant::is_first_choice;
use crate::{Key, Object, Part};

/// The answers stored under one key, one for each variant, the newest first. Immutable but for the `live` flag: what changes
/// an entry puts another in its place.
pub struct Entry<M: Memory> {
    objects: Box<[Arc<Object<M>>]>,
    /// One whole answer, for every request.
    is_simple: bool,
    live: AtomicBool,
}

impl<M: Memory> Entry<M> {
    /// `object`, joined with the parts that it goes together with, and of an entry before it what that does not replace, up to [`VARIANTS_MAX`](limits::VARIANTS_MAX): beyond,
    /// the oldest go.
    #[must_use]
    pub fn with(before: Option<&Self>, object: Arc<Object<M>>) -> Self {
        let others = before.map_or(&[][..], |before| &before.objects);
        let object = joined(object, others);
        let others = others
            .iter()
            .filter(|other| !replaces(&object, other))
            .take(limits::VARIANTS_MAX - 1)
            .cloned()
            .collect::<Vec<_>>();
        let is_simple = others.is_empty() && object.variant.is_plain() && object.part.is_none();
        Self {
            objects: std::iter::once(object).chain(others).collect(),
            is_simple,
            live: AtomicBool::new(true),
        }
    }

    /// The key of all of them.
    #[must_use]
    pub fn key(&self) -> &Key {
        // There is one at least.
        &self.objects[0].key
    }

    /// The answers.
    #[must_use]
    pub fn objects(&self) -> &[Arc<Object<M>>] {
        &self.objects
    }

    /// Which of the whole answers was chosen for requests like this one (RFC 9111 §4.1); of several the newest. `scratch` is
    /// for this function's use.
    #[must_use]
    #[inline]
    pub fn select(&self, request: &Fields<'_>, scratch: &mut Vec<u8>) -> Option<usize> {
        if self.is_simple {
            return Some(0);
        }
        let is_whole = |object: &Object<M>| object.part.is_none();
        self.select_variant(request, scratch, is_whole).or_else(|| {
            self.objects.iter().position(|object| {
                let language = object.head.content_language();
                is_whole(object)
                    && language.is_some_and(|language| is_first_choice(request, language))
                    && object.variant.is_but_for_language(request, scratch)
            })
        })
    }

    /// Likewise of the parts, one that holds what is asked for.
    #[must_use]
    pub fn select_part(
        &self,
        request: &Fields<'_>,
        scratch: &mut Vec<u8>,
        holds: impl Fn(&Part) -> bool,
    ) -> Option<usize> {
        let is_such = |object: &Object<M>| object.part.as_ref().is_some_and(&holds);
        self.select_variant(request, scratch, is_such)
    }

    /// Whether it has a whole answer to the same requests that came later: one whose body was slow does not take its place.
    #[must_use]
    pub fn is_newer(&self, object: &Object<M>) -> bool {
        self.objects.iter().any(|held| {
            held.part.is_none() && held.variant == object.variant && held.is_later(object)
        })
    }

    /// Whether there are parts.
    #[must_use]
    pub fn has_parts(&self) -> bool {
        self.objects.iter().any(|object| object.part.is_some())
    }

    fn select_variant(
        &self,
        request: &Fields<'_>,
        scratch: &mut Vec<u8>,
        is_wanted: impl Fn(&Object<M>) -> bool,
    ) -> Option<usize> {
        let mut selected: Option<&Arc<Object<M>>> = None;
        self.objects.iter().position(|object| {
            if !is_wanted(object) {
                return false;
            }
            if !selected.is_some_and(|before| before.variant.varies_as(&object.variant)) {
                object.variant.select(request, scratch);
                selected = Some(object);
            }
            object.variant.is(scratch)
        })
    }

    /// Whether it may still be served: not replaced, purged or evicted. One relaxed-cost load.
    #[must_use]
    #[inline]
    pub fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    /// Ends its use: when this returns, no front serves from it to a request that arrives later.
    pub fn retire(&self) {
        // Sequentially consistent, so that the store has left this core before the purge is acknowledged.
        self.live.store(false, Ordering::SeqCst);
    }

    /// True bytes it holds, for the store's weigher.
    #[must_use]
    pub fn cost_bytes(&self) -> u64 {
        let objects = self.objects.iter().map(|object| object.cost_bytes());
        size_of::<Self>() as u64 + objects.sum::<u64>()
    }
}

/// A part with all that it goes together with, one through the other.
fn joined<M: Memory>(mut object: Arc<Object<M>>, others: &[Arc<Object<M>>]) -> Arc<Object<M>> {
    if object.part.is_none() {
        return object;
    }
    let is_held = |object: &Object<M>, other: &Object<M>| match (object.part, other.part) {
        (Some(part), Some(other)) => part.holds(&(other.first..other.end())),
        _ => true,
    };
    while let Some(more) = others
        .iter()
        .filter(|other| !is_held(&object, other))
        .find_map(|other| object.joined(other))
    {
        object = Arc::new(more);
    }
    object
}

/// Whether a newer answer takes the place of another. A part takes that of parts it holds, and of all that may be of
/// another state of the representation: what does not have the same strong validator (RFC 9110 §15.3.7.3).
fn replaces<M: Memory>(new: &Object<M>, old: &Object<M>) -> bool {
    if new.variant != old.variant {
        return false;
    }
    let (Some(new_part), old_part) = (&new.part, &old.part) else {
        return true;
    };
    let is_held = old_part.is_some_and(|old| new_part.holds(&(old.first..old.end())));
    is_held || !new.is_same_state(old)
}
