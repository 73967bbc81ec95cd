//! `inetd`: the command line of the inetds of OpenBSD and Debian, FreeBSD, NetBSD and GNU, which have the same letters
//! for different things:
//!
//! | letter | here | elsewhere |
//! |---|---|---|
//! | `-l` | hosts.allow and hosts.deny | FreeBSD: a log line for each connection, which there always is here |
//! | `-w`, `-W` | hosts.allow and hosts.deny | FreeBSD alone has them |
//! | `-f` | the file that follows; without one, in the foreground | NetBSD: in the foreground, always |
//! | `-p` | the file with the process number, beside it or behind it | GNU: beside it only, and `-p` alone is none |
//! | `-R N` | starts of a program in a minute; 0 is no limit | GNU: `--rate` |
//!
//! As with the old ones, what is wrong with one entry does not keep the others from being served.

use super::{Life, Personality, live};
use crate::config::inetd::{self, Dialect};
use crate::config::legacy::{Language, Old};
use crate::getopt::{Attached, Flag, Getopt, shown};
use crate::plan::{Plan, Sink};
use crate::report::Output;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub(super) const PERSONALITY: Personality =
    Personality { name: "inetd", aliases: &["openbsd-inetd", "inetutils-inetd"], run };

const LETTERS: &str = "dEilwWf:q:R:a:c:C:s:p:V?";
/// Where the old programs look, and GNU's also.
const FILE: &str = "/etc/inetd.conf";
const DIRECTORY: &str = "/etc/inetd.d";
const PID_FILE: &str = "/run/inetd.pid";
/// syslog(3)'s LOG_DAEMON.
const DAEMON: u8 = 3;

/// What the command line says.
#[derive(Default)]
struct Options {
    debug: bool,
    stays: bool,
    life: inetd::Life,
    /// `-p`: with a name, without one.
    pid_file: Option<Option<PathBuf>>,
    files: Vec<PathBuf>,
}

fn run(name: &str, arguments: Vec<OsString>, out: &mut Output) -> u8 {
    let gnu = name == "inetutils-inetd";
    let mut options = Options::default();
    options.life.compat = true;
    match read(gnu, arguments, &mut options, out) {
        Read::Go => {}
        Read::End => return 0,
        Read::Wrong(problem) => return usage(name, gnu, &problem, out),
    }
    let dialect = match name {
        "openbsd-inetd" => Some(Dialect::OpenBsd),
        "inetutils-inetd" => Some(Dialect::Gnu),
        _ => None,
    };
    if options.files.is_empty() {
        options.files.push(FILE.into());
        if gnu && Path::new(DIRECTORY).is_dir() {
            options.files.push(DIRECTORY.into());
        }
    }
    let file = options.files.remove(0);
    let mut old = Old::new(Some(Language::Inetd(dialect)), true);
    (old.life, old.beside) = (options.life, options.files);
    let stays = options.debug || options.stays;
    let life = Life {
        name: name.to_owned(),
        stays,
        pid_file: pid_file(options.pid_file, stays),
        adjust: Box::new(move |plan| log(plan, options.debug)),
    };
    live(&file, old, life, out).code()
}

/// The one that was asked for; otherwise the usual one, if it can be written and nobody watches.
fn pid_file(asked: Option<Option<PathBuf>>, stays: bool) -> Option<PathBuf> {
    match asked {
        Some(asked) => asked,
        None if stays || !rustix::process::geteuid().is_root() => None,
        None => Some(PID_FILE.into()),
    }
}

fn log(plan: &mut Plan, debug: bool) {
    plan.log.sink = if debug { Sink::Stderr } else { Sink::Syslog { facility: DAEMON } };
}

/// What has become of reading the command line.
enum Read {
    Go,
    /// Help or version was all that was wanted.
    End,
    Wrong(String),
}

fn read(gnu: bool, arguments: Vec<OsString>, options: &mut Options, out: &mut Output) -> Read {
    let mut flags = Getopt::new(LETTERS, arguments);
    let life = &mut options.life;
    while let Some(flag) = flags.next() {
        let number = |letter: char, value: &OsString| {
            let number = value.to_str().and_then(|text| text.parse::<u32>().ok());
            number.ok_or_else(|| format!("-{letter} {}: expected a number", shown(value)))
        };
        let done = match flag {
            Flag::Plain('d') => set(&mut options.debug),
            Flag::Plain('i') => set(&mut options.stays),
            Flag::Plain('l' | 'w' | 'W') => set(&mut life.libwrap),
            Flag::Plain('E') => set(&mut life.environment),
            Flag::Plain('V') => return version(out),
            Flag::Plain('?') => return help(out),
            Flag::Value('f', file, _) if !file.to_string_lossy().starts_with('-') => {
                options.files.push(file.into());
                Ok(())
            }
            Flag::Value('f', next, _) => {
                flags.put_back(next);
                set(&mut options.stays)
            }
            Flag::Missing('f') => set(&mut options.stays),
            Flag::Value('p', file, attached) => {
                let separate = attached == Attached::No;
                if separate && (gnu || file.to_string_lossy().starts_with('-')) {
                    flags.put_back(file);
                    options.pid_file = Some(None);
                } else {
                    options.pid_file = Some(Some(file.into()));
                }
                Ok(())
            }
            Flag::Missing('p') => {
                options.pid_file = Some(None);
                Ok(())
            }
            Flag::Value('a', address, _) => {
                let address = address.to_string_lossy().into_owned();
                life.addresses = if address == "*" { Vec::new() } else { vec![address] };
                Ok(())
            }
            Flag::Value('q', value, _) => number('q', &value).map(|number| life.backlog = Some(number)),
            Flag::Value('R', value, _) => {
                number('R', &value).map(|number| life.limits.per_minute = Some(number))
            }
            Flag::Value('c', value, _) => {
                number('c', &value).map(|number| life.limits.at_once = Some(number))
            }
            Flag::Value('C', value, _) => {
                number('C', &value).map(|number| life.limits.per_source_minute = Some(number))
            }
            Flag::Value('s', value, _) => {
                number('s', &value).map(|number| life.limits.per_source = Some(number))
            }
            Flag::Long(word, value) => match (word.as_str(), value) {
                ("debug", None) => set(&mut options.debug),
                // Programs have these variables always.
                ("environment", None) => Ok(()),
                ("resolve", None) => set(&mut life.names),
                ("pidfile", file) => {
                    options.pid_file = Some(file.map(PathBuf::from));
                    Ok(())
                }
                ("rate", Some(value)) => {
                    number('R', &value).map(|number| life.limits.per_minute = Some(number))
                }
                ("version", None) => return version(out),
                ("help" | "usage", None) => return help(out),
                (word, _) => Err(format!("unrecognized option '--{word}'")),
            },
            Flag::Missing(letter) => Err(format!("option requires an argument -- '{letter}'")),
            Flag::Unknown(letter) | Flag::Plain(letter) | Flag::Value(letter, ..) => {
                Err(format!("invalid option -- '{letter}'"))
            }
        };
        if let Err(problem) = done {
            return Read::Wrong(problem);
        }
    }
    let rest = flags.rest();
    if !gnu && rest.len() + options.files.len() > 1 {
        return Read::Wrong("there can be one configuration file".into());
    }
    options.files.extend(rest.into_iter().map(PathBuf::from));
    Read::Go
}

fn set(flag: &mut bool) -> Result<(), String> {
    *flag = true;
    Ok(())
}

fn version(out: &mut Output) -> Read {
    out.line(concat!("inetd (switchboard) ", env!("CARGO_PKG_VERSION")));
    Read::End
}

const USAGE: &str = "usage: inetd [-dEilwW] [-a address] [-c maximum] [-C rate] [-p pidfile] [-q length] [-R rate] \
                     [-s maximum] [[-f] configuration_file]";

fn help(out: &mut Output) -> Read {
    out.line(USAGE);
    out.line(
        "\n\
        -d             stay in the foreground, log to standard error   (--debug)\n\
        -i             stay in the foreground\n\
        -f FILE        the configuration file; -f alone: stay in the foreground\n\
        -p[FILE]       where to write the process number               (--pidfile)\n\
        -l, -w, -W     ask hosts.allow and hosts.deny\n\
        -E             programs get the whole environment\n\
        -a ADDRESS     where services listen that name no address\n\
        -R N           starts of a program in a minute, 0: no limit    (--rate)\n\
        -c N, -s N     programs at once of a service, and for one address\n\
        -C N           starts for one address in a minute\n\
        -q N           length of the listen queue\n\
        --resolve      programs learn the names of both ends",
    );
    Read::End
}

/// As the old programs end: OpenBSD's with 1, GNU's with EX_USAGE of sysexits.h.
fn usage(name: &str, gnu: bool, problem: &str, out: &mut Output) -> u8 {
    out.say(name, problem);
    if gnu {
        out.aside(format_args!("Try '{name} --help' or '{name} --usage' for more information."));
        return 64;
    }
    out.aside(USAGE);
    1
}
