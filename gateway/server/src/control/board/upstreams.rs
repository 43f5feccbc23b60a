//! `upstream:NAME`: whether an origin can be reached, by a connection to every endpoint now and then, made and closed; and
//! whether it answers, by what requests met with. It tells `/health`; it does not steer requests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{Moment, UpstreamId};
#[cfg(test)]
use telemetry::health::Rule;
use telemetry::health::{Component, Status};
use telemetry::{ShardCells, UpstreamStage};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::lately::Growth;

#[cfg(test)]
pub(super) const RULE: Rule = Rule {
    component: "upstream:NAME",
    degraded: "some endpoints cannot be connected to (looked at every five seconds); or more than 0.5 % of the last minute's \
        requests to it failed (`upstream_*_errors_total` says of what)",
    unhealthy: "no endpoint can be connected to",
    observed: "endpoints reached; share of requests that failed",
    limit: "endpoints there are (1: at least one); 0.005",
};

/// Share of requests to an upstream: half a percent of errors is what the runbooks act on.
const FAILED_MAX: f64 = 0.005;

/// Rest between two rounds over all endpoints.
const ROUND_REST: Duration = Duration::from_secs(5);

/// What was last found, one component an upstream, in the order of their ids.
#[derive(Clone)]
pub(crate) struct Origins(Arc<Mutex<Vec<Component>>>);

/// An upstream to look at.
pub(crate) struct Watched {
    /// Its name.
    pub(crate) name: String,
    /// Its addresses.
    pub(crate) endpoints: Vec<SocketAddr>,
    /// How long connecting may take.
    pub(crate) connect_timeout: Duration,
}

impl Origins {
    /// Upstreams that nobody has looked at yet: nothing is known to be wrong with them.
    pub(crate) fn unseen(upstreams: &[Watched]) -> Self {
        let unseen = upstreams
            .iter()
            .map(|upstream| Component::healthy(name_of(upstream)).because("not looked at yet"));
        Self(Arc::new(Mutex::new(unseen.collect())))
    }

    fn found(&self) -> MutexGuard<'_, Vec<Component>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One component an upstream, in the order of their ids: what the last round found, and where that is well, what requests
    /// met with.
    pub(super) fn look(
        &self,
        requests: &mut [Requests],
        shards: &[Arc<ShardCells>],
        now: Moment,
    ) -> Vec<Component> {
        let mut found = self.found().clone();
        for ((id, component), requests) in (0u16..).map(UpstreamId).zip(&mut found).zip(requests) {
            let failing = requests.look(Answers::of(id, shards), now);
            if component.status == Status::Healthy
                && let Some((reason, share)) = failing
            {
                *component =
                    Component::degraded(component.name.clone(), reason).measured(share, FAILED_MAX);
            }
        }
        found
    }

    /// Goes round until the process ends.
    pub(crate) async fn watch(self, upstreams: Vec<Watched>) {
        loop {
            for (at, upstream) in upstreams.iter().enumerate() {
                let seen = look(upstream).await;
                if let Some(component) = self.found().get_mut(at) {
                    *component = seen;
                }
            }
            tokio::time::sleep(ROUND_REST).await;
        }
    }
}

/// Counts since start of what came of requests to an upstream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answers {
    /// Heads that came.
    came: u64,
    /// Failures, by any cause.
    failed: u64,
}

impl Answers {
    fn of(upstream: UpstreamId, shards: &[Arc<ShardCells>]) -> Self {
        let pools = shards.iter().filter_map(|cells| cells.pool(upstream));
        pools.fold(Self::default(), |all, pool| Self {
            came: all.came + pool.completed(UpstreamStage::FirstByte),
            failed: all.failed + pool.failures(),
        })
    }
}

/// What requests to an upstream met with.
#[derive(Debug, Default)]
pub(super) struct Requests {
    came: Growth,
    failed: Growth,
}

impl Requests {
    /// What is wrong with the last minute, and the share that failed; `None` where it is well.
    fn look(&mut self, answers: Answers, now: Moment) -> Option<(String, f64)> {
        let (came, _) = self.came.look(answers.came, now);
        let (failed, _) = self.failed.look(answers.failed, now);
        let all = came + failed;
        let share = super::share(failed, all);
        let reason = || {
            format!(
                "{failed} of {all} requests of the last minute failed, though it accepts connections"
            )
        };
        (share > FAILED_MAX).then(|| (reason(), share))
    }
}

fn name_of(upstream: &Watched) -> String {
    format!("upstream:{}", upstream.name)
}

async fn look(upstream: &Watched) -> Component {
    let mut faults = Vec::new();
    for endpoint in &upstream.endpoints {
        if let Err(why) = reach(*endpoint, upstream.connect_timeout).await {
            faults.push((*endpoint, why));
        }
    }
    judge(name_of(upstream), upstream.endpoints.len(), &faults)
}

async fn reach(endpoint: SocketAddr, limit: Duration) -> Result<(), String> {
    match timeout(limit, TcpStream::connect(endpoint)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.kind().to_string()),
        Err(_) => Err(format!("no connection within {} ms", limit.as_millis())),
    }
}

fn judge(name: String, all: usize, faults: &[(SocketAddr, String)]) -> Component {
    let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    let Some((endpoint, why)) = faults.first() else {
        return Component::healthy(name).measured(count(all), count(all));
    };
    let reached = all.saturating_sub(faults.len());
    let reason = format!(
        "{} of {all} endpoints cannot be reached ({endpoint}: {why})",
        faults.len()
    );
    let component = match reached {
        0 => Component::unhealthy(name, reason),
        _ => Component::degraded(name, reason),
    };
    component.measured(count(reached), count(if reached == 0 { 1 } else { all }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_as_well_as_its_endpoints() {
        let endpoint: SocketAddr = "127.0.0.1:1".parse().expect("an address");
        let fault = (endpoint, "connection refused".to_owned());
        let well = Component::healthy("upstream:api").measured(2.0, 2.0);
        assert_eq!(judge("upstream:api".to_owned(), 2, &[]), well);
        let one = judge("upstream:api".to_owned(), 2, std::slice::from_ref(&fault));
        assert_eq!(one.status, telemetry::health::Status::Degraded);
        assert_eq!((one.observed, one.limit), (Some(1.0), Some(2.0)));
        let both = judge("upstream:api".to_owned(), 2, &[fault.clone(), fault]);
        assert_eq!(both.status, telemetry::health::Status::Unhealthy);
        assert_eq!(
            both.reason.as_deref(),
            Some("2 of 2 endpoints cannot be reached (127.0.0.1:1: connection refused)")
        );
    }

    #[test]
    fn requests_that_fail_are_told_where_connections_are_taken() {
        let mut requests = Requests::default();
        let mut at = |second: u64, came, failed| {
            requests.look(Answers { came, failed }, Moment(second * 1_000_000_000))
        };
        assert_eq!(at(1, 500, 500), None);
        assert_eq!(at(2, 700, 501), None);
        let (reason, share) = at(3, 700, 504).expect("too many");
        assert!(reason.starts_with("4 of 204 requests"), "{reason}, {share}");
        assert_eq!(at(64, 700, 504), None);
    }

    #[tokio::test]
    async fn a_listener_is_reached_and_a_closed_port_is_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound");
        let limit = Duration::from_secs(5);
        assert_eq!(reach(address, limit).await, Ok(()));
        drop(listener);
        assert_eq!(
            reach(address, limit).await,
            Err("connection refused".to_owned())
        );
    }
}
