//! [`Program`]: the user's program as the lab starts it.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A program under test.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Program {
    /// Words of the command line; `{host}` and `{port}` in them are filled in.
    pub words: Vec<String>,
    /// More words, which the scenario has for the lab's own programs only.
    pub is_own: bool,
    /// Variables of its environment, besides the lab's.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub cwd: Option<PathBuf>,
    /// What a server prints when it is ready; otherwise a listening port is.
    pub ready: Option<String>,
    /// Lines for its standard input; for a server, what its client says.
    pub lines: Vec<String>,
    /// What must be in its output, or in its answers.
    pub expect: Option<String>,
    /// Options set on its sockets from outside: `user-timeout=5s`.
    pub with: Vec<String>,
    /// It runs as root of its host; otherwise as an ordinary user.
    pub root: bool,
    /// It speaks UDP.
    pub udp: bool,
}

impl Program {
    /// The command line for this server and port.
    pub fn command(&self, host: &str, port: u16, own: &[String]) -> Vec<String> {
        let port = port.to_string();
        let fill = |word: &String| word.replace("{host}", host).replace("{port}", &port);
        let more = own.iter().filter(|_| self.is_own);
        self.words.iter().chain(more).map(fill).collect()
    }
}

/// Splits a command line into words as a shell would, with quotes and backslashes and nothing else.
///
/// # Errors
/// A quote that is not closed; no word at all.
pub fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (Some('\''), c) => word.get_or_insert_default().push(c),
            (_, '\\') => word.get_or_insert_default().extend(chars.next()),
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    match (quote, words.is_empty()) {
        (Some(quote), _) => Err(format!("`{text}`: a {quote} is not closed")),
        (None, true) => Err("an empty command line".to_owned()),
        (None, false) => Ok(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_shell() {
        let words = split(r#"prog -x 'a b' "c \"d\"" e\ f '' {port}"#).expect("fine");
        assert_eq!(words, ["prog", "-x", "a b", "c \"d\"", "e f", "", "{port}"]);
        assert!(split("prog 'a").is_err());
        assert!(split("  ").is_err());
    }

    #[test]
    fn host_and_port_are_filled_in() {
        let program = Program { words: split("c {host}:{port}").expect("fine"), ..Program::default() };
        assert_eq!(program.command("10.0.2.1", 7, &["-w".to_owned()]), ["c", "10.0.2.1:7"]);
    }
}
