#![no_main]

extern crate ultragate_http as http;

#[path = "../../gateway/cache/tests/claims/mod.rs"]
mod claims;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| claims::policy(bytes));
