//! Times: what a call may take at most.

use crate::watch::memory::{Memory, word};

/// A span in seconds, without zeros at the end.
pub(super) fn span(seconds: i64, ns: i64) -> String {
    let text = format!("{seconds}.{ns:09}");
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

pub(super) fn timespec(memory: Memory, address: u64) -> Option<String> {
    let bytes = memory.array::<16>(address)?;
    Some(span(word(&bytes, 0)? as i64, word(&bytes, 1)? as i64))
}

pub(super) fn timeval(memory: Memory, address: u64) -> Option<String> {
    let bytes = memory.array::<16>(address)?;
    Some(span(word(&bytes, 0)? as i64, (word(&bytes, 1)? as i64).saturating_mul(1000)))
}

/// The time-out of poll(2) and epoll_wait(2).
pub(super) fn timeout_ms(value: i32) -> String {
    if value < 0 { "forever".to_owned() } else { format!("{value}ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        assert_eq!((&*span(2, 0), &*span(0, 1_000_000), &*span(10, 5)), ("2s", "0.001s", "10.000000005s"));
        assert_eq!((&*timeout_ms(-1), &*timeout_ms(100)), ("forever", "100ms"));
    }
}
