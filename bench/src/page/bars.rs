//! CPU time of a request, a bar for each server, beside the floor's.

use crate::report::Spread;

use super::axis::{Scale, figure};
use super::chart::{Picture, VOID, WIDTH, cut, heading, mark, rule, words};
use super::groups::{Entry, Group};
use super::markup::{Markup, Px};

const TOP: f64 = 50.0;
const ROW: f64 = 27.0;
const BAR: f64 = 15.0;
/// Room for names, and for figures.
const LEFT: f64 = 134.0;
const FIGURES: f64 = 104.0;

/// The cheapest first; none where no server's CPU time was seen.
pub(crate) fn picture(group: &Group<'_>, title: &str) -> Option<Picture> {
    let mut rows: Vec<(&Entry<'_>, Spread)> = group
        .entries
        .iter()
        .filter_map(|entry| Some((entry, entry.spread(|run| run.cpu_us_per_request)?)))
        .collect();
    rows.sort_by(|a, b| {
        let void = |entry: &Entry<'_>| !entry.counts();
        (void(a.0).cmp(&void(b.0))).then(a.1.median.total_cmp(&b.1.median))
    });
    let highest = rows
        .iter()
        .map(|(_, spread)| spread.high)
        .reduce(f64::max)?;
    let scale = Scale::Linear {
        low: 0.0,
        high: highest.max(1e-9),
    };
    let x = |value: f64| LEFT + scale.place(value) * (WIDTH - FIGURES - LEFT);
    let bottom = TOP + ROW * rows.len() as f64;
    let floor = group
        .floor()
        .and_then(|floor| floor.spread(|run| run.cpu_us_per_request));
    let mut svg = Markup::new();
    let subtitle = match floor {
        Some(_) => "CPU µs a request: median, whisker: all rounds; × the floor's",
        None => "CPU µs a request: median, whisker: all rounds",
    };
    heading(&mut svg, title, subtitle);
    for (index, (entry, spread)) in rows.iter().enumerate() {
        let middle = TOP + ROW * (index as f64 + 0.5);
        let over = group.over_floor(entry, |run| run.cpu_us_per_request);
        bar(&mut svg, entry, middle, (x(0.0), x(spread.median)));
        let class = if entry.counts() {
            "whisker"
        } else {
            "whisker void-end"
        };
        whisker(&mut svg, middle, (x(spread.low), x(spread.high)), class);
        let class = if entry.counts() {
            "value"
        } else {
            "value muted"
        };
        words(
            &mut svg,
            (WIDTH - FIGURES + 50.0, middle + 4.5),
            &format!("{class} end"),
            &figure(spread.median),
        );
        if let Some(over) = over {
            words(
                &mut svg,
                (WIDTH - 6.0, middle + 4.5),
                "value muted end",
                &format!("{over:.2} ×"),
            );
        }
    }
    if let Some(floor) = floor {
        rule(
            &mut svg,
            (x(floor.median), TOP),
            (x(floor.median), bottom),
            "floor",
        );
    }
    rule(&mut svg, (x(0.0), TOP), (x(0.0), bottom), "axis");
    let mut height = bottom + 12.0;
    if rows.iter().any(|(entry, _)| !entry.counts()) {
        words(&mut svg, (8.0, bottom + 18.0), "note", VOID);
        height += 16.0;
    }
    let shown: Vec<String> = rows
        .iter()
        .map(|(entry, spread)| format!("{} {}", entry.name, figure(spread.median)))
        .collect();
    Some(Picture {
        width: WIDTH,
        height,
        title: format!("{title}: CPU µs a request: {}", shown.join(", ")),
        body: svg.end(),
    })
}

fn bar(svg: &mut Markup, entry: &Entry<'_>, middle: f64, (from, to): (f64, f64)) {
    let counts = entry.counts();
    let fill = if counts {
        format!("f{} bar", entry.paint.colour)
    } else {
        "void-bar".to_owned()
    };
    let width = (to - from).max(1.0);
    svg.empty(
        "rect",
        &[
            ("x", &Px(from)),
            ("y", &Px(middle - BAR / 2.0)),
            ("width", &Px(width)),
            ("height", &Px(BAR)),
            ("class", &fill),
        ],
    );
    if counts {
        mark(svg, entry.paint, 12.0, middle);
    }
    let class = if counts { "name" } else { "name muted" };
    words(svg, (24.0, middle + 4.5), class, &cut(&entry.name, counts));
}

fn whisker(svg: &mut Markup, middle: f64, (low, high): (f64, f64), class: &str) {
    if high - low < 0.5 {
        return;
    }
    rule(svg, (low, middle), (high, middle), class);
    for end in [low, high] {
        rule(svg, (end, middle - 4.0), (end, middle + 4.0), class);
    }
}
