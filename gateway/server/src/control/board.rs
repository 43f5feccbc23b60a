//! The second's look at everything that `/health` speaks of.

use base::Wall;
use platform::host::Bytes;
use platform::host::cgroup::Cgroups;
use platform::host::process::Process;
use telemetry::health::{Board, Component};

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
    accept_errors: Recent,
    uncached: Recent,
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
            .is_some_and(|at| now.0.saturating_sub(at.0) < RECENT_SECONDS)
    }
}

impl Observer {
    pub(crate) fn new(origins: Origins) -> Self {
        Self {
            board: Board::default(),
            origins,
            config_fault: None,
            throttled: Recent::default(),
            accept_errors: Recent::default(),
            uncached: Recent::default(),
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
        let starved = self.no_descriptors(running, now);
        found.extend(running.listeners.iter().map(|listener| {
            let name = format!("listener:{}", listener.name);
            match &starved {
                Some(reason) if listener.name == "data" => {
                    Component::degraded(name, reason.clone())
                }
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

    /// Why connections wait in the kernel's queue, if they did in the last minute.
    fn no_descriptors(&mut self, running: &Running, now: Wall) -> Option<String> {
        let errors = running.cells.iter().map(|cells| cells.accept_errors.read());
        let (recently, first) = self.accept_errors.look(errors.sum(), now);
        if !recently {
            return None;
        }
        let reason = "connections waited in the kernel's queue in the last minute: no file descriptors left; \
             raise the limit (ulimit -n, LimitNOFILE=) or lower limits.max_connections"
            .to_owned();
        if first {
            tracing::error!(event = "no_descriptors", "{reason}");
        }
        Some(reason)
    }

    fn cache(&mut self, running: &Running, now: Wall) -> Component {
        let streamed = running
            .cells
            .iter()
            .map(|cells| cells.stream_uncached.read());
        let (recently, first) = self.uncached.look(streamed.sum(), now);
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

/// What it means that answers passed without being stored.
const POOL_FULL: &str = "answers passed uncached in the last minute: the pool had no room for their bodies, or one without \
    a length outgrew cache.max_object; raise api_gateway.memory_pool_size, or cache.max_object";

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
