//! `tcpserver` of ucspi-tcp: one TCP service of a program, told on the command line. What differs:
//!
//! * Records of connections and the program's standard error go to our log on standard error, in our words; `-q` turns
//!   that off, and with it the program's standard error.
//! * `-r`, `-t`: nobody is asked by ident (the default of the old one); TCPREMOTEINFO is never set.
//! * `-p`: names always must lead back to their address.
//! * `-o`, `-O`: Linux takes no source routes from others unless it is told to.

use super::Personality;
use crate::command::serve::{self, Show};
use crate::config;
use crate::config::document::{AccessTable, BoundTable, Document, ServiceTable};
use crate::config::source::At;
use crate::config::value::{Count, Many, Otherwise, Pairs, Words};
use crate::getopt::{Flag, Getopt, shown};
use crate::report::Output;
use std::ffi::OsString;
use std::path::PathBuf;

pub(super) const PERSONALITY: Personality = Personality { name: "tcpserver", aliases: &[], run };

const LETTERS: &str = "dDvqQhHrR1UXx:t:u:g:l:b:B:c:pPoO";
const USAGE: &str = "tcpserver: usage: tcpserver [ -1UXpPhHrRoOdDqQv ] [ -c limit ] [ -x rules.cdb ] [ -B banner ] \
                     [ -g gid ] [ -u uid ] [ -b backlog ] [ -l localname ] [ -t timeout ] host port program";
/// Clients at once, if nothing is said.
const LIMIT: u32 = 40;
/// Exit codes of the old program: usage, and everything else.
const WRONG: u8 = 100;
const FAILED: u8 = 111;

/// What the command line says.
struct Options {
    port: bool,
    quiet: bool,
    names: bool,
    nodelay: Option<bool>,
    limit: u32,
    backlog: Option<u32>,
    rules: Option<PathBuf>,
    rules_may_be_missing: bool,
    uid: Option<String>,
    gid: Option<String>,
    local_name: Option<String>,
    banner: Option<String>,
}

fn run(_: &str, arguments: Vec<OsString>, out: &mut Output) -> u8 {
    let mut options = Options {
        port: false,
        quiet: false,
        names: true,
        nodelay: None,
        limit: LIMIT,
        backlog: None,
        rules: None,
        rules_may_be_missing: false,
        uid: None,
        gid: None,
        local_name: None,
        banner: None,
    };
    let words = match read(arguments, &mut options) {
        Ok(words) => words,
        Err(problem) => {
            if let Some(problem) = problem {
                out.say("tcpserver", problem);
            }
            out.aside(USAGE);
            return WRONG;
        }
    };
    let document = Document { service: vec![service(&options, words)], ..Document::default() };
    let configuration = match config::from_document(document) {
        Ok(configuration) => configuration,
        Err(rejected) => {
            for complaint in rejected.complaints.list() {
                out.say("tcpserver", format_args!("fatal: {}", complaint.problem));
            }
            return FAILED;
        }
    };
    let mut plan = configuration.plan;
    if options.quiet {
        plan.log.format = None;
    }
    let show = if options.port { Show::Port } else { Show::Nothing(None) };
    match serve::carry_out(plan, None, show, out) {
        Ok(exit) => exit.code(),
        Err((_, problem)) => {
            out.say("tcpserver", format_args!("fatal: {problem}"));
            FAILED
        }
    }
}

/// Reads the options; what is left is host, port, program and its arguments.
fn read(arguments: Vec<OsString>, options: &mut Options) -> Result<Vec<String>, Option<String>> {
    let mut flags = Getopt::new(LETTERS, arguments);
    while let Some(flag) = flags.next() {
        match flag {
            Flag::Plain('1') => options.port = true,
            Flag::Plain('q') => options.quiet = true,
            Flag::Plain('Q' | 'v') => options.quiet = false,
            Flag::Plain('h') => options.names = true,
            Flag::Plain('H') => options.names = false,
            Flag::Plain('d') => options.nodelay = Some(false),
            Flag::Plain('D') => options.nodelay = Some(true),
            Flag::Plain('X') => options.rules_may_be_missing = true,
            Flag::Plain('U') => {
                options.uid = std::env::var("UID").ok().or(options.uid.take());
                options.gid = std::env::var("GID").ok().or(options.gid.take());
            }
            Flag::Plain('r' | 'R' | 'p' | 'P' | 'o' | 'O') | Flag::Value('t', ..) => {}
            Flag::Value('c', value, _) => options.limit = number('c', &value)?,
            Flag::Value('b', value, _) => options.backlog = Some(number('b', &value)?),
            Flag::Value('x', value, _) => options.rules = Some(value.into()),
            Flag::Value('u', value, _) => options.uid = Some(number('u', &value)?.to_string()),
            Flag::Value('g', value, _) => options.gid = Some(number('g', &value)?.to_string()),
            Flag::Value('l', value, _) => options.local_name = Some(value.to_string_lossy().into_owned()),
            Flag::Value('B', value, _) => options.banner = Some(value.to_string_lossy().into_owned()),
            Flag::Missing(letter) => return Err(Some(format!("option requires an argument -- {letter}"))),
            Flag::Long(word, _) => return Err(Some(format!("illegal option -- -{}", word.escape_debug()))),
            Flag::Unknown(letter) | Flag::Plain(letter) | Flag::Value(letter, ..) => {
                return Err(Some(format!("illegal option -- {letter}")));
            }
        }
    }
    let words: Option<Vec<String>> = flags.rest().into_iter().map(|word| word.into_string().ok()).collect();
    let words = words.ok_or_else(|| Some("the program's arguments are not UTF-8".to_owned()))?;
    if words.len() < 3 { Err(None) } else { Ok(words) }
}

fn number(letter: char, value: &OsString) -> Result<u32, Option<String>> {
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| Some(format!("-{letter} {}: expected a number", shown(value))))
}

fn service(options: &Options, words: Vec<String>) -> ServiceTable {
    let mut words = words.into_iter();
    let (host, port) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let host = match host.as_str() {
        "0" | "" => "0.0.0.0".to_owned(),
        _ if host.contains(':') => format!("[{host}]"),
        _ => host,
    };
    let mut exec: Vec<String> = words.collect();
    if let Some(banner) = &options.banner {
        // As the old program did, before anything else is done for the client.
        let script = "printf %s \"$0\"; exec \"$@\"".to_owned();
        exec.splice(0..0, ["/bin/sh".to_owned(), "-c".to_owned(), script, banner.clone()]);
    }
    let pass: Many<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    let mut sockets: Vec<(String, String)> = Vec::new();
    sockets.extend(options.backlog.map(|backlog| ("backlog".into(), backlog.to_string())));
    sockets.extend(options.nodelay.map(|on| ("nodelay".into(), if on { "on" } else { "off" }.into())));
    let most = BoundTable {
        most: Some(Count(options.limit).into()),
        otherwise: Some(Otherwise::Queue.into()),
        ..BoundTable::default()
    };
    let missing = options.rules_may_be_missing;
    let rules = options.rules.clone().filter(|rules| !missing || rules.exists());
    let rules = rules.map(|rules| AccessTable {
        tcprules: Some(std::path::absolute(&rules).unwrap_or(rules).into()),
        ..AccessTable::default()
    });
    let root = options.uid.is_none() && rustix::process::geteuid().is_root();
    ServiceTable {
        id: Some("tcpserver".to_owned().into()),
        listen: Some([format!("tcp:{host}:{port}")].into_iter().collect::<Many<String>>().into()),
        exec: Some(Words(exec).into()),
        max_connections: Some(most.into()),
        access: rules.map(At::from),
        pass_env: Some(pass.into()),
        resolve_names: options.names.then(|| true.into()),
        env: options
            .local_name
            .as_ref()
            .map(|name| [("TCPLOCALHOST", name.as_str())].into_iter().collect::<Pairs>().into()),
        socket_options: (!sockets.is_empty()).then(|| sockets.into_iter().collect::<Pairs>().into()),
        user: options.uid.clone().map(At::from),
        group: options.gid.clone().map(At::from),
        capabilities: root.then(|| ["all".to_owned()].into_iter().collect::<Many<String>>().into()),
        no_new_privs: Some(false.into()),
        ..ServiceTable::default()
    }
}
