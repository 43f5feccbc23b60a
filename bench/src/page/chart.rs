//! A plot of lines over two axes: grid, ticks, bands of rounds, marks, and a name at the end of every line.

use std::fmt::Write;

use super::axis::{Scale, Tick};
use super::groups::Entry;
use super::markup::{Markup, Px};
use super::paint::Paint;

/// Drawn by itself or within another. Units are pixels at its own size.
pub(crate) struct Picture {
    pub(crate) width: f64,
    pub(crate) height: f64,
    /// What it shows, for those who do not see it.
    pub(crate) title: String,
    /// SVG elements.
    pub(crate) body: String,
}

impl Picture {
    /// For a page that has the style.
    pub(crate) fn inline(&self) -> String {
        let mut svg = Markup::new();
        let view = format!("0 0 {} {}", Px(self.width), Px(self.height));
        svg.open(
            "svg",
            &[
                ("viewBox", &view),
                ("role", &"img"),
                ("aria-label", &self.title),
            ],
        );
        svg.raw(&self.body);
        svg.end()
    }
}

/// The width of a plot.
pub(crate) const WIDTH: f64 = 480.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 46.0;
const LEFT: f64 = 60.0;
/// Between two names at the ends of lines.
const NAME_HEIGHT: f64 = 15.0;
const PLOT_HEIGHT_MIN: f64 = 216.0;
/// What a character takes, generously.
const CHARACTER: f64 = 6.9;
const NAME_CHARACTERS_MAX: usize = 17;

/// Under what holds a server whose runs prove nothing.
pub(crate) const VOID: &str = "✕ proves nothing: not certified, or errors";

/// How a line is drawn.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pen {
    Server(Paint),
    /// Of a server whose runs prove nothing.
    Void,
    /// Of the generator.
    Generator,
}

pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
    pub(crate) marked: bool,
}

pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) pen: Pen,
    /// In the order of `x`; a curve without points is left out.
    pub(crate) points: Vec<Point>,
}

impl Curve {
    pub(crate) fn of(entry: &Entry<'_>, points: Vec<Point>) -> Curve {
        let pen = if entry.counts() {
            Pen::Server(entry.paint)
        } else {
            Pen::Void
        };
        Curve {
            name: entry.name.clone(),
            pen,
            points,
        }
    }
}

/// A bound at a place: what is drawn left of `x` is to stay below `y`.
pub(crate) struct Bound {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) label: String,
}

pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    pub(crate) x: Scale,
    pub(crate) y: Scale,
    pub(crate) x_ticks: Vec<Tick>,
    pub(crate) y_ticks: Vec<Tick>,
    pub(crate) x_label: String,
    pub(crate) curves: Vec<Curve>,
    pub(crate) bounds: Vec<Bound>,
    /// Places on the x axis where something went wrong.
    pub(crate) faults: Vec<f64>,
}

impl Chart {
    pub(crate) fn draw(&self) -> Picture {
        let curves: Vec<&Curve> = self
            .curves
            .iter()
            .filter(|curve| !curve.points.is_empty())
            .collect();
        let names: Vec<String> = curves.iter().map(|curve| shown(curve)).collect();
        let longest = names
            .iter()
            .map(|name| name.chars().count())
            .max()
            .unwrap_or(0);
        let plot = Plot {
            chart: self,
            right: WIDTH - 26.0 - longest as f64 * CHARACTER,
            bottom: TOP + PLOT_HEIGHT_MIN.max(NAME_HEIGHT * curves.len() as f64),
        };
        let mut svg = Markup::new();
        heading(&mut svg, &self.title, &self.subtitle);
        plot.axes(&mut svg);
        // What counts lies on what does not, and the first on the others.
        let (valid, void): (Vec<&Curve>, Vec<&Curve>) = curves
            .iter()
            .rev()
            .partition(|curve| matches!(curve.pen, Pen::Server(_)));
        for curve in void.iter().chain(&valid) {
            plot.band(&mut svg, curve);
        }
        plot.bounds(&mut svg);
        for curve in void.iter().chain(&valid) {
            plot.line(&mut svg, curve);
        }
        plot.bound_names(&mut svg);
        plot.names(&mut svg, &curves, &names);
        plot.faults(&mut svg);
        let mut height = plot.bottom + BOTTOM;
        if curves.iter().any(|curve| curve.pen == Pen::Void) {
            words(&mut svg, (8.0, height + 8.0), "note", VOID);
            height += 16.0;
        }
        let shown: Vec<&str> = curves.iter().map(|curve| curve.name.as_str()).collect();
        Picture {
            width: WIDTH,
            height,
            title: format!("{}: {}", self.title, shown.join(", ")),
            body: svg.end(),
        }
    }
}

/// The two lines over a plot.
pub(crate) fn heading(svg: &mut Markup, title: &str, subtitle: &str) {
    words(svg, (8.0, 20.0), "title", title);
    words(svg, (8.0, 37.0), "note", subtitle);
}

pub(crate) fn words(svg: &mut Markup, at: (f64, f64), class: &str, words: &str) {
    svg.leaf(
        "text",
        &[("x", &Px(at.0)), ("y", &Px(at.1)), ("class", &class)],
        words,
    );
}

/// A name as it stands in a plot: marked where it proves nothing, cut where it is long.
pub(crate) fn cut(name: &str, counts: bool) -> String {
    let mut name = if counts {
        name.to_owned()
    } else {
        format!("✕ {name}")
    };
    if name.chars().count() > NAME_CHARACTERS_MAX {
        name = name.chars().take(NAME_CHARACTERS_MAX - 1).collect();
        name.push('…');
    }
    name
}

fn shown(curve: &Curve) -> String {
    cut(&curve.name, curve.pen != Pen::Void)
}

/// A chart with its borders.
struct Plot<'a> {
    chart: &'a Chart,
    right: f64,
    bottom: f64,
}

impl Plot<'_> {
    fn x(&self, value: f64) -> f64 {
        LEFT + self.chart.x.place(value).clamp(0.0, 1.0) * (self.right - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom - self.chart.y.place(value).clamp(0.0, 1.0) * (self.bottom - TOP)
    }

    fn axes(&self, svg: &mut Markup) {
        for tick in &self.chart.y_ticks {
            let y = self.y(tick.value);
            rule(svg, (LEFT, y), (self.right, y), "grid");
            words(svg, (LEFT - 7.0, y + 4.0), "tick end", &tick.label);
        }
        for tick in &self.chart.x_ticks {
            let x = self.x(tick.value);
            rule(svg, (x, TOP), (x, self.bottom), "grid");
            words(svg, (x, self.bottom + 17.0), "tick middle", &tick.label);
        }
        rule(svg, (LEFT, self.bottom), (self.right, self.bottom), "axis");
        let middle = f64::midpoint(LEFT, self.right);
        words(
            svg,
            (middle, self.bottom + 36.0),
            "note middle",
            &self.chart.x_label,
        );
    }

    fn band(&self, svg: &mut Markup, curve: &Curve) {
        let fill = match curve.pen {
            Pen::Server(paint) => format!("f{} band", paint.colour),
            Pen::Generator | Pen::Void => return,
        };
        if curve.points.iter().all(|point| point.low >= point.high) {
            return;
        }
        let there = curve
            .points
            .iter()
            .map(|point| (self.x(point.x), self.y(point.high)));
        let back = curve
            .points
            .iter()
            .rev()
            .map(|point| (self.x(point.x), self.y(point.low)));
        let path = path(there.chain(back)) + "Z";
        svg.empty("path", &[("d", &path), ("class", &fill)]);
    }

    fn line(&self, svg: &mut Markup, curve: &Curve) {
        let class = match curve.pen {
            Pen::Server(paint) => format!("line l{} d{}", paint.colour, paint.dash),
            Pen::Generator => "line generator".to_owned(),
            Pen::Void => "line void".to_owned(),
        };
        let middle = curve
            .points
            .iter()
            .map(|point| (self.x(point.x), self.y(point.median)));
        svg.empty("path", &[("d", &path(middle)), ("class", &class)]);
        if let Pen::Server(paint) = curve.pen {
            for point in curve.points.iter().filter(|point| point.marked) {
                mark(svg, paint, self.x(point.x), self.y(point.median));
            }
        }
    }

    /// Each name beside the end of its line, moved where two would lie on each other.
    fn names(&self, svg: &mut Markup, curves: &[&Curve], names: &[String]) {
        let ends: Vec<(f64, f64)> = curves
            .iter()
            .filter_map(|curve| curve.points.last())
            .map(|point| (self.x(point.x), self.y(point.median)))
            .collect();
        let wanted: Vec<f64> = ends.iter().map(|end| end.1).collect();
        let places = spread(&wanted, NAME_HEIGHT, TOP + 4.0, self.bottom);
        for (((curve, name), end), place) in curves.iter().zip(names).zip(&ends).zip(&places) {
            let (line, fill) = match curve.pen {
                Pen::Server(paint) => (
                    format!("leader l{}", paint.colour),
                    format!("name f{}", paint.colour),
                ),
                Pen::Void | Pen::Generator => ("leader void".to_owned(), "name muted".to_owned()),
            };
            let path = path(
                [
                    (end.0 + 4.0, end.1),
                    (self.right + 6.0, end.1),
                    (self.right + 18.0, *place),
                ]
                .into_iter(),
            );
            svg.empty("path", &[("d", &path), ("class", &line)]);
            words(svg, (self.right + 22.0, place + 4.0), &fill, name);
        }
    }

    fn bounds(&self, svg: &mut Markup) {
        for bound in &self.chart.bounds {
            let (x, y) = (self.x(bound.x), self.y(bound.y));
            rule(svg, (LEFT, y), (self.right, y), "bound far");
            rule(svg, (LEFT, y), (x, y), "bound");
            rule(svg, (x, y - 5.0), (x, y + 5.0), "bound");
        }
    }

    /// Over everything else: lines may pass there.
    fn bound_names(&self, svg: &mut Markup) {
        let bounds = &self.chart.bounds;
        let wanted: Vec<f64> = bounds.iter().map(|bound| self.y(bound.y) - 6.0).collect();
        let places = spread(&wanted, NAME_HEIGHT, TOP + 12.0, self.bottom);
        for (bound, place) in bounds.iter().zip(places) {
            words(svg, (LEFT + 5.0, place), "tick bound-name", &bound.label);
        }
    }

    fn faults(&self, svg: &mut Markup) {
        for fault in &self.chart.faults {
            let (x, y) = (self.x(*fault), self.bottom);
            let path = format!("M{} {}l6 6m0-6l-6 6", Px(x - 3.0), Px(y - 3.0));
            svg.empty("path", &[("d", &path), ("class", &"fault")]);
        }
    }
}

pub(crate) fn rule(svg: &mut Markup, from: (f64, f64), to: (f64, f64), class: &str) {
    let path = path([from, to].into_iter());
    svg.empty("path", &[("d", &path), ("class", &class)]);
}

fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut path = String::new();
    for (index, (x, y)) in points.enumerate() {
        let step = if index == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{step}{} {}", Px(x), Px(y));
    }
    path
}

/// The mark of a server, some eight pixels wide.
pub(crate) fn mark(svg: &mut Markup, paint: Paint, x: f64, y: f64) {
    const SHAPES: [&str; super::paint::MARKS] = [
        "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z",
        "m-3.5-3.5h7v7h-7Z",
        "m0-4.5l4.5 8h-9Z",
        "m0-5l4.5 5l-4.5 5l-4.5-5Z",
        "m0 4.5l4.5-8h-9Z",
        "m-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3Z",
        "m-4.5-2h9v4h-9Z",
        "m-2-4.5h4v9h-4Z",
    ];
    let path = format!("M{} {}{}", Px(x), Px(y), SHAPES[paint.mark % SHAPES.len()]);
    let class = format!("mark f{}", paint.colour);
    svg.empty("path", &[("d", &path), ("class", &class)]);
}

/// Places as near to the wanted ones as they can be, in their order and `apart` from each other; between the ends as
/// long as there is room.
fn spread(wanted: &[f64], apart: f64, first: f64, last: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut places = vec![0.0; wanted.len()];
    let mut least = first;
    for &index in &order {
        places[index] = wanted[index].max(least);
        least = places[index] + apart;
    }
    let mut most = last.max(first + apart * wanted.len().saturating_sub(1) as f64);
    for &index in order.iter().rev() {
        places[index] = places[index].min(most);
        most = places[index] - apart;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_distance() {
        for wanted in [
            &[50.0, 50.0, 50.0, 50.0][..],
            &[200.0, 199.0, 198.0],
            &[0.0, 300.0, 299.0, 10.0],
            &[90.0; 20],
        ] {
            let mut places = spread(wanted, 15.0, 20.0, 200.0);
            places.sort_by(f64::total_cmp);
            assert!(
                places.windows(2).all(|pair| pair[1] - pair[0] > 14.99),
                "{places:?}"
            );
            assert!(places[0] >= 19.99, "{places:?}");
        }
    }

    #[test]
    fn a_name_with_room_stays_where_its_line_ends() {
        assert_eq!(spread(&[100.0, 40.0], 15.0, 20.0, 200.0), [100.0, 40.0]);
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(cut("nginx", true), "nginx");
        assert_eq!(cut("nginx", false), "✕ nginx");
        assert_eq!(
            cut(&"x".repeat(40), true).chars().count(),
            NAME_CHARACTERS_MAX
        );
    }
}
