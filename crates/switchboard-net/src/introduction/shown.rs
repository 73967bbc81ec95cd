//! [`Shown`]: in the log, who introduced a client and as what. What a proxy passes on was chosen by its clients, so all of it is escaped.

use super::Introduction;
use crate::journal::{Escaped, Format, Journal, Json};
use std::fmt;

/// The fields that a record gets: the proxy's address, and what it said beside the client's.
pub(crate) struct Shown<'a> {
    pub(crate) introduction: Option<&'a Introduction>,
    /// The name under which we have introduced him, unless it is the one he came with.
    pub(crate) unique_id: Option<&'a [u8]>,
    pub(crate) journal: &'a Journal,
    pub(crate) format: Format,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(introduction) = self.introduction {
            let via = self.journal.shown(introduction.upstream);
            match self.format {
                Format::Json => write!(f, ",\"via\":\"{via}\"")?,
                Format::Human | Format::Logfmt => write!(f, " via={via}")?,
            }
        }
        let said = self.introduction.into_iter().flat_map(Introduction::said);
        for (name, value) in said.chain(self.unique_id.map(|id| ("unique_id", id))) {
            match self.format {
                Format::Json => write!(f, ",\"{name}\":{}", Json(&Escaped(value).to_string()))?,
                Format::Human | Format::Logfmt => write!(f, " {name}=\"{}\"", Escaped(value))?,
            }
        }
        Ok(())
    }
}
