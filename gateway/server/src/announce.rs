//! What the log says at start: what was decided and why, then what was taken.

use platform::host::{Finding, Severity};

use crate::build;
use crate::events::log;
use crate::host::Host;
use crate::plan::Plan;
use crate::running::Running;
use crate::sources::Sources;

/// What was decided, before any of it is taken.
pub(crate) fn plan(plan: &Plan, host: &Host, sources: &Sources) {
    let file = sources
        .file()
        .map_or("none".to_owned(), |file| file.display().to_string());
    log!(
        Starting,
        version = build::VERSION,
        revision = build::REVISION,
        config = file,
        "starting"
    );
    let cpus: Vec<usize> = plan.shards.iter().map(|shard| shard.cpu).collect();
    log!(
        PlanShards,
        shards = plan.shards.len(),
        ?cpus,
        topology = host.topology.source(),
        reason = plan.shards_reason,
        "shards"
    );
    log!(PlanMemory, reason = plan.memory.reason, "memory pool");
    for finding in &plan.memory.findings {
        let Finding {
            id,
            cause,
            fix,
            severity,
        } = finding;
        match severity {
            Severity::Note => log!(HostNote, id, fix, "{cause}"),
            _ => log!(HostWarning, id, fix, "{cause}"),
        }
    }
    log!(
        PlanConnections,
        connections = plan.clients,
        reason = plan.clients_reason,
        "client connections at most"
    );
    if plan.route_names.is_empty() {
        log!(
            NoRoutes,
            "no [[route]] is configured: only the built-in paths are served"
        );
    }
    let open = plan
        .listen
        .operator
        .iter()
        .any(|address| !address.ip().is_loopback());
    if open && plan.token.is_none() {
        log!(
            AdminClosed,
            "listen.operator is not on loopback and admin.token_file is not set: /admin/ refuses everybody there"
        );
    }
}

/// What was taken.
pub(crate) fn running(running: &Running) {
    let backend = running.backend.name;
    match &running.backend.reason {
        None => log!(IoBackend, backend, "driver"),
        Some(reason) => log!(
            IoBackendFallback,
            backend,
            reason,
            "io_uring is refused: running on epoll"
        ),
    }
    log!(MemoryTaken, parts = running.memory.parts, "memory taken");
    log!(Started, shards = running.cells.len(), "every shard is up");
}
