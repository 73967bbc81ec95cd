//! libFuzzer's way to [`switchboard_fuzz::telnet`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| switchboard_fuzz::telnet(data));
