//! [`Words`]: a command line, as words: written like in a shell, but nothing is expanded and no shell is started.

use super::super::read::{Node, Reader, Value};
use serde::{Serialize, Serializer};
use toml::de::DeValue;

/// A program and its arguments; at least one word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Words(pub(crate) Vec<String>);

impl Words {
    /// Splits a line at blanks; quotes and backslashes do as sh(1) has it.
    ///
    /// # Errors
    /// What is not closed or ends early, and characters that only a shell would understand.
    pub(crate) fn split(line: &str) -> Result<Vec<String>, String> {
        let mut words = Vec::new();
        let mut word: Option<String> = None;
        let mut rest = line.chars();
        while let Some(c) = rest.next() {
            match c {
                ' ' | '\t' | '\n' => words.extend(word.take()),
                '\'' => {
                    let word = word.get_or_insert_default();
                    loop {
                        match rest.next().ok_or("a single quote is not closed")? {
                            '\'' => break,
                            c => word.push(c),
                        }
                    }
                }
                '"' => {
                    let word = word.get_or_insert_default();
                    loop {
                        match rest.next().ok_or("a double quote is not closed")? {
                            '"' => break,
                            '\\' => match rest.next().ok_or("a backslash stands at the end")? {
                                c @ ('"' | '\\' | '$' | '`') => word.push(c),
                                c => word.extend(['\\', c]),
                            },
                            c => word.push(c),
                        }
                    }
                }
                '\\' => {
                    word.get_or_insert_default().push(rest.next().ok_or("a backslash stands at the end")?)
                }
                '|' | '&' | ';' | '<' | '>' | '`' | '$' => {
                    return Err(format!(
                        "`{c}` is for a shell, and none is started: quote it, or write [\"sh\", \"-c\", \"…\"]"
                    ));
                }
                c => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word);
        match words.first() {
            Some(first) if !first.is_empty() => Ok(words),
            _ => Err("there is no program".into()),
        }
    }
}

impl Value for Words {
    const VALUES: &'static str = "words of a command line, or a list of words";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Words> {
        match node.get_ref() {
            DeValue::String(line) if line.contains('\0') => {
                reader.complain(node, "there is a NUL in this text", "none")
            }
            DeValue::String(line) => match Words::split(line) {
                Ok(words) => Some(Words(words)),
                Err(problem) => reader.complain(node, problem, "a program and its arguments"),
            },
            DeValue::Array(items) => {
                let words: Vec<String> = items.iter().filter_map(|item| String::read(item, reader)).collect();
                match words.first() {
                    Some(first) if !first.is_empty() => Some(Words(words)),
                    _ => reader.complain(node, "there is no program", "a program and its arguments"),
                }
            }
            _ => reader.wrong(node, "a program and its arguments: \"PROGRAM ARG\" or [\"PROGRAM\", \"ARG\"]"),
        }
    }
}

impl Serialize for Words {
    /// As a line, if no word needs quotes.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let line = self.0.join(" ");
        match Words::split(&line) {
            Ok(words) if words == self.0 => serializer.serialize_str(&line),
            _ => self.0.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_shell() {
        for (line, words) in [
            ("git daemon --inetd", &["git", "daemon", "--inetd"][..]),
            ("  a\t'b c' \"d \\\" e\" f\\ g '' ", &["a", "b c", "d \" e", "f g", ""]),
            ("x'y'\"z\"", &["xyz"]),
            ("a '$HOME' \\;", &["a", "$HOME", ";"]),
        ] {
            assert_eq!(Words::split(line).unwrap(), words, "{line}");
        }
    }

    #[test]
    fn what_only_a_shell_understands_is_refused() {
        for (line, part) in [
            ("a | b", "shell"),
            ("a 'b", "not closed"),
            ("a \\", "at the end"),
            ("'' a", "no program"),
            ("", "no program"),
        ] {
            assert!(Words::split(line).unwrap_err().contains(part), "{line}");
        }
    }
}
