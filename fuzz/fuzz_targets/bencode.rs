//! The libFuzzer entry point of [`sow_fuzz::bencode`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sow_fuzz::bencode(data));
