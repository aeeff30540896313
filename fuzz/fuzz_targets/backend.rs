//! The target `backend` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgdial_fuzz::backend(data));
