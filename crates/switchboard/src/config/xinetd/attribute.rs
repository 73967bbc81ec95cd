//! The attributes of xinetd.conf(5): how many words each takes, and where.

/// What is known of an attribute.
#[derive(Debug)]
pub(super) struct Attribute {
    pub(super) name: &'static str,
    pub(super) words: Words,
    /// It may stand in `defaults`.
    pub(super) in_defaults: bool,
    /// It may stand in a service.
    pub(super) in_service: bool,
}

/// How many words an attribute takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Words {
    /// So many, once.
    Exactly(usize),
    /// At least so many, once.
    AtLeast(usize),
    /// Any number, as often as wanted, with `+=` and `-=`.
    List,
}

const fn row(name: &'static str, words: Words, in_defaults: bool) -> Attribute {
    Attribute { name, words, in_defaults, in_service: true }
}

const fn only_defaults(name: &'static str) -> Attribute {
    Attribute { name, words: Words::List, in_defaults: true, in_service: false }
}

use Words::{AtLeast, Exactly, List};

pub(super) static ATTRIBUTES: &[Attribute] = &[
    row("access_times", AtLeast(1), false),
    row("banner", Exactly(1), true),
    row("banner_fail", Exactly(1), true),
    row("banner_success", Exactly(1), true),
    row("bind", Exactly(1), true),
    row("cps", Exactly(2), true),
    row("deny_time", Exactly(1), false),
    row("disable", Exactly(1), false),
    only_defaults("disabled"),
    only_defaults("enabled"),
    row("env", List, false),
    row("flags", AtLeast(1), false),
    row("group", Exactly(1), false),
    row("groups", Exactly(1), true),
    row("id", Exactly(1), false),
    row("instances", Exactly(1), true),
    row("libwrap", Exactly(1), false),
    row("log_on_failure", List, true),
    row("log_on_success", List, true),
    row("log_type", AtLeast(1), true),
    row("max_load", Exactly(1), true),
    row("nice", Exactly(1), false),
    row("no_access", List, true),
    row("only_from", List, true),
    row("passenv", List, true),
    row("per_source", Exactly(1), true),
    row("port", Exactly(1), false),
    row("protocol", Exactly(1), false),
    row("redirect", Exactly(2), false),
    row("rlimit_as", Exactly(1), false),
    row("rlimit_cpu", Exactly(1), false),
    row("rlimit_data", Exactly(1), false),
    row("rlimit_files", Exactly(1), false),
    row("rlimit_rss", Exactly(1), false),
    row("rlimit_stack", Exactly(1), false),
    row("rpc_number", Exactly(1), false),
    row("rpc_version", Exactly(1), false),
    row("server", Exactly(1), false),
    row("server_args", AtLeast(0), false),
    row("socket_type", Exactly(1), false),
    row("type", AtLeast(1), false),
    row("umask", Exactly(1), true),
    row("user", Exactly(1), false),
    row("v6only", Exactly(1), true),
    row("wait", Exactly(1), false),
];

impl Attribute {
    /// The attribute of this name; `interface` is another word for `bind`.
    pub(super) fn find(name: &str) -> Option<&'static Attribute> {
        let name = if name == "interface" { "bind" } else { name };
        ATTRIBUTES.iter().find(|attribute| attribute.name == name)
    }
}
