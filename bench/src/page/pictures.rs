//! Pictures in files of their own, as a README shows them: with a ground of their own, and nothing from elsewhere.

use super::axis::{figure, thousands};
use super::bars;
use super::chart::{Picture, words};
use super::groups::Group;
use super::markup::{Markup, Px};
use super::percentiles;
use super::style;
use super::target::Target;

const EDGE: f64 = 16.0;
const HEAD: f64 = 44.0;

/// Latencies of one group: of the open loops that with the highest rate, else the first.
pub(crate) fn latency(groups: &[Group<'_>], targets: &[Target]) -> Option<String> {
    let drawn = groups
        .iter()
        .map(|group| (group, percentiles::pictures(group, targets)));
    let drawn = drawn.filter(|(_, pictures)| !pictures.is_empty());
    let best = drawn.reduce(|best, other| {
        if other.0.rate > best.0.rate {
            other
        } else {
            best
        }
    });
    let (group, pictures) = best?;
    let head = match &group.known {
        Some(title) => format!("Latency: {title}"),
        None => format!("Latency, {}: {}", group.scenario, load(group)),
    };
    Some(together(&head, &pictures))
}

/// CPU time of a request in every group.
pub(crate) fn cpu(groups: &[Group<'_>]) -> Option<String> {
    let pictures: Vec<Picture> = groups
        .iter()
        .filter_map(|group| bars::picture(group, &described(group)))
        .collect();
    (!pictures.is_empty()).then(|| together("CPU time of a request", &pictures))
}

/// A group by its name, with the rate of an open loop where the name does not tell.
pub(crate) fn titled(group: &Group<'_>) -> String {
    with_rate(group.scenario, " at ", group.rate)
}

/// A group by what it is, likewise.
fn described(group: &Group<'_>) -> String {
    with_rate(group.title(), ", ", group.rate)
}

fn with_rate(name: &str, between: &str, rate: Option<u64>) -> String {
    let short = rate.map(|rate| thousands(rate as f64));
    match (short, rate.map(whole)) {
        (Some(short), Some(long)) if !name.contains(&short) && !name.contains(&long) => {
            format!("{name}{between}{short}/s")
        }
        _ => name.to_owned(),
    }
}

/// What was asked of each server.
pub(crate) fn load(group: &Group<'_>) -> String {
    let connections = match group.connections {
        1 => "1 connection".to_owned(),
        connections => format!("{} connections", whole(u64::from(connections))),
    };
    match group.rate {
        Some(rate) => format!("{} requests a second over {connections}", whole(rate)),
        None => format!("closed loop, {connections}"),
    }
}

/// With commas, and nothing after a point.
pub(crate) fn whole(number: u64) -> String {
    match number {
        0..100 => number.to_string(),
        _ => figure(number as f64),
    }
}

/// Two beside each other, as many rows as it takes.
fn together(head: &str, pictures: &[Picture]) -> String {
    let columns = pictures.len().min(2);
    let rows: Vec<&[Picture]> = pictures.chunks(2).collect();
    let heights: Vec<f64> = rows
        .iter()
        .map(|row| row.iter().map(|picture| picture.height).fold(0.0, f64::max))
        .collect();
    let column = pictures
        .iter()
        .map(|picture| picture.width)
        .fold(0.0, f64::max);
    let width = columns as f64 * (column + EDGE) + EDGE;
    let height = HEAD + heights.iter().map(|height| height + EDGE).sum::<f64>();
    let mut svg = Markup::new();
    let titles: Vec<&str> = pictures
        .iter()
        .map(|picture| picture.title.as_str())
        .collect();
    let label = format!("{head}. {}", titles.join(". "));
    svg.open(
        "svg",
        &[
            ("xmlns", &"http://www.w3.org/2000/svg"),
            ("viewBox", &format!("0 0 {} {}", Px(width), Px(height))),
            ("width", &Px(width)),
            ("height", &Px(height)),
            ("role", &"img"),
            ("aria-label", &label),
        ],
    );
    svg.open("style", &[]);
    svg.raw(&style::of_picture());
    svg.close();
    svg.empty(
        "rect",
        &[
            ("x", &"0.5"),
            ("y", &"0.5"),
            ("width", &Px(width - 1.0)),
            ("height", &Px(height - 1.0)),
            ("rx", &"8"),
            ("class", &"card"),
        ],
    );
    words(&mut svg, (EDGE + 8.0, 32.0), "head", head);
    let mut y = HEAD;
    for (row, height) in rows.iter().zip(&heights) {
        for (index, picture) in row.iter().enumerate() {
            let x = EDGE + index as f64 * (column + EDGE);
            let place = format!("translate({} {})", Px(x), Px(y));
            svg.open("g", &[("transform", &place)]);
            svg.raw(&picture.body);
            svg.close();
        }
        y += height + EDGE;
    }
    svg.end()
}
