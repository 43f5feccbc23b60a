//! Binding every address of the plan before anything else is taken: the data port once a shard, the control plane's ports
//! once.

use std::net::{SocketAddr, TcpListener};

use platform::host::HostRoot;
use platform::listen::{BindError, Listeners, defer_accept};

use crate::failure::StartFailure;
use crate::plan::Plan;

/// Everything bound.
pub(crate) struct Bound {
    /// Each shard's sockets, by `ShardId`: one for each data address.
    pub(crate) data: Vec<Vec<TcpListener>>,
    /// The operator's.
    pub(crate) operator: Vec<TcpListener>,
    /// Prometheus's.
    pub(crate) metrics: Vec<TcpListener>,
    /// The addresses as they are, ports that the kernel chose included.
    pub(crate) addresses: Vec<Listening>,
}

/// An address listened on.
#[derive(Clone, Debug)]
pub(crate) struct Listening {
    /// `data`, `operator` or `metrics`; with a number behind it from the second one on.
    pub(crate) name: String,
    /// Where.
    pub(crate) address: SocketAddr,
}

/// Binds.
///
/// # Errors
/// The address that is taken or not ours, by whom, and what to do.
pub(crate) fn bind(plan: &Plan, root: &HostRoot) -> Result<Bound, StartFailure> {
    let mut bound = Bound {
        data: plan.shards.iter().map(|_| Vec::new()).collect(),
        operator: Vec::new(),
        metrics: Vec::new(),
        addresses: Vec::new(),
    };
    for address in &plan.listen.data {
        let sockets = bound.add("data", root, *address, plan.shards.len())?;
        for (shard, socket) in bound.data.iter_mut().zip(sockets) {
            if plan.defer_accept
                && let Err(error) = defer_accept(&socket)
            {
                tracing::warn!(event = "listener_note", %address, %error, "connections are not deferred");
            }
            shard.push(socket);
        }
    }
    for address in &plan.listen.operator {
        let sockets = bound.add("operator", root, *address, 1)?;
        bound.operator.extend(sockets);
    }
    for address in &plan.listen.metrics {
        let sockets = bound.add("metrics", root, *address, 1)?;
        bound.metrics.extend(sockets);
    }
    Ok(bound)
}

impl Bound {
    fn add(
        &mut self,
        kind: &str,
        root: &HostRoot,
        address: SocketAddr,
        sockets: usize,
    ) -> Result<Vec<TcpListener>, StartFailure> {
        let listeners = Listeners::bind(root, address, sockets).map_err(refused)?;
        for note in &listeners.notes {
            tracing::warn!(event = "listener_note", %address, "{note}");
        }
        let same = self
            .addresses
            .iter()
            .filter(|known| known.name.starts_with(kind));
        let name = match same.count() {
            0 => kind.to_owned(),
            count => format!("{kind}-{}", count + 1),
        };
        let address = listeners.address;
        tracing::info!(event = "bound", listener = %name, %address, "bound");
        self.addresses.push(Listening { name, address });
        Ok(listeners.sockets)
    }

    /// The first address of a kind.
    pub(crate) fn address(&self, kind: &str) -> Option<SocketAddr> {
        let first = self.addresses.iter().find(|known| known.name == kind);
        first.map(|listening| listening.address)
    }
}

fn refused(error: BindError) -> StartFailure {
    StartFailure {
        what: format!("cannot listen on {}", error.address),
        cause: error.cause,
        fix: error.fix,
        demanded: false,
    }
}
