//! [`Bounds`]: how much a connection holds, and how long it waits for a peer who does nothing.

use core::time::Duration;

/// Bounds of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Input not taken by the session, bytes; from there on the connection stops wanting to read. A session that
    /// waits for more than this never gets it: see [`Bounds::LEAST_RX`].
    pub rx: u32,
    /// Output not delivered to the kernel, bytes.
    pub tx: u32,
    /// Lingering close: after the last byte is out, wait this long for more input before closing, milliseconds.
    /// The wait in all, and a peer that takes no more output, are given [`Bounds::PATIENCE`] times as much.
    pub linger_ms: u32,
}

impl Bounds {
    /// How many times `linger_ms` a peer may go on sending to, or not reading from, a session that has ended.
    pub const PATIENCE: u32 = 15;
    /// The smallest [`rx`](Bounds::rx), bytes, with which every service works: the longest line that one reads.
    pub const LEAST_RX: u32 = 4_096;

    pub(super) fn linger(&self) -> Duration {
        Duration::from_millis(u64::from(self.linger_ms))
    }
}

impl Default for Bounds {
    /// 64 KiB each way; 2 s of silence.
    fn default() -> Bounds {
        Bounds { rx: 65_536, tx: 65_536, linger_ms: 2_000 }
    }
}
