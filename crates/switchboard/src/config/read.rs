//! From TOML to a [`Document`]: every value is read by itself, so that one mistake does not hide the next.

use super::complaint::{Complaint, Complaints, near};
use super::document::{Document, ServiceTable};
use super::effective::Line;
use super::source::{At, Span};
use std::borrow::Cow;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value of the file.
pub(crate) type Node<'i> = Spanned<DeValue<'i>>;

/// A key of a table: what users read about it.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it does, line by line.
    pub(crate) about: &'static [&'static str],
    /// What values it takes.
    pub(crate) values: &'static str,
    /// What holds if it is not there, in words.
    pub(crate) default: &'static str,
    /// An example, as in the file.
    pub(crate) example: &'static str,
    /// The keys of its table, if it is one.
    pub(crate) keys: &'static [Key],
    /// The key that may be written in place of the table.
    pub(crate) short: Option<&'static str>,
}

/// What a key can hold.
pub(crate) trait Value: Sized + Clone {
    /// What values there are, in words.
    const VALUES: &'static str;
    /// Its keys, if it is a table.
    const KEYS: &'static [Key] = &[];
    /// The key that may be written in place of the table.
    const SHORT: Option<&'static str> = None;

    /// Reads it; what is wrong goes to the reader.
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self>;

    /// This value, where there is another one under it in `[defaults]`.
    fn over(self, _base: &Self) -> Self {
        self
    }

    /// Its parts, if it is a table: see [`Table::lines`].
    fn parts(&self, _prefix: &str, _lines: &mut Vec<Line>) {}
}

/// A table of known keys.
pub(crate) trait Table: Default + Clone {
    /// What messages call it.
    const TITLE: &'static str;
    /// Its keys.
    const KEYS: &'static [Key];
    /// The key that may be written in place of the table.
    const SHORT: Option<&'static str> = None;

    /// Reads the value of one of its keys.
    fn put(&mut self, key: &str, node: &Node<'_>, reader: &mut Reader<'_>);
    /// What is written before it.
    fn remarks(&self) -> &[String];
    /// Says where it stands.
    fn begins(&mut self, span: Span);
    /// Whether a key has a value.
    fn has(&self, key: &str) -> bool;
    /// Whether a key is there, be it one that could not be read.
    fn said(&self, key: &str) -> bool;
    /// Where the value of a key was written.
    fn span_of(&self, key: &str) -> Option<Span>;
    /// What is in force, line by line, under names that begin with `prefix`.
    fn lines(&self, prefix: &str, lines: &mut Vec<Line>);
    /// This table where it says something, `base` elsewhere.
    fn over(self, base: &Self) -> Self;
}

impl<T: Table> Value for T {
    const VALUES: &'static str = "a table";
    const KEYS: &'static [Key] = <T as Table>::KEYS;
    const SHORT: Option<&'static str> = <T as Table>::SHORT;

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<T> {
        let mut table = T::default();
        table.begins(reader.span(node));
        match (node.get_ref(), <T as Table>::SHORT) {
            (DeValue::Table(entries), _) => reader.table(&mut table, entries, &[]),
            (_, Some(short)) => {
                table.put(short, node, reader);
                return table.has(short).then_some(table);
            }
            _ => return reader.wrong(node, format!("a table with the keys {}", names(<T as Table>::KEYS))),
        }
        Some(table)
    }

    fn over(self, base: &T) -> T {
        Table::over(self, base)
    }

    fn parts(&self, prefix: &str, lines: &mut Vec<Line>) {
        Table::lines(self, prefix, lines);
    }
}

/// What a file says, read from one text.
pub(crate) struct Reader<'a> {
    file: usize,
    /// The key whose value is being read.
    key: String,
    complaints: &'a mut Complaints,
}

/// Reads the text of file number `file`; what cannot be read is left out of the document and complained about.
pub(crate) fn read(text: &str, file: usize, complaints: &mut Complaints) -> Document {
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        let span = Span { file, start: span.start, end: span.end };
        complaints.push(Complaint::new(format!("this is not TOML: {}", error.message())).at(span, ""));
    }
    let mut reader = Reader { file, key: String::new(), complaints };
    let mut document = Document::default();
    let begin = Span { file, start: 0, end: 0 };
    document.global.span = Some(begin);
    reader.table(&mut document.global, root.get_ref(), &["defaults", "service"]);
    for (key, node) in root.get_ref() {
        key.get_ref().as_ref().clone_into(&mut reader.key);
        match key.get_ref().as_ref() {
            "defaults" => document.defaults = ServiceTable::read(node, &mut reader),
            "service" => match node.get_ref() {
                DeValue::Array(entries) => {
                    let services = entries.iter().filter_map(|node| ServiceTable::read(node, &mut reader));
                    document.service = services.collect();
                }
                _ => {
                    let help = "each service begins with a line `[[service]]`, in double brackets";
                    let complaint = Complaint::new("`service` is not a list of tables");
                    reader.complaints.push(complaint.at(reader.span(key), "here").help(help));
                }
            },
            _ => {}
        }
    }
    document
}

impl Reader<'_> {
    /// Where a key or value stands.
    pub(crate) fn span<T>(&self, node: &Spanned<T>) -> Span {
        let span = node.span();
        Span { file: self.file, start: span.start, end: span.end }
    }

    /// A value with its place.
    pub(crate) fn value<T: Value>(&mut self, node: &Node<'_>) -> Option<At<T>> {
        let span = self.span(node);
        T::read(node, self).map(|value| At::new(value, span))
    }

    /// Complains that something else was expected.
    pub(crate) fn wrong<T>(&mut self, node: &Node<'_>, expected: impl Into<String>) -> Option<T> {
        let found = match node.get_ref() {
            DeValue::String(text) => format!("`{}`", text.escape_debug()),
            DeValue::Integer(number) => format!("`{number}`"),
            DeValue::Float(number) => format!("`{number}`"),
            DeValue::Boolean(word) => format!("`{word}`"),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        self.complain(node, format!("`{}` cannot be {found}", self.key.escape_debug()), expected)
    }

    /// Complains, saying what was expected.
    pub(crate) fn complain<T>(
        &mut self,
        node: &Node<'_>,
        problem: impl Into<String>,
        expected: impl Into<String>,
    ) -> Option<T> {
        let complaint = Complaint::new(problem).at(self.span(node), format!("expected {}", expected.into()));
        self.complaints.push(complaint);
        None
    }

    /// Complains about a word that is none of those known.
    pub(crate) fn unknown<T>(&mut self, node: &Node<'_>, word: &str, known: &[&str]) -> Option<T> {
        let problem = format!("`{}` cannot be `{}`", self.key.escape_debug(), word.escape_debug());
        let mut complaint =
            Complaint::new(problem).at(self.span(node), format!("expected one of {}", list(known)));
        if let Some(near) = near(word, known.iter().copied()) {
            complaint = complaint.help(format!("did you mean `{near}`?"));
        }
        self.complaints.push(complaint);
        None
    }

    /// Reads the entries of a table; `besides` are keys that somebody else reads.
    fn table<T: Table>(&mut self, table: &mut T, entries: &DeTable<'_>, besides: &[&str]) {
        // The parser sorts keys; people read in the order of the file.
        let mut entries: Vec<_> = entries.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, node) in entries {
            let name = key.get_ref().as_ref();
            if besides.contains(&name) {
                continue;
            }
            if <T as Table>::KEYS.iter().any(|known| known.name == name) {
                name.clone_into(&mut self.key);
                table.put(name, node, self);
                continue;
            }
            let known = <T as Table>::KEYS.iter().map(|key| key.name).chain(besides.iter().copied());
            self.unknown_key(key, T::TITLE, &known.collect::<Vec<_>>());
        }
    }

    /// Complains about a key that `table` does not have.
    pub(crate) fn unknown_key(&mut self, key: &Spanned<Cow<'_, str>>, table: &str, known: &[&str]) {
        let name = key.get_ref().as_ref();
        let complaint = Complaint::new(format!("`{}` is not a key of {table}", name.escape_debug()))
            .at(self.span(key), "unknown key");
        self.complaints.push(match near(name, known.iter().copied()) {
            Some(near) => complaint.help(format!("did you mean `{near}`?")),
            None if known.len() < 20 => complaint.help(format!("its keys are {}", list(known))),
            None => complaint.help("`switchboard config example` shows every key"),
        });
    }
}

/// The value in force where a table and its base may both have one.
pub(crate) fn over<T: Value>(own: Option<At<T>>, base: Option<&At<T>>) -> Option<At<T>> {
    match (own, base) {
        (Some(own), Some(base)) => Some(At { value: own.value.over(&base.value), span: own.span }),
        (Some(own), None) => Some(own),
        (None, base) => base.cloned(),
    }
}

/// `a`, `b` or `c`.
pub(crate) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => quoted.concat(),
    }
}

fn names(keys: &[Key]) -> String {
    let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
    list(&names)
}

#[cfg(test)]
mod tests {
    use super::super::document::{GlobalTable, LogTable};
    use super::super::source::Sources;
    use super::*;

    fn document(text: &str) -> Result<Document, String> {
        let (mut sources, mut complaints) = (Sources::default(), Complaints::default());
        let file = sources.add("test.toml".as_ref(), text.to_owned());
        let document = read(text, file, &mut complaints);
        if complaints.is_empty() { Ok(document) } else { Err(complaints.show(&sources)) }
    }

    /// Every key's example can be read, and is written as it was read.
    #[test]
    fn examples_go_round() {
        fn table(before: &str, keys: &[Key]) {
            for key in keys {
                let version = if key.name == "version" { "" } else { "version = 1\n" };
                let text = format!("{version}{before}{} = {}\n", key.name, key.example);
                let first = document(&text).unwrap_or_else(|error| panic!("{error}"));
                let written = first.to_toml().unwrap();
                let second = document(&written).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(second, first, "{written}");
                if before.ends_with("]\n") {
                    table(&format!("{before}{}.", key.name), key.keys);
                }
            }
        }
        table("", <GlobalTable as Table>::KEYS);
        table("[log]\n", <LogTable as Table>::KEYS);
        table("[[service]]\n", <ServiceTable as Table>::KEYS);
        table("[defaults]\n", <ServiceTable as Table>::KEYS);
    }
}
