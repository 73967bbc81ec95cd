//! Personalities: the command lines of the daemons that this program replaces, so that scripts written for them go on
//! working. The program is one of them if it is called by its name, by a link or as the first word:
//! `switchboard inetd …`.

use crate::command::serve::{self, Show};
use crate::config::legacy::Old;
use crate::config::notes::Severity;
use crate::config::{self, Configuration, Dialect};
use crate::daemon::{self, Ready};
use crate::exit::Exit;
use crate::plan::Plan;
use crate::report::Output;
use crate::supervisor::Loader;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

mod inetd;
mod nc;
mod tcpserver;
mod xinetd;

/// A daemon that this program can be.
pub(crate) struct Personality {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What it is called elsewhere.
    aliases: &'static [&'static str],
    /// Takes over: the name it was called by, and its arguments.
    run: fn(&str, Vec<OsString>, &mut Output) -> u8,
}

pub(crate) static PERSONALITIES: [Personality; 4] =
    [inetd::PERSONALITY, nc::PERSONALITY, tcpserver::PERSONALITY, xinetd::PERSONALITY];

/// The exit code, if the program was started as one of them.
pub(crate) fn run(out: &mut Output) -> Option<u8> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let named = |name: &OsStr| {
        let name = Path::new(name).file_name()?.to_str()?.to_owned();
        let fits = |one: &&Personality| one.name == name || one.aliases.contains(&name.as_str());
        PERSONALITIES.iter().find(fits).map(|one| (one, name))
    };
    let zeroth = arguments.first().and_then(|name| named(name));
    let words = if zeroth.is_some() { 1 } else { 2 };
    // A path as the first word is no name of ours.
    let first = arguments.get(1).filter(|word| !word.to_string_lossy().contains('/'));
    let (one, name) = zeroth.or_else(|| first.and_then(|name| named(name)))?;
    Some((one.run)(&name, arguments.split_off(words), out))
}

/// How a daemon lives.
struct Life {
    /// Its name, for messages.
    name: String,
    /// In the foreground.
    stays: bool,
    /// Where its process number is written.
    pid_file: Option<PathBuf>,
    /// What must be changed of what the file says.
    adjust: Box<dyn Fn(&mut Plan)>,
}

/// Reads an old file and serves it. What is left out is said, nothing else.
fn live(path: &Path, old: Old, life: Life, out: &mut Output) -> Exit {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let path = absolute(path);
    let old = Old { here: true, beside: old.beside.iter().map(|path| absolute(path)).collect(), ..old };
    let pid_file = life.pid_file.as_deref().map(absolute);
    let adjust = life.adjust;
    let load = move || -> Result<Configuration, String> {
        let mut configuration =
            config::load(&path, Dialect::Old(old.clone())).map_err(|rejected| rejected.to_string())?;
        configuration.plan.pid_file.clone_from(&pid_file);
        configuration.plan.may_be_empty = true;
        adjust(&mut configuration.plan);
        Ok(configuration)
    };
    let configuration = match load() {
        Ok(configuration) => configuration,
        Err(problem) => {
            out.report(problem);
            return Exit::Failed;
        }
    };
    for finding in configuration.findings.iter().filter(|finding| finding.note.severity >= Severity::LeftOut)
    {
        out.report(finding.complaint(true).show(&configuration.sources));
    }
    let loader: Loader = Box::new(move || load().map(|configuration| configuration.plan));
    let ready = match into_background(&life.name, life.stays, out) {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let done = serve::carry_out(configuration.plan, Some(loader), Show::Nothing(ready), out);
    done.unwrap_or_else(|(exit, problem)| {
        out.say(&life.name, problem);
        exit
    })
}

/// A successor of a running daemon is in the background already.
fn into_background(name: &str, stays: bool, out: &mut Output) -> Result<Option<Ready>, Exit> {
    if stays || crate::supervisor::is_successor() {
        return Ok(None);
    }
    daemon::detach().map(Some).map_err(|error| {
        out.say(name, format_args!("cannot go into the background: {error}"));
        Exit::Failed
    })
}
