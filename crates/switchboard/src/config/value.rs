//! What the keys of a file hold: text, numbers with units, words of a list. Each reads itself and says what it
//! expected; each writes itself as people would.

use super::read::{Node, Reader, Value};
use super::source::At;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use switchboard_net::admission::{Policy, rate};
use switchboard_net::{Rate, quantity};
use toml::de::DeValue;

mod words;

pub(crate) use words::Words;

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

/// How often: `"50/s"`, `"256/m:20"`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Frequency {
    /// So many …
    pub(crate) count: u32,
    /// … in this time.
    pub(crate) per: Per,
    /// At most so many at once; none: `count`.
    pub(crate) burst: Option<u32>,
}

/// A unit of time for [`Frequency`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Per {
    Second,
    Minute,
    Hour,
    Day,
}

impl Frequency {
    /// As on the command line: see [`rate`].
    fn parse(text: &str) -> Option<Frequency> {
        rate(text).ok()?;
        let (whole, burst) = text.split_once(':').map_or((text, None), |(whole, burst)| (whole, Some(burst)));
        let (count, unit) = whole.split_once('/')?;
        let per = match unit {
            "s" => Per::Second,
            "m" | "min" => Per::Minute,
            "h" => Per::Hour,
            _ => Per::Day,
        };
        let number = |text| quantity::count(text).ok().and_then(|n| u32::try_from(n).ok());
        let burst = match burst {
            Some(text) => Some(number(text)?),
            None => None,
        };
        Some(Frequency { count: number(count)?, per, burst })
    }

    /// The token bucket.
    pub(crate) fn bucket(self) -> Rate {
        let seconds = match self.per {
            Per::Second => 1.0,
            Per::Minute => 60.0,
            Per::Hour => 3_600.0,
            Per::Day => 86_400.0,
        };
        Rate {
            per_second: f64::from(self.count) / seconds,
            burst: self.burst.unwrap_or(self.count).max(1).into(),
        }
    }
}

impl Value for Frequency {
    const VALUES: &'static str = "a rate: \"50/s\", \"256/m:20\"";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Frequency> {
        let rate = node.get_ref().as_str().and_then(Frequency::parse);
        rate.or_else(|| reader.wrong(node, "a rate such as \"50/s\", \"256/m\" or \"10/s:20\""))
    }
}

impl fmt::Display for Frequency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per {
            Per::Second => "s",
            Per::Minute => "m",
            Per::Hour => "h",
            Per::Day => "d",
        };
        write!(f, "{}/{unit}", self.count)?;
        self.burst.map_or(Ok(()), |burst| write!(f, ":{burst}"))
    }
}

/// A rate, or `off`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Speed(pub(crate) Option<Frequency>);

impl Value for Speed {
    const VALUES: &'static str = "a rate: \"100/s:2000\", or \"off\"";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Speed> {
        match node.get_ref().as_str() {
            Some("off") => Some(Speed(None)),
            text => text
                .and_then(Frequency::parse)
                .map(|rate| Speed(Some(rate)))
                .or_else(|| reader.wrong(node, "a rate such as \"100/s:2000\", or \"off\"")),
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(rate) => rate.fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// What happens to a client who comes when a limit is reached: a [`Policy`], as on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Otherwise {
    /// He waits in the kernel's queue.
    Queue,
    /// He is reset.
    Reset,
    /// He is closed, after the message if there is one.
    Close,
    /// He waits inside for at most so long, then is refused.
    Delay(Duration),
}

impl Otherwise {
    /// The same, as the doors have it.
    pub(crate) fn policy(self) -> Policy {
        match self {
            Otherwise::Queue => Policy::Queue,
            Otherwise::Reset => Policy::Reset,
            Otherwise::Close => Policy::Close,
            Otherwise::Delay(time) => Policy::Delay(time),
        }
    }
}

impl Value for Otherwise {
    const VALUES: &'static str = "\"queue\", \"reset\", \"close\" or \"delay:DURATION\"";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Otherwise> {
        let Some(text) = node.get_ref().as_str() else {
            return reader.wrong(node, "`queue`, `reset`, `close` or `delay:DURATION`, in quotes");
        };
        match text.parse() {
            Ok(Policy::Queue) => Some(Otherwise::Queue),
            Ok(Policy::Reset) => Some(Otherwise::Reset),
            Ok(Policy::Close) => Some(Otherwise::Close),
            Ok(Policy::Delay(time)) => Some(Otherwise::Delay(time)),
            Err(_) if text.starts_with("delay") => {
                reader.complain(node, "`delay` for how long?", "a duration, as in \"delay:5s\"")
            }
            Err(_) => reader.unknown(node, text, &["queue", "reset", "close", "delay:DURATION"]),
        }
    }
}

impl fmt::Display for Otherwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Otherwise::Queue => f.write_str("queue"),
            Otherwise::Reset => f.write_str("reset"),
            Otherwise::Close => f.write_str("close"),
            Otherwise::Delay(time) => write!(f, "delay:{}", Time(*time)),
        }
    }
}

/// Where the log goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Logging {
    Stderr,
    Journald,
    /// With a facility.
    Syslog(String),
    File(PathBuf),
}

/// Facilities of syslog(3), by their codes (RFC 5424 §6.2.1).
pub(crate) const FACILITIES: [(&str, u8); 20] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

impl Value for Logging {
    const VALUES: &'static str = "\"stderr\", \"journald\", \"syslog\", \"syslog:FACILITY\" or a path";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Logging> {
        let Some(text) = node.get_ref().as_str() else {
            return reader.wrong(node, "`stderr`, `journald`, `syslog:FACILITY` or a path, in quotes");
        };
        match text.split_once(':').unwrap_or((text, "")) {
            ("stderr", "") => Some(Logging::Stderr),
            ("journald", "") => Some(Logging::Journald),
            ("syslog", "") => Some(Logging::Syslog("daemon".into())),
            ("syslog", facility) if FACILITIES.iter().any(|(name, _)| *name == facility) => {
                Some(Logging::Syslog(facility.into()))
            }
            ("syslog", facility) => reader.unknown(node, facility, &FACILITIES.map(|(name, _)| name)),
            _ if text.contains('/') && !text.contains('\0') => Some(Logging::File(text.into())),
            _ => reader.unknown(node, text, &["stderr", "journald", "syslog", "syslog:FACILITY", "/PATH"]),
        }
    }
}

impl fmt::Display for Logging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Logging::Stderr => f.write_str("stderr"),
            Logging::Journald => f.write_str("journald"),
            Logging::Syslog(facility) => write!(f, "syslog:{facility}"),
            Logging::File(path) => write!(f, "{}", path.display()),
        }
    }
}

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

as_text!(Bytes Time Octal Percent Frequency Speed Otherwise Logging);

/// One of several words.
macro_rules! one_of {
    ($(#[doc = $about:literal])* $name:ident: $values:literal { $( $(#[doc = $doc:literal])* $variant:ident = $word:literal, )* }) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum $name { $( $(#[doc = $doc])* $variant, )* }

        impl Value for $name {
            const VALUES: &'static str = $values;

            fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<$name> {
                match node.get_ref().as_str() {
                    $( Some($word) => Some($name::$variant), )*
                    Some(word) => reader.unknown(node, word, &[$( $word ),*]),
                    None => reader.wrong(node, format!("one of {}, in quotes", super::read::list(&[$( $word ),*]))),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(match self { $( $name::$variant => $word, )* })
            }
        }
    };
}

one_of! {
    /// Which descriptor a program gets, and when it is started.
    Mode: "\"nowait\", \"wait\" or \"per-datagram\"" {
        /// A process for each connection.
        Nowait = "nowait",
        /// One process gets the listener.
        Wait = "wait",
        /// A process for each datagram.
        PerDatagram = "per-datagram",
    }
}

one_of! {
    /// Where standard error goes.
    StandardError: "\"log\", \"client\" or \"null\"" {
        Log = "log",
        Client = "client",
        Null = "null",
    }
}

one_of! {
    /// What becomes of processes whose client has gone.
    Goodbye: "\"leave\" or \"terminate\"" {
        Leave = "leave",
        Terminate = "terminate",
    }
}

one_of! {
    /// A seccomp profile.
    Profile: "\"none\", \"service\" or \"strict\"" {
        None = "none",
        Service = "service",
        Strict = "strict",
    }
}

one_of! {
    /// How log records are written.
    Shape: "\"human\", \"logfmt\", \"json\" or \"none\"" {
        Human = "human",
        Logfmt = "logfmt",
        Json = "json",
        None = "none",
    }
}

one_of! {
    /// What of addresses is hidden.
    Masking: "\"nothing\", \"host\" or \"all\"" {
        Nothing = "nothing",
        Host = "host",
        All = "all",
    }
}

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
                DeValue::Boolean(true) => Some("on".to_owned()),
                DeValue::Boolean(false) => Some("off".to_owned()),
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

/// Resource limits: name of setrlimit(2), number there, and whether it counts bytes.
pub(crate) const RESOURCES: [(&str, u32, bool); 16] = [
    ("as", libc::RLIMIT_AS, true),
    ("core", libc::RLIMIT_CORE, true),
    ("cpu", libc::RLIMIT_CPU, false),
    ("data", libc::RLIMIT_DATA, true),
    ("fsize", libc::RLIMIT_FSIZE, true),
    ("locks", libc::RLIMIT_LOCKS, false),
    ("memlock", libc::RLIMIT_MEMLOCK, true),
    ("msgqueue", libc::RLIMIT_MSGQUEUE, true),
    ("nice", libc::RLIMIT_NICE, false),
    ("nofile", libc::RLIMIT_NOFILE, false),
    ("nproc", libc::RLIMIT_NPROC, false),
    ("rss", libc::RLIMIT_RSS, true),
    ("rtprio", libc::RLIMIT_RTPRIO, false),
    ("rttime", libc::RLIMIT_RTTIME, false),
    ("sigpending", libc::RLIMIT_SIGPENDING, false),
    ("stack", libc::RLIMIT_STACK, true),
];

/// Resource limits: row of [`RESOURCES`], soft, hard; `u64::MAX` is no limit.
#[derive(Clone, Default, PartialEq, Debug)]
pub(crate) struct Resources(pub(crate) Vec<(At<&'static str>, u64, u64)>);

impl Value for Resources {
    const VALUES: &'static str = "a table of names and limits";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Resources> {
        let DeValue::Table(entries) = node.get_ref() else {
            return reader.wrong(node, "a table of names and limits, as in { nofile = 256 }");
        };
        let mut limits = Vec::new();
        for (key, node) in entries {
            let name = key.get_ref().as_ref();
            let Some((known, _, bytes)) = RESOURCES.iter().find(|(known, ..)| *known == name) else {
                reader.unknown_key(key, "rlimits", &RESOURCES.map(|(name, ..)| name));
                continue;
            };
            let both = match node.get_ref() {
                DeValue::Array(pair) if pair.len() == 2 => {
                    let soft = resource(&pair[0], *bytes, reader);
                    soft.zip(resource(&pair[1], *bytes, reader))
                }
                _ => resource(node, *bytes, reader).map(|limit| (limit, limit)),
            };
            match both {
                Some((soft, hard)) if soft > hard => {
                    reader.complain::<()>(
                        node,
                        "the soft limit is above the hard one",
                        "[soft, hard] with soft ≤ hard",
                    );
                }
                Some((soft, hard)) => limits.push((At::new(*known, reader.span(key)), soft, hard)),
                None => {}
            }
        }
        Some(Resources(limits))
    }

    /// Name by name.
    fn over(mut self, base: &Resources) -> Resources {
        for limit in &base.0 {
            if !self.0.iter().any(|(name, ..)| name.value == limit.0.value) {
                self.0.push(*limit);
            }
        }
        self
    }
}

fn resource(node: &Node<'_>, bytes: bool, reader: &mut Reader<'_>) -> Option<u64> {
    let text = quantity_text(node);
    match text.as_deref() {
        Some("unlimited") => Some(u64::MAX),
        Some(text) => {
            let number = if bytes { quantity::bytes(text) } else { quantity::count(text) };
            number.ok().map(|number| number as u64)
        }
        None => None,
    }
    .or_else(|| {
        reader.wrong(
            node,
            if bytes {
                "a size, `unlimited`, or [soft, hard]"
            } else {
                "a number, `unlimited`, or [soft, hard]"
            },
        )
    })
}

impl Serialize for Resources {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct One(u64, bool);
        impl Serialize for One {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match (self.0, self.1) {
                    (u64::MAX, _) => serializer.serialize_str("unlimited"),
                    (bytes, true) if bytes > 0 => Bytes(bytes).serialize(serializer),
                    (number, _) => serializer.serialize_u64(number),
                }
            }
        }
        struct Both(One, One);
        impl Serialize for Both {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut seq = serializer.serialize_seq(Some(2))?;
                seq.serialize_element(&self.0)?;
                seq.serialize_element(&self.1)?;
                seq.end()
            }
        }
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, soft, hard) in &self.0 {
            let bytes = RESOURCES.iter().any(|(known, _, bytes)| *known == name.value && *bytes);
            if soft == hard {
                map.serialize_entry(name.value, &One(*soft, bytes))?;
            } else {
                map.serialize_entry(name.value, &Both(One(*soft, bytes), One(*hard, bytes)))?;
            }
        }
        map.end()
    }
}
