//! [`Line`]: a value in force and where it came from, for `check --explain`.

use super::read::Value;
use super::source::{At, Span};
use serde::Serialize;

/// A value in force.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Its key, with those of the tables around it: `access.allow`.
    pub(crate) key: String,
    /// The value as it is written in a file; if nothing was written, what holds then, in words.
    pub(crate) value: String,
    /// Where it was written.
    pub(crate) span: Option<Span>,
    /// Whether anything was written.
    pub(crate) set: bool,
}

impl Line {
    /// Adds the line of a key, or the lines of its table.
    pub(super) fn add<T: Value + Serialize>(
        prefix: &str,
        name: &str,
        value: Option<&At<T>>,
        default: &str,
        lines: &mut Vec<Line>,
    ) {
        let key = format!("{prefix}{name}");
        match value {
            Some(at) if !T::KEYS.is_empty() => at.value.parts(&format!("{key}."), lines),
            Some(at) => lines.push(Line { key, value: shown(&at.value), span: at.span, set: true }),
            None => lines.push(Line { key, value: default.to_owned(), span: None, set: false }),
        }
    }
}

/// A value as it is written in a file.
fn shown(value: &impl Serialize) -> String {
    toml::Value::try_from(value).map(|value| value.to_string()).unwrap_or_default()
}
