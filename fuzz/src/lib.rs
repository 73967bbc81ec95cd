//! One function per fuzz target: it takes any bytes, and panics when a promise is broken.
//!
//! The functions are pure and run on a stable compiler as well (`tests/smoke.rs`). A new target is a function
//! here (in a file of its own if it needs more than one), a row in [`TARGETS`], a file in `fuzz_targets/` and a
//! `[[bin]]` in `Cargo.toml`.

#![forbid(unsafe_code)]

mod sessions;

pub use sessions::{service_options, session_splits, sum_binary, sum_line};

/// A fuzz target: its name, its function, and inputs to start from.
pub struct Target {
    /// Name of the function and of its file in `fuzz_targets/`.
    pub name: &'static str,
    /// Takes any bytes; panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs that lead to interesting places.
    pub seeds: &'static [&'static [u8]],
}

/// Every target.
pub static TARGETS: &[Target] = &[
    // Sessions (switchboard-proto).
    Target {
        name: "sum_line",
        run: sum_line,
        seeds: &[
            b"1 2\n",
            b" -1\t+22 \r\n",
            b"9223372036854775807 1",
            b"-9223372036854775808 -1\n",
            b"9223372036854775808 0",
            b"1 2 3\n4 5\r\r\n\n\r\n \x00",
            &[b'7'; 5_000],
        ],
    },
    Target {
        name: "sum_binary",
        run: sum_binary,
        seeds: &[
            b"\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02",
            b"\x01\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\x01",
            b"\x03\xff\xff\xff\x7f\x01\0\0\0\x01",
        ],
    },
    Target {
        name: "session_splits",
        run: session_splits,
        seeds: &[
            b"\0\x01\x02\x03hello\nworld",
            b"\x07\x05\x10\x01\x031 2\n3 4\n5 x\n",
            b"\x06\x01\0\x20hello\r\nmore",
            b"\x04\x02\x01\x01stop!",
        ],
    },
    Target {
        name: "service_options",
        run: service_options,
        seeds: &[
            b"\x03quote=Mind the gap.",
            b"\x07syntax=lenient\0amplify=on",
            b"\x08abi=lp64-le",
            b"\x02format=ctime\0format=iso",
            b"\x03quote=\xc3\xa9",
        ],
    },
    // Texts and values (switchboard-net): endpoint, quantity, socket_option.
];
