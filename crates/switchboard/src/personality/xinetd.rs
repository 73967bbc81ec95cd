//! `xinetd`: its command line, with words behind one dash. As with the old one, a service that is wrong does not keep
//! the others from being served.
//!
//! `-cc`, `-logprocs` and `-reuse` are taken and do nothing: there is nothing to check periodically, nobody is asked
//! by ident, and addresses are always reused. `-stayalive` is what happens anyway.

use super::{Life, Personality, live};
use crate::config::legacy::{Language, Old};
use crate::config::value::FACILITIES;
use crate::plan::{Plan, Sink};
use crate::report::Output;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub(super) const PERSONALITY: Personality = Personality { name: "xinetd", aliases: &[], run };

const FILE: &str = "/etc/xinetd.conf";
/// What `-inetd_compat` reads besides.
const INETD: &str = "/etc/inetd.conf";

/// What the command line says.
#[derive(Default)]
struct Options {
    debug: bool,
    stays: bool,
    file: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    log: Option<Sink>,
    inetd: bool,
    limit: Option<u32>,
}

fn run(name: &str, arguments: Vec<OsString>, out: &mut Output) -> u8 {
    let mut options = Options::default();
    match read(arguments, &mut options) {
        Ok(true) => {}
        Ok(false) => {
            out.line(concat!("xinetd (switchboard) Version ", env!("CARGO_PKG_VERSION"), " libwrap loadavg"));
            return 0;
        }
        Err(problem) => {
            out.say(name, problem);
            out.aside(USAGE);
            return 1;
        }
    }
    let mut old = Old::new(Some(Language::Xinetd), true);
    if options.inetd && Path::new(INETD).exists() {
        old.beside.push(INETD.into());
    }
    let file = options.file.take().unwrap_or_else(|| FILE.into());
    let life = Life {
        name: name.to_owned(),
        stays: options.debug || options.stays,
        pid_file: options.pid_file.take().filter(|_| !options.debug),
        adjust: Box::new(move |plan| adjust(plan, &options)),
    };
    live(&file, old, life, out).code()
}

fn adjust(plan: &mut Plan, options: &Options) {
    if let Some(limit) = options.limit {
        plan.max_connections = Some(limit);
    }
    let log = if options.debug { Some(Sink::Stderr) } else { options.log.clone() };
    if let Some(log) = log {
        // What xinetd itself has to say goes there, also if its file logs nothing of services.
        plan.log.format.get_or_insert(switchboard_net::Format::Human);
        plan.log.sink = log;
    }
}

const USAGE: &str = "Usage: xinetd [-d] [-f config_file] [-filelog filename] [-syslog facility] [-reuse] [-limit proc_limit] [-pidfile filename] [-logprocs limit] [-cc interval] [-dontfork] [-stayalive] [-inetd_compat] [-version]";

/// Whether to go on; otherwise the version was asked for.
fn read(arguments: Vec<OsString>, options: &mut Options) -> Result<bool, String> {
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let word = argument.to_string_lossy().into_owned();
        let mut value = || arguments.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |value: OsString| {
            let number =
                value.to_str().and_then(|text| text.parse::<u32>().ok()).filter(|number| *number > 0);
            number.ok_or_else(|| format!("{word} needs a number above 0"))
        };
        match word.as_str() {
            "-d" => options.debug = true,
            "-f" => options.file = Some(value()?.into()),
            "-filelog" => {
                only_one(options)?;
                let path = PathBuf::from(value()?);
                options.log = Some(Sink::File(std::path::absolute(&path).unwrap_or(path)));
            }
            "-syslog" => {
                only_one(options)?;
                let name = value()?.to_string_lossy().into_owned();
                let known = FACILITIES.iter().find(|(known, _)| *known == name);
                let (_, facility) = known
                    .ok_or_else(|| format!("-syslog {}: there is no such facility", name.escape_debug()))?;
                options.log = Some(Sink::Syslog { facility: *facility });
            }
            "-pidfile" => options.pid_file = Some(value()?.into()),
            "-dontfork" => options.stays = true,
            "-inetd_compat" => options.inetd = true,
            "-limit" => options.limit = Some(value().and_then(number)?),
            "-logprocs" | "-cc" => {
                value().and_then(number)?;
            }
            "-reuse" | "-stayalive" => {}
            "-version" => return Ok(false),
            _ => return Err(format!("Bad option: {}", word.escape_debug())),
        }
    }
    Ok(true)
}

fn only_one(options: &Options) -> Result<(), String> {
    match options.log {
        Some(_) => Err("-syslog and -filelog exclude each other".into()),
        None => Ok(()),
    }
}
