//! Runs put together: what was asked alike is a group, one build of one server in it an entry.

use std::collections::BTreeMap;

use crate::record::{Distribution, Record, Run};
use crate::report::Spread;
use crate::scenario;

use super::paint::{Paint, Paints};

/// Runs of one scenario under one load.
pub(crate) struct Group<'a> {
    pub(crate) scenario: &'a str,
    /// What the scenario is, as far as it is one that comes with this program.
    pub(crate) known: Option<String>,
    /// Requests a second of an open loop.
    pub(crate) rate: Option<u64>,
    pub(crate) threads: u32,
    pub(crate) connections: u32,
    pub(crate) entries: Vec<Entry<'a>>,
}

/// All runs of one build of a server in a group; never empty.
pub(crate) struct Entry<'a> {
    /// The server, with a number where several of its builds were measured.
    pub(crate) name: String,
    pub(crate) server: &'a str,
    pub(crate) build: &'a str,
    pub(crate) paint: Paint,
    pub(crate) runs: Vec<&'a Run>,
}

/// Whether a run proves anything.
pub(crate) fn counts(run: &Run) -> bool {
    run.load.certified && run.load.requests > 0 && run.load.error_count() == 0
}

/// What stands out of a run, in words; empty where nothing does.
pub(crate) fn remarks(run: &Run) -> String {
    let findings = run.load.findings.join(", ");
    let mut remarks = Vec::new();
    match (run.load.certified, findings.is_empty()) {
        (false, true) => remarks.push("not certified".to_owned()),
        (false, false) => remarks.push(format!("not certified: {findings}")),
        (true, false) => remarks.push(findings),
        (true, true) => {}
    }
    let kinds = run.load.errors.iter().filter(|(_, count)| **count > 0);
    let kinds: Vec<String> = kinds
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    if !kinds.is_empty() {
        remarks.push(format!("errors: {}", kinds.join(", ")));
    }
    if run.load.interrupted {
        remarks.push("interrupted".to_owned());
    }
    if run.load.requests == 0 {
        remarks.push("no answers".to_owned());
    }
    remarks.join("; ")
}

impl<'a> Entry<'a> {
    /// Whether any of its runs does.
    pub(crate) fn counts(&self) -> bool {
        self.runs.iter().any(|run| counts(run))
    }

    /// The runs its figures come from: those that count; where none does, all, and its figures prove nothing.
    pub(crate) fn used(&self) -> impl Iterator<Item = &'a Run> + '_ {
        let any = self.counts();
        let used = move |run: &&&'a Run| !any || counts(run);
        self.runs.iter().filter(used).copied()
    }

    pub(crate) fn spread(&self, figure: impl Fn(&Run) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.used().filter_map(figure))
    }

    pub(crate) fn is_floor(&self) -> bool {
        self.server == "floor"
    }
}

impl<'a> Group<'a> {
    /// The group's floor, if it counts.
    pub(crate) fn floor(&self) -> Option<&Entry<'a>> {
        let mut floors = self.entries.iter().filter(|entry| entry.is_floor());
        floors.find(|entry| entry.counts())
    }

    /// Medians over the floor's; nothing where either proves nothing.
    pub(crate) fn over_floor(
        &self,
        entry: &Entry<'_>,
        figure: impl Fn(&Run) -> Option<f64>,
    ) -> Option<f64> {
        let floor = self.floor()?.spread(&figure)?.median;
        let own = entry.spread(&figure)?.median;
        (entry.counts() && floor > 0.0).then_some(own / floor)
    }

    /// What it is, in words where it has any.
    pub(crate) fn title(&self) -> &str {
        self.known.as_deref().unwrap_or(self.scenario)
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = &'a Run> + '_ {
        self.entries
            .iter()
            .flat_map(|entry| entry.runs.iter().copied())
    }
}

/// In the order in which scenarios and servers come first.
pub(crate) fn groups<'a>(records: &'a [Record], only: &[String]) -> Vec<Group<'a>> {
    let wanted = |run: &&Run| only.is_empty() || only.contains(&run.scenario);
    let runs = || {
        records
            .iter()
            .flat_map(|record| &record.runs)
            .filter(wanted)
    };
    let names = names(runs());
    let paints = Paints::new(names.values().map(String::as_str));
    // Titles alone: a report of other scenarios needs none of them.
    let known = scenario::all().unwrap_or_default();
    let mut groups: Vec<Group<'a>> = Vec::new();
    for run in runs() {
        let load = &run.load;
        let same = |group: &Group<'_>| {
            group.scenario == run.scenario
                && group.rate == load.rate
                && group.threads == load.threads
                && group.connections == load.connections
        };
        let at = groups.iter().position(same).unwrap_or_else(|| {
            groups.push(Group {
                scenario: &run.scenario,
                known: known
                    .iter()
                    .find(|known| known.name == run.scenario)
                    .map(|known| known.title.clone()),
                rate: load.rate,
                threads: load.threads,
                connections: load.connections,
                entries: Vec::new(),
            });
            groups.len() - 1
        });
        let entries = &mut groups[at].entries;
        let key = (run.server.as_str(), run.build.as_str());
        if let Some(entry) = entries
            .iter_mut()
            .find(|entry| (entry.server, entry.build) == key)
        {
            entry.runs.push(run);
            continue;
        }
        let name = names.get(&key).cloned().unwrap_or_default();
        entries.push(Entry {
            paint: paints.of(&name),
            name,
            server: key.0,
            build: key.1,
            runs: vec![run],
        });
    }
    groups
}

/// A name for each server and build.
fn names<'a>(runs: impl Iterator<Item = &'a Run>) -> BTreeMap<(&'a str, &'a str), String> {
    let mut builds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for run in runs {
        let builds = builds.entry(&run.server).or_default();
        if !builds.contains(&run.build.as_str()) {
            builds.push(&run.build);
        }
    }
    let named = |(server, builds): (&'a str, Vec<&'a str>)| {
        let several = builds.len() > 1;
        let shown = if server.is_empty() { "unnamed" } else { server };
        let name = move |(number, build)| {
            let name = if several {
                format!("{shown} #{number}")
            } else {
                shown.to_owned()
            };
            ((server, build), name)
        };
        (1..).zip(builds).map(name)
    };
    builds.into_iter().flat_map(named).collect()
}

/// The value that a share of all stays below or at: the end of the bucket it falls into; none where there are too few
/// values to tell.
pub(crate) fn quantile(distribution: &Distribution, share: f64) -> Option<f64> {
    let count: u64 = distribution
        .buckets
        .iter()
        .fold(0, |sum, bucket| sum.saturating_add(bucket.1));
    if count == 0 || (1.0 - share) * (count as f64) < 0.999 {
        return None;
    }
    let rank = (share * count as f64).ceil() as u64;
    let mut seen = 0u64;
    let bucket = distribution.buckets.iter().find(|bucket| {
        seen = seen.saturating_add(bucket.1);
        seen >= rank
    });
    bucket.map(|bucket| bucket.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_ends_of_buckets_and_end_where_values_do() {
        let distribution = Distribution {
            count: 100,
            buckets: vec![(10.0, 50), (20.0, 49), (30.0, 1)],
            ..Distribution::default()
        };
        assert_eq!(quantile(&distribution, 0.5), Some(10.0));
        assert_eq!(quantile(&distribution, 0.51), Some(20.0));
        assert_eq!(quantile(&distribution, 0.99), Some(20.0));
        assert_eq!(quantile(&distribution, 0.999), None);
        assert_eq!(quantile(&Distribution::default(), 0.5), None);
    }
}
