//! How old daemons' ideas of a service are said in our own format.

use crate::config::document::{AccessTable, BoundTable, BucketTable, HostsTable, ServiceTable};
use crate::config::notes::{self, Findings};
use crate::config::source::{At, Span};
use crate::config::value::{Count, Frequency, Many, Mode, Otherwise, Pairs, Per, StandardError, Words};
use std::path::Path;
use switchboard_proto::Service;

/// Which family's addresses a service binds where it names none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wildcard {
    V4,
    V6,
    /// A socket for each family.
    Both,
    /// One IPv6 socket for both.
    Dual,
}

/// A program as an old file names it.
pub(crate) struct OldProgram<'a> {
    pub(crate) file: &'a str,
    /// With argv[0].
    pub(crate) arguments: Vec<String>,
    pub(crate) user: &'a str,
    pub(crate) group: Option<String>,
    /// All groups that the user database gives the user.
    pub(crate) groups: bool,
    pub(crate) wait: bool,
    pub(crate) datagram: bool,
}

/// A value that stands there.
pub(crate) fn at<T>(value: T, span: Span) -> Option<At<T>> {
    Some(At::new(value, span))
}

/// Several values that stand there.
pub(crate) fn many(values: impl IntoIterator<Item = String>, span: Span) -> Option<At<Many<String>>> {
    at(values.into_iter().collect(), span)
}

/// The endpoints of an internet service.
pub(crate) fn places(kind: &str, addresses: &[String], port: &str, wildcard: Wildcard) -> Vec<String> {
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
pub(crate) fn nobody(span: Span) -> Option<At<AccessTable>> {
    at(AccessTable { deny: many(["all".to_owned()], span), ..AccessTable::default() }, span)
}

/// At most so many.
pub(crate) fn bound(most: u32, otherwise: Otherwise, span: Span) -> Option<At<BoundTable>> {
    at(
        BoundTable { most: at(Count(most), span), otherwise: at(otherwise, span), ..BoundTable::default() },
        span,
    )
}

/// So many in a time, and as many at once.
pub(crate) fn bucket(
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
pub(crate) fn builtin(
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
pub(crate) fn program(
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
pub(crate) fn hosts_files(table: &mut ServiceTable, daemon: &str, span: Span) {
    let hosts = HostsTable { daemon: at(daemon.to_owned(), span), ..HostsTable::default() };
    let access = table.access.get_or_insert_with(|| At::new(AccessTable::default(), span));
    access.value.hosts_files = at(hosts, span);
}

/// The last part of a path.
pub(crate) fn base(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path)
}

/// The bare name of a program's group, or `None` where the file gives a number as the user: then it is the group too.
pub(crate) fn is_number(user: &str) -> bool {
    !user.is_empty() && user.bytes().all(|c| c.is_ascii_digit())
}
