//! `explain`: addresses, ports, endpoints, errnos and numbers, down to their bytes.
//!
//! What is written often means several things: 111 is a number, a port and an errno. Then all of them are said; a
//! word before it (`port 111`) says which one is meant.

use crate::exit::Exit;
use crate::report::{Output, Sheet};
use clap::Args;
use switchboard_net::{Address, Endpoint, Error, Json, Kind, Port};

mod address;
mod errno;
mod number;
pub(crate) mod path;
mod port;
mod sockaddr;

/// Explains addresses, ports, endpoints, errnos and numbers, down to their bytes
///
/// What can mean several things is explained as each of them; ADDRESS, PORT and so on may be preceded by a word that
/// says which one is meant: address, port, endpoint, errno, number.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
#[command(override_usage = "switchboard explain [OPTIONS] ADDRESS|PORT|ENDPOINT|ERRNO|NUMBER...\n       \
                            switchboard explain [OPTIONS] bdp RATE RTT\n       \
                            switchboard explain [OPTIONS] options")]
pub(crate) struct Arguments {
    /// An address, a port or service, an endpoint, an errno or a number
    ///
    /// Addresses may be written as inet_aton(3) takes them (0x7f.1, 017700000001), with an interface (fe80::1%eth0),
    /// in brackets or without. Endpoints are those of `connect`. Errnos are names or numbers. Numbers are decimal,
    /// 0x…, 0o… or 0b…. `bdp RATE RTT` computes the buffers for a path, and `options` lists what a fresh socket has.
    #[arg(required = true)]
    what: Vec<String>,

    /// One JSON object a line, for each thing explained
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  switchboard explain 192.0.2.7 fe80::1      every notation, class and scope, and the sockaddr
  switchboard explain 'tcp:[::1]:7'          the bytes that connect(2) is given
  switchboard explain unix:@echo
  switchboard explain echo 40000             a service and a port; is privilege needed?
  switchboard explain ECONNREFUSED           who meets it, and when
  switchboard explain number 1               in both byte orders
  switchboard explain bdp 1Gbit/s 40ms       buffers that keep a path full
  switchboard explain options                what a fresh socket has on this machine";

/// Explains one thing that was named with its kind.
type Explain = fn(&str) -> Result<Vec<Sheet>, Error>;

const KINDS: [(&str, Explain); 5] = [
    ("address", address::explain),
    ("port", port::explain),
    ("endpoint", endpoint),
    ("errno", errno::explain),
    ("number", number::explain),
];

pub(crate) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    let words: Vec<&str> = arguments.what.iter().map(String::as_str).collect();
    let explained: Vec<(String, Result<Vec<Sheet>, Error>)> = match words.as_slice() {
        ["options"] if arguments.json => vec![("options".to_owned(), Ok(super::list::option_sheets()))],
        ["options"] => {
            super::list::options(out);
            return Exit::Ok;
        }
        ["bdp", path @ ..] => vec![(words.join(" "), path::explain(path).map(|sheet| vec![sheet]))],
        [kind, things @ ..] if !things.is_empty() && explain_as(kind).is_some() => {
            let explain = explain_as(kind).unwrap_or(anything);
            things.iter().map(|thing| ((*thing).to_owned(), explain(thing))).collect()
        }
        things => things.iter().map(|thing| ((*thing).to_owned(), anything(thing))).collect(),
    };
    let mut exit = Exit::Ok;
    let mut first = true;
    for (input, sheets) in explained {
        let sheets = match sheets {
            Ok(sheets) => sheets,
            Err(error) => {
                out.talk(&error);
                exit = if matches!(error, Error::Name { .. }) { Exit::Name } else { Exit::Usage };
                continue;
            }
        };
        if arguments.json {
            let meanings: Vec<String> = sheets.iter().map(Sheet::json).collect();
            out.line(format_args!(
                "{{\"schema\":\"switchboard.explain\",\"version\":1,\"input\":{},\"meanings\":[{}]}}",
                Json(&input),
                meanings.join(",")
            ));
            continue;
        }
        for sheet in sheets {
            if !first {
                out.line("");
            }
            first = false;
            out.line(sheet);
        }
    }
    exit
}

fn explain_as(kind: &str) -> Option<Explain> {
    KINDS.iter().find(|(name, _)| *name == kind).map(|(_, explain)| *explain)
}

/// Everything that `text` can mean.
fn anything(text: &str) -> Result<Vec<Sheet>, Error> {
    if let Some(address) = address::read(text) {
        // 127.0.0.1 is an address and nothing else; 2130706433 is a number too.
        return if number::read(text).is_none() { address::sheets(text, &address) } else { plain(text) };
    }
    if number::read(text).is_some() {
        return plain(text);
    }
    if let Some((bare, bits)) = text.rsplit_once('/')
        && bits.parse::<u8>().is_ok()
        && address::read(bare).is_some()
    {
        return Err(Error::Config(format!(
            "`{text}` is a prefix, which stands for many addresses: explain one, as `{bare}`"
        )));
    }
    if text.contains(':') || text.starts_with('[') {
        return endpoint(text);
    }
    if let Some(sheet) = errno::named(text) {
        return Ok(vec![sheet]);
    }
    if let Ok(service @ Port::Name(_)) = text.parse::<Port>()
        && [Kind::Tcp, Kind::Udp].into_iter().any(|kind| service.number(kind).is_ok())
    {
        return port::explain(text);
    }
    Err(Error::Config(format!(
        "`{0}` is not an address, port, service, endpoint, errno or number; what a host name stands for is told by \
         `switchboard resolve {0}`",
        text.escape_default()
    )))
}

/// What a number can mean: a port if it is small enough, an IPv4 address otherwise; an errno if a socket call has it;
/// and a number in any case.
fn plain(text: &str) -> Result<Vec<Sheet>, Error> {
    let mut sheets = Vec::new();
    if let Some(number) = number::read(text) {
        match (u16::try_from(number), address::read(text)) {
            (Ok(port), _) => sheets.push(port::sheet(port)),
            (Err(_), Some(address)) => sheets.extend(address::sheets(text, &address)?),
            (Err(_), None) => {}
        }
        sheets.extend(errno::numbered(number));
    }
    sheets.extend(number::explain(text)?);
    Ok(sheets)
}

/// An endpoint's addresses, each with its bytes.
fn endpoint(text: &str) -> Result<Vec<Sheet>, Error> {
    let endpoint: Endpoint = text.parse()?;
    let addresses = endpoint.resolve()?;
    let many = addresses.len() > 1;
    let sheet = |address: &Address| {
        let title = if many { format!("{endpoint}: {address}") } else { format!("{endpoint}: an endpoint") };
        let mut sheet = Sheet::new("endpoint", title);
        sheet.add("address", address.to_string());
        sheet.add("socket", sockaddr::socket(address));
        sockaddr::add(&mut sheet, address)?;
        Ok(sheet)
    };
    addresses.iter().map(sheet).collect()
}
