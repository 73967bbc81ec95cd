//! Files: opened, read, and those that they include; what comes out is one [`Written`] configuration.

use super::complaint::{Complaint, Complaints, plain};
use super::document::{Document, GlobalTable, ServiceTable};
use super::read::{Table, read};
use super::source::{Sources, Span};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of one file; more is not a configuration.
const MOST_BYTES: u64 = 16 << 20;
/// Files of one configuration.
const MOST_FILES: usize = 10_000;

/// A configuration as written, whatever the files.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// What holds for everything.
    pub(crate) global: GlobalTable,
    /// The services.
    pub(crate) services: Vec<ServiceWritten>,
}

/// A service as written.
#[derive(Debug)]
pub(crate) struct ServiceWritten {
    /// What its own table says.
    pub(crate) own: ServiceTable,
    /// With what `[defaults]` says.
    pub(crate) all: ServiceTable,
}

/// Keys that say what one service is; they make no sense as a default.
const OWN: [&str; 8] = ["id", "listen", "disabled", "builtin", "exec", "forward", "tcpmux", "argv0"];

/// Reads `path` and what it includes. What cannot be read is complained about and left out.
pub(crate) fn load(path: &Path, sources: &mut Sources, complaints: &mut Complaints) -> Written {
    let mut loader = Loader { sources, complaints, open: Vec::new(), written: Written::default() };
    loader.file(path, None, &ServiceTable::default());
    loader.written
}

/// Takes a text that is in no file, and so cannot include any.
pub(crate) fn text(text: &str, sources: &mut Sources, complaints: &mut Complaints) -> Written {
    let mut loader = Loader { sources, complaints, open: Vec::new(), written: Written::default() };
    loader.document(Path::new("(text)"), text.to_owned(), None, &ServiceTable::default());
    loader.written
}

/// Takes a document that somebody else has read.
pub(crate) fn adopt(document: Document, complaints: &mut Complaints) -> Written {
    let mut sources = Sources::default();
    let mut loader =
        Loader { sources: &mut sources, complaints, open: Vec::new(), written: Written::default() };
    let defaults = document.defaults.unwrap_or_default();
    loader.take(document.global, document.service, &defaults);
    loader.written
}

struct Loader<'a> {
    sources: &'a mut Sources,
    complaints: &'a mut Complaints,
    /// The files that are being read, each included by the one before it.
    open: Vec<PathBuf>,
    written: Written,
}

impl Loader<'_> {
    fn file(&mut self, path: &Path, asked: Option<Span>, base: &ServiceTable) {
        let text = match self.text(path) {
            Ok(text) => text,
            Err(problem) => return self.complain(asked, format!("{}: {problem}", path.display())),
        };
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if self.open.contains(&real) {
            return self.complain(asked, format!("{} includes itself", path.display()));
        }
        self.open.push(real);
        self.document(path, text, asked, base);
        self.open.pop();
    }

    fn document(&mut self, path: &Path, text: String, asked: Option<Span>, base: &ServiceTable) {
        let number = self.sources.add(path, text);
        let before = self.complaints.count();
        let mut document = read(&self.sources.file(number).text, number, self.complaints);
        let broken = self.complaints.count() > before;
        self.version(&document.global, Span { file: number, start: 0, end: 0 }, asked.is_none() && !broken);
        if asked.is_some() {
            document.global.version = None;
        }
        if let Some(defaults) = &document.defaults {
            for key in OWN.iter().filter(|key| defaults.has(key)) {
                let complaint = Complaint::new(format!("`{key}` cannot be a default"))
                    .at(defaults.span_of(key), "this belongs to one service")
                    .help("write it under `[[service]]`");
                self.complaints.push(complaint);
            }
        }
        let defaults = document.defaults.unwrap_or_default().over(base);
        let included = document.global.include.take();
        self.take(document.global, document.service, &defaults);
        if let Some(at) = included.as_ref().filter(|_| self.open.is_empty()) {
            return self.complain(at.span, "a text that is in no file cannot include others".into());
        }
        for item in included.into_iter().flat_map(|at| at.value.0) {
            let at = path.parent().unwrap_or(Path::new("")).join(&item.value);
            let span = item.span.unwrap_or(Span { file: number, start: 0, end: 0 });
            if at.is_dir() {
                match directory(&at) {
                    Ok(files) => files.iter().for_each(|file| self.file(file, Some(span), &defaults)),
                    Err(error) => self.complain(Some(span), format!("{}: {}", at.display(), plain(&error))),
                }
            } else {
                self.file(&at, Some(span), &defaults);
            }
        }
    }

    fn text(&self, path: &Path) -> Result<String, String> {
        if self.sources.paths().len() >= MOST_FILES {
            return Err(format!("there are more than {MOST_FILES} files"));
        }
        let mut text = Vec::new();
        let file = fs::File::open(path).map_err(|error| plain(&error))?;
        file.take(MOST_BYTES + 1).read_to_end(&mut text).map_err(|error| plain(&error))?;
        if text.len() as u64 > MOST_BYTES {
            return Err(format!("the file has more than {MOST_BYTES} bytes"));
        }
        String::from_utf8(text).map_err(|error| {
            let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n');
            format!("line {} is not UTF-8", line.count() + 1)
        })
    }

    fn version(&mut self, global: &GlobalTable, begin: Span, needed: bool) {
        match &global.version {
            None if needed && !global.said("version") => self.complaints.push(
                Complaint::new("the file does not say the version of its format")
                    .at(begin, "")
                    .help("begin it with `version = 1`"),
            ),
            Some(at) if at.value.0 != 1 => self.complaints.push(
                Complaint::new(format!("there is no version {} of this format", at.value.0))
                    .at(at.span, "the only version is 1"),
            ),
            _ => {}
        }
    }

    /// Adds what a file says to the whole.
    fn take(&mut self, global: GlobalTable, services: Vec<ServiceTable>, defaults: &ServiceTable) {
        for key in GlobalTable::KEYS.iter().filter(|key| key.name != "version") {
            if self.written.global.has(key.name) && global.has(key.name) {
                let complaint = Complaint::new(format!("`{}` is said twice", key.name))
                    .at(global.span_of(key.name), "here again")
                    .at(self.written.global.span_of(key.name), "first here");
                self.complaints.push(complaint);
            }
        }
        let before = std::mem::take(&mut self.written.global);
        self.written.global = before.over(&global);
        let services = services.into_iter().filter(|own| own.disabled.as_ref().is_none_or(|at| !at.value));
        self.written.services.extend(services.map(|own| {
            let all = own.clone().over(defaults);
            ServiceWritten { own, all }
        }));
    }

    fn complain(&mut self, at: Option<Span>, problem: String) {
        self.complaints.push(Complaint::new(problem).at(at, "asked for here"));
    }
}

/// The files of a directory that are configuration, in the order of their names.
fn directory(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') && name.ends_with(".toml") {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}
