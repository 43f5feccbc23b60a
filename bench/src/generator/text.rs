//! The report in wrk's manner, for eyes and for scripts that read wrk's, and below it what wrk does not tell.

use std::fmt::Write;

use hdrhistogram::Histogram;

use super::tally::{KINDS, Kind, Tally};
use super::verdict::{self, Finding};
use super::windows::{Clean, WINDOW_NS};
use super::{LoadArguments, Run};
use crate::record::Second;

/// The distribution's quantiles: wrk's four, and further into the tail.
const QUANTILES: [(&str, f64); 6] = [
    ("50%", 0.5),
    ("75%", 0.75),
    ("90%", 0.9),
    ("99%", 0.99),
    ("99.9%", 0.999),
    ("99.99%", 0.9999),
];

/// Both views' quantiles, under names that nobody takes for wrk's.
const VIEWS: [(&str, f64); 7] = [
    ("p50", 0.5),
    ("p75", 0.75),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
    ("max", 1.0),
];

/// What is said before the run.
pub(crate) fn beginning(arguments: &LoadArguments) -> String {
    format!(
        "Running {} test @ {}\n  {} threads and {} connections\n",
        time_of_run(arguments.duration.as_millis()),
        arguments.url,
        arguments.threads,
        arguments.connections
    )
}

/// One second of a run.
pub(crate) fn progress(second: &Second) -> String {
    format!(
        "  {:>9} requests/s, p99 {}, {} errors",
        second.requests,
        time((second.p99_us * 1e3) as u64),
        second.errors
    )
}

/// What is said after it.
pub(crate) fn report(run: &Run<'_>) -> String {
    let mut text = String::new();
    // Writing to a string never fails.
    let _ = wrks(&mut text, run);
    let _ = ours(&mut text, run);
    text
}

fn wrks(text: &mut String, run: &Run<'_>) -> std::fmt::Result {
    let tally = &run.tally;
    writeln!(text, "  Thread Stats   Avg      Stdev     Max   +/- Stdev")?;
    thread_stats(text, "Latency", &tally.latencies.corrected, |ns| {
        time(ns as u64)
    })?;
    thread_stats(text, "Req/Sec", &tally.rates, |rate| si(rate, 1000.0, ""))?;
    if run.arguments.latency {
        writeln!(text, "  Latency Distribution")?;
        for (name, quantile) in QUANTILES {
            let ns = tally.latencies.corrected.value_at_quantile(quantile);
            writeln!(text, "{name:>7}{:>10}", time(ns))?;
        }
    }
    let read = si(tally.bytes as f64, 1024.0, "B");
    let elapsed = tally.elapsed_ns as f64 / 1e9;
    writeln!(
        text,
        "  {} requests in {elapsed:.2}s, {read} read",
        tally.answers
    )?;
    errors(text, tally)?;
    writeln!(text, "Requests/sec: {:>9.2}", tally.rate())?;
    let transfer = si(tally.bytes as f64 / elapsed.max(1e-9), 1024.0, "B");
    writeln!(text, "Transfer/sec: {transfer:>10}")
}

fn thread_stats(
    text: &mut String,
    name: &str,
    histogram: &Histogram<u64>,
    show: impl Fn(f64) -> String,
) -> std::fmt::Result {
    let (mean, deviation) = (histogram.mean(), histogram.stdev());
    let low = (mean - deviation).max(0.0) as u64;
    let within = histogram.count_between(low, (mean + deviation) as u64);
    let share = within as f64 * 100.0 / histogram.len().max(1) as f64;
    writeln!(
        text,
        "  {name:>9}{:>10}{:>10}{:>9}{share:>9.2}%",
        show(mean),
        show(deviation),
        show(histogram.max() as f64)
    )
}

fn errors(text: &mut String, tally: &Tally) -> std::fmt::Result {
    let of = |kind| tally.errors.of(kind);
    let socket = [Kind::Connect, Kind::Read, Kind::Write, Kind::Timeout];
    if socket.iter().any(|kind| of(*kind) > 0) {
        let [connect, read, write, timeout] = socket.map(of);
        writeln!(
            text,
            "  Socket errors: connect {connect}, read {read}, write {write}, timeout {timeout}"
        )?;
    }
    for (kind, name) in [
        (Kind::Status, "Non-2xx or 3xx responses"),
        (Kind::Body, "Wrong bodies"),
        (Kind::Malformed, "Malformed answers"),
    ] {
        if of(kind) > 0 {
            writeln!(text, "  {name}: {}", of(kind))?;
        }
    }
    Ok(())
}

fn ours(text: &mut String, run: &Run<'_>) -> std::fmt::Result {
    let tally = &run.tally;
    both_views(text, run)?;
    writeln!(text, "  Bodies: {}", run.compared)?;
    beside(text, run)?;
    own_figures(text, run)?;
    if let Some(clean) = tally
        .clean
        .as_ref()
        .filter(|_| run.arguments.rate.is_some())
    {
        clean_windows(text, clean)?;
    }
    for finding in run.findings.iter().filter(|finding| !finding.refuses()) {
        writeln!(text, "Note: {}", explain(*finding, run))?;
    }
    for finding in run.findings.iter().filter(|finding| finding.refuses()) {
        writeln!(text, "Not certified: {}", explain(*finding, run))?;
    }
    if run.interrupted {
        writeln!(text, "Interrupted: this is what was measured until then")?;
    }
    if run.is_certified() {
        writeln!(text, "Certified: the generator was not the bottleneck")?;
    }
    Ok(())
}

/// From the intended send and from the actual one, side by side; of an open loop for clean windows too.
fn both_views(text: &mut String, run: &Run<'_>) -> std::fmt::Result {
    let tally = &run.tally;
    let mut columns = vec![
        ("corrected", &tally.latencies.corrected),
        ("actual", &tally.latencies.actual),
    ];
    let open_loop = run.arguments.rate.is_some();
    if let Some(clean) = tally.clean.as_ref().filter(|_| open_loop) {
        columns.push(("clean, corrected", &clean.latencies.corrected));
        columns.push(("clean, actual", &clean.latencies.actual));
    }
    let from = if open_loop {
        "from the intended send"
    } else {
        "with what a steady client would have seen"
    };
    writeln!(
        text,
        "  Latency: corrected ({from}), and from the actual send"
    )?;
    write!(text, "  {:<8}", "")?;
    for (name, _) in &columns {
        write!(text, "{name:>18}")?;
    }
    writeln!(text)?;
    for (name, quantile) in VIEWS {
        write!(text, "  {name:<8}")?;
        for (_, histogram) in &columns {
            write!(text, "{:>18}", time(histogram.value_at_quantile(quantile)))?;
        }
        writeln!(text)?;
    }
    Ok(())
}

fn beside(text: &mut String, run: &Run<'_>) -> std::fmt::Result {
    let Some(beside) = &run.beside else {
        return Ok(());
    };
    if beside.idle > 0 {
        writeln!(
            text,
            "  Idle: {} connections, {} lost",
            beside.idle, beside.idle_lost
        )?;
    }
    if beside.slow > 0 {
        let read = si(beside.slow_bytes as f64, 1024.0, "B");
        writeln!(
            text,
            "  Slow: {} clients, {} answers, {read} read, {} lost",
            beside.slow, beside.slow_answers, beside.slow_lost
        )?;
    }
    Ok(())
}

fn own_figures(text: &mut String, run: &Run<'_>) -> std::fmt::Result {
    let tally = &run.tally;
    let each = tally.times.worked() as f64 / 1e3 / tally.answers.max(1) as f64;
    writeln!(
        text,
        "  Generator: {}, {:.1} % busy, {each:.2} us of CPU a request",
        run.backend,
        tally.busiest_permille as f64 / 10.0
    )?;
    if let Some(refused) = &run.refused {
        writeln!(text, "  io_uring: {refused}")?;
    }
    if run.arguments.rate.is_some() {
        writeln!(
            text,
            "  Sends: {} due, {} unsent, {} waited for a connection; late {} by the generator, {} by others, at most {}",
            tally.due,
            tally.unsent,
            tally.queued,
            tally.late.own,
            tally.late.taken,
            time(tally.lateness.max())
        )?;
    }
    // In a closed loop a turn is as long as what came in the one before: no gap.
    let own = run.arguments.rate.map(|_| ("own", &tally.own_gaps));
    for (name, gaps) in own
        .into_iter()
        .chain([("taken by others", &tally.taken_gaps)])
    {
        if gaps.count > 0 {
            let share = gaps.total_ns as f64 * 100.0 / tally.times.wall.max(1) as f64;
            let (count, longest) = (gaps.count, time(gaps.longest_ns));
            writeln!(
                text,
                "  Gaps {name}: {count}, {share:.2} % of the time, at most {longest}"
            )?;
        }
    }
    Ok(())
}

fn clean_windows(text: &mut String, clean: &Clean) -> std::fmt::Result {
    let share = clean.windows as f64 * 100.0 / clean.of.max(1) as f64;
    writeln!(
        text,
        "  Clean windows of {}: {} of {}, {share:.1} %",
        time(WINDOW_NS),
        clean.windows,
        clean.of
    )
}

fn explain(finding: Finding, run: &Run<'_>) -> String {
    let tally = &run.tally;
    let name = finding.name();
    match finding {
        Finding::SaturatedGenerator => format!(
            "{name}: {:.1} % busy, {} of {} sends late by its own doing; more threads, fewer requests",
            tally.busiest_permille as f64 / 10.0,
            tally.late.own,
            tally.due
        ),
        Finding::StolenCpu => format!(
            "{name}: others had the generator's CPU for {} of {}",
            time(tally.taken_gaps.total_ns.max(tally.times.waiting)),
            time(tally.times.wall)
        ),
        Finding::FewCleanWindows => format!(
            "{name}: {} a thread, {} are needed; run longer, or on a quieter host",
            verdict::clean_windows(tally),
            verdict::CLEAN_WINDOWS_MIN
        ),
        Finding::StalledServer => format!(
            "{name}: {} times no answer came while some were awaited, for {} at most",
            tally.silences.count,
            time(tally.silences.longest_ns)
        ),
        Finding::BusyConnections => format!(
            "{name}: {} of {} requests found none free: the server is slow for this rate, or -c is too small",
            tally.queued + tally.unsent,
            tally.due
        ),
    }
}

/// The names of all kinds of errors and their counts.
pub(crate) fn error_counts(tally: &Tally) -> impl Iterator<Item = (&'static str, u64)> {
    KINDS
        .into_iter()
        .map(|(kind, name)| (name, tally.errors.of(kind)))
}

/// As wrk writes times.
fn time(ns: u64) -> String {
    let us = ns as f64 / 1e3;
    match us {
        ..1e3 => format!("{us:.2}us"),
        ..1e6 => format!("{:.2}ms", us / 1e3),
        ..60e6 => format!("{:.2}s", us / 1e6),
        _ => format!("{:.2}m", us / 60e6),
    }
}

fn time_of_run(ms: u128) -> String {
    match ms {
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

/// As wrk writes counts and sizes.
fn si(value: f64, base: f64, unit: &str) -> String {
    let mut value = value;
    let mut prefixes = ["", "k", "M", "G", "T"].into_iter();
    let mut prefix = prefixes.next().unwrap_or_default();
    while value >= base
        && let Some(next) = prefixes.next()
    {
        value /= base;
        prefix = next;
    }
    let prefix = if base > 1000.0 {
        prefix.to_uppercase()
    } else {
        prefix.to_owned()
    };
    format!("{value:.2}{prefix}{unit}")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::generator::tally::Kind;
    use crate::generator::wrk;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        load: LoadArguments,
    }

    fn shown(line: &str) -> String {
        let words = std::iter::once("benchmark").chain(line.split_whitespace());
        let arguments = Program::try_parse_from(words).unwrap().load;
        let mut tally = Tally::new();
        (tally.threads, tally.elapsed_ns, tally.bytes) = (1, 2_000_000_000, 1 << 30);
        for us in 1..=1_000 {
            tally.answers += 1;
            tally.latencies.record(us * 2_000, us * 1_000);
        }
        tally.errors.add(Kind::Timeout);
        tally.errors.add(Kind::Status);
        let run = Run {
            arguments: &arguments,
            findings: verdict::findings(&tally, arguments.rate.is_some()),
            tally,
            backend: platform::Backend::Epoll,
            refused: None,
            compared: "not compared".to_owned(),
            seconds: Vec::new(),
            server_cpu_us: None,
            beside: None,
            interrupted: false,
        };
        beginning(&arguments) + &report(&run)
    }

    #[test]
    fn what_reads_wrks_report_reads_ours() {
        for line in ["--latency", "-R 500 --latency"] {
            let text = shown(line);
            let load = wrk::parse(&text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((load.requests, load.errors), (1_000, 2));
            assert!((load.rate - 500.0).abs() < 0.01);
            assert!((load.p50_us - 1_000.0).abs() < 2.0, "{text}");
            assert!((load.p99_us - 1_980.0).abs() < 10.0, "{text}");
        }
        assert!(shown("-d90s").starts_with("Running 90s test @ http://127.0.0.1:8080/api/v1/status\n  2 threads and 10 connections\n"));
    }

    #[test]
    fn the_distribution_is_printed_when_asked_for_and_both_views_always() {
        assert!(!shown("").contains("Latency Distribution"));
        let text = shown("-R 500");
        let row = text.lines().find(|line| line.contains("p50")).unwrap();
        let columns: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(columns, ["p50", "1.00ms", "500.22us"], "{text}");
    }

    #[test]
    fn a_second_of_progress_is_a_line() {
        let second = Second {
            requests: 1_500,
            errors: 3,
            p99_us: 250.11,
            ..Second::default()
        };
        assert_eq!(
            progress(&second).trim(),
            "1500 requests/s, p99 250.11us, 3 errors"
        );
    }

    #[test]
    fn a_run_that_proves_nothing_says_so() {
        assert!(shown("").contains("Certified:"));
        assert!(shown("-R 500").contains("Not certified: too few clean windows"));
    }

    #[test]
    fn numbers_are_written_as_wrk_writes_them() {
        let times = [0, 999_499, 1_000_000, 59_000_000_000, 90_000_000_000].map(time);
        assert_eq!(times, ["0.00us", "999.50us", "1.00ms", "59.00s", "1.50m"]);
        assert_eq!(si(1_500.0, 1000.0, ""), "1.50k");
        assert_eq!(si(1024.0 * 1024.0 * 1.5, 1024.0, "B"), "1.50MB");
        assert_eq!(si(100.0, 1024.0, "B"), "100.00B");
        assert_eq!(
            [500, 1_000, 60_000, 7_200_000].map(time_of_run),
            ["500ms", "1s", "1m", "2h"]
        );
    }
}
