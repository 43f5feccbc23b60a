//! Bytes ↔ HTTP/1.1 messages (RFC 9110, RFC 9112). Sans-I/O: slices in, views and verdicts out; nothing here keeps a
//! byte that it was not asked to keep, and no byte that a peer sends can panic.
//!
//! One rule above all: whatever is accepted can be read in one way only. What is not is refused with its status.

pub mod accept_encoding;
pub mod accept_language;
mod authority;
pub mod body;
pub mod cache_control;
pub mod content_range;
pub mod date;
pub mod etag;
pub mod field;
pub mod forwarded;
mod framing;
pub mod head;
mod line;
mod name;
pub mod proxy_protocol;
pub mod range;
mod repair;
mod request;
mod response;
mod scan;
pub mod selecting;
pub mod structured;
pub mod targeted;
mod trailer;
pub mod vary;
mod weight;
pub mod write;

pub use body::{BodyDecoder, BodyLength, Step};
pub use field::{Field, FieldTable, Fields, Name};
pub use head::{
    Connection, HeadLimits, Method, Parsed, Refusal, Request, Response, Target, Version,
};
pub use repair::repair_response;
pub use request::parse_request;
pub use response::parse_response;
