//! `cpu`: whether the cgroup's quota lets the process run.

use base::Moment;
use platform::host::cgroup::Throttling;
use telemetry::health::Component;
#[cfg(test)]
use telemetry::health::Rule;

use super::lately::Growth;

#[cfg(test)]
pub(super) const RULE: Rule = Rule {
    component: "cpu",
    degraded: "the cgroup's CPU quota ran out in more of its periods than one in a hundred: enough to be seen in P99",
    unhealthy: "",
    observed: "share of the last minute's periods in which it ran out",
    limit: "0.01",
};

/// Share of periods: what P99 leaves out.
const THROTTLED_MAX: f64 = 0.01;

/// What the quota did.
#[derive(Debug, Default)]
pub(super) struct Cpu {
    periods: Growth,
    throttled: Growth,
}

impl Cpu {
    /// Without a quota there is nothing to measure.
    pub(super) fn look(&mut self, found: Option<Throttling>, now: Moment) -> Component {
        let Some(found) = found else {
            return Component::healthy("cpu");
        };
        let (periods, _) = self.periods.look(found.periods, now);
        let (throttled, _) = self.throttled.look(found.throttled_periods, now);
        let share = super::share(throttled, periods);
        let component = match share > THROTTLED_MAX {
            true => Component::degraded(
                "cpu",
                format!(
                    "the cgroup's CPU quota ran out in {throttled} of {periods} periods of the last minute: raise the quota \
                     or lower api_gateway.worker_threads"
                ),
            ),
            false => Component::healthy("cpu"),
        };
        component.measured(share, THROTTLED_MAX)
    }
}

#[cfg(test)]
mod tests {
    use telemetry::health::Status;

    use super::*;

    fn at(second: u64, periods: u64, throttled_periods: u64, cpu: &mut Cpu) -> Component {
        let found = Throttling {
            periods,
            throttled_periods,
            ..Throttling::default()
        };
        cpu.look(Some(found), Moment(second * 1_000_000_000))
    }

    #[test]
    fn a_quota_that_ran_out_often_in_the_last_minute_degrades() {
        let mut cpu = Cpu::default();
        assert_eq!(at(1, 1_000, 900, &mut cpu).status, Status::Healthy);
        assert_eq!(at(2, 1_200, 902, &mut cpu).status, Status::Healthy);
        let often = at(3, 1_300, 930, &mut cpu);
        assert_eq!(often.status, Status::Degraded);
        assert_eq!((often.observed, often.limit), (Some(0.1), Some(0.01)));
        assert_eq!(at(63, 1_900, 930, &mut cpu).status, Status::Healthy);
    }

    #[test]
    fn without_a_quota_nothing_is_measured() {
        let cpu = Cpu::default().look(None, Moment(0));
        assert_eq!(cpu, Component::healthy("cpu"));
    }
}
