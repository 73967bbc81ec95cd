//! [`Resources`]: limits of setrlimit(2).

use super::super::read::{Node, Reader, Value};
use super::super::source::At;
use super::{Bytes, quantity_text};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use switchboard_net::quantity;
use toml::de::DeValue;

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
