//! [`TcpRules`]: rules of tcprules(1), from the database that it makes (cdb) or from its source. What is looked for is
//! looked for in tcpserver's order: the address, the name, ever shorter prefixes of the address, ever shorter
//! suffixes of the name, any name, and anybody. Rules that speak of what an ident server says (`info@…`) match
//! nobody: that is not asked. An IPv6 address has no shorter prefixes here.

use super::access::{Decision, Name};
use crate::error::Error;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

/// What a rule says: settings if it lets in, `None` if it keeps out.
type Instructions = Option<Vec<(String, String)>>;

#[derive(Debug, Default)]
pub(super) struct TcpRules {
    rules: HashMap<Vec<u8>, Instructions>,
    speaks_of_names: bool,
}

impl TcpRules {
    /// # Errors
    /// Not a database, or lines that are no rules.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<TcpRules, Error> {
        let mut rules = TcpRules::default();
        let is_database = path.extension().is_some_and(|ending| ending == "cdb");
        if is_database { rules.read_database(bytes) } else { rules.read_source(bytes) }
            .map_err(|problem| Error::Config(format!("{}: {problem}", path.display())))?;
        Ok(rules)
    }

    pub(super) fn judge(&self, address: IpAddr, name: Name<'_>) -> Decision {
        if self.speaks_of_names && name == Name::Unasked {
            return Decision::AskName;
        }
        let text = address.to_canonical().to_string();
        let mut keys = vec![text.clone()];
        let name = match name {
            Name::Confirmed(name) => Some(name),
            _ => None,
        };
        keys.extend(name.map(|name| format!("={name}")));
        if address.to_canonical().is_ipv4() {
            let dots = text.match_indices('.').map(|(at, _)| at).collect::<Vec<_>>();
            keys.extend(dots.iter().rev().map(|at| text[..=*at].to_owned()));
        }
        if let Some(name) = name {
            keys.extend(name.match_indices('.').map(|(at, _)| format!("={}", &name[at..])));
            keys.push("=".to_owned());
        }
        keys.push(String::new());
        match keys.iter().find_map(|key| self.rules.get(key.as_bytes())) {
            Some(Some(settings)) => Decision::Allow(settings.clone()),
            Some(None) => Decision::Deny("tcprules"),
            None => Decision::Allow(Vec::new()),
        }
    }

    fn add(&mut self, key: &[u8], instructions: Instructions) {
        self.speaks_of_names |= key.starts_with(b"=");
        // cdb finds the first one.
        self.rules.entry(key.to_vec()).or_insert(instructions);
    }

    /// cdb: 256 pointers to hash tables, then the records, then the tables. Every record is read, in order; the hash
    /// tables are not needed.
    fn read_database(&mut self, bytes: &[u8]) -> Result<(), String> {
        const HEADER: usize = 2_048;
        let broken = |at: usize| format!("not a whole database of tcprules: broken at byte {at}");
        let number = |at: usize| -> Result<usize, String> {
            let four = bytes.get(at..at.saturating_add(4)).ok_or_else(|| broken(at))?;
            let four = <[u8; 4]>::try_from(four).map_err(|_| broken(at))?;
            Ok(u32::from_le_bytes(four) as usize)
        };
        let end = number(0)?;
        if end < HEADER || end > bytes.len() {
            return Err(broken(0));
        }
        let mut at = HEADER;
        while at < end {
            let (key_len, data_len) = (number(at)?, number(at + 4)?);
            let key_at = at + 8;
            let data_at = key_at.checked_add(key_len).ok_or_else(|| broken(at))?;
            let next = data_at.checked_add(data_len).filter(|next| *next <= end).ok_or_else(|| broken(at))?;
            let instructions = instructions_of(&bytes[data_at..next]).ok_or_else(|| broken(data_at))?;
            self.add(&bytes[key_at..data_at], instructions);
            at = next;
        }
        Ok(())
    }

    fn read_source(&mut self, bytes: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "not text".to_owned())?;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why: &str| format!("line {}: {why}: `{line}`", number + 1);
            let (address, instructions) =
                line.split_once(':').ok_or_else(|| wrong("a rule is ADDRESS:allow or ADDRESS:deny"))?;
            let (allow, settings) = if let Some(rest) = instructions.strip_prefix("allow") {
                (true, rest)
            } else if let Some(rest) = instructions.strip_prefix("deny") {
                (false, rest)
            } else {
                return Err(wrong("instructions begin with allow or deny"));
            };
            let settings = settings_of(settings).ok_or_else(|| wrong("settings are ,NAME=\"VALUE\""))?;
            let addresses = spread(address).ok_or_else(|| wrong("a range is LOW-HIGH, 0 to 255"))?;
            for address in addresses {
                self.add(address.as_bytes(), allow.then(|| settings.clone()));
            }
        }
        Ok(())
    }
}

/// A record's data: pieces that end with a zero byte; `D` keeps out, `+NAME=VALUE` is a setting.
fn instructions_of(data: &[u8]) -> Option<Instructions> {
    let mut settings = Vec::new();
    let mut denied = false;
    for piece in data.split(|byte| *byte == 0) {
        match piece {
            b"" => {}
            b"D" => denied = true,
            [b'+', setting @ ..] => {
                let (name, value) = std::str::from_utf8(setting).ok()?.split_once('=')?;
                settings.push((name.to_owned(), value.to_owned()));
            }
            _ => return None,
        }
    }
    Some((!denied).then_some(settings))
}

/// `,NAME="VALUE"`, any number of them; any character may stand for the quotes.
fn settings_of(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut settings = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.strip_prefix(',')?.split_once('=')?;
        let quote = rest.chars().next()?;
        let (value, rest) = rest[quote.len_utf8()..].split_once(quote)?;
        if name.is_empty() || name.contains('\0') || value.contains('\0') {
            return None;
        }
        settings.push((name.to_owned(), value.to_owned()));
        text = rest;
    }
    Some(settings)
}

/// `1.2.3.37-53` is seventeen addresses, `10.1-4.` four prefixes.
fn spread(address: &str) -> Option<Vec<String>> {
    let Some((low, high)) = address.split_once('-').filter(|_| !address.contains(['=', '@'])) else {
        return Some(vec![address.to_owned()]);
    };
    let (before, low) = low.rfind('.').map_or(("", low), |dot| low.split_at(dot + 1));
    let (high, after) = high.find('.').map_or((high, ""), |dot| high.split_at(dot));
    let (low, high): (u8, u8) = (low.parse().ok()?, high.parse().ok()?);
    (low <= high).then(|| (low..=high).map(|n| format!("{before}{n}{after}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_proto::Random;

    const SOURCE: &str = "# who may relay\n127.:allow,RELAYCLIENT=\"\"\n10.0.0.5-7:deny\n10.0.:allow,A=/x y/,B='1'\n\
                          =good.example:allow,N=\"1\"\n=.evil.example:deny\n=:allow\n:deny\n";

    /// As tcprules(1) makes it: the records of a source, and no hash tables.
    fn database(source: &TcpRules) -> Vec<u8> {
        let mut records = Vec::new();
        for (key, instructions) in &source.rules {
            let mut data = Vec::new();
            match instructions {
                None => data.extend(b"D\0"),
                Some(settings) => {
                    settings
                        .iter()
                        .for_each(|(name, value)| data.extend(format!("+{name}={value}\0").bytes()));
                }
            }
            records.extend((key.len() as u32).to_le_bytes());
            records.extend((data.len() as u32).to_le_bytes());
            records.extend(key);
            records.extend(data);
        }
        let end = (2_048 + records.len() as u32).to_le_bytes();
        [[end, [0; 4]].concat().repeat(256), records].concat()
    }

    fn settings(pairs: &[(&str, &str)]) -> Decision {
        Decision::Allow(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn source_and_database_say_the_same_in_tcpservers_order() {
        let source = TcpRules::parse(Path::new("rules"), SOURCE.as_bytes()).unwrap();
        let made = database(&source);
        let database = TcpRules::parse(Path::new("rules.cdb"), &made).unwrap();
        let deny = Decision::Deny("tcprules");
        for rules in [source, database] {
            for (address, name, expected) in [
                ("127.0.0.1", Name::Unknown, settings(&[("RELAYCLIENT", "")])),
                ("10.0.0.5", Name::Unknown, deny.clone()),
                ("10.0.0.7", Name::Unknown, deny.clone()),
                ("10.0.0.8", Name::Unknown, settings(&[("A", "x y"), ("B", "1")])),
                ("::ffff:10.0.0.6", Name::Unknown, deny.clone()),
                ("192.0.2.1", Name::Unknown, deny.clone()),
                ("192.0.2.1", Name::Confirmed("good.example"), settings(&[("N", "1")])),
                ("192.0.2.1", Name::Confirmed("a.evil.example"), deny.clone()),
                ("192.0.2.1", Name::Confirmed("other.example"), settings(&[])),
                ("192.0.2.1", Name::Forged, deny.clone()),
                ("192.0.2.1", Name::Unasked, Decision::AskName),
                ("2001:db8::1", Name::Unknown, deny.clone()),
            ] {
                assert_eq!(rules.judge(address.parse().unwrap(), name), expected, "{address} {name:?}");
            }
        }
    }

    #[test]
    fn what_is_broken_is_refused_and_never_panics() {
        for text in [
            "x",
            "1.2.3.4:maybe",
            "1.2.3.9-3:deny",
            "1.2.3.4:allow,X",
            "1.2.3.4:allow,X=\"y",
            ":allow,=\"y\"",
        ] {
            assert!(TcpRules::parse(Path::new("rules"), text.as_bytes()).is_err(), "{text}");
        }
        let whole = database(&TcpRules::parse(Path::new("rules"), SOURCE.as_bytes()).unwrap());
        let mut random = Random::new(3);
        for _ in 0..3_000 {
            let mut bytes = whole.clone();
            for _ in 0..random.bits() % 4 {
                let at = random.bits() as usize % bytes.len();
                bytes[at] = random.bits() as u8;
            }
            bytes.truncate(random.bits() as usize % (bytes.len() + 1));
            let _ = TcpRules::parse(Path::new("x.cdb"), &bytes);
        }
    }
}
