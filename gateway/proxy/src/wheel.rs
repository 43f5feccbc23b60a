//! Deadlines of connections, coarse and lazy: a connection stands in the wheel once, and a deadline that moved later is
//! found out when its slot comes up, so that moving one costs a store.

use base::{Moment, SocketId};

/// Slots of the wheel.
const SLOTS: usize = 512;
/// Nanoseconds of a slot: the grain of timeouts, which are seconds.
const SLOT_NS: u64 = 1 << 26;

/// A wheel of 34 s; what lies beyond it is looked at again when it comes round.
pub(crate) struct Wheel {
    slots: Vec<Vec<SocketId>>,
    occupied: [u64; SLOTS / 64],
    /// The slot number up to which everything has come up.
    done: u64,
}

impl Wheel {
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            slots: vec![Vec::new(); SLOTS],
            occupied: [0; SLOTS / 64],
            done: now.0 / SLOT_NS,
        }
    }

    /// Schedules a look at `socket` no earlier than `at`; returns when that will be, at the latest a turn of the wheel
    /// from now.
    pub(crate) fn schedule(&mut self, socket: SocketId, at: Moment) -> Moment {
        let wanted = at.0 / SLOT_NS + 1;
        let number = wanted.clamp(self.done + 1, self.done + SLOTS as u64 - 1);
        let slot = (number % SLOTS as u64) as usize;
        if let Some(sockets) = self.slots.get_mut(slot) {
            sockets.push(socket);
        }
        if let Some(word) = self.occupied.get_mut(slot / 64) {
            *word |= 1 << (slot % 64);
        }
        Moment(number * SLOT_NS)
    }

    /// Whether a look scheduled for `scheduled` would come later than one for `at`.
    #[inline]
    pub(crate) fn is_late(scheduled: Moment, at: Moment) -> bool {
        scheduled.0 / SLOT_NS > at.0 / SLOT_NS + 1
    }

    /// Moves the sockets whose slots have come up by `now` to `due`.
    pub(crate) fn advance(&mut self, now: Moment, due: &mut Vec<SocketId>) {
        let target = now.0 / SLOT_NS;
        // A stall longer than the wheel: each slot comes up once.
        self.done = self.done.max(target.saturating_sub(SLOTS as u64));
        while self.done < target {
            self.done += 1;
            let slot = (self.done % SLOTS as u64) as usize;
            if let Some(sockets) = self.slots.get_mut(slot) {
                due.append(sockets);
            }
            if let Some(word) = self.occupied.get_mut(slot / 64) {
                *word &= !(1 << (slot % 64));
            }
        }
    }

    /// Whether [`advance`](Self::advance) at `now` would do anything.
    #[inline]
    pub(crate) fn is_due(&self, now: Moment) -> bool {
        now.0 / SLOT_NS > self.done
    }

    /// When the next occupied slot comes up.
    pub(crate) fn next(&self) -> Option<Moment> {
        let start = ((self.done + 1) % SLOTS as u64) as usize;
        let words = SLOTS / 64;
        for step in 0..=words {
            let index = (start / 64 + step) % words;
            let mut word = self.occupied.get(index).copied().unwrap_or(0);
            if step == 0 {
                word &= u64::MAX << (start % 64);
            } else if step == words {
                word &= !(u64::MAX << (start % 64));
            }
            if word != 0 {
                let slot = index * 64 + word.trailing_zeros() as usize;
                let ahead = (slot + SLOTS - start) % SLOTS;
                return Some(Moment((self.done + 1 + ahead as u64) * SLOT_NS));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(index: u32) -> SocketId {
        SocketId {
            index,
            generation: 0,
        }
    }

    #[test]
    fn a_socket_comes_up_once_and_not_before_its_time() {
        let mut wheel = Wheel::new(Moment(5 * SLOT_NS));
        let mut due = Vec::new();
        let at = Moment(9 * SLOT_NS + 7);
        let scheduled = wheel.schedule(socket(1), at);
        assert!(scheduled >= at);
        assert_eq!(wheel.next(), Some(scheduled));
        wheel.advance(Moment(scheduled.0 - 1), &mut due);
        assert!(due.is_empty());
        wheel.advance(scheduled, &mut due);
        assert_eq!(due, [socket(1)]);
        due.clear();
        wheel.advance(Moment(10_000 * SLOT_NS), &mut due);
        assert!(due.is_empty());
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn what_lies_beyond_the_wheel_comes_up_within_a_turn() {
        let mut wheel = Wheel::new(Moment(0));
        let scheduled = wheel.schedule(socket(1), Moment(u64::MAX / 2));
        assert!(scheduled.0 <= SLOTS as u64 * SLOT_NS);
        assert_eq!(wheel.next(), Some(scheduled));
    }

    #[test]
    fn a_stall_longer_than_the_wheel_loses_nobody() {
        let mut wheel = Wheel::new(Moment(0));
        for index in 0..SLOTS as u32 {
            wheel.schedule(socket(index), Moment(u64::from(index) * SLOT_NS));
        }
        let mut due = Vec::new();
        wheel.advance(Moment(100_000 * SLOT_NS), &mut due);
        assert_eq!(due.len(), SLOTS);
        assert!(!wheel.is_due(Moment(100_000 * SLOT_NS)));
    }
}
