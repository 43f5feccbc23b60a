//! The page: one file, readable without a network and without scripts, on a screen and on paper.

use std::collections::BTreeSet;

use crate::clock;
use crate::record::{Host, Record, Run};
use crate::report::Spread;

use super::axis::{figure, short};
use super::groups::{Entry, Group, counts, remarks};
use super::markup::Markup;
use super::percentiles;
use super::pictures::{load, titled, whole};
use super::target::Target;
use super::{bars, series, style, table};

/// HTML that is well-formed XML but for its first line.
pub(crate) fn page(
    files: &[String],
    records: &[Record],
    groups: &[Group<'_>],
    targets: &[Target],
) -> String {
    let mut html = Markup::new();
    html.raw("<!doctype html>\n");
    html.open("html", &[("lang", &"en")]);
    html.open("head", &[]);
    html.empty("meta", &[("charset", &"utf-8")]);
    html.empty(
        "meta",
        &[
            ("name", &"viewport"),
            ("content", &"width=device-width, initial-scale=1"),
        ],
    );
    html.leaf("title", &[], &title(groups));
    html.open("style", &[]);
    html.raw(&style::of_page());
    html.close();
    html.close();
    html.open("body", &[]);
    head(&mut html, records, groups);
    glance(&mut html, groups);
    for (number, group) in groups.iter().enumerate() {
        section(&mut html, number, group, targets);
    }
    builds(&mut html, groups);
    hosts(&mut html, files, records);
    commands(&mut html, groups);
    reading(&mut html, targets);
    all_runs(&mut html, groups);
    html.end()
}

fn title(groups: &[Group<'_>]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for entry in groups.iter().flat_map(|group| &group.entries) {
        if !names.contains(&entry.name.as_str()) {
            names.push(&entry.name);
        }
    }
    match names.as_slice() {
        [] => "benchmark: nothing measured".to_owned(),
        [only] => format!("benchmark: {only}"),
        [first, others @ ..] => format!("benchmark: {first} beside {}", others.join(", ")),
    }
}

fn head(html: &mut Markup, records: &[Record], groups: &[Group<'_>]) {
    html.leaf("h1", &[], &title(groups));
    let begun: BTreeSet<u64> = records.iter().map(|record| record.at).collect();
    let begun: Vec<String> = begun.into_iter().map(clock::moment).collect();
    html.leaf(
        "p",
        &[("class", &"quiet")],
        &format!("Begun {}", begun.join(", ")),
    );
    let runs: Vec<&Run> = groups.iter().flat_map(Group::runs).collect();
    let void = runs.iter().filter(|run| !counts(run)).count();
    let (class, verdict) = match (runs.len(), void) {
        (0, _) => ("verdict doubt", "There are no runs here.".to_owned()),
        (1, 0) => (
            "verdict",
            "The run counts: it is certified, without errors.".to_owned(),
        ),
        (all, 0) => (
            "verdict",
            format!(
                "All {} runs count: certified, without errors.",
                whole(all as u64)
            ),
        ),
        (all, void) => (
            "verdict doubt",
            format!(
                "{} of {} runs prove nothing: not certified, or with errors. Where a server has others, its figures are of \
                 those alone; where it has none, they are grey, dotted and marked ✕.",
                whole(void as u64),
                whole(all as u64)
            ),
        ),
    };
    html.leaf("p", &[("class", &class)], &verdict);
    let hosts: Vec<&Host> = hosts_of(records);
    if hosts.len() > 1 {
        html.leaf(
            "p",
            &[("class", &"verdict doubt")],
            &format!("The records are of {} hosts or settings: what was not measured beside each other cannot be compared.", hosts.len()),
        );
    }
    if groups.len() > 1 {
        html.open("nav", &[]);
        html.open("ul", &[]);
        for (number, group) in groups.iter().enumerate() {
            html.open("li", &[]);
            html.leaf("a", &[("href", &format!("#g{number}"))], &titled(group));
            html.close();
        }
        html.close();
        html.close();
    }
}

/// CPU time of a request of every server in every group.
fn glance(html: &mut Markup, groups: &[Group<'_>]) {
    let seen = |group: &&Group<'_>| group.runs().any(|run| run.cpu_us_per_request.is_some());
    let groups: Vec<&Group<'_>> = groups.iter().filter(seen).collect();
    if groups.len() < 2 {
        return;
    }
    let mut servers: Vec<&Entry<'_>> = Vec::new();
    for entry in groups.iter().flat_map(|group| &group.entries) {
        if !servers.iter().any(|server| server.name == entry.name) {
            servers.push(entry);
        }
    }
    html.open("div", &[("class", &"scroll")]);
    html.open("table", &[]);
    html.leaf(
        "caption",
        &[],
        "CPU µs a request, median of rounds; below it × the floor's",
    );
    html.open("thead", &[]);
    html.open("tr", &[]);
    html.leaf("th", &[("scope", &"col")], "server");
    for group in &groups {
        html.leaf("th", &[("scope", &"col")], &titled(group));
    }
    html.close();
    html.close();
    html.open("tbody", &[]);
    for server in servers {
        html.open("tr", &[]);
        html.leaf("th", &[("scope", &"row")], &server.name);
        for group in &groups {
            let entry = group.entries.iter().find(|entry| entry.name == server.name);
            let cpu = |run: &Run| run.cpu_us_per_request;
            let Some((entry, spread)) = entry.and_then(|entry| Some((entry, entry.spread(cpu)?)))
            else {
                html.leaf("td", &[], "–");
                continue;
            };
            html.open(
                "td",
                &[("class", &if entry.counts() { "" } else { "void" })],
            );
            let sign = if entry.counts() { "" } else { "✕ " };
            html.leaf("b", &[], &format!("{sign}{}", figure(spread.median)));
            if let Some(over) = group.over_floor(entry, cpu) {
                html.leaf("small", &[], &format!("{over:.2} ×"));
            }
            html.close();
        }
        html.close();
    }
    html.close();
    html.close();
    html.close();
}

fn section(html: &mut Markup, number: usize, group: &Group<'_>, targets: &[Target]) {
    html.leaf("h2", &[("id", &format!("g{number}"))], &titled(group));
    let paths: BTreeSet<&str> = group.runs().map(|run| path(&run.load.url)).collect();
    let paths: Vec<&str> = paths.into_iter().collect();
    let known = group.known.as_ref();
    let known = known.map_or(String::new(), |known| format!("{known}. "));
    let lengths = Spread::of(group.runs().map(|run| run.load.seconds));
    let lengths = lengths.map_or(String::new(), |spread| {
        format!(
            "; runs of {} s",
            short((spread.median * 10.0).round() / 10.0)
        )
    });
    html.leaf(
        "p",
        &[("class", &"quiet")],
        &format!("{known}GET {}: {}{lengths}", paths.join(", "), load(group)),
    );
    table::table(html, group, targets);
    let mut notes = Vec::new();
    if group.rate.is_none() {
        notes.push("A closed loop waits for answers: its latencies are those of saturation, and targets, which are of a rate, only there for the eye.");
    } else if !targets.is_empty() {
        notes.push("▲ above its target.");
    }
    if group.floor().is_some() {
        notes.push("× the floor's: of clean windows where every run has them, else of all time.");
    }
    html.leaf("p", &[("class", &"quiet")], &notes.join(" "));
    remarkable(html, group);
    html.open("div", &[("class", &"pictures")]);
    let over_time = [
        bars::picture(group, "CPU time of a request"),
        series::p99(group),
        series::rate(group),
        series::cpu(group),
    ];
    let pictures = percentiles::pictures(group, targets).into_iter();
    for picture in pictures.chain(over_time.into_iter().flatten()) {
        html.raw(&picture.inline());
    }
    html.close();
}

/// What stood out, and in which rounds.
fn remarkable(html: &mut Markup, group: &Group<'_>) {
    let mut found: Vec<(&str, bool, String, Vec<String>)> = Vec::new();
    for entry in &group.entries {
        for run in &entry.runs {
            let remarks = remarks(run);
            let same = found
                .iter_mut()
                .find(|found| found.0 == entry.name && found.2 == remarks);
            match same {
                Some(found) => found.3.push(run.round.to_string()),
                None if remarks.is_empty() => {}
                None => found.push((
                    &entry.name,
                    counts(run),
                    remarks,
                    vec![run.round.to_string()],
                )),
            }
        }
    }
    if found.is_empty() {
        return;
    }
    html.open("ul", &[]);
    for (name, counts, remarks, rounds) in found {
        let (class, sign) = if counts {
            ("quiet", "")
        } else {
            ("doubtful", "✕ ")
        };
        let several = if rounds.len() > 1 { "s" } else { "" };
        let line = format!(
            "{sign}{name}, round{several} {}: {remarks}",
            rounds.join(", ")
        );
        html.leaf("li", &[("class", &class)], &line);
    }
    html.close();
}

fn builds(html: &mut Markup, groups: &[Group<'_>]) {
    let builds = groups.iter().flat_map(|group| &group.entries);
    let builds: BTreeSet<(&str, &str)> = builds
        .map(|entry| (entry.name.as_str(), entry.build))
        .collect();
    if builds.is_empty() {
        return;
    }
    html.leaf("h2", &[], "Servers");
    html.open("dl", &[]);
    for (name, build) in builds {
        html.leaf("dt", &[], name);
        html.leaf(
            "dd",
            &[],
            if build.is_empty() {
                "build unknown"
            } else {
                build
            },
        );
    }
    html.close();
}

fn hosts_of(records: &[Record]) -> Vec<&Host> {
    let mut hosts: Vec<&Host> = Vec::new();
    for record in records {
        if !hosts.contains(&&record.host) {
            hosts.push(&record.host);
        }
    }
    hosts
}

fn hosts(html: &mut Markup, files: &[String], records: &[Record]) {
    let hosts = hosts_of(records);
    html.leaf("h2", &[], if hosts.len() > 1 { "Hosts" } else { "Host" });
    for host in hosts {
        let of_host = files
            .iter()
            .zip(records)
            .filter(|(_, record)| record.host == *host);
        let files: Vec<String> = of_host
            .map(|(file, record)| format!("{file} ({})", clock::moment(record.at)))
            .collect();
        let mitigations: Vec<String> = host
            .mitigations
            .iter()
            .map(|(name, state)| format!("{name}: {state}"))
            .collect();
        let memory = format!("{} MiB", whole(host.memory_bytes >> 20));
        let facts = [
            ("CPU", format!("{} × {}", host.cpus, host.cpu)),
            ("kernel", host.kernel.clone()),
            ("governor", host.governor.clone()),
            ("memory", memory),
            ("huge pages", host.hugepages.clone()),
            ("congestion control", host.congestion_control.clone()),
            ("mitigations", mitigations.join("; ")),
            ("records", files.join(", ")),
        ];
        html.open("dl", &[]);
        for (name, fact) in facts {
            html.leaf("dt", &[], name);
            html.leaf("dd", &[], if fact.is_empty() { "none" } else { &fact });
        }
        html.close();
    }
}

/// What would measure the same again.
fn commands(html: &mut Markup, groups: &[Group<'_>]) {
    let commands = groups.iter().flat_map(commands_of);
    let commands: BTreeSet<String> = commands.collect();
    if commands.is_empty() {
        return;
    }
    html.leaf("h2", &[], "Commands");
    html.open("pre", &[]);
    let commands: Vec<String> = commands.into_iter().collect();
    html.leaf("code", &[], &commands.join("\n"));
    html.close();
}

/// A known scenario by its name, any other load as the generator takes it.
fn commands_of(group: &Group<'_>) -> BTreeSet<String> {
    let rounds = group.runs().map(|run| run.round).max().unwrap_or(1);
    let command = |run: &Run| {
        let load = &run.load;
        let seconds = load.seconds.round().max(1.0);
        if group.known.is_some() {
            let name = &run.scenario;
            return format!(
                "benchmark peers --scenario {name} --rounds {rounds} --seconds {seconds}"
            );
        }
        let rate = load.rate.map_or(String::new(), |rate| format!(" -R{rate}"));
        let poisson = load.arrivals.as_deref() == Some("poisson");
        let arrivals = if poisson { " --arrivals poisson" } else { "" };
        let url = load.url.replace('\'', "'\\''");
        format!(
            "benchmark -t{} -c{} -d{seconds}s{rate}{arrivals} '{url}'",
            load.threads, load.connections
        )
    };
    group.runs().map(command).collect()
}

fn reading(html: &mut Markup, targets: &[Target]) {
    html.leaf("h2", &[], "How to read this");
    html.open("ul", &[]);
    let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    let targets = format!(
        "Red lines are targets ({}). A line that keeps one passes below its end.",
        targets.join(", ")
    );
    for line in [
        "Figures are medians over the rounds, with the lowest and the highest; servers were measured in turns. Distrust a difference that is smaller than the spread.",
        "The floor answers every request with the same bytes and reads next to nothing: what is left is what this host's kernel takes for the transport. Ratios to it, within one group, hold from host to host; absolute figures do not.",
        "Latencies are corrected: an open loop's count from when a request was due, not from when it could be sent, so that a server that stalls hides nothing; the actual ones, from when it was sent, stand in the last table.",
        "Clean windows are 5 ms long, without a gap of the generator's above 200 µs inside or in the 2 ms before: what the server does, without what else the host does. All time is what clients of this host would have seen.",
        "Both axes of the percentile plots are logarithmic; every step to the right is ten times rarer. A line ends where there are too few answers to tell.",
        &targets,
        "A run is not certified where the generator could not drive it. Such a run, and one with errors, proves nothing of the server.",
    ] {
        html.leaf("li", &[], line);
    }
    html.close();
}

fn all_runs(html: &mut Markup, groups: &[Group<'_>]) {
    const HEADS: [&str; 14] = [
        "scenario",
        "server",
        "round",
        "CPU µs",
        "answers/s",
        "answers",
        "P50 µs",
        "P99 µs",
        "actual P99 µs",
        "max µs",
        "clean windows",
        "generator CPU µs",
        "busy",
        "remarks",
    ];
    html.leaf("h2", &[], "Every run");
    html.open("div", &[("class", &"scroll")]);
    html.open("table", &[]);
    html.open("thead", &[]);
    html.open("tr", &[]);
    for head in HEADS {
        let class = if matches!(head, "scenario" | "server" | "remarks") {
            "words"
        } else {
            ""
        };
        html.leaf("th", &[("scope", &"col"), ("class", &class)], head);
    }
    html.close();
    html.close();
    html.open("tbody", &[]);
    for group in groups {
        for entry in &group.entries {
            for run in &entry.runs {
                row(html, group, entry, run);
            }
        }
    }
}

fn row(html: &mut Markup, group: &Group<'_>, entry: &Entry<'_>, run: &Run) {
    let load = &run.load;
    let (corrected, actual) = (&load.latency.corrected, &load.latency.actual);
    let void = if counts(run) { "" } else { "void" };
    html.open("tr", &[("class", &void)]);
    html.leaf("th", &[("scope", &"row")], &titled(group));
    html.leaf("td", &[("class", &"left")], &entry.name);
    let clean = load.clean.as_ref();
    for value in [
        run.round.to_string(),
        run.cpu_us_per_request.map_or("–".to_owned(), figure),
        figure(load.requests_per_second),
        whole(load.requests),
        figure(corrected.p50_us),
        figure(corrected.p99_us),
        figure(actual.p99_us),
        figure(corrected.max_us),
        clean.map_or("–".to_owned(), |clean| {
            format!("{} of {}", whole(clean.windows), whole(clean.of))
        }),
        figure(load.generator_cpu_us_per_request),
        format!("{:.0} %", load.generator_busy * 100.0),
    ] {
        html.leaf("td", &[], &value);
    }
    html.leaf("td", &[("class", &"words")], &remarks(run));
    html.close();
}

/// What stands after the authority.
fn path(url: &str) -> &str {
    let after = url.split_once("://").map_or(url, |(_, after)| after);
    after.find('/').map_or("/", |at| &after[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_what_follows_the_authority() {
        assert_eq!(path("http://127.0.0.1:8080/a/b?c"), "/a/b?c");
        assert_eq!(path("http://127.0.0.1:8080"), "/");
    }
}
