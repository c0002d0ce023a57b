//! Fuzzes the native session; the target is defined in `internal/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| latido::fuzz::messages(bytes));
