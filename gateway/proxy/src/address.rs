//! Who a client is: the address that its connection comes from, and whom a trusted proxy on it names.

use std::net::{IpAddr, SocketAddr};

use base::{Driver, SocketId};
use cache::NodeStore;
use http::Fields;

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
    /// Notes whom a trusted proxy on this connection names in the request that is decided on.
    pub(crate) fn believe(&mut self, io: &D, socket: SocketId, fields: &Fields<'_>) {
        let Some(client) = self.clients.at(socket) else {
            return;
        };
        let source = client.source.get(io, socket).map(|address| address.ip());
        let trail = self.settings.forwarding.trail(source, fields);
        let trail = trail.unwrap_or_default();
        if let Some(work) = client.work.as_mut() {
            (work.believed, work.is_secure) = (trail.asker, trail.is_secure);
        }
    }

    /// The scheme under which the client asks, as believed.
    #[inline]
    pub(crate) fn scheme(&mut self, socket: SocketId) -> &'static str {
        if !self.settings.forwarding.is_read() {
            return "http";
        }
        let work = self.clients.at(socket);
        let work = work.and_then(|client| client.work.as_ref());
        match work.is_some_and(|work| work.is_secure) {
            true => "https",
            false => "http",
        }
    }

    /// Who asks, as believed, from the decision on a request to its end: what logs, limits and the fields towards origins
    /// tell. One system call a connection, made by the first who asks. IPv4 addresses are never in their IPv6 form.
    pub(crate) fn client_address(&mut self, io: &D, socket: SocketId) -> Option<IpAddr> {
        let client = self.clients.at(socket)?;
        client.address(io, socket).map(|address| address.ip())
    }
}
