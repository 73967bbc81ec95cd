//! A datagram is a conversation that lasts one packet: the same sessions answer it.

use crate::buffer::Buffer;
use crate::service::{Datagram, Recipe};
use crate::session::{Flow, Io, Start, Tx};
use crate::time::Instant;

/// Largest payload of a UDP datagram over IPv4: 65,535 less the IP and UDP headers.
pub const MAX_DATAGRAM: usize = 65_507;

/// Answers the datagram in `request`. The answer is left in `answer`; returns whether there is one (it may be
/// empty). A request that the session refuses or does not complete is met with silence, so that two services
/// can never keep each other busy with error messages.
pub fn answer(
    recipe: &Recipe,
    request: &mut Buffer,
    answer: &mut Buffer,
    start: &Start,
    now: Instant,
) -> bool {
    let limit = match recipe.datagram {
        Datagram::Silent => 0,
        Datagram::Bounded => request.len(),
        Datagram::Fixed(bytes) => bytes.min(MAX_DATAGRAM),
    };
    answer.clear();
    let came_empty = request.is_empty();
    let flow = recipe.session(start).advance(&mut Io {
        now,
        rx: request,
        rx_eof: true,
        tx: Tx { buffer: answer, limit: MAX_DATAGRAM, outside: 0 },
        moved: 0,
        wake: &mut Instant::NEVER.clone(),
        peer_ended: &mut false,
        said: &mut None,
    });
    answer.truncate(limit);
    let answers = recipe.datagram != Datagram::Silent && flow == Flow::Finish;
    // An answer that the limit cut down to nothing is none.
    answers && (came_empty || !answer.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Session, Transport};
    use crate::time::Wall;

    /// Says `four` and goes on as it is told.
    struct Says(Flow);

    impl Session for Says {
        fn advance(&mut self, io: &mut Io<'_>) -> Flow {
            assert!(io.rx_eof);
            io.tx.push(b"four");
            self.0
        }
    }

    /// The answer to a request of `length` bytes.
    fn ask(flow: Flow, datagram: Datagram, length: usize) -> Option<std::vec::Vec<u8>> {
        let mut recipe = Recipe::new("says", move |_| Says(flow));
        recipe.datagram = datagram;
        let start = Start { transport: Transport::Datagram, wall: Wall::utc(0), seed: 0 };
        let (mut request, mut out) = (Buffer::from(&std::vec![0; length][..]), Buffer::new());
        answer(&recipe, &mut request, &mut out, &start, Instant(0)).then(|| out.bytes().to_vec())
    }

    #[test]
    fn only_a_session_that_finishes_answers() {
        for length in [0, 1, 100] {
            assert_eq!(ask(Flow::Continue, Datagram::Bounded, length), None);
            assert_eq!(ask(Flow::Abort, Datagram::Bounded, length), None);
            assert_eq!(ask(Flow::Finish, Datagram::Silent, length), None);
        }
    }

    #[test]
    fn answers_are_cut_to_the_limit() {
        for (datagram, length, expected) in [
            (Datagram::Bounded, 0, &b""[..]),
            (Datagram::Bounded, 3, b"fou"),
            (Datagram::Bounded, 4, b"four"),
            (Datagram::Bounded, 9, b"four"),
            (Datagram::Fixed(2), 0, b"fo"),
            (Datagram::Fixed(usize::MAX), 9, b"four"),
        ] {
            assert_eq!(
                ask(Flow::Finish, datagram, length).as_deref(),
                Some(expected),
                "{datagram:?} {length}"
            );
        }
    }
}
