//! `telemetry`: whether what is told of the gateway is whole and comes in time.

use base::{Moment, Span};
use telemetry::health::Component;
#[cfg(test)]
use telemetry::health::Rule;

use super::lately::{Growth, Peak};

#[cfg(test)]
pub(super) const RULE: Rule = Rule {
    component: "telemetry",
    degraded: "requests were counted under the route `other` because series ran out (`series_dropped_total`), so what is told \
        by route is not whole; or lines of the access log were lost (`access_log_dropped_total`); or an exposition took half a second, for which probes, answered by the same thread, wait too",
    unhealthy: "",
    observed: "seconds that the longest exposition of the last minute took; requests so counted or lines lost in it, where there were any",
    limit: "0.5; 0",
};

/// A kubelet gives a probe one second, and it may come behind an exposition.
const EXPOSITION_TIME_MAX: Span = Span::from_millis(500);

/// What was told, and what got lost.
#[derive(Debug, Default)]
pub(super) struct Telemetry {
    folded: Growth,
    lost: Growth,
    expositions: Peak,
}

/// Counts since start, and the longest exposition since the look before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// Requests without a series of their own.
    pub(super) folded: u64,
    /// Lines of the access log that were lost.
    pub(super) lost: u64,
    pub(super) longest: Span,
}

impl Telemetry {
    pub(super) fn look(&mut self, told: Told, now: Moment) -> Component {
        let (folded, _) = self.folded.look(told.folded, now);
        let (lost, _) = self.lost.look(told.lost, now);
        let longest = self.expositions.look(told.longest, now);
        if folded > 0 {
            let reason = format!(
                "{folded} requests of the last minute are counted under route=\"other\": there are no more series; have fewer \
                 routes, or find who sends so many methods and statuses"
            );
            return super::measured(Component::degraded("telemetry", reason), folded, 0);
        }
        if lost > 0 {
            let reason = format!(
                "{lost} lines of the access log were lost in the last minute: log one in more requests, give its thread a CPU \
                 without a shard, or see to the disk"
            );
            return super::measured(Component::degraded("telemetry", reason), lost, 0);
        }
        let component = match longest > EXPOSITION_TIME_MAX {
            true => Component::degraded(
                "telemetry",
                "an exposition of the last minute took longer than probes may wait for it: give the control thread a CPU \
                 without a shard, or have fewer routes",
            ),
            false => Component::healthy("telemetry"),
        };
        component.measured(seconds(longest), seconds(EXPOSITION_TIME_MAX))
    }
}

fn seconds(span: Span) -> f64 {
    let micros = u32::try_from(span.0 / 1_000).unwrap_or(u32::MAX);
    f64::from(micros) / 1e6
}

#[cfg(test)]
mod tests {
    use telemetry::health::Status;

    use super::*;

    fn look(telemetry: &mut Telemetry, second: u64, folded: u64, millis: u64) -> Component {
        look_at(telemetry, second, (folded, 0), millis)
    }

    fn look_at(
        telemetry: &mut Telemetry,
        second: u64,
        (folded, lost): (u64, u64),
        millis: u64,
    ) -> Component {
        let now = Moment(second * 1_000_000_000);
        let told = Told {
            folded,
            lost,
            longest: Span::from_millis(millis),
        };
        telemetry.look(told, now)
    }

    #[test]
    fn lost_lines_degrade_while_they_are_lost() {
        let mut telemetry = Telemetry::default();
        assert_eq!(
            look_at(&mut telemetry, 1, (0, 7), 1).status,
            Status::Healthy
        );
        let lost = look_at(&mut telemetry, 2, (0, 9), 1);
        assert_eq!(lost.status, Status::Degraded);
        assert_eq!((lost.observed, lost.limit), (Some(2.0), Some(0.0)));
        assert_eq!(
            look_at(&mut telemetry, 63, (0, 9), 1).status,
            Status::Healthy
        );
    }

    #[test]
    fn an_exposition_over_its_bound_degrades_for_a_minute() {
        let mut telemetry = Telemetry::default();
        assert_eq!(look(&mut telemetry, 1, 0, 500).status, Status::Healthy);
        let slow = look(&mut telemetry, 2, 0, 501);
        assert_eq!(slow.status, Status::Degraded);
        assert_eq!((slow.observed, slow.limit), (Some(0.501), Some(0.5)));
        assert_eq!(look(&mut telemetry, 61, 0, 0).status, Status::Degraded);
        assert_eq!(look(&mut telemetry, 62, 0, 0).observed, Some(0.0));
    }

    #[test]
    fn requests_without_a_series_degrade_while_they_come() {
        let mut telemetry = Telemetry::default();
        assert_eq!(look(&mut telemetry, 1, 40, 1).status, Status::Healthy);
        let folded = look(&mut telemetry, 2, 50, 1);
        assert_eq!(folded.status, Status::Degraded);
        assert_eq!((folded.observed, folded.limit), (Some(10.0), Some(0.0)));
        assert_eq!(look(&mut telemetry, 63, 50, 1).status, Status::Healthy);
    }
}
