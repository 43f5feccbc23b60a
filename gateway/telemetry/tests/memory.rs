//! What telemetry takes of memory: fixed when a shard starts, whatever comes.

use base::{RouteId, ShardId, Span};
use telemetry::access::Batch;
use telemetry::{CacheLabel, MethodLabel, RequestRecord, RouteLabel, ShardCells};

/// What one shard may take, the access log included.
const SHARD_BYTES_MAX: u64 = 8 << 20;

#[test]
fn a_shards_telemetry_is_fixed_at_its_start() {
    let mut kept = None;
    let taken = allocation_counter::measure(|| {
        let cells = ShardCells::new(ShardId(0), 1_000).with_pools(100);
        kept = Some((cells.with_access_log(), Batch::with_room()));
    });
    println!("{} bytes a shard", taken.bytes_current);
    assert!(taken.bytes_current > 0 && taken.bytes_current.unsigned_abs() <= SHARD_BYTES_MAX);
    let (cells, _) = kept.expect("it was made");
    let more = allocation_counter::measure(|| {
        for status in 100..1_000 {
            for route in 0..1_000 {
                cells.request(&RequestRecord {
                    method: MethodLabel::Get,
                    status,
                    route: RouteLabel::Route(RouteId(route)),
                    cache: CacheLabel::Miss,
                    duration: Span(u64::from(status) * 1_000),
                });
            }
        }
    });
    assert_eq!(more.count_total, 0, "recording allocates nothing");
}
