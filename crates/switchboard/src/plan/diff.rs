//! [`Changes`]: what a reload would do, in words: services added, removed, changed and how. Nothing is done here; the
//! supervisor shows it and carries it out.

use super::{Action, Plan, ServicePlan};
use std::fmt;
use switchboard_net::introduction::Upstreams;

/// The way from one plan to another.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Changes {
    /// What becomes of each service: those of the new plan in their order, then those that are gone.
    pub(crate) services: Vec<(String, Change)>,
    /// Keys outside of services that have another value.
    pub(crate) global: Vec<&'static str>,
}

/// What becomes of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// It is new.
    Added,
    /// It is gone: nobody new comes in, those inside stay.
    Removed,
    /// These keys have another value, in the order of the reference.
    Changed(Vec<&'static str>),
    /// All is as it was; neither its sockets nor its conversations are touched.
    Unchanged,
}

impl Changes {
    /// What must be done so that `new` holds where `old` held.
    pub(crate) fn between(old: &Plan, new: &Plan) -> Changes {
        let find = |plan: &Plan, id: &str| plan.services.iter().position(|service| service.id == id);
        let mut services = Vec::new();
        for service in &new.services {
            let change = match find(old, &service.id).map(|at| keys(&old.services[at], service)) {
                None => Change::Added,
                Some(keys) if keys.is_empty() => Change::Unchanged,
                Some(keys) => Change::Changed(keys),
            };
            services.push((service.id.clone(), change));
        }
        let gone = old.services.iter().filter(|service| find(new, &service.id).is_none());
        services.extend(gone.map(|service| (service.id.clone(), Change::Removed)));
        let global = [
            ("max_connections", old.max_connections != new.max_connections),
            ("drain_timeout", old.drain_timeout != new.drain_timeout),
            ("upgrade_timeout", old.upgrade_timeout != new.upgrade_timeout),
            ("control", old.control != new.control),
            ("metrics", old.metrics != new.metrics),
            ("watch", old.watch != new.watch),
            ("log", old.log != new.log),
        ];
        Changes { services, global: differing(&global) }
    }

    /// Whether nothing is to be done.
    pub(crate) fn is_empty(&self) -> bool {
        self.global.is_empty() && self.services.iter().all(|(_, change)| *change == Change::Unchanged)
    }
}

impl fmt::Display for Changes {
    /// A line for each thing that changes, and one for what stays.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unchanged = 0;
        for (id, change) in &self.services {
            match change {
                Change::Added => writeln!(f, "{id}: added")?,
                Change::Removed => writeln!(f, "{id}: removed; conversations go on")?,
                Change::Changed(keys) => writeln!(f, "{id}: changed {}", keys.join(", "))?,
                Change::Unchanged => unchanged += 1,
            }
        }
        if !self.global.is_empty() {
            writeln!(f, "changed {}", self.global.join(", "))?;
        }
        write!(f, "{unchanged} service{} unchanged", if unchanged == 1 { "" } else { "s" })
    }
}

/// The keys of a service that have another value.
fn keys(old: &ServicePlan, new: &ServicePlan) -> Vec<&'static str> {
    let mut keys = differing(&[
        ("listen", old.listen != new.listen),
        ("optional", old.optional != new.optional),
        ("tcpmux", old.tcpmux != new.tcpmux),
    ]);
    keys.extend(action(&old.action, &new.action));
    let (a, b) = (&old.admission, &new.admission);
    keys.extend(differing(&[
        ("access", a.access != b.access),
        ("max_connections", a.connections != b.connections),
        ("per_source", a.per_source != b.per_source),
        ("rate", a.rate != b.rate),
        ("rate_per_source", a.rate_per_source != b.rate_per_source),
        ("max_load", a.load != b.load),
        ("min_memory", a.memory != b.memory),
        ("ipv6_prefix", a.ipv6_prefix != b.ipv6_prefix),
        ("message", a.message != b.message),
    ]));
    keys.extend(introductions(old.upstreams.as_deref(), new.upstreams.as_deref()));
    let (a, b) = (&old.limits, &new.limits);
    keys.extend(differing(&[
        ("idle_timeout", a.idle_timeout != b.idle_timeout),
        ("lifetime", a.lifetime != b.lifetime),
        ("busy_poll", a.busy_poll != b.busy_poll),
        ("udp_source_rate", a.datagrams.source != b.datagrams.source),
        ("udp_total_rate", a.datagrams.global != b.datagrams.global),
        ("tls", old.tls != new.tls),
    ]));
    keys.extend(differing(&[
        ("socket_options", old.options != new.options),
        ("socket_mode", old.file.mode != new.file.mode),
        ("socket_owner", old.file.uid != new.file.uid),
        ("socket_group", old.file.gid != new.file.gid),
    ]));
    let (a, b) = (&old.confinement, &new.confinement);
    keys.extend(differing(&[
        ("user", a.identity != b.identity),
        ("chroot", a.root != b.root),
        ("umask", a.umask != b.umask),
        ("nice", a.nice != b.nice),
        ("rlimits", a.limits != b.limits),
        ("capabilities", a.capabilities != b.capabilities),
        ("no_new_privs", a.no_new_privs != b.no_new_privs),
        ("landlock", a.landlock != b.landlock),
        ("seccomp", a.seccomp != b.seccomp),
        ("cgroup", a.cgroup != b.cgroup),
    ]));
    keys
}

fn introductions(old: Option<&Upstreams>, new: Option<&Upstreams>) -> Vec<&'static str> {
    match (old, new) {
        (Some(a), Some(b)) => differing(&[
            ("proxy_in", a.versions != b.versions),
            ("proxy_from", a.from != b.from),
            ("proxy_others", a.others != b.others),
            ("proxy_timeout", a.timeout != b.timeout),
        ]),
        _ => differing(&[("proxy_in", old != new)]),
    }
}

fn action(old: &Action, new: &Action) -> Vec<&'static str> {
    match (old, new) {
        (
            Action::Builtin { service: a, settings: p, engine: e, workers: n, pins: s, .. },
            Action::Builtin { service: b, settings: q, engine: f, workers: m, pins: t, .. },
        ) => differing(&[
            ("builtin", a.name != b.name),
            ("engine", e.name != f.name),
            ("workers", n != m),
            ("pin", s != t),
            ("options", p != q),
        ]),
        (Action::Program(a), Action::Program(b)) => differing(&[
            ("exec", (&a.file, &a.arguments) != (&b.file, &b.arguments)),
            ("mode", a.mode != b.mode),
            ("stderr", a.stderr != b.stderr),
            ("env", a.environment != b.environment),
            ("directory", a.directory != b.directory),
            ("when_gone", a.when_gone != b.when_gone),
            ("grace", a.grace != b.grace),
        ]),
        (Action::Forward(a), Action::Forward(b)) => differing(&[("forward", a != b)]),
        (Action::Tcpmux, Action::Tcpmux) | (Action::Escort { .. }, Action::Escort { .. }) => Vec::new(),
        (_, new) => vec![match new {
            Action::Builtin { .. } | Action::Tcpmux => "builtin",
            Action::Program(_) | Action::Escort { .. } => "exec",
            Action::Forward(_) => "forward",
        }],
    }
}

fn differing(keys: &[(&'static str, bool)]) -> Vec<&'static str> {
    keys.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check_text;

    fn plan(text: &str) -> Plan {
        check_text(&format!("version = 1\n{text}")).unwrap_or_else(|error| panic!("{error}")).plan
    }

    #[test]
    fn a_plan_is_itself() {
        let text = "[[service]]\nbuiltin = \"echo\"\n[[service]]\nexec = \"cat\"\nlisten = \"0\"\n";
        let changes = Changes::between(&plan(text), &plan(text));
        assert!(changes.is_empty(), "{changes}");
        assert_eq!(changes.to_string(), "2 services unchanged");
    }

    #[test]
    fn services_come_go_and_change() {
        let old = plan(
            "[[service]]\nbuiltin = \"echo\"\n[[service]]\nbuiltin = \"time\"\n[[service]]\nid = \"x\"\nbuiltin = \"discard\"\n",
        );
        let new = plan(
            "watch = true\n[[service]]\nbuiltin = \"daytime\"\n[[service]]\nid = \"x\"\nexec = \"cat\"\nlisten = \"9009\"\nper_source = 3\n[[service]]\nbuiltin = \"echo\"\n",
        );
        assert_eq!(
            Changes::between(&old, &new).to_string(),
            "daytime: added\nx: changed listen, exec, per_source\ntime: removed; conversations go on\nchanged watch\n1 service unchanged"
        );
    }

    #[test]
    fn other_proxies_are_a_change() {
        let from = |proxies: &str| {
            plan(&format!("[[service]]\nbuiltin = \"echo\"\nproxy_in = \"v2\"\nproxy_from = {proxies}\n"))
        };
        let changes = Changes::between(&from("\"::1\""), &from("[\"::1\", \"unix\"]"));
        assert_eq!(changes.services, [("echo".to_owned(), Change::Changed(vec!["proxy_from"]))]);
    }

    /// Every key of a service, set, is told as changed, or is of no consequence here.
    #[test]
    fn every_key_is_compared() {
        use crate::config::document::ServiceTable;
        use crate::config::read::Table;
        for key in ServiceTable::KEYS {
            let (base, told) = match key.name {
                // Who a service is, what it is in all, or what needs others, or files.
                "tls" | "id" | "disabled" | "builtin" | "tcpmux" | "chroot" | "socket_owner"
                | "socket_group" => {
                    continue;
                }
                "exec" => ("listen = \"0\"\nexec = \"cat\"", "exec"),
                "forward" => ("listen = \"0\"\nforward = \"tcp:1.2.3.4:5\"", "forward"),
                "listen" => ("builtin = \"echo\"", "listen"),
                "argv0" => ("listen = \"0\"\nexec = \"cat\"", "exec"),
                "pool" => ("listen = \"0\"\nexec = \"cat\"", "mode"),
                "pass_env" | "resolve_names" => ("listen = \"0\"\nexec = \"cat\"", "env"),
                "group" => ("builtin = \"echo\"", "user"),
                "groups" => ("builtin = \"echo\"\nuser = \"root\"", "user"),
                "options" => ("builtin = \"daytime\"", "options"),
                // Without it there is one for each processor, which is another change.
                "pin" => ("builtin = \"echo\"\nworkers = 2", "pin"),
                // One is nothing without the other.
                "proxy_from" => continue,
                "proxy_others" | "proxy_timeout" => {
                    ("builtin = \"echo\"\nproxy_in = \"v2\"\nproxy_from = \"unix\"", key.name)
                }
                "socket_mode" => ("listen = \"unix:/x\"\nbuiltin = \"echo\"", "socket_mode"),
                "mode" | "stderr" | "env" | "directory" | "when_gone" | "grace" => {
                    ("listen = \"0\"\nexec = \"cat\"", key.name)
                }
                _ => ("builtin = \"echo\"", key.name),
            };
            let value = match key.name {
                "exec" => "\"cat -u\"",
                "listen" => "\"0\"",
                "directory" => "\"/tmp\"",
                "proxy_in" => "\"v2\"\nproxy_from = \"::1\"",
                "user" | "group" | "groups" => "\"0\"",
                "pass_env" => "\"HOME\"",
                "access" => "{ allow = \"10.0.0.0/8\" }",
                _ => key.example,
            };
            let old = format!("[[service]]\nid = \"x\"\n{base}\n");
            let written = format!("{} = {value}\n", key.name);
            let new = match key.name {
                "exec" | "forward" => format!("[[service]]\nid = \"x\"\nlisten = \"0\"\n{written}"),
                _ => format!("{old}{written}"),
            };
            let changes = Changes::between(&plan(&old), &plan(&new));
            assert_eq!(changes.services, [("x".to_owned(), Change::Changed(vec![told]))], "{new}");
        }
    }
}
