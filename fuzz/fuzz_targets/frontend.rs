//! The target `frontend` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgdial_fuzz::frontend(data));
