//! [`Legacy`]: files of inetd and xinetd in our format, and what is to be said about them; [`Old`]: how to read them.

use super::Rejected;
use super::build::build;
use super::complaint::{Complaint, Complaints, Grade};
use super::document::{Document, ServiceTable};
use super::load::{Written, adopt};
use super::notes::{self, Finding, Findings, Severity};
use super::source::{Sources, Span};
use super::value::Number;
use super::{inetd, xinetd};
use crate::plan::Plan;
use std::path::{Path, PathBuf};

pub(super) mod service;

/// A file of an old daemon, in our format, and what is to be said about it.
#[derive(Debug)]
pub(crate) struct Legacy {
    pub(crate) document: Document,
    /// In the order of the files.
    pub(crate) findings: Vec<Finding>,
    /// How the language was guessed, if it was.
    pub(crate) because: Option<String>,
}

/// Whose file it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Language {
    /// An inetd's; none: it is guessed.
    Inetd(Option<inetd::Dialect>),
    /// xinetd's.
    Xinetd,
}

/// How old files are read.
#[derive(Clone, Debug)]
pub(crate) struct Old {
    /// Whose they are; none: it is guessed.
    pub(crate) language: Option<Language>,
    /// What the daemon's command line adds.
    pub(crate) life: inetd::Life,
    /// More files, and directories of them: GNU's further arguments, xinetd's `-inetd_compat`.
    pub(crate) beside: Vec<PathBuf>,
    /// It is to be served by this process: what only root may have is left out for others.
    pub(crate) here: bool,
}

impl Old {
    /// As the file stands.
    pub(crate) fn new(language: Option<Language>, compat: bool) -> Old {
        let life = inetd::Life { compat, ..inetd::Life::default() };
        Old { language, life, beside: Vec::new(), here: false }
    }
}

/// The words on the command line for old files.
pub(crate) const LANGUAGES: [(&str, Language); 6] = [
    ("openbsd", Language::Inetd(Some(inetd::Dialect::OpenBsd))),
    ("freebsd", Language::Inetd(Some(inetd::Dialect::FreeBsd))),
    ("netbsd", Language::Inetd(Some(inetd::Dialect::NetBsd))),
    ("gnu", Language::Inetd(Some(inetd::Dialect::Gnu))),
    ("xinetd-compat", Language::Inetd(Some(inetd::Dialect::Xinetd))),
    ("xinetd", Language::Xinetd),
];

/// The language of this name.
pub(crate) fn language(name: &str) -> Option<Language> {
    LANGUAGES.iter().find(|(known, _)| *known == name).map(|(_, language)| *language)
}

/// In which language a text is written, and how that is known; nothing, if it is no old daemon's.
pub(crate) fn guess(text: &str) -> Option<(Language, String)> {
    let mut lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).peekable();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let of_xinetd = |line: &str| match words(line).as_slice() {
        [keyword] => keyword == "defaults",
        [keyword, _] => matches!(keyword.as_str(), "service" | "include" | "includedir"),
        _ => false,
    };
    let empty = lines.peek().is_none();
    if lines.clone().any(of_xinetd) {
        let because = "read as xinetd does: it has `service`, `defaults` or `includedir`";
        return Some((Language::Xinetd, because.into()));
    }
    let socket_types = ["stream", "dgram", "seqpacket", "raw", "rdm"];
    let mut of_inetd = lines.map(words).filter_map(|words| words.get(1).cloned()).filter(|word| {
        let word = word.split([',', ':']).next().unwrap_or_default();
        socket_types.contains(&word) || matches!(word, "on" | "off")
    });
    (empty || of_inetd.next().is_some()).then(|| {
        let guess = inetd::guess(text);
        (Language::Inetd(Some(guess.dialect)), guess.because)
    })
}

/// Reads a file, and those beside it, into our format.
///
/// # Errors
/// What cannot be opened; a file that is no old daemon's.
pub(crate) fn read(path: &Path, old: &Old, sources: &mut Sources) -> Result<Legacy, Complaint> {
    let mut texts = Vec::new();
    for path in std::iter::once(path).chain(old.beside.iter().map(PathBuf::as_path)) {
        texts.extend(open(path)?);
    }
    let mut because = None;
    let mut language = old.language;
    if matches!(language, None | Some(Language::Inetd(None))) {
        let all: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
        let all = all.join("\n");
        let guessed = match language {
            None => guess(&all),
            Some(_) => {
                let guess = inetd::guess(&all);
                Some((Language::Inetd(Some(guess.dialect)), guess.because))
            }
        };
        let (guessed, why) = guessed.ok_or_else(|| {
            let names: Vec<&str> = LANGUAGES.iter().map(|(name, _)| *name).collect();
            Complaint::new(format!("{}: this is neither a file of inetd nor of xinetd", path.display()))
                .help(format!("if it is, say whose it is: {}", super::read::list(&names)))
        })?;
        (language, because) = (Some(guessed), Some(why));
    }
    let mut legacy = match language {
        Some(Language::Xinetd) => {
            let mut texts = texts.into_iter();
            let (path, text) = texts.next().unwrap_or_default();
            let mut legacy = xinetd::read(&path, text, old.life.compat, true, sources);
            let more: Vec<_> = texts.collect();
            if !more.is_empty() {
                let more = inetd::read(more, inetd::Dialect::Xinetd, &old.life, sources);
                legacy.document.service.extend(more.document.service);
                unique_ids(&mut legacy.document.service);
                legacy.findings.extend(more.findings);
            }
            legacy
        }
        Some(Language::Inetd(dialect)) => {
            inetd::read(texts, dialect.unwrap_or(inetd::Dialect::OpenBsd), &old.life, sources)
        }
        None => inetd::read(texts, inetd::Dialect::OpenBsd, &old.life, sources),
    };
    legacy.because = because;
    if old.life.compat {
        for service in &mut legacy.document.service {
            service.optional = service.span.and_then(|span| service::at(true, span));
        }
    }
    Ok(legacy)
}

/// Converts a text that is in no file: what `convert` prints, and what it says.
pub(crate) fn convert_text(language: &str, text: &str) -> (String, String) {
    let mut sources = Sources::default();
    let path = PathBuf::from("a file");
    let compat = false;
    let mut legacy = match LANGUAGES.iter().find(|(name, _)| *name == language) {
        Some((_, Language::Inetd(Some(dialect)))) => {
            inetd::read(vec![(path, text.to_owned())], *dialect, &inetd::Life::default(), &mut sources)
        }
        _ => xinetd::read(&path, text.to_owned(), compat, false, &mut sources),
    };
    let said: Vec<String> =
        legacy.findings.iter().map(|finding| finding.complaint(compat).show(&sources)).collect();
    legacy.remark(compat, &sources);
    let toml = legacy.document.to_toml().expect("a document of ours can be written");
    (toml, anstream::adapter::strip_str(&said.join("\n")).to_string())
}

/// Bytes of one file; more is not a configuration.
const MOST_BYTES: u64 = 16 << 20;

/// The text of a file, or of each in a directory (GNU reads `/etc/inetd.d`).
fn open(path: &Path) -> Result<Vec<(PathBuf, String)>, Complaint> {
    let failed = |path: &Path, error: std::io::Error| {
        Complaint::new(format!("cannot read {}: {error}", path.display()))
    };
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| failed(path, error))?;
        files = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
        files.sort();
    }
    let text = |path: PathBuf| {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&path).map_err(|error| failed(&path, error))?;
        let read = std::io::Read::read_to_end(&mut std::io::Read::take(file, MOST_BYTES + 1), &mut bytes);
        read.map_err(|error| failed(&path, error))?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(Complaint::new(format!("{} has more than {MOST_BYTES} bytes", path.display())));
        }
        // Comments of old files are in old character sets.
        Ok((path, String::from_utf8_lossy(&bytes).into_owned()))
    };
    files.into_iter().map(text).collect()
}

/// Reads a file and makes a plan of it.
///
/// # Errors
/// All that is wrong; with `compat`, what the old daemon would have left out is left out.
pub(super) fn load(path: &Path, old: &Old) -> Result<(Plan, Written, Sources, Vec<Finding>), Rejected> {
    let (mut sources, mut complaints) = (Sources::default(), Complaints::default());
    let mut legacy = match read(path, old, &mut sources) {
        Ok(legacy) => legacy,
        Err(complaint) => {
            complaints.push(complaint);
            return Err(Rejected { complaints, sources });
        }
    };
    if old.here && !rustix::process::geteuid().is_root() {
        legacy.without_root();
    }
    let compat = old.life.compat;
    for finding in legacy.findings.iter().filter(|finding| finding.is_error(compat)) {
        complaints.push(finding.complaint(compat));
    }
    loop {
        let mut wrong = Complaints::default();
        let written = adopt(legacy.document.clone(), &mut wrong);
        let plan = build(&written, &sources, &mut wrong);
        if complaints.is_empty() && wrong.is_empty() {
            return Ok((plan, written, sources, legacy.findings));
        }
        if !compat || !complaints.is_empty() || !legacy.leave_out(&wrong) {
            wrong.list().into_iter().for_each(|complaint| complaints.push(complaint.clone()));
            return Err(Rejected { complaints, sources });
        }
    }
}

impl Legacy {
    /// A document, with its remarks, from services.
    pub(super) fn new(mut document: Document, found: Findings) -> Legacy {
        document.global.version = Some(Number(1).into());
        unique_ids(&mut document.service);
        Legacy { document, findings: found.sorted(), because: None }
    }

    /// Whether it may be served: with `compat`, what the old program refused was left out as it did.
    pub(crate) fn is_accepted(&self, compat: bool) -> bool {
        !self.findings.iter().any(|finding| finding.is_error(compat))
    }

    /// Writes the findings into the document as remarks: each service's before it, the others at the top.
    pub(crate) fn remark(&mut self, compat: bool, sources: &Sources) {
        for finding in &self.findings {
            let place = finding.span.and_then(|span| {
                self.document.service.iter_mut().find(|service| encloses(service.span, span))
            });
            let lines = finding.lines(compat, sources);
            match place {
                Some(service) => service.remarks.extend(lines),
                None => self.document.global.remarks.extend(lines),
            }
        }
    }

    /// Takes out what only root can give a program.
    fn without_root(&mut self) {
        let mut any = false;
        for service in &mut self.document.service {
            any |= service.user.take().is_some();
            (service.group, service.groups, service.capabilities) = (None, None, None);
        }
        if any {
            self.findings.push(Finding { note: &notes::PROGRAM_USER, span: None, detail: String::new() });
        }
    }

    /// Leaves out the services about which there are complaints; whether there were any.
    fn leave_out(&mut self, complaints: &Complaints) -> bool {
        let before = self.document.service.len();
        for complaint in complaints.list() {
            let Some((span, _)) = complaint.marks.first() else { continue };
            let span = *span;
            if self.document.service.iter().any(|service| encloses(service.span, span)) {
                let finding =
                    Finding { note: &notes::LEFT_OUT, span: Some(span), detail: complaint.problem.clone() };
                self.findings.push(finding);
            }
            self.document.service.retain(|service| !encloses(service.span, span));
        }
        self.document.service.len() < before
    }
}

fn encloses(own: Option<Span>, span: Span) -> bool {
    own.is_some_and(|own| own.file == span.file && own.start <= span.start && span.end <= own.end)
}

impl Finding {
    /// Whether it keeps the file from being served.
    pub(crate) fn is_error(&self, compat: bool) -> bool {
        self.note.severity == Severity::Error && !(compat && self.note.compat.is_some())
    }

    /// As people read it, with its place in the file.
    pub(crate) fn complaint(&self, compat: bool) -> Complaint {
        let note = self.note;
        let grade = match note.severity {
            _ if self.is_error(compat) => Grade::Error,
            Severity::General | Severity::Remark => Grade::Note,
            Severity::Differs | Severity::LeftOut | Severity::Error => Grade::Warning,
        };
        let complaint = Complaint::new(format!("{} [{}]", note.construct, note.id)).grade(grade);
        let complaint = complaint.at(self.span, shown(&self.detail)).aside("then", note.old);
        match note.compat {
            Some(kept) if compat => complaint.aside("here", kept),
            Some(kept) => complaint.aside("here", note.ours).aside("with --compat", kept),
            None => complaint.aside("here", note.ours),
        }
    }

    /// The same as remarks in a file.
    pub(crate) fn lines(&self, compat: bool, sources: &Sources) -> Vec<String> {
        let note = self.note;
        let place = match self.span {
            Some(span) => {
                let (line, column) = sources.line_column(span);
                format!("{}:{line}:{column}: ", sources.file(span.file).path.display())
            }
            None => String::new(),
        };
        let detail = match self.detail.as_str() {
            "" => String::new(),
            detail => format!(" ({})", shown(detail)),
        };
        vec![
            format!("{place}{}{detail} [{}]", note.construct, note.id),
            format!("  then: {}", note.old),
            format!("  here: {}", note.compat.filter(|_| compat).unwrap_or(note.ours)),
        ]
    }
}

/// Words of a file in a message: nothing that a terminal would obey, and quotes as they are.
fn shown(detail: &str) -> String {
    let hidden = |c: char| if c.is_control() { c.escape_debug().collect() } else { String::from(c) };
    detail.chars().map(hidden).collect()
}

/// Two services of one name get their transports, then numbers, behind it.
fn unique_ids(services: &mut [ServiceTable]) {
    let mut taken: Vec<String> = Vec::new();
    for service in services {
        let Some(id) = &mut service.id else { continue };
        let datagram = service.listen.as_ref().is_some_and(|listen| {
            listen
                .value
                .0
                .iter()
                .any(|at| at.value.starts_with("udp:") || at.value.starts_with("unix-dgram:"))
        });
        let base = id.value.clone();
        if taken.contains(&id.value) && datagram {
            id.value = format!("{base}-udp");
        }
        let mut number = 2;
        while taken.contains(&id.value) {
            id.value = format!("{base}-{number}");
            number += 1;
        }
        taken.push(id.value.clone());
    }
}
