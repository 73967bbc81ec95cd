//! `nc`: the command line of OpenBSD's netcat as Debian has it, done by `connect`. What differs, on purpose:
//!
//! * The end of the input is told to the server (`-N` is always on) and his end is awaited; `-q` and `-w` limit that.
//! * The exit code is 0 only if every byte was delivered; it is 1 after a reset, or with input that nobody took.
//! * `-uz`: a UDP port is open if something answers. Silence is no success.
//! * `-t` is a whole network virtual terminal: what is said about options is not shown, and 255 is doubled.
//! * `-S` and `-V` are refused, and not passed over in silence: nc wants to ask at the terminal for the key of the one,
//!   and has no routing tables on Linux itself; `-Z` (DCCP) is refused because Linux 6.16 took DCCP out.
//! * `-v` says what nc says, word for word, but shows the addresses of those who come, and not their names.
//! * `-ku` hears every sender, as nc does; what is typed is not sent to anybody, and so not read.
//! * `-x` asks a proxy as `-X` says: 5 (SOCKS5, which is the default), 4 or connect (HTTP); `-P` also for SOCKS5.

use super::Personality;
use crate::command::connect::{self, Netcat};
use crate::getopt::{Flag, Getopt, shown};
use crate::report::Output;
use std::ffi::OsString;
use std::net::IpAddr;
use switchboard_net::quantity;
use switchboard_net::scan::State;

pub(super) const PERSONALITY: Personality =
    Personality { name: "nc", aliases: &["netcat", "nc.openbsd"], run };

const LETTERS: &str = "46bCDdFhklNnrtUuvzI:i:M:m:O:P:p:q:Ss:T:V:W:w:X:x:Z";
const USAGE: &str = "usage: nc [-46bCDdFhklNnrtUuvz] [-I length] [-i interval] [-M ttl] [-m minttl] [-O length] \
                     [-P proxy_username] [-p source_port] [-q seconds] [-s sourceaddr] [-T keyword] [-W recvlimit] \
                     [-w timeout] [-X proxy_protocol] [-x proxy_address[:port]] [destination] [port]";
const FAILED: u8 = 1;

/// What the command line says.
#[derive(Default)]
struct Options {
    /// As `connect` takes them.
    words: Vec<String>,
    listens: bool,
    keeps: bool,
    detached: bool,
    numeric: bool,
    unix: bool,
    udp: bool,
    scans: bool,
    verbose: bool,
    v4: bool,
    v6: bool,
    source: Option<String>,
    source_port: Option<String>,
    most: Option<String>,
    proxy: Option<String>,
    proxy_protocol: Option<String>,
    proxy_user: Option<String>,
}

fn run(name: &str, arguments: Vec<OsString>, out: &mut Output) -> u8 {
    match translate(name, arguments) {
        Ok(Asked::Help) => {
            out.line(USAGE);
            0
        }
        Ok(Asked::Talk(words, netcat)) => u8::from(connect::run_words(&words, netcat, out) != 0),
        Ok(Asked::Scan(words, netcat)) => scan(name, &words, netcat.as_ref(), out),
        Err(problem) => {
            out.say(name, problem);
            FAILED
        }
    }
}

/// As nc does, it succeeds if one port is open, and says so with `-v`.
fn scan(name: &str, words: &[String], netcat: Option<&Netcat>, out: &mut Output) -> u8 {
    let findings = match connect::scan_words(words) {
        Ok(findings) => findings,
        Err(problem) => {
            out.say(name, problem);
            return FAILED;
        }
    };
    for finding in &findings {
        let (Some(netcat), Some(inet)) = (netcat, finding.address.inet()) else { continue };
        let kind = finding.address.kind;
        out.aside(match finding.state {
            State::Open => netcat.connected(kind, inet),
            State::Closed => netcat.failed(kind, inet, "Connection refused"),
            State::Silent if !kind.is_datagram() => netcat.failed(kind, inet, "Connection timed out"),
            state => netcat.failed(kind, inet, state.words(kind)),
        });
    }
    u8::from(!findings.iter().any(|finding| finding.state == State::Open))
}

enum Asked {
    Help,
    /// For `connect`, with `-v` in nc's words.
    Talk(Vec<String>, Option<Netcat>),
    /// For its scan.
    Scan(Vec<String>, Option<Netcat>),
}

fn translate(name: &str, arguments: Vec<OsString>) -> Result<Asked, String> {
    let mut options = Options::default();
    let mut getopt = Getopt::new(LETTERS, arguments);
    while let Some(flag) = getopt.next() {
        match flag {
            Flag::Plain('h') => return Ok(Asked::Help),
            Flag::Plain(letter) => options.plain(letter)?,
            Flag::Value(letter, value, _) => {
                let value =
                    value.into_string().map_err(|value| format!("-{letter} {}: not UTF-8", shown(&value)))?;
                options.valued(letter, value)?;
            }
            Flag::Missing(letter) => {
                return Err(format!("option requires an argument -- '{letter}'\n{USAGE}"));
            }
            Flag::Unknown(letter) => return Err(format!("invalid option -- '{letter}'\n{USAGE}")),
            Flag::Long(word, _) => return Err(format!("there is no --{word}\n{USAGE}")),
        }
    }
    let operands: Vec<String> = getopt
        .rest()
        .into_iter()
        .map(|word| word.into_string().map_err(|word| format!("{}: not UTF-8", shown(&word))))
        .collect::<Result<_, _>>()?;
    options.finish(name, &operands)
}

impl Options {
    fn say(&mut self, words: &[&str]) {
        self.words.extend(words.iter().map(|word| (*word).to_owned()));
    }

    fn plain(&mut self, letter: char) -> Result<(), String> {
        match letter {
            'b' => self.say(&["--option", "broadcast=on"]),
            'D' => self.say(&["--option", "debug=on"]),
            'F' => self.say(&["--pass-socket"]),
            '4' => (self.v4, self.v6) = (true, false),
            '6' => (self.v4, self.v6) = (false, true),
            'C' => self.say(&["--crlf"]),
            'd' => self.detached = true,
            'k' => self.keeps = true,
            'l' => self.listens = true,
            'n' => self.numeric = true,
            'U' => self.unix = true,
            'u' => self.udp = true,
            't' => self.say(&["--telnet"]),
            'v' => self.verbose = true,
            'z' => self.scans = true,
            // Always so; of no use here, since ports are scanned all at once.
            'N' | 'r' => {}
            'S' => {
                return Err("-S (TCP MD5 signatures) is not supported here: the key would be asked for at the terminal".into());
            }
            'Z' => return Err("-Z (DCCP) is not supported: Linux has no DCCP any more".into()),
            _ => return Err(format!("-{letter} is not supported here")),
        }
        Ok(())
    }

    fn valued(&mut self, letter: char, value: String) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{what} invalid: {}", value.escape_default()));
        let is_time = quantity::duration(&value).is_ok();
        match letter {
            'w' if !is_time => return wrong("timeout"),
            'i' if !is_time => return wrong("interval"),
            'q' if !is_time && !value.starts_with('-') => return wrong("quit timer"),
            'p' if value.parse::<u16>().is_err() => return wrong("port number"),
            'I' => self.say(&["--option", &format!("rcvbuf={value}")]),
            'O' => self.say(&["--option", &format!("sndbuf={value}")]),
            'T' => self.say(&["--option", &format!("tos={}", traffic_class(&value)?)]),
            'm' => self.say(&["--option", &format!("min-ttl={value}")]),
            'V' => return Err(
                "no alternate routing table support available on Linux; see ip-rule(8) and `--option mark`"
                    .into(),
            ),
            'M' => self.say(&["--option", &format!("ttl={value}")]),
            'i' => self.say(&["--delay-line", &value]),
            // A negative number of seconds is for ever.
            'q' if value.starts_with('-') => {}
            'q' => self.say(&["--quit-after", &value]),
            'w' => self.say(&["--connect-timeout", &value, "--idle-timeout", &value, "--end-on-silence"]),
            'p' => self.source_port = Some(value),
            's' => self.source = Some(value),
            'W' => self.most = Some(value),
            'P' => self.proxy_user = Some(value),
            'X' => self.proxy_protocol = Some(value),
            'x' => self.proxy = Some(value),
            _ => return Err(format!("-{letter} is not supported here")),
        }
        Ok(())
    }

    /// The proxy as `connect` takes it.
    fn proxy(&self) -> Result<Option<String>, String> {
        let Some(place) = &self.proxy else {
            return match self.proxy_protocol.is_some() || self.proxy_user.is_some() {
                true => Err("-X and -P say how to ask a proxy; name it with -x".into()),
                false => Ok(None),
            };
        };
        if self.udp || self.unix || self.listens || self.scans {
            return Err("-x is for TCP, and goes with none of -l, -u, -U and -z".into());
        }
        let scheme = match self.proxy_protocol.as_deref() {
            None | Some("5") => "socks5",
            Some("4") => "socks4",
            Some("connect") => "http",
            Some(other) => return Err(format!("unsupported proxy protocol {}", other.escape_default())),
        };
        // nc takes an IPv6 address without brackets if no port follows.
        let place = match place.parse() {
            Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
            _ => place.clone(),
        };
        let user = self.proxy_user.as_deref().unwrap_or_default().bytes();
        let user: String = user
            .map(|byte| match byte {
                b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect();
        let at = if user.is_empty() { "" } else { "@" };
        Ok(Some(format!("{scheme}://{user}{at}{place}")))
    }

    fn finish(mut self, name: &str, operands: &[String]) -> Result<Asked, String> {
        let kind = match (self.unix, self.udp) {
            (true, false) => "unix",
            (true, true) => "unix-dgram",
            (false, false) => "tcp",
            (false, true) => "udp",
        };
        if self.keeps && !self.listens {
            return Err("must use -l with -k".into());
        }
        if self.keeps {
            self.say(&["--keep-open"]);
            if self.udp {
                // Everybody is heard at once, and nobody is answered.
                self.say(&["--unconnected"]);
                self.detached = true;
            }
        }
        if self.detached {
            self.say(&["--recv-only"]);
        }
        if let Some(proxy) = self.proxy()? {
            self.say(&["--proxy", &proxy]);
        }
        if let Some(most) = self.most.take() {
            if !self.udp {
                return Err("-W counts packets: it is for -u".into());
            }
            self.say(&["--count", &most]);
        }
        let wild = if self.v6 {
            "[::]"
        } else if self.v4 || self.udp {
            "0.0.0.0"
        } else {
            "*"
        };
        let bracketed = |host: &str| match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
            _ => host.to_owned(),
        };
        let ends = match operands {
            [path] if self.unix => vec![format!("{kind}:{path}")],
            [host, ports @ ..] if !self.unix && (ports.len() == 1 || self.scans && !ports.is_empty()) => {
                if self.numeric && host.parse::<IpAddr>().is_err() {
                    return Err(format!("{host} is no address, and -n forbids to look it up"));
                }
                vec![format!("{kind}:{}", bracketed(host)), ports.join(",")]
            }
            [port] if self.listens && !self.unix => vec![format!("{kind}:{wild}"), port.clone()],
            [] if self.listens && !self.unix && self.source_port.is_some() => {
                vec![format!("{kind}:{wild}"), self.source_port.take().unwrap_or_default()]
            }
            [_] | [] if self.listens && !self.unix => return Err("missing port number".into()),
            [_] if !self.unix => return Err("missing port number".into()),
            _ => return Err(USAGE.into()),
        };
        if self.listens {
            if self.scans || self.source.is_some() || self.source_port.is_some() {
                return Err("-l goes with neither -z, -s nor -p".into());
            }
            self.say(&[&format!("listen:{}", ends.join(":"))]);
        } else {
            let port = self.source_port.take();
            let any = if self.v6 { "::" } else { "0.0.0.0" };
            let source = self.source.take().or_else(|| port.as_ref().map(|_| any.to_owned()));
            if let Some(source) = source {
                let source = match port {
                    Some(port) => format!("{}:{port}", bracketed(&source)),
                    None => source,
                };
                self.say(&["--source", &source]);
            }
            if self.scans {
                self.say(&["--scan"]);
            }
            ends.iter().for_each(|end| self.words.push(end.clone()));
        }
        for (given, word) in [(self.v4, "-4"), (self.v6, "-6")] {
            if given && !self.listens {
                self.say(&[word]);
            }
        }
        let host = operands.first().filter(|_| !self.listens && !self.unix).cloned();
        let netcat = self.verbose.then(|| Netcat { name: name.into(), host, numeric: self.numeric });
        Ok(if self.scans { Asked::Scan(self.words, netcat) } else { Asked::Talk(self.words, netcat) })
    }
}

/// What nc's `-T` means: a keyword of RFC 1349 or RFC 791, a code point of RFC 2474, 2597 or 3246, or a number.
fn traffic_class(text: &str) -> Result<u8, String> {
    let digit = |at: usize, most: u8| {
        let digit = text.as_bytes().get(at)?.checked_sub(b'0')?;
        (digit <= most).then_some(digit)
    };
    let named = match text {
        "critical" => Some(0xa0),
        "inetcontrol" => Some(0xc0),
        "netcontrol" => Some(0xe0),
        "lowcost" => Some(0x02),
        "reliability" => Some(0x04),
        "throughput" => Some(0x08),
        "lowdelay" => Some(0x10),
        "ef" => Some(0xb8),
        _ if text.len() == 3 && text.starts_with("cs") => digit(2, 7).map(|class| class << 5),
        _ if text.len() == 4 && text.starts_with("af") => {
            let class = digit(2, 4).filter(|class| *class > 0);
            let drop = digit(3, 3).filter(|drop| *drop > 0);
            class.zip(drop).map(|(class, drop)| (class << 5) | (drop << 3))
        }
        _ => None,
    };
    let number = || match text.strip_prefix("0x") {
        Some(hex) => u8::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    named.or_else(number).ok_or_else(|| format!("illegal tos value {}", text.escape_default()))
}

#[cfg(test)]
mod tests {
    use super::traffic_class;

    #[test]
    fn traffic_classes_are_those_of_the_rfcs() {
        for (text, wanted) in [
            ("lowdelay", 0x10),
            ("af11", 0x28),
            ("af43", 0x98),
            ("cs0", 0),
            ("cs6", 0xc0),
            ("ef", 0xb8),
            ("0x1f", 0x1f),
            ("16", 16),
        ] {
            assert_eq!(traffic_class(text), Ok(wanted), "{text}");
        }
        for text in ["af14", "af51", "cs8", "256", "0x100", "", "fast"] {
            assert!(traffic_class(text).is_err(), "{text}");
        }
    }
}
