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
/// Seconds for which a throttled period is spoken of.
const THROTTLED_SECONDS: u64 = 60;

/// What is observed, and what the observations before left to compare with.
pub(crate) struct Observer {
    board: Board,
    origins: Origins,
    /// Whether a configuration was checked since the start, and what was wrong with it.
    config_fault: Option<String>,
    throttled_periods: Option<u64>,
    throttled_at: Option<Wall>,
}

impl Observer {
    pub(crate) fn new(origins: Origins) -> Self {
        Self {
            board: Board::default(),
            origins,
            config_fault: None,
            throttled_periods: None,
            throttled_at: None,
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
        found.push(cache(running));
        found.push(memory(running));
        found.push(hugepages(running));
        found.extend(self.origins.components());
        found.extend(running.listeners.iter().map(|listener| {
            let name = format!("listener:{}", listener.name);
            Component::healthy(name).because(listener.address.to_string())
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
        let before = self.throttled_periods.replace(throttling.throttled_periods);
        if before.is_some_and(|before| throttling.throttled_periods > before) {
            self.throttled_at = Some(now);
        }
        match self.throttled_at {
            Some(at) if now.0.saturating_sub(at.0) < THROTTLED_SECONDS => Component::degraded(
                "cpu",
                "the cgroup's CPU quota held the process back in the last minute: raise the quota or lower worker_threads",
            ),
            _ => Component::healthy("cpu"),
        }
    }
}

fn io_backend(running: &Running) -> Component {
    let component = Component::healthy("io_backend");
    match (&running.backend.reason, running.plan.backend) {
        (Some(reason), Backend::Auto) => {
            component.because(format!("{}: {reason}", running.backend.name))
        }
        _ => component.because(running.backend.name),
    }
}

fn cache(running: &Running) -> Component {
    let stats = (running.store_stats)();
    component_of(
        stats.objects,
        running.plan.capacity,
        Component::healthy("cache"),
    )
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
