//! [`Sheet`]: facts with names, as text for people and as JSON for programs, from one source.
//!
//! A key says its unit at the end (`length_bytes`), and people read it with blanks: "length bytes".

use super::Table;
use std::fmt::{self, Write};
use switchboard_net::{Escaped, Json};

/// What is known of one thing.
#[derive(Debug)]
pub(crate) struct Sheet {
    title: String,
    facts: Row,
}

/// Facts in their order.
pub(crate) type Row = Vec<(&'static str, Fact)>;

/// A fact.
#[derive(Debug)]
pub(crate) enum Fact {
    /// Words.
    Text(String),
    /// A number; its unit is in the key.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// It is not known, or there is none: `null`, and not shown to people.
    Nothing,
    /// Several of a kind; shown as a table.
    Rows(Vec<Row>),
}

impl From<String> for Fact {
    fn from(text: String) -> Fact {
        Fact::Text(text)
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Fact {
        Fact::Text(text.to_owned())
    }
}

impl From<u64> for Fact {
    fn from(number: u64) -> Fact {
        Fact::Number(number)
    }
}

impl From<bool> for Fact {
    fn from(flag: bool) -> Fact {
        Fact::Flag(flag)
    }
}

impl From<Vec<Row>> for Fact {
    fn from(rows: Vec<Row>) -> Fact {
        Fact::Rows(rows)
    }
}

impl<T: Into<Fact>> From<Option<T>> for Fact {
    fn from(fact: Option<T>) -> Fact {
        fact.map_or(Fact::Nothing, Into::into)
    }
}

impl Sheet {
    /// A sheet under a title; `what` is the title's word for programs.
    pub(crate) fn new(what: &'static str, title: impl Into<String>) -> Sheet {
        Sheet { title: title.into(), facts: vec![("what", what.into())] }
    }

    /// Adds a fact.
    pub(crate) fn add(&mut self, key: &'static str, fact: impl Into<Fact>) {
        self.facts.push((key, fact.into()));
    }

    /// The facts as a JSON object.
    pub(crate) fn json(&self) -> String {
        object(&self.facts)
    }

    /// The facts' members of a JSON object, without the braces.
    pub(crate) fn members(&self) -> String {
        let object = self.json();
        object[1..object.len() - 1].to_owned()
    }
}

fn object(row: &Row) -> String {
    let members: Vec<String> =
        row.iter().map(|(key, fact)| format!("{}:{}", Json(key), value(fact))).collect();
    format!("{{{}}}", members.join(","))
}

fn value(fact: &Fact) -> String {
    match fact {
        Fact::Text(text) => Json(text).to_string(),
        Fact::Number(number) => number.to_string(),
        Fact::Flag(flag) => flag.to_string(),
        Fact::Nothing => "null".to_owned(),
        Fact::Rows(rows) => format!("[{}]", rows.iter().map(object).collect::<Vec<_>>().join(",")),
    }
}

fn words(fact: &Fact) -> String {
    match fact {
        Fact::Text(text) => harmless(text),
        Fact::Number(number) => number.to_string(),
        Fact::Flag(true) => "yes".to_owned(),
        Fact::Flag(false) => "no".to_owned(),
        Fact::Nothing => "-".to_owned(),
        Fact::Rows(rows) => format!("{} rows", rows.len()),
    }
}

/// Text that was typed or found somewhere must not move the cursor or reorder the line.
fn harmless(text: &str) -> String {
    let moves = |c: char| c.is_control() || matches!(c, '\u{61c}' | '\u{200e}'..='\u{206f}');
    if text.contains(moves) { Escaped(text.as_bytes()).to_string() } else { text.to_owned() }
}

fn label(key: &str) -> String {
    key.replace('_', " ")
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bold = anstyle::Style::new().bold();
        write!(f, "{bold}{}{bold:#}", harmless(&self.title))?;
        // The first fact is the title's word for programs.
        let shown = self.facts.iter().skip(1).filter(|(_, fact)| !matches!(fact, Fact::Nothing));
        let is_line = |fact: &Fact| !matches!(fact, Fact::Rows(_));
        let lines = shown.clone().filter(|(_, fact)| is_line(fact));
        let width = lines.map(|(key, _)| key.len()).max().unwrap_or(0);
        for (key, fact) in shown {
            match fact {
                // A struct's name stays as it is in C.
                Fact::Rows(rows) if !rows.is_empty() => {
                    let name = if key.starts_with("sockaddr") { (*key).to_owned() } else { label(key) };
                    write!(f, "\n  {name}:{}", indented(rows))?;
                }
                Fact::Rows(_) => {}
                fact => write!(f, "\n  {:width$}  {}", label(key), words(fact))?,
            }
        }
        Ok(())
    }
}

fn indented(rows: &[Row]) -> String {
    let heading: Vec<String> = rows.iter().take(1).flatten().map(|(key, _)| label(key)).collect();
    let heading: Vec<&str> = heading.iter().map(String::as_str).collect();
    let mut table = Table::new(&heading);
    for row in rows {
        table.push(row.iter().map(|(_, fact)| words(fact)).collect());
    }
    let mut text = String::new();
    for line in table.to_string().lines() {
        let _ = write!(text, "\n    {line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sheet_has_two_forms() {
        let mut sheet = Sheet::new("thing", "a \"thing\"");
        sheet.add("length_bytes", 7);
        sheet.add("known", true);
        sheet.add("other_name", None::<String>);
        sheet.add("sockaddr_in", vec![vec![("name", Fact::from("a\nb")), ("port", Fact::from(80))]]);
        assert_eq!(
            sheet.json(),
            "{\"what\":\"thing\",\"length_bytes\":7,\"known\":true,\"other_name\":null,\
             \"sockaddr_in\":[{\"name\":\"a\\u000ab\",\"port\":80}]}"
        );
        let text = anstream::adapter::strip_str(&sheet.to_string()).to_string();
        assert!(
            text.starts_with("a \"thing\"\n  length bytes  7\n  known         yes\n  sockaddr_in:\n"),
            "{text}"
        );
    }
}
