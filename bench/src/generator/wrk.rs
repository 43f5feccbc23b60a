//! wrk's report, as those read it who have scripts for it.

/// What a run saw from the client's side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Load {
    /// Answers received whole.
    pub(super) requests: u64,
    /// Answers per second.
    pub(super) rate: f64,
    /// Median latency in microseconds.
    pub(super) p50_us: f64,
    /// 99th percentile of the same.
    pub(super) p99_us: f64,
    /// Socket errors, time-outs and answers other than 2xx and 3xx.
    pub(super) errors: u64,
}

/// Reads a report of wrk's.
pub(super) fn parse(text: &str) -> Option<Load> {
    let after = |name: &str| {
        text.lines()
            .find_map(|line| line.trim_start().strip_prefix(name))
            .map(str::trim)
    };
    let requests = text
        .lines()
        .find(|line| line.contains(" requests in "))?
        .split_whitespace()
        .next()?;
    Some(Load {
        requests: requests.parse().ok()?,
        rate: after("Requests/sec:")?.parse().ok()?,
        p50_us: microseconds(after("50%")?)?,
        p99_us: microseconds(after("99%")?)?,
        errors: after("Socket errors:").map_or(Some(0), sum_of_counts)?
            + after("Non-2xx or 3xx responses:").map_or(Some(0), |count| count.parse().ok())?,
    })
}

/// Adds up `connect 1, read 2, write 3, timeout 4`.
fn sum_of_counts(text: &str) -> Option<u64> {
    text.split(", ")
        .map(|count| count.split(' ').nth(1)?.parse::<u64>().ok())
        .sum()
}

fn microseconds(text: &str) -> Option<f64> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let scale = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * scale)
}

const QUIET: &str = "Running 4s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency   600.00us    1.10ms  30.00ms   95.00%\n    Req/Sec   120.00k     4.00k  130.00k    70.00%\n  Latency Distribution\n     50%  480.00us\n     75%  520.00us\n     90%  600.00us\n     99%    1.25ms\n  482133 requests in 4.00s, 600.00MB read\nRequests/sec: 120533.25\nTransfer/sec:    150.00MB\n";

#[test]
fn a_quiet_run_is_read() {
    let load = Load {
        requests: 482_133,
        rate: 120_533.25,
        p50_us: 480.0,
        p99_us: 1250.0,
        errors: 0,
    };
    assert_eq!(parse(QUIET), Some(load));
}

#[test]
fn errors_of_every_kind_add_up() {
    let text = QUIET.to_owned()
        + "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 100\n";
    assert_eq!(parse(&text).map(|load| load.errors), Some(110));
}

#[test]
fn what_is_not_a_report_is_refused() {
    assert_eq!(
        parse("unable to connect to 127.0.0.1:1 Connection refused"),
        None
    );
}
