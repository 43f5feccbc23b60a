//! Binding every address of the plan before anything else is taken: the data port once a shard, the control plane's ports
//! once.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base::ShardId;
use platform::host::HostRoot;
use platform::listen::{BindError, Listeners, accept_queue, defer_accept};

use crate::events::log;
use crate::failure::StartFailure;
use crate::handover::Place;
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
    /// Where the shards' sockets stand among those of others on each data address.
    pub(crate) data_places: Vec<(SocketAddr, Place)>,
}

/// An address listened on.
#[derive(Clone, Debug)]
pub(crate) struct Listening {
    /// `data`, `operator` or `metrics`; with a number behind it from the second one on.
    pub(crate) name: String,
    /// Where.
    pub(crate) address: SocketAddr,
}

impl Listening {
    /// Whether the shards serve it.
    pub(crate) fn is_for_clients(&self) -> bool {
        self.name.starts_with("data")
    }
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
        data_places: Vec::new(),
    };
    for address in &plan.listen.data {
        let shards = plan.shards.len();
        let listeners = match plan.listen.share_port {
            true => Listeners::join(root, *address, shards),
            false => Listeners::bind(root, *address, shards),
        };
        let listeners = listeners.map_err(refused)?;
        let place = Place::behind(listeners.before.clone());
        bound.data_places.push((listeners.address, place));
        let sockets = bound.add("data", listeners);
        for (shard, socket) in bound.data.iter_mut().zip(sockets) {
            if plan.defer_accept
                && let Err(why) = defer_accept(&socket)
            {
                log!(ListenerNote, %address, %why, "connections are not deferred");
            }
            shard.push(socket);
        }
    }
    for address in &plan.listen.operator {
        let listeners = Listeners::bind(root, *address, 1).map_err(refused)?;
        let sockets = bound.add("operator", listeners);
        bound.operator.extend(sockets);
    }
    for address in &plan.listen.metrics {
        let listeners = Listeners::bind(root, *address, 1).map_err(refused)?;
        let sockets = bound.add("metrics", listeners);
        bound.metrics.extend(sockets);
    }
    Ok(bound)
}

impl Bound {
    fn add(&mut self, kind: &str, listeners: Listeners) -> Vec<TcpListener> {
        let address = listeners.address;
        for note in &listeners.notes {
            log!(ListenerNote, %address, "{note}");
        }
        let same = self
            .addresses
            .iter()
            .filter(|known| known.name.starts_with(kind));
        let name = match same.count() {
            0 => kind.to_owned(),
            count => format!("{kind}-{}", count + 1),
        };
        log!(Bound, listener = %name, %address, "bound");
        self.addresses.push(Listening { name, address });
        listeners.sockets
    }

    /// The first address of a kind.
    pub(crate) fn address(&self, kind: &str) -> Option<SocketAddr> {
        let first = self.addresses.iter().find(|known| known.name == kind);
        first.map(|listening| listening.address)
    }
}

/// Second handles on the shards' listening sockets, to read the length of their queues by. Given up before the shards are told
/// to end: whoever's own handle is the last decides when a socket listens no more.
#[derive(Debug)]
pub(crate) struct AcceptQueues(Mutex<Vec<(ShardId, Vec<TcpListener>)>>);

impl AcceptQueues {
    /// Of each shard's sockets, by `ShardId`. A shard whose sockets cannot be duplicated for want of descriptors is left out.
    pub(crate) fn of(data: &[Vec<TcpListener>]) -> Self {
        let shards = (0u16..).map(ShardId).zip(data);
        let handles = shards.filter_map(|(shard, sockets)| {
            let handles = sockets.iter().map(TcpListener::try_clone);
            let handles: io::Result<Vec<_>> = handles.collect();
            Some((shard, handles.ok()?))
        });
        Self(Mutex::new(handles.collect()))
    }

    /// Connections that wait to be accepted by each shard, on all its sockets together.
    pub(crate) fn depths(&self) -> Vec<(ShardId, u64)> {
        let handles = self.handles();
        let depths = handles.iter().filter_map(|(shard, sockets)| {
            let depths = sockets.iter().map(|socket| {
                let queue = accept_queue(socket)?;
                Ok(u64::from(queue.depth))
            });
            let depth: io::Result<u64> = depths.sum();
            Some((*shard, depth.ok()?))
        });
        depths.collect()
    }

    /// What `each` makes of every handle on the data address of this number, up to the first failure.
    pub(crate) fn of_address<T>(
        &self,
        number: usize,
        each: impl FnMut(&TcpListener) -> io::Result<T>,
    ) -> io::Result<Vec<T>> {
        let handles = self.handles();
        let of_address = handles
            .iter()
            .filter_map(|(_, sockets)| sockets.get(number));
        of_address.map(each).collect()
    }

    /// Has one handle of a data address speak for the group of all.
    pub(crate) fn of_one(
        &self,
        number: usize,
        say: impl FnOnce(&TcpListener) -> io::Result<()>,
    ) -> io::Result<()> {
        let handles = self.handles();
        let mut of_address = handles
            .iter()
            .filter_map(|(_, sockets)| sockets.get(number));
        of_address.next().map_or(Ok(()), say)
    }

    /// Closes the handles.
    pub(crate) fn give_up(&self) {
        self.handles().clear();
    }

    fn handles(&self) -> MutexGuard<'_, Vec<(ShardId, Vec<TcpListener>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn queues_are_told_until_they_are_given_up_and_keep_no_socket_listening() {
        let data: Vec<_> = (0..2)
            .map(|_| vec![TcpListener::bind("127.0.0.1:0").expect("bound")])
            .collect();
        let address = data[1][0].local_addr().expect("bound");
        let queues = AcceptQueues::of(&data);
        let _waiting = [(); 3].map(|()| TcpStream::connect(address).expect("connected"));
        assert_eq!(queues.depths(), [(ShardId(0), 0), (ShardId(1), 3)]);
        queues.give_up();
        assert_eq!(queues.depths(), []);
        drop(data);
        assert!(TcpStream::connect(address).is_err());
    }
}
