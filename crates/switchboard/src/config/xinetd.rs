//! xinetd.conf: text → sections → settings in force → [`Document`](super::document::Document).
//!
//! What makes these files hard is not the text but the rules of what holds: operators that add and replace, defaults
//! that reach services by their place in the file, mistakes that take an attribute away and leave the service on.
//! Each of those is a row of [`NOTES`](super::notes::NOTES).

mod address;
mod attribute;
mod lines;
mod mapping;
mod settings;

pub(crate) use mapping::read;

#[cfg(test)]
mod tests;
