//! What was evicted not long ago.

use crate::KeyHash;

/// Marks of what left the small queue. A later one of the same place takes over: about as many as the map has entries
/// are remembered, the latest most likely.
pub(super) struct Ghosts {
    marks: Box<[u32]>,
}

impl Ghosts {
    /// No marks yet.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            marks: vec![0; capacity.next_power_of_two()].into(),
        }
    }

    /// Leaves the mark of a hash.
    pub(super) fn leave(&mut self, hash: KeyHash) {
        *self.mark(hash) = ghost(hash);
    }

    /// Whether the hash left a mark; takes it.
    pub(super) fn take(&mut self, hash: KeyHash) -> bool {
        let mark = self.mark(hash);
        let found = *mark == ghost(hash);
        if found {
            *mark = 0;
        }
        found
    }

    fn mark(&mut self, hash: KeyHash) -> &mut u32 {
        let at = hash.place() as usize & (self.marks.len() - 1);
        &mut self.marks[at]
    }
}

/// Never zero, which stands for no mark.
fn ghost(hash: KeyHash) -> u32 {
    hash.mark() as u32 | 1
}
