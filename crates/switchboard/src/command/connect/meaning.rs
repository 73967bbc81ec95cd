//! What the words of a command line mean together: two ends, how to get there, and by which rules they talk.

use super::Arguments;
use super::end::{End, Spot};
use super::places::check_descriptors;
use super::scan::{self, Scan};
use super::task::Task;
use super::typed::{self, Question};
use std::net::IpAddr;
use std::time::Duration;
use switchboard_net::dial::{Dialing, Family};
use switchboard_net::talk::{Rules, Ways};
use switchboard_net::{Endpoint, Error, Host, Kind, SocketOptions};

/// How long an address may be silent, unless asked otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// As long as anybody waits.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Bytes of the largest datagram (UDP over IPv4).
const LARGEST_DATAGRAM: usize = switchboard_net::talk::DATAGRAM;

impl Arguments {
    /// What the words of the command line mean together.
    pub(super) fn check(&self) -> Result<Task, Error> {
        if let Some(number) = self.operands.first() {
            return Err(Error::Config(format!(
                "what is {number} for? Only `connect sum HOST 3 4` takes numbers"
            )));
        }
        let ends = self.secured(self.ends()?)?;
        self.check_places(&ends)?;
        if self.connecting.connections > 1 {
            check_descriptors(self.connecting.connections)?;
        }
        Ok(Task {
            layers: self.layers(&ends)?,
            ends,
            dialing: self.dialing(CONNECT_TIMEOUT)?,
            rules: self.rules(),
            silence_is_good: self.ending.end_on_silence,
            connections: self.connecting.connections,
            keep_open: self.listening.keep_open,
            fork: self.listening.fork,
            verbose: self.verbose,
            repeat: self.scripting.repeat,
            every: self.scripting.every,
            pass_socket: self.scripting.pass_socket,
            edits: !self.scripting.no_edit,
            history: self.scripting.history.clone(),
            hex: self.scripting.hex.clone(),
            json: self.scripting.json,
            netcat: None,
        })
    }

    /// The service whose client is wanted.
    pub(super) fn service(&self) -> Option<&'static str> {
        let named = typed::NAMES.into_iter().find(|name| *name == self.target);
        named.filter(|_| self.port.is_some() && !self.connecting.scan)
    }

    /// What is to be asked of a service, and how to get there.
    pub(super) fn question(&self, service: &str) -> Result<(Question, Task), Error> {
        let text = self.port.as_deref().unwrap_or_default();
        let (text, tls) = text.strip_prefix("tls:").map_or((text, false), |rest| (rest, true));
        let endpoint = typed::server(text, service)?;
        let kind = endpoint.kind;
        let operands = || {
            <[i64; 2]>::try_from(&self.operands[..]).map_err(|_| {
                Error::Config(format!("{service} needs two numbers: write `connect {service} HOST 3 4`"))
            })
        };
        // A datagram of the usual size passes every network whole.
        let usual = if kind.is_datagram() { 1024 } else { 1024 * 1024 };
        let wanted = self.typed.amount.unwrap_or(usual);
        let amount = || match self.typed.verify {
            true if service == "chargen" && kind != Kind::Tcp => {
                Err(Error::Config("chargen --verify needs an endless stream: use TCP".into()))
            }
            true if kind.is_datagram() && wanted > LARGEST_DATAGRAM => {
                Err(Error::Config(format!("a datagram has up to {LARGEST_DATAGRAM} bytes: lower --amount")))
            }
            true => Ok(wanted),
            false => {
                let host = text.escape_default();
                Err(Error::Config(format!(
                    "write `connect {service} {host} --verify`; or, to talk yourself, HOST PORT"
                )))
            }
        };
        let question = match service {
            "time" => Question::Time,
            "sum" => Question::Sum(operands()?),
            "sum-binary" => Question::SumBinary {
                abi: self.typed.abi,
                operands: operands()?,
                show: self.typed.show_bytes,
            },
            "echo" => Question::Echo { amount: amount()? },
            "chargen" => Question::Chargen { amount: amount()? },
            _ => Question::Text,
        };
        let unasked = matches!(question, Question::Text | Question::Time);
        let datagram = kind.is_datagram();
        let rules = Rules { count: datagram.then_some(1), empty_first: datagram && unasked, ..self.rules() };
        let ends = self.secured([End::Remote(Spot { endpoint, tls }), End::Standard])?;
        let task = Task {
            layers: self.layers(&ends)?,
            ends,
            dialing: self.dialing(CONNECT_TIMEOUT)?,
            rules,
            silence_is_good: self.ending.end_on_silence,
            connections: 1,
            keep_open: false,
            fork: false,
            verbose: self.verbose,
            repeat: 1,
            every: None,
            pass_socket: self.scripting.pass_socket,
            edits: !self.scripting.no_edit,
            history: self.scripting.history.clone(),
            hex: self.scripting.hex.clone(),
            json: self.scripting.json,
            netcat: None,
        };
        Ok((question, task))
    }

    /// What is to be scanned.
    pub(super) fn scan(&self) -> Result<Scan, Error> {
        let (kind, host) = match self.target.split_once(':') {
            Some(("tcp", host)) => (Kind::Tcp, host),
            Some(("udp", host)) => (Kind::Udp, host),
            _ => (Kind::Tcp, self.target.as_str()),
        };
        let whole =
            || Error::Config("--scan needs a host and ports: write `connect -z [udp:]HOST PORTS`".into());
        let (host, ports) = match &self.port {
            Some(ports) => (host, ports.as_str()),
            None => host.rsplit_once(':').ok_or_else(whole)?,
        };
        let host = if host.is_empty() { Host::Loopback } else { host.parse()? };
        if host == Host::Any {
            return Err(Error::Config("`*` is for listening; name one host to scan".into()));
        }
        let ports = scan::ports(ports, kind)?;
        self.check_bare()?;
        Ok(Scan { kind, host, ports, json: self.scripting.json, verbose: self.verbose })
    }

    /// How to connect.
    pub(super) fn dialing(&self, timeout: Duration) -> Result<Dialing, Error> {
        let mut options = SocketOptions::default();
        for given in &self.connecting.options {
            let wrong =
                || Error::Config(format!("`{}` is not an option: write NAME=VALUE", given.escape_default()));
            let (name, value) = given.split_once('=').ok_or_else(wrong)?;
            options.set(name, value)?;
        }
        if let Some(interface) = &self.connecting.interface {
            options.set("device", interface)?;
        }
        Ok(Dialing {
            family: match (self.connecting.ipv4, self.connecting.ipv6) {
                (true, _) => Family::V4,
                (_, true) => Family::V6,
                _ => Family::Either,
            },
            source: self.connecting.source,
            connect_timeout: self.connecting.connect_timeout.unwrap_or(timeout),
            pinned: self.connecting.resolve.clone(),
            options,
            unconnected: self.messages.unconnected,
            ..Dialing::default()
        })
    }

    /// The two ends; the second one is standard input and output if only one is named.
    fn ends(&self) -> Result<[End; 2], Error> {
        let first = &self.target;
        match &self.port {
            None if End::parse(first).is_ok_and(|end| matches!(end, End::Standard)) => {
                Err(Error::Config("`-` needs another end: write `connect - ENDPOINT`".into()))
            }
            // A lone word is a port on loopback, unless it can only be a host.
            None if first.parse::<IpAddr>().is_ok()
                || (first.contains('.') && !first.contains([':', '/'])) =>
            {
                let first = first.escape_default();
                Err(Error::Config(format!("the port is missing: write `connect {first} PORT`")))
            }
            None => Ok([End::parse(first)?, End::Standard]),
            Some(second) => {
                let is_end = |word: &str| {
                    word == "-" || ["fd:", "exec:", "listen:"].iter().any(|kind| word.starts_with(kind))
                };
                if End::is_meant_by(second) || is_end(first) {
                    return Ok([End::parse(first)?, End::parse(second)?]);
                }
                let (kind, host, tls) = match first.split_once(':') {
                    Some(("tcp", host)) => (Kind::Tcp, host, false),
                    Some(("tls", host)) => (Kind::Tcp, host, true),
                    Some(("udp", host)) => (Kind::Udp, host, false),
                    _ => (Kind::Tcp, first.as_str(), false),
                };
                let endpoint = Endpoint::from_host_port(kind, host, second)?;
                Ok([End::Remote(Spot { endpoint, tls }), End::Standard])
            }
        }
    }

    fn rules(&self) -> Rules {
        let scripting = &self.scripting;
        let heard_for_ever = self.messages.unconnected && self.listening.keep_open;
        Rules {
            ways: match (scripting.send_only, scripting.recv_only) {
                (true, _) => Ways::Send,
                (_, true) => Ways::Receive,
                _ => Ways::Both,
            },
            rate: scripting.rate,
            delay_line: scripting.delay_line,
            crlf: scripting.crlf,
            telnet: scripting.telnet,
            half_close: !self.ending.no_half_close,
            quit_after: self.ending.quit_after,
            idle_timeout: self.ending.idle_timeout.or(heard_for_ever.then_some(FOR_EVER)),
            timeout: self.ending.timeout,
            after_eof: self.ending.after_eof,
            by_line: self.messages.line,
            count: self.messages.count,
            addressee: None,
            empty_first: self.messages.send_empty,
        }
    }
}
