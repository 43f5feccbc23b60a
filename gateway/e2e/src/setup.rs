//! What the gateway is told before it starts.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::drivers::Backend;
use crate::gateway::{Ended, Gateway};

/// What the gateway is to be told. Values are written as TOML, strings with their quotes.
#[derive(Clone)]
pub struct Setup {
    settings: Vec<(&'static str, &'static str, String)>,
    tables: String,
    environment: Vec<(&'static str, String)>,
    launcher: Vec<String>,
}

impl Setup {
    /// One shard, free ports, a small pool, no upstream.
    #[must_use]
    pub fn new(backend: Backend) -> Setup {
        let setup = Setup {
            settings: Vec::new(),
            tables: String::new(),
            environment: Vec::new(),
            launcher: Vec::new(),
        };
        setup
            .set("listen", "data", "\"127.0.0.1:0\"")
            .set("listen", "operator", "\"127.0.0.1:0\"")
            .set("listen", "metrics", "\"127.0.0.1:0\"")
            .set("api_gateway", "worker_threads", "1")
            .set("api_gateway", "memory_pool_size", "\"64MiB\"")
            .set("io", "backend", format!("\"{}\"", backend.name()))
    }

    /// Sets a key of a section; the last word counts.
    #[must_use]
    pub fn set(
        mut self,
        section: &'static str,
        key: &'static str,
        value: impl Into<String>,
    ) -> Setup {
        self.settings
            .retain(|(of, name, _)| (*of, *name) != (section, key));
        self.settings.push((section, key, value.into()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn environment(mut self, name: &'static str, value: impl Into<String>) -> Setup {
        self.environment.push((name, value.into()));
        self
    }

    /// Has another program execute the gateway: it is given these words and, behind them, the gateway's own command line.
    #[must_use]
    pub fn under(mut self, launcher: &[&str]) -> Setup {
        self.launcher = launcher.iter().map(ToString::to_string).collect();
        self
    }

    /// Has a shell's `ulimit` set the soft and hard limit of a resource first: `("n", "64")`, `("l", "0")`.
    #[must_use]
    pub fn limited(self, resource: &str, value: &str) -> Setup {
        let script = format!("ulimit -{resource} {value} && exec \"$@\"");
        self.under(&["sh", "-c", &script, "sh"])
    }

    /// Adds an upstream; `more` is further lines of TOML.
    #[must_use]
    pub fn upstream(mut self, name: &str, endpoints: &[SocketAddr], more: &str) -> Setup {
        let endpoints: Vec<String> = endpoints
            .iter()
            .map(|endpoint| format!("\"{endpoint}\""))
            .collect();
        let _ = writeln!(
            self.tables,
            "[[upstream]]\nname = \"{name}\"\nendpoints = [{}]\n{more}\n",
            endpoints.join(", ")
        );
        self
    }

    /// Adds a route; `host` may be empty.
    #[must_use]
    pub fn route(mut self, name: &str, host: &str, path: &str, upstream: &str) -> Setup {
        let host = if host.is_empty() {
            String::new()
        } else {
            format!("host = \"{host}\"\n")
        };
        let _ = writeln!(
            self.tables,
            "[[route]]\nname = \"{name}\"\n{host}path = \"{path}\"\nupstream = \"{upstream}\"\n"
        );
        self
    }

    /// One upstream and one route for everything; `more` is further lines of the upstream.
    #[must_use]
    pub fn everything_to(self, origin: SocketAddr, more: &str) -> Setup {
        self.upstream("origin", &[origin], more)
            .route("all", "", "/", "origin")
    }

    /// Adds lines of TOML to the route or upstream that was added last.
    #[must_use]
    pub fn with(mut self, lines: &str) -> Setup {
        let table = self.tables.trim_end().len();
        self.tables.truncate(table);
        let _ = writeln!(self.tables, "\n{lines}\n");
        self
    }

    /// The configuration file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut sections: Vec<&str> = Vec::new();
        for (section, _, _) in &self.settings {
            if !sections.contains(section) {
                sections.push(section);
            }
        }
        let mut text = String::new();
        for section in sections {
            let _ = writeln!(text, "[{section}]");
            for (_, key, value) in self.settings.iter().filter(|(of, _, _)| *of == section) {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        text + &self.tables
    }

    /// Starts the gateway and waits until it listens.
    ///
    /// # Panics
    /// When it ends or says nothing instead.
    #[must_use]
    pub fn start(&self) -> Gateway {
        Gateway::start(self)
    }

    /// Starts a gateway that is not to come up and waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    #[must_use]
    pub fn fail(&self) -> Ended {
        Ended::of(self)
    }

    pub(crate) fn variables(&self) -> &[(&'static str, String)] {
        &self.environment
    }

    pub(crate) fn launcher(&self) -> &[String] {
        &self.launcher
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_a_key_counts() {
        let text = Setup::new(Backend::Epoll)
            .set("api_gateway", "worker_threads", "2")
            .text();
        assert!(text.contains("worker_threads = 2\n") && !text.contains("worker_threads = 1\n"));
        assert_eq!(text.matches("[api_gateway]").count(), 1);
    }

    #[test]
    fn routes_and_upstreams_are_tables() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let text = Setup::new(Backend::IoUring)
            .everything_to(address, "max_connections = 3")
            .text();
        assert!(text.contains(
            "[[upstream]]\nname = \"origin\"\nendpoints = [\"127.0.0.1:80\"]\nmax_connections = 3\n"
        ));
        assert!(text.contains("[[route]]\nname = \"all\"\npath = \"/\"\nupstream = \"origin\"\n"));
    }
}
