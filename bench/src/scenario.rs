//! What is measured.

use crate::server::Server;

/// One kind of load.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    /// Its name on the command line and in the reports.
    pub(crate) name: &'static str,
    /// What it is, for a reader of the report.
    pub(crate) title: &'static str,
    /// Target of the requests.
    pub(crate) path: &'static str,
    /// Bytes of the body that the origin sends.
    pub(crate) body_bytes: usize,
    /// Open connections.
    pub(crate) connections: usize,
    /// Sixteen requests at once.
    pub(crate) pipelined: bool,
    /// A new connection for each request.
    pub(crate) close: bool,
}

const CACHED: Scenario = Scenario {
    name: "hit-64",
    title: "cached 1 KiB, 64 connections",
    path: "/cached/object",
    body_bytes: 1 << 10,
    connections: 64,
    pipelined: false,
    close: false,
};

/// Everything that is measured, in the order of the report.
pub(crate) const ALL: [Scenario; 7] = [
    CACHED,
    Scenario {
        name: "hit-256",
        title: "cached 1 KiB, 256 connections",
        connections: 256,
        ..CACHED
    },
    Scenario {
        name: "pipelined",
        title: "cached 1 KiB, 64 connections, pipelined by 16",
        pipelined: true,
        ..CACHED
    },
    Scenario {
        name: "large",
        title: "cached 100 KiB, 64 connections",
        body_bytes: 100 << 10,
        ..CACHED
    },
    Scenario {
        name: "proxied",
        title: "uncached proxying of 1 KiB, 64 connections",
        path: "/passed/object",
        ..CACHED
    },
    Scenario {
        name: "latency",
        title: "cached 1 KiB, 1 connection",
        connections: 1,
        ..CACHED
    },
    Scenario {
        name: "churn",
        title: "cached 1 KiB, 64 connections, a new one for each request",
        close: true,
        ..CACHED
    },
];

impl Scenario {
    /// Whether answers come from the cache, so that the origin can be stopped before the load begins.
    pub(crate) fn cached(&self) -> bool {
        self.path.starts_with("/cached")
    }

    /// The origin's Cache-Control.
    pub(crate) fn cache_control(&self) -> &'static str {
        if self.cached() {
            "public, max-age=86400"
        } else {
            "no-store"
        }
    }

    /// Whether `server` has anything of its own to show here.
    pub(crate) fn fits(&self, server: Server) -> bool {
        match server {
            Server::FloorEach => self.pipelined,
            Server::UltragateBusy => self.connections == 1,
            _ => true,
        }
    }
}

/// Which figure a bound is about.
#[derive(Clone, Copy)]
pub(crate) enum Figure {
    /// CPU microseconds of a request: less is better.
    Cpu,
    /// Median latency: less is better.
    P50,
    /// Answers per second: more is better.
    Rate,
}

/// What the gateway is to reach: `server`'s figure over `against`'s, at most `bound` (at least, for rates).
pub(crate) struct Goal {
    pub(crate) scenario: &'static str,
    pub(crate) server: Server,
    pub(crate) figure: Figure,
    /// The best of these is what counts.
    pub(crate) against: &'static [Server],
    pub(crate) bound: f64,
}

const fn goal(
    scenario: &'static str,
    figure: Figure,
    against: &'static [Server],
    bound: f64,
) -> Goal {
    Goal {
        scenario,
        server: Server::Ultragate,
        figure,
        against,
        bound,
    }
}

/// The goals of the data plane, all of them ratios within one run.
pub(crate) const GOALS: [Goal; 14] = [
    goal("hit-64", Figure::Cpu, &[Server::Floor], 1.3),
    goal("hit-64", Figure::Cpu, &[Server::Nginx], 0.60),
    goal("hit-64", Figure::Cpu, &[Server::Haproxy], 0.75),
    goal("hit-256", Figure::Cpu, &[Server::Floor], 1.43),
    goal("hit-256", Figure::Cpu, &[Server::Nginx], 0.66),
    goal("hit-256", Figure::Cpu, &[Server::Haproxy], 0.825),
    goal("pipelined", Figure::Cpu, &[Server::Floor], 2.0),
    goal("pipelined", Figure::Cpu, &[Server::Nginx], 0.12),
    goal(
        "large",
        Figure::Cpu,
        &[Server::Nginx, Server::Haproxy, Server::Varnish, Server::H2o],
        1.05,
    ),
    goal("proxied", Figure::Cpu, &[Server::Haproxy], 1.0),
    goal("latency", Figure::P50, &[Server::Nginx], 1.0),
    Goal {
        server: Server::UltragateBusy,
        ..goal("latency", Figure::P50, &[Server::Nginx], 0.6)
    },
    goal("churn", Figure::Rate, &[Server::Nginx], 1.0),
    goal("churn", Figure::Cpu, &[Server::Nginx], 1.0),
];
