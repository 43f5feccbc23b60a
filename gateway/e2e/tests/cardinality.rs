//! Labels that others choose: whatever hosts, paths, methods and statuses come, series, exposition and memory stay bounded.

use std::collections::HashSet;
use std::fmt::Write as _;

use e2e::{Backend, Gateway, Next, Origin, Setup, Watch, answer, both_drivers, eventually, sample};

both_drivers!(a_hundred_thousand_hosts_paths_methods_and_statuses_stay_bounded);

const HALF: usize = 50_000;
/// Requests sent in one go, the first for a route, the others for none.
const BATCH: usize = 5;
/// Requests of one connection.
const CONNECTION: usize = 1_000;

/// What is documented: a hard cap on the series of an exposition.
const SERIES_MAX: f64 = 10_000.0;
/// An exposition at that cap takes about as much.
const EXPOSITION_MAX: usize = 1 << 20;
/// What a half may add to either: kinds of events that came late.
const LATE_SERIES: f64 = 100.0;
const LATE_BYTES: usize = 32 << 10;
const GROWTH_MAX: u64 = 4 << 20;

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];

fn a_hundred_thousand_hosts_paths_methods_and_statuses_stay_bounded(backend: Backend) {
    // Every final status that may have a body, known or not, over and over.
    let statuses: Vec<u16> = (200..1_000)
        .filter(|s| ![204, 205, 304].contains(s))
        .collect();
    let origin = Origin::start(move |request, wire| {
        let status = statuses.get(request.number % statuses.len());
        let fields = "Cache-Control: no-store\r\n";
        wire.send(answer(status.copied().unwrap_or(200), fields, "x"));
        Next::Keep
    });
    let gateway = Setup::new(backend)
        .upstream("origin", &[origin.address()], "")
        .route("narrow", "one.test", "/one", "origin")
        .route("wide", "", "/wide", "origin")
        .start();

    let before = Told::by(&gateway, 0);
    flood(&gateway, 0..HALF);
    let half = Told::by(&gateway, HALF);
    let mut watch = Watch::of(&gateway);
    eventually("/health tells that not everything is told", || {
        let telemetry = watch.component("telemetry");
        telemetry.contains("\"degraded\"") && telemetry.contains("route=\\\"other\\\"")
    });
    flood(&gateway, HALF..2 * HALF);
    let whole = Told::by(&gateway, 2 * HALF);

    assert_eq!(before.dropped.to_string(), "0");
    assert!(half.dropped > 0.0, "the cap was not reached: {half:?}");
    for told in [&half, &whole] {
        assert!(told.series < SERIES_MAX, "{told:?}");
        assert!(told.bytes < EXPOSITION_MAX, "{told:?}");
        assert_eq!(told.dropped.to_string(), told.others.to_string());
    }
    assert!(
        whole.series <= half.series + LATE_SERIES && whole.bytes <= half.bytes + LATE_BYTES,
        "{half:?} {whole:?}"
    );
    let grown = whole.rss.saturating_sub(half.rss);
    assert!(grown <= GROWTH_MAX, "{half:?} {whole:?}");
}

/// What `/metrics` says, and what it costs.
#[derive(Debug)]
struct Told {
    series: f64,
    bytes: usize,
    /// `series_dropped_total`.
    dropped: f64,
    /// Requests counted under the route `other`.
    others: f64,
    rss: u64,
}

impl Told {
    /// Once every request is counted, each in one series.
    fn by(gateway: &Gateway, requests: usize) -> Told {
        let mut watch = Watch::of(gateway);
        eventually("all requests are counted", || {
            watch.sample("http_requests_total", &[]) == requests as f64
        });
        let text = watch.exposition();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let series = lines
            .iter()
            .filter_map(|line| Some(line.rsplit_once(' ')?.0));
        let series: HashSet<_> = series.collect();
        assert_eq!(series.len(), lines.len(), "a series came twice");
        let told = sample(&text, "metrics_series", &[]);
        assert_eq!(told.to_string(), lines.len().to_string());
        Told {
            series: told,
            bytes: text.len(),
            dropped: sample(&text, "series_dropped_total", &[]),
            others: sample(&text, "http_requests_total", &["route=\"other\""]),
            rss: gateway.rss_bytes(),
        }
    }
}

/// Requests of which no two have the same host and path.
fn flood(gateway: &Gateway, numbers: std::ops::Range<usize>) {
    for first in numbers.step_by(CONNECTION) {
        let mut client = gateway.client();
        for batch in (first..first + CONNECTION).step_by(BATCH) {
            let mut text = String::new();
            for number in batch..batch + BATCH {
                request(&mut text, number);
            }
            client.send(&text);
            for _ in 0..BATCH {
                client.response();
            }
        }
    }
}

fn request(text: &mut String, number: usize) {
    let known = METHODS.get(number / BATCH % (METHODS.len() + 1));
    let own = format!("OWN{number}");
    let method = known.copied().unwrap_or(&own);
    let (host, path) = match (number % BATCH, number / BATCH % 3) {
        (0, 0) => ("one.test".to_owned(), format!("/one/{number}?{number}")),
        (0, _) => (format!("h{number}.test"), format!("/wide/{number}")),
        _ => (format!("n{number}.test"), format!("/nowhere/{number}")),
    };
    // Writing to a string cannot fail.
    let _ = write!(text, "{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
}
