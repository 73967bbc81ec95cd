//! libFuzzer's way to [`switchboard_fuzz::session_splits`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| switchboard_fuzz::session_splits(data));
