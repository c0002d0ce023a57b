//! Fuzzes the packets of Socket.IO; the target is defined in `internal/latido/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| latido::fuzz::socketio(bytes));
