//! libFuzzer's way to [`switchboard_fuzz::xinetd_conf`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| switchboard_fuzz::xinetd_conf(data));
