//! libFuzzer's way to [`switchboard_fuzz::socket_option`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| switchboard_fuzz::socket_option(data));
