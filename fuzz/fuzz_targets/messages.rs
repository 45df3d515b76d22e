//! The libFuzzer entry point of [`sow_fuzz::messages`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sow_fuzz::messages(data));
