//! What is done with a connection: a program, a redirection, an internal service; and a program's environment.

use super::super::settings::{Service, Setting, Settings};
use super::Reader;
use crate::config::document::{ForwardTable, ServiceTable};
use crate::config::legacy::service::{self as legacy, OldProgram, Wildcard, at};
use crate::config::notes;
use crate::config::value::{Many, Pairs};
use std::str::FromStr;

impl Reader<'_> {
    pub(super) fn action(
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
            self.relay_user(settings, table);
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
        let group = self.group(settings, user);
        let groups = self.yes(settings, "groups") == Some(true);
        let program = OldProgram { file: &file.text, arguments, user, group, groups, wait, datagram };
        legacy::program(table, program, self.compat, server.span, self.found);
        if datagram && wait {
            self.found.once(&notes::XINETD_DRAIN);
        }
        self.environment(settings, table);
    }

    /// The group of a service with this user.
    fn group(&mut self, settings: &Settings, user: &str) -> Option<String> {
        if let Some(setting) = settings.find("group") {
            return Some(setting.words[0].text.clone());
        }
        let span = settings.find("user").map(|setting| setting.span);
        legacy::is_number(user).then(|| {
            self.found.note(&notes::XINETD_NUMERIC_USER, span, user.to_owned());
            user.to_owned()
        })
    }

    /// Whose the process of a relay is. Root's would be nobody's business: a relay has no privileges.
    fn relay_user(&mut self, settings: &Settings, table: &mut ServiceTable) {
        let Some(setting) = settings.find("user") else { return };
        let user = setting.words[0].text.clone();
        if user == "root" || user == "0" {
            return;
        }
        table.group = self.group(settings, &user).and_then(|group| at(group, setting.span));
        table.user = at(user, setting.span);
        if self.yes(settings, "groups") == Some(true) {
            table.groups = legacy::many(["all".to_owned()], setting.span);
        }
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
}
