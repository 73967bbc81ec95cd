//! [`Logging`]: where the log goes.

use super::super::read::{Node, Reader, Value};
use super::as_text;
use serde::{Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;

as_text!(Logging);

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
