//! From text to entries of words: comments, continuation and quoting, by dialect; NetBSD's `service on …;` inside.

use super::keys::{self, Keys};
use super::{Dialect, Grammar, Quotes};
use crate::config::notes::{self, Findings};
use crate::config::source::Span;

/// A word and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) span: Span,
}

/// What a file consists of.
#[derive(Debug)]
pub(super) enum Item {
    /// The fields of an entry, at least one.
    Fields(Vec<Word>),
    /// NetBSD's newer form.
    Keys(Keys),
}

impl Item {
    /// Where it stands, from its first word to its last.
    pub(super) fn span(&self) -> Span {
        match self {
            Item::Fields(words) => over(words),
            Item::Keys(keys) => keys.span,
        }
    }
}

/// From the first word to the last.
pub(super) fn over(words: &[Word]) -> Span {
    let (first, last) = (&words[0].span, &words[words.len() - 1].span);
    Span { file: first.file, start: first.start, end: last.end }
}

/// A place in a file's text.
pub(super) struct Cursor<'a> {
    pub(super) file: usize,
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl Cursor<'_> {
    pub(super) fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    pub(super) fn skip(&mut self, what: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&what) {
            self.next();
        }
    }

    pub(super) fn since(&self, start: usize) -> Span {
        Span { file: self.file, start, end: self.at }
    }
}

pub(super) fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

/// Cuts a text into entries.
pub(super) fn items(
    text: &str,
    file: usize,
    grammar: &Grammar,
    compat: bool,
    found: &mut Findings,
) -> Vec<Item> {
    let mut items = Vec::new();
    let mut cursor = Cursor { file, text, at: 0 };
    while cursor.at < text.len() {
        let start = cursor.at;
        if comment(&cursor, grammar) {
            cursor.skip(|c| c != '\n');
            if text[start..].starts_with("#@")
                && matches!(grammar.dialect, Dialect::FreeBsd | Dialect::NetBsd)
            {
                found.note(&notes::INETD_IPSEC, cursor.since(start), &text[start..cursor.at]);
            }
            cursor.next();
            continue;
        }
        let mut words = line(&mut cursor, grammar, found);
        if grammar.dialect == Dialect::NetBsd && words.len() > 1 && is_switch(&words[1].text) {
            // The rest of the line belongs to the newer form, which does not end with the line.
            cursor.at = words[1].span.end;
            items.push(Item::Keys(keys::keys(words[0].clone(), words[1].clone(), &mut cursor, found)));
            continue;
        }
        cursor.next();
        while grammar.continues && cursor.peek().is_some_and(is_blank) {
            continuation(&mut cursor, &mut words, grammar, compat, found);
        }
        if !words.is_empty() {
            items.push(Item::Fields(words));
        }
    }
    items
}

fn is_switch(word: &str) -> bool {
    word == "on" || word == "off"
}

fn comment(cursor: &Cursor<'_>, grammar: &Grammar) -> bool {
    let rest = &cursor.text[cursor.at..];
    let rest = if grammar.indented_comments { rest.trim_start_matches(is_blank) } else { rest };
    rest.starts_with('#')
}

/// An indented line: more words of the entry before it.
fn continuation(
    cursor: &mut Cursor<'_>,
    words: &mut Vec<Word>,
    grammar: &Grammar,
    compat: bool,
    found: &mut Findings,
) {
    let more = line(cursor, grammar, found);
    cursor.next();
    let Some(first) = more.first() else { return };
    let alone = words.is_empty();
    if first.text.starts_with('#') {
        if !alone {
            found.note(&notes::INETD_INDENTED_COMMENT, over(&more), "");
        }
        // After an empty line such a comment was an entry that could not be understood, in no dialect anything else.
        if alone || !compat {
            return;
        }
    } else if !alone && more.len() >= 6 {
        found.note(&notes::INETD_CONTINUATION, over(&more), format!("service {}", words[0].text));
    }
    words.extend(more);
}

/// The words up to the end of the line, which is not taken.
fn line(cursor: &mut Cursor<'_>, grammar: &Grammar, found: &mut Findings) -> Vec<Word> {
    let mut words = Vec::new();
    loop {
        // A carriage return is from another system's editor; none of the old programs knew what to do with it.
        cursor.skip(|c| is_blank(c) || c == '\r');
        match cursor.peek() {
            None | Some('\n') => return words,
            Some(_) => words.push(word(cursor, grammar.quotes, found)),
        }
    }
}

fn word(cursor: &mut Cursor<'_>, quotes: Quotes, found: &mut Findings) -> Word {
    let start = cursor.at;
    let mut text = String::new();
    let mut open = None;
    while let Some(c) = cursor.peek() {
        match (open, c) {
            (_, '\n') => break,
            (None, c) if is_blank(c) || c == '\r' => break,
            (None, '\'' | '"')
                if quotes != Quotes::None && (quotes != Quotes::Whole || cursor.at == start) =>
            {
                open = Some(c);
            }
            (Some(quote), c) if quote == c => {
                open = None;
                if quotes == Quotes::Whole {
                    cursor.next();
                    break;
                }
            }
            (_, '\\') if quotes == Quotes::Escapes && open != Some('\'') => {
                cursor.next();
                match cursor.peek() {
                    Some(next) if next != '\n' => text.push(next),
                    _ => break,
                }
            }
            _ => text.push(c),
        }
        cursor.next();
    }
    let span = cursor.since(start);
    if open.is_some() {
        found.note(&notes::INETD_OPEN_QUOTE, span, "");
    }
    Word { text, span }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, dialect: Dialect) -> Vec<Vec<String>> {
        let mut found = Findings::default();
        let items = items(text, 0, dialect.grammar(), false, &mut found);
        let fields = items.into_iter().map(|item| match item {
            Item::Fields(words) => words.into_iter().map(|word| word.text).collect(),
            Item::Keys(keys) => vec![keys.service.text],
        });
        fields.collect()
    }

    #[test]
    fn each_dialect_quotes_in_its_own_way() {
        let text = r#"a 'b c' d'e f' "g\"h" i\ j"#;
        let cases: [(Dialect, &[&str]); 5] = [
            (Dialect::OpenBsd, &["a", "'b", "c'", "d'e", "f'", "\"g\\\"h\"", "i\\", "j"]),
            (Dialect::FreeBsd, &["a", "b c", "d'e", "f'", "g\\", "h\"", "i\\", "j"]),
            (Dialect::NetBsd, &["a", "b c", "de f", "g\\h i\\ j"]),
            (Dialect::Gnu, &["a", "b c", "de f", "g\"h", "i j"]),
            (Dialect::Xinetd, &["a", "'b", "c'", "d'e", "f'", "\"g\\\"h\"", "i\\", "j"]),
        ];
        for (dialect, expected) in cases {
            assert_eq!(words(text, dialect), [expected], "{dialect:?}");
        }
    }

    #[test]
    fn indented_lines_go_on_where_the_dialect_says_so() {
        let text = "a b\n\tc d\n \n  e\n# x\n  f\n\n  g\n";
        for dialect in [Dialect::OpenBsd, Dialect::FreeBsd, Dialect::NetBsd] {
            let expected: [&[&str]; 3] = [&["a", "b", "c", "d", "e"], &["f"], &["g"]];
            assert_eq!(words(text, dialect), expected, "{dialect:?}");
        }
        let expected: [&[&str]; 5] = [&["a", "b"], &["c", "d"], &["e"], &["f"], &["g"]];
        assert_eq!(words(text, Dialect::Gnu), expected);
    }
}
