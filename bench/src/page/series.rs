//! What each second of a run brought, over the rounds.

use crate::record::{Run, Second};
use crate::report::Spread;

use super::axis::{Scale, duration, short, thousands};
use super::chart::{Chart, Curve, Pen, Picture, Point};
use super::groups::{Entry, Group};

/// A line has no more points; longer runs are put together.
const POINTS_MAX: usize = 240;
/// As many seconds have a mark each.
const MARKED_MAX: usize = 12;

/// Answers a second; none where no run has a second.
pub(crate) fn rate(group: &Group<'_>) -> Option<Picture> {
    let curves = curves(group, |second| Some(second.requests as f64));
    let y = Scale::from_zero(highs(&curves));
    let subtitle = match group.rate {
        Some(rate) => format!("asked for: {} a second", thousands(rate as f64)),
        None => "as many as the connections allow".to_owned(),
    };
    draw(group, ("Answers a second", subtitle), curves, y, thousands)
}

/// CPU time of the servers, and of the generator, as shares of one CPU; none where no server's was seen.
pub(crate) fn cpu(group: &Group<'_>) -> Option<Picture> {
    let percent = |share: f64| 100.0 * share;
    let mut curves = curves(group, |second| second.server_cpu.map(percent));
    if curves.iter().all(|curve| curve.points.is_empty()) {
        return None;
    }
    let used: Vec<&Run> = group
        .entries
        .iter()
        .filter(|entry| entry.counts())
        .flat_map(|entry| entry.used())
        .collect();
    let highest = |point: Point| Point {
        median: point.high,
        ..point
    };
    let generator = points(&used, |second| Some(percent(second.generator_cpu)));
    curves.push(Curve {
        name: "generator".to_owned(),
        pen: Pen::Generator,
        points: generator.into_iter().map(highest).collect(),
    });
    let y = Scale::from_zero(highs(&curves).chain([100.0]));
    let subtitle = "of one CPU; generator: the most it took for any of them";
    draw(
        group,
        ("CPU time", subtitle.to_owned()),
        curves,
        y,
        |value| format!("{} %", short(value)),
    )
}

/// The 99th percentile of each second, corrected; none where no run has one.
pub(crate) fn p99(group: &Group<'_>) -> Option<Picture> {
    let curves = curves(group, |second| {
        (second.p99_us > 0.0).then_some(second.p99_us)
    });
    let lows = curves
        .iter()
        .flat_map(|curve| &curve.points)
        .map(|point| point.low);
    let y = Scale::about(lows.chain(highs(&curves)));
    draw(
        group,
        (
            "P99 of each second",
            "all time, from when requests were due".to_owned(),
        ),
        curves,
        y,
        duration,
    )
}

fn highs(curves: &[Curve]) -> impl Iterator<Item = f64> + '_ {
    curves
        .iter()
        .flat_map(|curve| &curve.points)
        .map(|point| point.high)
}

fn draw(
    group: &Group<'_>,
    (title, subtitle): (&str, String),
    curves: Vec<Curve>,
    y: Scale,
    label: impl Fn(f64) -> String,
) -> Option<Picture> {
    curves.iter().flat_map(|curve| &curve.points).next()?;
    let length = group.runs().map(whole_seconds).max().unwrap_or(1).max(1);
    let x = Scale::Linear {
        low: 0.0,
        high: length as f64,
    };
    let mut faults: Vec<f64> = group
        .runs()
        .flat_map(|run| {
            run.load
                .seconds_series
                .iter()
                .take(whole_seconds(run))
                .enumerate()
        })
        .filter(|(_, second)| second.errors > 0)
        .map(|(index, _)| index as f64 + 0.5)
        .collect();
    faults.sort_by(f64::total_cmp);
    faults.dedup();
    let x_label = if faults.is_empty() {
        "seconds into a run"
    } else {
        "seconds into a run; ✕ errors in that second"
    };
    let whole = |tick: &super::axis::Tick| tick.value.fract() == 0.0;
    let chart = Chart {
        title: title.to_owned(),
        subtitle,
        x,
        y,
        x_ticks: x.ticks(short).into_iter().filter(whole).collect(),
        y_ticks: y.ticks(label),
        x_label: x_label.to_owned(),
        curves,
        bounds: Vec::new(),
        faults,
    };
    Some(chart.draw())
}

/// The last second of a run is left out where it is none: nothing was due in the rest of it.
fn whole_seconds(run: &Run) -> usize {
    let whole = (run.load.seconds + 0.05).floor().max(1.0) as usize;
    run.load.seconds_series.len().min(whole)
}

fn curves(group: &Group<'_>, figure: impl Fn(&Second) -> Option<f64>) -> Vec<Curve> {
    let curve = |entry: &Entry<'_>| {
        let runs: Vec<&Run> = entry.used().collect();
        Curve::of(entry, points(&runs, &figure))
    };
    group.entries.iter().map(curve).collect()
}

/// The mean of some seconds of each run, the spread of it over the runs.
fn points(runs: &[&Run], figure: impl Fn(&Second) -> Option<f64>) -> Vec<Point> {
    let length = runs.iter().map(|run| whole_seconds(run)).max().unwrap_or(0);
    let step = length.div_ceil(POINTS_MAX).max(1);
    let mean = |run: &&Run, first: usize| {
        let seconds = run.load.seconds_series.iter().take(whole_seconds(run));
        let values: Vec<f64> = seconds.skip(first).take(step).filter_map(&figure).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let point = |first: usize| {
        let Spread { low, median, high } =
            Spread::of(runs.iter().filter_map(|run| mean(run, first)))?;
        let x = first as f64 + step as f64 / 2.0;
        Some(Point {
            x,
            low,
            median,
            high,
            marked: length <= MARKED_MAX,
        })
    };
    (0..length).step_by(step).filter_map(point).collect()
}
