//! See `internal/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| latido::fuzz::phoenix(bytes));
