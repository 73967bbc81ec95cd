//! What the keys of a file hold: text, numbers with units, words of a list. Each reads itself and says what it
//! expected; each writes itself as people would.

use super::read::{Node, Reader, Value};
use super::source::At;
use serde::{Serialize, Serializer};
use std::path::PathBuf;
use toml::de::DeValue;

mod choice;
mod command;
mod limit;
mod log;
mod number;
mod pairs;
mod pins;
mod resources;

pub(crate) use choice::{
    Goodbye, Masking, Mode, Profile, ProxyOthers, ProxyOut, ProxyVersions, Shape, Showing, StandardError,
    TlsVersion,
};
pub(crate) use command::Words;
pub(crate) use limit::{Frequency, Otherwise, Per, Speed};
pub(crate) use log::{FACILITIES, Logging};
pub(crate) use number::{Bytes, Count, Number, Octal, Percent, Real, Time};
pub(crate) use pairs::Pairs;
pub(crate) use pins::{Pins, one_for_each, why_not as why_not_pinned};
pub(crate) use resources::{RESOURCES, Resources};

/// These write themselves as text.
macro_rules! as_text {
    ($($name:ident)*) => { $(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )* };
}

pub(super) use as_text;

impl Value for String {
    const VALUES: &'static str = "text";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<String> {
        match node.get_ref() {
            DeValue::String(text) if text.contains('\0') => {
                reader.complain(node, "there is a NUL in this text", "none")
            }
            DeValue::String(text) => Some(text.clone().into_owned()),
            // A port or a user id may go without quotes.
            DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
            _ => reader.wrong(node, "text, in quotes"),
        }
    }
}

impl Value for PathBuf {
    const VALUES: &'static str = "a path";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<PathBuf> {
        match node.get_ref() {
            DeValue::String(text) if !text.is_empty() && !text.contains('\0') => Some(text.as_ref().into()),
            _ => reader.wrong(node, "a path, in quotes"),
        }
    }
}

impl Value for bool {
    const VALUES: &'static str = "true or false";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<bool> {
        match node.get_ref() {
            DeValue::Boolean(word) => Some(*word),
            _ => reader.wrong(node, "`true` or `false`, without quotes"),
        }
    }
}

fn integer(node: &Node<'_>) -> Option<i64> {
    match node.get_ref() {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    }
}

/// Integer, float or text, as the readers of [`quantity`] take it.
fn quantity_text(node: &Node<'_>) -> Option<String> {
    match node.get_ref() {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(_) => integer(node).map(|number| number.to_string()),
        DeValue::Float(number) => number.as_str().parse::<f64>().ok().map(|number| number.to_string()),
        _ => None,
    }
}

/// One or several of something; a single one needs no brackets.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Many<T>(pub(crate) Vec<At<T>>);

impl<T> FromIterator<T> for Many<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Many<T> {
        Many(items.into_iter().map(At::from).collect())
    }
}

impl<T: Value> Value for Many<T> {
    const VALUES: &'static str = match T::VALUES.as_bytes() {
        b"a path" => "a path, or a list of paths",
        b"text" => "text, or a list of texts",
        _ => "a number, or a list of numbers",
    };

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Many<T>> {
        match node.get_ref() {
            DeValue::Array(items) => Some(Many(items.iter().filter_map(|item| reader.value(item)).collect())),
            _ => reader.value(node).map(|item| Many(vec![item])),
        }
    }
}

impl<T: Serialize> Serialize for Many<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}
