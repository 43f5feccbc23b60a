//! `listener:NAME`: whether who connects is taken.

use base::Moment;
use telemetry::health::Component;
#[cfg(test)]
use telemetry::health::Rule;

use super::lately::Growth;
use crate::events::log;
use crate::running::Running;

#[cfg(test)]
pub(super) const RULE: Rule = Rule {
    component: "listener:NAME",
    degraded: "for clients: in the last minute, connections waited in the kernel's queue because accepting failed, or were \
        answered 503 at the bound. For operators and Prometheus: every connection is taken",
    unhealthy: "",
    observed: "connections, for clients those of all data listeners together",
    limit: "`limits.max_connections`; 256 of operators and of Prometheus each",
};

const NO_DESCRIPTORS: &str = "connections waited in the kernel's queue in the last minute: no file descriptors left; raise \
    the limit (ulimit -n, LimitNOFILE=) or lower limits.max_connections";
const NO_PLACES: &str = "connections waited in the kernel's queue in the last minute: limits.max_connections was reached and \
    the places to refuse more were taken, or the kernel was short of memory; raise limits.max_connections, or find who \
    connects so often";
const REFUSED: &str = "connections were answered 503 in the last minute: limits.max_connections was reached; raise it, or add \
    instances";
const TAKEN: &str = "every connection is taken: who asks has to wait; find who keeps so many open";

/// Counts since start of clients' connections.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turned {
    /// Not accepted for want of descriptors.
    pub(super) no_descriptors: u64,
    /// Not accepted otherwise.
    pub(super) no_places: u64,
    /// Answered 503.
    pub(super) refused: u64,
}

impl Turned {
    pub(super) fn of(running: &Running) -> Self {
        running
            .cells
            .iter()
            .fold(Self::default(), |all, cells| Self {
                no_descriptors: all.no_descriptors + cells.accept_no_descriptor.read(),
                no_places: all.no_places + cells.accept_no_resource.read(),
                refused: all.refused + cells.refused.read(),
            })
    }
}

/// What clients met with.
#[derive(Debug, Default)]
pub(super) struct Clients {
    no_descriptors: Growth,
    no_places: Growth,
    refused: Growth,
}

impl Clients {
    /// Why some were turned away in the last minute, if they were.
    pub(super) fn look(&mut self, counts: Turned, now: Moment) -> Option<&'static str> {
        let (no_descriptors, begins) = self.no_descriptors.look(counts.no_descriptors, now);
        if begins {
            log!(NoDescriptors, "{NO_DESCRIPTORS}");
        }
        let (no_places, begins) = self.no_places.look(counts.no_places, now);
        if begins {
            log!(ConnectionsFull, "{NO_PLACES}");
        }
        let (refused, _) = self.refused.look(counts.refused, now);
        let reasons = [
            (no_descriptors, NO_DESCRIPTORS),
            (no_places, NO_PLACES),
            (refused, REFUSED),
        ];
        let reason = reasons.into_iter().find(|(count, _)| *count > 0);
        reason.map(|(_, reason)| reason)
    }
}

/// A listener for clients, for whom all of them are one.
pub(super) fn of_clients(
    name: &str,
    open: u64,
    max: u64,
    turned_away: Option<&'static str>,
) -> Component {
    let name = format!("listener:{name}");
    let component = match turned_away {
        Some(reason) => Component::degraded(name, reason),
        None => Component::healthy(name),
    };
    super::measured(component, open, max)
}

/// A listener of the control plane.
pub(super) fn of_control(name: &str, open: u64, max: u64) -> Component {
    let name = format!("listener:{name}");
    let component = match open < max {
        true => Component::healthy(name),
        false => Component::degraded(name, TAKEN),
    };
    super::measured(component, open, max)
}

#[cfg(test)]
mod tests {
    use telemetry::health::Status;

    use super::*;

    #[test]
    fn what_kept_clients_out_is_told_for_a_minute_the_worst_first() {
        let mut clients = Clients::default();
        let mut turned = Turned::default();
        let mut at = |second: u64, turned| clients.look(turned, Moment(second * 1_000_000_000));
        assert_eq!(at(1, turned), None);
        turned.refused = 3;
        assert_eq!(at(2, turned), Some(REFUSED));
        turned.no_descriptors = 1;
        assert_eq!(at(30, turned), Some(NO_DESCRIPTORS));
        turned.no_places = 1;
        assert_eq!(at(31, turned), Some(NO_DESCRIPTORS));
        assert_eq!(at(90, turned), Some(NO_PLACES));
        assert_eq!(at(91, turned), None);
    }

    #[test]
    fn a_full_listener_of_the_control_plane_is_degraded() {
        assert_eq!(of_control("operator", 255, 256).status, Status::Healthy);
        let full = of_control("operator", 256, 256);
        assert_eq!(full.status, Status::Degraded);
        assert_eq!((full.observed, full.limit), (Some(256.0), Some(256.0)));
    }
}
