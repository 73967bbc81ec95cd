//! libFuzzer's way to [`switchboard_fuzz::sum_binary`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| switchboard_fuzz::sum_binary(data));
