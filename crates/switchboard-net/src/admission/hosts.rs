//! [`Hosts`]: hosts.allow and hosts.deny (hosts_access(5), hosts_options(5)): the first rule of hosts.allow that
//! matches lets in, then the first of hosts.deny keeps out, and who matches none may come in.
//!
//! What is not done is refused by name when the file is read, and never silently left out: shell commands (`spawn`,
//! `twist`, and the bare command of the older syntax), `user@host` (asks an ident server, whose word is the
//! client's), net groups, and options that change the process. One thing is stricter than with tcpd: a client whose
//! name cannot be confirmed matches rules of hosts.deny that speak of names.

use super::access::{Decision, Name};
use super::prefixes::cut;
use crate::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// The rules of one file, in their order.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    daemons: List<Daemon>,
    clients: List<Client>,
    /// What `ALLOW` or `DENY` at its end says; otherwise the file's name does.
    allow: Option<bool>,
    settings: Vec<(String, String)>,
}

/// `A EXCEPT B EXCEPT C` is A but not (B but not C).
#[derive(Debug)]
struct List<T> {
    items: Vec<T>,
    except: Option<Box<List<T>>>,
}

#[derive(Debug)]
enum Daemon {
    All,
    Named(String),
}

#[derive(Debug)]
enum Client {
    All,
    /// A name without a dot.
    Local,
    /// Name and address are known.
    Known,
    Unknown,
    /// The name does not lead back to the address.
    Paranoid,
    /// `.domain`.
    Domain(String),
    /// `10.1.`: what the address begins with.
    Beginning(String),
    Net(IpAddr, u8),
    /// A name or an address with `*` and `?`.
    Glob(String),
    Host(String),
}

/// Why matching stopped: the name is needed first.
struct NameNeeded;

/// What [`Hosts::judge`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The first rule that matches lets in, with settings for the program; or it keeps out.
    Rule(Option<Vec<(String, String)>>),
    Nothing,
    NameNeeded,
}

impl Hosts {
    /// # Errors
    /// Lines that are no rules, and what is not done.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Hosts, Error> {
        let text = String::from_utf8_lossy(bytes).replace("\\\n", " ");
        let mut rules = Vec::new();
        for line in text.lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let rule = Rule::parse(line)
                .map_err(|problem| Error::Config(format!("{}: `{line}`: {problem}", path.display())))?;
            rules.push(rule);
        }
        Ok(Hosts { rules })
    }

    /// The first rule for `daemon` that matches. `allows`: what rules of this file do that do not say; where they
    /// keep out, a name that could not be confirmed matches.
    pub(super) fn judge(&self, daemon: &str, address: IpAddr, name: Name<'_>, allows: bool) -> Found {
        for rule in &self.rules {
            let named = |item: &Daemon, _: bool| {
                Ok(match item {
                    Daemon::All => true,
                    Daemon::Named(known) => known.eq_ignore_ascii_case(daemon),
                })
            };
            if !rule.daemons.matches(&named, false).unwrap_or(false) {
                continue;
            }
            let allow = rule.allow.unwrap_or(allows);
            let described = |item: &Client, in_doubt: bool| item.matches(address, name, in_doubt);
            match rule.clients.matches(&described, !allow) {
                Err(NameNeeded) => return Found::NameNeeded,
                Ok(true) => return Found::Rule(allow.then(|| rule.settings.clone())),
                Ok(false) => {}
            }
        }
        Found::Nothing
    }
}

/// hosts.allow, then hosts.deny.
pub(super) fn judge(allow: &Hosts, deny: &Hosts, daemon: &str, address: IpAddr, name: Name<'_>) -> Decision {
    for (hosts, allows, reason) in [(allow, true, "hosts.allow"), (deny, false, "hosts.deny")] {
        match hosts.judge(daemon, address.to_canonical(), name, allows) {
            Found::NameNeeded => return Decision::AskName,
            Found::Rule(Some(settings)) => return Decision::Allow(settings),
            Found::Rule(None) => return Decision::Deny(reason),
            Found::Nothing => {}
        }
    }
    Decision::Allow(Vec::new())
}

impl Rule {
    fn parse(line: &str) -> Result<Rule, String> {
        let mut fields = fields(line).into_iter();
        let (Some(daemons), Some(clients)) = (fields.next(), fields.next()) else {
            return Err("a rule is DAEMONS : CLIENTS, with options after another colon".into());
        };
        let mut rule = Rule {
            daemons: List::parse(&daemons, &|word| match word {
                "ALL" => Ok(Daemon::All),
                _ if word.contains('@') => {
                    Err(format!("{word}: rules for one of several addresses are not done"))
                }
                _ => Ok(Daemon::Named(word.to_owned())),
            })?,
            clients: List::parse(&clients, &Client::parse)?,
            allow: None,
            settings: Vec::new(),
        };
        let options: Vec<String> = fields.collect();
        for (number, option) in options.iter().enumerate() {
            let option = option.trim();
            let (word, rest) = option.split_once([' ', '\t', '=']).unwrap_or((option, ""));
            match word.to_ascii_lowercase().as_str() {
                verdict @ ("allow" | "deny") if number + 1 == options.len() && rest.is_empty() => {
                    rule.allow = Some(verdict == "allow");
                }
                "allow" | "deny" => return Err(format!("{word} must be the last option")),
                "setenv" => {
                    let (name, value) = rest.trim().split_once([' ', '\t']).unwrap_or((rest.trim(), ""));
                    if name.is_empty() || value.contains('%') {
                        return Err("setenv takes NAME VALUE, without % expansions".into());
                    }
                    rule.settings.push((name.to_owned(), value.trim().to_owned()));
                }
                "spawn" | "twist" | "aclexec" => {
                    return Err(format!(
                        "{word} would run a command with what a client says in it: not done"
                    ));
                }
                "" => {}
                _ => return Err(format!("the option (or shell command) `{option}` is not done")),
            }
        }
        Ok(rule)
    }
}

/// Splits at colons, but not within `[v6 address]` nor after a backslash.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let (mut within, mut chars) = (false, line.chars());
    while let Some(c) = chars.next() {
        let last = fields.last_mut().expect("there is always one");
        match c {
            '\\' => match chars.next() {
                Some(':') => last.push(':'),
                Some(other) => last.extend(['\\', other]),
                None => last.push('\\'),
            },
            ':' if !within => fields.push(String::new()),
            _ => {
                within = (within || c == '[') && c != ']';
                last.push(c);
            }
        }
    }
    fields
}

impl<T> List<T> {
    fn parse(text: &str, item: &dyn Fn(&str) -> Result<T, String>) -> Result<List<T>, String> {
        let words: Vec<&str> = text.split([' ', ',', '\t']).filter(|word| !word.is_empty()).collect();
        // Built from its end, so that however many EXCEPTs there are, nothing recurses here.
        let mut list: Option<List<T>> = None;
        let parts: Vec<&[&str]> = words.split(|word| word.eq_ignore_ascii_case("EXCEPT")).collect();
        /// More is a mistake.
        const NESTED: usize = 16;
        if parts.len() > NESTED || parts.iter().any(|part| part.is_empty()) {
            return Err("a list is empty, or EXCEPT has nothing on one of its sides".into());
        }
        for part in parts.into_iter().rev() {
            let items = part.iter().map(|word| item(word)).collect::<Result<Vec<T>, String>>()?;
            list = Some(List { items, except: list.map(Box::new) });
        }
        list.ok_or_else(|| "an empty list".to_owned())
    }

    /// `in_doubt`: what an item says that cannot be decided for want of a name.
    fn matches(
        &self,
        item: &dyn Fn(&T, bool) -> Result<bool, NameNeeded>,
        in_doubt: bool,
    ) -> Result<bool, NameNeeded> {
        for one in &self.items {
            if item(one, in_doubt)? {
                return match &self.except {
                    Some(except) => Ok(!except.matches(item, !in_doubt)?),
                    None => Ok(true),
                };
            }
        }
        Ok(false)
    }
}

impl Client {
    fn parse(word: &str) -> Result<Client, String> {
        let wrong = || format!("`{word}` is not a client");
        if word.starts_with('@') {
            return Err(format!("{word}: net groups are not done"));
        }
        if word.contains('@') {
            return Err(format!("{word}: what an ident server says is the client's own word; not done"));
        }
        if word.starts_with('/') {
            return Err(format!("{word}: lists in files of their own are not done"));
        }
        match word {
            "ALL" => return Ok(Client::All),
            "LOCAL" => return Ok(Client::Local),
            "KNOWN" => return Ok(Client::Known),
            "UNKNOWN" => return Ok(Client::Unknown),
            "PARANOID" => return Ok(Client::Paranoid),
            _ => {}
        }
        if let Some(rest) = word.strip_prefix('[') {
            let (address, after) = rest.split_once(']').ok_or_else(wrong)?;
            let address: IpAddr = address.parse().map_err(|_| wrong())?;
            let len = match after.strip_prefix('/') {
                Some(len) => len.parse().ok().filter(|len| *len <= 128).ok_or_else(wrong)?,
                None if after.is_empty() => 128,
                None => return Err(wrong()),
            };
            return Ok(Client::Net(address, len));
        }
        if let Some((net, mask)) = word.split_once('/') {
            let net: Ipv4Addr = net.parse().map_err(|_| wrong())?;
            let len = match (mask.parse::<u8>(), mask.parse::<Ipv4Addr>()) {
                (Ok(len), _) if len <= 32 => len,
                (_, Ok(mask))
                    if u32::from(mask).leading_ones() + u32::from(mask).trailing_zeros().min(32) >= 32 =>
                {
                    u32::from(mask).leading_ones() as u8
                }
                _ => return Err(format!("`{word}`: the mask is not one of leading ones")),
            };
            return Ok(Client::Net(IpAddr::V4(net), len));
        }
        let lower = word.to_ascii_lowercase();
        Ok(match () {
            () if lower.contains(['*', '?']) => Client::Glob(lower),
            () if lower.starts_with('.') => Client::Domain(lower),
            () if lower.ends_with('.') => Client::Beginning(lower),
            () => Client::Host(lower),
        })
    }

    fn matches(&self, address: IpAddr, name: Name<'_>, in_doubt: bool) -> Result<bool, NameNeeded> {
        let text = || address.to_string();
        let by_name = |wanted: &dyn Fn(&str) -> bool| match name {
            Name::Unasked => Err(NameNeeded),
            Name::Confirmed(name) => Ok(wanted(name)),
            Name::Unknown | Name::Forged => Ok(in_doubt),
        };
        match self {
            Client::All => Ok(true),
            Client::Net(net, len) => Ok(is_within(address, *net, *len)),
            Client::Beginning(start) => Ok(text().starts_with(start.as_str())),
            Client::Host(host) if host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical() == address) => {
                Ok(true)
            }
            Client::Host(host) if host.parse::<IpAddr>().is_ok() => Ok(false),
            Client::Glob(pattern) if fits(pattern, &text()) => Ok(true),
            // Only names have letters.
            Client::Glob(pattern) if !pattern.bytes().any(|byte| byte.is_ascii_alphabetic()) => Ok(false),
            Client::Glob(pattern) => by_name(&|name| fits(pattern, name)),
            Client::Host(host) => by_name(&|name| name == host),
            Client::Domain(domain) => by_name(&|name| name.ends_with(domain.as_str())),
            Client::Local => by_name(&|name| !name.contains('.')),
            Client::Known | Client::Unknown | Client::Paranoid => match (self, name) {
                (_, Name::Unasked) => Err(NameNeeded),
                (Client::Known, name) => Ok(matches!(name, Name::Confirmed(_))),
                (Client::Unknown, name) => Ok(name == Name::Unknown),
                (_, name) => Ok(name == Name::Forged),
            },
        }
    }
}

fn is_within(address: IpAddr, net: IpAddr, len: u8) -> bool {
    match (address, net) {
        (IpAddr::V4(ip), IpAddr::V4(net)) => {
            cut(u128::from(u32::from(ip)), len, 32) == cut(u128::from(u32::from(net)), len, 32)
        }
        (IpAddr::V6(ip), IpAddr::V6(net)) => cut(u128::from(ip), len, 128) == cut(u128::from(net), len, 128),
        // Mapped on one side only: `[::ffff:10.0.0.0]/104`.
        (IpAddr::V4(ip), IpAddr::V6(net)) => is_within(IpAddr::V6(ip.to_ipv6_mapped()), IpAddr::V6(net), len),
        (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// Whether `text` fits a pattern in which `*` stands for any characters and `?` for one.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and how far what follows it has been tried.
    let mut star = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p).is_some_and(|wanted| *wanted == b'?' || *wanted == text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((at, tried)) = star {
            (p, t) = (at + 1, tried + 1);
            star = Some((at, tried + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|rest| *rest == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_proto::Random;

    fn hosts(text: &str) -> Hosts {
        Hosts::parse(Path::new("/etc/hosts.x"), text.as_bytes()).unwrap()
    }

    fn decide(allow: &str, deny: &str, address: &str, name: Name<'_>) -> Decision {
        judge(&hosts(allow), &hosts(deny), "echod", address.parse().unwrap(), name)
    }

    #[test]
    fn rules_of_the_manual_page() {
        let yes = || Decision::Allow(Vec::new());
        let good = Name::Confirmed("ftp.good.example");
        for (allow, deny, address, name, expected) in [
            ("", "", "10.0.0.1", Name::Unasked, yes()),
            ("", "ALL: ALL", "10.0.0.1", Name::Unasked, Decision::Deny("hosts.deny")),
            ("echod: 10.", "ALL: ALL", "10.0.0.1", Name::Unasked, yes()),
            ("echod: 10.", "ALL: ALL", "110.0.0.1", Name::Unasked, Decision::Deny("hosts.deny")),
            ("ECHOD, other: 10.0.0.0/255.0.0.0", "ALL: ALL", "10.9.9.9", Name::Unasked, yes()),
            ("other: 10.", "ALL: ALL", "10.0.0.1", Name::Unasked, Decision::Deny("hosts.deny")),
            ("ALL EXCEPT echod: 10.", "ALL: ALL", "10.0.0.1", Name::Unasked, Decision::Deny("hosts.deny")),
            ("ALL: 10. EXCEPT 10.0.0.1 10.0.0.2", "ALL: ALL", "10.0.0.3", Name::Unasked, yes()),
            ("ALL: 10. EXCEPT 10.0.0.1", "ALL: ALL", "10.0.0.1", Name::Unasked, Decision::Deny("hosts.deny")),
            ("ALL: 10. EXCEPT 10.0. EXCEPT 10.0.0.1", "ALL: ALL", "10.0.0.1", Name::Unasked, yes()),
            ("ALL: [2001:db8::]/32", "ALL: ALL", "2001:db8::7", Name::Unasked, yes()),
            ("ALL: 192.0.2.*", "ALL: ALL", "192.0.2.77", Name::Unasked, yes()),
            ("ALL: .good.example", "ALL: ALL", "10.0.0.1", Name::Unasked, Decision::AskName),
            ("ALL: .good.example", "ALL: ALL", "10.0.0.1", good, yes()),
            ("ALL: *.good.*", "ALL: ALL", "10.0.0.1", good, yes()),
            ("ALL: .good.example", "ALL: ALL", "10.0.0.1", Name::Forged, Decision::Deny("hosts.deny")),
            ("ALL: LOCAL", "ALL: ALL", "10.0.0.1", Name::Confirmed("tick"), yes()),
            ("ALL: KNOWN", "ALL: ALL", "10.0.0.1", good, yes()),
            ("", "ALL: PARANOID", "10.0.0.1", Name::Forged, Decision::Deny("hosts.deny")),
            ("", "ALL: PARANOID", "10.0.0.1", good, yes()),
            ("", "ALL: UNKNOWN", "10.0.0.1", Name::Unknown, Decision::Deny("hosts.deny")),
            ("", "ALL: .evil.example", "10.0.0.1", Name::Unknown, Decision::Deny("hosts.deny")),
            (
                "ALL: ALL EXCEPT .evil.example",
                "ALL: ALL",
                "10.0.0.1",
                Name::Unknown,
                Decision::Deny("hosts.deny"),
            ),
            ("ALL: 10. : DENY", "", "10.0.0.1", Name::Unasked, Decision::Deny("hosts.allow")),
            ("", "ALL: 10. : allow\nALL: ALL", "10.0.0.1", Name::Unasked, yes()),
            ("# a comment\nALL: \\\n 10.", "ALL: ALL", "10.0.0.1", Name::Unasked, yes()),
            (
                "ALL: 10. : setenv WHO friend : allow",
                "ALL: ALL",
                "10.0.0.1",
                Name::Unasked,
                Decision::Allow(vec![("WHO".into(), "friend".into())]),
            ),
        ] {
            assert_eq!(decide(allow, deny, address, name), expected, "{allow} | {deny} | {address} {name:?}");
        }
    }

    #[test]
    fn what_is_not_done_is_named() {
        for (line, said) in [
            ("ALL: ALL: spawn (echo %h)", "spawn"),
            ("ALL: ALL: twist /bin/echo", "twist"),
            ("ALL: ALL: (finger @%h | mail root) &", "shell command"),
            ("ALL: user@host", "ident"),
            ("ALL: @group", "net groups"),
            ("ALL: /etc/list", "files"),
            ("ALL", "DAEMONS : CLIENTS"),
            ("ALL: 10.0.0.0/255.0.255.0", "mask"),
            ("ALL: ALL : allow : deny", "last option"),
            ("ALL: EXCEPT x", "EXCEPT"),
            ("a@10.0.0.1: ALL", "several addresses"),
        ] {
            let error = Hosts::parse(Path::new("/etc/hosts.allow"), line.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("/etc/hosts.allow"), "{line}: {error}");
        }
    }

    #[test]
    fn nothing_in_a_file_can_make_it_panic() {
        let mut random = Random::new(11);
        let alphabet = b"ALExcept:,. /[]*?\\@%10\n#=\xff";
        for _ in 0..20_000 {
            let len = random.bits() as usize % 60;
            let bytes: Vec<u8> =
                (0..len).map(|_| alphabet[random.bits() as usize % alphabet.len()]).collect();
            if let Ok(hosts) = Hosts::parse(Path::new("x"), &bytes) {
                let _ = hosts.judge("d", "10.0.0.1".parse().unwrap(), Name::Confirmed("a.b"), true);
            }
        }
    }
}
