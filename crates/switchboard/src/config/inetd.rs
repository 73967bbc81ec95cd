//! inetd.conf, as the inetds of OpenBSD and Debian, FreeBSD, NetBSD and GNU read it, and as `xinetd -inetd_compat`
//! does: text → entries → [`Document`](super::document::Document).
//!
//! The dialects differ in small things with large effects: whether `tcp` includes IPv6, what a word in quotes is,
//! whether an indented line goes on with the one before it. [`Grammar`] is the table of those differences; the
//! reader has one path for all of them.

mod entry;
mod glob;
mod guess;
mod keys;
mod lines;
mod mapping;

#[cfg(test)]
use entry::Limits;
pub(crate) use guess::guess;
pub(crate) use mapping::{Life, read};

/// Whose inetd.conf it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dialect {
    /// OpenBSD's, and Debian's openbsd-inetd.
    OpenBsd,
    /// FreeBSD's.
    FreeBsd,
    /// NetBSD's, with lines and with `service on key = value;`.
    NetBsd,
    /// GNU inetutils'.
    Gnu,
    /// As `xinetd -inetd_compat` reads it.
    Xinetd,
}

/// What is particular to a dialect. Sources: the manual pages inetd(8) and the readers' source of each.
pub(super) struct Grammar {
    pub(super) dialect: Dialect,
    /// The program, for messages.
    pub(super) title: &'static str,
    pub(super) quotes: Quotes,
    /// A line that begins with a blank goes on with the one before it.
    pub(super) continues: bool,
    /// `#` after blanks begins a comment too.
    pub(super) indented_comments: bool,
    /// `[address,…:]service` is understood.
    pub(super) addresses: Addresses,
    /// What may follow `tcp` and `udp`, and what each binds; the first is for the bare word.
    pub(super) families: &'static [(&'static str, Family)],
    /// `,sndbuf=` and `,rcvbuf=` after the protocol.
    pub(super) buffers: bool,
    /// Between `wait` and the number of starts in a minute.
    pub(super) wait_marks: &'static str,
    /// Between user and group, in the order in which they are tried.
    pub(super) group_marks: &'static [char],
    /// Arguments with `argv[0]` that fit.
    pub(super) most_arguments: Option<usize>,
    /// Beyond them the entry is refused; otherwise they are dropped.
    pub(super) refuses_more: bool,
    /// Starts of a program in a minute if the file says nothing.
    pub(super) per_minute: Option<u32>,
    /// The services inside.
    pub(super) internal: &'static [&'static str],
}

/// How words are quoted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Quotes {
    /// Not at all.
    None,
    /// `'…'` and `"…"` around a whole word.
    Whole,
    /// As in a shell, also inside of a word; no backslash.
    Inside,
    /// Likewise, and a backslash takes the next character as it is.
    Escapes,
}

/// Whether the service may have addresses in front.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Addresses {
    /// No; they are an option of the command line.
    None,
    /// One.
    One,
    /// Several, between commas.
    Many,
}

/// Which families of addresses an internet service binds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Family {
    /// IPv4.
    V4,
    /// IPv6 alone.
    V6,
    /// One socket each.
    Both,
    /// One IPv6 socket that takes IPv4 too.
    Dual,
}

const PLAIN: &[&str] = &["echo", "discard", "chargen", "daytime", "time"];
const WITH_MUX: &[&str] = &["echo", "discard", "chargen", "daytime", "time", "tcpmux"];

pub(super) static GRAMMARS: [Grammar; 5] = [
    Grammar {
        dialect: Dialect::OpenBsd,
        title: "OpenBSD's and Debian's inetd",
        quotes: Quotes::None,
        continues: true,
        indented_comments: false,
        addresses: Addresses::Many,
        families: &[("", Family::Both), ("4", Family::V4), ("6", Family::V6), ("46", Family::Dual)],
        buffers: true,
        wait_marks: ".",
        group_marks: &['.', ':'],
        most_arguments: Some(20),
        refuses_more: false,
        per_minute: Some(256),
        internal: PLAIN,
    },
    Grammar {
        dialect: Dialect::FreeBsd,
        title: "FreeBSD's inetd",
        quotes: Quotes::Whole,
        continues: true,
        indented_comments: false,
        addresses: Addresses::None,
        families: &[("", Family::V4), ("4", Family::V4), ("6", Family::V6), ("46", Family::Dual)],
        buffers: false,
        wait_marks: "/",
        group_marks: &[':'],
        most_arguments: Some(20),
        refuses_more: true,
        per_minute: Some(256),
        internal: WITH_MUX,
    },
    Grammar {
        dialect: Dialect::NetBsd,
        title: "NetBSD's inetd",
        quotes: Quotes::Inside,
        continues: true,
        indented_comments: false,
        addresses: Addresses::One,
        families: &[("", Family::V4), ("4", Family::V4), ("6", Family::V6)],
        buffers: true,
        wait_marks: ".:",
        group_marks: &[':', '.'],
        most_arguments: Some(20),
        refuses_more: false,
        per_minute: Some(40),
        internal: WITH_MUX,
    },
    Grammar {
        dialect: Dialect::Gnu,
        title: "GNU inetutils' inetd",
        quotes: Quotes::Escapes,
        continues: false,
        indented_comments: true,
        addresses: Addresses::Many,
        families: &[("", Family::V4), ("4", Family::V4), ("6", Family::Dual), ("6only", Family::V6)],
        buffers: false,
        wait_marks: ".",
        group_marks: &[':', '.'],
        most_arguments: None,
        refuses_more: false,
        per_minute: Some(1000),
        internal: WITH_MUX,
    },
    Grammar {
        dialect: Dialect::Xinetd,
        title: "xinetd -inetd_compat",
        quotes: Quotes::None,
        continues: false,
        indented_comments: true,
        addresses: Addresses::None,
        families: &[("", Family::Both)],
        buffers: false,
        wait_marks: "",
        group_marks: &['.'],
        most_arguments: None,
        refuses_more: false,
        per_minute: None,
        internal: WITH_MUX,
    },
];

impl Dialect {
    pub(super) fn grammar(self) -> &'static Grammar {
        GRAMMARS.iter().find(|grammar| grammar.dialect == self).unwrap_or(&GRAMMARS[0])
    }
}

#[cfg(test)]
mod tests;
