//! libFuzzer's way to [`switchboard_fuzz::tunnel_answer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| switchboard_fuzz::tunnel_answer(data));
