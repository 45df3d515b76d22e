//! The libFuzzer entry point of [`sow_fuzz::journal`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sow_fuzz::journal(data));
