#![no_main]

#[path = "../../gateway/http/tests/pair/mod.rs"]
mod pair;
#[path = "../../gateway/http/tests/second/mod.rs"]
mod second;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pair::read_alike(bytes);
});
