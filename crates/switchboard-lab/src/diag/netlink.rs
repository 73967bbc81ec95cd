//! Netlink messages and their attributes (RFC 3549 §2.3, netlink(7)): bytes to parts and back, without a socket.
//!
//! Lengths are the kernel's word, and are checked all the same: a length that leads out of the bytes at hand is
//! [`Malformed`], never a panic.

use std::fmt;

/// Bytes that are no netlink message, or lack a part that every kernel sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the kernel's answer is not understood: {}", self.what)
    }
}

impl std::error::Error for Malformed {}

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Messages and attributes begin at multiples of this (`NLMSG_ALIGNTO`, `NLA_ALIGNTO`).
const ALIGN: usize = 4;
/// `NLA_TYPE_MASK`: the upper two bits of an attribute's type are flags.
const TYPE: u16 = 0x3fff;

/// One message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

/// The messages of a datagram, in their order; after a malformed one there are no more.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Result<Message<'_>, Malformed>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let taken = message(bytes);
        bytes = match taken {
            Ok((_, rest)) => rest,
            Err(_) => &[],
        };
        Some(taken.map(|(message, _)| message))
    })
}

fn message(bytes: &[u8]) -> Result<(Message<'_>, &[u8]), Malformed> {
    let fields = Fields(bytes);
    let (Some(length), Some(kind), Some(flags), Some(sequence), true) =
        (fields.u32(0), fields.u16(4), fields.u16(6), fields.u32(8), bytes.len() >= HEADER)
    else {
        return Err(Malformed { what: "it ends within a message's header" });
    };
    let length = length as usize;
    let Some(body) = bytes.get(HEADER..length) else {
        return Err(Malformed { what: "a message is longer than the datagram, or shorter than its header" });
    };
    Ok((Message { kind, flags, sequence, body }, after(bytes, length)))
}

/// Type and value.
pub(super) type Attribute<'a> = (u16, &'a [u8]);

/// The attributes in `bytes`; after a malformed one there are no more.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = Result<Attribute<'_>, Malformed>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let taken = attribute(bytes);
        bytes = match taken {
            Ok((_, rest)) => rest,
            Err(_) => &[],
        };
        Some(taken.map(|(attribute, _)| attribute))
    })
}

fn attribute(bytes: &[u8]) -> Result<(Attribute<'_>, &[u8]), Malformed> {
    let fields = Fields(bytes);
    let (Some(length), Some(kind)) = (fields.u16(0), fields.u16(2)) else {
        return Err(Malformed { what: "it ends within an attribute's header" });
    };
    let length = usize::from(length);
    let Some(value) = bytes.get(4..length) else {
        return Err(Malformed {
            what: "an attribute is longer than its message, or shorter than its header",
        });
    };
    Ok(((kind & TYPE, value), after(bytes, length)))
}

/// What follows the first `length` bytes and their padding; the padding of the last may be missing.
fn after(bytes: &[u8], length: usize) -> &[u8] {
    bytes.get(length.next_multiple_of(ALIGN)..).unwrap_or_default()
}

/// A request without attributes.
pub(super) fn request(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    // The port of whoever asks: the kernel fills it in.
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes
}

/// Numbers of a C structure by their offsets; none behind the structure's end, as on older kernels.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk().copied()
    }

    pub(super) fn u8(&self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    pub(super) fn u16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_ne_bytes)
    }

    /// In network order.
    pub(super) fn port(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_ne_bytes)
    }

    pub(super) fn u64(&self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_ne_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut bytes = request(20, 0x300, 7, &[1, 2, 3]);
        bytes.push(0); // the padding between messages
        bytes.extend(request(3, 0, 8, &[]));
        let read: Vec<_> = messages(&bytes).map(|message| message.expect("well-formed")).collect();
        assert_eq!(read.len(), 2);
        assert_eq!(
            (read[0].kind, read[0].flags, read[0].sequence, read[0].body),
            (20, 0x300, 7, &[1, 2, 3][..])
        );
        assert_eq!((read[1].kind, read[1].body), (3, &[][..]));
    }

    #[test]
    fn lengths_that_lie_are_found() {
        let whole = request(20, 0, 1, &[0; 8]);
        for cut in 1..whole.len() {
            assert!(messages(&whole[..cut]).any(|message| message.is_err()), "cut to {cut}");
        }
        for length in [0u32, 1, 15, 25, u32::MAX] {
            let mut bytes = whole.clone();
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(messages(&bytes).any(|message| message.is_err()), "length {length}");
            assert_eq!(messages(&bytes).count(), 1, "it goes on after an error");
        }
        for length in [0u16, 3, 9, u16::MAX] {
            let mut bytes = [0; 8];
            bytes[..2].copy_from_slice(&length.to_ne_bytes());
            assert!(attributes(&bytes).any(|attribute| attribute.is_err()), "length {length}");
        }
        assert!(attributes(&[5, 0, 1]).any(|attribute| attribute.is_err()));
        assert_eq!(
            attributes(&[5, 0, 1, 0x80, 9]).next(),
            Some(Ok((1, &[9][..]))),
            "flags, and no padding at the end"
        );
    }
}
