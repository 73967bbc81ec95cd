//! [`Witness`]: whoever wants to know what passes.

use std::net::SocketAddr;

use super::{Screen, Waiting};

/// Hears of what a conversation does, as it does it. What it does with that delays the conversation.
pub trait Witness {
    /// Nothing has happened for two seconds.
    fn waiting(&mut self, what: Waiting);

    /// The message that comes next was sent by this address, in answer or not to what went to that one.
    fn came_from(&mut self, from: SocketAddr, addressee: SocketAddr) {
        let _ = (from, addressee);
    }

    /// The terminal that is input and output, if somebody edits lines there.
    fn screen(&mut self) -> Option<&mut dyn Screen> {
        None
    }

    /// Whether the bytes are to be seen. If not, those that need not come into this process may pass by, and are only
    /// [counted](Witness::passed).
    fn wants_bytes(&self) -> bool {
        true
    }

    /// So many bytes went to the peer, and so many came from it, unseen.
    fn passed(&mut self, sent: u64, received: u64) {
        let _ = (sent, received);
    }

    /// The kernel has taken these bytes, or this message, for the peer.
    fn sent(&mut self, bytes: &[u8]) {
        let _ = bytes;
    }

    /// These bytes, or this message, came from the peer.
    fn received(&mut self, bytes: &[u8]) {
        let _ = bytes;
    }
}
