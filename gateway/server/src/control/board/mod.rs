//! The second's look at everything that `/health` speaks of. A component's rule stands in its file, beside what
//! `docs/health.md` says of it; a shard's is [`Component::shard`].

mod cache;
mod cpu;
mod exposition;
mod lately;
mod listeners;
mod memory;
mod upstreams;

use base::Span;
use platform::host::cgroup::Cgroups;
use platform::host::process::Process;
#[cfg(test)]
use telemetry::health::Rule;
use telemetry::health::{Board, Component, Status};

use super::server::Places;
use crate::clock;
use crate::config::Backend;
use crate::events::log;
use crate::running::Running;

pub(super) use upstreams::{Origins, Watched};

/// What is observed, and what the observations before left to compare with.
pub(crate) struct Observer {
    board: Board,
    origins: Origins,
    /// Whether a configuration was checked since the start, and what was wrong with it.
    config_fault: Option<String>,
    cache: cache::Cache,
    clients: listeners::Clients,
    cpu: cpu::Cpu,
    requests: Vec<upstreams::Requests>,
    telemetry: exposition::Telemetry,
}

/// What the control plane itself has to tell.
pub(super) struct Own<'a> {
    /// Requests without a series of their own, since start.
    pub(super) folded: u64,
    /// The longest exposition since the look before.
    pub(super) exposition: Span,
    /// Connections to the control plane's listeners, by their names.
    pub(super) places: &'a [(String, Places)],
}

impl Observer {
    pub(crate) fn new(origins: Origins, upstreams: usize) -> Self {
        Self {
            board: Board::default(),
            origins,
            config_fault: None,
            cache: cache::Cache::default(),
            clients: listeners::Clients::default(),
            cpu: cpu::Cpu::default(),
            requests: (0..upstreams).map(|_| Default::default()).collect(),
            telemetry: exposition::Telemetry::default(),
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
    pub(crate) fn observe(&mut self, running: &Running, own: &Own<'_>) {
        let (now, root) = (clock::moment(), &running.host.root);
        let shards = &running.cells;
        let sum = |counter: fn(&telemetry::ShardCells) -> &telemetry::Counter| -> u64 {
            shards.iter().map(|cells| counter(cells).read()).sum()
        };
        let mut found: Vec<Component> = shards
            .iter()
            .map(|cells| Component::shard(cells, now))
            .collect();
        found.push(io_backend(running));
        found.push(self.cache.look(
            ((running.store_stats)().objects, running.plan.capacity),
            sum(|cells| &cells.uncached_slab_full),
            sum(|cells| &cells.uncached_index_behind),
            now,
        ));
        let resident = Process::read(root).map(|process| process.resident_bytes);
        found.push(memory::look(resident, running.host.memory_limit()));
        found.push(memory::hugepages(&running.memory));
        found.extend(self.origins.look(&mut self.requests, shards, now));
        found.extend(self.listeners(running, own.places));
        found.push(self.cpu.look(Cgroups::of_self(root).throttling(), now));
        found.push(config(self.config_fault.as_deref()));
        let told = exposition::Told {
            folded: own.folded,
            lost: running.lost_lines(),
            longest: own.exposition,
        };
        found.push(self.telemetry.look(told, now));
        for component in found {
            if self.board.observe(component.clone(), clock::wall()) {
                tell(&component);
            }
        }
    }

    fn listeners(&mut self, running: &Running, places: &[(String, Places)]) -> Vec<Component> {
        let turned = listeners::Turned::of(running);
        let turned_away = self.clients.look(turned, clock::moment());
        let open = running.cells.iter().map(|cells| cells.clients.read());
        let open = u64::try_from(open.sum::<i64>()).unwrap_or(0);
        let all = running.listeners.iter();
        all.map(|listener| {
            let name = &listener.name;
            let component = match places.iter().find(|(known, _)| known == name) {
                None => listeners::of_clients(name, open, running.plan.clients as u64, turned_away),
                Some((_, places)) => listeners::of_control(name, places.taken(), Places::MAX),
            };
            match &component.reason {
                None => component.because(listener.address.to_string()),
                Some(_) => component,
            }
        })
        .collect()
    }
}

/// Says that a component's status is another now.
fn tell(component: &Component) {
    let Component {
        name,
        reason,
        observed,
        limit,
        ..
    } = component;
    match component.status {
        Status::Healthy => log!(ComponentRecovered, component = name, "healthy again"),
        Status::Degraded => {
            log!(
                ComponentDegraded,
                component = name,
                reason,
                observed,
                limit,
                "degraded"
            );
        }
        Status::Unhealthy => {
            log!(
                ComponentUnhealthy,
                component = name,
                reason,
                observed,
                limit,
                "unhealthy"
            );
        }
    }
}

#[cfg(test)]
const BACKEND_RULE: Rule = Rule {
    component: "io_backend",
    degraded: "",
    unhealthy: "",
    observed: "",
    limit: "",
};

/// A driver that was demanded and is refused ends the start, so a fallback is one that was asked for.
fn io_backend(running: &Running) -> Component {
    let component = Component::healthy("io_backend");
    match (&running.backend.reason, running.plan.backend) {
        (Some(reason), Backend::Auto) => {
            component.because(format!("{}: {reason}", running.backend.name))
        }
        _ => component.because(running.backend.name),
    }
}

#[cfg(test)]
const CONFIG_RULE: Rule = Rule {
    component: "config",
    degraded: "the file was found wrong when last checked (HUP): the next start would fail",
    unhealthy: "",
    observed: "",
    limit: "",
};

fn config(fault: Option<&str>) -> Component {
    match fault {
        None => Component::healthy("config"),
        Some(fault) => Component::degraded("config", fault),
    }
}

#[allow(clippy::cast_precision_loss)] // a gauge for eyes
fn measured(component: Component, observed: u64, limit: u64) -> Component {
    component.measured(observed as f64, limit as f64)
}

/// A share, 0 of nothing.
#[allow(clippy::cast_precision_loss)] // a gauge for eyes
fn share(part: u64, all: u64) -> f64 {
    part as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use telemetry::health::SHARD_RULE;

    use super::*;

    /// Every component, in the order in which `/health` has them.
    const RULES: [Rule; 10] = [
        SHARD_RULE,
        BACKEND_RULE,
        cache::RULE,
        memory::RULE,
        memory::HUGEPAGES_RULE,
        upstreams::RULE,
        listeners::RULE,
        cpu::RULE,
        CONFIG_RULE,
        exposition::RULE,
    ];

    #[test]
    fn the_health_page_is_fresh() {
        let mut page = include_str!("health.md").to_owned();
        page.push_str("| component | degraded when | unhealthy when | observed | limit |\n|---|---|---|---|---|\n");
        for rule in RULES {
            let Rule {
                component,
                degraded,
                unhealthy,
                observed,
                limit,
            } = rule;
            let cells = [degraded, unhealthy, observed, limit].join(" | ");
            let _ = writeln!(page, "| `{component}` | {cells} |");
        }
        crate::config::assert_fresh("docs/health.md", &page);
    }
}
