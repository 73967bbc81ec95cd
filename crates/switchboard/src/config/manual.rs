//! What users read about the format: a commented example and the reference, both made from the tables of
//! [`document`](super::document), so that no key is missing in either.

use super::document::{GlobalTable, ServiceTable};
use super::read::{Key, Table};

/// Columns of a comment.
const WIDTH: usize = 100;

const HEAD: &str = "\
# The configuration of switchboard. `switchboard check FILE` says what is wrong with it, and with --explain what is in
# force; `switchboard serve --config FILE` serves it. Keys that begin with # are examples; what holds without them is
# said above each.
#
# Durations: \"500ms\", \"3s\", \"1.5m\", \"2h\", or a number of seconds. Sizes: \"64KiB\", \"1.5MB\", or a number of bytes.
# Rates: \"50/s\", \"256/m:20\". Numbers: 10000, 10_000, \"10k\". Where a list is meant, one item needs no brackets.

version = 1
";

const DEFAULTS: &str = "\
# What services are if they say nothing else: any key of a service but id, listen, disabled, builtin, exec, forward,
# tcpmux and argv0.
#[defaults]
#idle_timeout = \"5m\"

# The simplest service.
[[service]]
builtin = \"echo\"
listen = \"7007\"

# Any program that speaks on its standard input and output.
#[[service]]
#exec = \"git daemon --inetd --export-all /srv/git\"
#listen = \"tcp:*:9418\"
#user = \"nobody\"
#per_source = 10

# A relay.
#[[service]]
#forward = \"tcp:10.0.0.2:80\"
#listen = \"tcp:*:8080\"

# Every key that a service may have.
#[[service]]
";

/// A commented file with every key; it is right as it is.
pub(crate) fn example() -> String {
    let mut text = HEAD.to_owned();
    for key in GlobalTable::KEYS.iter().filter(|key| key.name != "version") {
        commented(key, &mut text);
    }
    text.push('\n');
    text.push_str(DEFAULTS);
    ServiceTable::KEYS.iter().for_each(|key| commented(key, &mut text));
    text
}

fn commented(key: &Key, text: &mut String) {
    text.push('\n');
    for line in wrapped(&format!("{} {}", about(key), otherwise(key))) {
        text.push_str(&format!("# {line}\n"));
    }
    if key.keys.is_empty() {
        text.push_str(&format!("# {}.\n", capital(key.values)));
    }
    for inner in key.keys {
        let sentence = format!("{}: {} {}", inner.name, about(inner), otherwise(inner));
        for line in wrapped(&sentence) {
            text.push_str(&format!("#   {line}\n"));
        }
    }
    text.push_str(&format!("#{} = {}\n", key.name, key.example));
}

/// Every key, in Markdown.
pub(crate) fn reference() -> String {
    let mut text = String::from(
        "# The configuration file\n\
         <!-- Made from the tables of crates/switchboard/src/config/document.rs; edit those. -->\n\n\
         [TOML](https://toml.io), version 1.1. `switchboard check FILE` says all that is wrong with a file at once, \
         `check --explain` shows every value in force and where it came from, `switchboard config example` prints a \
         commented file, and `switchboard serve --config FILE` serves it. The least file is\n\n\
         ```toml\nversion = 1\n\n[[service]]\nbuiltin = \"echo\"\nlisten = \"7007\"\n```\n\n\
         * Durations are `\"500ms\"`, `\"3s\"`, `\"1.5m\"`, `\"2h\"`, or a number of seconds; sizes `\"64KiB\"`, `\"1.5MB\"`, or a \
         number of bytes; rates `\"50/s\"`, `\"256/m:20\"`; counts `10000`, `10_000` or `\"10k\"`.\n\
         * Where a list is meant, a single item needs no brackets.\n\
         * Where a table has one key that matters most (it is marked with `*`), its value may stand for the table: \
         `per_source = 10` is `per_source = { most = 10 }`.\n\
         * What a service does not say, `[defaults]` says: of its own file first, then of the file that includes it. Tables \
         are joined key by key.\n\
         * A key that would do nothing for a service is an error there, and not under `[defaults]`.\n",
    );
    section("Everything", GlobalTable::KEYS, None, &mut text);
    section("`[[service]]` and `[defaults]`", ServiceTable::KEYS, None, &mut text);
    let mut told: Vec<&[Key]> = Vec::new();
    for key in GlobalTable::KEYS.iter().chain(ServiceTable::KEYS).filter(|key| !key.keys.is_empty()) {
        if told.iter().any(|known| std::ptr::eq(*known, key.keys)) {
            continue;
        }
        let same = ServiceTable::KEYS.iter().filter(|other| std::ptr::eq(other.keys, key.keys));
        let names: Vec<String> = same.map(|other| format!("`{}`", other.name)).collect();
        let title = if names.is_empty() { format!("`{}`", key.name) } else { names.join(", ") };
        section(&title, key.keys, key.short, &mut text);
        told.push(key.keys);
    }
    text
}

fn section(title: &str, keys: &[Key], short: Option<&str>, text: &mut String) {
    text.push_str(&format!(
        "\n## {title}\n\n| key | what it does | values | default | example |\n|---|---|---|---|---|\n"
    ));
    for key in keys {
        let mark = if short == Some(key.name) { " *" } else { "" };
        let values = match (key.keys, key.short) {
            ([], _) => key.values.to_owned(),
            (_, Some(short)) => format!("a table, or its `{short}`"),
            _ => "a table".to_owned(),
        };
        let cell = |text: &str| text.replace('|', "\\|");
        text.push_str(&format!(
            "| `{}`{mark} | {} | {} | {} | `{}` |\n",
            key.name,
            cell(&about(key)),
            cell(&values),
            if key.default.is_empty() { "it must be there".to_owned() } else { cell(key.default) },
            cell(key.example)
        ));
    }
}

/// What holds without it.
fn otherwise(key: &Key) -> String {
    if key.default.is_empty() { "It must be there.".into() } else { format!("Default: {}.", key.default) }
}

fn about(key: &Key) -> String {
    let lines: Vec<&str> = key.about.iter().map(|line| line.trim()).collect();
    lines.join(" ")
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// Lines of at most [`WIDTH`] columns.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
