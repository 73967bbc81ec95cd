//! From what holds for each service to a [`Document`].

use super::lines::{Files, Word};
use super::settings::{Service, Setting, Settings, settle};
use crate::config::document::{Document, ServiceTable};
use crate::config::legacy::Legacy;
use crate::config::legacy::service::{self as legacy, Wildcard, at, many};
use crate::config::notes::{self, Findings};
use crate::config::source::{Sources, Span};
use crate::config::value::{Logging, Pairs};
use std::path::Path;
use std::str::FromStr;
use switchboard_net::{Kind, Port};

mod action;
mod admission;
mod confinement;
mod logging;

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
        for setting in ["rpc_version", "rpc_number"].into_iter().filter_map(|name| settings.find(name)) {
            self.found.note(&notes::XINETD_RPC_WORDS, setting.span, format!("service {}", service.name.text));
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
        if is("NORETRY") {
            self.found.note(&notes::XINETD_RETRY, setting.span, name());
        }
        kept
    }
}
