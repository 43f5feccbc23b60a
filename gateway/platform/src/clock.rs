//! The process's clock: nanoseconds since its first use, from the TSC where it is invariant.

use std::sync::OnceLock;

use base::{Moment, Now, Stamp, Wall};

/// Nanoseconds over which the TSC is measured against the kernel's clock, once a process: an error of two reads (some
/// 50 ns) in this is 5 parts in a million.
const CALIBRATION_NS: u64 = 10_000_000;

/// Reads stamps. Copies agree with each other, on every thread.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Source);

#[derive(Clone, Copy, Debug)]
enum Source {
    /// Nanoseconds = (tsc - base) * mult / 2^32.
    #[cfg(target_arch = "x86_64")]
    Tsc { base: u64, mult: u64 },
    /// `CLOCK_MONOTONIC` since `base`.
    Kernel { base: u64 },
}

impl Clock {
    /// The process's one clock; the first call calibrates it, which takes 10 ms.
    #[must_use]
    pub fn system() -> Self {
        static CLOCK: OnceLock<Source> = OnceLock::new();
        Self(*CLOCK.get_or_init(|| tsc().unwrap_or(Source::Kernel { base: monotonic() })))
    }

    /// Now, in nanoseconds since the clock's first use.
    #[inline]
    #[must_use]
    pub fn stamp(self) -> Stamp {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Source::Tsc { base, mult } => Stamp(scale(read_tsc().saturating_sub(base), mult)),
            Source::Kernel { base } => Stamp(monotonic().saturating_sub(base)),
        }
    }

    /// The turn's time at a stamp just read: timers run on the stamp clock, dates on the kernel's wall clock of the last
    /// tick (1 to 4 ms old).
    #[inline]
    pub(crate) fn now_at(self, stamp: Stamp) -> Now {
        let wall = read(libc::CLOCK_REALTIME_COARSE) / 1_000_000;
        Now {
            moment: Moment(stamp.0),
            wall: Wall(wall),
        }
    }

    /// The wall clock in nanoseconds less the stamp of the same moment: of some readings the one in which the least time
    /// passed.
    pub(crate) fn wall_ahead(self) -> u64 {
        let reading = |_| {
            let before = self.stamp();
            let wall = read(libc::CLOCK_REALTIME);
            let took = (self.stamp() - before).0;
            (took, wall.wrapping_sub(before.0 + took / 2))
        };
        (0..3).map(reading).min().unwrap_or_default().1
    }

    /// Where stamps come from, for the start-up report.
    #[must_use]
    pub fn source(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Source::Tsc { .. } => "tsc",
            Source::Kernel { .. } => "clock_gettime",
        }
    }
}

/// CPU time that this thread used, in the kernel too. A system call.
pub(crate) fn thread_cpu_ns() -> u64 {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

#[cfg(target_arch = "x86_64")]
fn tsc() -> Option<Source> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    if !invariant(&info) {
        return None;
    }
    let (base, from) = pair();
    let (mut tsc, mut until) = pair();
    while until - from < CALIBRATION_NS {
        std::hint::spin_loop();
        (tsc, until) = pair();
    }
    let ticks = u128::from(tsc.checked_sub(base).filter(|ticks| *ticks > 0)?);
    let mult = u64::try_from((u128::from(until - from) << 32) / ticks).ok()?;
    Some(Source::Tsc { base, mult })
}

#[cfg(not(target_arch = "x86_64"))]
fn tsc() -> Option<Source> {
    None
}

/// Whether every CPU's TSC runs at one rate and through idle states.
#[cfg(target_arch = "x86_64")]
fn invariant(cpuinfo: &str) -> bool {
    let mut flags = cpuinfo.lines().filter(|line| line.starts_with("flags"));
    let has = |line: &str, flag| line.split_ascii_whitespace().any(|word| word == flag);
    let both = |line| has(line, "constant_tsc") && has(line, "nonstop_tsc");
    flags.clone().next().is_some() && flags.all(both)
}

/// The two clocks read together: of some readings the one in which the least time passed.
#[cfg(target_arch = "x86_64")]
fn pair() -> (u64, u64) {
    let reading = |_| {
        let before = read_tsc();
        let kernel = monotonic();
        let after = read_tsc();
        (after.saturating_sub(before), before, after, kernel)
    };
    let (_, before, after, kernel) = (0..8).map(reading).min().unwrap_or_default();
    (before + after.saturating_sub(before) / 2, kernel)
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn read_tsc() -> u64 {
    // SAFETY: every x86-64 CPU has the instruction, and it touches no memory.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[allow(clippy::cast_possible_truncation)] // 2^64 ns are 584 years of uptime
fn scale(ticks: u64, mult: u64) -> u64 {
    ((u128::from(ticks) * u128::from(mult)) >> 32) as u64
}

#[inline]
fn monotonic() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

#[inline]
fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a timespec to write to; both clocks exist on every kernel, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_keep_up_with_the_kernels_clock() {
        let clock = Clock::system();
        let (from, kernel_from) = (clock.stamp(), monotonic());
        while monotonic() - kernel_from < 20_000_000 {}
        let before = monotonic() - kernel_from;
        let span = (clock.stamp() - from).0;
        let after = monotonic() - kernel_from;
        let slack = after / 1000 + 10_000;
        assert!(
            span + slack >= before && span <= after + slack,
            "{before} {span} {after}"
        );
    }

    #[test]
    fn the_wall_is_the_wall() {
        let clock = Clock::system();
        let wall = clock.now_at(clock.stamp()).wall;
        let real = read(libc::CLOCK_REALTIME) / 1_000_000;
        assert!(real - wall.0 <= 1_000);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn one_cpu_without_the_flags_is_enough_to_distrust_all() {
        assert!(invariant(
            "flags\t: fpu constant_tsc nonstop_tsc\nflags : constant_tsc nonstop_tsc"
        ));
        assert!(!invariant(
            "flags : constant_tsc nonstop_tsc\nflags : constant_tsc"
        ));
        assert!(!invariant("processor : 0"));
    }
}
