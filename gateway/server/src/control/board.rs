//! The second's look at everything that `/health` speaks of.

use base::Wall;
use platform::host::Bytes;
use platform::host::cgroup::Cgroups;
use platform::host::process::Process;
use telemetry::health::{Board, Component};
use telemetry::{Counter, ShardCells};

use super::origins::Origins;
use crate::clock;
use crate::config::Backend;
use crate::running::Running;

/// Share of the memory limit from which `memory` is degraded, in percent.
const MEMORY_PERCENT_MAX: u64 = 90;
/// Seconds for which what happened is spoken of.
const RECENT_SECONDS: u64 = 60;

/// What is observed, and what the observations before left to compare with.
pub(crate) struct Observer {
    board: Board,
    origins: Origins,
    /// Whether a configuration was checked since the start, and what was wrong with it.
    config_fault: Option<String>,
    throttled: Recent,
    no_descriptors: Recent,
    no_places: Recent,
    slab_full: Recent,
}

/// A count that grew lately, or did not.
#[derive(Default)]
struct Recent {
    before: Option<u64>,
    at: Option<Wall>,
}

impl Recent {
    /// Whether the count grew in the last minute, and whether it did just now for the first time in it.
    fn look(&mut self, count: u64, now: Wall) -> (bool, bool) {
        let was = self.is(now);
        if self
            .before
            .replace(count)
            .is_some_and(|before| count > before)
        {
            self.at = Some(now);
        }
        let is = self.is(now);
        (is, is && !was)
    }

    fn is(&self, now: Wall) -> bool {
        self.at
            .is_some_and(|at| (now - at).as_secs() < RECENT_SECONDS)
    }
}

impl Observer {
    pub(crate) fn new(origins: Origins) -> Self {
        Self {
            board: Board::default(),
            origins,
            config_fault: None,
            throttled: Recent::default(),
            no_descriptors: Recent::default(),
            no_places: Recent::default(),
            slab_full: Recent::default(),
        }
    }

    /// The components as last observed.
    pub(crate) fn board(&self) -> &Board {
        &self.board
    }

    /// What checking the configuration's file found: nothing, or what is wrong with it.
    pub(crate) fn config_checked(&mut self, fault: Option<String>) {
        self.config_fault = fault;
    }

    /// Looks at everything.
    pub(crate) fn observe(&mut self, running: &Running) {
        let now = clock::wall();
        let moment = clock::moment();
        let shards = running.cells.iter();
        let mut found: Vec<Component> = shards
            .map(|cells| Component::shard(cells, moment))
            .collect();
        found.push(io_backend(running));
        found.push(self.cache(running, now));
        found.push(memory(running));
        found.push(hugepages(running));
        found.extend(self.origins.components());
        let starved = self.accepting(running, now);
        found.extend(running.listeners.iter().map(|listener| {
            let name = format!("listener:{}", listener.name);
            match &starved {
                Some(reason) if listener.name == "data" => Component::degraded(name, *reason),
                _ => Component::healthy(name).because(listener.address.to_string()),
            }
        }));
        found.push(self.cpu(running, now));
        found.push(match &self.config_fault {
            None => Component::healthy("config"),
            Some(fault) => Component::degraded("config", fault.clone()),
        });
        for component in found {
            self.board.observe(component, now);
        }
    }

    fn cpu(&mut self, running: &Running, now: Wall) -> Component {
        let Some(throttling) = Cgroups::of_self(&running.host.root).throttling() else {
            return Component::healthy("cpu");
        };
        match self.throttled.look(throttling.throttled_periods, now) {
            (true, _) => Component::degraded(
                "cpu",
                "the cgroup's CPU quota held the process back in the last minute: raise the quota or lower worker_threads",
            ),
            _ => Component::healthy("cpu"),
        }
    }

    /// Why connections waited in the kernel's queue, if they did in the last minute.
    fn accepting(&mut self, running: &Running, now: Wall) -> Option<&'static str> {
        let sum = |counter: fn(&ShardCells) -> &Counter| {
            let counters = running.cells.iter().map(|cells| counter(cells).read());
            counters.sum()
        };
        let descriptors = sum(|cells| &cells.accept_no_descriptor);
        let places = sum(|cells| &cells.accept_no_resource);
        let (no_descriptors, first) = self.no_descriptors.look(descriptors, now);
        if first {
            tracing::error!(event = "no_descriptors", "{NO_DESCRIPTORS}");
        }
        let (no_places, first) = self.no_places.look(places, now);
        if first {
            tracing::error!(event = "connections_full", "{NO_PLACES}");
        }
        if no_descriptors {
            Some(NO_DESCRIPTORS)
        } else {
            no_places.then_some(NO_PLACES)
        }
    }

    fn cache(&mut self, running: &Running, now: Wall) -> Component {
        let cells = running.cells.iter();
        let streamed = cells.map(|cells| cells.uncached_slab_full.read());
        let (recently, first) = self.slab_full.look(streamed.sum(), now);
        let component = if recently {
            if first {
                tracing::warn!(event = "pool_full", "{POOL_FULL}");
            }
            Component::degraded("cache", POOL_FULL)
        } else {
            Component::healthy("cache")
        };
        let stats = (running.store_stats)();
        component_of(stats.objects, running.plan.capacity, component)
    }
}

/// What it means that accepting failed for want of descriptors.
const NO_DESCRIPTORS: &str = "connections waited in the kernel's queue in the last minute: no file descriptors left; raise \
    the limit (ulimit -n, LimitNOFILE=) or lower limits.max_connections";

/// What it means that it failed otherwise.
const NO_PLACES: &str = "connections waited in the kernel's queue in the last minute: limits.max_connections was reached and \
    the places to refuse more were taken, or the kernel was short of memory; raise limits.max_connections, or find who \
    connects so often";

/// What it means that answers passed without being stored. One larger than `cache.max_object` is as it was configured and
/// not spoken of.
const POOL_FULL: &str = "answers passed uncached in the last minute: the pool had no room for their bodies; raise \
    api_gateway.memory_pool_size";

fn io_backend(running: &Running) -> Component {
    let component = Component::healthy("io_backend");
    match (&running.backend.reason, running.plan.backend) {
        (Some(reason), Backend::Auto) => {
            component.because(format!("{}: {reason}", running.backend.name))
        }
        _ => component.because(running.backend.name),
    }
}

fn memory(running: &Running) -> Component {
    let limit = running.host.memory_limit();
    let Some(process) = Process::read(&running.host.root) else {
        return Component::healthy("memory");
    };
    let used = process.resident_bytes;
    let component = match used.saturating_mul(100) / limit.max(1) {
        ..MEMORY_PERCENT_MAX => Component::healthy("memory"),
        percent => Component::degraded("memory", format!("{percent} % of {}", Bytes(limit))),
    };
    component_of(used, limit, component)
}

fn hugepages(running: &Running) -> Component {
    let component = Component::healthy("hugepages");
    match &running.memory.fallback {
        Some(reason) => component.because(reason.clone()),
        None => component,
    }
}

#[allow(clippy::cast_precision_loss)] // a gauge for eyes
fn component_of(observed: u64, limit: u64, component: Component) -> Component {
    component.measured(observed as f64, limit as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of counts, one a second from second 1,000 on.
    fn said(counts: impl IntoIterator<Item = u64>) -> Vec<(bool, bool)> {
        let mut recent = Recent::default();
        (1_000..)
            .zip(counts)
            .map(|(second, count)| recent.look(count, Wall::from_secs(second)))
            .collect()
    }

    const QUIET: (bool, bool) = (false, false);
    const FIRST: (bool, bool) = (true, true);
    const STILL: (bool, bool) = (true, false);

    #[test]
    fn a_count_that_does_not_grow_is_not_spoken_of_however_large() {
        assert_eq!(said([0, 0, 0]), [QUIET; 3]);
        assert_eq!(said([7, 7, 7]), [QUIET; 3]);
    }

    #[test]
    fn growth_is_spoken_of_for_a_minute_and_announced_once() {
        let said = said([0, 1].into_iter().chain([1; 100]));
        assert_eq!(said[..2], [QUIET, FIRST]);
        assert_eq!(said[2..61], [STILL; 59]);
        assert_eq!(said[61..], [QUIET; 41]);
    }

    #[test]
    fn what_goes_on_is_announced_once_and_lasts_a_minute_longer_than_it() {
        let said = said((0..300).chain([299; 100]));
        assert_eq!(said[..2], [QUIET, FIRST]);
        assert_eq!(said[2..359], [STILL; 357]);
        assert_eq!(said[359..], [QUIET; 41]);
    }

    #[test]
    fn what_comes_again_after_a_quiet_minute_is_announced_again() {
        let quiet = [1; 70];
        let said = said([0].into_iter().chain(quiet).chain([2, 2]));
        assert_eq!((said[1], said[70]), (FIRST, QUIET));
        assert_eq!(said[71..], [FIRST, STILL]);
    }
}
