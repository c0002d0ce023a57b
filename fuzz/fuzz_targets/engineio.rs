//! Fuzzes the payloads of Engine.IO; the target is defined in `internal/latido/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| latido::fuzz::engineio(bytes));
