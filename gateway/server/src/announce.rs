//! What the log says at start: what was decided and why, then what was taken.

use platform::host::{Finding, Severity};

use crate::build;
use crate::host::Host;
use crate::plan::Plan;
use crate::running::Running;
use crate::sources::Sources;

/// What was decided, before any of it is taken.
pub(crate) fn plan(plan: &Plan, host: &Host, sources: &Sources) {
    let file = sources
        .file()
        .map_or("none".to_owned(), |file| file.display().to_string());
    tracing::info!(
        event = "starting",
        version = build::VERSION,
        revision = build::REVISION,
        config = file,
        "starting"
    );
    let cpus: Vec<usize> = plan.shards.iter().map(|shard| shard.cpu).collect();
    tracing::info!(
        event = "plan_shards",
        shards = plan.shards.len(),
        ?cpus,
        topology = host.topology.source(),
        reason = plan.shards_reason,
        "shards"
    );
    tracing::info!(
        event = "plan_memory",
        reason = plan.memory.reason,
        "memory pool"
    );
    for finding in &plan.memory.findings {
        let Finding {
            id,
            cause,
            fix,
            severity,
        } = finding;
        match severity {
            Severity::Note => tracing::info!(event = "host_note", id, fix, "{cause}"),
            _ => tracing::warn!(event = "host_warning", id, fix, "{cause}"),
        }
    }
    tracing::info!(
        event = "plan_connections",
        connections = plan.clients,
        reason = plan.clients_reason,
        "client connections at most"
    );
    if plan.route_names.is_empty() {
        tracing::warn!(
            event = "no_routes",
            "no [[route]] is configured: only the built-in paths are served"
        );
    }
    let open = plan
        .listen
        .operator
        .iter()
        .any(|address| !address.ip().is_loopback());
    if open && plan.token.is_none() {
        tracing::warn!(
            event = "admin_closed",
            "listen.operator is not on loopback and admin.token_file is not set: /admin/ refuses everybody there"
        );
    }
}

/// What was taken.
pub(crate) fn running(running: &Running) {
    let backend = running.backend.name;
    match &running.backend.reason {
        None => tracing::info!(event = "io_backend", backend, "driver"),
        Some(reason) => tracing::warn!(
            event = "io_backend",
            backend,
            reason,
            "io_uring is refused: running on epoll"
        ),
    }
    tracing::info!(
        event = "memory_taken",
        parts = running.memory.parts,
        "memory taken"
    );
    tracing::info!(
        event = "started",
        shards = running.cells.len(),
        "every shard is up"
    );
}
