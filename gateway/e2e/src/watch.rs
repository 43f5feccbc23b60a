//! What operators and Prometheus see, over connections that stay: they are there when no descriptor is left for new ones.

use std::net::SocketAddr;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::response::Broken;

/// A hand on the operator's and on Prometheus's port.
pub struct Watch {
    operator: Port,
    metrics: Port,
}

struct Port {
    address: SocketAddr,
    client: Client,
}

impl Watch {
    /// Connects to both.
    #[must_use]
    pub fn of(gateway: &Gateway) -> Watch {
        Watch {
            operator: Port::connect(gateway.operator),
            metrics: Port::connect(gateway.metrics),
        }
    }

    /// What `/health` says of a component: its JSON object, empty where there is none.
    pub fn component(&mut self, name: &str) -> String {
        let health = self.operator.ask("/health");
        let name = format!("\"name\":\"{name}\"");
        // Components are flat: the braces next to the name are theirs.
        let objects = health.split(['{', '}']);
        let mut named = objects.filter(|object| object.contains(&name));
        named.next().unwrap_or_default().to_owned()
    }

    /// `/metrics` as it is now.
    pub fn exposition(&mut self) -> String {
        self.metrics.ask("/metrics")
    }

    /// See [`sample`]; of `/metrics` as it is now.
    pub fn sample(&mut self, name: &str, labels: &[&str]) -> f64 {
        sample(&self.exposition(), name, labels)
    }
}

/// The sum of the samples whose line begins with `name` and holds every one of `labels`.
#[must_use]
pub fn sample(exposition: &str, name: &str, labels: &[&str]) -> f64 {
    let of_name = |line: &&str| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
    };
    let lines = exposition
        .lines()
        .filter(of_name)
        .filter(|line| labels.iter().all(|label| line.contains(label)));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

impl Port {
    fn connect(address: SocketAddr) -> Port {
        let client = Client::connect(address);
        let mut port = Port { address, client };
        // The gateway has it once it has answered.
        port.ask("/");
        port
    }

    fn ask(&mut self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
        let answer = match self.client.ask_quietly(&request) {
            // It was idle for longer than the port allows.
            Err(Broken::Closed | Broken::Reset) => {
                self.client = Client::connect(self.address);
                self.client.ask(&request)
            }
            answer => answer.unwrap_or_else(|broken| panic!("no whole answer: {broken:?}")),
        };
        String::from_utf8_lossy(&answer.body).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_name_and_labels() {
        let text = "# HELP a b\na{x=\"1\"} 2\na{x=\"2\"} 3\nab 7\na_b 8\n";
        assert_eq!(sample(text, "a", &[]).to_string(), "5");
        assert_eq!(sample(text, "a", &["x=\"2\""]).to_string(), "3");
        assert!(sample(text, "c", &[]) == 0.0);
    }
}
