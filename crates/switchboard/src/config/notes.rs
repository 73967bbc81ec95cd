//! What files of inetd and xinetd say that is ambiguous, was a bug, or is done otherwise here: [`NOTES`] are the tables,
//! a [`Finding`] is one place in a file where a row of it applies.
//!
//! docs/migration.md is made from the table. The facts are from the manual pages and the sources of the old
//! programs, and from watching them run.

use super::source::Span;
use std::collections::BTreeSet;

macro_rules! notes {
    ($( $name:ident: $id:literal, $severity:ident,
        $construct:literal,
        old $old:literal,
        ours $ours:literal
        $(, compat $compat:literal)?; )*) => {
        $( pub(crate) static $name: Note = Note {
            id: $id,
            severity: Severity::$severity,
            construct: $construct,
            old: $old,
            ours: $ours,
            compat: { let _compat: Option<&'static str> = None; $( let _compat = Some($compat); )? _compat },
        }; )*

        /// In the order of the document.
        pub(super) static NOTES: &[&Note] = &[$( &$name ),*];
    };
}

mod inetd;
mod programs;
mod xinetd;

pub(crate) use inetd::*;
pub(crate) use programs::*;
pub(crate) use xinetd::*;

/// The tables.
pub(crate) static NOTES: [&[&Note]; 3] = [programs::NOTES, inetd::NOTES, xinetd::NOTES];

/// Every note, in the order of the document.
fn all() -> impl Iterator<Item = &'static &'static Note> {
    NOTES.into_iter().flatten()
}

/// A construct, what the old programs did with it, and what is done with it here.
#[derive(Debug)]
pub(crate) struct Note {
    /// Its name, which does not change: `xinetd-both-lists`.
    pub(crate) id: &'static str,
    /// What a finding of it means.
    pub(crate) severity: Severity,
    /// What stands in the file.
    pub(crate) construct: &'static str,
    /// What the old program did.
    pub(crate) old: &'static str,
    /// What is done here.
    pub(crate) ours: &'static str,
    /// What `--compat` does instead; nothing, where the old behaviour was a hole or cannot be had.
    pub(crate) compat: Option<&'static str>,
}

/// What a finding means for whoever moves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Severity {
    /// It holds for every file; found nowhere in particular.
    General,
    /// For information: clients and programs see no difference.
    Remark,
    /// Something is done otherwise.
    Differs,
    /// Something is not carried over: an attribute, or a whole service.
    LeftOut,
    /// The old program refused it, or misread it: so is it here, unless `--compat` is given.
    Error,
}

impl Severity {
    /// In a word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Severity::General => "general",
            Severity::Remark => "remark",
            Severity::Differs => "differs",
            Severity::LeftOut => "left out",
            Severity::Error => "error",
        }
    }
}

/// A place where a note applies.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) note: &'static Note,
    /// Where; none: in the file as a whole.
    pub(crate) span: Option<Span>,
    /// What exactly, if the note does not say all.
    pub(crate) detail: String,
}

/// All that was found, in the order of the files.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    /// A note applies at a place.
    pub(crate) fn note(
        &mut self,
        note: &'static Note,
        span: impl Into<Option<Span>>,
        detail: impl Into<String>,
    ) {
        self.list.push(Finding { note, span: span.into(), detail: detail.into() });
    }

    /// A note applies to the file; said once.
    pub(crate) fn once(&mut self, note: &'static Note) {
        if !self.list.iter().any(|finding| std::ptr::eq(finding.note, note)) {
            self.note(note, None, "");
        }
    }

    /// All, those of the whole file last.
    pub(crate) fn sorted(mut self) -> Vec<Finding> {
        self.list
            .sort_by_key(|finding| finding.span.map_or((true, 0, 0), |span| (false, span.file, span.start)));
        // What stands in xinetd's `defaults` is found once for each service that it holds for.
        let mut said = BTreeSet::new();
        self.list.retain(|finding| {
            let place = finding.span.map(|span| (span.file, span.start));
            said.insert((finding.note.id, place, finding.detail.clone()))
        });
        self.list
    }
}

/// docs/migration.md.
pub(crate) fn migration() -> String {
    let mut text = String::from(
        "# Moving from inetd and xinetd\n\
         <!-- Made from the table of notes in crates/switchboard/src/config/notes.rs; edit that. -->\n\n\
         `switchboard convert FILE` prints the file of an inetd or of xinetd as a configuration, with the notes below as remarks \
         where they apply; `switchboard check FILE` shows them with their places. The dialects are those of OpenBSD (and Debian), \
         FreeBSD, NetBSD with both of its forms, GNU inetutils, and `xinetd -inetd_compat`; whose a file is, is seen from what \
         is in it, and said; `--from` decides.\n\n\
         Nothing is dropped in silence. What is *left out* is named with the reason; what is an *error* keeps the whole file from \
         being served. With `--compat` the old behaviour stays where it is not a hole, and what the old daemon left out is left \
         out with a warning: so do the personalities, `switchboard inetd` and `switchboard xinetd`.\n",
    );
    let sections =
        [("Programs and services of either", ""), ("inetd.conf", "inetd-"), ("xinetd.conf", "xinetd-")];
    let others = |id: &str| !id.starts_with("inetd-") && !id.starts_with("xinetd-");
    let general = all().filter(|note| note.severity == Severity::General);
    let mut table = |title: &str, rows: Vec<&&Note>| {
        text.push_str(&format!(
            "\n## {title}\n\n| note | construct | then | here | with `--compat` |\n|---|---|---|---|---|\n"
        ));
        for note in rows {
            let Note { id, severity, construct, old, ours, compat } = note;
            let kept = compat.unwrap_or("the same as without");
            let severity = if *severity == Severity::General {
                String::new()
            } else {
                format!("<br>{}", severity.name())
            };
            text.push_str(&format!("| `{id}`{severity} | {construct} | {old} | {ours} | {kept} |\n"));
        }
    };
    for (title, prefix) in sections {
        let rows = all().filter(|note| note.severity != Severity::General);
        let fits =
            |note: &&&Note| if prefix.is_empty() { others(note.id) } else { note.id.starts_with(prefix) };
        table(title, rows.filter(fits).collect());
    }
    table("Everything else", general.collect());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_texts_fit_a_table() {
        let ids: BTreeSet<&str> = all().map(|note| note.id).collect();
        assert_eq!(ids.len(), all().count());
        for note in all() {
            for text in [note.construct, note.old, note.ours, note.compat.unwrap_or("-")] {
                assert!(!text.is_empty() && !text.contains(['|', '\n']), "{}: {text:?}", note.id);
            }
            assert!(note.id.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-'));
        }
    }
}
