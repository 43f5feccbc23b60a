//! The table of a group: every server's figures, median and ends over the rounds, and how far from the floor.

use crate::record::{Distribution, Run};

use super::axis::{figure, nines};
use super::chart::mark;
use super::groups::{Entry, Group, counts};
use super::markup::Markup;
use super::percentiles::Window;
use super::target::Target;

/// One figure of a run.
type Figure = Box<dyn Fn(&Run) -> Option<f64>>;
/// One of a distribution's.
type Value = fn(&Distribution) -> f64;

struct Column {
    /// Under which of the heads of several columns; empty for none.
    over: &'static str,
    head: &'static str,
    figure: Figure,
    /// The percentile that it is, as a share.
    share: Option<f64>,
}

impl Column {
    fn plain(head: &'static str, figure: impl Fn(&Run) -> Option<f64> + 'static) -> Column {
        Column {
            over: "",
            head,
            figure: Box::new(figure),
            share: None,
        }
    }

    fn percentile(window: Window, head: &'static str, share: f64, value: Value) -> Column {
        let over = match window {
            Window::All => "all time, µs",
            Window::Clean => "clean windows, µs",
        };
        let figure = move |run: &Run| {
            let distribution = window.of(run)?;
            (distribution.count > 0).then(|| value(distribution))
        };
        Column {
            over,
            head,
            figure: Box::new(figure),
            share: Some(share),
        }
    }
}

fn columns() -> Vec<Column> {
    const PERCENTILES: [(&str, f64, Value); 3] = [
        ("P50", 0.5, |distribution| distribution.p50_us),
        ("P99", 0.99, |distribution| distribution.p99_us),
        ("P99.9", 0.999, |distribution| distribution.p99_9_us),
    ];
    let mut columns = vec![
        Column::plain("CPU µs a request", |run| run.cpu_us_per_request),
        Column::plain("answers a second", |run| Some(run.load.requests_per_second)),
    ];
    for window in [Window::All, Window::Clean] {
        columns.extend(
            PERCENTILES.map(|(head, share, value)| Column::percentile(window, head, share, value)),
        );
    }
    let mib = |run: &Run| Some(run.peak_rss_bytes? as f64 / f64::from(1 << 20));
    columns.push(Column::plain("peak RSS MiB", mib));
    columns
}

/// Columns that have nothing to show are left out.
pub(crate) fn table(html: &mut Markup, group: &Group<'_>, targets: &[Target]) {
    let mut columns = columns();
    columns.retain(|column| group.runs().any(|run| (column.figure)(run).is_some()));
    let ratios = ratios(group);
    html.open("div", &[("class", &"scroll")]);
    html.open("table", &[]);
    heads(html, &columns, &ratios);
    html.open("tbody", &[]);
    for entry in &group.entries {
        let void = if entry.counts() { "" } else { "void" };
        html.open("tr", &[("class", &void)]);
        server(html, entry);
        for column in &columns {
            cell(html, entry, column, bound(group, column, targets));
        }
        for (_, figure) in &ratios {
            let ratio = group.over_floor(entry, figure);
            html.leaf(
                "td",
                &[],
                &ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
            );
        }
        html.leaf("td", &[], &runs(entry));
        html.close();
    }
    html.close();
    html.close();
    html.close();
}

fn heads(html: &mut Markup, columns: &[Column], ratios: &[(&'static str, Figure)]) {
    let mut spans: Vec<(&str, usize)> = vec![("", 1)];
    let overs = columns.iter().map(|column| column.over);
    for over in overs
        .chain(ratios.iter().map(|_| "× the floor's"))
        .chain([""])
    {
        match spans.last_mut() {
            Some((last, span)) if *last == over => *span += 1,
            _ => spans.push((over, 1)),
        }
    }
    html.open("thead", &[]);
    html.open("tr", &[]);
    for (over, span) in spans {
        let class = if over.is_empty() { "" } else { "over" };
        html.leaf("th", &[("colspan", &span), ("class", &class)], over);
    }
    html.close();
    html.open("tr", &[]);
    html.leaf("th", &[("scope", &"col")], "server");
    let names = columns.iter().map(|column| column.head);
    for head in names
        .chain(ratios.iter().map(|(head, _)| *head))
        .chain(["runs"])
    {
        html.leaf("th", &[("scope", &"col")], head);
    }
    html.close();
    html.close();
}

/// What is set beside the floor's: latencies of clean windows where there are any.
fn ratios(group: &Group<'_>) -> Vec<(&'static str, Figure)> {
    if group.floor().is_none() {
        return Vec::new();
    }
    let clean = group.runs().all(|run| run.load.clean.is_some());
    let window = if clean { Window::Clean } else { Window::All };
    let percentile = |value: Value| -> Figure {
        Box::new(move |run: &Run| {
            window
                .of(run)
                .filter(|distribution| distribution.count > 0)
                .map(value)
        })
    };
    vec![
        ("CPU", Box::new(|run: &Run| run.cpu_us_per_request)),
        ("P50", percentile(|distribution| distribution.p50_us)),
        ("P99", percentile(|distribution| distribution.p99_us)),
    ]
}

/// The target of a percentile; a closed loop has none: it waits for the server.
fn bound(group: &Group<'_>, column: &Column, targets: &[Target]) -> Option<f64> {
    group.rate?;
    let share = column.share?;
    let same = |target: &&Target| (nines(target.share) - nines(share)).abs() < 1e-6;
    targets.iter().find(same).map(|target| target.us)
}

pub(crate) fn server(html: &mut Markup, entry: &Entry<'_>) {
    html.open("th", &[("scope", &"row")]);
    if entry.counts() {
        html.open(
            "svg",
            &[
                ("viewBox", &"-6 -6 12 12"),
                ("class", &"swatch"),
                ("aria-hidden", &"true"),
            ],
        );
        mark(html, entry.paint, 0.0, 0.0);
        html.close();
        html.text(&entry.name);
    } else {
        html.text(&format!("✕ {}", entry.name));
    }
    html.close();
}

fn cell(html: &mut Markup, entry: &Entry<'_>, column: &Column, bound: Option<f64>) {
    let Some(spread) = entry.spread(&column.figure) else {
        html.leaf("td", &[], "–");
        return;
    };
    let above = bound.is_some_and(|bound| spread.median > bound);
    html.open("td", &[("class", &if above { "above" } else { "" })]);
    let sign = if above { "▲ " } else { "" };
    html.leaf("b", &[], &format!("{sign}{}", figure(spread.median)));
    if entry.used().count() > 1 {
        html.leaf(
            "small",
            &[],
            &format!("{}..{}", figure(spread.low), figure(spread.high)),
        );
    }
    html.close();
}

fn runs(entry: &Entry<'_>) -> String {
    let (all, counted) = (
        entry.runs.len(),
        entry.runs.iter().filter(|run| counts(run)).count(),
    );
    if counted == all {
        all.to_string()
    } else {
        format!("{counted} of {all}")
    }
}
