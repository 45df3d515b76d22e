//! The libFuzzer entry point of [`sow_fuzz::chunk`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sow_fuzz::chunk(data));
