//! From a run to what is written of it.

use hdrhistogram::Histogram;

use super::gaps::Sum;
use super::histogram::Latencies;
use super::{Run, text};
use crate::record::{self, Clean, Distribution, Gaps, Generator, Late, Load};

/// The run as others read it.
pub(crate) fn load(run: &Run<'_>) -> Load {
    let (arguments, tally) = (run.arguments, &run.tally);
    let open_loop = arguments.rate.is_some();
    let clean = tally.clean.as_ref().filter(|_| open_loop);
    let spacing = format!("{:?}", arguments.arrivals).to_lowercase();
    Load {
        url: arguments.url.clone(),
        rate: arguments.rate,
        arrivals: open_loop.then_some(spacing),
        threads: arguments.threads,
        connections: arguments.connections,
        seconds: tally.elapsed_ns as f64 / 1e9,
        due: tally.due,
        unsent: tally.unsent,
        queued: tally.queued,
        requests: tally.answers,
        requests_per_second: tally.rate(),
        bytes: tally.bytes,
        errors: text::error_counts(tally)
            .map(|(name, count)| (name.to_owned(), count))
            .collect(),
        reopened: tally.reopened,
        bodies: run.compared.clone(),
        latency: views(&tally.latencies),
        clean: clean.map(|clean| Clean {
            windows: clean.windows,
            of: clean.of,
            latency: views(&clean.latencies),
        }),
        generator_cpu_us_per_request: us(tally.times.worked()) / tally.answers.max(1) as f64,
        generator_busy: tally.busiest_permille as f64 / 1e3,
        generator: generator(run),
        silences: gaps(&tally.silences),
        beside: run.beside.clone(),
        findings: run
            .findings
            .iter()
            .map(|finding| finding.name().to_owned())
            .collect(),
        certified: run.is_certified(),
        interrupted: run.interrupted,
        exit_code: run.exit_code(),
        seconds_series: run.seconds.clone(),
    }
}

fn generator(run: &Run<'_>) -> Generator {
    let tally = &run.tally;
    Generator {
        backend: run.backend.name().to_owned(),
        refused: run.refused.clone(),
        wall_us: us(tally.times.wall),
        cpu_us: us(tally.times.cpu),
        spun_us: us(tally.times.spun),
        asleep_us: us(tally.times.asleep),
        waiting_us: us(tally.times.waiting),
        late: Late {
            own: tally.late.own,
            taken: tally.late.taken,
            p99_us: us(tally.lateness.value_at_quantile(0.99)),
            max_us: us(tally.lateness.max()),
        },
        own_gaps: gaps(&tally.own_gaps),
        taken_gaps: gaps(&tally.taken_gaps),
    }
}

fn gaps(sum: &Sum) -> Gaps {
    Gaps {
        count: sum.count,
        total_us: us(sum.total_ns),
        longest_us: us(sum.longest_ns),
    }
}

fn views(latencies: &Latencies) -> record::Latencies {
    record::Latencies {
        corrected: distribution(&latencies.corrected),
        actual: distribution(&latencies.actual),
    }
}

fn distribution(histogram: &Histogram<u64>) -> Distribution {
    let at = |quantile| us(histogram.value_at_quantile(quantile));
    let bucket = |value: u64| us(histogram.highest_equivalent(value));
    Distribution {
        count: histogram.len(),
        mean_us: histogram.mean().round() / 1e3,
        p50_us: at(0.5),
        p75_us: at(0.75),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p99_9_us: at(0.999),
        p99_99_us: at(0.9999),
        max_us: at(1.0),
        buckets: histogram
            .iter_recorded()
            .map(|bar| (bucket(bar.value_iterated_to()), bar.count_at_value()))
            .collect(),
    }
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::histogram;

    #[test]
    fn a_distribution_is_its_buckets() {
        let mut histogram = histogram::of_times();
        for us in 1..=1_000 {
            histogram.saturating_record(us * 1_000);
        }
        let distribution = distribution(&histogram);
        assert_eq!((distribution.count, distribution.p50_us), (1_000, 500.223));
        let counts = distribution.buckets.iter().map(|(_, count)| count);
        assert_eq!(counts.sum::<u64>(), distribution.count);
        assert!(distribution.buckets.is_sorted_by(|a, b| a.0 < b.0));
        let last = distribution.buckets.last().map(|(us, _)| *us);
        assert_eq!(last, Some(distribution.max_us));
    }
}
