//! The libFuzzer entry point of [`sow_fuzz::tracker_udp`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sow_fuzz::tracker_udp(data));
