//! The libFuzzer entry point of [`sow_fuzz::links`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sow_fuzz::links(data));
