//! Fuzzes the counting of WebSocket frames; the target is defined in `internal/latido/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| latido::fuzz::frame_rate(bytes));
