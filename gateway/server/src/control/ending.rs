//! How the process comes to its end: a state machine over signals and time, without either.

use base::{Moment, Span};

use crate::config::Drain;

/// Between two looks at who waits to be accepted.
const LOOK: Span = Span::from_millis(50);

/// Where the process stands on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Not on it.
    No,
    /// Readiness fails, everything is still served, until then.
    Delay(Moment),
    /// New connections are turned away, those that are there are still accepted, and clients are told to leave.
    Leaving {
        /// Since then.
        since: Moment,
        /// When to look again who waits.
        look: Moment,
        /// What is under way may finish until then.
        until: Moment,
    },
    /// Nothing new is taken; what is under way may finish until then.
    Finishing(Moment),
    /// Everything is cut.
    Stopping,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Wait,
    /// Say that a drain begins, and fail readiness.
    Begin,
    /// Turn new connections away, and tell the shards to have their clients leave.
    Leave,
    /// Turn new connections away still, and see whether anybody waits to be accepted; if nobody does, say so.
    Look,
    /// Close the listeners; the shards finish what is under way.
    Close,
    /// Tell the shards to stop at once.
    Stop,
}

impl Ending {
    /// Somebody asked for a drain (TERM, QUIT, `POST /admin/drain`). A second TERM or QUIT stops at once.
    pub(crate) fn asked(&mut self, drain: &Drain, now: Moment, again: Again) -> Step {
        match self {
            Self::No => {
                *self = Self::Delay(now + drain.delay);
                Step::Begin
            }
            Self::Delay(_) | Self::Leaving { .. } | Self::Finishing(_) if again == Again::Stops => {
                self.stop()
            }
            _ => Step::Wait,
        }
    }

    /// Somebody asked for an end at once (INT).
    pub(crate) fn stop(&mut self) -> Step {
        *self = Self::Stopping;
        Step::Stop
    }

    /// Time has passed.
    pub(crate) fn passed(&mut self, timeout: Span, now: Moment) -> Step {
        match *self {
            Self::Delay(until) if now >= until => {
                *self = Self::Leaving {
                    since: now,
                    look: now + LOOK,
                    until: until + timeout,
                };
                Step::Leave
            }
            Self::Leaving { until, .. } | Self::Finishing(until) if now >= until => self.stop(),
            Self::Leaving { since, look, until } if now >= look => {
                let look = now + LOOK;
                *self = Self::Leaving { since, look, until };
                Step::Look
            }
            _ => Step::Wait,
        }
    }

    /// Nobody waits to be accepted, and from the beginning of turning away on nobody is left to come after `patience`.
    pub(crate) fn emptied(&mut self, patience: Span, now: Moment) -> Step {
        match *self {
            Self::Leaving { since, until, .. } if now >= since + patience => {
                *self = Self::Finishing(until);
                Step::Close
            }
            _ => Step::Wait,
        }
    }

    /// When time should be looked at again.
    pub(crate) fn deadline(self) -> Option<Moment> {
        match self {
            Self::Delay(until) | Self::Finishing(until) => Some(until),
            Self::Leaving { look, until, .. } => Some(look.min(until)),
            Self::No | Self::Stopping => None,
        }
    }

    /// Whether the end has begun.
    pub(crate) fn has_begun(self) -> bool {
        self != Self::No
    }
}

/// What asking for a drain twice means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// Stop at once: a signal was sent twice.
    Stops,
    /// Nothing more: the admin path was asked twice.
    IsTheSame,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Drain = Drain {
        delay: Span::from_secs(5),
        timeout: Span::from_secs(30),
        idle: Span::from_secs(5),
    };
    const PATIENCE: Span = Span::from_secs(2);

    fn at(seconds: u64) -> Moment {
        Moment(seconds * 1_000_000_000)
    }

    #[test]
    fn readiness_fails_first_then_clients_leave_then_accepting_ends_then_what_is_left_is_cut() {
        let mut ending = Ending::No;
        assert_eq!(ending.asked(&DRAIN, at(100), Again::Stops), Step::Begin);
        assert_eq!(ending.deadline(), Some(at(105)));
        assert_eq!(ending.passed(DRAIN.timeout, at(104)), Step::Wait);
        assert_eq!(ending.emptied(PATIENCE, at(104)), Step::Wait);
        assert_eq!(ending.passed(DRAIN.timeout, at(105)), Step::Leave);
        assert_eq!(ending.deadline(), Some(at(105) + LOOK));
        assert_eq!(ending.passed(DRAIN.timeout, at(105)), Step::Wait);
        assert_eq!(ending.passed(DRAIN.timeout, at(106)), Step::Look);
        assert_eq!(ending.emptied(PATIENCE, at(106)), Step::Wait);
        assert_eq!(ending.passed(DRAIN.timeout, at(107)), Step::Look);
        assert_eq!(ending.emptied(PATIENCE, at(107)), Step::Close);
        assert_eq!(ending.emptied(PATIENCE, at(107)), Step::Wait);
        assert_eq!(ending.passed(DRAIN.timeout, at(134)), Step::Wait);
        assert_eq!(ending.passed(DRAIN.timeout, at(135)), Step::Stop);
        assert_eq!(ending.deadline(), None);
    }

    #[test]
    fn a_queue_that_does_not_empty_ends_with_the_time_for_the_rest() {
        let mut ending = Ending::No;
        ending.asked(&DRAIN, at(0), Again::Stops);
        assert_eq!(ending.passed(DRAIN.timeout, at(6)), Step::Leave);
        assert_eq!(ending.passed(DRAIN.timeout, at(34)), Step::Look);
        assert_eq!(ending.deadline(), Some(at(34) + LOOK));
        assert_eq!(ending.passed(DRAIN.timeout, at(35)), Step::Stop);
    }

    #[test]
    fn a_second_term_stops_at_once_and_a_second_request_does_not() {
        let mut ending = Ending::No;
        assert!(!ending.has_begun());
        ending.asked(&DRAIN, at(0), Again::IsTheSame);
        assert!(ending.has_begun());
        assert_eq!(ending.asked(&DRAIN, at(1), Again::IsTheSame), Step::Wait);
        assert_eq!(ending.asked(&DRAIN, at(1), Again::Stops), Step::Stop);
        assert_eq!(ending.asked(&DRAIN, at(1), Again::Stops), Step::Wait);
    }
}
