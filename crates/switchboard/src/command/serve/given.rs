//! What was given on the command line, as opposed to what holds by default: with a file, and with services that do not
//! heed it, an option is refused with the key to write in its place, and never ignored.

use super::{Complaint, usage};
use crate::config::heeds;
use crate::plan::Plan;
use clap::ArgMatches;
use clap::parser::ValueSource;

/// Options of single services with the keys of the file that mean the same.
const OF_SERVICES: &[(&str, &str)] = &[
    ("engine", "engine"),
    ("workers", "workers"),
    ("pin", "pin"),
    ("options", "options"),
    ("max_connections", "max_connections"),
    ("idle_timeout", "idle_timeout"),
    ("lifetime", "lifetime"),
    ("busy_poll", "busy_poll"),
    ("udp_source_rate", "udp_source_rate"),
    ("udp_total_rate", "udp_total_rate"),
    ("allow", "access.allow"),
    ("deny", "access.deny"),
    ("hours", "access.times"),
    ("hosts_access", "access.hosts"),
    ("tcprules", "access.tcprules"),
    ("max_connections_per_source", "per_source"),
    ("rate", "rate"),
    ("rate_per_source", "rate_per_source"),
    ("max_load", "max_load"),
    ("min_memory", "min_memory"),
    ("otherwise", "otherwise"),
    ("refusal", "message"),
    ("ipv6_prefix", "ipv6_prefix"),
    ("accept_proxy", "proxy_in"),
    ("proxy_from", "proxy_from"),
    ("proxy_only", "proxy_others"),
    ("proxy_timeout", "proxy_timeout"),
    ("cert", "tls.cert"),
    ("key", "tls.key"),
    ("alpn", "tls.alpn"),
    ("client_cert", "tls.client"),
    ("client_roots", "tls.client_roots"),
    ("tls_min", "tls.min_version"),
    ("tls_max", "tls.max_version"),
    ("handshake_timeout", "tls.handshake_timeout"),
    ("set", "the same key"),
];

/// The options that were given, by the names of their fields.
#[derive(Clone, Default, Debug)]
pub(crate) struct Given(Vec<String>);

impl Given {
    pub(crate) fn of(matches: &ArgMatches) -> Given {
        let ids = matches.ids().map(clap::Id::as_str);
        // Groups, which are no options, have no source of their own.
        let given = ids.filter(|id| {
            matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine)
        });
        Given(given.map(str::to_owned).collect())
    }

    pub(super) fn has(&self, option: &str) -> bool {
        self.0.iter().any(|given| given == option)
    }

    /// `--compat` is about old daemons' files.
    pub(super) fn check_compat(&self) -> Result<(), Complaint> {
        if self.has("compat") && !self.has("inetd") && !self.has("xinetd") {
            return Err(usage(
                "--compat is about files of inetd and xinetd: give it with --inetd or --xinetd",
            ));
        }
        Ok(())
    }

    /// With services from a file: what is said of single services is said there.
    pub(super) fn check_with_file(&self) -> Result<(), Complaint> {
        let file = ["config", "inetd", "xinetd"].into_iter().find(|file| self.has(file)).unwrap_or("config");
        let old = file != "config";
        let Some((option, key)) = OF_SERVICES.iter().find(|(option, _)| self.has(option)) else {
            return Ok(());
        };
        let key = match *option {
            "options" => "`socket_options` or `options`".to_owned(),
            "otherwise" => "`otherwise` beside the limit".to_owned(),
            "set" => "the key itself".to_owned(),
            _ => format!("`{key}`"),
        };
        let first = if old { "convert the file (`switchboard convert`), and " } else { "" };
        Err(usage(format!(
            "{}: with --{file} the services are what the file says; {first}write {key} there, in [[service]], or in \
             [defaults] for all of them",
            flag(option)
        )))
    }

    /// With keys that are set for programs and relays: none of them may stand beside an option that means the same.
    pub(super) fn check_beside(&self, keys: &[&str]) -> Result<(), Complaint> {
        const LIMITS: [&str; 6] =
            ["max_connections", "per_source", "rate", "rate_per_source", "max_load", "min_memory"];
        let first = |key: &str| key.split('.').next().unwrap_or_default().trim().to_owned();
        for (option, key) in OF_SERVICES.iter().filter(|(option, _)| self.has(option)) {
            let same = |set: &&&str| {
                let set = first(set);
                set == first(key)
                    || (*option == "otherwise" && LIMITS.contains(&set.as_str()))
                    || (first(key).starts_with("proxy_") && set.starts_with("proxy_"))
            };
            if let Some(set) = keys.iter().find(same) {
                let option = flag(option);
                return Err(usage(format!(
                    "{option} and --set {set}: say it one way, as options or by --set"
                )));
            }
        }
        Ok(())
    }

    /// With services of the command line: each option must make a difference to one of them.
    pub(super) fn check_with(&self, plan: &Plan) -> Result<(), Complaint> {
        for (option, key) in OF_SERVICES.iter().filter(|(option, _)| self.has(option)) {
            // Options are sorted elsewhere, into those of sockets and of services.
            let general = ["options", "otherwise", "set"].contains(option);
            if !general && !plan.services.iter().any(|service| heeds(&service.action, key)) {
                let first = plan.services.first().map_or("nothing", |service| service.action.kind());
                return Err(usage(format!(
                    "{} makes no difference here: {first} does not heed it",
                    flag(option)
                )));
            }
        }
        Ok(())
    }
}

/// An option as it is written.
fn flag(option: &str) -> String {
    let option = if option == "options" { "option" } else { option };
    format!("--{}", option.replace('_', "-"))
}
