//! The reader's stories: cells in, windows and expositions out.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::limits::{DURATION_SERIES_MAX, REQUEST_SERIES_MAX};
use base::{Moment, RouteId, ShardId, Span, UpstreamId, Wall};
use telemetry::health::{Board, Component};
use telemetry::{
    CacheLabel, Exposition, Labels, LockSite, MethodLabel, Reader, RequestRecord, RouteLabel,
    ShardCells, Spent, Stage, Supplement, UpstreamError, UpstreamStage,
};

const SECOND: u64 = 1_000_000_000;

fn shards(count: u16, routes: usize) -> Vec<Arc<ShardCells>> {
    let cells = |shard| ShardCells::new(ShardId(shard), routes).with_pools(1);
    (0..count).map(|shard| Arc::new(cells(shard))).collect()
}

fn reader(shards: &[Arc<ShardCells>]) -> Reader {
    let labels = Labels {
        routes: vec!["api".into(), "quo\"te".into()],
        upstreams: vec!["origin".into()],
    };
    Reader::new(shards.to_vec(), labels)
}

fn record(status: u16, cache: CacheLabel, duration: Span) -> RequestRecord {
    RequestRecord {
        method: MethodLabel::Get,
        status,
        route: RouteLabel::Route(RouteId(0)),
        cache,
        duration,
    }
}

fn render(reader: &mut Reader) -> String {
    let mut out = Exposition::new();
    reader.render(Moment(100 * SECOND), &Supplement::default(), &mut out);
    out.finish(Span::from_micros(250))
}

/// The value of the one sample that begins with `series`.
fn value(text: &str, series: &str) -> f64 {
    let mut found = text
        .lines()
        .filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = found.next().unwrap_or_else(|| panic!("no {series}"));
    assert_eq!(found.next(), None, "{series} more than once");
    value.parse().unwrap()
}

#[test]
fn requests_of_all_shards_are_summed_by_their_labels() {
    let shards = shards(2, 2);
    let mut reader = reader(&shards);
    for cells in &shards {
        cells.request(&record(200, CacheLabel::Hit, Span::from_micros(60)));
    }
    let mut invalid = record(400, CacheLabel::None, Span::from_micros(5));
    invalid.route = RouteLabel::Invalid;
    invalid.method = MethodLabel::Other;
    shards[1].request(&invalid);
    let text = render(&mut reader);
    let get = r#"http_requests_total{method="GET",status="200",route="api",cache="hit"}"#;
    let bad = r#"http_requests_total{method="_OTHER",status="400",route="_invalid",cache="none"}"#;
    assert_eq!((value(&text, get), value(&text, bad)), (2.0, 1.0));
    assert_eq!(value(&text, r#"shard_requests_total{shard="1"}"#), 2.0);
    let bucket = |le| {
        let labels = format!(r#"{{route="api",cache="hit",le="{le}"}}"#);
        value(
            &text,
            &format!("http_request_duration_seconds_bucket{labels}"),
        )
    };
    assert_eq!(
        (bucket("0.00005"), bucket("0.000075"), bucket("+Inf")),
        (0.0, 2.0, 2.0)
    );
    assert_eq!(value(&text, "request_latency_seconds_sum"), 0.000_125);
}

#[test]
fn untouched_series_do_not_exist_and_the_runbook_names_do() {
    let mut reader = reader(&shards(1, 2));
    let text = render(&mut reader);
    assert!(!text.contains("\nhttp_request_duration_seconds"));
    assert!(!text.contains(r#"site="mailbox""#));
    assert!(!text.contains(r#"queue="ready""#));
    for name in [
        r#"http_requests_total{method="GET",status="200",route="_internal",cache="none"}"#,
        r#"http_requests_total{method="GET",status="503",route="_internal",cache="none"}"#,
        "http_request_errors_total",
        r#"lock_wait_seconds_total{site="store"}"#,
        r#"lock_contended_total{site="store"}"#,
        "dpdk_port_enabled",
        "cache_warming_in_progress",
        "cache_gc_runs_total",
    ] {
        assert_eq!(value(&text, name), 0.0);
    }
    assert_eq!(value(&text, "series_dropped_total"), 0.0);
}

#[test]
fn errors_are_those_that_were_answered_5xx_by_whom_and_where_ever() {
    let shards = shards(2, 2);
    let mut reader = reader(&shards);
    for (status, shard) in [(500, 0), (503, 1), (599, 1), (499, 0), (404, 0), (200, 1)] {
        shards[shard].request(&record(status, CacheLabel::Miss, Span::ZERO));
    }
    assert_eq!(
        value(&render(&mut reader), "http_request_errors_total"),
        3.0
    );
}

#[test]
fn rates_are_of_the_last_ten_seconds() {
    let shards = shards(2, 2);
    let mut reader = reader(&shards);
    let hit = record(200, CacheLabel::Hit, Span::from_micros(50));
    for second in 0..30 {
        reader.tick(Moment(second * SECOND));
        // 100 a second on the first shard; an error on the second in each of the first fifteen seconds.
        (0..100).for_each(|_| shards[0].request(&hit));
        if second < 15 {
            shards[1].request(&record(502, CacheLabel::Miss, Span::from_micros(50)));
        }
    }
    reader.tick(Moment(30 * SECOND));
    let window = reader.window();
    assert_eq!(window.requests_per_second(), 100.0);
    assert_eq!(window.error_rate(), 0.0);
    assert_eq!(window.cache_hit_rate(), 1.0);
    assert_eq!(
        (window.request_share(0), window.request_share(1)),
        (1.0, 0.0)
    );
}

#[test]
fn errors_and_misses_count_in_their_shares() {
    let shards = shards(1, 2);
    let mut reader = reader(&shards);
    reader.tick(Moment(0));
    for (status, cache) in [
        (200, CacheLabel::Hit),
        (200, CacheLabel::Stale),
        (504, CacheLabel::Miss),
        (200, CacheLabel::Collapsed),
        (200, CacheLabel::Bypass),
    ] {
        shards[0].request(&record(status, cache, Span(1)));
    }
    shards[0].busy_ns.add(SECOND / 4);
    reader.tick(Moment(SECOND));
    let window = reader.window();
    assert_eq!(window.requests_per_second(), 5.0);
    assert_eq!(window.error_rate(), 0.2);
    assert_eq!(window.cache_hit_rate(), 0.5);
    assert_eq!(window.busy_ratio(0), 0.25);
}

#[test]
fn a_slow_minute_is_forgotten_after_a_minute() {
    let shards = shards(1, 2);
    let mut reader = reader(&shards);
    shards[0].request(&record(200, CacheLabel::Hit, Span::from_secs(9)));
    reader.tick(Moment(0));
    assert_eq!(
        reader.window().latency().count(),
        0,
        "what was before the first sample"
    );
    shards[0].request(&record(200, CacheLabel::Hit, Span::from_secs(1)));
    for second in 1..=60 {
        shards[0].request(&record(200, CacheLabel::Hit, Span::from_millis(1)));
        reader.tick(Moment(second * SECOND));
        let slowest = reader.window().latency().quantile(1.0).unwrap();
        assert!(
            slowest > Span::from_millis(990),
            "still there after {second} s"
        );
    }
    reader.tick(Moment(61 * SECOND));
    let latency = reader.window().latency();
    assert_eq!(latency.count(), 59);
    assert!(latency.quantile(1.0).unwrap() < Span::from_millis(2));
    let text = render(&mut reader);
    assert_eq!(value(&text, "request_latency_seconds_count"), 62.0);
    let p99 = value(&text, r#"request_latency_seconds{quantile="0.99"}"#);
    assert!((p99 - 0.001).abs() < 0.000_001);
}

#[test]
fn hurried_samples_push_old_ones_out_and_a_stopped_clock_takes_none() {
    let shards = shards(1, 2);
    let mut reader = reader(&shards);
    for tick in 0..1_000u64 {
        reader.tick(Moment(tick * 1_000));
        shards[0].request(&record(200, CacheLabel::Hit, Span(7)));
    }
    assert!(reader.window().latency().count() < 64);
    let before = reader.window().latency().count();
    reader.tick(Moment(5));
    assert_eq!(reader.window().latency().count(), before);
    assert_eq!(
        reader.window().latency().quantile(0.5),
        Some(Span(7)),
        "exact below a microsecond"
    );
}

#[test]
fn series_over_the_bound_are_counted_as_other_and_nothing_shrinks() {
    let routes = 100;
    let shards = shards(3, routes);
    let mut reader = reader(&shards);
    let mut totals = Vec::new();
    for (at, cells) in shards.iter().enumerate() {
        for route in 0..routes as u16 {
            for status in 0..30 {
                let mut record = record(
                    500 + at as u16 * 30 + status,
                    CacheLabel::ALL[at],
                    Span(1_000),
                );
                record.route = RouteLabel::Route(RouteId(route));
                cells.request(&record);
            }
        }
        totals.push(render(&mut reader));
    }
    let last = totals.last().unwrap();
    let series = last
        .lines()
        .filter(|line| line.starts_with("http_requests_total{"));
    let counts: Vec<f64> = series
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(counts.iter().sum::<f64>(), 3.0 * 30.0 * routes as f64);
    assert!(counts.len() <= REQUEST_SERIES_MAX + 3);
    let rows = last
        .lines()
        .filter(|line| line.starts_with("http_request_duration_seconds_count"));
    assert!(rows.count() <= DURATION_SERIES_MAX + 3);
    assert!(value(last, "series_dropped_total") > 0.0);
    let other = r#"http_requests_total{method="_OTHER",status="5xx",route="other",cache="hit"}"#;
    let by_render = totals.iter().map(|text| value(text, other));
    assert!(by_render.is_sorted());
    assert!(value(last, "metrics_series") < 10_000.0);
}

#[test]
fn a_route_nobody_announced_counts_as_unrouted() {
    let shards = shards(1, 2);
    let mut stray = record(200, CacheLabel::Hit, Span(1));
    stray.route = RouteLabel::Route(RouteId(u16::MAX));
    shards[0].request(&stray);
    let text = render(&mut reader(&shards));
    assert_eq!(
        value(
            &text,
            r#"http_requests_total{method="GET",status="200",route="_none",cache="hit"}"#
        ),
        1.0
    );
}

#[test]
fn the_status_body_is_json_even_without_traffic() {
    let shards = shards(2, 2);
    shards[0].clients.add(3);
    let reader = reader(&shards);
    let mut board = Board::default();
    board.observe(Component::healthy("cache"), Wall::from_secs(1));
    let text = reader.status_json(&board.report("0.1.0", Span::from_secs(5)));
    let status: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status["status"], "healthy");
    assert_eq!(status["shards"], 2);
    assert_eq!(status["active_connections"]["client"], 3);
    assert!(status["cache_hit_rate"].is_null());
    assert!(status["latency_seconds"]["p99"].is_null());
}

/// A reader in front of shards that have seen one of everything.
fn busy_reader() -> Reader {
    let shards = shards(2, 2);
    let mut reader = reader(&shards);
    reader.tick(Moment(SECOND));
    for (cells, micros) in shards.iter().zip([40, 4_000]) {
        for cache in CacheLabel::ALL {
            let mut spent = Spent::default();
            spent.add(Stage::Send, Span::from_micros(micros));
            cells.request_of(&record(200, cache, Span::from_micros(micros)), &spent);
        }
        let mut odd = record(499, CacheLabel::None, Span::from_secs(20));
        odd.route = RouteLabel::Route(RouteId(1));
        cells.request(&odd);
        cells.heartbeat_ns.set(99_999_000_000);
        cells.ready.set(3);
        cells.mailbox.set(0);
        cells.lock(LockSite::Store, Span::from_micros(2), true, 64);
        cells.index_turn(Span::from_micros(30));
        for found in [1, 2, 3, 256, 257] {
            cells.batch(found);
        }
        cells.forwards.add("uri-miss");
        cells.not_stored.add("private");
        cells.served_stale.add("stale-grace");
        cells.proxy_protocol_refused.add("late");
        cells.accept_no_descriptor.add(2);
        cells.accept_no_resource.add(3);
        cells.uncached_slab_full.add(4);
        cells.uncached_max_object.add(5);
        let pool = cells.pool(UpstreamId(0)).unwrap();
        pool.active.add(1);
        pool.waited(Span::from_millis(1));
        pool.took(UpstreamStage::FirstByte, Span::from_micros(80));
        for error in [
            UpstreamError::Connect,
            UpstreamError::Timeout(UpstreamStage::Body),
        ] {
            pool.failed(error);
        }
        if cells.shard == ShardId(1) {
            pool.waiting_since(Some(Moment(97 * SECOND)));
        }
    }
    reader.tick(Moment(2 * SECOND));
    reader
}

#[test]
fn what_is_measured_shows() {
    let mut reader = busy_reader();
    let mut out = Exposition::new();
    let more = Supplement {
        evictions: &[("capacity", 4)],
        queues: &[("accept", ShardId(1), 9)],
        ..Supplement::default()
    };
    reader.render(Moment(100 * SECOND), &more, &mut out);
    let text = out.finish(Span(1));
    for (series, expected) in [
        (r#"queue_depth{queue="ready",shard="0"}"#, 3.0),
        (r#"queue_depth{queue="accept",shard="1"}"#, 9.0),
        (r#"queue_depth{queue="upstream",shard="0"}"#, 0.0),
        (
            r#"queue_oldest_age_seconds{queue="upstream",shard="0"}"#,
            0.0,
        ),
        (
            r#"queue_oldest_age_seconds{queue="upstream",shard="1"}"#,
            3.0,
        ),
        (r#"lock_contended_total{site="store"}"#, 128.0),
        (r#"lock_wait_seconds_total{site="store"}"#, 0.000_256),
        (r#"connection_pool_active{upstream="origin"}"#, 2.0),
        (
            r#"upstream_request_duration_seconds_bucket{upstream="origin",stage="first_byte",le="0.0001"}"#,
            2.0,
        ),
        (r#"upstream_connect_errors_total{upstream="origin"}"#, 2.0),
        (r#"upstream_reset_errors_total{upstream="origin"}"#, 0.0),
        (
            r#"upstream_timeout_errors_total{upstream="origin",stage="body"}"#,
            2.0,
        ),
        (
            r#"connection_pool_wait_seconds_sum{upstream="origin"}"#,
            0.002,
        ),
        (
            r#"accept_errors_total{shard="1",reason="descriptors"}"#,
            2.0,
        ),
        (r#"accept_errors_total{shard="1",reason="resources"}"#, 3.0),
        (r#"cache_stream_uncached_total{reason="slab_full"}"#, 8.0),
        (r#"ring_batch_size_bucket{shard="1",le="1"}"#, 1.0),
        (r#"ring_batch_size_bucket{shard="1",le="4"}"#, 3.0),
        (r#"ring_batch_size_bucket{shard="1",le="256"}"#, 4.0),
        (r#"ring_batch_size_bucket{shard="1",le="+Inf"}"#, 5.0),
        (r#"ring_batch_size_sum{shard="1"}"#, 519.0),
        (r#"cache_stream_uncached_total{reason="max_object"}"#, 10.0),
        (r#"cache_stream_uncached_total{reason="index_behind"}"#, 0.0),
        (r#"cache_evictions_total{reason="front"}"#, 0.0),
        (r#"cache_evictions_total{reason="capacity"}"#, 4.0),
        (r#"shard_heartbeat_age_seconds{shard="0"}"#, 0.001),
        (r#"request_distribution{shard="1"}"#, 0.5),
    ] {
        assert_eq!(value(&text, series), expected, "{series}");
    }
}

#[test]
fn promtool_has_nothing_to_say() {
    let mut reader = busy_reader();
    let more = Supplement {
        evictions: &[("capacity", 4)],
        queues: &[("accept", ShardId(1), 9)],
        ..Supplement::default()
    };
    let mut out = Exposition::new();
    reader.render(Moment(100 * SECOND), &more, &mut out);
    // What the server adds, one of each.
    use telemetry::names;
    out.family(&names::SHARD_INFO).sample(["0", "1", "0"], 1u64);
    out.value(&names::CACHE_ENTRIES, 5u64);
    out.value(&names::CACHE_BYTES, 5u64);
    out.family(&names::CONNECTION_POOL_MAX)
        .sample(["origin"], 64u64);
    out.family(&names::MEMORY_USAGE).sample(["rss"], 1u64);
    out.value(&names::MEMORY_LIMIT, 1u64);
    out.value(&names::MEMORY_AVAILABLE, 1u64);
    out.value(&names::MEMORY_POOL, 1u64);
    out.value(&names::POOL_HUGEPAGE, 1u64);
    for family in [
        &names::HUGEPAGES_CONFIGURED,
        &names::HUGEPAGES_FREE,
        &names::HUGEPAGES_RESERVED,
    ] {
        out.family(family).sample(["2097152"], 0u64);
    }
    out.family(&names::IO_BACKEND_INFO)
        .sample(["epoll", "seccomp forbids \"io_uring\""], 1u64);
    out.family(&names::BUILD_INFO)
        .sample(["0.1.0", "abc", "1.95", "x86-64", "no", "fat", ""], 1u64);
    out.family(&names::CONFIG_INFO).sample(["abc"], 1u64);
    out.value(&names::CONFIG_RELOAD_SUCCESSFUL, true);
    out.value(&names::CONFIG_RELOAD_TIME, 1_795_244_400u64);
    out.value(&names::CPU_THROTTLED_SECONDS, Span(5));
    out.value(&names::CPU_THROTTLED_PERIODS, 1u64);
    out.value(&names::CPU_PERIODS, 1u64);
    out.family(&names::LOG_EVENTS)
        .sample(["panic", "error"], 0u64);
    out.value(&names::LOG_EVENTS_SUPPRESSED, 0u64);
    out.value(&names::ACCESS_LOG_LINES, 1u64);
    out.family(&names::ACCESS_LOG_DROPPED)
        .sample(["write"], 0u64);
    out.value(&names::PROCESS_CPU, Span(5));
    for family in [
        &names::PROCESS_RSS,
        &names::PROCESS_VIRTUAL,
        &names::PROCESS_OPEN_FDS,
        &names::PROCESS_MAX_FDS,
        &names::PROCESS_THREADS,
        &names::PROCESS_START_TIME,
    ] {
        out.value(family, 1u64);
    }
    add_network(&mut out);
    let text = out.finish(Span::from_micros(250));
    for entry in names::ALL {
        assert!(
            text.contains(&format!("# TYPE {} ", entry.name)),
            "{}",
            entry.name
        );
    }
    let Some(said) = promtool(&text) else {
        println!("skipped: promtool is not installed (Debian package prometheus)");
        return;
    };
    assert_eq!(said, "", "{text}");
}

fn add_network(out: &mut Exposition) {
    use telemetry::names;
    for family in [
        &names::NETWORK_LISTEN_OVERFLOWS,
        &names::NETWORK_LISTEN_DROPS,
        &names::NETWORK_RETRANSMITS,
        &names::NETWORK_RECEIVE_QUEUE_DROPS,
        &names::NETWORK_BACKLOG_DROPS,
        &names::NETWORK_SOFTNET_DROPPED,
        &names::NETWORK_SOFTNET_SQUEEZED,
    ] {
        out.value(family, 1u64);
    }
    for family in [
        &names::NETWORK_RECEIVE_ERRORS,
        &names::NETWORK_RECEIVE_DROP,
        &names::NETWORK_TRANSMIT_ERRORS,
        &names::NETWORK_TRANSMIT_DROP,
    ] {
        out.family(family).sample(["eth0"], 1u64);
    }
}

/// What `promtool check metrics` says and how it ends, or `None` where it is not installed.
fn promtool(text: &str) -> Option<String> {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        said.push_str(&output.status.to_string());
    }
    Some(said)
}

#[test]
fn a_reader_of_many_shards_rests_between_them() {
    let shards = shards(16, 2);
    let hit = record(200, CacheLabel::Hit, Span::from_micros(50));
    shards.iter().for_each(|cells| cells.request(&hit));
    let rests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&rests);
    let mut reader = reader(&shards).resting(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    reader.tick(Moment(SECOND));
    assert!(rests.swap(0, Ordering::Relaxed) >= 2 * shards.len());
    render(&mut reader);
    assert!(rests.load(Ordering::Relaxed) >= 2 * shards.len());
}
