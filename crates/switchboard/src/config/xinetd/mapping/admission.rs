//! How many and how fast, who and when, and what those are told who are refused.

use super::super::address;
use super::super::settings::{Service, Settings};
use super::Reader;
use crate::config::document::{AccessTable, LoadTable, ServiceTable};
use crate::config::legacy::service::{self as legacy, at, many};
use crate::config::notes;
use crate::config::source::At;
use crate::config::value::{Many, Otherwise, Per, Real};
use std::net::IpAddr;

impl Reader<'_> {
    /// How many, how fast.
    pub(super) fn admission(&mut self, settings: &Settings, table: &mut ServiceTable) {
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
    pub(super) fn access(
        &mut self,
        service: &Service,
        flags: &[String],
        wait: bool,
        table: &mut ServiceTable,
    ) {
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

    pub(super) fn addresses(&mut self, settings: &Settings) -> (Option<List>, Option<List>) {
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

    pub(super) fn banners(&mut self, settings: &Settings, table: &mut ServiceTable) {
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
}

/// Clients in our words, and those that are prefixes.
#[derive(Default)]
pub(super) struct List(Vec<String>, Vec<(IpAddr, u8)>);

/// Minutes since midnight; 24:00 is allowed.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let fits = hour < 24 && minute < 60 || hour == 24 && minute == 0;
    fits.then_some(hour * 60 + minute)
}
