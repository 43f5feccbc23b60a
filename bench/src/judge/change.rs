//! When a kept series of figures changed: where it stepped, and whether it rather drifts.
//!
//! Sought is the place where the ranks before and after differ most (Pettitt 1979), and where there is none the stretch
//! that differs most from what is around it (Olshen et al. 2004): what went and came back. Either is believed where of a
//! thousand shuffles of the series five or fewer show as much; what lies between the steps is searched again. Where a line
//! fits what is searched better than the steps do, it drifts.

use std::ops::Range;

use super::statistics::{Random, median};

/// Figures on either side of a step, at least: fewer are an outlier's luck.
const SIDE_MIN: usize = 5;
const SHUFFLES: u32 = 999;
/// Shuffles that may show as much, the series itself counted.
const CHANCE: u32 = 5;

/// What became of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    /// From `at` on the figures are others; the medians of both sides.
    Step { at: usize, from: f64, to: f64 },
    /// The figures between `begin` and `end` move along a line that runs from `from` to `to`.
    Drift {
        begin: usize,
        end: usize,
        from: f64,
        to: f64,
    },
}

/// Every change of the series, in order.
pub(crate) fn changes(series: &[f64]) -> Vec<Change> {
    let mut found = Found::default();
    search(series, 0, &mut Random(1), &mut found);
    let ends = found.steps.iter().copied().chain([series.len()]);
    let starts = std::iter::once(0).chain(found.steps.iter().copied());
    let medians: Vec<f64> = starts
        .zip(ends)
        .filter_map(|(start, end)| median(&series[start..end]))
        .collect();
    let sides = medians.windows(2);
    let steps = found
        .steps
        .iter()
        .zip(sides)
        .map(|(at, sides)| Change::Step {
            at: *at,
            from: sides[0],
            to: sides[1],
        });
    let mut changes: Vec<Change> = steps.chain(found.drifts).collect();
    changes.sort_by_key(|change| match change {
        Change::Step { at, .. } => *at,
        Change::Drift { begin, .. } => *begin,
    });
    changes
}

#[derive(Default)]
struct Found {
    /// In order.
    steps: Vec<usize>,
    drifts: Vec<Change>,
}

fn search(series: &[f64], offset: usize, random: &mut Random, found: &mut Found) {
    let stretch = believed(series, Sought::Step, random);
    let Some(stretch) = stretch.or_else(|| believed(series, Sought::Stretch, random)) else {
        return;
    };
    let parts: Vec<Range<usize>> = [0..stretch.start, stretch.clone(), stretch.end..series.len()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    let medians: Vec<f64> = parts
        .iter()
        .filter_map(|part| median(&series[part.clone()]))
        .collect();
    let far = |(part, median): (&Range<usize>, &f64)| -> f64 {
        series[part.clone()]
            .iter()
            .map(|value| (value - median).abs())
            .sum()
    };
    let by_steps: f64 = parts.iter().zip(&medians).map(far).sum();
    if let Some(line) = Line::through(series).filter(|line| line.far(series) < by_steps) {
        found.drifts.push(Change::Drift {
            begin: offset,
            end: offset + series.len(),
            from: line.at(0),
            to: line.at(series.len() - 1),
        });
        return;
    }
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            found.steps.push(offset + part.start);
        }
        search(&series[part.clone()], offset + part.start, random, found);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Sought {
    /// From the beginning to somewhere.
    Step,
    /// From somewhere to somewhere, neither of them an end.
    Stretch,
}

/// The stretch that differs most, where shuffling makes none such.
fn believed(series: &[f64], sought: Sought, random: &mut Random) -> Option<Range<usize>> {
    let mut ranks = ranks(series);
    let (stretch, strength) = strongest(&ranks, sought)?;
    let mut as_strong = 1;
    for _ in 0..SHUFFLES {
        shuffle(&mut ranks, random);
        let other = strongest(&ranks, sought);
        as_strong += u32::from(other.is_some_and(|(_, other)| other >= strength));
        if as_strong > CHANCE {
            return None;
        }
    }
    Some(stretch)
}

/// The stretch whose ranks' sum is furthest from what chance would make it, and how far in deviations.
fn strongest(ranks: &[f64], sought: Sought) -> Option<(Range<usize>, f64)> {
    let count = ranks.len();
    let mean = (count as f64 + 1.0) / 2.0;
    let mut sums = vec![0.0];
    let mut sum = 0.0;
    sums.extend(ranks.iter().map(|rank| {
        sum += rank - mean;
        sum
    }));
    let last = count.saturating_sub(SIDE_MIN);
    let starts = match sought {
        Sought::Step => 0..1,
        Sought::Stretch => SIDE_MIN..last,
    };
    let mut best: Option<(Range<usize>, f64)> = None;
    for start in starts {
        for end in start + SIDE_MIN..=last {
            let (inside, outside) = (end - start, count - (end - start));
            let strength =
                (sums[end] - sums[start]).abs() / (inside as f64 * outside as f64).sqrt();
            if best
                .as_ref()
                .is_none_or(|(_, strongest)| strength > *strongest)
            {
                best = Some((start..end, strength));
            }
        }
    }
    best
}

/// From 1; equal figures share the mean of theirs.
fn ranks(series: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = series.iter().filter(|other| other.total_cmp(value).is_lt());
        let equal = series.iter().filter(|other| other.total_cmp(value).is_eq());
        below.count() as f64 + (equal.count() as f64 + 1.0) / 2.0
    };
    series.iter().map(rank).collect()
}

/// Fisher and Yates.
fn shuffle(values: &mut [f64], random: &mut Random) {
    for last in (1..values.len()).rev() {
        values.swap(last, random.below(last + 1));
    }
}

/// The line whose slope is the median of those between any two figures (Theil 1950, Sen 1968).
struct Line {
    slope: f64,
    start: f64,
}

impl Line {
    fn through(series: &[f64]) -> Option<Line> {
        let mut slopes = Vec::with_capacity(series.len() * series.len() / 2);
        for (at, value) in series.iter().enumerate() {
            let earlier = series[..at].iter().enumerate();
            slopes.extend(earlier.map(|(then, old)| (value - old) / (at - then) as f64));
        }
        let slope = median(&slopes)?;
        let starts: Vec<f64> = (0..)
            .zip(series)
            .map(|(at, value)| value - slope * f64::from(at))
            .collect();
        Some(Line {
            slope,
            start: median(&starts)?,
        })
    }

    fn at(&self, index: usize) -> f64 {
        self.start + self.slope * index as f64
    }

    /// How far all figures lie from it, added up.
    fn far(&self, series: &[f64]) -> f64 {
        let far = |(index, value): (usize, &f64)| (value - self.at(index)).abs();
        series.iter().enumerate().map(far).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise of 2 %, every tenth figure five times as far away.
    fn series(seed: u64, count: usize, level: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut random = Random(seed);
        let mut noise = |index| {
            let scale = if random.below(10) == 0 { 0.1 } else { 0.02 };
            level(index) * (scale * random.normal()).exp()
        };
        (0..count).map(&mut noise).collect()
    }

    /// The places of the steps, where there is nothing else.
    fn steps(series: &[f64]) -> Option<Vec<usize>> {
        let place = |change: &Change| match change {
            Change::Step { at, .. } => Some(*at),
            Change::Drift { .. } => None,
        };
        changes(series).iter().map(place).collect()
    }

    fn near(found: &[usize], places: &[usize]) -> bool {
        let near = |(found, place): (&usize, &usize)| found.abs_diff(*place) <= 3;
        found.len() == places.len() && found.iter().zip(places).all(near)
    }

    #[test]
    fn steps_are_found_where_they_are() {
        for places in [vec![10], vec![30], vec![52], vec![20, 40]] {
            let level = |index: usize| {
                let passed = places.iter().filter(|place| index >= **place).count();
                if passed == 1 { 8.8 } else { 8.0 }
            };
            let found = (0..20).filter(|seed| {
                let found = steps(&series(*seed, 60, level));
                found.is_some_and(|found| near(&found, &places))
            });
            // Ten figures do not always tell, and five by chance sometimes do.
            let found = found.count();
            assert!(found >= 17, "{places:?}: {found} of 20");
        }
    }

    #[test]
    fn a_step_is_from_one_median_to_the_other() {
        let found = changes(&series(1, 60, |index| if index < 30 { 8.0 } else { 8.8 }));
        let [Change::Step { from, to, .. }] = found[..] else {
            panic!("{found:?}");
        };
        assert!(
            (from - 8.0).abs() < 0.1 && (to - 8.8).abs() < 0.1,
            "{from} to {to}"
        );
    }

    /// One of 200 is expected.
    #[test]
    fn a_series_that_only_wavers_has_none() {
        let alarms = (0..200).filter(|seed| !changes(&series(*seed, 40, |_| 8.0)).is_empty());
        assert!(alarms.count() <= 4);
    }

    #[test]
    fn a_drift_is_no_step() {
        for seed in 0..20 {
            let found = changes(&series(seed, 60, |index| 8.0 + 0.03 * index as f64));
            let [
                Change::Drift {
                    begin: 0,
                    end: 60,
                    from,
                    to,
                },
            ] = found[..]
            else {
                panic!("{seed}: {found:?}");
            };
            assert!((to / from - 1.22).abs() < 0.06, "{from} to {to}");
        }
    }

    #[test]
    fn short_and_equal_series_have_none() {
        assert_eq!(changes(&[]), []);
        assert_eq!(changes(&[1.0; 9]), []);
        assert_eq!(changes(&[1.0; 50]), []);
    }
}
