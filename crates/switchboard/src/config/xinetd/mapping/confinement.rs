//! Who a program is and what it may use.

use super::super::settings::{Setting, Settings};
use super::Reader;
use crate::config::document::ServiceTable;
use crate::config::legacy::service::at;
use crate::config::notes;
use crate::config::source::At;
use crate::config::value::{Number, Octal, RESOURCES, Resources};

impl Reader<'_> {
    pub(super) fn confinement(&mut self, settings: &Settings, table: &mut ServiceTable) {
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
}
