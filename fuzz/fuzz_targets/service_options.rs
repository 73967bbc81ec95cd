//! libFuzzer's way to [`switchboard_fuzz::service_options`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| switchboard_fuzz::service_options(data));
