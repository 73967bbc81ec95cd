//! From what holds for each service to a [`Document`].

use super::address;
use super::lines::{Files, Word};
use super::settings::{Service, Setting, Settings, settle};
use crate::config::document::{AccessTable, Document, ForwardTable, LoadTable, LogTable, ServiceTable};
use crate::config::legacy::Legacy;
use crate::config::legacy::service::{self as legacy, OldProgram, Wildcard, at, many};
use crate::config::notes::{self, Findings};
use crate::config::source::{At, Sources, Span};
use crate::config::value::{
    FACILITIES, Logging, Many, Number, Octal, Otherwise, Pairs, Per, RESOURCES, Real, Resources, Shape,
};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use switchboard_net::{Kind, Port};

/// Reads a file, and those that it includes if `disk` is set.
pub(crate) fn read(path: &Path, text: String, compat: bool, disk: bool, sources: &mut Sources) -> Legacy {
    let mut found = Findings::default();
    let mut files = Files { sources, found: &mut found, sections: Vec::new(), disk };
    files.text(path, text, 0);
    let sections = files.sections;
    let (defaults, services) = settle(sections, &mut found);
    let networks = std::fs::read_to_string("/etc/networks").unwrap_or_default();
    let mut reader = Reader { compat, networks, found: &mut found, in_defaults: false, wrong: false };
    let mut document = Document::default();
    reader.defaults(&defaults);
    let mut logs: Vec<Option<Logging>> = Vec::new();
    for service in &services {
        if let Some((table, log)) = reader.service(service, &defaults) {
            document.service.push(table);
            logs.push(log);
        }
    }
    reader.log(&defaults, logs, &mut document);
    duplicates(&mut document.service, &mut found);
    Legacy::new(document, found)
}

/// A later service on the place of an earlier one cannot be bound.
fn duplicates(services: &mut Vec<ServiceTable>, found: &mut Findings) {
    let mut taken: Vec<String> = Vec::new();
    services.retain(|service| {
        let places = service.listen.iter().flat_map(|listen| listen.value.0.iter());
        let places: Vec<String> = places.map(|place| place.value.clone()).collect();
        let same = places.iter().find(|place| taken.contains(place));
        if let (Some(same), Some(span)) = (same, service.span) {
            found.note(&notes::XINETD_DUPLICATE, span, same.clone());
            return false;
        }
        taken.extend(places);
        true
    });
}

struct Reader<'a> {
    compat: bool,
    /// Text of networks(5).
    networks: String,
    found: &'a mut Findings,
    in_defaults: bool,
    /// Whether the service at hand has a value that cannot be understood.
    wrong: bool,
}

/// Flags of xinetd.conf(5), as words.
const FLAGS: [&str; 11] = [
    "REUSE",
    "INTERCEPT",
    "NORETRY",
    "IDONLY",
    "NAMEINARGS",
    "NODELAY",
    "KEEPALIVE",
    "NOLIBWRAP",
    "SENSOR",
    "IPv4",
    "IPv6",
];

impl Reader<'_> {
    fn problem(&mut self, setting: &Setting, span: Span, text: impl Into<String>) {
        let note = if self.in_defaults || setting.inherited {
            &notes::XINETD_DEFAULTS_VALUE
        } else {
            &notes::XINETD_ENTRY
        };
        // A default that is wrong is complained about once, not in each service.
        if self.in_defaults || !setting.inherited {
            self.found.note(note, span, text);
        }
        self.wrong = true;
    }

    /// One word of a list.
    fn choice<'w>(&mut self, setting: &Setting, word: &'w Word, known: &[&str]) -> Option<&'w str> {
        if known.contains(&word.text.as_str()) {
            return Some(&word.text);
        }
        let text =
            format!("expected {}, found `{}`", crate::config::read::list(known), word.text.escape_debug());
        self.problem(setting, word.span, text);
        None
    }

    fn yes(&mut self, settings: &Settings, name: &str) -> Option<bool> {
        let setting = settings.find(name)?;
        self.choice(setting, &setting.words[0], &["yes", "no"]).map(|word| word == "yes")
    }

    fn number<T: FromStr>(&mut self, setting: &Setting, word: &Word, what: &str) -> Option<T> {
        let number = word.text.parse().ok();
        if number.is_none() {
            self.problem(
                setting,
                word.span,
                format!("expected {what}, found `{}`", word.text.escape_debug()),
            );
        }
        number
    }

    /// A number, or UNLIMITED, which is `None` inside.
    fn limit(&mut self, settings: &Settings, name: &str) -> Option<(Option<u32>, Span)> {
        let setting = settings.find(name)?;
        let word = &setting.words[0];
        if word.text == "UNLIMITED" {
            return Some((None, setting.span));
        }
        self.number(setting, word, "a number or UNLIMITED").map(|number| (Some(number), setting.span))
    }

    /// The values of `defaults`, for their mistakes alone.
    fn defaults(&mut self, defaults: &Settings) {
        self.in_defaults = true;
        let mut scratch = ServiceTable::default();
        self.admission(defaults, &mut scratch);
        self.confinement(defaults, &mut scratch);
        self.addresses(defaults);
        self.log_words(defaults);
        self.yes(defaults, "v6only");
        self.yes(defaults, "groups");
        self.log_type(defaults);
        (self.in_defaults, self.wrong) = (false, false);
    }

    fn service(&mut self, service: &Service, defaults: &Settings) -> Option<(ServiceTable, Option<Logging>)> {
        self.wrong = service.lost;
        let settings = &service.settings;
        if self.yes(settings, "disable") == Some(true) {
            self.found.note(&notes::XINETD_DISABLED, service.span, format!("service {}", service.name.text));
            return None;
        }
        let id = settings.find("id").map_or(&service.name, |setting| &setting.words[0]);
        if service.lost || !self.wanted(defaults, id, service) {
            return None;
        }
        let types =
            self.words(settings, "type", &["RPC", "INTERNAL", "UNLISTED", "SPECIAL", "TCPMUX", "TCPMUXPLUS"]);
        let mut flags = FLAGS.to_vec();
        flags.push("LABELED");
        let flags = self.words(settings, "flags", &flags);
        let is = |word: &str| types.iter().chain(&flags).any(|known| known == word);
        if is("RPC") {
            self.found.note(&notes::RPC, service.span, format!("service {}", service.name.text));
            return None;
        }
        for name in ["socket_type", "wait"] {
            if settings.find(name).is_none() {
                self.missing(service, name);
            }
        }
        let wait = self.yes(settings, "wait").unwrap_or(false);
        let datagram = self.socket(service)?;
        let mut table = ServiceTable { span: Some(service.span), ..ServiceTable::default() };
        table.id = at(id.text.clone(), id.span);
        self.place(service, &types, &flags, datagram, &mut table);
        let kept = self.flags(service, &flags, datagram, &mut table);
        self.action(service, &types, &flags, wait, datagram, &mut table);
        self.admission(settings, &mut table);
        self.access(service, &flags, wait, &mut table);
        self.confinement(settings, &mut table);
        self.banners(settings, &mut table);
        self.log_words(settings);
        let log = self.log_type(settings);
        if self.wrong || !kept || (table.builtin.is_none() && table.exec.is_none() && table.forward.is_none())
        {
            return None;
        }
        Some((table, log))
    }

    fn missing(&mut self, service: &Service, name: &str) {
        self.found.note(&notes::XINETD_ENTRY, service.name.span, format!("`{name}` is missing"));
        self.wrong = true;
    }

    /// Whether `enabled` and `disabled` leave this service on.
    fn wanted(&mut self, defaults: &Settings, id: &Word, service: &Service) -> bool {
        let named = |name: &str| {
            defaults.find(name).map(|setting| setting.words.iter().any(|word| word.text == id.text))
        };
        let off = named("enabled") == Some(false) || named("disabled") == Some(true);
        if off {
            self.found.note(&notes::XINETD_DISABLED, service.span, format!("service {}", id.text));
        }
        !off
    }

    fn words(&mut self, settings: &Settings, name: &str, known: &[&str]) -> Vec<String> {
        let Some(setting) = settings.find(name) else { return Vec::new() };
        let words = setting.words.iter().filter_map(|word| self.choice(setting, word, known));
        words.map(str::to_owned).collect()
    }

    /// Whether it is datagrams; `None` for what is not served.
    fn socket(&mut self, service: &Service) -> Option<bool> {
        let settings = &service.settings;
        let kinds = ["stream", "dgram", "raw", "seqpacket"];
        let kind = match settings.find("socket_type") {
            Some(setting) => self.choice(setting, &setting.words[0], &kinds).unwrap_or("stream"),
            None => "stream",
        };
        let expected = if kind == "dgram" { "udp" } else { "tcp" };
        let protocol = settings.find("protocol").map(|setting| &setting.words[0]);
        let other = protocol.is_some_and(|word| !["tcp", "udp"].contains(&word.text.as_str()));
        if other || kind == "raw" || kind == "seqpacket" {
            self.found.note(&notes::SOCKET_TYPE, service.span, format!("service {}", service.name.text));
            return None;
        }
        if let (Some(word), Some(setting)) = (protocol, settings.find("protocol"))
            && word.text != expected
        {
            self.problem(setting, word.span, format!("socket type {kind} goes with {expected}"));
        }
        Some(kind == "dgram")
    }

    fn place(
        &mut self,
        service: &Service,
        types: &[String],
        flags: &[String],
        datagram: bool,
        table: &mut ServiceTable,
    ) {
        let settings = &service.settings;
        let is = |word: &str| types.iter().chain(flags).any(|known| known == word);
        if is("TCPMUX") || is("TCPMUXPLUS") {
            if is("TCPMUX") {
                self.found.note(
                    &notes::MUX_HANDSHAKE,
                    service.name.span,
                    format!("service {}", service.name.text),
                );
                self.wrong = true;
            }
            table.tcpmux = at(true, service.name.span);
            // tcpmux asks for the service by its name, not by its id.
            table.id = at(service.name.text.clone(), service.name.span);
            return;
        }
        let kind = if datagram { Kind::Udp } else { Kind::Tcp };
        let listed = Port::from_str(&service.name.text).ok().and_then(|port| port.number(kind).ok());
        let port = match settings.find("port") {
            Some(setting) => {
                let Some(port) = self.number::<u16>(setting, &setting.words[0], "a port, 0 to 65535") else {
                    return;
                };
                if !is("UNLISTED") && listed != Some(port) {
                    let listed = listed.map_or("nothing".to_owned(), |port| port.to_string());
                    let detail = format!("services(5) has {listed} for {}", service.name.text);
                    self.found.note(&notes::XINETD_PORT, setting.span, detail);
                    self.wrong |= self.compat;
                }
                port.to_string()
            }
            None if is("UNLISTED") => return self.missing(service, "port"),
            None if Port::from_str(&service.name.text).is_err() => {
                self.found.note(&notes::XINETD_ENTRY, service.name.span, "expected the name of a service");
                self.wrong = true;
                return;
            }
            None => service.name.text.clone(),
        };
        let v6only = self.yes(settings, "v6only");
        if let (Some(false), Some(setting)) = (v6only, settings.find("v6only")) {
            self.found.note(&notes::XINETD_V6ONLY, setting.span, "");
        }
        let v6only = v6only.map(|yes| yes || self.compat);
        let wildcard = match (is("IPv4"), is("IPv6"), v6only) {
            (_, _, Some(true)) => Wildcard::V6,
            (true, false, _) => Wildcard::V4,
            (false, true, _) | (_, _, Some(false)) => Wildcard::Dual,
            _ => Wildcard::Both,
        };
        let bind = settings.find("bind").map(|setting| setting.words[0].text.clone());
        let wildcard = match bind.as_deref() {
            Some("0.0.0.0") => Wildcard::V4,
            Some("::") if v6only == Some(true) => Wildcard::V6,
            Some("::") => Wildcard::Dual,
            _ => wildcard,
        };
        let addresses: Vec<String> =
            bind.filter(|bind| bind != "0.0.0.0" && bind != "::").into_iter().collect();
        let kind = if datagram { "udp" } else { "tcp" };
        table.listen = many(legacy::places(kind, &addresses, &port, wildcard), service.name.span);
    }

    /// What flags do besides; whether the service can be kept.
    fn flags(
        &mut self,
        service: &Service,
        flags: &[String],
        datagram: bool,
        table: &mut ServiceTable,
    ) -> bool {
        let settings = &service.settings;
        let Some(setting) = settings.find("flags") else { return true };
        let is = |word: &str| flags.iter().any(|known| known == word);
        let mut options = Vec::new();
        for (flag, option) in [("NODELAY", "nodelay"), ("KEEPALIVE", "keepalive")] {
            if is(flag) && !datagram {
                self.found.note(&notes::XINETD_LISTENER_OPTIONS, setting.span, flag);
                options.push((option, "on"));
            }
        }
        if !options.is_empty() && table.listen.is_some() {
            table.socket_options = at(options.into_iter().collect::<Pairs>(), setting.span);
        }
        let logs = ["log_on_success", "log_on_failure"].into_iter().filter_map(|name| settings.find(name));
        let asks = logs.into_iter().any(|log| log.words.iter().any(|word| word.text == "USERID"));
        let name = || format!("service {}", service.name.text);
        let mut kept = true;
        if is("IDONLY") && asks {
            self.found.note(&notes::XINETD_IDENT, setting.span, name());
            kept = false;
        }
        if is("LABELED") {
            self.found.note(&notes::XINETD_LABELED, setting.span, name());
            kept = false;
        }
        if is("INTERCEPT") {
            self.found.note(&notes::XINETD_INTERCEPT, setting.span, name());
        }
        kept
    }

    fn action(
        &mut self,
        service: &Service,
        types: &[String],
        flags: &[String],
        wait: bool,
        datagram: bool,
        table: &mut ServiceTable,
    ) {
        let settings = &service.settings;
        let is = |word: &str| types.iter().chain(flags).any(|known| known == word);
        if is("SENSOR") {
            let span = settings.find("flags").map_or(service.span, |setting| setting.span);
            self.found.note(&notes::XINETD_SENSOR, span, format!("service {}", service.name.text));
            table.builtin = at("discard".to_owned(), span);
            table.access = legacy::nobody(span);
            return;
        }
        if let Some(setting) = settings.find("deny_time") {
            self.found.note(&notes::XINETD_SENSOR, setting.span, "deny_time without SENSOR");
        }
        if let Some(setting) = settings.find("redirect") {
            self.redirect(setting, table);
            return;
        }
        if is("INTERNAL") {
            self.internal(service, datagram, table);
            return;
        }
        let server = settings.find("server");
        let user = settings.find("user");
        let (Some(server), Some(user)) = (server, user) else {
            if server.is_none() {
                self.missing(service, "server");
            }
            if user.is_none() {
                self.missing(service, "user");
            }
            return;
        };
        let file = &server.words[0];
        if !file.text.starts_with('/') {
            self.problem(server, file.span, "expected a path, from `/`");
        }
        let arguments = self.arguments(settings, &file.text, is("NAMEINARGS"));
        let user = &user.words[0].text;
        let group = settings.find("group").map(|setting| setting.words[0].text.clone());
        let group = group.or_else(|| {
            legacy::is_number(user).then(|| {
                self.found.note(&notes::XINETD_NUMERIC_USER, service.name.span, user.clone());
                user.clone()
            })
        });
        let groups = self.yes(settings, "groups") == Some(true);
        let program = OldProgram { file: &file.text, arguments, user, group, groups, wait, datagram };
        legacy::program(table, program, self.compat, server.span, self.found);
        if datagram && wait {
            self.found.once(&notes::XINETD_DRAIN);
        }
        self.environment(settings, table);
    }

    fn arguments(&mut self, settings: &Settings, file: &str, named: bool) -> Vec<String> {
        let words: Vec<String> = settings
            .find("server_args")
            .map(|setting| setting.words.iter().map(|word| word.text.clone()).collect())
            .unwrap_or_default();
        let late = named && settings.before("server_args", "flags");
        if late {
            let span = settings.find("server_args").map(|setting| setting.span);
            self.found.note(&notes::XINETD_ARGS_ORDER, span, "");
        }
        if named && !words.is_empty() {
            return words;
        }
        let mut arguments = vec![legacy::base(file).to_owned()];
        arguments.extend(words);
        arguments
    }

    fn redirect(&mut self, setting: &Setting, table: &mut ServiceTable) {
        let [host, port] = setting.words.as_slice() else { return };
        let endpoint =
            legacy::places("tcp", std::slice::from_ref(&host.text), &port.text, Wildcard::Both).remove(0);
        if switchboard_net::Endpoint::from_str(&endpoint).is_err() {
            self.problem(setting, setting.span, "expected an address and a port");
            return;
        }
        self.found.note(&notes::XINETD_REDIRECT, setting.span, "");
        let forward = ForwardTable { to: at(endpoint, setting.span), ..ForwardTable::default() };
        table.forward = at(forward, setting.span);
    }

    fn internal(&mut self, service: &Service, datagram: bool, table: &mut ServiceTable) {
        let name = service.name.text.as_str();
        let known = ["echo", "discard", "chargen", "daytime", "time", "tcpmux"].contains(&name);
        let name = if known { name.to_owned() } else { format!("internal {name}") };
        if name == "chargen" {
            self.found.once(&notes::XINETD_CHARGEN);
        }
        if name == "tcpmux" {
            self.found.once(&notes::XINETD_MUX_NUL);
        }
        legacy::builtin(table, &name, &[], datagram, service.name.span, self.found);
    }

    fn environment(&mut self, settings: &Settings, table: &mut ServiceTable) {
        if let Some(setting) = settings.find("env") {
            let mut pairs: Vec<(String, String)> = Vec::new();
            for word in &setting.words {
                match word.text.split_once('=') {
                    Some((name, value)) if !name.is_empty() => {
                        pairs.retain(|(known, _)| known != name);
                        pairs.push((name.to_owned(), value.to_owned()));
                    }
                    _ => self.problem(setting, word.span, "expected NAME=VALUE"),
                }
            }
            table.env = at(pairs.into_iter().collect::<Pairs>(), setting.span);
        }
        if let Some(setting) = settings.find("passenv") {
            let names: Many<String> = setting.words.iter().map(|word| word.text.clone()).collect();
            table.pass_env = at(names, setting.span);
        }
    }

    /// How many, how fast.
    fn admission(&mut self, settings: &Settings, table: &mut ServiceTable) {
        if let Some((Some(most), span)) = self.limit(settings, "instances") {
            self.found.once(&notes::XINETD_REFUSE);
            table.max_connections = legacy::bound(most, Otherwise::Close, span);
        }
        if let Some((Some(most), span)) = self.limit(settings, "per_source") {
            self.found.once(&notes::XINETD_REFUSE);
            table.per_source = legacy::bound(most, Otherwise::Close, span);
        }
        if let Some(setting) = settings.find("cps") {
            let most = self.number::<u32>(setting, &setting.words[0], "a number of connections");
            let pause = self.number::<u32>(setting, &setting.words[1], "a number of seconds");
            if let (Some(most), Some(_)) = (most, pause) {
                self.found.once(&notes::XINETD_CPS);
                table.rate = legacy::bucket(most, Per::Second, Otherwise::Queue, Some(setting.span));
            }
        }
        if let Some(setting) = settings.find("max_load") {
            let word = &setting.words[0];
            let load = self.number::<f64>(setting, word, "a load average, such as 2.5");
            match load {
                Some(load) if load > 0.0 && load.is_finite() => {
                    self.found.once(&notes::XINETD_REFUSE);
                    let table_of = LoadTable {
                        most: at(Real(load), setting.span),
                        otherwise: at(Otherwise::Close, setting.span),
                        ..LoadTable::default()
                    };
                    table.max_load = at(table_of, setting.span);
                }
                Some(_) => self.problem(setting, word.span, "expected a load average above 0"),
                None => {}
            }
        }
    }

    /// Who, and when.
    fn access(&mut self, service: &Service, flags: &[String], wait: bool, table: &mut ServiceTable) {
        let settings = &service.settings;
        let (allow, deny) = self.addresses(settings);
        let times = self.times(settings);
        if table.access.is_some() {
            return;
        }
        let mut access = AccessTable::default();
        if let (Some(allow), Some(setting)) = (&allow, settings.find("only_from")) {
            if allow.0.is_empty() {
                if setting.words.is_empty() {
                    let name = format!("service {}", service.name.text);
                    self.found.note(&notes::XINETD_NOBODY, setting.span, name);
                }
                table.access = legacy::nobody(setting.span);
                return;
            }
            access.allow = many(allow.0.clone(), setting.span);
        }
        if let (Some(deny), Some(setting)) = (&deny, settings.find("no_access"))
            && !deny.0.is_empty()
        {
            access.deny = many(deny.0.clone(), setting.span);
        }
        if let (Some(allow), Some(deny)) = (&allow, &deny) {
            self.both_lists(settings, allow, deny, &mut access);
        }
        access.times = times;
        let limited = table.max_connections.is_some() || table.per_source.is_some() || table.rate.is_some();
        let guarded = access != AccessTable::default() || limited || table.max_load.is_some();
        if wait && guarded && table.exec.is_some() {
            self.found.note(
                &notes::XINETD_WAIT_ACCESS,
                service.name.span,
                format!("service {}", service.name.text),
            );
        }
        if access != AccessTable::default() {
            table.access = at(access, service.name.span);
        }
        if !flags.iter().any(|flag| flag == "NOLIBWRAP") {
            self.found.once(&notes::XINETD_LIBWRAP);
            let id = table.id.as_ref().map(|id| id.value.clone()).unwrap_or_default();
            let daemon = match (settings.find("libwrap"), &table.exec, &table.forward) {
                (Some(setting), _, _) => setting.words[0].text.clone(),
                (None, Some(exec), _) => {
                    let first = table.argv0.as_ref().map(|name| name.value.as_str());
                    let first = first.filter(|_| flags.iter().any(|flag| flag == "NAMEINARGS"));
                    legacy::base(first.unwrap_or(&exec.value.0[0])).to_owned()
                }
                (None, None, Some(_)) => service.name.text.clone(),
                (None, None, None) => id,
            };
            legacy::hosts_files(table, &daemon, service.name.span);
        }
    }

    fn both_lists(&mut self, settings: &Settings, allow: &List, deny: &List, access: &mut AccessTable) {
        let Some(setting) = settings.find("no_access") else { return };
        let inside = |(ip, length): &(IpAddr, u8)| {
            deny.1.iter().any(|(outer, short)| {
                short < length && ip.is_ipv4() == outer.is_ipv4() && address::masked(*ip, *short) == *outer
            })
        };
        // Names are matched beside prefixes: which is the better match cannot be said from the file.
        let names = |list: &List| list.0.len() > list.1.len();
        let differs = allow.1.iter().any(inside) || names(allow) || names(deny);
        if !deny.0.is_empty() && differs {
            self.found.note(&notes::XINETD_BOTH_LISTS, setting.span, "");
            if self.compat {
                access.both_deny = at(true, setting.span);
            }
        }
    }

    fn addresses(&mut self, settings: &Settings) -> (Option<List>, Option<List>) {
        (self.list(settings, "only_from"), self.list(settings, "no_access"))
    }

    fn list(&mut self, settings: &Settings, name: &str) -> Option<List> {
        let setting = settings.find(name)?;
        let mut list = List::default();
        let silent = setting.inherited && !self.in_defaults;
        for word in &setting.words {
            match address::item(&word.text, &self.networks) {
                Ok(item) => {
                    for id in item.notes.iter().filter(|_| !silent) {
                        self.found.note(id, word.span, word.text.clone());
                    }
                    list.0.extend(item.clients);
                    list.1.extend(item.nets);
                }
                Err(problem) if !silent => {
                    let note =
                        if name == "only_from" { &notes::XINETD_ADDRESS } else { &notes::XINETD_NO_ACCESS };
                    self.found.note(note, word.span, problem);
                }
                Err(_) => {}
            }
        }
        Some(list)
    }

    fn times(&mut self, settings: &Settings) -> Option<At<Many<String>>> {
        let setting = settings.find("access_times")?;
        let mut spans = Vec::new();
        for word in &setting.words {
            let Some((from, to)) =
                word.text.split_once('-').and_then(|(from, to)| Some((minute(from)?, minute(to)?)))
            else {
                self.problem(setting, word.span, "expected HOUR:MINUTE-HOUR:MINUTE, such as 8:00-17:59");
                continue;
            };
            if from >= 24 * 60 {
                self.problem(setting, word.span, "an interval cannot begin at 24:00");
                continue;
            }
            if to >= 24 * 60 || to <= from {
                self.found.note(&notes::XINETD_MIDNIGHT, word.span, word.text.clone());
                self.wrong |= self.compat;
            }
            let to = to.min(24 * 60 - 1);
            spans.push(format!("{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60));
        }
        many(spans, setting.span)
    }

    fn confinement(&mut self, settings: &Settings, table: &mut ServiceTable) {
        if let Some(setting) = settings.find("umask") {
            let word = &setting.words[0];
            match u32::from_str_radix(&word.text, 8).ok().filter(|mask| *mask <= 0o777) {
                Some(mask) => table.umask = at(Octal(mask), setting.span),
                None => self.problem(setting, word.span, "expected octal digits, 0 to 0777"),
            }
        }
        if let Some(setting) = settings.find("nice")
            && let Some(nice) = self.number::<i64>(setting, &setting.words[0], "a number, -20 to 19")
        {
            // xinetd takes any number, and setpriority(2) the nearest that there is.
            table.nice = at(Number(nice.clamp(-20, 19)), setting.span);
        }
        let mut limits = Vec::new();
        let mut span = None;
        for (attribute, resource, bytes) in [
            ("rlimit_as", "as", true),
            ("rlimit_cpu", "cpu", false),
            ("rlimit_data", "data", true),
            ("rlimit_files", "nofile", false),
            ("rlimit_rss", "rss", true),
            ("rlimit_stack", "stack", true),
        ] {
            let Some(setting) = settings.find(attribute) else { continue };
            let known = RESOURCES.iter().find(|(name, ..)| *name == resource);
            let Some(limit) = self.resource(setting, bytes) else { continue };
            if limit == 0 {
                self.found.note(&notes::XINETD_RLIMIT_ZERO, setting.span, "");
                continue;
            }
            if let Some((name, ..)) = known {
                limits.push((At::new(*name, setting.span), limit, limit));
                span = Some(setting.span);
            }
        }
        if let Some(span) = span {
            table.rlimits = at(Resources(limits), span);
        }
    }

    fn resource(&mut self, setting: &Setting, bytes: bool) -> Option<u64> {
        let word = &setting.words[0];
        if word.text == "UNLIMITED" {
            return Some(u64::MAX);
        }
        let (digits, factor) = match word.text.as_bytes().last() {
            Some(b'K' | b'k') if bytes => (&word.text[..word.text.len() - 1], 1 << 10),
            Some(b'M' | b'm') if bytes => (&word.text[..word.text.len() - 1], 1 << 20),
            _ => (word.text.as_str(), 1),
        };
        let limit = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        // Beyond what a file can say of a size, it is no limit at all.
        let limit = limit.filter(|limit| *limit <= i64::MAX as u64);
        if limit.is_none() {
            let unit = if bytes { "a number of bytes (K, M) or UNLIMITED" } else { "a number or UNLIMITED" };
            self.problem(setting, word.span, format!("expected {unit}"));
        }
        limit
    }

    fn banners(&mut self, settings: &Settings, table: &mut ServiceTable) {
        for name in ["banner", "banner_success"] {
            if let Some(setting) = settings.find(name) {
                self.found.note(&notes::XINETD_BANNER, setting.span, name);
            }
        }
        if let Some(setting) = settings.find("banner_fail") {
            let path = &setting.words[0].text;
            match std::fs::read_to_string(path) {
                Ok(text) if !text.contains('\0') => table.message = at(text, setting.span),
                Ok(_) => self.problem(setting, setting.span, format!("there is a NUL in {path}")),
                Err(error) => self.problem(setting, setting.span, format!("cannot read {path}: {error}")),
            }
        }
    }

    fn log_words(&mut self, settings: &Settings) {
        let forwards = settings.find("redirect").is_some();
        for (name, known) in [
            ("log_on_success", &["PID", "HOST", "USERID", "EXIT", "DURATION", "TRAFFIC"][..]),
            ("log_on_failure", &["HOST", "USERID", "ATTEMPT"][..]),
        ] {
            let Some(setting) = settings.find(name) else { continue };
            if !setting.inherited {
                self.found.once(&notes::XINETD_LOG_FIELDS);
            }
            for word in &setting.words {
                match self.choice(setting, word, known) {
                    Some("USERID") if !setting.inherited => {
                        self.found.note(&notes::XINETD_USERID, word.span, "");
                    }
                    Some("TRAFFIC") if !forwards && !self.in_defaults && !setting.inherited => {
                        self.problem(setting, word.span, "TRAFFIC is only for services with `redirect`");
                    }
                    _ => {}
                }
            }
        }
    }

    fn log_type(&mut self, settings: &Settings) -> Option<Logging> {
        let setting = settings.find("log_type")?;
        let silent = setting.inherited;
        let words: Vec<&str> = setting.words.iter().map(|word| word.text.as_str()).collect();
        match words.as_slice() {
            ["SYSLOG", facility, level @ ..] if level.len() <= 1 => {
                let known = FACILITIES.iter().any(|(name, _)| name == facility);
                if !known {
                    self.problem(setting, setting.words[1].span, "expected a facility of syslog(3)");
                    return None;
                }
                if level.first().is_some_and(|level| *level != "info") && !silent {
                    self.found.note(&notes::XINETD_LOG_LEVEL, setting.words[2].span, "");
                }
                Some(Logging::Syslog((*facility).to_owned()))
            }
            ["FILE", path, limits @ ..] if limits.len() <= 2 => {
                if !path.starts_with('/') {
                    self.problem(setting, setting.words[1].span, "expected a path, from `/`");
                    return None;
                }
                if !limits.is_empty() && !silent {
                    self.found.note(&notes::XINETD_LOG_LIMIT, setting.words[2].span, "");
                }
                Some(Logging::File(PathBuf::from(path)))
            }
            _ => {
                let text = "expected `SYSLOG facility [level]` or `FILE path [soft [hard]]`";
                self.problem(setting, setting.span, text);
                None
            }
        }
    }

    /// The one log, from the many.
    fn log(&mut self, defaults: &Settings, logs: Vec<Option<Logging>>, document: &mut Document) {
        let setting = defaults.find("log_type");
        self.in_defaults = true;
        let common = setting.and_then(|_| quiet(self, defaults));
        self.in_defaults = false;
        let common = common.or_else(|| logs.iter().flatten().next().cloned());
        for (table, log) in document.service.iter().zip(&logs) {
            if log.is_some() && *log != common {
                self.found.note(&notes::XINETD_LOG_SERVICE, table.span, "");
            }
        }
        let silent = logs.iter().all(Option::is_none) && setting.is_none();
        let mut log = LogTable::default();
        if silent {
            self.found.once(&notes::XINETD_LOG_NONE);
            if self.compat {
                log.format = Some(Shape::None.into());
            }
        }
        log.to = Some(common.unwrap_or(Logging::Syslog("daemon".into())).into());
        document.global.log = Some(log.into());
    }
}

/// The log of `defaults`, without saying again what is wrong with it.
fn quiet(reader: &mut Reader<'_>, defaults: &Settings) -> Option<Logging> {
    let mut nothing = Findings::default();
    let mut inner = Reader {
        compat: reader.compat,
        networks: String::new(),
        found: &mut nothing,
        in_defaults: true,
        wrong: false,
    };
    inner.log_type(defaults)
}

/// Clients in our words, and those that are prefixes.
#[derive(Default)]
struct List(Vec<String>, Vec<(IpAddr, u8)>);

/// Minutes since midnight; 24:00 is allowed.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let fits = hour < 24 && minute < 60 || hour == 24 && minute == 0;
    fits.then_some(hour * 60 + minute)
}
