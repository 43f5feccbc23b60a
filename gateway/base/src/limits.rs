//! Every fixed bound, with its unit and its reason. Configurable limits have their defaults here.

use crate::Span;

/// Bytes of a small receive buffer: a request head with room; the largest part of all heads fit one.
pub const RECEIVE_SMALL_BYTES: usize = 4 << 10;
/// Bytes of a large receive buffer: a body is copied out of the kernel in few system operations.
pub const RECEIVE_LARGE_BYTES: usize = 64 << 10;
/// Bytes of a scratch buffer: sixteen pipelined answers of 1 KiB with their heads leave in one piece.
pub const SCRATCH_BYTES: usize = 24 << 10;

/// Bodies up to this many bytes are copied behind their head; larger ones are sent from where they lie. The kernel's
/// cost of another slice and a pin is about that of copying this much.
pub const COPY_BODY_BYTES_MAX: usize = 4 << 10;

/// Slices of one send: above it the kernel's own cost grows, below it pipelined large objects need more turns.
pub const PARTS_MAX: usize = 16;
/// Body bytes of one send: a slow reader holds this much of the kernel's memory and is measured at this grain.
pub const SEND_WINDOW_BYTES: usize = 512 << 10;
/// Received buffers that one direction of a streamed exchange holds before its sender is paused.
pub const STREAM_BUFFERS_MAX: usize = 4;
/// Free large receive buffers below which streamed bytes are copied to the heap (within the same window), so that slow
/// readers cannot take the pool from everybody else.
pub const LARGE_BUFFERS_LOW: usize = 16;
/// Free small receive buffers below which bytes that wait for their turn are copied to the heap, so that clients who send
/// ahead cannot take the pool from everybody else. A quarter of the smallest pool.
pub const SMALL_BUFFERS_LOW: usize = 64;
/// Received buffers that may still arrive after a pause (one burst of a multishot receive).
pub const PAUSE_BUFFERS_MAX: usize = 32;

/// Completions handed out in one turn: bounds the time of a turn.
pub const TURN_COMPLETIONS_MAX: usize = 256;

/// Nanoseconds of one turn after which calls of the node-wide index that can wait are left to the next: with the longest
/// call (an eviction of [`ROOM_EVICTIONS_MAX`] objects) on top, a turn stays below 100 us for the index's sake.
pub const INDEX_TURN_NS_MAX: u64 = 50_000;
/// Objects evicted by one call for room: half a microsecond each.
pub const ROOM_EVICTIONS_MAX: usize = 32;
/// Whole answers of one shard that wait to be put into the index; further ones are not kept.
pub const LANDINGS_MAX: usize = 16_384;

/// Nanoseconds a driver sleeps at most in one turn, whatever it was asked, so that a shard's heart beats.
pub const SLEEP_NS_MAX: u64 = 1_000_000_000;
/// The same while a connection was active in the last second: a stall longer than this cannot hide.
pub const SLEEP_ACTIVE_NS_MAX: u64 = 10_000_000;

/// Bytes of the largest extent: what one buddy block holds.
pub const EXTENT_BYTES_MAX: usize = 1 << 20;
/// Bytes of the smallest extent block.
pub const EXTENT_BYTES_MIN: usize = 256;

/// Default bytes of a request or response head (`[limits] max_head`); longer is 431 or 502.
pub const HEAD_BYTES_DEFAULT: usize = 32 << 10;
/// Fields of a head; more is 431 or 502. Each costs 20 bytes of a shard's parse table.
pub const FIELDS_MAX: usize = 128;
/// Bytes of a request target; longer is 414. RFC 9112 §3 asks for 8,000 at least.
pub const TARGET_BYTES_MAX: usize = 16 << 10;
/// Bytes of a chunk-size line, its extensions included.
pub const CHUNK_LINE_BYTES_MAX: usize = 4 << 10;
/// Bytes of a trailer section.
pub const TRAILER_BYTES_MAX: usize = 8 << 10;

/// Default bytes of the largest stored object's body (`[cache] max_object`).
pub const OBJECT_BYTES_DEFAULT: u64 = 64 << 20;
/// Bytes of a single connection's requests that wait for their turn behind one being served.
pub const PIPELINE_BYTES_MAX: usize = 64 << 10;
/// Requests that wait for one flight on one shard; more go to the origin themselves.
pub const FLIGHT_WAITERS_MAX: usize = 65_536;
/// Messages a shard's mailbox holds; beyond it the sender sets the "look at everything" flag instead.
pub const MAILBOX_MESSAGES_MAX: usize = 4_096;
/// Bodies of parts that one answer is put together from; beyond, parts stay by themselves.
pub const JOINED_BODIES_MAX: usize = 64;
/// Answers of one key that vary, stored side by side; beyond, the oldest go.
pub const VARIANTS_MAX: usize = 64;
/// Marks of purged keys and of keys whose answers are not stored. Two keys in one place cost an answer that is not kept, or a
/// fetch that is not shared.
pub const KEY_MARKS: usize = 1 << 14;
/// Time for an answer whose client left, or that refreshes what is stored: an origin that drips holds its connection and memory
/// no longer.
pub const UNATTENDED_FETCH_MAX: Span = Span::from_secs(300);
/// Seconds for which nobody waits for a key's answer after it turned out not to be stored (hit-for-miss).
pub const PASSING_SECONDS: u64 = 120;
/// Interim (1xx) answers taken from an origin for one request; more is a 502.
pub const INTERIM_ANSWERS_MAX: usize = 16;

/// Series of `http_requests_total`; further ones are counted under the route `other`. Together with the durations' this
/// keeps an exposition under 10,000 series.
pub const REQUEST_SERIES_MAX: usize = 2_048;
/// Pairs of route and cache label with a histogram of their own in `http_request_duration_seconds` (32 series each).
pub const DURATION_SERIES_MAX: usize = 240;
/// Samples of the one-second window behind the convenience gauges and `request_latency_seconds`: a minute and some.
pub const WINDOW_SAMPLES_MAX: usize = 64;
/// Gateways of this name that a request came through, as its `Via` tells; more, and it goes in a circle (508). A chain of
/// edge, region and shield has three.
pub const OWN_PASSES_MAX: usize = 8;
/// Bytes of a connection's PROXY header, version 2, with all that proxies put behind the addresses; a client holds as much
/// before it has asked for anything.
pub const PROXY_HEADER_BYTES_MAX: usize = 4 << 10;

const _: () = assert!(RECEIVE_SMALL_BYTES <= RECEIVE_LARGE_BYTES);
const _: () = assert!(COPY_BODY_BYTES_MAX < SCRATCH_BYTES);
const _: () = assert!(EXTENT_BYTES_MIN.is_power_of_two() && EXTENT_BYTES_MAX.is_power_of_two());
const _: () = assert!(TARGET_BYTES_MAX <= HEAD_BYTES_DEFAULT);
