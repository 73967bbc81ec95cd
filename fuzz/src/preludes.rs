//! What is said before a conversation: whatever the other side answers, it is understood or refused in words that a
//! terminal can bear, the same however it is cut, and not a byte is taken that was not there.

use switchboard_proto::prelude::{Failure, Prelude, Why};
use switchboard_proto::starttls::Protocol;
use switchboard_proto::tunnel::{Credentials, Destination, Method, tunnel};

/// The most that any of them may hear before it has come to an end.
const LONGEST: usize = 64 * 1024;

/// Any answer of a proxy; the first byte chooses how it was asked.
pub fn tunnel_answer(data: &[u8]) {
    let Some((first, answer)) = data.split_first() else { return };
    let method =
        [Method::HttpConnect, Method::Socks4, Method::Socks4a, Method::Socks5][usize::from(first & 3)];
    let password = if matches!(method, Method::Socks4 | Method::Socks4a) { "" } else { "b" };
    let who = (first & 4 != 0).then(|| Credentials { user: "a".into(), password: password.into() });
    let destination = Destination::Address(([127, 0, 0, 1], 7).into());
    bears(answer, &mut || tunnel(method, &destination, who.as_ref()).expect("it can be asked for"));
}

/// Any answers of a server that is asked for TLS; the first byte chooses the protocol.
pub fn starttls_answer(data: &[u8]) {
    let Some((first, answer)) = data.split_first() else { return };
    let protocol = Protocol::ALL[usize::from(*first) % Protocol::ALL.len()];
    // Cut, what follows the consent has not come when TLS begins: then the two differ, and only then.
    match (heard(&mut *protocol.start(), answer, usize::MAX), heard(&mut *protocol.start(), answer, 1)) {
        (Ok(whole), Ok(cut)) => assert_eq!(whole, cut),
        (Err(whole), Ok((_, taken))) => {
            assert!(taken < answer.len() && whole.why == Why::Malformed, "{whole}");
        }
        (Ok(whole), Err(cut)) => panic!("{whole:?} and, byte by byte, {cut}"),
        (Err(whole), Err(cut)) => assert_eq!(whole.why, cut.why, "{whole}; {cut}"),
    }
}

fn bears<P: Prelude + ?Sized>(answer: &[u8], start: &mut dyn FnMut() -> Box<P>) {
    let whole = heard(&mut *start(), answer, usize::MAX);
    for piece in [1, 7] {
        match (&whole, heard(&mut *start(), answer, piece)) {
            (Ok(whole), Ok(cut)) => assert_eq!(*whole, cut),
            (Err(whole), Err(cut)) => {
                assert_eq!(whole.why, cut.why, "{whole}; {cut}");
                assert!(!whole.words.contains(char::is_control) && whole.words.len() < 2_000, "{whole}");
            }
            (whole, cut) => panic!("{whole:?} and, in pieces of {piece}, {cut:?}"),
        }
    }
}

/// What was said, and how many bytes of the answer belonged to it.
fn heard(
    prelude: &mut (impl Prelude + ?Sized),
    answer: &[u8],
    piece: usize,
) -> Result<(Vec<u8>, usize), Failure> {
    let mut said = Vec::new();
    let mut taken = 0;
    loop {
        said.extend(prelude.take_output());
        if prelude.is_done() {
            return Ok((said, taken));
        }
        let come = &answer[taken..taken.saturating_add(piece).min(answer.len())];
        if come.is_empty() {
            return Err(prelude.ended());
        }
        let n = prelude.look(come)?;
        assert!(n > 0 && n <= come.len(), "{n} of {}", come.len());
        taken += n;
        assert!(taken <= LONGEST, "it listens for ever");
    }
}
