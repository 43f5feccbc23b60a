//! The node-wide index as one turn may use it: every call is timed, and past [`INDEX_TURN_NS_MAX`](limits::INDEX_TURN_NS_MAX)
//! what can wait is left to the next turn: a request whose key the front does not know, an answer that is to be kept.

use std::mem;
use std::sync::Arc;

use base::{Driver, Memory, SocketId, Span, limits};
use cache::{Entry, KeyHash, KeyView, Leader, NodeStore, Object};
use telemetry::LockSite;

use crate::Proxy;

/// A whole answer on its way into the index, its flight open until it is there.
pub(crate) struct Landing<M: Memory> {
    pub(crate) object: Arc<Object<M>>,
    /// The stored answer that it is a newer state of: nothing else may have taken that one's place.
    pub(crate) basis: Option<Arc<Object<M>>>,
    pub(crate) leader: Option<Leader<M>>,
}

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    /// Whether what can wait has to.
    pub(crate) fn index_is_spent(&self) -> bool {
        self.index_spent.0 >= limits::INDEX_TURN_NS_MAX
    }

    pub(crate) fn index_get(
        &mut self,
        io: &D,
        hash: KeyHash,
        view: &KeyView<'_>,
    ) -> Option<Arc<Entry<D::Memory>>> {
        self.timed(io, |store| store.get(hash, view))
    }

    pub(crate) fn index_touch(&mut self, io: &D, hash: KeyHash) {
        self.timed(io, |store| store.touch(hash));
    }

    pub(crate) fn index_remove(&mut self, io: &D, hash: KeyHash, view: &KeyView<'_>) {
        self.timed(io, |store| store.remove(hash, view));
    }

    /// Evicts for so many bytes, from this shard's front too; how many objects, none where this turn may not.
    pub(crate) fn index_make_room(&mut self, io: &D, bytes: u64) -> usize {
        if self.index_is_spent() {
            return 0;
        }
        let gone = self.timed(io, |store| store.make_room(bytes));
        for object in &gone {
            let held = self.front.forget(object);
            self.cells.front_evictions.add(u64::from(held));
        }
        gone.len()
    }

    /// Takes a whole answer for the index. Past [`LANDINGS_MAX`](limits::LANDINGS_MAX) it is not kept: those who follow it get
    /// it all the same.
    pub(crate) fn land(&mut self, landing: Landing<D::Memory>) {
        if self.landings.len() < limits::LANDINGS_MAX {
            self.landings.push_back(landing);
        } else {
            self.cells.uncached_index_behind.add(1);
            self.landed(landing.leader);
        }
    }

    /// Puts into the index what this turn may; one answer in any case, or requests would keep all of them out.
    pub(crate) fn land_some(&mut self, io: &D) {
        let mut landed = 0;
        while (landed == 0 || !self.index_is_spent())
            && let Some(landing) = self.landings.pop_front()
        {
            if self.may_land(io, &landing) {
                let (object, leader) = (Arc::clone(&landing.object), &landing.leader);
                let entry = self.timed(io, |store| store.insert(object));
                // Purged this moment.
                if leader.as_ref().is_some_and(Leader::is_outdated) {
                    entry.retire();
                } else {
                    self.front.admit(entry);
                }
            }
            self.landed(landing.leader);
            landed += 1;
        }
    }

    /// Not what was purged while it came, nor a newer state of what something else has taken the place of.
    fn may_land(&mut self, io: &D, landing: &Landing<D::Memory>) -> bool {
        if landing.leader.as_ref().is_some_and(Leader::is_outdated) {
            return false;
        }
        let Some(basis) = &landing.basis else {
            return true;
        };
        let key = &landing.object.key;
        match self.index_get(io, key.hash(), &key.view()) {
            Some(entry) => entry.objects().iter().any(|held| Arc::ptr_eq(held, basis)),
            // Evicted, where nobody purged it.
            None => landing.leader.is_some(),
        }
    }

    pub(crate) fn landed(&mut self, leader: Option<Leader<D::Memory>>) {
        if let Some(leader) = leader {
            self.moved.push(leader.flight().id());
            leader.land();
        }
    }

    /// Decides again on the requests that the turn before left.
    pub(crate) fn resume_put_off(&mut self, io: &mut D) {
        for socket in mem::take(&mut self.put_off) {
            self.advance(io, socket);
            self.touch(socket);
        }
    }

    /// A client whose next request is decided on in the next turn.
    pub(crate) fn put_off(&mut self, socket: SocketId) {
        self.put_off.push(socket);
    }

    /// Whether the next turn has to come at once.
    pub(crate) fn has_put_off(&self) -> bool {
        !self.put_off.is_empty() || !self.landings.is_empty()
    }

    /// Ends the turn's account.
    pub(crate) fn close_index_turn(&mut self) {
        if self.index_spent.0 > 0 {
            self.cells.index_turn(self.index_spent);
        }
        self.index_turn = std::mem::take(&mut self.index_spent);
    }

    /// What the last turn spent on the index.
    #[must_use]
    pub fn index_turn(&self) -> Span {
        self.index_turn
    }

    fn timed<T>(&mut self, io: &D, call: impl FnOnce(&S) -> T) -> T {
        let before = io.stamp();
        let out = call(&self.store);
        let took = io.stamp() - before;
        self.index_spent = Span(self.index_spent.0 + took.0);
        self.cells.lock(LockSite::Store, took, false, 1);
        out
    }
}
