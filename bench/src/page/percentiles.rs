//! Latency over percentiles, both logarithmic, with the targets as corners that a line is to pass below.

use crate::record::{Distribution, Run};
use crate::report::Spread;

use super::axis::{self, NINES, Scale, duration, percent_of_nines};
use super::chart::{Bound, Chart, Curve, Picture, Point};
use super::groups::{Entry, Group, quantile};
use super::target::Target;

/// Where lines begin: a quarter of all.
const FIRST: f64 = 0.125;
const LAST: f64 = 4.0;
const STEPS: usize = 120;

/// Which answers.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Window {
    All,
    Clean,
}

impl Window {
    /// Corrected latencies.
    pub(crate) fn of(self, run: &Run) -> Option<&Distribution> {
        match self {
            Window::All => Some(&run.load.latency.corrected),
            Window::Clean => run
                .load
                .clean
                .as_ref()
                .map(|clean| &clean.latency.corrected),
        }
    }
}

/// Those of all time, and those of clean windows where there are any, on the same axes: a line for each server.
pub(crate) fn pictures(group: &Group<'_>, targets: &[Target]) -> Vec<Picture> {
    let windows = [Window::All, Window::Clean].map(|window| (window, curves(group, window)));
    let points = windows
        .iter()
        .flat_map(|(_, curves)| curves)
        .flat_map(|curve| &curve.points);
    let values = points.flat_map(|point| [point.low, point.high]);
    // Room for a target's name over its line.
    let bounds = targets.iter().map(|target| target.us * 1.4);
    let y = Scale::about(values.chain(bounds));
    let drawn = |curves: &[Curve]| curves.iter().any(|curve| !curve.points.is_empty());
    windows
        .into_iter()
        .filter(|(_, curves)| drawn(curves))
        .map(|(window, curves)| picture(window, curves, y, targets))
        .collect()
}

fn curves(group: &Group<'_>, window: Window) -> Vec<Curve> {
    let curve = |entry: &Entry<'_>| {
        let distributions: Vec<&Distribution> =
            entry.used().filter_map(|run| window.of(run)).collect();
        Curve::of(entry, points(&distributions))
    };
    group.entries.iter().map(curve).collect()
}

fn picture(window: Window, curves: Vec<Curve>, y: Scale, targets: &[Target]) -> Picture {
    let x = Scale::Nines {
        low: FIRST,
        high: LAST,
    };
    let bound = |target: &Target| Bound {
        x: axis::nines(target.share),
        y: target.us,
        label: target.to_string(),
    };
    let (title, subtitle) = match window {
        Window::All => (
            "Latency, all time",
            "with what else the host did; line: median of rounds, band: all of them",
        ),
        Window::Clean => (
            "Latency, clean windows",
            "5 ms windows in which nobody took the CPU from the generator",
        ),
    };
    let chart = Chart {
        title: title.to_owned(),
        subtitle: subtitle.to_owned(),
        x,
        y,
        x_ticks: x.ticks(percent_of_nines),
        y_ticks: y.ticks(duration),
        x_label: "of the requests took at most this long".to_owned(),
        curves,
        bounds: targets.iter().map(bound).collect(),
        faults: Vec::new(),
    };
    chart.draw()
}

/// As far to the right as every round has values.
fn points(distributions: &[&Distribution]) -> Vec<Point> {
    let mut places: Vec<(f64, bool)> = NINES.iter().map(|nines| (*nines, true)).collect();
    places.extend(
        (0..=STEPS).map(|step| (FIRST + (LAST - FIRST) * step as f64 / STEPS as f64, false)),
    );
    places.sort_by(|a, b| a.0.total_cmp(&b.0));
    let point = |(x, marked): (f64, bool)| {
        let share = 1.0 - 10f64.powf(-x);
        let values: Option<Vec<f64>> = distributions
            .iter()
            .map(|distribution| quantile(distribution, share))
            .collect();
        let Spread { low, median, high } = Spread::of(values?.into_iter())?;
        Some(Point {
            x,
            low,
            median,
            high,
            marked,
        })
    };
    places.into_iter().map_while(point).collect()
}
