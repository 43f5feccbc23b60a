//! Bytes ↔ HTTP/1.1 messages (RFC 9110, RFC 9112). Sans-I/O: slices in, views and verdicts out; nothing here keeps a
//! byte that it was not asked to keep, and no byte that a peer sends can panic.
//!
//! One rule above all: whatever is accepted can be read in one way only. What is not is refused with its status.

mod authority;
pub mod body;
pub mod cache_control;
pub mod date;
pub mod field;
mod framing;
pub mod head;
mod line;
mod name;
mod repair;
mod request;
mod response;
mod scan;
mod trailer;
pub mod write;

pub use body::{BodyDecoder, BodyLength, Step};
pub use field::{Field, FieldTable, Fields, Name};
pub use head::{
    Connection, HeadLimits, Method, Parsed, Refusal, Request, Response, Target, Version,
};
pub use repair::repair_response;
pub use request::parse_request;
pub use response::parse_response;
