//! Options as getopt(3) reads them: letters behind one dash, values beside or behind them. The old programs' command
//! lines are like that, and clap's are not.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Reads options until the first argument that is none.
#[derive(Debug)]
pub(crate) struct Getopt {
    /// Letters, each with `:` behind it if it takes a value.
    known: &'static str,
    arguments: std::vec::IntoIter<OsString>,
    /// Letters left of the argument at hand.
    letters: Vec<u8>,
    /// The first argument that is no option.
    first: Option<OsString>,
}

/// One option.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Flag {
    /// A letter without a value.
    Plain(char),
    /// A letter with its value, and whether that was in the same argument.
    Value(char, OsString, Attached),
    /// `--word`, with what is behind `=`.
    Long(String, Option<OsString>),
    /// A letter that is not known.
    Unknown(char),
    /// A letter whose value is missing.
    Missing(char),
}

/// Where a value was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Attached {
    Yes,
    No,
}

impl Getopt {
    /// Of these arguments, without the program's name.
    pub(crate) fn new(known: &'static str, arguments: Vec<OsString>) -> Getopt {
        Getopt { known, arguments: arguments.into_iter(), letters: Vec::new(), first: None }
    }

    /// The next option, if there is one.
    pub(crate) fn next(&mut self) -> Option<Flag> {
        if self.letters.is_empty() {
            if self.first.is_some() {
                return None;
            }
            let argument = self.arguments.next()?;
            let bytes = argument.as_bytes();
            match bytes {
                b"--" => {
                    self.first = self.arguments.next();
                    return None;
                }
                [b'-', b'-', ..] => {
                    let text = argument.to_string_lossy().into_owned();
                    let (name, value) = match text[2..].split_once('=') {
                        Some((name, value)) => (name.to_owned(), Some(value.into())),
                        None => (text[2..].to_owned(), None),
                    };
                    return Some(Flag::Long(name, value));
                }
                [b'-', letters @ ..] if !letters.is_empty() => self.letters = letters.to_vec(),
                _ => {
                    self.first = Some(argument);
                    return None;
                }
            }
        }
        let letter = char::from(self.letters.remove(0));
        let place = self.known.find(letter).filter(|_| letter != ':');
        let Some(place) = place else { return Some(Flag::Unknown(letter)) };
        if self.known.as_bytes().get(place + 1) != Some(&b':') {
            return Some(Flag::Plain(letter));
        }
        if !self.letters.is_empty() {
            let value = OsString::from_vec(std::mem::take(&mut self.letters));
            return Some(Flag::Value(letter, value, Attached::Yes));
        }
        Some(match self.arguments.next() {
            Some(value) => Flag::Value(letter, value, Attached::No),
            None => Flag::Missing(letter),
        })
    }

    /// Puts a value back that turned out to be none.
    pub(crate) fn put_back(&mut self, value: OsString) {
        let mut rest = vec![value];
        rest.extend(std::mem::take(&mut self.arguments));
        self.arguments = rest.into_iter();
    }

    /// What is left when the options are read.
    pub(crate) fn rest(self) -> Vec<OsString> {
        self.first.into_iter().chain(self.arguments).collect()
    }
}

/// A value as text, with what cannot be shown replaced.
pub(crate) fn shown(value: &OsStr) -> String {
    value.to_string_lossy().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_values_and_the_rest_are_told_apart() {
        let words = ["-dv", "-cN", "-p", "file", "--long=x", "-z", "-", "-d"];
        let mut options = Getopt::new("dvc:p:", words.map(OsString::from).to_vec());
        let mut found = Vec::new();
        while let Some(flag) = options.next() {
            found.push(flag);
        }
        let expected = [
            Flag::Plain('d'),
            Flag::Plain('v'),
            Flag::Value('c', "N".into(), Attached::Yes),
            Flag::Value('p', "file".into(), Attached::No),
            Flag::Long("long".into(), Some("x".into())),
            Flag::Unknown('z'),
        ];
        assert_eq!(found, expected);
        assert_eq!(options.rest(), ["-", "-d"]);
        let mut options = Getopt::new("c:", vec!["-c".into()]);
        assert_eq!(options.next(), Some(Flag::Missing('c')));
        let mut options = Getopt::new("c:", vec!["--".into(), "-c".into(), "x".into()]);
        assert_eq!((options.next(), options.rest()), (None, vec!["-c".into(), "x".into()]));
    }
}
