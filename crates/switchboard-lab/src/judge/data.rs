//! DATA LOST, DUPLICATED, TRUNCATED: what should have come out, byte for byte, and what did.

use super::evidence::Evidence;
use super::{Kind, Verdict};
use serde::{Deserialize, Serialize};

/// Bytes through the program in one direction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stream {
    /// From where to where, in words: `standard input to the server`.
    pub name: String,
    /// What should have come out.
    pub wanted: Vec<u8>,
    /// What came out.
    pub got: Vec<u8>,
    /// The conversation had an end: nothing may be missing there. Otherwise some is always on its way.
    pub whole: bool,
    /// Only the number of bytes is known to be the same each time.
    pub length_only: bool,
}

pub(super) fn look(evidence: &Evidence<'_>) -> Option<Verdict> {
    evidence.facts.streams.iter().find_map(check)
}

fn check(stream: &Stream) -> Option<Verdict> {
    let Stream { name, wanted, got, whole, length_only } = stream;
    let verdict = |kind, text: String| Some(Verdict::new(kind, format!("{text} ({name})"), Vec::new()));
    if *length_only {
        let missing = wanted.len().saturating_sub(got.len());
        return match missing {
            n if n > 0 && *whole => {
                verdict(Kind::DataTruncated, format!("{n} bytes fewer than without the fault"))
            }
            _ => None,
        };
    }
    let (lost, twice, first) = compare(wanted, got);
    // Who feeds is a moment behind what the program has already read: more than was wanted is nothing to see.
    if wanted.len() <= got.len() && wanted == &got[..wanted.len()] && !whole {
        return None;
    }
    match first {
        _ if wanted == got => None,
        Some(at) if twice > lost => {
            verdict(Kind::DataDuplicated, format!("{twice} bytes came twice, after {at}"))
        }
        Some(at) if lost > twice => verdict(Kind::DataLost, format!("{lost} bytes are missing after {at}")),
        Some(at) => verdict(Kind::DataLost, format!("after {at} bytes come others than were sent")),
        None if *whole => {
            let missing = wanted.len() - got.len();
            verdict(Kind::DataTruncated, format!("the last {missing} of {} bytes are missing", wanted.len()))
        }
        None => None,
    }
}

/// So many bytes that agree show that the streams go on together.
const AGREE: usize = 4;
/// So often it is looked for where they go on; more tells nobody anything.
const PARTINGS: usize = 200;

/// Follows what came through what was wanted: where they part, it goes on further ahead if some was lost, or goes back
/// if some was sent again, whichever is nearer. Returns how many bytes were lost and how many came twice, and where
/// they part first; both numbers are equal where what comes is found nowhere.
fn compare(wanted: &[u8], got: &[u8]) -> (usize, usize, Option<usize>) {
    let (mut lost, mut twice, mut first) = (0, 0, None);
    let (mut at, mut from) = (0, 0);
    for _ in 0..PARTINGS {
        let same = wanted[at..].iter().zip(&got[from..]).take_while(|(a, b)| a == b).count();
        (at, from) = (at + same, from + same);
        let rest = &got[from..];
        if rest.is_empty() {
            break;
        }
        first = first.or(Some(from));
        let rest = &rest[..rest.len().min(AGREE)];
        let back = (1..=at).find(|back| wanted[at - back..].starts_with(rest));
        let ahead = (1..wanted.len() - at).find(|ahead| wanted[at + ahead..].starts_with(rest));
        match (back, ahead) {
            (Some(back), ahead) if ahead.is_none_or(|ahead| back < ahead) => {
                twice += back;
                at -= back;
            }
            (_, Some(ahead)) => {
                lost += ahead;
                at += ahead;
            }
            // Nothing of it is known: what counts is how much there is.
            _ => {
                let missing = wanted.len().saturating_sub(got.len());
                return (missing, 0, first);
            }
        }
    }
    (lost, twice, first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(wanted: &str, got: &str, whole: bool) -> Option<Kind> {
        let bytes = |text: &str| text.as_bytes().to_vec();
        let (wanted, got) = (bytes(wanted), bytes(got));
        check(&Stream { name: "here".into(), wanted, got, whole, length_only: false })
            .map(|verdict| verdict.kind)
    }

    #[test]
    fn what_is_missing_where_decides() {
        assert_eq!(kind("one two three", "one two three", true), None);
        assert_eq!(kind("one two three", "one two", true), Some(Kind::DataTruncated));
        assert_eq!(kind("one two three", "one two", false), None);
        assert_eq!(kind("one two three", "one three", false), Some(Kind::DataLost));
        assert_eq!(kind("one two three", "one two two three", false), Some(Kind::DataDuplicated));
        assert_eq!(kind("one two three", "one TWO three", true), Some(Kind::DataLost));
        assert_eq!(kind("one two three four", "one two two", false), Some(Kind::DataDuplicated));
        assert_eq!(kind("one two three", "one one two two three three", true), Some(Kind::DataDuplicated));
        assert_eq!(kind("alpha\nbravo\n", "alpbra", true), Some(Kind::DataLost));
        assert_eq!(kind("alpha\nbravo\n", "al\nph\na\nbr\nav\no\n", true), Some(Kind::DataLost));
        assert_eq!(kind("one", "one two", false), None);
        assert_eq!(kind("one", "one two", true), Some(Kind::DataLost));
        assert_eq!(kind("one", "", true), Some(Kind::DataTruncated));
        assert_eq!(kind("", "", true), None);
    }
}
