//! [`Pairs`]: names with values that somebody else knows.

use super::super::read::{Node, Reader, Value};
use super::super::source::At;
use super::quantity_text;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use toml::de::DeValue;

/// Names with values, which somebody else knows: options, variables.
#[derive(Clone, Default, PartialEq, Debug)]
pub(crate) struct Pairs(pub(crate) Vec<(At<String>, At<String>)>);

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Pairs {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Pairs {
        Pairs(pairs.into_iter().map(|(key, value)| (At::from(key.into()), At::from(value.into()))).collect())
    }
}

impl Value for Pairs {
    const VALUES: &'static str = "a table of names and values";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Pairs> {
        let DeValue::Table(entries) = node.get_ref() else {
            return reader.wrong(node, "a table of names and values, as in { NAME = \"VALUE\" }");
        };
        let mut pairs = Vec::new();
        for (key, node) in entries {
            let value = match node.get_ref() {
                DeValue::Boolean(word) => Some(word.to_string()),
                _ => quantity_text(node).filter(|text| !text.contains('\0')),
            };
            match value.or_else(|| reader.wrong(node, "text, a number, `true` or `false`")) {
                Some(value) => pairs.push((
                    At::new(key.get_ref().clone().into_owned(), reader.span(key)),
                    At::new(value, reader.span(node)),
                )),
                None => continue,
            }
        }
        Some(Pairs(pairs))
    }

    /// Name by name.
    fn over(mut self, base: &Pairs) -> Pairs {
        for pair in &base.0 {
            if !self.0.iter().any(|(name, _)| *name == pair.0) {
                self.0.push(pair.clone());
            }
        }
        self
    }
}

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(&name.value, &value.value)?;
        }
        map.end()
    }
}
