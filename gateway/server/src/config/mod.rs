//! Configuration in two steps: as typed ([`Sheet`]: what stands where, from which source), then as typed structs
//! ([`Settings`]). What it means on this host is decided by [`crate::plan`].

mod fault;
mod fields;
mod file;
mod keys;
mod kind;
mod nearest;
#[cfg(test)]
mod reference;
mod render;
mod settings;
mod sheet;
#[cfg(test)]
mod tests;
mod units;
mod upstream_keys;

pub(crate) use fault::{Fault, Faults, Source};
pub(crate) use fields::split as split_field;
pub(crate) use nearest::nearest;
pub(crate) use render::effective;
pub(crate) use settings::{
    Backend, Balance, Concurrency, Drain, ForwardedFields, LogFormat, LogShape, Priority,
    ProxyProtocol, RangeMisses, Route, SendProxyProtocol, SetCookie, Settings, Telemetry, Upstream,
};
pub(crate) use sheet::{Inputs, Sheet};
#[cfg(test)]
pub(crate) use tests::assert_fresh;
pub(crate) use units::{parse_span, size, span};
