//! [`Entry`]: what one entry of inetd.conf says, in whichever form and dialect; its fields are read one by one.

use super::lines::{Item, Word, over};
use super::{Addresses, Dialect, Family, Grammar};
use crate::config::notes::{self, Findings};
use crate::config::source::Span;

mod keyed;

/// One service.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) span: Span,
    /// NetBSD's `off`.
    pub(super) off: bool,
    /// Where to listen; empty: everywhere.
    pub(super) addresses: Vec<String>,
    pub(super) name: Word,
    /// Offered by tcpmux; with a `+` in front, tcpmux says the `+` itself.
    pub(super) mux: Option<bool>,
    /// FreeBSD's owner, group and mode of a Unix socket.
    pub(super) file: Option<(String, String, u32)>,
    pub(super) socket: Socket,
    pub(super) transport: Transport,
    /// `sndbuf`, `rcvbuf`.
    pub(super) buffers: Vec<(&'static str, String)>,
    pub(super) filter: bool,
    pub(super) wait: bool,
    pub(super) limits: Limits,
    pub(super) user: Word,
    pub(super) group: Option<String>,
    /// A path, or `internal`.
    pub(super) program: Word,
    /// With argv[0].
    pub(super) arguments: Vec<String>,
}

/// Limits as written; `None` where nothing is written.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    /// Starts in a minute; 0: as the dialect says.
    pub(crate) per_minute: Option<u32>,
    /// Programs at once.
    pub(crate) at_once: Option<u32>,
    /// Starts for one address in a minute.
    pub(crate) per_source_minute: Option<u32>,
    /// Programs at once for one address.
    pub(crate) per_source: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Socket {
    Stream,
    Datagram,
    Seqpacket,
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Transport {
    Tcp(Family),
    Udp(Family),
    Unix,
    Rpc,
    Other,
}

/// Reads entries of one file after the other; the default address lasts until the next line that sets it.
pub(super) struct Entries<'a> {
    pub(super) grammar: &'static Grammar,
    pub(super) compat: bool,
    pub(super) found: &'a mut Findings,
    pub(super) default_addresses: Vec<String>,
    /// Whether the entry at hand has been found wrong.
    wrong: bool,
}

impl<'a> Entries<'a> {
    pub(super) fn new(grammar: &'static Grammar, compat: bool, found: &'a mut Findings) -> Entries<'a> {
        Entries { grammar, compat, found, default_addresses: Vec::new(), wrong: false }
    }

    /// The entry that an item is, if it is one and nothing in it is wrong.
    pub(super) fn entry(&mut self, item: Item) -> Option<Entry> {
        self.wrong = false;
        let entry = match item {
            Item::Fields(words) => self.fields(words),
            Item::Keys(keys) => self.keys(keys),
        };
        entry.filter(|_| !self.wrong)
    }

    fn problem(&mut self, span: Span, text: impl Into<String>) {
        self.found.note(&notes::INETD_ENTRY, span, text);
        self.wrong = true;
    }

    fn fields(&mut self, mut words: Vec<Word>) -> Option<Entry> {
        let (addresses, first) = self.service(words[0].clone())?;
        let span = over(&words);
        if first.text.is_empty() {
            // `address:` alone, or before the service.
            words.remove(0);
            if words.is_empty() {
                self.default_addresses = addresses.unwrap_or_default();
                return None;
            }
        } else {
            words[0] = first;
        }
        let addresses = addresses.unwrap_or_else(|| self.default_addresses.clone());
        if words.len() < 6 {
            let have = words.len();
            self.problem(
                span,
                format!("{have} fields; expected: service, socket type, protocol, wait or nowait, user, program, arguments"),
            );
            return None;
        }
        let arguments = words.split_off(6);
        self.arguments_notes(&arguments);
        let [name, socket, protocol, wait, user, program]: [Word; 6] = words.try_into().ok()?;
        let mut limits = Limits::default();
        let (socket, filter) = self.socket(&socket, &mut limits);
        let (transport, buffers) = self.protocol(&protocol);
        let wait = self.wait(&wait, &mut limits);
        let (user, group) = self.user(user);
        let (mux, file, name) = self.name(name, transport);
        let arguments = arguments.into_iter().map(|word| word.text).collect();
        let arguments = self.arguments(&program, arguments);
        Some(Entry {
            span,
            off: false,
            addresses,
            name,
            mux,
            file,
            socket,
            transport,
            buffers,
            filter,
            wait,
            limits,
            user,
            group,
            program,
            arguments,
        })
    }

    /// The addresses in front of a service, and what is left.
    fn service(&mut self, word: Word) -> Option<(Option<Vec<String>>, Word)> {
        if self.grammar.addresses == Addresses::None || word.text.starts_with('/') {
            return Some((None, word));
        }
        let Some((before, name)) = word.text.rsplit_once(':') else { return Some((None, word)) };
        let bare = |text: &str| text.trim_start_matches('[').trim_end_matches(']').to_owned();
        let list: Vec<String> = match before {
            "" | "*" => Vec::new(),
            _ if self.grammar.addresses == Addresses::One => vec![bare(before)],
            _ => before.split(',').map(bare).collect(),
        };
        if list.iter().any(|address| address.is_empty()) {
            self.problem(word.span, "an address is missing between the commas");
            return None;
        }
        let any = list.iter().any(|address| address == "*");
        let start = word.span.end - name.len();
        let rest = Word { text: name.to_owned(), span: Span { start, ..word.span } };
        Some((Some(if any { Vec::new() } else { list }), rest))
    }

    /// tcpmux services, and FreeBSD's `:user:group:mode:/path`.
    fn name(
        &mut self,
        mut name: Word,
        transport: Transport,
    ) -> (Option<bool>, Option<(String, String, u32)>, Word) {
        if let Some(inner) = name.text.strip_prefix("tcpmux/") {
            let plus = inner.starts_with('+');
            name.text = inner.trim_start_matches('+').to_owned();
            if name.text.is_empty() {
                self.problem(name.span, "a name is missing after `tcpmux/`");
            }
            return (Some(plus), None, name);
        }
        if transport == Transport::Unix {
            let mut file = None;
            if let Some(rest) = name.text.strip_prefix(':') {
                let parts: Vec<&str> = rest.splitn(4, ':').collect();
                match parts.as_slice() {
                    [user, group, mode, path] if u32::from_str_radix(mode, 8).is_ok_and(|m| m <= 0o777) => {
                        file = Some((
                            (*user).to_owned(),
                            (*group).to_owned(),
                            u32::from_str_radix(mode, 8).unwrap_or_default(),
                        ));
                        name.text = (*path).to_owned();
                    }
                    _ => self
                        .problem(name.span, "expected `:user:group:mode:/path` with a mode of octal digits"),
                }
            }
            if !name.text.starts_with('/') && !self.wrong {
                self.problem(name.span, "expected the socket's path, from `/`");
            }
            return (None, file, name);
        }
        let port = name.text.parse::<u16>().is_ok();
        let word = |c: char| c.is_ascii_alphanumeric() || "-_+.*/".contains(c);
        if (name.text.is_empty() || !name.text.chars().all(word)) && !port {
            self.problem(name.span, "expected the name of a service, or a port");
        }
        (None, None, name)
    }

    fn socket(&mut self, word: &Word, limits: &mut Limits) -> (Socket, bool) {
        let mut text = word.text.as_str();
        let mut filter = false;
        if self.grammar.dialect == Dialect::NetBsd {
            if let Some((before, _)) = text.split_once(':') {
                (text, filter) = (before, true);
            }
            if let Some((before, most)) = text.split_once(',') {
                limits.at_once = self.number(word, most);
                text = before;
            }
        }
        (self.socket_name(word, text), filter)
    }

    fn socket_name(&mut self, word: &Word, text: &str) -> Socket {
        match text {
            "stream" => Socket::Stream,
            "dgram" => Socket::Datagram,
            "seqpacket" => Socket::Seqpacket,
            "raw" | "rdm" => Socket::Other,
            _ => {
                self.problem(word.span, "expected a socket type: stream, dgram, seqpacket");
                Socket::Other
            }
        }
    }

    fn number(&mut self, word: &Word, text: &str) -> Option<u32> {
        let number = text.parse().ok();
        if number.is_none() {
            self.problem(word.span, format!("expected a number, found `{}`", text.escape_debug()));
        }
        number
    }

    fn protocol(&mut self, word: &Word) -> (Transport, Vec<(&'static str, String)>) {
        let mut pieces = word.text.split(',');
        let name = pieces.next().unwrap_or_default();
        let mut buffers = Vec::new();
        for piece in pieces {
            let known = [("sndbuf=", "sndbuf"), ("rcvbuf=", "rcvbuf"), ("recvbuf=", "rcvbuf")];
            let known = known
                .into_iter()
                .find_map(|(key, option)| piece.strip_prefix(key).map(|value| (option, value)));
            match known.filter(|_| self.grammar.buffers) {
                Some((option, value)) => {
                    if let Some(size) = self.size(word, value) {
                        buffers.push((option, size));
                    }
                }
                None => self
                    .problem(word.span, format!("`{}` is not known after a protocol", piece.escape_debug())),
            }
        }
        (self.transport(word, name), buffers)
    }

    fn transport(&mut self, word: &Word, name: &str) -> Transport {
        if name == "unix" {
            return Transport::Unix;
        }
        if name.starts_with("rpc/") {
            return Transport::Rpc;
        }
        if name.starts_with("faith/") || name.ends_with("/faith") || name.ends_with("/ttcp") {
            return Transport::Other;
        }
        for (bare, make) in [("tcp", Transport::Tcp as fn(Family) -> Transport), ("udp", Transport::Udp)] {
            if let Some(suffix) = name.strip_prefix(bare)
                && let Some((_, family)) = self.grammar.families.iter().find(|(known, _)| *known == suffix)
            {
                return make(*family);
            }
        }
        let families: Vec<String> =
            self.grammar.families.iter().map(|(suffix, _)| format!("tcp{suffix}, udp{suffix}")).collect();
        let unix = if self.grammar.dialect == Dialect::Gnu || self.grammar.dialect == Dialect::Xinetd {
            ""
        } else {
            ", unix"
        };
        self.problem(
            word.span,
            format!("{} knows the protocols {}{unix}", self.grammar.title, families.join(", ")),
        );
        Transport::Other
    }

    /// A buffer's size; `k` and `m` are kilobytes and megabytes.
    fn size(&mut self, word: &Word, text: &str) -> Option<String> {
        let (digits, unit) = match text.strip_suffix(['k', 'K']) {
            Some(digits) => (digits, "KiB"),
            None => match text.strip_suffix(['m', 'M']) {
                Some(digits) => (digits, "MiB"),
                None => (text, ""),
            },
        };
        self.number(word, digits).map(|number| format!("{number}{unit}"))
    }

    fn wait(&mut self, word: &Word, limits: &mut Limits) -> bool {
        let marks = |c: char| self.grammar.wait_marks.contains(c);
        let (text, rest) = match word.text.find(marks) {
            Some(at) => (&word.text[..at], Some(&word.text[at + 1..])),
            None => (word.text.as_str(), None),
        };
        if let Some(rest) = rest {
            if self.grammar.dialect == Dialect::FreeBsd {
                let mut numbers = rest.split('/').map(|text| self.number(word, text)).collect::<Vec<_>>();
                numbers.resize(3, None);
                // 0 is no limit.
                let positive = |number: Option<u32>| number.filter(|n| *n > 0);
                limits.at_once = positive(numbers[0]);
                limits.per_source_minute = positive(numbers[1]);
                limits.per_source = positive(numbers[2]);
            } else {
                limits.per_minute = self.number(word, rest);
            }
        }
        match text {
            "wait" => true,
            "nowait" => false,
            _ => {
                self.found.note(&notes::INETD_WAIT_WORD, word.span, "expected `wait` or `nowait`");
                self.wrong |= !self.compat;
                self.grammar.dialect == Dialect::FreeBsd && text.starts_with("wait")
            }
        }
    }

    fn user(&mut self, mut word: Word) -> (Word, Option<String>) {
        if self.grammar.dialect == Dialect::FreeBsd
            && let Some((user, class)) = word.text.rsplit_once('/')
        {
            self.found.note(&notes::INETD_CLASS, word.span, format!("class {class}"));
            word.text = user.to_owned();
        }
        let mark = self.grammar.group_marks.iter().find(|mark| word.text.contains(**mark));
        let parts = match (mark, self.grammar.dialect) {
            (None, _) => None,
            (Some(mark), Dialect::FreeBsd) => word.text.rsplit_once(*mark),
            (Some(mark), _) => word.text.split_once(*mark),
        };
        let Some((user, group)) = parts.map(|(user, group)| (user.to_owned(), group.to_owned())) else {
            return (word, None);
        };
        if mark == Some(&'.') && !self.compat && is_user(&word.text) {
            self.found.note(&notes::INETD_USER_DOT, word.span, format!("there is a user {}", word.text));
            return (word, None);
        }
        if user.is_empty() || group.is_empty() {
            self.problem(word.span, "expected a user and a group");
        }
        word.text = user;
        (word, Some(group))
    }

    fn arguments_notes(&mut self, words: &[Word]) {
        if let Some(word) = words.iter().find(|word| word.text.starts_with('#')) {
            self.found.note(&notes::INETD_TRAILING_COMMENT, word.span, "");
        }
    }

    fn arguments(&mut self, program: &Word, mut arguments: Vec<String>) -> Vec<String> {
        if program.text == "internal" {
            return Vec::new();
        }
        if !program.text.starts_with('/') {
            self.problem(program.span, "expected a path, from `/`, or `internal`");
        }
        if arguments.is_empty() {
            self.found.note(&notes::INETD_ARGV0, program.span, "");
            let base = program.text.rsplit('/').next().unwrap_or(&program.text);
            arguments.push(base.to_owned());
        }
        if let Some(most) = self.grammar.most_arguments.filter(|most| arguments.len() > *most) {
            self.found.note(&notes::INETD_ARGUMENTS, program.span, format!("{} arguments", arguments.len()));
            if self.compat {
                self.wrong |= self.grammar.refuses_more;
                arguments.truncate(most);
            }
        }
        arguments
    }
}

/// Whether the user database has this name (passwd(5)).
pub(super) fn is_user(name: &str) -> bool {
    let database = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    database.lines().any(|line| line.split(':').next() == Some(name))
}
