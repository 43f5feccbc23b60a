//! The gaps that a gateway suffered itself, as its operator's port tells them (`/admin/gaps`).

use std::io;
use std::time::Duration;

use serde::Deserialize;

use super::gaps::Sum;

/// A gateway holds this many a shard: with as many, earlier ones may be gone.
const HELD: usize = 4_096;

/// What a server told.
pub(crate) struct Told {
    /// Beginnings and ends within the run, in nanoseconds after its start.
    pub(crate) gaps: Vec<(u64, u64)>,
    pub(crate) sum: Sum,
}

#[derive(Deserialize)]
struct Answer {
    gaps: Vec<Gap>,
}

#[derive(Deserialize)]
struct Gap {
    from_unix_ns: u64,
    seconds: f64,
}

/// Asks for the gaps of a run that began then and took so long.
///
/// # Errors
/// Where there is no such answer, or it does not reach back to the start.
pub(crate) fn ask(url: &str, start_unix_ns: u64, elapsed_ns: u64) -> io::Result<Told> {
    let last = Duration::from_nanos(elapsed_ns).as_secs() + 10;
    let answer = super::ask(&format!("{url}?last={last}s"))?;
    if answer.status != "200" {
        return Err(io::Error::other(format!("it answered {}", answer.status)));
    }
    let answer: Answer = serde_json::from_slice(&answer.body)?;
    within(&answer.gaps, start_unix_ns, elapsed_ns)
}

fn within(all: &[Gap], start_unix_ns: u64, elapsed_ns: u64) -> io::Result<Told> {
    let first = all.iter().map(|gap| gap.from_unix_ns).min();
    if all.len() >= HELD && first.is_some_and(|first| first > start_unix_ns) {
        return Err(io::Error::other(
            "there were more gaps than it holds: run for less long",
        ));
    }
    let mut told = Told {
        gaps: Vec::new(),
        sum: Sum::default(),
    };
    for gap in all {
        let ns = (gap.seconds * 1e9) as u64;
        let until = (gap.from_unix_ns + ns).saturating_sub(start_unix_ns);
        let from = gap.from_unix_ns.saturating_sub(start_unix_ns);
        if until > 0 && from < elapsed_ns {
            told.gaps.push((from, until));
            told.sum.add(ns);
        }
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(from_unix_ns: u64, seconds: f64) -> Gap {
        Gap {
            from_unix_ns,
            seconds,
        }
    }

    #[test]
    fn gaps_of_the_run_count_from_its_start() {
        let all = [
            gap(500, 1e-7),
            gap(900, 2e-7),
            gap(1_500, 1e-7),
            gap(9_000, 1e-7),
        ];
        let told = within(&all, 1_000, 5_000).unwrap();
        assert_eq!(told.gaps, [(0, 100), (500, 600)]);
        assert_eq!(
            (told.sum.count, told.sum.total_ns, told.sum.longest_ns),
            (2, 300, 200)
        );
    }

    #[test]
    fn a_list_that_may_have_lost_some_is_refused() {
        let all: Vec<Gap> = (0..4_096).map(|at| gap(2_000 + at, 1e-7)).collect();
        assert!(within(&all, 1_000, 5_000).is_err());
        assert!(within(&all, 2_000, 5_000).is_ok());
    }
}
