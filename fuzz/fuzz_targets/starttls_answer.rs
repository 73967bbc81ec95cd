//! libFuzzer's way to [`switchboard_fuzz::starttls_answer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| switchboard_fuzz::starttls_answer(data));
