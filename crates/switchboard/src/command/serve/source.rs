//! Where a plan comes from: the command line, a file of ours, or an old daemon's file.

use super::{Arguments, Complaint, usage};
use crate::config::notes::Severity;
use crate::config::{self, Dialect, legacy};
use crate::exit::Exit;
use crate::plan::{Action, Place, Plan};
use crate::report::Output;
use crate::supervisor::Loader;
use clap::Args;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use switchboard_net::Error;

/// Files in place of the command line.
#[derive(Args, Debug)]
#[command(next_help_heading = "Configuration")]
pub(super) struct SourceArguments {
    /// Serve what this file says; see `switchboard config example`. Options of the whole server (--control, --log…,
    /// --drain-timeout, --strict) win over the file; those of single services are refused
    #[arg(long, value_name = "FILE", conflicts_with_all = ["services", "listen"])]
    config: Option<PathBuf>,

    /// Serve what this file of inetd says
    #[arg(long, value_name = "FILE", conflicts_with_all = ["services", "listen", "config"])]
    inetd: Option<PathBuf>,

    /// Serve what this file of xinetd says
    #[arg(long, value_name = "FILE", conflicts_with_all = ["services", "listen", "config", "inetd"])]
    xinetd: Option<PathBuf>,

    /// Whose inetd the file was written for: openbsd, freebsd, netbsd, gnu or xinetd-compat [default: guessed]
    #[arg(long, value_name = "NAME", requires = "inetd")]
    dialect: Option<String>,

    /// Do what the old daemon did also where that is not what the file says, unless it is a security hole
    #[arg(long)]
    compat: bool,

    /// A key of the configuration file for the programs and relays of the command line: stderr=client,
    /// mode=wait, user=nobody, …; see docs/configuration.md
    #[arg(short, long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// What is served if nothing says otherwise: programs and relays on the command line.
const PREFIXES: [&str; 3] = ["exec:", "forward:", "tcpmux"];

/// Whether a positional argument is no name of a built-in service.
pub(super) fn is_action(word: &str) -> bool {
    PREFIXES.iter().any(|prefix| word.starts_with(prefix))
}

impl SourceArguments {
    /// The file to serve, and how it is written.
    fn file(&self) -> Result<Option<(&Path, Dialect)>, Complaint> {
        let old =
            |language| Dialect::Old(legacy::Old { here: true, ..legacy::Old::new(language, self.compat) });
        if let Some(path) = &self.config {
            return Ok(Some((path, Dialect::Toml)));
        }
        if let Some(path) = &self.xinetd {
            return Ok(Some((path, old(Some(legacy::Language::Xinetd)))));
        }
        let Some(path) = &self.inetd else { return Ok(None) };
        let language = match &self.dialect {
            None => legacy::Language::Inetd(None),
            Some(name) => legacy::LANGUAGES
                .iter()
                .find(|(known, language)| known == name && *language != legacy::Language::Xinetd)
                .map(|(_, language)| *language)
                .ok_or_else(|| {
                    usage(format!(
                        "--dialect {name}: there are openbsd, freebsd, netbsd, gnu and xinetd-compat"
                    ))
                })?,
        };
        Ok(Some((path, old(Some(language)))))
    }

    /// Whether anything is set for programs and relays.
    pub(super) fn sets(&self) -> bool {
        !self.set.is_empty()
    }
}

/// The plan of a file, and how to read it again; `None` if there is none.
pub(super) fn from_file(
    arguments: &Arguments,
    out: &mut Output,
) -> Result<Option<(Plan, Option<Loader>)>, Complaint> {
    arguments.given.check_compat()?;
    let Some((path, dialect)) = arguments.source.file()? else { return Ok(None) };
    arguments.given.check_with_file()?;
    let (plan, loader) = read(path, dialect, out)?;
    Ok(Some((plan, Some(loader))))
}

/// Reads a file, says what is to be said of it, and how to read it again.
pub(crate) fn read(path: &Path, dialect: Dialect, out: &mut Output) -> Result<(Plan, Loader), Complaint> {
    let configuration =
        config::load(path, dialect.clone()).map_err(|rejected| (Exit::Config, rejected.to_string()))?;
    let compat = matches!(&dialect, Dialect::Old(old) if old.life.compat);
    // What holds for every file is in `convert` and in docs/migration.md.
    let findings = configuration.findings.iter();
    for finding in findings.filter(|finding| finding.note.severity >= Severity::Differs) {
        finding.lines(compat, &configuration.sources).iter().for_each(|line| out.talk(line));
    }
    // A reload finds the file although the process may be somewhere else by then.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let loader: Loader = Box::new(move || {
        config::load(&path, dialect.clone())
            .map(|configuration| configuration.plan)
            .map_err(|rejected| rejected.to_string())
    });
    Ok((configuration.plan, loader))
}

/// The services of a command line with programs or relays: the command line becomes the text of a configuration, so
/// that both are checked by the same rules.
pub(super) fn from_words(arguments: &Arguments) -> Result<Plan, Complaint> {
    let mut text = String::from("version = 1\n");
    let keys = arguments.source.set.iter().filter_map(|pair| Some(pair.split_once('=')?.0.trim()));
    let keys: Vec<&str> = keys.collect();
    arguments.given.check_beside(&keys)?;
    for word in &arguments.services {
        text.push_str("[[service]]\n");
        let (key, value, id) = match word.split_once(':') {
            Some(("exec", program)) => ("exec", program, program_name(program)),
            // Dotted, so that --set can add to it: forward.proxy_out=v2.
            Some(("forward", to)) => ("forward.to", to, "forward".to_owned()),
            _ if word == "tcpmux" => ("builtin", "tcpmux", "tcpmux".to_owned()),
            _ => {
                return Err(usage(format!(
                    "{word}: built-in services cannot share a command line with programs and relays; write a \
                     configuration file (`switchboard config example`)"
                )));
            }
        };
        let mut line = |key: &str, value: &str| {
            let done = writeln!(text, "{key} = {}", toml::Value::from(value));
            debug_assert!(done.is_ok(), "writing into a string cannot fail");
        };
        line("id", &id);
        line(key, value);
        let listen: Vec<toml::Value> =
            arguments.listen.iter().map(|place| toml::Value::from(place.as_str())).collect();
        let mut plain = |key: &str, value: toml::Value| {
            let written = writeln!(text, "{key} = {value}");
            debug_assert!(written.is_ok(), "writing into a string cannot fail");
        };
        plain("listen", toml::Value::from(listen));
        if !keys.contains(&"optional") {
            plain("optional", toml::Value::from(!arguments.strict));
        }
        text.extend(arguments.tls.line());
        for pair in &arguments.source.set {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                usage(format!("--set {pair}: write it as KEY=VALUE, for example stderr=client"))
            })?;
            // A value that TOML understands is that value; anything else is a text.
            let line = format!("{key} = {value}\n");
            match line.parse::<toml::Table>() {
                Ok(_) => text.push_str(&line),
                Err(_) => text.push_str(&format!("{key} = {}\n", toml::Value::from(value))),
            }
        }
    }
    let mut plan = config::check_text(&text).map_err(|rejected| (Exit::Usage, rejected.to_string()))?.plan;
    plan.files.clear();
    for service in &mut plan.services {
        let pairs = arguments.options.iter().map(|pair| {
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                usage(format!("option `{pair}`: write it as NAME=VALUE, for example nodelay=off"))
            })?;
            Ok((name.to_owned(), value.to_owned()))
        });
        service.options.extend(pairs.collect::<Result<Vec<_>, Complaint>>()?);
        let most = arguments.limits.max_connections;
        service.admission =
            arguments.admission.over(&service.admission, &arguments.given, most).map_err(usage)?;
        if !matches!(service.action, Action::Program(_)) {
            arguments.limits.over(&mut service.limits);
        }
    }
    let taken: Result<Vec<Place>, Error> = arguments.listen.iter().map(|text| text.parse()).collect();
    taken.map_err(usage)?;
    Ok(plan)
}

/// What a program is called in the log: its file's name.
fn program_name(command: &str) -> String {
    let word = command.split_whitespace().next().unwrap_or("program");
    Path::new(word).file_name().map_or_else(|| word.to_owned(), |name| name.to_string_lossy().into_owned())
}
