//! [`Screen`]: a terminal on which somebody types while the peer's bytes arrive.

/// Stands between a conversation and a terminal in raw mode, which is its input and its output.
pub trait Screen {
    /// Takes what was typed and appends to `input` what is to be sent of it. False at the end of the input.
    fn typed(&mut self, bytes: &[u8], input: &mut Vec<u8>) -> bool;

    /// Takes what came from the peer.
    fn came(&mut self, bytes: &[u8]);

    /// Appends what the terminal is to be given since the last call.
    fn show(&mut self, terminal: &mut Vec<u8>);
}
