//! libFuzzer's way to [`switchboard_fuzz::inetd_conf`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| switchboard_fuzz::inetd_conf(data));
