//! The endpoints of upstreams as all shards and the control plane see them. The control plane replaces lists and marks what
//! its checks find; shards mark what requests meet with, and steer by all of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::{Moment, UpstreamId};

use super::endpoint::Endpoint;
use super::permits::Permits;
use crate::settings::Settings;

/// An endpoint as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share beside the others'; at least 1.
    pub weight: u32,
}

/// All upstreams, by [`UpstreamId`]; one for the process.
#[derive(Debug)]
pub struct Origins {
    upstreams: Vec<Members>,
}

/// The endpoints of one upstream.
#[derive(Debug)]
pub struct Members {
    list: Mutex<List>,
    /// Goes up with every change of the list.
    version: AtomicU64,
    /// Connections to all of them.
    pub(crate) permits: Permits,
}

type List = Arc<[Arc<Endpoint>]>;

impl Origins {
    /// The upstreams of a configuration, for so many shards.
    #[must_use]
    pub fn new(settings: &Settings, shards: usize) -> Arc<Self> {
        let upstreams = settings.upstreams.iter().map(|upstream| {
            let members = Members {
                list: Mutex::new(Arc::from([])),
                version: AtomicU64::new(0),
                permits: Permits::new(upstream.connections_max, shards),
            };
            members.replace(&upstream.endpoints, Moment(0));
            members
        });
        Arc::new(Self {
            upstreams: upstreams.collect(),
        })
    }

    /// The endpoints of an upstream.
    #[must_use]
    pub fn of(&self, upstream: UpstreamId) -> Option<&Members> {
        self.upstreams.get(usize::from(upstream.0))
    }

    /// Every upstream with its id.
    pub fn all(&self) -> impl Iterator<Item = (UpstreamId, &Members)> {
        (0..).map(UpstreamId).zip(&self.upstreams)
    }
}

impl Members {
    /// Endpoints as they are now.
    #[must_use]
    pub fn list(&self) -> Arc<[Arc<Endpoint>]> {
        Arc::clone(&self.locked())
    }

    /// Makes the endpoints these, in this order; one that stays keeps what is known of it, one that is new begins slowly unless
    /// it is among the first. Of equal addresses the first counts. Shards see it in their next turn.
    pub fn replace(&self, wanted: &[Member], now: Moment) {
        let mut list = self.locked();
        let mut next: Vec<Arc<Endpoint>> = Vec::with_capacity(wanted.len());
        for member in wanted {
            if next.iter().any(|known| known.address == member.address) {
                continue;
            }
            let known = list.iter().find(|known| known.address == member.address);
            let endpoint =
                known.map_or_else(|| Arc::new(Endpoint::new(member.address, now)), Arc::clone);
            endpoint.set_weight(member.weight);
            next.push(endpoint);
        }
        *list = next.into();
        self.version.fetch_add(1, Ordering::Release);
    }

    /// How often the list changed.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn locked(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// An endpoint like any other.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, weight: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Upstream;
    use crate::upstream::endpoint::State;

    fn member(port: u16) -> Member {
        Member::new(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    #[test]
    fn what_stays_keeps_what_is_known_of_it() {
        let upstream = Upstream::new("api", vec![member(1), member(2)]);
        let origins = Origins::new(&Settings::new(Vec::new(), vec![upstream]), 1);
        let members = origins.of(UpstreamId(0)).expect("one");
        members.list()[1].set_down(true, Moment(5));
        let before = members.version();
        let heavy = Member {
            weight: 7,
            ..member(2)
        };
        members.replace(&[heavy, member(3), member(2)], Moment(9));
        assert!(members.version() > before);
        let list = members.list();
        let seen: Vec<_> = list
            .iter()
            .map(|endpoint| {
                (
                    endpoint.address.port(),
                    endpoint.weight(),
                    endpoint.state(Moment(9)),
                )
            })
            .collect();
        assert_eq!(seen, [(2, 7, State::Down), (3, 1, State::Usable)]);
    }
}
