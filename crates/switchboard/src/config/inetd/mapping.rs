//! From entries to a [`Document`].

use super::entry::{Entries, Entry, Limits, Socket, Transport};
use super::lines::{Item, items};
use super::{Dialect, Family, Grammar};
use crate::config::document::{Document, ServiceTable};
use crate::config::legacy::Legacy;
use crate::config::legacy::service::{self as legacy, OldProgram, Wildcard, at, many};
use crate::config::notes::{self, Findings};
use crate::config::source::{Sources, Span};
use crate::config::value::{Count, Octal, Otherwise, Pairs, Per};
use std::path::{Path, PathBuf};
use switchboard_proto::SERVICES;

/// How a daemon was told to live: what its command line adds to the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Life {
    /// Keep the old behaviour where it is no hole.
    pub(crate) compat: bool,
    /// Where services listen that name no address (`-a`).
    pub(crate) addresses: Vec<String>,
    /// Limits where the file has none (`-R`, `-c`, `-C`, `-s`).
    pub(crate) limits: Limits,
    /// Ask hosts.allow and hosts.deny (`-l`, `-w`).
    pub(crate) libwrap: bool,
    /// Length of the queue (`-q`).
    pub(crate) backlog: Option<u32>,
    /// Programs get our whole environment (`-E`).
    pub(crate) environment: bool,
    /// Look names up for programs (`--resolve`).
    pub(crate) names: bool,
}

/// Files within files: no deeper than this.
const DEPTH: usize = 16;

/// Reads files and directories as one configuration.
pub(crate) fn read(
    texts: Vec<(PathBuf, String)>,
    dialect: Dialect,
    life: &Life,
    sources: &mut Sources,
) -> Legacy {
    let mut found = Findings::default();
    let mut document = Document::default();
    let mut tables: Vec<(Vec<String>, ServiceTable)> = Vec::new();
    for (path, text) in texts {
        let mut reader =
            Reader { grammar: dialect.grammar(), life, sources, found: &mut found, entries: Vec::new() };
        reader.file(&path, text, 0, life.addresses.clone());
        for entry in std::mem::take(&mut reader.entries) {
            let Some(table) = table(&entry, dialect.grammar(), life, &mut found) else { continue };
            let places: Vec<String> = table
                .listen
                .as_ref()
                .map(|listen| listen.value.0.iter().map(|place| place.value.clone()).collect())
                .unwrap_or_default();
            // The later entry for a place replaces the earlier one.
            if let Some(same) = tables.iter().position(|(known, _)| !places.is_empty() && *known == places) {
                found.note(&notes::INETD_DUPLICATE, entry.span, places.join(", "));
                tables.remove(same);
            }
            tables.push((places, table));
        }
    }
    document.service = tables.into_iter().map(|(_, table)| table).collect();
    Legacy::new(document, found)
}

struct Reader<'a> {
    grammar: &'static Grammar,
    life: &'a Life,
    sources: &'a mut Sources,
    found: &'a mut Findings,
    entries: Vec<Entry>,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, text: String, depth: usize, addresses: Vec<String>) {
        let file = self.sources.add(path, text);
        let text = self.sources.file(file).text.clone();
        let mut defaults = addresses;
        for item in items(&text, file, self.grammar, self.life.compat, self.found) {
            if let Some((pattern, span)) = include(&item, self.grammar) {
                self.include(path, &pattern, span, depth);
                continue;
            }
            let mut entries = Entries::new(self.grammar, self.life.compat, self.found);
            entries.default_addresses = std::mem::take(&mut defaults);
            let entry = entries.entry(item);
            defaults = entries.default_addresses;
            self.entries.extend(entry);
        }
    }

    fn include(&mut self, from: &Path, pattern: &str, span: Span, depth: usize) {
        if depth >= DEPTH {
            return self.found.note(&notes::INETD_ENTRY, span, "files include each other too deeply (16)");
        }
        let path = from.parent().unwrap_or(Path::new(".")).join(pattern);
        let files = super::glob::glob(&path);
        if files.is_empty() {
            self.found.note(&notes::INETD_ENTRY, span, format!("there is no file {}", path.display()));
        }
        for file in files {
            match std::fs::read(&file) {
                Ok(bytes) => {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    self.file(&file, text, depth + 1, Vec::new());
                }
                Err(error) => {
                    let problem = format!("cannot read {}: {error}", file.display());
                    self.found.note(&notes::INETD_ENTRY, span, problem);
                }
            }
        }
    }
}

/// NetBSD's `.include "pattern"`.
fn include(item: &Item, grammar: &Grammar) -> Option<(String, Span)> {
    match item {
        Item::Fields(words) if grammar.dialect == Dialect::NetBsd && words[0].text == ".include" => {
            Some((words.get(1)?.text.clone(), item.span()))
        }
        _ => None,
    }
}

fn table(entry: &Entry, grammar: &Grammar, life: &Life, found: &mut Findings) -> Option<ServiceTable> {
    let span = entry.span;
    let unsupported = entry.socket == Socket::Other || entry.transport == Transport::Other;
    if entry.transport == Transport::Rpc || unsupported {
        let note = if entry.transport == Transport::Rpc { &notes::RPC } else { &notes::SOCKET_TYPE };
        found.note(note, span, format!("service {}", entry.name.text));
        return None;
    }
    let mut table = ServiceTable { span: Some(span), ..ServiceTable::default() };
    let datagram = entry.socket == Socket::Datagram;
    table.id = at(id(entry), entry.name.span);
    if entry.off {
        found.note(&notes::INETD_OFF, span, format!("service {}", entry.name.text));
        table.disabled = at(true, span);
    }
    match entry.mux {
        Some(false) => {
            found.note(&notes::MUX_HANDSHAKE, entry.name.span, "");
            return None;
        }
        Some(true) => table.tcpmux = at(true, entry.name.span),
        None => table.listen = many(listen(entry, found)?, entry.name.span),
    }
    if let Some((user, group, mode)) = &entry.file {
        let named = |name: &String| {
            Some(name.clone()).filter(|name| !name.is_empty()).and_then(|name| at(name, span))
        };
        (table.socket_owner, table.socket_group) = (named(user), named(group));
        table.socket_mode = at(Octal(*mode), span);
    }
    if entry.program.text == "internal" {
        let name = internal(entry, grammar, found);
        let options: &[(&str, &str)] = if name == "daytime" { &[("format", "ctime")] } else { &[] };
        if !legacy::builtin(&mut table, &name, options, datagram, entry.program.span, found) {
            return None;
        }
        if entry.user.text != "root" && entry.user.text != "0" {
            table.user = at(entry.user.text.clone(), entry.user.span);
        }
    } else {
        let (file, arguments) = unwrapped(entry, life);
        let program = OldProgram {
            file: &file,
            arguments,
            user: &entry.user.text,
            group: entry.group.clone(),
            groups: true,
            wait: entry.wait,
            datagram,
        };
        legacy::program(&mut table, program, life.compat, entry.program.span, found);
        if life.environment {
            let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
            table.pass_env = many(names, entry.program.span);
        }
        // A process that gets the listening socket has no client yet.
        if life.names && !entry.wait && !datagram {
            table.resolve_names = at(true, span);
        }
    }
    if life.libwrap && entry.program.text != "internal" && !matches!(entry.transport, Transport::Unix) {
        found.once(&notes::PROGRAM_LIBWRAP);
        let daemon = entry.arguments.first().map_or(entry.program.text.as_str(), String::as_str);
        legacy::hosts_files(&mut table, legacy::base(daemon), span);
    }
    limits(entry, grammar, life, &mut table, found);
    socket_options(entry, life, &mut table, found);
    Some(table)
}

fn id(entry: &Entry) -> String {
    match entry.transport {
        Transport::Unix => legacy::base(&entry.name.text).to_owned(),
        _ => entry.name.text.clone(),
    }
}

fn listen(entry: &Entry, found: &mut Findings) -> Option<Vec<String>> {
    let wildcard = |family| match family {
        Family::V4 => Wildcard::V4,
        Family::V6 => Wildcard::V6,
        Family::Both => Wildcard::Both,
        Family::Dual => Wildcard::Dual,
    };
    let name = &entry.name;
    let mut inet = |kind: &str, family, expected: Socket| {
        if entry.socket != expected {
            let kinds = "stream belongs to tcp, dgram to udp";
            found.note(&notes::INETD_ENTRY, entry.span, kinds);
            return None;
        }
        for address in &entry.addresses {
            let ip = address.parse::<std::net::IpAddr>().ok();
            let other = match (ip, family) {
                (Some(ip), Family::V4) => ip.is_ipv6(),
                (Some(ip), Family::V6) => ip.is_ipv4(),
                _ => false,
            };
            if other {
                let problem = format!("{address} is not of the protocol's family");
                found.note(&notes::INETD_ENTRY, entry.span, problem);
                return None;
            }
            if ip.is_none() && matches!(family, Family::V4 | Family::V6) {
                found.note(&notes::INETD_NAME_FAMILY, name.span, address.clone());
            }
        }
        Some(legacy::places(kind, &entry.addresses, &name.text, wildcard(family)))
    };
    match entry.transport {
        Transport::Tcp(family) => inet("tcp", family, Socket::Stream),
        Transport::Udp(family) => inet("udp", family, Socket::Datagram),
        _ => {
            let kind = match entry.socket {
                Socket::Datagram => "unix-dgram",
                Socket::Seqpacket => "unix-seqpacket",
                _ => "unix",
            };
            Some(vec![format!("{kind}:{}", name.text)])
        }
    }
}

/// The name of an internal service.
fn internal(entry: &Entry, grammar: &Grammar, found: &mut Findings) -> String {
    let name = &entry.name;
    if let Ok(port) = name.text.parse::<u16>()
        && let Some(service) = SERVICES.iter().find(|service| service.port == port && port != 0)
    {
        found.note(&notes::INETD_PORT_NUMBER, name.span, service.name);
        return service.name.to_owned();
    }
    if grammar.dialect == Dialect::Xinetd && name.text == "discard" {
        found.note(&notes::INETD_DISCARD, name.span, "");
    }
    if grammar.internal.contains(&name.text.as_str()) {
        return name.text.clone();
    }
    // Names of ours that no inetd has are not what the file means.
    format!("internal {}", name.text)
}

/// The program, without tcpd where the daemon does its work.
fn unwrapped(entry: &Entry, life: &Life) -> (String, Vec<String>) {
    let file = entry.program.text.clone();
    let mut arguments = entry.arguments.clone();
    if !life.libwrap || file != "/usr/sbin/tcpd" {
        return (file, arguments);
    }
    let inner = arguments.first().cloned().unwrap_or_default();
    let path = if inner.starts_with('/') { inner.clone() } else { format!("/usr/sbin/{inner}") };
    if let Some(first) = arguments.first_mut() {
        *first = legacy::base(&inner).to_owned();
    }
    (path, arguments)
}

fn limits(entry: &Entry, grammar: &Grammar, life: &Life, table: &mut ServiceTable, found: &mut Findings) {
    let Limits { per_minute, at_once, per_source_minute, per_source } = entry.limits;
    let span = entry.span;
    let inside = entry.program.text == "internal";
    let forever = |limit: Option<u32>| limit.filter(|limit| *limit > 0);
    if grammar.dialect == Dialect::NetBsd && (per_minute == Some(0) || per_source_minute == Some(0)) {
        found.note(&notes::INETD_LIMIT_ZERO, span, format!("service {}", entry.name.text));
        table.access = legacy::nobody(span);
        return;
    }
    let default = || match life.limits.per_minute {
        Some(limit) => forever(Some(limit)),
        None => grammar.per_minute,
    };
    let written = forever(per_minute);
    let starts = written.or_else(|| if inside || entry.wait { None } else { default() });
    if let Some(count) = starts {
        found.once(&notes::INETD_RATE);
        table.rate = legacy::bucket(count, Per::Minute, Otherwise::Queue, Some(span));
    }
    if inside && entry.limits == Limits::default() {
        return;
    }
    let children = forever(at_once.or(life.limits.at_once));
    match children {
        Some(count) if entry.wait && count > 1 && !inside => {
            found.note(&notes::INETD_WAIT_CHILDREN, span, format!("{count} programs"));
            (table.mode, table.pool) = (None, at(Count(count), span));
        }
        Some(count) if !entry.wait => {
            table.max_connections = legacy::bound(count, Otherwise::Queue, span);
        }
        _ => {}
    }
    if entry.wait {
        return;
    }
    if let Some(count) = forever(per_source_minute.or(life.limits.per_source_minute)) {
        found.once(&notes::INETD_PER_SOURCE);
        table.rate_per_source = legacy::bucket(count, Per::Minute, Otherwise::Close, Some(span));
    }
    if let Some(count) = forever(per_source.or(life.limits.per_source)) {
        found.once(&notes::INETD_PER_SOURCE);
        table.per_source = legacy::bound(count, Otherwise::Close, span);
    }
}

fn socket_options(entry: &Entry, life: &Life, table: &mut ServiceTable, found: &mut Findings) {
    let mut options: Vec<(String, String)> =
        entry.buffers.iter().map(|(name, size)| ((*name).to_owned(), size.clone())).collect();
    if entry.filter && matches!(entry.transport, Transport::Tcp(_)) {
        found.note(&notes::INETD_ACCEPT_FILTER, entry.span, "");
        options.push(("defer-accept".into(), "30".into()));
    }
    if let Some(backlog) = life.backlog.filter(|_| entry.socket != Socket::Datagram && entry.mux.is_none()) {
        options.push(("backlog".into(), backlog.to_string()));
    }
    if !options.is_empty() {
        table.socket_options = at(options.into_iter().collect::<Pairs>(), entry.span);
    }
}
