//! libFuzzer's way to [`switchboard_fuzz::proxy_v2`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| switchboard_fuzz::proxy_v2(data));
