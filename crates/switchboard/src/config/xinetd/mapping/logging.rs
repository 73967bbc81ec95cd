//! The one log here, from one for each service.

use super::super::settings::Settings;
use super::Reader;
use crate::config::document::{Document, LogTable};
use crate::config::notes::{self, Findings};
use crate::config::value::{FACILITIES, Logging, Shape};
use std::path::PathBuf;

impl Reader<'_> {
    pub(super) fn log_words(&mut self, settings: &Settings) {
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

    pub(super) fn log_type(&mut self, settings: &Settings) -> Option<Logging> {
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
    pub(super) fn log(&mut self, defaults: &Settings, logs: Vec<Option<Logging>>, document: &mut Document) {
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
