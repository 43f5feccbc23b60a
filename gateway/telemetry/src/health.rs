//! The health model: components, each with a status and its reason, and what follows for the whole.
//!
//! The whole is
//! - `unhealthy` when the gateway cannot serve: every shard, every listener or the I/O backend is unhealthy;
//! - `degraded` when anything else is not healthy (an origin that is down leaves hits, other routes and stale answers);
//! - `healthy` otherwise. A healthy component may carry a reason: an automatic fallback is one.
//!
//! Everything here is answered from memory; nobody is asked when `/health` is.

use std::fmt;

use base::{Moment, ShardId, Span, Wall, civil};

use crate::ShardCells;
use crate::json::Object;

/// Components without which nothing is served: when all of one kind are unhealthy, so is the whole.
const ESSENTIAL: [&str; 3] = ["shard", "listener", "io_backend"];

/// A shard whose loop has not turned for so long is stuck. Its loop turns at least once a second.
pub const HEARTBEAT_AGE_MAX: Span = Span::from_secs(3);

/// What a component says of itself, for the page that explains them. Empty where there is nothing to say.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its name, with a word in capitals for what differs.
    pub component: &'static str,
    /// What degrades it.
    pub degraded: &'static str,
    /// What makes it unhealthy.
    pub unhealthy: &'static str,
    /// What is measured.
    pub observed: &'static str,
    /// What it is measured against.
    pub limit: &'static str,
}

/// See [`Component::shard`].
pub const SHARD_RULE: Rule = Rule {
    component: "shard:N",
    degraded: "",
    unhealthy: "its loop has not turned for more than 3 seconds; it turns at least once a second",
    observed: "seconds since it turned",
    limit: "3",
};

/// How well something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Does all it should.
    #[default]
    Healthy,
    /// Serves, with something missing.
    Degraded,
    /// Does not serve.
    Unhealthy,
}

impl Status {
    /// The word in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// The word in `application/health+json`.
    fn as_check(self) -> &'static str {
        match self {
            Self::Healthy => "pass",
            Self::Degraded => "warn",
            Self::Unhealthy => "fail",
        }
    }

    /// The status code of `/health`.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Healthy | Self::Degraded => 200,
            Self::Unhealthy => 503,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One part of the gateway.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Component {
    /// Its kind, or `kind:which` where there are several: `cache`, `shard:0`, `upstream:api`.
    pub name: String,
    /// How well it is.
    pub status: Status,
    /// Why; for a healthy one, what is worth knowing.
    pub reason: Option<String>,
    /// Since when the status is what it is.
    pub since: Option<Wall>,
    /// What was measured.
    pub observed: Option<f64>,
    /// What it was measured against.
    pub limit: Option<f64>,
}

impl Component {
    /// A healthy component without a word.
    #[must_use]
    pub fn healthy(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// A component that serves with something missing.
    #[must_use]
    pub fn degraded(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            status: Status::Degraded,
            ..Self::healthy(name).because(reason)
        }
    }

    /// A component that does not serve.
    #[must_use]
    pub fn unhealthy(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            status: Status::Unhealthy,
            ..Self::healthy(name).because(reason)
        }
    }

    /// The same with a reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// The same with what was measured and against what.
    #[must_use]
    pub fn measured(mut self, observed: f64, limit: f64) -> Self {
        self.observed = Some(observed);
        self.limit = Some(limit);
        self
    }

    /// `shard:N` by its heartbeat. `now` is on the clock of the shard's driver.
    #[must_use]
    pub fn shard(cells: &ShardCells, now: Moment) -> Self {
        let ShardId(shard) = cells.shard;
        let name = format!("shard:{shard}");
        let age = heartbeat_age(cells, now);
        let restarts = cells.restarts.read();
        let component = match age {
            None => Self::unhealthy(name, "its loop has not begun to turn"),
            Some(age) if age > HEARTBEAT_AGE_MAX => {
                let seconds = age.0 / 1_000_000_000;
                Self::unhealthy(name, format!("its loop has not turned for {seconds} s"))
            }
            Some(_) if restarts > 0 => {
                Self::healthy(name).because(format!("restarts after a panic: {restarts}"))
            }
            Some(_) => Self::healthy(name),
        };
        match age {
            Some(age) => component.measured(seconds(age), seconds(HEARTBEAT_AGE_MAX)),
            None => component,
        }
    }

    fn kind(&self) -> &str {
        self.name
            .split_once(':')
            .map_or(&*self.name, |(kind, _)| kind)
    }

    fn write_check(&self, json: &mut Object<'_>) {
        if let Some((_, which)) = self.name.split_once(':') {
            json.string("componentId", which);
        }
        json.string("status", self.status.as_check());
        if let Some(observed) = self.observed {
            json.real("observedValue", observed);
        }
        if let Some(since) = self.since {
            json.string("time", &rfc3339(since));
        }
        if let Some(reason) = &self.reason {
            json.string("output", reason);
        }
    }

    fn write(&self, json: &mut Object<'_>) {
        json.string("name", &self.name);
        json.string("status", self.status.as_str());
        if let Some(reason) = &self.reason {
            json.string("reason", reason);
        }
        if let Some(since) = self.since {
            json.string("since", &rfc3339(since));
        }
        for (name, value) in [("observed", self.observed), ("limit", self.limit)] {
            if let Some(value) = value {
                json.real(name, value);
            }
        }
    }
}

/// How long ago a shard's loop last turned; `None` before its first turn.
pub(crate) fn heartbeat_age(cells: &ShardCells, now: Moment) -> Option<Span> {
    match u64::try_from(cells.heartbeat_ns.read()) {
        Ok(beat @ 1..) => Some(now - Moment(beat)),
        _ => None,
    }
}

/// The components as last observed, kept by the control thread. Their number is bounded by the configuration.
#[derive(Clone, Debug, Default)]
pub struct Board(Vec<Component>);

impl Board {
    /// Notes a component as observed now; tells whether its status is another than before. One that is new was healthy.
    /// `since` is kept while the status stays what it was.
    pub fn observe(&mut self, mut component: Component, now: Wall) -> bool {
        let known = self.0.iter_mut().find(|known| known.name == component.name);
        let before = known.as_ref().map_or(Status::Healthy, |known| known.status);
        let changed = before != component.status;
        match known {
            Some(known) => {
                component.since = known.since.filter(|_| !changed).or(Some(now));
                *known = component;
            }
            None => {
                component.since = Some(now);
                self.0.push(component);
            }
        }
        changed
    }

    /// Forgets components that are no longer configured.
    pub fn retain(&mut self, keep: impl FnMut(&Component) -> bool) {
        self.0.retain(keep);
    }

    /// A report of what was observed.
    #[must_use]
    pub fn report(&self, version: &str, uptime: Span) -> Report {
        Report {
            version: version.to_owned(),
            uptime,
            components: self.0.clone(),
        }
    }
}

/// What `/health` answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The gateway's version.
    pub version: String,
    /// Since the process started.
    pub uptime: Span,
    /// All components.
    pub components: Vec<Component>,
}

impl Report {
    /// The status of the whole, by the rules above.
    #[must_use]
    pub fn status(&self) -> Status {
        let worst = self.components.iter().map(|part| part.status).max();
        match worst {
            None | Some(Status::Healthy) => Status::Healthy,
            Some(_) if ESSENTIAL.iter().any(|kind| self.lost(kind)) => Status::Unhealthy,
            Some(_) => Status::Degraded,
        }
    }

    /// The body of `/health` on the operators' port.
    #[must_use]
    pub fn json(&self) -> String {
        let mut text = String::with_capacity(128 + 96 * self.components.len());
        let mut json = Object::open(&mut text);
        self.write_head(&mut json);
        json.objects("components", &self.components, |json, part| {
            part.write(json);
        });
        json.close();
        text
    }

    /// The same as `application/health+json` (draft-inadarei-api-health-check-06): components of one kind are the nodes of one
    /// check.
    #[must_use]
    pub fn health_json(&self) -> String {
        let mut text = String::with_capacity(128 + 128 * self.components.len());
        let mut json = Object::open(&mut text);
        json.string("status", self.status().as_check());
        json.string("releaseId", &self.version);
        let mut checks = json.object("checks");
        let mut kinds: Vec<&str> = self.components.iter().map(Component::kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            let nodes = self.components.iter().filter(|part| part.kind() == kind);
            checks.objects(kind, nodes, |json, part| part.write_check(json));
        }
        checks.close();
        json.close();
        text
    }

    /// The body of `/health` on the clients' port: no components, which are the operator's business.
    #[must_use]
    pub fn short_json(&self) -> String {
        let mut text = String::with_capacity(96);
        let mut json = Object::open(&mut text);
        self.write_head(&mut json);
        json.close();
        text
    }

    /// Whether there are components of a kind and none of them serves.
    fn lost(&self, kind: &str) -> bool {
        let mut parts = self
            .components
            .iter()
            .filter(|part| part.kind() == kind)
            .peekable();
        parts.peek().is_some() && parts.all(|part| part.status == Status::Unhealthy)
    }

    pub(crate) fn write_head(&self, json: &mut Object<'_>) {
        json.string("status", self.status().as_str());
        json.string("version", &self.version);
        json.count("uptime_seconds", self.uptime.0 / 1_000_000_000);
    }
}

#[allow(clippy::cast_precision_loss)]
fn seconds(span: Span) -> f64 {
    (span.0 / 1_000_000) as f64 / 1e3
}

/// A wall time in UTC, as RFC 3339 writes it.
pub(crate) fn rfc3339(at: Wall) -> String {
    let seconds = at.as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    let second = second % 60;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The same with microseconds, from nanoseconds since the epoch.
#[must_use]
pub fn rfc3339_micros(epoch_ns: u64) -> String {
    let seconds = rfc3339(Wall(epoch_ns / 1_000_000));
    let micros = epoch_ns / 1_000 % 1_000_000;
    format!("{}.{micros:06}Z", seconds.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(components: Vec<Component>) -> Report {
        Report {
            version: "0.1.0".into(),
            uptime: Span::from_millis(93_400),
            components,
        }
    }

    #[test]
    fn the_report_reads_as_documented() {
        let mut board = Board::default();
        board.observe(
            Component::healthy("shard:0"),
            Wall::from_secs(1_795_244_000),
        );
        let down = Component::unhealthy("upstream:api", "3 of 3 endpoints \"refuse\" connections");
        board.observe(down.measured(0.0, 1.0), Wall::from_secs(1_795_244_400));
        assert_eq!(
            board.report("0.1.0", Span::from_secs(93)).json(),
            r#"{"status":"degraded","version":"0.1.0","uptime_seconds":93,"components":[{"name":"shard:0","status":"healthy","since":"2026-11-21T06:53:20Z"},{"name":"upstream:api","status":"unhealthy","reason":"3 of 3 endpoints \"refuse\" connections","since":"2026-11-21T07:00:00Z","observed":0,"limit":1}]}"#
        );
    }

    #[test]
    fn checks_of_one_kind_are_nodes_of_one() {
        let mut board = Board::default();
        board.observe(
            Component::healthy("shard:0"),
            Wall::from_secs(1_795_244_000),
        );
        board.observe(
            Component::degraded("cache", "the pool is full").measured(9.0, 5.0),
            Wall::from_secs(1_795_244_000),
        );
        board.observe(
            Component::unhealthy("shard:1", "stuck"),
            Wall::from_secs(1_795_244_400),
        );
        assert_eq!(
            board.report("0.1.0", Span::ZERO).health_json(),
            r#"{"status":"warn","releaseId":"0.1.0","checks":{"cache":[{"status":"warn","observedValue":9,"time":"2026-11-21T06:53:20Z","output":"the pool is full"}],"shard":[{"componentId":"0","status":"pass","time":"2026-11-21T06:53:20Z"},{"componentId":"1","status":"fail","time":"2026-11-21T07:00:00Z","output":"stuck"}]}}"#
        );
    }

    #[test]
    fn the_short_form_names_no_component() {
        let report = report(vec![Component::unhealthy("io_backend", "the ring broke")]);
        assert_eq!(
            report.short_json(),
            r#"{"status":"unhealthy","version":"0.1.0","uptime_seconds":93}"#
        );
        assert_eq!(report.status().code(), 503);
    }

    #[test]
    fn one_of_several_shards_degrades_and_all_of_them_end_it() {
        let stuck = |shard| Component::unhealthy(format!("shard:{shard}"), "stuck");
        let one = report(vec![stuck(0), Component::healthy("shard:1")]);
        let all = report(vec![stuck(0), stuck(1)]);
        assert_eq!(one.status(), Status::Degraded);
        assert_eq!(all.status(), Status::Unhealthy);
    }

    #[test]
    fn origins_and_fallbacks_never_make_the_gateway_unhealthy() {
        let down = report(vec![Component::unhealthy("upstream:api", "refused")]);
        assert_eq!(down.status(), Status::Degraded);
        let fallback = report(vec![
            Component::healthy("io_backend").because("epoll: seccomp forbids io_uring"),
        ]);
        assert_eq!(fallback.status(), Status::Healthy);
    }

    #[test]
    fn since_is_when_the_status_began() {
        let mut board = Board::default();
        let mut observe = |component, at| board.observe(component, Wall::from_secs(at));
        assert!(!observe(Component::healthy("cache"), 10));
        assert!(observe(Component::degraded("cache", "slabs full"), 20));
        assert!(!observe(
            Component::degraded("cache", "slabs still full"),
            30
        ));
        let component = board
            .report("", Span::ZERO)
            .components
            .pop()
            .expect("one component");
        assert_eq!(component.since, Some(Wall::from_secs(20)));
        assert_eq!(component.reason.as_deref(), Some("slabs still full"));
    }

    #[test]
    fn a_shard_is_judged_by_its_heartbeat() {
        let cells = ShardCells::new(ShardId(1), 0);
        let at = |seconds: u64| Component::shard(&cells, Moment(seconds * 1_000_000_000));
        assert_eq!(at(1).status, Status::Unhealthy);
        cells.heartbeat_ns.set(5_000_000_000);
        assert_eq!(at(6), Component::healthy("shard:1").measured(1.0, 3.0));
        assert_eq!(at(8).status, Status::Healthy);
        let stuck = at(17);
        assert_eq!(
            stuck.reason.as_deref(),
            Some("its loop has not turned for 12 s")
        );
        assert_eq!((stuck.observed, stuck.limit), (Some(12.0), Some(3.0)));
        cells.restarts.add(1);
        assert_eq!(at(6).reason.as_deref(), Some("restarts after a panic: 1"));
    }

    #[test]
    fn dates_are_gregorian() {
        assert_eq!(rfc3339(Wall::from_secs(0)), "1970-01-01T00:00:00Z");
        assert_eq!(
            rfc3339(Wall::from_secs(951_827_696)),
            "2000-02-29T12:34:56Z"
        );
        assert_eq!(
            rfc3339(Wall::from_secs(4_107_542_399)),
            "2100-02-28T23:59:59Z"
        );
        assert_eq!(
            rfc3339(Wall::from_secs(4_107_542_400)),
            "2100-03-01T00:00:00Z"
        );
    }
}
