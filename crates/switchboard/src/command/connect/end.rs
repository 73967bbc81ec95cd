//! One of the two ends that `connect` joins: how it is written.

use crate::plan::secured;
use std::fmt;
use switchboard_net::{Endpoint, Error, Kind};

/// An end, as written.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// `-`: standard input and output.
    Standard,
    /// `fd:N`: a descriptor that is open already.
    Descriptor(i32),
    /// `exec:PROGRAM ARGUMENTS`: a program, its standard input and output being one socket.
    Program(Vec<String>),
    /// `listen:ENDPOINT` or `listen:tls:ENDPOINT`: whoever connects there.
    Listening(Spot),
    /// `ENDPOINT` or `tls:ENDPOINT`: where to connect.
    Remote(Spot),
}

/// Where to connect or to listen.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    pub(crate) endpoint: Endpoint,
    /// Whether TLS is spoken there.
    pub(crate) tls: bool,
}

impl Spot {
    /// `ENDPOINT` or `tls:ENDPOINT`.
    pub(crate) fn parse(text: &str) -> Result<Spot, Error> {
        let Some(rest) = text.strip_prefix("tls:") else {
            return text.parse().map(|endpoint| Spot { endpoint, tls: false });
        };
        // tls:localhost:443 is short for tls:tcp:localhost:443, and tls:443 for tls:tcp:443.
        let endpoint = match rest.split_once(':') {
            Some((kind, _)) if Kind::find(kind).is_some() => rest.parse()?,
            _ => format!("tcp:{rest}").parse()?,
        };
        let spot = Spot { endpoint, tls: true };
        spot.check()?;
        Ok(spot)
    }

    /// Whether TLS can be spoken there, if it is.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.tls && !self.endpoint.kind.is_stream() {
            true => Err(Error::Config(format!("TLS is for streams, and {} is none", self.endpoint))),
            false => Ok(()),
        }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&secured(&self.endpoint.to_string(), self.tls))
    }
}

impl End {
    /// What a word of the command line means.
    pub(crate) fn parse(text: &str) -> Result<End, Error> {
        if text == "-" {
            return Ok(End::Standard);
        }
        let wrong = |problem: &str| Error::Config(format!("end `{}`: {problem}", text.escape_default()));
        match text.split_once(':') {
            Some(("fd", number)) => match number.parse() {
                Ok(0..=2) => Err(wrong("write `-` for standard input and output")),
                Ok(number @ 3..) => Ok(End::Descriptor(number)),
                _ => Err(wrong("a descriptor is a number, for example fd:3")),
            },
            Some(("exec", line)) => match words(line) {
                Some(words) if !words.is_empty() => Ok(End::Program(words)),
                Some(_) => Err(wrong("name a program, for example exec:'tr a-z A-Z'")),
                None => Err(wrong("a quotation mark is not closed")),
            },
            Some(("listen", spot)) => Spot::parse(spot).map(End::Listening),
            _ => Spot::parse(text).map(End::Remote),
        }
    }

    /// Whether this word can only be an end, and not the port of a host.
    pub(crate) fn is_meant_by(word: &str) -> bool {
        word == "-" || word.contains([':', '/'])
    }

    /// Whether it is a descriptor of this process and may be no socket.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, End::Standard | End::Descriptor(_))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Standard => f.write_str("-"),
            End::Descriptor(number) => write!(f, "fd:{number}"),
            End::Program(words) => write!(f, "exec:{}", words[0]),
            End::Listening(spot) => write!(f, "listen:{spot}"),
            End::Remote(spot) => spot.fmt(f),
        }
    }
}

/// Cuts a command into words: blanks part them, quotation marks of either kind keep them, a backslash takes the next
/// character as it is except between single marks. No shell is involved. None if a mark is not closed.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut mark = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (character, mark) {
            (c, Some(open)) if c == open => mark = None,
            ('\\', None | Some('"')) => word.get_or_insert_default().push(characters.next()?),
            ('"' | '\'', None) => {
                mark = Some(character);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    mark.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_cut_as_a_shell_would() {
        for (line, wanted) in [
            ("cat", Some(vec!["cat"])),
            (" tr  a-z A-Z ", Some(vec!["tr", "a-z", "A-Z"])),
            ("sh -c 'echo \"a  b\"; exit 3'", Some(vec!["sh", "-c", "echo \"a  b\"; exit 3"])),
            (r#"a\ b "c \" d" ''"#, Some(vec!["a b", "c \" d", ""])),
            ("", Some(vec![])),
            ("a 'b", None),
            ("a\\", None),
        ] {
            let words = words(line);
            let words: Option<Vec<&str>> =
                words.as_ref().map(|words| words.iter().map(String::as_str).collect());
            assert_eq!(words, wanted, "{line}");
        }
    }

    #[test]
    fn ends_are_told_from_hosts_and_ports() {
        for (text, wanted) in [
            ("-", "-"),
            ("fd:3", "fd:3"),
            ("exec:cat -u", "exec:cat"),
            ("listen:7007", "listen:tcp:7007"),
            ("listen:tls:127.0.0.1:0", "listen:tls:127.0.0.1:0"),
            ("listen:tls:unix:/tmp/x", "listen:tls:unix:/tmp/x"),
            ("tls:tcp:[::1]:443", "tls:[::1]:443"),
            ("unix:/tmp/x", "unix:/tmp/x"),
            ("tls:localhost:443", "tls:localhost:443"),
            ("tls:443", "tls:443"),
            ("tls:unix:/tmp/x", "tls:unix:/tmp/x"),
        ] {
            assert_eq!(End::parse(text).unwrap().to_string(), wanted);
            assert!(End::is_meant_by(text), "{text}");
        }
        assert!(!End::is_meant_by("7007") && !End::is_meant_by("daytime"));
        for text in [
            "fd:0",
            "fd:x",
            "exec:",
            "exec:'",
            "listen:",
            "listen:x y",
            "listen:tls:udp:1",
            "tls:unix-dgram:/x",
        ] {
            assert!(End::parse(text).is_err(), "{text}");
        }
    }
}
