//! How servers are told apart: a colour of Okabe and Ito's (some darkened, so that they show on white), a mark and a dash
//! each. A server that is known has the same in every report.

use std::collections::BTreeMap;
use std::fmt::Write;

/// How one server is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Paint {
    /// An index of [`COLOURS`].
    pub(crate) colour: usize,
    pub(crate) mark: usize,
    pub(crate) dash: usize,
}

/// On white, and on black.
const COLOURS: [(&str, &str); 8] = [
    ("#0072b2", "#4ba9e8"),
    ("#007d5a", "#2fc79b"),
    ("#b86e00", "#e69f00"),
    ("#a8487f", "#e08fbf"),
    ("#3b8fc4", "#8fd0f7"),
    ("#7d7400", "#e6da3e"),
    ("#7a5230", "#c99a72"),
    ("#3a3f45", "#c9d1d9"),
];
/// The colour of the floors.
const INK: usize = 7;
pub(crate) const MARKS: usize = 8;
pub(crate) const DASHES: usize = 3;

const fn paint(colour: usize, mark: usize, dash: usize) -> Paint {
    Paint { colour, mark, dash }
}

const KNOWN: [(&str, Paint); 10] = [
    ("ultragate", paint(0, 0, 0)),
    ("nginx", paint(1, 1, 0)),
    ("haproxy", paint(2, 2, 0)),
    ("varnish", paint(3, 3, 0)),
    ("h2o", paint(4, 4, 0)),
    ("ultragate-epoll", paint(5, 5, 1)),
    ("ultragate-busy", paint(6, 6, 1)),
    ("floor", paint(INK, 7, 0)),
    ("floor-each", paint(INK, 2, 1)),
    ("floor-epoll", paint(INK, 1, 2)),
];

/// Paint by name, handed out once.
pub(crate) struct Paints(BTreeMap<String, Paint>);

impl Paints {
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut paints = BTreeMap::new();
        let mut others = Vec::new();
        for name in names {
            match KNOWN.iter().find(|(known, _)| *known == name) {
                Some((_, paint)) => {
                    paints.insert(name.to_owned(), *paint);
                }
                None => others.push(name),
            }
        }
        let taken: Vec<Paint> = paints.values().copied().collect();
        let mut free: Vec<Paint> = (0..DASHES * MARKS)
            .flat_map(|turn| (0..INK).map(move |colour| (turn, colour)))
            .map(|(turn, colour)| paint(colour, (colour + turn) % MARKS, turn % DASHES))
            .filter(|paint| !taken.contains(paint))
            .collect();
        // First the colours that nobody has.
        free.sort_by_key(|paint| taken.iter().any(|taken| taken.colour == paint.colour));
        // After some hundred names they begin again.
        for (name, paint) in others.into_iter().zip(free.iter().cycle()) {
            paints.insert(name.to_owned(), *paint);
        }
        Self(paints)
    }

    pub(crate) fn of(&self, name: &str) -> Paint {
        self.0.get(name).copied().unwrap_or(paint(0, 0, 0))
    }
}

/// The rules for strokes (`.l0`, ...) and fills (`.f0`, ...), for a light or a dark ground.
pub(crate) fn rules(dark: bool) -> String {
    let mut rules = String::new();
    for (index, (on_white, on_black)) in COLOURS.iter().enumerate() {
        let colour = if dark { on_black } else { on_white };
        let _ = writeln!(
            rules,
            ".l{index}{{stroke:{colour}}}.f{index}{{fill:{colour}}}"
        );
    }
    rules
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_servers_look_alike() {
        let unknown: Vec<String> = (0..30).map(|number| format!("server {number}")).collect();
        let names = || {
            let known = KNOWN.iter().map(|(name, _)| *name);
            known.chain(unknown.iter().map(String::as_str))
        };
        let paints = Paints::new(names());
        let different: BTreeSet<Paint> = names().map(|name| paints.of(name)).collect();
        assert_eq!(different.len(), names().count());
    }
}
