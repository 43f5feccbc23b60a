//! Who a client is: the address that its connection comes from, and whom a trusted proxy on it names.

use std::net::{IpAddr, SocketAddr};

use base::{Driver, SocketId};
use cache::NodeStore;

use crate::Proxy;
use crate::client::{Client, Work};

/// Where a client's connection comes from. Asked of the kernel once, by the first who needs it, or told by the header of
/// the PROXY protocol.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Source {
    ip: Option<IpAddr>,
    port: u16,
}

impl Source {
    /// What the PROXY header said.
    pub(crate) fn set(&mut self, address: SocketAddr) {
        self.ip = Some(address.ip().to_canonical());
        self.port = address.port();
    }

    /// The address; of an IPv4 client that came to an IPv6 socket the IPv4 one. `None` where the connection was reset
    /// before anybody asked.
    pub(crate) fn get<D: Driver>(&mut self, io: &D, socket: SocketId) -> Option<SocketAddr> {
        if self.ip.is_none() {
            self.set(io.peer(socket)?);
        }
        self.ip.map(|ip| SocketAddr::new(ip, self.port))
    }

    /// Who asks, as believed: whom a trusted proxy names (no port is known then), else where the connection comes from.
    pub(crate) fn asker<D: Driver>(
        &mut self,
        work: &Work<D>,
        io: &D,
        socket: SocketId,
    ) -> Option<SocketAddr> {
        match work.believed {
            Some(ip) => Some(SocketAddr::new(ip, 0)),
            None => self.get(io, socket),
        }
    }
}

impl<D: Driver> Client<D> {
    /// Who asks, as believed.
    pub(crate) fn address(&mut self, io: &D, socket: SocketId) -> Option<SocketAddr> {
        match &self.work {
            Some(work) => self.source.asker(work, io, socket),
            None => self.source.get(io, socket),
        }
    }
}

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    /// Who asks, as believed, from the decision on a request to its end: what logs, limits and the fields towards origins
    /// tell. One system call a connection, made by the first who asks. IPv4 addresses are never in their IPv6 form.
    pub(crate) fn client_address(&mut self, io: &D, socket: SocketId) -> Option<IpAddr> {
        let client = self.clients.at(socket)?;
        client.address(io, socket).map(|address| address.ip())
    }
}
