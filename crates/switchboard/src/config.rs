//! Configuration files: text becomes a [`Document`](document::Document), documents become what is
//! [`Written`](load::Written), that becomes a [`Plan`], and all that is wrong is said at once, each with its place.

use crate::plan::Plan;
pub(crate) use build::heeds;
use complaint::Complaints;
use document::Document;
use load::Written;
use source::Sources;
use std::path::Path;

mod build;
pub(crate) mod complaint;
pub(crate) mod document;
pub(crate) mod effective;
pub(crate) mod inetd;
pub(crate) mod legacy;
pub(crate) mod load;
pub(crate) mod manual;
pub(crate) mod notes;
pub(crate) mod read;
pub(crate) mod source;
pub(crate) mod value;
pub(crate) mod xinetd;

/// In which language a file is written.
#[derive(Clone, Debug)]
pub(crate) enum Dialect {
    /// Our own, version 1.
    Toml,
    /// An old daemon's.
    Old(legacy::Old),
}

/// A configuration without fault.
pub(crate) struct Configuration {
    /// What is to be served.
    pub(crate) plan: Plan,
    /// What was written.
    pub(crate) written: Written,
    /// The texts.
    pub(crate) sources: Sources,
    /// What an old daemon's file says that is ambiguous, or done otherwise here.
    pub(crate) findings: Vec<notes::Finding>,
}

/// A configuration that cannot be used.
#[derive(Debug)]
pub(crate) struct Rejected {
    /// Why.
    pub(crate) complaints: Complaints,
    /// The texts.
    pub(crate) sources: Sources,
}

impl Configuration {
    /// What was written, with its defaults joined, as the text of one file.
    pub(crate) fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let services = self.written.services.iter().map(|service| service.all.clone());
        let document =
            Document { global: self.written.global.clone(), defaults: None, service: services.collect() };
        document.to_toml()
    }
}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.complaints.show(&self.sources))
    }
}

/// Checks a document that some part of the program made.
///
/// # Errors
/// All that is wrong.
pub(crate) fn from_document(document: document::Document) -> Result<Configuration, Rejected> {
    let mut complaints = Complaints::default();
    let written = load::adopt(document, &mut complaints);
    checked(written, Sources::default(), complaints)
}

/// Reads and checks a file and those that it includes. Looks users, groups, ports and programs up, but opens no socket.
///
/// # Errors
/// All that is wrong.
pub(crate) fn load(path: &Path, dialect: Dialect) -> Result<Configuration, Rejected> {
    if let Dialect::Old(old) = &dialect {
        let (plan, written, sources, findings) = legacy::load(path, old)?;
        return Ok(Configuration { plan, written, sources, findings });
    }
    let (mut sources, mut complaints) = (Sources::default(), Complaints::default());
    let written = load::load(path, &mut sources, &mut complaints);
    checked(written, sources, complaints)
}

/// Checks a text of ours that is in no file, and so cannot include any.
///
/// # Errors
/// All that is wrong.
pub(crate) fn check_text(text: &str) -> Result<Configuration, Rejected> {
    let (mut sources, mut complaints) = (Sources::default(), Complaints::default());
    let written = load::text(text, &mut sources, &mut complaints);
    checked(written, sources, complaints)
}

fn checked(
    written: Written,
    sources: Sources,
    mut complaints: Complaints,
) -> Result<Configuration, Rejected> {
    let plan = build::build(&written, &sources, &mut complaints);
    if complaints.is_empty() {
        Ok(Configuration { plan, written, sources, findings: Vec::new() })
    } else {
        Err(Rejected { complaints, sources })
    }
}
