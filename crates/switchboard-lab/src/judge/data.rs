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
    let start = wanted.iter().zip(got).take_while(|(a, b)| a == b).count();
    let (wanted_rest, got_rest) = (&wanted[start..], &got[start..]);
    // Who feeds is a moment behind what the program has already read.
    if wanted_rest.is_empty() && !whole {
        return None;
    }
    if got_rest.is_empty() {
        return match wanted_rest.len() {
            n if n > 0 && *whole => {
                verdict(Kind::DataTruncated, format!("the last {n} of {} bytes are missing", wanted.len()))
            }
            _ => None,
        };
    }
    let end = wanted_rest.iter().rev().zip(got_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let lost = &wanted_rest[..wanted_rest.len() - end];
    let extra = &got_rest[..got_rest.len() - end];
    let repeated = !extra.is_empty() && got[..start].windows(extra.len()).any(|piece| piece == extra);
    if repeated && lost.len() < extra.len() {
        verdict(Kind::DataDuplicated, format!("{} bytes came twice, after {start}", extra.len()))
    } else if lost.len() > extra.len() {
        verdict(Kind::DataLost, format!("{} bytes are missing after {start}", lost.len() - extra.len()))
    } else {
        verdict(Kind::DataLost, format!("after {start} bytes come others than were sent"))
    }
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
    }
}
