//! Every event of the gateway's log, declared once. [`log!`] writes one; nothing else does.
//!
//! A code is stable: what is searched and counted by it stays. Only codes of level ERROR may be found by looking for `error`,
//! only `unauthorized` and `forbidden` by looking for `auth`, `unauthorized` and `forbidden`, as the runbooks do; messages and
//! names of fields keep to that too.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use base::Moment;
use tracing::Level;

use crate::clock;

/// How many events of one code are written in one second, where their number is not the operator's own doing.
const SECOND_MAX: u32 = 10;

/// Whether [`SECOND_MAX`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    /// As many as the configuration and the host have things of which it tells; or it comes once.
    Given,
    /// Clients, origins or time decide.
    Bounded,
}

macro_rules! codes {
    ($($name:ident $code:literal $level:ident $number:ident $meaning:literal)*) => {
        /// What an event is called, by what happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code { $($name),* }

        impl Code {
            /// Every code, in the order of the discriminants.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// The field `event`.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }

            /// Its level, always the same.
            pub(crate) const fn level(self) -> Level {
                match self { $(Self::$name => Level::$level),* }
            }

            const fn number(self) -> Number {
                match self { $(Self::$name => Number::$number),* }
            }

            /// For the page of events.
            #[cfg(test)]
            const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning),* }
            }
        }

    };
}

codes! {
    Starting "starting" INFO Given "The process starts: its version, its revision and its file."
    PlanShards "plan_shards" INFO Given "How many shards there will be, on which CPUs, and why."
    PlanMemory "plan_memory" INFO Given "How large the pool will be, and why."
    HostNote "host_note" INFO Given "Something of this host that is worth knowing; `fix` changes it."
    HostWarning "host_warning" WARN Given "Something of this host that costs; `fix` mends it."
    PlanConnections "plan_connections" INFO Given "How many client connections there may be, and why."
    NoRoutes "no_routes" WARN Given "No route is configured: only the built-in paths are served."
    AdminClosed "admin_closed" WARN Given "The operator port is not on loopback and there is no token: `/admin/` refuses everybody."
    Bound "bound" INFO Given "A listener has its address."
    ListenerNote "listener_note" WARN Given "A listener lacks something it would be better with."
    EndpointResolved "endpoint_resolved" INFO Given "An upstream's host name was looked up."
    IoBackend "io_backend" INFO Given "The driver in use."
    IoBackendFallback "io_backend_fallback" WARN Given "io_uring is refused: epoll is in use; why, and what lifts that."
    MemoryTaken "memory_taken" INFO Given "The pool has its memory."
    ShardNotPinned "shard_not_pinned" WARN Given "A shard's thread is not bound to its CPU."
    ControlNotPinned "control_not_pinned" WARN Given "The control thread is not bound to its CPU."
    Started "started" INFO Given "Every shard is up."
    Ready "ready" INFO Given "Every address is served; all of them stand in the line. Scripts wait for it."
    Failed "failed" ERROR Given "The process ends otherwise than well; the lines behind it say what to do."

    ComponentDegraded "component_degraded" WARN Bounded "A component of `/health` got worse, or better than unhealthy: what it is, why, `observed` and `limit`."
    ComponentUnhealthy "component_unhealthy" ERROR Bounded "A component of `/health` does not serve any more."
    ComponentRecovered "component_recovered" INFO Bounded "A component of `/health` is healthy again."
    NoDescriptors "no_descriptors" ERROR Bounded "Connections wait to be accepted: there are no file descriptors left. Once, until a minute has passed without."
    ConnectionsFull "connections_full" ERROR Bounded "Connections wait to be accepted: there are no places left. Once, until a minute has passed without."
    PoolFull "pool_full" WARN Bounded "Answers pass uncached: the pool has no room. Once, until a minute has passed without."
    Unauthorized "unauthorized" WARN Bounded "A request to `/admin/` did not bring the token: 401, and who asked for what."
    Forbidden "forbidden" WARN Bounded "A request to `/admin/` is refused whatever it brings: 403. On the data port, how many of the last second."
    ControlAcceptFailed "control_accept_failed" WARN Bounded "A connection to the operator port or to Prometheus's was not accepted."
    ControlConnectionFailed "control_connection_failed" DEBUG Bounded "A connection to the operator port or to Prometheus's broke."
    Panic "panic" ERROR Bounded "A panic, which is a bug: where, and in which words. A shard goes on, without the connections it had."
    ShardEnded "shard_ended" DEBUG Given "A shard's thread ended."
    ShardLost "shard_lost" ERROR Given "A shard ended for good: the process ends too, so that whoever watches it starts it anew."
    Suppressed "suppressed" WARN Given "Events of the code in `of` were left out in the last second, and how many."

    Signal "signal" DEBUG Bounded "A signal came."
    ConfigChecked "config_checked" INFO Bounded "HUP: the file is good, and whether it differs from what is in force."
    ConfigRefused "config_refused" ERROR Bounded "HUP: the file is not good, and why; what is in force stays."
    AccessLogReopened "access_log_reopened" INFO Bounded "USR1: the access log goes on in a new file of its name."
    AccessLogFailing "access_log_failing" ERROR Bounded "The access log cannot be written, or not be opened anew: why. Once, until it goes on."
    AccessLogRecovered "access_log_recovered" INFO Bounded "The access log is written again."
    AccessLogCut "access_log_cut" WARN Given "The process leaves before the last lines of the access log were taken."
    UpgradeUnsupported "upgrade_unsupported" WARN Bounded "USR2: a later version will upgrade in place."
    DrainBegun "drain_begun" INFO Given "A drain begins."
    Drained "drained" INFO Given "Every request under way has finished."
    Stopped "stopped" INFO Given "Every shard has stopped."
    StoppedLate "stopped_late" WARN Given "The process leaves without waiting for a shard that does not stop."
    DrainHoldsOff "drain_holds_off" INFO Given "New connections to an address wait: nobody else listens there. The client's next SYN, a second later, is answered by whoever does then, or refused."
    DrainSteers "drain_steers" INFO Given "New connections to an address go to the sockets of another instance: how many."
    DrainUnsteered "drain_unsteered" WARN Given "New connections to an address cannot be steered to another instance: why, and what becomes of them."
    ListenersClosed "listeners_closed" INFO Given "A drain accepts nobody any more; how many SYNs were held off."
}

static TALLIES: [Tally; Code::ALL.len()] = [const { Tally::new() }; Code::ALL.len()];

/// Writes an event: its code, then fields and a message as `tracing` takes them.
macro_rules! log {
    ($code:ident, $($rest:tt)+) => {
        if $crate::events::Code::$code.happened() {
            ::tracing::event!(
                $crate::events::Code::$code.level(),
                event = $crate::events::Code::$code.as_str(),
                $($rest)+
            );
        }
    };
}

pub(crate) use log;

impl Code {
    /// Counts an event; tells whether to write it.
    pub(crate) fn happened(self) -> bool {
        let tally = self.tally();
        tally.all.fetch_add(1, Relaxed);
        self.number() == Number::Given || tally.has_room(clock::moment())
    }

    /// How often it happened, left out ones included.
    pub(crate) fn count(self) -> u64 {
        self.tally().all.load(Relaxed)
    }

    fn tally(self) -> &'static Tally {
        &TALLIES[self as usize]
    }
}

/// How many events were left out since the start.
pub(crate) fn suppressed() -> u64 {
    let tallies = TALLIES.iter();
    tallies.map(|tally| tally.suppressed.load(Relaxed)).sum()
}

/// Says how many events were left out since it was last said.
pub(crate) fn tell_suppressed() {
    for code in Code::ALL {
        let tally = code.tally();
        let all = tally.suppressed.load(Relaxed);
        let count = all - tally.told.swap(all, Relaxed);
        if count > 0 {
            log!(Suppressed, of = code.as_str(), count, "events left out");
        }
    }
}

/// Of one code. Any thread counts; where two meet on a border of seconds, one event too many or too few is written.
#[derive(Debug)]
struct Tally {
    all: AtomicU64,
    suppressed: AtomicU64,
    /// Of those, how many were told of.
    told: AtomicU64,
    second: AtomicU64,
    in_second: AtomicU32,
}

impl Tally {
    const fn new() -> Self {
        Self {
            all: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
            told: AtomicU64::new(0),
            second: AtomicU64::new(0),
            in_second: AtomicU32::new(0),
        }
    }

    fn has_room(&self, Moment(now): Moment) -> bool {
        let second = now / 1_000_000_000;
        if self.second.swap(second, Relaxed) != second {
            self.in_second.store(0, Relaxed);
        }
        let has_room = self.in_second.fetch_add(1, Relaxed) < SECOND_MAX;
        if !has_room {
            self.suppressed.fetch_add(1, Relaxed);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn a_code_is_declared_once() {
        let codes: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), Code::ALL.len());
    }

    /// What the runbooks look for in logs, against a line as it is written.
    #[test]
    fn codes_are_found_by_the_words_of_the_runbooks_and_no_others_are() {
        for code in Code::ALL {
            let line = format!("{} event={:?}", code.level(), code.as_str()).to_lowercase();
            let has = |words: &[&str]| words.iter().any(|word| line.contains(word));
            let of_access = matches!(code, Code::Unauthorized | Code::Forbidden);
            assert_eq!(
                has(&["auth", "unauthorized", "forbidden"]),
                of_access,
                "{line}"
            );
            assert_eq!(has(&["error"]), code.level() == Level::ERROR, "{line}");
        }
    }

    #[test]
    fn what_is_too_much_for_a_second_is_left_out_and_counted() {
        let tally = Tally::new();
        let second = |at: u64| Moment(at * 1_000_000_000);
        let written = |at| {
            let looks = (0..15).filter(|_| tally.has_room(second(at)));
            looks.count()
        };
        assert_eq!((written(5), written(6)), (10, 10));
        assert_eq!(tally.suppressed.load(Relaxed), 10);
    }

    #[test]
    fn the_events_page_is_fresh() {
        let mut page = include_str!("events.md").to_owned();
        page.push_str("| event | level | when |\n|---|---|---|\n");
        for code in Code::ALL {
            let (name, level, meaning) = (code.as_str(), code.level(), code.meaning());
            let bounded = match code.number() {
                Number::Given => "",
                Number::Bounded => " *",
            };
            let _ = writeln!(page, "| `{name}`{bounded} | {level} | {meaning} |");
        }
        crate::config::assert_fresh("docs/events.md", &page);
    }
}
