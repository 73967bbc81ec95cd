//! Numbers, some with units: counts, sizes, durations, permission bits, percentages.

use super::super::read::{Node, Reader, Value};
use super::{as_text, integer, quantity_text};
use serde::{Serialize, Serializer};
use std::fmt;
use std::time::Duration;
use switchboard_net::quantity;
use toml::de::DeValue;

as_text!(Bytes Time Octal Percent);

/// A whole number, of either sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Number(pub(crate) i64);

impl Value for Number {
    const VALUES: &'static str = "a number";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Number> {
        integer(node).map(Number).or_else(|| reader.wrong(node, "a whole number"))
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

/// A number that need not be whole.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Real(pub(crate) f64);

impl Value for Real {
    const VALUES: &'static str = "a number";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Real> {
        let number = match node.get_ref() {
            DeValue::String(_) => None,
            _ => quantity_text(node).and_then(|text| text.parse().ok()),
        };
        let number = number.filter(|number: &f64| number.is_finite() && *number >= 0.0);
        number.map(Real).or_else(|| reader.wrong(node, "a number that is not negative"))
    }
}

impl Serialize for Real {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

/// How many: `10`, `10_000`, `"10k"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Count(pub(crate) u32);

impl Value for Count {
    const VALUES: &'static str = "a number";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Count> {
        let count = quantity_text(node).and_then(|text| quantity::count(&text).ok());
        let count = count.and_then(|count| u32::try_from(count).ok()).map(Count);
        count.or_else(|| reader.wrong(node, "a number such as 50, 10_000 or \"10k\", up to 4 · 10⁹"))
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

/// How much: `65536`, `"64KiB"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bytes(pub(crate) u64);

impl Value for Bytes {
    const VALUES: &'static str = "a size: \"64KiB\", \"1.5MB\", or a number of bytes";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Bytes> {
        let bytes = quantity_text(node).and_then(|text| quantity::bytes(&text).ok());
        bytes
            .map(|bytes| Bytes(bytes as u64))
            .or_else(|| reader.wrong(node, "a size such as 65536, \"64KiB\" or \"1.5MB\""))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match units.into_iter().find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

/// How long: `"500ms"`, `"3s"`, `"2h"`, or a number of seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Time(pub(crate) Duration);

impl Value for Time {
    const VALUES: &'static str = "a duration: \"500ms\", \"3s\", \"1.5m\", \"2h\", or a number of seconds";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Time> {
        let time = quantity_text(node).and_then(|text| quantity::duration(&text).ok());
        time.map(Time)
            .or_else(|| reader.wrong(node, "a duration such as \"500ms\", \"3s\", \"1.5m\" or \"2h\""))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0.as_nanos();
        let units: [(&str, u128); 6] = [
            ("d", 86_400_000_000_000),
            ("h", 3_600_000_000_000),
            ("m", 60_000_000_000),
            ("s", 1_000_000_000),
            ("ms", 1_000_000),
            ("us", 1_000),
        ];
        match units.into_iter().find(|(_, unit)| ns > 0 && ns.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", ns / unit),
            None if ns == 0 => f.write_str("0s"),
            None => write!(f, "{ns}ns"),
        }
    }
}

/// Permission bits, octal: `"0660"` or `0o660`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Octal(pub(crate) u32);

impl Value for Octal {
    const VALUES: &'static str = "octal digits: \"0660\" or 0o660";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Octal> {
        let bits = match node.get_ref() {
            DeValue::String(text) if text.bytes().all(|digit| digit.is_ascii_digit()) => {
                u32::from_str_radix(text, 8).ok()
            }
            DeValue::Integer(number) if number.radix() == 8 => u32::from_str_radix(number.as_str(), 8).ok(),
            _ => None,
        };
        bits.filter(|bits| *bits <= 0o777)
            .map(Octal)
            .or_else(|| reader.wrong(node, "octal digits such as \"0660\" or 0o660, up to 0777"))
    }
}

impl fmt::Display for Octal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// A part of a whole: `"50%"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Percent(pub(crate) u32);

impl Value for Percent {
    const VALUES: &'static str = "a percentage: \"50%\"";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Percent> {
        let text = quantity_text(node);
        let number = text.and_then(|text| text.strip_suffix('%').unwrap_or(&text).trim_end().parse().ok());
        number
            .filter(|number| (1..=100_000).contains(number))
            .map(Percent)
            .or_else(|| reader.wrong(node, "a percentage such as \"50%\""))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}
