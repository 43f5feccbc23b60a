//! Whether upstreams can be reached: a connection to every endpoint now and then, made and closed. It tells `/health`; it
//! does not steer requests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use telemetry::health::Component;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Rest between two rounds over all endpoints.
const ROUND_REST: Duration = Duration::from_secs(5);

/// What the last round found, one component an upstream.
#[derive(Clone, Default)]
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
    /// What the last round found; nothing before the first one ended.
    pub(crate) fn components(&self) -> Vec<Component> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Goes round until the process ends.
    pub(crate) async fn watch(self, upstreams: Vec<Watched>) {
        loop {
            let mut found = Vec::with_capacity(upstreams.len());
            for upstream in &upstreams {
                found.push(look(upstream).await);
            }
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = found;
            tokio::time::sleep(ROUND_REST).await;
        }
    }
}

async fn look(upstream: &Watched) -> Component {
    let mut faults = Vec::new();
    for endpoint in &upstream.endpoints {
        if let Err(why) = reach(*endpoint, upstream.connect_timeout).await {
            faults.push((*endpoint, why));
        }
    }
    judge(&upstream.name, upstream.endpoints.len(), &faults)
}

async fn reach(endpoint: SocketAddr, limit: Duration) -> Result<(), String> {
    match timeout(limit, TcpStream::connect(endpoint)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.kind().to_string()),
        Err(_) => Err(format!("no connection within {} ms", limit.as_millis())),
    }
}

fn judge(name: &str, all: usize, faults: &[(SocketAddr, String)]) -> Component {
    let name = format!("upstream:{name}");
    let Some((endpoint, why)) = faults.first() else {
        return Component::healthy(name);
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
    let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    component.measured(count(reached), count(if reached == 0 { 1 } else { all }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_as_well_as_its_endpoints() {
        let endpoint: SocketAddr = "127.0.0.1:1".parse().expect("an address");
        let fault = (endpoint, "connection refused".to_owned());
        assert_eq!(judge("api", 2, &[]), Component::healthy("upstream:api"));
        let one = judge("api", 2, std::slice::from_ref(&fault));
        assert_eq!(one.status, telemetry::health::Status::Degraded);
        assert_eq!((one.observed, one.limit), (Some(1.0), Some(2.0)));
        let both = judge("api", 2, &[fault.clone(), fault]);
        assert_eq!(both.status, telemetry::health::Status::Unhealthy);
        assert_eq!(
            both.reason.as_deref(),
            Some("2 of 2 endpoints cannot be reached (127.0.0.1:1: connection refused)")
        );
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
