//! `connect`: standard input and output, joined to a socket.
//!
//! Data goes to standard output and nothing else does; what there is to say is said on standard error. The exit
//! code tells whether every byte arrived.

mod asking;
mod door;
mod editor;
mod end;
mod flags;
mod layers;
mod meaning;
mod netcat;
mod opening;
mod places;
mod program;
mod proof;
mod reception;
mod repeat;
mod report;
mod scan;
mod secret;
mod secure;
mod task;
mod tunnel;
mod typed;
mod witness;

use crate::exit::Exit;
use crate::report::Output;
use clap::{Args, Parser};
pub(super) use end::Spot;
use flags::{Connecting, Ending, Listening, Messages, Scripting, Typed};
pub(crate) use netcat::Netcat;
pub(super) use proof::{name_of, no_tls};
pub(super) use report::exit_for_dialling;
use secure::Securing;
use switchboard_net::scan::Finding;
use task::Task;
use tunnel::Tunnelling;

/// Connects standard input and output to a server, or any two ends to each other
///
/// What is read from standard input goes to the server, and what the server sends goes to standard output, both at
/// the same time. At the end of the input the server is told (half-close), and its answer is awaited. The exit code
/// is 0 only if everything arrived. With two ends, what comes from one goes to the other, and each half ends by itself.
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
#[command(
    override_usage = "switchboard connect [OPTIONS] ENDPOINT\n       switchboard connect [OPTIONS] HOST PORT\n       switchboard connect [OPTIONS] END END\n       switchboard connect [OPTIONS] SERVICE HOST [NUMBER NUMBER]"
)]
pub(crate) struct Arguments {
    /// The server: HOST:PORT, udp:HOST:PORT, unix:PATH, unix:@NAME, unix-dgram:…, unix-seqpacket:…, vsock:CID:PORT; or HOST
    ///
    /// HOST is an address or a name. Its addresses race: while one is silent the next is tried as well, IPv6 and IPv4 in
    /// turn, and the first that answers is the one (Happy Eyeballs, RFC 8305). PORT is a number or a name of the services
    /// database (services(5)). A PORT without HOST is on the loopback addresses. @NAME is a name in the abstract
    /// namespace (unix(7)). CID is the number of a virtual machine, `host` or `local` (vsock(7)).
    ///
    /// Other ends: `-`, standard input and output; `fd:N`, a descriptor that is open already; `exec:'PROGRAM ARGUMENTS'`,
    /// a program with a socket as its standard input and output (no shell); `listen:ENDPOINT`, whoever connects there;
    /// `tls:HOST:PORT` and `tls:unix:PATH`, a server with TLS; `listen:tls:…`, whoever comes with TLS.
    #[arg(value_name = "ENDPOINT")]
    target: String,

    /// The port, if the first argument is a HOST; or the other end [default: -]
    ///
    /// If the first argument is daytime, qotd, time, sum, sum-binary, echo or chargen, this is a HOST (or an endpoint), and
    /// that service is used and its answer understood. A host of such a name is written tcp:NAME:PORT.
    #[arg(value_name = "PORT|END")]
    port: Option<String>,

    /// Say what is tried, what is connected, and how much went each way
    #[arg(short, long)]
    verbose: bool,

    /// The numbers for `sum` and `sum-binary`; before negative ones comes `--`
    #[arg(value_name = "NUMBER")]
    operands: Vec<i64>,

    #[command(flatten)]
    typed: Typed,

    #[command(flatten)]
    connecting: Connecting,

    #[command(flatten)]
    tunnelling: Tunnelling,

    #[command(flatten)]
    securing: Securing,

    #[command(flatten)]
    listening: Listening,

    #[command(flatten)]
    ending: Ending,

    #[command(flatten)]
    scripting: Scripting,

    #[command(flatten)]
    messages: Messages,
}

const EXAMPLES: &str = "\
Examples:
  echo hello | switchboard connect 127.0.0.1 7007
  switchboard connect localhost:daytime -v
  switchboard connect udp:127.0.0.1:7013 --send-empty --count 1
  switchboard connect unix:/run/echo.sock < request.bin > answer.bin
  printf '3 4\\n5 6\\n' | switchboard connect 9878 --quit-after 2s
  switchboard connect 127.0.0.1 9877 --connections 5 --option sndbuf=64KiB
  printf hello | switchboard connect exec:'tr a-z A-Z'
  switchboard connect 127.0.0.1:7013 exec:'sort -o daytime.txt'
  switchboard connect sum-binary 127.0.0.1:9879 3 4 --abi xdr --show-bytes
  switchboard connect echo 127.0.0.1:7007 --verify --amount 256KiB
  switchboard connect -z 127.0.0.1 daytime
  printf '3 4\\n5 6\\n' | switchboard connect 127.0.0.1 9878 --hex --json --rate 1KiB";

pub(crate) fn run(arguments: Arguments, out: &mut Output) -> Exit {
    let done = if let Some(service) = arguments.service() {
        arguments.question(service).map(|(question, task)| {
            task.warn(out);
            question.ask(&task, out)
        })
    } else if arguments.connecting.scan {
        arguments.scan().and_then(|scan| Ok(scan.carry_out(&arguments.dialing(scan::TIMEOUT)?, out)))
    } else {
        arguments.check().map(|task| task.carry_out(out))
    };
    done.unwrap_or_else(|error| {
        out.talk(&error);
        report::exit_for(&error)
    })
}

/// `connect` for another command line: a word an argument. The exit code. With `netcat` it tells what nc would.
pub(crate) fn run_words(words: &[String], netcat: Option<Netcat>, out: &mut Output) -> u8 {
    match Alone::try_parse_from(words) {
        Ok(alone) => {
            let done = alone.arguments.check().map(|task| Task { netcat, ..task }.carry_out(out));
            let exit = done.unwrap_or_else(|error| {
                out.talk(&error);
                report::exit_for(&error)
            });
            exit.code()
        }
        Err(error) => {
            let _ = error.print();
            Exit::Usage.code()
        }
    }
}

/// The ports of `connect --scan`, and what is known of each.
pub(crate) fn scan_words(words: &[String]) -> Result<Vec<Finding>, String> {
    let arguments = Alone::try_parse_from(words).map_err(|error| error.to_string())?.arguments;
    let scan = arguments.scan().map_err(|error| error.to_string())?;
    let findings = arguments.dialing(scan::TIMEOUT).and_then(|how| scan.findings(&how));
    findings.map_err(|error| error.to_string())
}

/// `connect` without a program around it.
#[derive(Parser, Debug)]
#[command(no_binary_name = true)]
struct Alone {
    #[command(flatten)]
    arguments: Arguments,
}
