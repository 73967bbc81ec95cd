//! [`Error`]: who erred: the one who asked, the peer, or the system.

use std::io;

/// What went wrong, and what can be done about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was asked for cannot be: wrong grammar, unknown name, value out of range.
    #[error("{0}")]
    Config(String),
    /// A host or service name has no address.
    #[error("cannot resolve {name}: {reason}")]
    Name {
        /// The name as given.
        name: String,
        /// What the resolver said.
        reason: String,
    },
    /// A system call failed.
    #[error("cannot {what}: {source}{}", hint.as_ref().map(|hint| format!(". {hint}")).unwrap_or_default())]
    System {
        /// What was to be done: "listen on tcp:127.0.0.1:7".
        what: String,
        /// What the kernel said.
        source: io::Error,
        /// The way out, where one is known.
        hint: Option<String>,
    },
}

impl Error {
    /// A system call, or something like one, failed: `what` completes "cannot …".
    pub fn system(what: impl Into<String>, source: impl Into<io::Error>) -> Error {
        Error::System { what: what.into(), source: source.into(), hint: None }
    }

    /// The kernel's error number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::System { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}
