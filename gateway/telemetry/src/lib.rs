//! Single-writer cells that shards write and anybody reads, metric names declared once, exposition, and the health model.
//!
//! A shard's thread is the only writer of its cells: recording is a relaxed load and a relaxed store, no
//! read-modify-write, no lock, no allocation. A reader sees each cell whole and the set of them loosely.

pub mod access;
mod buckets;
mod cells;
mod duration;
mod edges;
mod exemplar;
pub mod exposition;
mod format;
pub mod health;
mod histogram;
mod json;
pub mod names;
mod native;
mod protobuf;
mod published;
mod reader;
mod recorder;
mod render;
mod series;
mod slow;
mod stages;
mod text;
mod window;
pub mod words;

pub use cells::{
    CacheLabel, Counter, Gauge, LockSite, MethodLabel, PoolCells, RequestRecord, RouteLabel,
    ShardCells, Stage, UpstreamError, UpstreamStage,
};
pub use exemplar::Exemplar;
pub use exposition::Exposition;
pub use format::Format;
pub use health::rfc3339_micros;
pub use histogram::{Histogram, HistogramSnapshot};
pub use published::{Published, Subscriber};
pub use reader::{Labels, Reader, Supplement};
pub use recorder::{Cause, LongTurn, Noted, Recorder, Trace};
pub use slow::{Slow, Wanted};
pub use stages::Spent;
pub use window::Window;
pub use words::Words;
