//! The files that a run writes while it goes on: its log, and its table.
//!
//! They are opened before a run that begins at a time of day is waited for: what cannot be written is said at once.

use super::csv::Csv;
use super::hlog::Log;
use super::record::{End, Facts};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use switchboard_net::load::Slice;

/// Files that are there, and empty.
pub(super) struct Opened<'a> {
    log: Option<(&'a Path, File)>,
    csv: Option<(&'a Path, File)>,
}

/// The same, with what was written so far.
pub(super) struct Files {
    log: Option<Log>,
    csv: Option<Csv>,
    /// Whether one could not be written to its end.
    pub(super) is_broken: bool,
}

/// A file to write, by its name: `-` is none.
///
/// # Errors
/// Standard output is not a place for it.
pub(super) fn name(text: &str) -> Result<PathBuf, String> {
    if text == "-" {
        return Err(
            "standard output has the result: give the name of a file (`./-` for one of this name)".into()
        );
    }
    Ok(text.into())
}

/// Whether writing to `to` would destroy what is in `from`.
pub(super) fn is_same(to: &Path, from: &Path) -> bool {
    let identity =
        |path| fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|it| (it.dev(), it.ino()));
    to == from || identity(to).is_some_and(|it| identity(from) == Some(it))
}

fn cannot(path: &Path, error: impl std::fmt::Display) -> String {
    format!("cannot write {}: {error}", path.display())
}

impl<'a> Opened<'a> {
    /// Makes them, or empties them.
    ///
    /// # Errors
    /// Which of them cannot be written, and why.
    pub(super) fn new(log: Option<&'a Path>, csv: Option<&'a Path>) -> Result<Opened<'a>, String> {
        let open = |path: Option<&'a Path>| {
            let file =
                |path| File::create(path).map(|file| (path, file)).map_err(|error| cannot(path, error));
            path.map(file).transpose()
        };
        Ok(Opened { log: open(log)?, csv: open(csv)? })
    }

    /// Writes what stands at the beginning of them.
    ///
    /// # Errors
    /// Which of them cannot be written, and why.
    pub(super) fn begin(self, facts: &Facts) -> Result<Files, String> {
        let log = self.log.map(|(path, file)| Log::begin(file, facts).map_err(|error| cannot(path, error)));
        let csv = self.csv.map(|(path, file)| Csv::begin(file).map_err(|error| cannot(path, error)));
        Ok(Files { log: log.transpose()?, csv: csv.transpose()?, is_broken: false })
    }
}

impl Files {
    /// Adds a slice.
    ///
    /// # Errors
    /// Which file cannot be written, and why; once, since it is closed then.
    pub(super) fn slice(&mut self, facts: &Facts, slice: &Slice) -> Result<(), String> {
        let mut problem = Ok(());
        if let Some(Err(error)) = self.log.as_mut().map(|log| log.slice(slice)) {
            self.log = None;
            problem = Err(format!("cannot write --hlog: {error}"));
        }
        if let Some(Err(error)) = self.csv.as_mut().map(|csv| csv.slice(facts, slice)) {
            self.csv = None;
            problem = Err(format!("cannot write --csv: {error}"));
        }
        self.is_broken |= problem.is_err();
        problem
    }

    /// Writes what stands at the end of the log.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn end(&mut self, end: &End) -> Result<(), String> {
        let written = self.log.take().map_or(Ok(()), |log| log.end(end));
        self.is_broken |= written.is_err();
        written.map_err(|error| format!("cannot write --hlog: {error}"))
    }
}
