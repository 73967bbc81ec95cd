//! The telnet client's side (switchboard-proto).

use switchboard_proto::Telnet;

/// Text and answers for these bytes from the peer, in pieces of this size.
fn decoded(wire: &[u8], size: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut telnet, mut text, mut answer) = (Telnet::new(), Vec::new(), Vec::new());
    wire.chunks(size).for_each(|piece| telnet.decode(piece, &mut text));
    telnet.decode_end(&mut text);
    telnet.answer(&mut answer);
    (text, answer)
}

/// Whatever comes, and however it is cut: the same text and the same bounded answer, which itself asks for none; and
/// what one side encodes, the other one reads.
pub fn telnet(data: &[u8]) {
    let [size, data @ ..] = data else { return };
    let size = usize::from(*size % 16) + 1;
    let (text, answer) = decoded(data, data.len().max(1));
    assert_eq!(decoded(data, size), (text.clone(), answer.clone()));
    assert!(text.len() <= data.len() && answer.len() <= 2 * 256 * 3);
    assert_eq!(decoded(&answer, size), (Vec::new(), Vec::new()), "an answer was answered");

    let (mut telnet, mut wire) = (Telnet::new(), Vec::new());
    data.chunks(size).for_each(|piece| telnet.encode(piece, &mut wire));
    telnet.encode_end(&mut wire);
    assert!(wire.len() <= 2 * data.len());
    let mut lines = Vec::new();
    for (at, byte) in data.iter().enumerate() {
        if !(*byte == b'\r' && data.get(at + 1) == Some(&b'\n')) {
            lines.push(*byte);
        }
    }
    assert_eq!(decoded(&wire, size), (lines, Vec::new()));
}
