//! What a scrape takes: `scrape_cost [SHARDS [ROUTES]]`, in each format, and the second's tick beside it.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use base::{Moment, RouteId, ShardId, Span};
use telemetry::{
    CacheLabel, Exposition, Format, Labels, MethodLabel, Reader, RequestRecord, RouteLabel,
    ShardCells, Supplement,
};

const ROUNDS: u32 = 50;
/// What each route answers with.
const ANSWERS: [(CacheLabel, u16); 5] = [
    (CacheLabel::Hit, 200),
    (CacheLabel::Miss, 200),
    (CacheLabel::Stale, 200),
    (CacheLabel::Miss, 404),
    (CacheLabel::Bypass, 500),
];

fn main() {
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok());
    let shards = numbers.next().unwrap_or(64);
    let routes = numbers.next().unwrap_or(20);
    let cells: Vec<_> = (0..shards)
        .map(|shard| Arc::new(ShardCells::new(ShardId(shard), usize::from(routes)).with_pools(4)))
        .collect();
    for cells in &cells {
        work(cells, routes);
    }
    let labels = Labels {
        routes: (0..routes).map(|route| format!("route-{route}")).collect(),
        upstreams: (0..4)
            .map(|upstream| format!("upstream-{upstream}"))
            .collect(),
    };
    let mut reader = Reader::new(cells.clone(), labels);
    let mut second = 0;
    let tick = timed(|| {
        second += 1_000_000_000;
        reader.tick(Moment(second));
    });
    println!("{shards} shards, {routes} routes: tick {tick:.0} us");
    for format in [Format::Text, Format::OpenMetrics, Format::Protobuf] {
        let mut bytes = 0;
        let scrape = timed(|| {
            let mut out = Exposition::of(format);
            reader.render(Moment(second), &Supplement::default(), &mut out);
            bytes = black_box(out.encode(Span(0))).len();
        });
        println!("{format:?}: {scrape:.0} us, {bytes} bytes");
    }
}

fn work(cells: &ShardCells, routes: u16) {
    for route in 0..routes {
        for (cache, status) in ANSWERS {
            for doubled in 0..16 {
                cells.request(&RequestRecord {
                    method: MethodLabel::Get,
                    status,
                    route: RouteLabel::Route(RouteId(route)),
                    cache,
                    duration: Span(10_000 << doubled),
                });
            }
        }
    }
}

/// The median of some rounds in microseconds.
#[allow(clippy::disallowed_methods)] // what it takes is what is asked
fn timed(mut round: impl FnMut()) -> f64 {
    let mut all: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            round();
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}
