//! What happened in the last minute.

use std::collections::VecDeque;

use base::{Moment, Span};

/// For how long what happened is spoken of.
pub(super) const MINUTE: Span = Span::from_secs(60);

/// How much a count grew in the last minute.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// Looks of the last minute, and the last one before. A look a second bounds them.
    looks: VecDeque<(Moment, u64)>,
    was: u64,
}

impl Growth {
    /// The growth, and whether it begins with this look: there was none at the look before. What was counted before the first
    /// look is none.
    pub(super) fn look(&mut self, count: u64, now: Moment) -> (u64, bool) {
        self.looks.push_back((now, count));
        while let Some((after, _)) = self.looks.get(1)
            && now - *after >= MINUTE
        {
            self.looks.pop_front();
        }
        let before = self.looks.front().map_or(count, |(_, count)| *count);
        let growth = count.saturating_sub(before);
        let begins = growth > 0 && self.was == 0;
        self.was = growth;
        (growth, begins)
    }
}

/// The longest of the last minute.
#[derive(Debug, Default)]
pub(super) struct Peak {
    /// Looks of the last minute that none since was above, so in falling order.
    looks: VecDeque<(Moment, Span)>,
}

impl Peak {
    /// The longest, this look's own included.
    pub(super) fn look(&mut self, span: Span, now: Moment) -> Span {
        while self.looks.back().is_some_and(|(_, last)| *last <= span) {
            self.looks.pop_back();
        }
        self.looks.push_back((now, span));
        while self
            .looks
            .front()
            .is_some_and(|(at, _)| now - *at >= MINUTE)
        {
            self.looks.pop_front();
        }
        self.looks.front().map_or(span, |(_, longest)| *longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: u64) -> Moment {
        Moment(second * 1_000_000_000)
    }

    /// What is said of counts, one a second from second 1,000 on.
    fn said(counts: impl IntoIterator<Item = u64>) -> Vec<(u64, bool)> {
        let mut growth = Growth::default();
        (1_000..)
            .zip(counts)
            .map(|(at, count)| growth.look(count, second(at)))
            .collect()
    }

    #[test]
    fn a_count_that_does_not_grow_is_not_spoken_of_however_large() {
        assert_eq!(said([7, 7, 7]), [(0, false); 3]);
    }

    #[test]
    fn growth_is_spoken_of_for_a_minute_and_begins_once() {
        let said = said([0, 3].into_iter().chain([3; 100]));
        assert_eq!(said[..2], [(0, false), (3, true)]);
        assert_eq!(said[2..61], [(3, false); 59]);
        assert_eq!(said[61..], [(0, false); 41]);
    }

    #[test]
    fn what_goes_on_begins_once_and_is_never_more_than_a_minutes() {
        let said = said((0..300).chain([299; 100]));
        assert_eq!(said.iter().filter(|(_, begins)| *begins).count(), 1);
        assert_eq!(said[200], (60, false));
        assert_eq!((said[358], said[359]), ((1, false), (0, false)));
    }

    #[test]
    fn what_comes_again_after_a_quiet_minute_begins_again() {
        let said = said([0].into_iter().chain([1; 70]).chain([2, 2]));
        assert_eq!((said[1], said[70]), ((1, true), (0, false)));
        assert_eq!(said[71..], [(1, true), (1, false)]);
    }

    #[test]
    fn the_longest_is_forgotten_after_a_minute() {
        let mut peak = Peak::default();
        let spans = [5, 1, 3].into_iter().chain([0; 60]);
        let seen: Vec<u64> = (0..)
            .zip(spans)
            .map(|(at, span)| peak.look(Span(span), second(at)).0)
            .collect();
        assert_eq!(seen[..60], [5; 60]);
        assert_eq!(seen[60..], [3, 3, 0]);
    }
}
