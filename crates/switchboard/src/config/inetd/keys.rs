//! NetBSD's newer form: `service on key = value …, key = value …;`, over as many lines as it likes.

use super::lines::{Cursor, Word};
use crate::config::notes::{self, Findings};
use crate::config::source::Span;

/// One definition.
#[derive(Debug)]
pub(super) struct Keys {
    /// The service with its address.
    pub(super) service: Word,
    /// `on`, not `off`.
    pub(super) on: bool,
    /// Keys with their values.
    pub(super) pairs: Vec<(Word, Vec<Word>)>,
    pub(super) span: Span,
    /// Whether it could be read to its end.
    pub(super) whole: bool,
}

/// The keys that NetBSD's inetd.conf(5) has.
pub(super) const NAMES: [&str; 14] = [
    "bind",
    "socktype",
    "accept_max",
    "acceptfilter",
    "protocol",
    "sndbuf",
    "recvbuf",
    "wait",
    "service_max",
    "ip_max",
    "user",
    "group",
    "exec",
    "args",
];

/// Its last key is for IPsec policies, which Linux keeps elsewhere.
pub(super) const IPSEC: &str = "ipsec";

enum Token {
    Word(Word),
    Mark(char, Span),
    End(Span),
}

/// Reads from after the switch to the semicolon, or to where it cannot be understood.
pub(super) fn keys(service: Word, switch: Word, cursor: &mut Cursor<'_>, found: &mut Findings) -> Keys {
    let start = service.span.start;
    let mut keys =
        Keys { on: switch.text == "on", service, pairs: Vec::new(), span: switch.span, whole: true };
    let problem = loop {
        let key = match token(cursor, found) {
            Token::Word(word) => word,
            Token::Mark(';', _) => break None,
            Token::Mark(mark, span) => break Some((span, format!("expected a key, found `{mark}`"))),
            Token::End(span) => break Some((span, "expected `;` at the end of the definition".into())),
        };
        match token(cursor, found) {
            Token::Mark('=', _) => {}
            Token::Word(Word { span, .. }) | Token::Mark(_, span) | Token::End(span) => {
                break Some((span, format!("expected `=` after `{}`", key.text)));
            }
        }
        let mut values = Vec::new();
        let end = loop {
            match token(cursor, found) {
                Token::Word(word) => values.push(word),
                Token::Mark('=', span) => {
                    break Err((span, "expected a value, `,` or `;`, found `=`".into()));
                }
                Token::Mark(mark, _) => break Ok(mark),
                Token::End(span) => break Err((span, "expected `;` at the end of the definition".into())),
            }
        };
        keys.pairs.push((key, values));
        match end {
            Ok(',') => {}
            Ok(_) => break None,
            Err(problem) => break Some(problem),
        }
    };
    if let Some((span, text)) = problem {
        found.note(&notes::INETD_ENTRY, span, text);
        // As its author does, go on after the next semicolon.
        cursor.skip(|c| c != ';');
        cursor.next();
        keys.whole = false;
    }
    keys.span = cursor.since(start);
    keys
}

fn token(cursor: &mut Cursor<'_>, found: &mut Findings) -> Token {
    loop {
        cursor.skip(char::is_whitespace);
        if cursor.peek() != Some('#') {
            break;
        }
        cursor.skip(|c| c != '\n');
    }
    let start = cursor.at;
    match cursor.peek() {
        None => Token::End(cursor.since(start)),
        Some(mark @ ('=' | ',' | ';')) => {
            cursor.next();
            Token::Mark(mark, cursor.since(start))
        }
        Some(_) => Token::Word(word(cursor, found)),
    }
}

fn word(cursor: &mut Cursor<'_>, found: &mut Findings) -> Word {
    let start = cursor.at;
    let mut text = String::new();
    let mut open = None;
    while let Some(c) = cursor.peek() {
        match (open, c) {
            (None, c) if c.is_whitespace() || "=,;#".contains(c) => break,
            (None, '\'' | '"') => open = Some(c),
            (Some(quote), c) if quote == c => open = None,
            (Some(_), '\\') => {
                cursor.next();
                escape(cursor, &mut text, found);
                continue;
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

/// After a backslash in quotes: `\\ \n \t \r \' \" \xHH`.
fn escape(cursor: &mut Cursor<'_>, text: &mut String, found: &mut Findings) {
    let start = cursor.at.saturating_sub(1);
    let code = match cursor.next() {
        Some('n') => Some('\n'),
        Some('t') => Some('\t'),
        Some('r') => Some('\r'),
        Some(c @ ('\\' | '\'' | '"')) => Some(c),
        Some('x') => {
            let digits: String = cursor.text[cursor.at..].chars().take(2).collect();
            let byte = u8::from_str_radix(&digits, 16).ok().filter(|byte| *byte != 0 && byte.is_ascii());
            byte.filter(|_| digits.len() == 2).map(|byte| {
                cursor.at += 2;
                char::from(byte)
            })
        }
        _ => None,
    };
    match code {
        Some(c) => text.push(c),
        None => found.note(
            &notes::INETD_ENTRY,
            cursor.since(start),
            r#"expected one of \\ \n \t \r \' \" \xHH (HH from 01 to 7f)"#,
        ),
    }
}
