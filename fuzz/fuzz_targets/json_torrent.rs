//! The libFuzzer entry point of [`sow_fuzz::json_torrent`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sow_fuzz::json_torrent(data));
