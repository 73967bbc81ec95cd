//! From sections to what holds for each service: operators applied, defaults filled in.

use super::attribute::{ATTRIBUTES, Attribute, Words};
use super::lines::{Line, Operator, Section, Word};
use crate::config::complaint::near;
use crate::config::notes::{self, Findings};
use crate::config::source::Span;

/// The value of an attribute.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) words: Vec<Word>,
    /// Its last line.
    pub(super) span: Span,
    /// It comes from `defaults`.
    pub(super) inherited: bool,
    /// Which line of its section it is.
    place: usize,
}

/// The attributes of a section.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    list: Vec<(&'static str, Setting)>,
}

/// One service, with what holds for it.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: Word,
    pub(super) span: Span,
    pub(super) settings: Settings,
    pub(super) lost: bool,
}

/// Lists that reach a service only if `defaults` came before it, in xinetd.
const EARLY: [&str; 8] = [
    "only_from",
    "no_access",
    "log_on_success",
    "log_on_failure",
    "passenv",
    "banner",
    "banner_success",
    "banner_fail",
];

impl Settings {
    pub(super) fn find(&self, name: &str) -> Option<&Setting> {
        self.list.iter().find(|(known, _)| *known == name).map(|(_, setting)| setting)
    }

    fn entry(&mut self, name: &'static str, span: Span, place: usize) -> &mut Setting {
        let at = self.list.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            self.list.push((name, Setting { words: Vec::new(), span, inherited: false, place }));
            self.list.len() - 1
        });
        &mut self.list[at].1
    }

    /// Whether `first` stands before `second`.
    pub(super) fn before(&self, first: &str, second: &str) -> bool {
        match (self.find(first), self.find(second)) {
            (Some(first), Some(second)) => first.place < second.place,
            _ => false,
        }
    }
}

/// What holds in `defaults`, all of them together, and for each service.
pub(super) fn settle(sections: Vec<Section>, found: &mut Findings) -> (Settings, Vec<Service>) {
    let mut defaults = Settings::default();
    for section in sections.iter().filter(|section| section.name.is_none()) {
        apply(&mut defaults, &section.lines, true, found);
    }
    let last = sections.iter().rposition(|section| section.name.is_none()).unwrap_or(0);
    let first = sections.iter().position(|section| section.name.is_some()).unwrap_or(usize::MAX);
    if first < last {
        let late = EARLY.iter().find_map(|name| defaults.find(name));
        if let Some(setting) = late {
            found.note(&notes::XINETD_DEFAULTS_ORDER, setting.span, "");
        }
    }
    let mut services = Vec::new();
    for section in sections {
        let Some(name) = section.name else { continue };
        let mut settings = Settings::default();
        for (name, setting) in &defaults.list {
            let inheritable = Attribute::find(name).is_some_and(|attribute| attribute.in_service);
            if inheritable {
                settings.list.push((name, Setting { inherited: true, ..setting.clone() }));
            }
        }
        apply(&mut settings, &section.lines, false, found);
        services.push(Service { name, span: section.span, settings, lost: section.lost });
    }
    (defaults, services)
}

fn apply(settings: &mut Settings, lines: &[Line], defaults: bool, found: &mut Findings) {
    for (place, line) in lines.iter().enumerate() {
        let name = line.name.text.as_str();
        if name == "mdns" {
            found.note(&notes::XINETD_MDNS, line.span, "");
            continue;
        }
        let fits = |attribute: &&Attribute| {
            if defaults { attribute.in_defaults } else { attribute.in_service }
        };
        let Some(attribute) = Attribute::find(name).filter(fits) else {
            unknown(line, defaults, found);
            continue;
        };
        if !words_fit(attribute, line, found) {
            continue;
        }
        if let Some(word) = line.values.iter().find(|word| word.text.starts_with(['"', '\''])) {
            found.note(&notes::XINETD_QUOTES, word.span, "");
        }
        if attribute.words == Words::List {
            list(settings, attribute, line, place, defaults, found);
            continue;
        }
        if line.operator != Operator::Set {
            found.note(&notes::XINETD_OPERATOR, line.span, format!("`{name}` takes `=`"));
            continue;
        }
        if settings.find(attribute.name).is_some_and(|known| !known.inherited) {
            found.note(&notes::XINETD_TWICE, line.span, "");
            continue;
        }
        let setting = settings.entry(attribute.name, line.span, place);
        *setting = Setting { words: line.values.clone(), span: line.span, inherited: false, place };
    }
}

fn unknown(line: &Line, defaults: bool, found: &mut Findings) {
    let name = line.name.text.as_str();
    let known = ATTRIBUTES.iter().filter(|row| if defaults { row.in_defaults } else { row.in_service });
    let elsewhere = Attribute::find(name).is_some();
    let help = match near(name, known.map(|row| row.name)) {
        _ if elsewhere && defaults => "; it belongs into services".to_owned(),
        _ if elsewhere => "; it belongs into `defaults`".to_owned(),
        Some(near) => format!("; did you mean `{near}`?"),
        None => String::new(),
    };
    let detail = format!("`{}` is no attribute here{help}", name.escape_debug());
    found.note(&notes::XINETD_UNKNOWN, line.name.span, detail);
}

fn words_fit(attribute: &Attribute, line: &Line, found: &mut Findings) -> bool {
    let have = line.values.len();
    let expected = match attribute.words {
        Words::Exactly(n) if have != n => format!("{n}"),
        Words::AtLeast(n) if have < n => format!("at least {n}"),
        _ => return true,
    };
    found.note(
        &notes::XINETD_WORDS,
        line.span,
        format!("`{}` takes {expected} word(s), here are {have}", attribute.name),
    );
    false
}

fn list(
    settings: &mut Settings,
    attribute: &Attribute,
    line: &Line,
    place: usize,
    defaults: bool,
    found: &mut Findings,
) {
    if let Some(word) = line.values.iter().find(|word| word.text.starts_with('#')) {
        found.note(&notes::XINETD_WORDS, word.span, "only whole lines are comments");
    }
    if attribute.name == "env" && line.operator == Operator::Remove {
        found.note(&notes::XINETD_OPERATOR, line.span, "`env` takes `=` and `+=`");
        return;
    }
    let before =
        settings.find(attribute.name).is_some_and(|setting| !setting.inherited && !setting.words.is_empty());
    let setting = settings.entry(attribute.name, line.span, place);
    let values = line.values.iter().filter(|word| !word.text.starts_with('#')).cloned();
    match line.operator {
        Operator::Set if !defaults => {
            if before {
                found.note(&notes::XINETD_REPLACED, line.span, "");
            }
            setting.words = values.collect();
        }
        Operator::Set | Operator::Add => setting.words.extend(values),
        Operator::Remove => {
            let gone: Vec<Word> = values.collect();
            setting.words.retain(|word| !gone.iter().any(|gone| gone.text == word.text));
        }
    }
    setting.span = line.span;
    setting.inherited = false;
    setting.place = place;
}
