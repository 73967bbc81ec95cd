//! The verbs, one a file in `command/`.

use crate::exit::{self, Exit};
use crate::report::Output;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::process::ExitCode;

mod cert;
mod check;
mod config;
pub(crate) mod connect;
mod convert;
mod drain;
mod explain;
mod health;
mod lab;
mod list;
mod load;
mod reload;
mod resolve;
mod resume;
pub(crate) mod serve;
mod sockets;
mod status;
mod stop;
mod terminate;
mod trace;
mod upgrade;

/// Serve and connect to whatever happens on a socket.
#[derive(Parser, Debug)]
#[command(name = "switchboard", version, max_term_width = 100, after_help = AFTER_HELP)]
#[command(disable_help_subcommand = true, propagate_version = true)]
struct Program {
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "\
Examples:
  switchboard serve                        every service on loopback, no file, no root
  echo hello | switchboard connect 127.0.0.1 7007
  switchboard list services                what can be served

Called inetd, xinetd, tcpserver or nc, by a link of that name or by the first word (`switchboard inetd -d FILE`), it takes
that program's command line.";

#[derive(Subcommand, Debug)]
enum Verb {
    Serve(Box<serve::Arguments>),
    Connect(Box<connect::Arguments>),
    Check(check::Arguments),
    Config(config::Arguments),
    Convert(convert::Arguments),
    List(list::Arguments),
    Load(Box<load::Arguments>),
    Lab(lab::Arguments),
    Explain(explain::Arguments),
    Cert(cert::Arguments),
    Resolve(resolve::Arguments),
    Sockets(sockets::Arguments),
    Trace(trace::Arguments),
    Status(status::Arguments),
    Reload(reload::Arguments),
    Upgrade(upgrade::Arguments),
    Drain(drain::Arguments),
    Resume(resume::Arguments),
    Stop(stop::Arguments),
    Terminate(terminate::Arguments),
    Health(health::Arguments),
}

pub(crate) fn run() -> ExitCode {
    // The lab starts this program anew in roles of its own.
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some(status) = switchboard_lab::run::worker::role(&words) {
        return ExitCode::from(u8::try_from(status).unwrap_or(1));
    }
    let mut out = Output::default();
    if let Some(exit) = load::tether::role(std::env::args_os().skip(1), &mut out) {
        return ExitCode::from(exit.code());
    }
    if let Some(code) = crate::personality::run(&mut out) {
        return ExitCode::from(code);
    }
    let program = match parse() {
        Ok(program) => program,
        Err(error) => {
            // clap knows whether this is help for standard output or a complaint for standard error.
            let _ = error.print();
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            return ExitCode::from(code.code());
        }
    };
    let exit = match program.verb {
        Verb::Serve(arguments) => serve::run(*arguments, &mut out),
        Verb::Check(arguments) => check::run(&arguments, &mut out),
        Verb::Config(arguments) => config::run(&arguments, &mut out),
        Verb::Convert(arguments) => convert::run(&arguments, &mut out),
        Verb::Connect(arguments) => connect::run(*arguments, &mut out),
        Verb::Load(arguments) => load::run(&arguments, &mut out),
        Verb::Lab(arguments) => lab::run(arguments, &mut out),
        Verb::List(arguments) => list::run(&arguments, &mut out),
        Verb::Cert(arguments) => cert::run(&arguments, &mut out),
        Verb::Explain(arguments) => explain::run(&arguments, &mut out),
        Verb::Resolve(arguments) => resolve::run(&arguments, &mut out),
        Verb::Sockets(arguments) => sockets::run(&arguments, &mut out),
        Verb::Trace(arguments) => trace::run(arguments, &mut out),
        Verb::Status(arguments) => status::run(&arguments, &mut out),
        Verb::Reload(arguments) => reload::run(&arguments, &mut out),
        Verb::Upgrade(arguments) => upgrade::run(&arguments, &mut out),
        Verb::Drain(arguments) => drain::run(&arguments, &mut out),
        Verb::Resume(arguments) => resume::run(&arguments, &mut out),
        Verb::Stop(arguments) => stop::run(&arguments, &mut out),
        Verb::Terminate(arguments) => terminate::run(&arguments, &mut out),
        Verb::Health(arguments) => health::run(&arguments, &mut out),
    };
    let exit = if exit == Exit::Ok && out.is_broken() { Exit::Output } else { exit };
    ExitCode::from(exit.code())
}

fn parse() -> Result<Program, clap::Error> {
    let mut command = Program::command();
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    let mut program = Program::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    if let (Verb::Serve(arguments), Some((_, matches))) = (&mut program.verb, matches.subcommand()) {
        arguments.note_what_was_given(matches);
    }
    Ok(program)
}

/// Adds the exit codes to a verb's help.
pub(crate) fn with_exit_codes(examples: &str) -> String {
    format!("{examples}\n\n{}", exit::HELP)
}
