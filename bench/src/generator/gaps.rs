//! The gaps a thread's loop suffered: stretches in which it looked at nothing. The CPU time beside the wall time tells whose
//! doing each was: the loop's own, when it was busy all the time, or the host's, when the CPU was taken from it.

/// A longer time between two looks is a gap.
pub(crate) const GAP_NS: u64 = 200_000;
/// The CPU time is read this often at most, outside of gaps: a reading is a system call.
const READ_NS: u64 = 1_000_000;
/// How many times their mean cost a turn's operations may take, and what it may take beside them, before the CPU cannot
/// have been ours: a hypervisor that takes it is not seen in the thread's CPU time.
const OPERATION_FACTOR: u64 = 4;
const TURN_NS: u64 = 100_000;

/// Whose doing a gap was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The loop worked: a saturated generator.
    Own,
    /// The CPU ran something else.
    Taken,
}

/// Gaps of one cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) count: u64,
    pub(crate) total_ns: u64,
    pub(crate) longest_ns: u64,
}

impl Sum {
    pub(crate) fn add(&mut self, ns: u64) {
        self.count += 1;
        self.total_ns += ns;
        self.longest_ns = self.longest_ns.max(ns);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.total_ns += other.total_ns;
        self.longest_ns = self.longest_ns.max(other.longest_ns);
    }
}

/// One look: everything in nanoseconds on the driver's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// From when on something could have waited unseen.
    pub(crate) from: u64,
    /// The look.
    pub(crate) at: u64,
    /// Operations (sends and completions) since the previous look.
    pub(crate) operations: u64,
    /// Time asleep since the start.
    pub(crate) asleep: u64,
}

/// The recorder of one thread.
#[derive(Debug)]
pub(crate) struct Gaps {
    pub(crate) own: Sum,
    pub(crate) taken: Sum,
    read: Reading,
    operations: u64,
    /// CPU time spun without finding anything.
    spun_ns: u64,
    /// CPU time in which a hypervisor had the CPU.
    hidden_ns: u64,
    start_cpu: u64,
    /// Time taken since the loop last had nothing to do.
    debt_ns: u64,
}

/// Three clocks at one time.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    at: u64,
    cpu: u64,
    asleep: u64,
}

impl Reading {
    /// Time since then in which the thread neither slept nor had the CPU.
    fn missing(&self, look: Look, cpu: u64) -> u64 {
        let wall = look.at.saturating_sub(self.at);
        let used = cpu.saturating_sub(self.cpu);
        let asleep = look.asleep.saturating_sub(self.asleep);
        wall.saturating_sub(used).saturating_sub(asleep)
    }
}

impl Gaps {
    pub(crate) fn new(at: u64, cpu: u64, asleep: u64) -> Self {
        Self {
            own: Sum::default(),
            taken: Sum::default(),
            read: Reading { at, cpu, asleep },
            operations: 0,
            spun_ns: 0,
            hidden_ns: 0,
            start_cpu: cpu,
            debt_ns: 0,
        }
    }

    /// Records a look; tells of the gap before it, if there was one. `cpu` reads the thread's CPU time.
    #[inline]
    pub(crate) fn look(&mut self, look: Look, cpu: impl FnOnce() -> u64) -> Option<Cause> {
        self.operations += look.operations;
        let gap = look.at.saturating_sub(look.from);
        if gap <= GAP_NS {
            if look.at.saturating_sub(self.read.at) > READ_NS {
                let cpu = cpu();
                self.read(look, cpu, self.read.missing(look, cpu));
            }
            return None;
        }
        Some(self.gap(look, gap, cpu()))
    }

    /// Time spun in which nothing was found.
    #[inline]
    pub(crate) fn spun(&mut self, ns: u64) {
        self.spun_ns += ns;
    }

    /// CPU time so spun, and CPU time in which a hypervisor had the CPU.
    pub(crate) fn idle_ns(&self) -> (u64, u64) {
        (self.spun_ns, self.hidden_ns)
    }

    /// Whether a request leaves this late because the CPU was taken and the loop has been catching up since. A loop that
    /// falls back further than that is slow itself.
    #[inline]
    pub(crate) fn excuses(&self, late_ns: u64) -> bool {
        late_ns <= self.debt_ns + GAP_NS
    }

    /// Nothing is due: later lateness has another reason.
    #[inline]
    pub(crate) fn caught_up(&mut self) {
        self.debt_ns = 0;
    }

    #[cold]
    fn gap(&mut self, look: Look, gap: u64, cpu: u64) -> Cause {
        let missing = self.read.missing(look, cpu);
        let used = cpu.saturating_sub(self.read.cpu);
        let allowed = TURN_NS + look.operations * OPERATION_FACTOR * self.operation_ns(cpu);
        let taken = match missing >= gap / 2 {
            true => missing.min(gap),
            false if gap > allowed => gap,
            false => 0,
        };
        if taken == 0 {
            self.own.add(gap);
            self.read(look, cpu, missing);
            return Cause::Own;
        }
        self.taken.add(taken);
        if missing < gap / 2 {
            // A hypervisor had the CPU: that is in the CPU time.
            self.hidden_ns += (gap - missing).min(used);
        }
        self.debt_ns += gap;
        self.read(look, cpu, missing.saturating_sub(gap));
        Cause::Taken
    }

    /// `short_ns` were taken in stretches too short for gaps: from spinning, which is most of what a thread does.
    fn read(&mut self, look: Look, cpu: u64, short_ns: u64) {
        self.spun_ns = self.spun_ns.saturating_sub(short_ns);
        self.read = Reading {
            at: look.at,
            cpu,
            asleep: look.asleep,
        };
    }

    /// The mean CPU time of an operation, by the clocks as they stood when they were read last and with `cpu` now. What a
    /// hypervisor took is in it, and too little to matter.
    fn operation_ns(&self, cpu: u64) -> u64 {
        let worked = cpu
            .saturating_sub(self.start_cpu)
            .saturating_sub(self.spun_ns);
        worked / self.operations.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn look(from: u64, at: u64, operations: u64) -> Look {
        Look {
            from,
            at,
            operations,
            asleep: 0,
        }
    }

    #[test]
    fn a_short_time_is_no_gap_and_reads_no_clock_within_a_millisecond() {
        let mut gaps = Gaps::new(0, 0, 0);
        assert_eq!(gaps.look(look(0, GAP_NS, 1), || unreachable!()), None);
        assert_eq!(gaps.look(look(MS, MS + 1, 1), || MS), None);
        assert_eq!((gaps.own, gaps.taken), (Sum::default(), Sum::default()));
    }

    #[test]
    fn time_without_cpu_time_was_taken() {
        let mut gaps = Gaps::new(0, 0, 0);
        assert_eq!(
            gaps.look(look(0, 4 * MS, 100_000), || MS),
            Some(Cause::Taken)
        );
        assert_eq!(
            gaps.taken,
            Sum {
                count: 1,
                total_ns: 3 * MS,
                longest_ns: 3 * MS
            }
        );
        assert!(gaps.excuses(4 * MS) && !gaps.excuses(5 * MS));
        gaps.caught_up();
        assert!(!gaps.excuses(MS));
    }

    #[test]
    fn time_with_cpu_time_and_work_was_our_own() {
        let mut gaps = Gaps::new(0, 0, 0);
        assert_eq!(gaps.look(look(0, MS, 500), || MS), Some(Cause::Own));
        assert_eq!((gaps.own.count, gaps.taken.count), (1, 0));
        assert!(!gaps.excuses(MS));
    }

    #[test]
    fn time_with_cpu_time_and_little_work_was_taken_from_the_whole_machine() {
        let mut gaps = Gaps::new(0, 0, 0);
        gaps.look(look(0, 1, 1_000), || 0);
        assert_eq!(
            gaps.look(look(5 * MS, 8 * MS, 2), || 8 * MS),
            Some(Cause::Taken)
        );
        assert_eq!(gaps.idle_ns(), (0, 3 * MS));
    }

    #[test]
    fn operations_that_always_take_long_are_our_own() {
        let mut gaps = Gaps::new(0, 0, 0);
        for turn in 0..10 {
            let look = look(turn * MS, (turn + 1) * MS, 1);
            assert_eq!(gaps.look(look, || (turn + 1) * MS), Some(Cause::Own));
        }
    }

    #[test]
    fn sleep_is_not_missing() {
        let mut gaps = Gaps::new(0, 0, 0);
        let look = Look {
            asleep: 9 * MS,
            ..look(9 * MS, 10 * MS, 500)
        };
        assert_eq!(gaps.look(look, || MS), Some(Cause::Own));
    }

    #[test]
    fn sums_add_up() {
        let mut sum = Sum {
            count: 1,
            total_ns: 5,
            longest_ns: 5,
        };
        sum.merge(&Sum {
            count: 2,
            total_ns: 4,
            longest_ns: 3,
        });
        assert_eq!(
            sum,
            Sum {
                count: 3,
                total_ns: 9,
                longest_ns: 5
            }
        );
    }
}
