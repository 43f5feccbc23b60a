#![no_main]

#[path = "../../gateway/http/tests/claims/mod.rs"]
mod claims;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| claims::forwarded(bytes));
