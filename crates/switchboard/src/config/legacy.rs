//! What the readers of inetd's and xinetd's files share: how their ideas of a service are said in our own format.

use super::document::{AccessTable, BoundTable, BucketTable, Document, ServiceTable};
use super::notes::{self, Finding, Findings, Severity};
use super::source::{At, Sources, Span};
use super::value::{Count, Frequency, Many, Mode, Number, Otherwise, Pairs, Per, StandardError, Words};
use std::path::Path;
use switchboard_proto::Service;

/// A file of an old daemon, in our format, and what is to be said about it.
#[derive(Debug)]
pub(crate) struct Legacy {
    pub(crate) document: Document,
    pub(crate) findings: Vec<Finding>,
}

/// Which family's addresses a service binds where it names none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wildcard {
    V4,
    V6,
    /// A socket for each family.
    Both,
    /// One IPv6 socket for both.
    Dual,
}

/// A program as an old file names it.
pub(super) struct OldProgram<'a> {
    pub(super) file: &'a str,
    /// With argv[0].
    pub(super) arguments: Vec<String>,
    pub(super) user: &'a str,
    pub(super) group: Option<String>,
    /// All groups that the user database gives the user.
    pub(super) groups: bool,
    pub(super) wait: bool,
    pub(super) datagram: bool,
}

impl Legacy {
    /// A document, with its remarks, from services.
    pub(super) fn new(mut document: Document, found: Findings) -> Legacy {
        document.global.version = Some(Number(1).into());
        unique_ids(&mut document.service);
        Legacy { document, findings: found.sorted() }
    }

    /// Whether it may be served: with `compat`, what the old program refused was left out as it did.
    pub(crate) fn is_accepted(&self, compat: bool) -> bool {
        !self.findings.iter().any(|finding| finding.is_error(compat))
    }

    /// Whether every service that is wanted is there.
    pub(crate) fn is_whole(&self) -> bool {
        !self.findings.iter().any(|finding| finding.note.severity >= Severity::Error)
    }

    /// Writes the findings into the document as remarks: each service's before it, the others at the top.
    pub(crate) fn remark(&mut self, sources: &Sources) {
        for finding in &self.findings {
            let place = finding.span.and_then(|span| {
                self.document.service.iter_mut().find(|service| {
                    let around =
                        |own: Span| own.file == span.file && own.start <= span.start && span.end <= own.end;
                    service.span.is_some_and(around)
                })
            });
            let line = finding.line(sources);
            match place {
                Some(service) => service.remarks.push(line),
                None => self.document.global.remarks.push(line),
            }
        }
    }
}

impl Finding {
    /// Whether it keeps the file from being served.
    pub(crate) fn is_error(&self, compat: bool) -> bool {
        self.note.severity == Severity::Error && !(compat && self.note.compat.is_some())
    }

    /// In one line: place, name, what.
    pub(crate) fn line(&self, sources: &Sources) -> String {
        let place = match self.span {
            Some(span) => {
                let (line, column) = sources.line_column(span);
                format!("{}:{line}:{column}: ", sources.file(span.file).path.display())
            }
            None => String::new(),
        };
        let mut text = format!("{place}{} [{}]", self.note.construct, self.note.id);
        if !self.detail.is_empty() {
            text.push_str(&format!(
                ": {}",
                self.detail.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"")
            ));
        }
        text
    }
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

/// A value that stands there.
pub(super) fn at<T>(value: T, span: Span) -> Option<At<T>> {
    Some(At::new(value, span))
}

/// Several values that stand there.
pub(super) fn many(values: impl IntoIterator<Item = String>, span: Span) -> Option<At<Many<String>>> {
    at(values.into_iter().collect(), span)
}

/// The endpoints of an internet service.
pub(super) fn places(kind: &str, addresses: &[String], port: &str, wildcard: Wildcard) -> Vec<String> {
    if addresses.is_empty() {
        return vec![match wildcard {
            Wildcard::V4 => format!("{kind}:0.0.0.0:{port}"),
            Wildcard::V6 => format!("{kind}:[::]:{port},v6only=on"),
            Wildcard::Both => format!("{kind}:*:{port}"),
            Wildcard::Dual => format!("{kind}:[::]:{port},v6only=off"),
        }];
    }
    let place = |address: &String| match address.contains(':') {
        true => format!("{kind}:[{address}]:{port}"),
        false => format!("{kind}:{address}:{port}"),
    };
    addresses.iter().map(place).collect()
}

/// Nobody is let in.
pub(super) fn nobody(span: Span) -> Option<At<AccessTable>> {
    at(AccessTable { deny: many(["all".to_owned()], span), ..AccessTable::default() }, span)
}

/// At most so many.
pub(super) fn bound(most: u32, otherwise: Otherwise, span: Span) -> Option<At<BoundTable>> {
    at(
        BoundTable { most: at(Count(most), span), otherwise: at(otherwise, span), ..BoundTable::default() },
        span,
    )
}

/// So many in a time, and as many at once.
pub(super) fn bucket(
    count: u32,
    per: Per,
    otherwise: Otherwise,
    span: Option<Span>,
) -> Option<At<BucketTable>> {
    let most = Frequency { count, per, burst: Some(count.max(1)) };
    let table = BucketTable {
        most: Some(At { value: most, span }),
        otherwise: Some(At { value: otherwise, span }),
        ..BucketTable::default()
    };
    Some(At { value: table, span })
}

/// A built-in service of this name, over this kind of socket.
pub(super) fn builtin(
    table: &mut ServiceTable,
    name: &str,
    options: &[(&str, &str)],
    datagram: bool,
    span: Span,
    found: &mut Findings,
) -> bool {
    if name != "tcpmux" && Service::find(name).is_none() {
        found.note(&notes::BUILTIN_UNKNOWN, span, format!("`{}`", name.escape_debug()));
        return false;
    }
    if datagram {
        found.once(&notes::DGRAM_BUILTIN);
    }
    table.builtin = at(name.to_owned(), span);
    if !options.is_empty() {
        table.options = at(options.iter().copied().collect::<Pairs>(), span);
    }
    true
}

/// A program with its user, as the old daemons would have started it.
pub(super) fn program(
    table: &mut ServiceTable,
    program: OldProgram<'_>,
    compat: bool,
    span: Span,
    found: &mut Findings,
) {
    let mut words = vec![program.file.to_owned()];
    let mut arguments = program.arguments.into_iter();
    match arguments.next() {
        Some(first) if first != program.file => table.argv0 = at(first, span),
        _ => {}
    }
    words.extend(arguments);
    table.exec = at(Words(words), span);
    // Programs of both kinds are named whole, so that nobody needs to know the defaults.
    let wait = program.wait || program.datagram;
    table.mode = at(if wait { Mode::Wait } else { Mode::Nowait }, span);
    if program.datagram && !program.wait {
        found.note(&notes::DGRAM_NOWAIT, span, "");
    }
    if program.file == "/usr/sbin/tcpd" {
        found.note(&notes::PROGRAM_TCPD, span, "");
    }
    table.user = at(program.user.to_owned(), span);
    table.group = program.group.and_then(|group| at(group, span));
    if program.groups {
        table.groups = many(["all".to_owned()], span);
    }
    found.once(&notes::PROGRAM_STDERR);
    found.once(&notes::PROGRAM_ENVIRONMENT);
    if compat {
        table.stderr = at(StandardError::Client, span);
    }
    if program.user == "root" || program.user == "0" {
        found.once(&notes::PROGRAM_ROOT);
        table.capabilities = many(["all".to_owned()], span);
        table.no_new_privs = at(false, span);
    } else {
        found.once(&notes::PROGRAM_PRIVILEGES);
        if compat {
            table.no_new_privs = at(false, span);
        }
    }
}

/// hosts.allow and hosts.deny, under this name.
pub(super) fn hosts_files(table: &mut ServiceTable, daemon: &str, span: Span) {
    let hosts = super::document::HostsTable {
        daemon: at(daemon.to_owned(), span),
        ..super::document::HostsTable::default()
    };
    let access = table.access.get_or_insert_with(|| At::new(AccessTable::default(), span));
    access.value.hosts_files = at(hosts, span);
}

/// The last part of a path.
pub(super) fn base(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path)
}

/// The bare name of a program's group, or `None` where the file gives a number as the user: then it is the group too.
pub(super) fn is_number(user: &str) -> bool {
    !user.is_empty() && user.bytes().all(|c| c.is_ascii_digit())
}
