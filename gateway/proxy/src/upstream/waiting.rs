//! Fetches that wait for a connection: bounded, in the order they came within a priority, the higher one first.

use std::collections::VecDeque;

use base::Moment;

use crate::table::Ticket;

/// What is let go of first when an upstream has more to do than it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Let go of first.
    Low,
    /// Like most.
    #[default]
    Normal,
    /// Let go of last.
    High,
}

/// A fetch that waits, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) ticket: Ticket,
    pub(crate) since: Moment,
}

/// Who waits for a connection to one upstream.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// By priority, the lowest first.
    lines: [VecDeque<Waiter>; 3],
}

impl Waiting {
    pub(crate) fn len(&self) -> usize {
        self.lines.iter().map(VecDeque::len).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.iter().all(VecDeque::is_empty)
    }

    /// Lines up. At the bound the last comer of the lowest priority goes, which may be this one.
    pub(crate) fn join(
        &mut self,
        waiter: Waiter,
        priority: Priority,
        max: usize,
    ) -> Option<Waiter> {
        let full = self.len() >= max;
        let mut lower = self.lines.iter_mut().take(priority as usize);
        let lowest = lower.find(|line| !line.is_empty());
        let gone = match (full, lowest) {
            (true, None) => return Some(waiter),
            (true, Some(line)) => line.pop_back(),
            (false, _) => None,
        };
        if let Some(line) = self.lines.get_mut(priority as usize) {
            line.push_back(waiter);
        }
        gone
    }

    /// Takes its place again.
    pub(crate) fn put_back(&mut self, waiter: Waiter, priority: Priority) {
        if let Some(line) = self.lines.get_mut(priority as usize) {
            line.push_front(waiter);
        }
    }

    /// Who is next for a connection.
    pub(crate) fn pop_first(&mut self) -> Option<Waiter> {
        self.lines.iter_mut().rev().find_map(VecDeque::pop_front)
    }

    /// Who waits longest.
    pub(crate) fn oldest(&self) -> Option<Waiter> {
        let fronts = self.lines.iter().filter_map(|line| line.front().copied());
        fronts.min_by_key(|waiter| waiter.since)
    }

    pub(crate) fn pop_oldest(&mut self) -> Option<Waiter> {
        let oldest = self.oldest()?;
        let mut lines = self.lines.iter_mut();
        lines
            .find(|line| line.front() == Some(&oldest))?
            .pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Arena;

    #[test]
    fn the_higher_goes_first_and_the_lower_is_let_go_of() {
        let mut arena = Arena::new();
        let mut waiting = Waiting::default();
        let mut join = |waiting: &mut Waiting, since, priority| {
            let waiter = Waiter {
                ticket: arena.insert(()),
                since: Moment(since),
            };
            let gone = waiting.join(waiter, priority, 3);
            gone.map(|gone| gone.since.0)
        };
        assert_eq!(join(&mut waiting, 1, Priority::Low), None);
        assert_eq!(join(&mut waiting, 2, Priority::Normal), None);
        assert_eq!(join(&mut waiting, 3, Priority::Low), None);
        assert_eq!(join(&mut waiting, 4, Priority::Low), Some(4));
        assert_eq!(join(&mut waiting, 5, Priority::High), Some(3));
        assert_eq!(join(&mut waiting, 6, Priority::Normal), Some(1));
        assert_eq!(join(&mut waiting, 7, Priority::Normal), Some(7));
        assert_eq!(join(&mut waiting, 8, Priority::High), Some(6));
        assert_eq!(waiting.oldest().map(|waiter| waiter.since.0), Some(2));
        let order: Vec<_> = std::iter::from_fn(|| waiting.pop_first())
            .map(|it| it.since.0)
            .collect();
        assert_eq!(order, [5, 8, 2]);
        assert!(waiting.is_empty());
    }
}
