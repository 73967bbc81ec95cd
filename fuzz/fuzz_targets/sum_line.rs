//! libFuzzer's way to [`switchboard_fuzz::sum_line`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| switchboard_fuzz::sum_line(data));
