//! Fuzzes the scanner of HTTP request heads; the target is defined in `internal/latido/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| latido::fuzz::heads(bytes));
