//! Whether a run proves anything, and who was its bottleneck: the generator, whoever took its CPU, or the server.

use super::tally::Tally;

/// Clean windows that an open loop needs, of each thread.
pub(crate) const CLEAN_WINDOWS_MIN: u64 = 200;
/// A thread that works this much of the time its CPU was its own has none left to be in time.
const BUSY_PERMILLE: u64 = 950;
/// Requests that may be late by the generator's own doing.
const LATE_PERMILLE: u64 = 10;
/// Time that others may take from the generator.
const TAKEN_PERMILLE: u64 = 100;
/// A silence that is this many times the median latency is a stall.
const STALL_FACTOR: u64 = 10;
/// Requests that may find all connections busy before it is said.
const QUEUED_PERMILLE: u64 = 10;

/// What stands out in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The generator had no time left: not certified.
    SaturatedGenerator,
    /// Others took the generator's CPU: not certified.
    StolenCpu,
    /// Too few windows without a gap: not certified.
    FewCleanWindows,
    /// The server was silent while answers were awaited.
    StalledServer,
    /// Requests waited for a free connection.
    BusyConnections,
}

impl Finding {
    /// Its name in the reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SaturatedGenerator => "saturated generator",
            Self::StolenCpu => "stolen CPU",
            Self::FewCleanWindows => "too few clean windows",
            Self::StalledServer => "stalled server",
            Self::BusyConnections => "busy connections",
        }
    }

    /// Whether figures with this finding are the generator's rather than the server's.
    pub(crate) fn refuses(self) -> bool {
        !matches!(self, Self::StalledServer | Self::BusyConnections)
    }
}

/// All that stands out, what refuses first.
///
/// `both_sides`: windows that are clean on the server's side too, where it told its gaps.
pub(crate) fn findings(tally: &Tally, open_loop: bool, both_sides: Option<u64>) -> Vec<Finding> {
    let busy = tally.busiest_permille >= BUSY_PERMILLE;
    let late = exceeds(tally.late.own, tally.due, LATE_PERMILLE);
    let taken = tally.taken_gaps.total_ns.max(tally.times.waiting);
    let stolen = exceeds(taken, tally.times.wall, TAKEN_PERMILLE);
    let windows = both_sides.map_or(clean_windows(tally), |all| all / tally.threads.max(1));
    let few = open_loop && windows < CLEAN_WINDOWS_MIN;
    let median = tally.latencies.actual.value_at_quantile(0.5);
    let silence = tally.silences.longest_ns;
    let stalled = silence > 0 && silence > median.saturating_mul(STALL_FACTOR);
    let queued = exceeds(tally.queued + tally.unsent, tally.due, QUEUED_PERMILLE);
    [
        (busy || late, Finding::SaturatedGenerator),
        (stolen, Finding::StolenCpu),
        (few, Finding::FewCleanWindows),
        (stalled, Finding::StalledServer),
        (queued, Finding::BusyConnections),
    ]
    .into_iter()
    .filter_map(|(found, finding)| found.then_some(finding))
    .collect()
}

/// Clean windows of a thread, on the average.
pub(crate) fn clean_windows(tally: &Tally) -> u64 {
    let windows = tally.clean.as_ref().map_or(0, |clean| clean.windows);
    windows / tally.threads.max(1)
}

fn exceeds(part: u64, whole: u64, permille: u64) -> bool {
    u128::from(part) * 1_000 > u128::from(whole) * u128::from(permille)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::gaps::Sum;
    use crate::generator::windows::Clean;

    const SECOND: u64 = 1_000_000_000;

    /// Ten seconds at ease.
    fn quiet() -> Tally {
        let mut tally = Tally::new();
        tally.threads = 1;
        tally.due = 100_000;
        tally.times.wall = 10 * SECOND;
        tally.busiest_permille = 300;
        tally.clean = Some(Clean {
            windows: 1_900,
            ..Clean::new(2_000)
        });
        for _ in 0..100 {
            tally.latencies.record(100_000, 90_000);
        }
        tally
    }

    fn gaps(total_ns: u64) -> Sum {
        Sum {
            count: 1,
            total_ns,
            longest_ns: total_ns,
        }
    }

    #[test]
    fn nothing_stands_out_in_a_quiet_run() {
        assert_eq!(findings(&quiet(), true, None), []);
    }

    #[test]
    fn each_bottleneck_has_its_name() {
        let found = |change: fn(&mut Tally), open_loop| {
            let mut tally = quiet();
            change(&mut tally);
            findings(&tally, open_loop, None)
        };
        assert_eq!(
            found(|tally| tally.busiest_permille = 950, false),
            [Finding::SaturatedGenerator]
        );
        assert_eq!(
            found(|tally| tally.late.own = 1_001, true),
            [Finding::SaturatedGenerator]
        );
        assert_eq!(found(|tally| tally.late.taken = 50_000, true), []);
        assert_eq!(
            found(|tally| tally.taken_gaps = gaps(SECOND + 1), true),
            [Finding::StolenCpu]
        );
        assert_eq!(
            found(|tally| tally.times.waiting = SECOND + 1, true),
            [Finding::StolenCpu]
        );
        assert_eq!(
            found(|tally| tally.silences = gaps(SECOND / 5), true),
            [Finding::StalledServer]
        );
        assert_eq!(
            found(|tally| tally.queued = 1_001, true),
            [Finding::BusyConnections]
        );
        let few = |tally: &mut Tally| {
            tally.clean = Some(Clean {
                windows: 199,
                ..Clean::new(2_000)
            });
        };
        assert_eq!(found(few, true), [Finding::FewCleanWindows]);
        assert_eq!(found(few, false), []);
        let both = |windows| findings(&quiet(), true, Some(windows));
        assert_eq!(
            (both(199), both(200)),
            (vec![Finding::FewCleanWindows], vec![])
        );
    }

    #[test]
    fn a_slow_server_is_not_a_stalled_one() {
        let mut tally = quiet();
        for _ in 0..1_000 {
            tally.latencies.record(50_000_000, 50_000_000);
        }
        tally.silences = gaps(50_000_000);
        assert_eq!(findings(&tally, true, None), []);
    }

    #[test]
    fn only_the_servers_doing_leaves_the_run_certified() {
        assert!(Finding::SaturatedGenerator.refuses() && Finding::StolenCpu.refuses());
        assert!(Finding::FewCleanWindows.refuses());
        assert!(!Finding::StalledServer.refuses() && !Finding::BusyConnections.refuses());
    }
}
