//! Data that moves: quoted, from one buffer or several, with the address and the control bytes of a message.

use super::address;
use crate::watch::memory::{Memory, word};
use std::fmt::Write;

/// Bytes of data that are kept for the record.
pub(in crate::watch) const KEPT: usize = 64;
/// Bytes of data that are shown.
const SHOWN: usize = 32;
/// Buffers of one call that are looked at; the kernel takes up to 1,024.
const PARTS: usize = 1024;

/// The beginning of `bytes`, of which there are `total`, in quotes and with C's escapes.
pub(super) fn quoted(bytes: &[u8], total: usize) -> String {
    let shown = &bytes[..bytes.len().min(SHOWN)];
    let mut text = String::with_capacity(shown.len() + 5);
    text.push('"');
    for byte in shown {
        match byte {
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text.push('"');
    if total > shown.len() {
        text.push('…');
    }
    text
}

/// The `struct iovec`s at `address`: where, and how long.
pub(in crate::watch) fn parts(memory: Memory, address: u64, count: usize) -> Vec<(u64, usize)> {
    let bytes = memory.bytes(address, count.min(PARTS) * 16);
    let pair = |index| Some((word(&bytes, 2 * index)?, usize::try_from(word(&bytes, 2 * index + 1)?).ok()?));
    (0..count.min(PARTS)).map_while(pair).collect()
}

pub(super) fn total(parts: &[(u64, usize)]) -> usize {
    parts.iter().fold(0, |sum, (_, length)| sum.saturating_add(*length))
}

/// The first bytes of what lies in several buffers.
pub(super) fn gather(memory: Memory, parts: &[(u64, usize)], limit: usize) -> Vec<u8> {
    let mut data = Vec::new();
    for (address, length) in parts {
        let wanted = (*length).min(limit - data.len());
        data.extend(memory.bytes(*address, wanted));
        if data.len() >= limit {
            break;
        }
    }
    data
}

/// The `struct msghdr` at `address`: all of its data if `moved` is none.
pub(super) fn message(
    memory: Memory,
    address: u64,
    sent: bool,
    moved: Option<usize>,
    data: &mut Vec<u8>,
) -> Option<String> {
    let header = memory.array::<56>(address)?;
    let at = |index| word(&header, index).unwrap_or(0);
    let parts = parts(memory, at(2), usize::try_from(at(3)).ok()?);
    let length = moved.map_or(total(&parts), |moved| moved.min(total(&parts)));
    *data = gather(memory, &parts, length.min(KEPT));
    let mut text = format!("{{{}", quoted(data, length));
    let name_length = at(1) as u32 as usize;
    if at(0) != 0
        && name_length != 0
        && let Some(name) = address::read(memory, at(0), name_length)
    {
        let _ = write!(text, ", {} {name}", if sent { "to" } else { "from" });
    }
    if at(5) != 0 {
        let _ = write!(text, ", control {} bytes", at(5));
    }
    let flags = at(6) as u32;
    if !sent && flags != 0 {
        let _ = write!(text, ", {}", super::name::flags(super::name::MESSAGE_FLAGS, flags.into()));
    }
    text.push('}');
    Some(text)
}

/// The first of `count` `struct mmsghdr`s, and how many follow.
pub(super) fn messages(
    memory: Memory,
    address: u64,
    count: usize,
    sent: bool,
    data: &mut Vec<u8>,
) -> Option<String> {
    const HEADER: u64 = 56;
    if count == 0 {
        return Some("[]".to_owned());
    }
    let moved = if sent { None } else { usize::try_from(memory.int(address + HEADER)?).ok() };
    let first = message(memory, address, sent, moved, data)?;
    Some(if count == 1 { format!("[{first}]") } else { format!("[{first}, {} more]", count - 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_quoted_and_cut() {
        assert_eq!(quoted(b"a\n\"\x00", 4), r#""a\n\"\x00""#);
        assert_eq!(quoted(&[b'x'; 40], 100), format!("\"{}\"…", "x".repeat(32)));
        assert_eq!(quoted(b"", 0), "\"\"");
    }

    #[test]
    fn our_own_memory_is_read_like_any_other() {
        let memory = Memory(std::process::id() as i32);
        let (a, b) = (b"hello ".to_vec(), b"world".to_vec());
        let vectors = [a.as_ptr() as u64, a.len() as u64, b.as_ptr() as u64, b.len() as u64];
        let parts = parts(memory, vectors.as_ptr() as u64, 2);
        assert_eq!(total(&parts), 11);
        assert_eq!(gather(memory, &parts, 64), b"hello world");
        assert_eq!(gather(memory, &parts, 8), b"hello wo");
        assert_eq!(memory.bytes(8, 10), b"");
        assert_eq!(memory.string(c"text".as_ptr() as u64).as_deref(), Some(&b"text"[..]));
    }
}
