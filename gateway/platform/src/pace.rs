//! How long a driver may sleep, and from when its work counts as waiting.

use std::mem;
use std::time::Duration;

use base::limits::{SLEEP_ACTIVE_NS_MAX, SLEEP_NS_MAX};
use base::{Moment, Now, Stamp, Taken};

use crate::clock::{Clock, thread_cpu_ns};

/// A connection this recently active keeps sleeps short.
const ACTIVE_NS: u64 = 1_000_000_000;
/// A look that took longer was interrupted, or a long one: what came meanwhile was not seen by it.
const LOOK_NS_MAX: u64 = 1_000_000;
/// How long the wall clock is taken to keep its distance from the stamps: slewed by 500 ppm it is off by 5 µs then.
const WALL_NS: u64 = 10_000_000;
/// A longer time without a look is a gap.
const GAP_NS: u64 = 200_000;
/// How many times their mean cost operations may take, and what a stretch may take beside them, before the CPU cannot have
/// been ours: a hypervisor that takes it is not seen in the thread's CPU time.
const OPERATION_FACTOR: u64 = 4;
const STRETCH_NS: u64 = 100_000;
/// What an operation costs at most on the average, however few there were since the thread began.
const OPERATION_NS_MAX: u64 = 50_000;

/// The times of a driver's turns.
pub(crate) struct Pace {
    clock: Clock,
    born: Stamp,
    now: Now,
    arrival: Stamp,
    /// When the sleep began that the turn woke from.
    slept: Option<Stamp>,
    /// What comes next in the turn was not there before this: things are told in the order in which they came.
    came: Stamp,
    /// From when the turn looks for what came.
    looks: Stamp,
    /// Since when what the next turn finds may have been there.
    looked: Stamp,
    /// Of what the kernel has ready, so much was there already when a turn before looked and left it: it comes first.
    left: usize,
    /// Since when what lies behind that may have been there.
    behind: Stamp,
    /// The end of the last reap, or what is known to lie behind it: the turn's time runs from there.
    begun: Stamp,
    /// The wall clock less the stamps, and when that was read.
    wall_ahead: u64,
    wall_read: Stamp,
    /// When a connection last did something.
    active: Stamp,
    busy_poll_ns: u64,
    idle_ns: u64,
    /// Spun and found nothing.
    spun_ns: u64,
    /// Completions of the last turn, and of all.
    operations: u64,
    all_operations: u64,
    /// What was taken and is not told yet.
    taken: Option<Taken>,
}

impl Pace {
    pub(crate) fn new(busy_poll: Duration) -> Self {
        let clock = Clock::system();
        let stamp = clock.stamp();
        Self {
            clock,
            born: stamp,
            now: clock.now_at(stamp),
            arrival: stamp,
            slept: None,
            came: stamp,
            looks: stamp,
            looked: stamp,
            left: 0,
            behind: stamp,
            begun: stamp,
            wall_ahead: clock.wall_ahead(),
            wall_read: stamp,
            active: stamp,
            busy_poll_ns: u64::try_from(busy_poll.as_nanos()).unwrap_or(u64::MAX),
            idle_ns: 0,
            spun_ns: 0,
            operations: 0,
            all_operations: 0,
            taken: None,
        }
    }

    /// A stretch in which the CPU ran something else; told once.
    #[inline]
    pub(crate) fn taken(&mut self) -> Option<Taken> {
        self.taken.take()
    }

    #[inline]
    pub(crate) fn now(&self) -> Now {
        self.now
    }

    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        self.clock.stamp()
    }

    #[inline]
    pub(crate) fn arrival(&self) -> Stamp {
        self.arrival
    }

    /// From when the bytes count that come next: what came before them came then at the latest.
    #[inline]
    pub(crate) fn came(&self) -> Stamp {
        self.came
    }

    /// The same for bytes that came at this time of the wall clock. Where that is not to be believed (the clock was set),
    /// they count as those without one.
    #[inline]
    pub(crate) fn came_at(&mut self, wall_ns: u64) -> Stamp {
        let at = Stamp(wall_ns.wrapping_sub(self.wall_ahead));
        if at.0 <= self.now.moment.0 {
            self.came = self.came.max(at);
        }
        self.came
    }

    /// Whether the turn woke from a sleep: then what came first tells how long the waking took, if it tells.
    #[inline]
    pub(crate) fn slept(&self) -> bool {
        self.slept.is_some()
    }

    /// The first bytes that tell came at this time of the wall clock: those before them not later, and none before the
    /// sleep.
    pub(crate) fn woken_at(&mut self, wall_ns: u64) {
        let at = Stamp(wall_ns.wrapping_sub(self.wall_ahead));
        if let Some(slept) = self.slept {
            self.came = at.max(slept).min(self.arrival);
        }
    }

    pub(crate) fn idle_ns(&self) -> u64 {
        self.idle_ns
    }

    /// Nanoseconds spun in vain.
    pub(crate) fn spun_ns(&self) -> u64 {
        self.spun_ns
    }

    /// CPU time of this thread, without what it spun in vain.
    pub(crate) fn worked_ns(&self) -> u64 {
        thread_cpu_ns().saturating_sub(self.spun_ns)
    }

    /// The first look begins.
    #[inline]
    pub(crate) fn look(&mut self) {
        self.looks = self.clock.stamp();
        self.worked(Stamp(self.now.moment.0), self.looks);
    }

    /// This turn does not sleep: what it finds may have been there since the turn before looked.
    #[inline]
    pub(crate) fn awake(&mut self) {
        (self.arrival, self.came, self.slept) = (self.looked, self.looked, None);
    }

    /// From here, how long a sleep may last that was asked to end at `until`.
    pub(crate) fn rest(&mut self, until: Option<Moment>) -> Rest {
        let from = self.clock.stamp();
        self.worked(self.looks, from);
        let recent = (from - self.active).0 < ACTIVE_NS;
        let bound = if recent {
            SLEEP_ACTIVE_NS_MAX
        } else {
            SLEEP_NS_MAX
        };
        let asked = until.map_or(u64::MAX, |until| (until - Moment(from.0)).0);
        Rest {
            from,
            bound_ns: bound.min(asked),
        }
    }

    /// Spins while nothing is there, for as long as busy polling allows; tells whether something came. What came counts
    /// from the last look that found nothing.
    pub(crate) fn spin(&mut self, rest: Rest, mut look: impl FnMut() -> bool) -> bool {
        let spin_ns = self.busy_poll_ns.min(rest.bound_ns);
        // When the last look that found nothing began, and the one that comes.
        let (mut empty, mut begins) = (rest.from, rest.from);
        while (begins - rest.from).0 < spin_ns {
            if look() {
                (self.arrival, self.came, self.looks) = (empty, empty, empty);
                self.slept = None;
                self.begun = empty;
                self.spun_ns += (begins - rest.from).0;
                return true;
            }
            std::hint::spin_loop();
            let looked = mem::replace(&mut begins, self.clock.stamp());
            if (begins - looked).0 > GAP_NS {
                self.take(looked, begins);
            }
            empty = looked;
        }
        self.spun_ns += (begins - rest.from).0;
        if spin_ns > 0 {
            // Until there it was seen that nothing came.
            (self.looks, self.looked) = (empty, empty);
        }
        false
    }

    /// What is left of a rest after spinning.
    pub(crate) fn left(&self, rest: Rest) -> Rest {
        if self.busy_poll_ns == 0 {
            return rest;
        }
        let from = self.clock.stamp();
        Rest {
            from,
            bound_ns: rest.bound_ns.saturating_sub((from - rest.from).0),
        }
    }

    /// The sleep is over. What woke it counts from the wake-up, or from the sleep's bound where it overran that: a stall
    /// of the whole process is not hidden by having been asleep.
    pub(crate) fn woke(&mut self, rest: Rest) {
        let woke = self.clock.stamp();
        self.idle_ns += (woke - rest.from).0;
        self.arrival = woke.min(Stamp(rest.from.0.saturating_add(rest.bound_ns)));
        (self.looks, self.came) = (self.arrival, self.arrival);
        self.slept = Some(rest.from);
        self.begun = self.arrival;
        if (woke - self.arrival).0 > GAP_NS {
            self.take(self.arrival, woke);
        }
    }

    /// The turn's time, read before its completions are handled.
    #[inline]
    pub(crate) fn tick(&mut self) {
        let now = self.clock.stamp();
        self.worked(self.looks, now);
        self.now = self.clock.now_at(now);
        if (now - self.wall_read).0 > WALL_NS {
            (self.wall_ahead, self.wall_read) = (self.clock.wall_ahead(), now);
        }
    }

    /// The reap is over: it took `taken` and left `left` at most; `active` when a connection did something in it. Tells
    /// whether the turn was interrupted.
    #[inline]
    pub(crate) fn reaped(&mut self, active: bool, taken: usize, left: usize) -> bool {
        let now = self.clock.stamp();
        let (looked, turned) = ((now - self.looks).0, (now - self.begun).0);
        let interrupted = looked > LOOK_NS_MAX || turned > GAP_NS && turned > self.allowed_ns();
        let seen = if interrupted { self.looks } else { now };
        self.begun = now;
        if left == 0 {
            (self.left, self.looked) = (0, seen);
        } else {
            self.leave(taken, left, seen);
        }
        if active {
            self.active = now;
        }
        self.operations = taken as u64;
        self.all_operations += taken as u64;
        interrupted
    }

    /// After an interruption so much is there at most that came before now: all of it behind what was taken last.
    pub(crate) fn caught_up(&mut self, left: usize) {
        let now = self.clock.stamp();
        (self.left, self.behind) = (left, now);
        self.looked = if left == 0 { now } else { self.came };
    }

    /// A stretch of work is over.
    #[inline]
    fn worked(&mut self, from: Stamp, until: Stamp) {
        if (until - from).0 > GAP_NS {
            self.judge(from, until);
        }
    }

    /// Its own work is no gap, however long.
    #[cold]
    fn judge(&mut self, from: Stamp, until: Stamp) {
        if (until - from).0 > self.allowed_ns() {
            self.take(from, until);
        }
    }

    /// What this turn's own work may take, by the time awake so far: the thread's CPU time would be a system call.
    #[cold]
    fn allowed_ns(&self) -> u64 {
        let awake = (self.looks - self.born)
            .0
            .saturating_sub(self.idle_ns + self.spun_ns);
        let each = (awake / self.all_operations.max(1)).min(OPERATION_NS_MAX);
        STRETCH_NS + self.operations * OPERATION_FACTOR * each
    }

    #[cold]
    fn take(&mut self, from: Stamp, until: Stamp) {
        let from = self.taken.map_or(from, |taken| taken.from);
        self.taken = Some(Taken { from, until });
    }

    /// What is left comes first in the next turn, behind what came last in this one.
    #[cold]
    fn leave(&mut self, taken: usize, left: usize, seen: Stamp) {
        if self.left > taken {
            self.left -= taken;
            self.looked = self.came;
            return;
        }
        self.looked = match self.left {
            0 => self.came,
            _ => self.behind.max(self.came),
        };
        (self.left, self.behind) = (left, seen);
    }
}

/// A stretch of time to rest in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest {
    pub(crate) from: Stamp,
    pub(crate) bound_ns: u64,
}

impl Rest {
    /// Cut so that it ends at `at`, where that is sooner.
    pub(crate) fn until(self, at: Option<Moment>) -> Self {
        let left = at.map_or(u64::MAX, |at| (at - Moment(self.from.0)).0);
        Self {
            bound_ns: self.bound_ns.min(left),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(busy_poll: Duration) -> Pace {
        Pace::new(busy_poll)
    }

    #[test]
    fn sleeps_are_short_while_connections_are_active_and_bounded_always() {
        let mut pace = pace(Duration::ZERO);
        pace.reaped(true, 0, 0);
        assert_eq!(pace.rest(None).bound_ns, SLEEP_ACTIVE_NS_MAX);
        pace.active = Stamp(0);
        pace.clock = Clock::system();
        let rest = pace.rest(None);
        assert!(rest.bound_ns == SLEEP_NS_MAX || rest.from.0 < ACTIVE_NS);
        assert_eq!(pace.rest(Some(Moment(0))).bound_ns, 0);
    }

    #[test]
    fn what_is_found_without_a_sleep_counts_from_the_end_of_the_look_before() {
        let mut pace = pace(Duration::ZERO);
        pace.look();
        let looks = pace.looks;
        pace.reaped(false, 0, 0);
        pace.awake();
        assert!(pace.arrival() >= looks);
    }

    #[test]
    fn a_look_that_was_interrupted_did_not_see_what_came_meanwhile() {
        let mut pace = pace(Duration::ZERO);
        pace.look();
        let looks = pace.looks;
        while (pace.stamp() - looks).0 <= LOOK_NS_MAX {}
        pace.reaped(false, 0, 0);
        pace.awake();
        assert_eq!(pace.arrival(), looks);
    }

    #[test]
    fn what_a_turn_leaves_counts_from_before_it_and_what_lies_behind_from_its_end() {
        let mut pace = pace(Duration::ZERO);
        pace.looked = Stamp(1);
        let mut turn = |taken, left| {
            pace.look();
            pace.awake();
            pace.reaped(true, taken, left);
            (pace.arrival(), pace.behind)
        };
        let (first, behind) = turn(10, 25);
        assert_eq!(first, Stamp(1));
        // Ten and ten of those left; then five, and five that came after the first look.
        assert_eq!([turn(10, 20).0, turn(10, 20).0, turn(10, 15).0], [first; 3]);
        let (second, _) = turn(15, 0);
        assert_eq!(second, behind);
        assert!(turn(1, 0).0 > behind);
    }

    #[test]
    fn after_an_interruption_what_is_there_counts_from_before_it_and_the_rest_from_its_end() {
        let mut pace = pace(Duration::ZERO);
        pace.looked = Stamp(1);
        pace.look();
        pace.awake();
        // Nothing was done in all that time.
        (pace.begun, pace.operations) = (Stamp(0), 0);
        while pace.stamp().0 <= 2 * LOOK_NS_MAX {}
        assert!(pace.reaped(true, 20, 0));
        pace.caught_up(30);
        let end = pace.behind;
        let mut turn = |taken, left| {
            pace.look();
            pace.awake();
            pace.reaped(true, taken, left);
            pace.arrival()
        };
        assert_eq!([turn(20, 10), turn(20, 5)], [Stamp(1); 2]);
        assert!(turn(5, 0) >= end);
        pace.caught_up(0);
        assert!(pace.looked >= end);
    }

    #[test]
    fn bytes_count_from_the_time_they_tell_and_those_behind_them_too() {
        let mut pace = pace(Duration::ZERO);
        (pace.wall_ahead, pace.looked) = (1_000, Stamp(10));
        pace.awake();
        pace.now.moment = Moment(100);
        assert_eq!(pace.came(), Stamp(10));
        assert_eq!(
            [1_050, 1_040, 1_060].map(|at| pace.came_at(at).0),
            [50, 50, 60]
        );
        assert_eq!(pace.came(), Stamp(60));
        // The wall clock was set, forward and back.
        assert_eq!([1_101, 900, 0].map(|at| pace.came_at(at).0), [60; 3]);
        assert_eq!(pace.arrival(), Stamp(10));
    }

    #[test]
    fn what_came_first_in_a_sleep_tells_when_it_ended() {
        let mut pace = pace(Duration::ZERO);
        pace.wall_ahead = 0;
        let from = Stamp(5);
        let bound_ns = 100;
        pace.woke(Rest { from, bound_ns });
        assert!(pace.slept() && pace.came() == pace.arrival());
        pace.woken_at(40);
        assert_eq!(pace.came(), Stamp(40));
        pace.woken_at(1);
        assert_eq!(pace.came(), from);
        pace.woken_at(u64::MAX);
        assert_eq!(pace.came(), pace.arrival());
        pace.awake();
        assert!(!pace.slept());
    }

    #[test]
    fn what_was_taken_is_told_once_and_own_work_is_not() {
        let mut pace = pace(Duration::ZERO);
        let stretch = |ns| (Stamp(1_000), Stamp(1_000 + ns));
        // Operations that cost nothing.
        (pace.operations, pace.all_operations) = (50, u64::MAX);
        let (from, until) = stretch(GAP_NS);
        pace.worked(from, until);
        assert_eq!(pace.taken(), None);
        let (from, until) = stretch(GAP_NS + 1);
        pace.worked(from, until);
        pace.take(Stamp(500_000), Stamp(900_000));
        let until = Stamp(900_000);
        assert_eq!(pace.taken(), Some(Taken { from, until }));
        assert_eq!(pace.taken(), None);
        // All the time so far was the cost of one operation.
        pace.born = Stamp(0);
        (pace.operations, pace.all_operations) = (1 << 20, 1);
        pace.worked(Stamp(0), Stamp(GAP_NS + 1));
        assert_eq!(pace.taken(), None);
    }

    #[test]
    fn a_sleep_that_overran_counts_from_its_bound() {
        let mut pace = pace(Duration::ZERO);
        let from = Stamp(0);
        let bound_ns = 5;
        pace.woke(Rest { from, bound_ns });
        assert_eq!(pace.arrival(), Stamp(5));
        let bound_ns = u64::MAX;
        pace.woke(Rest { from, bound_ns });
        assert!(pace.arrival() > Stamp(5) && pace.arrival() <= pace.stamp());
    }

    #[test]
    fn what_comes_behind_a_spin_in_vain_does_not_count_from_before_it() {
        let mut pace = pace(Duration::from_millis(2));
        pace.look();
        let rest = pace.rest(None);
        assert!(!pace.spin(rest, || false));
        pace.awake();
        assert!(pace.arrival() >= rest.from);
        pace.reaped(false, 0, 0);
        pace.awake();
        assert!(pace.arrival() >= rest.from);
    }

    #[test]
    fn spinning_ends_with_what_came_or_at_its_bound() {
        let mut spinning = pace(Duration::from_micros(200));
        let rest = spinning.rest(None);
        let mut looks = 0;
        assert!(spinning.spin(rest, || {
            looks += 1;
            looks == 2
        }));
        assert!(spinning.arrival() >= rest.from);
        let rest = spinning.rest(None);
        assert!(!spinning.spin(rest, || false));
        let idle = pace(Duration::ZERO).spin(rest, || unreachable!("busy polling is off"));
        assert!(!idle);
    }
}
