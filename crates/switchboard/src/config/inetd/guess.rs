//! Whose inetd.conf a text is: by what only one dialect has.

use super::{Dialect, GRAMMARS};

/// A dialect, and what speaks for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Guess {
    pub(crate) dialect: Dialect,
    /// In words.
    pub(crate) because: String,
}

/// What is looked for in a line, and whom it speaks for.
struct Sign {
    dialect: Dialect,
    what: &'static str,
    is_there: fn(&[&str], &str) -> bool,
}

fn field(words: &[&str], number: usize) -> String {
    words.get(number).copied().unwrap_or_default().to_owned()
}

static SIGNS: [Sign; 11] = [
    Sign {
        dialect: Dialect::NetBsd,
        what: "`service on …`, the newer form",
        is_there: |words, _| matches!(field(words, 1).as_str(), "on" | "off"),
    },
    Sign { dialect: Dialect::NetBsd, what: "`.include`", is_there: |words, _| field(words, 0) == ".include" },
    Sign {
        dialect: Dialect::NetBsd,
        what: "a socket type with a number or a filter, `stream,N`",
        is_there: |words, _| field(words, 1).starts_with("stream,") || field(words, 1).starts_with("stream:"),
    },
    Sign {
        dialect: Dialect::NetBsd,
        what: "`wait:max`",
        is_there: |words, _| field(words, 3).contains("wait:"),
    },
    Sign {
        dialect: Dialect::FreeBsd,
        what: "`nowait/children/…`",
        is_there: |words, _| field(words, 3).starts_with("wait/") || field(words, 3).starts_with("nowait/"),
    },
    Sign {
        dialect: Dialect::FreeBsd,
        what: "a login class after the user",
        is_there: |words, _| field(words, 4).contains('/'),
    },
    Sign {
        dialect: Dialect::FreeBsd,
        what: "`:user:group:mode:/path`",
        is_there: |words, _| field(words, 0).starts_with(':') && field(words, 0).contains(":/"),
    },
    Sign {
        dialect: Dialect::FreeBsd,
        what: "programs in /usr/libexec",
        is_there: |words, _| field(words, 5).starts_with("/usr/libexec/"),
    },
    Sign {
        dialect: Dialect::Gnu,
        what: "a protocol ending in `6only`",
        is_there: |words, _| field(words, 2).ends_with("6only"),
    },
    Sign {
        dialect: Dialect::OpenBsd,
        what: "a line of update-inetd(8), or a heading of Debian's file",
        is_there: |_, line| line.starts_with("#<off>#") || line.starts_with("#:") && line.contains(':'),
    },
    Sign {
        dialect: Dialect::OpenBsd,
        what: "`tcp46` or `udp46` among tcp6 and udp6 lines",
        is_there: |words, _| matches!(field(words, 2).as_str(), "tcp46" | "udp46"),
    },
];

/// The dialect for which most lines speak; without any sign, OpenBSD's, which is Debian's.
pub(crate) fn guess(text: &str) -> Guess {
    let mut votes: Vec<(Dialect, usize, &'static str)> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> =
            if line.starts_with('#') { Vec::new() } else { line.split_whitespace().collect() };
        for sign in SIGNS.iter().filter(|sign| (sign.is_there)(&words, line)) {
            match votes.iter_mut().find(|(dialect, ..)| *dialect == sign.dialect) {
                Some((_, count, _)) => *count += 1,
                None => votes.push((sign.dialect, 1, sign.what)),
            }
        }
    }
    // Of equals, the one whose sign came first.
    let best = votes.iter().rev().max_by_key(|(_, count, _)| *count);
    match best {
        Some((dialect, _, what)) => {
            let title = GRAMMARS
                .iter()
                .find(|grammar| grammar.dialect == *dialect)
                .map_or("", |grammar| grammar.title);
            Guess { dialect: *dialect, because: format!("read as {title} does: it has {what}") }
        }
        None => Guess {
            dialect: Dialect::OpenBsd,
            because: format!(
                "read as {} does, where `tcp` is IPv4 and IPv6: nothing in it is peculiar to another",
                Dialect::OpenBsd.grammar().title
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_decide() {
        let cases = [
            ("ftp stream tcp nowait root /usr/sbin/in.ftpd in.ftpd -l\n", Dialect::OpenBsd),
            ("#:INTERNAL: Internal services\ndaytime stream tcp nowait root internal\n", Dialect::OpenBsd),
            ("ftp stream tcp nowait/10/5 root /usr/libexec/ftpd ftpd\n", Dialect::FreeBsd),
            (
                "ftp stream,5 tcp nowait root /usr/libexec/ftpd ftpd\nx stream tcp nowait:9 root internal\n",
                Dialect::NetBsd,
            ),
            ("ftp on user = root,\n exec = /bin/ftpd, socktype = stream;\n", Dialect::NetBsd),
            ("ftp stream tcp6only nowait root /usr/sbin/ftpd ftpd\n", Dialect::Gnu),
        ];
        for (text, dialect) in cases {
            let guess = guess(text);
            assert_eq!(guess.dialect, dialect, "{text}: {}", guess.because);
        }
    }
}
