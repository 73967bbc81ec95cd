//! Socket options: a table of rows, the settings a user gave, and what the kernel made of them.
//!
//! Options are set on the listener; Linux hands them on to the connections that it accepts, so they cost nothing
//! per connection. After setting an option it is read back: a value that the kernel silently changed is an error
//! with the manual page's reason, not a surprise.

use crate::endpoint::Kind;
use crate::error::Error;
use crate::quantity;
use crate::sys::sockopt;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use std::fmt;

mod table;
pub use table::SOCKET_OPTIONS;

/// A row of the table of socket options.
#[derive(Debug)]
pub struct SocketOption {
    /// Its name, as in `--option name=value`.
    pub name: &'static str,
    /// What values it takes.
    pub values: &'static str,
    /// One line: what it does.
    pub summary: &'static str,
    /// Manual page.
    pub source: &'static str,
    /// Where it can be set.
    pub on: On,
    kind: ValueKind,
    /// Level and number for IPv4 and Unix sockets, and for IPv6 ones.
    numbers: [(i32, i32); 2],
    /// Set when nothing was asked for.
    default: Option<i32>,
    /// Why the kernel refuses or changes a value.
    reason: &'static str,
}

/// Sockets that an option applies to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum On {
    /// Every socket.
    Any,
    /// TCP and UDP.
    Inet,
    /// IPv6 sockets.
    Inet6,
    /// TCP.
    Tcp,
    /// Listening sockets of any kind of stream.
    Listener,
}

impl On {
    /// Whether it applies to a socket of `kind`, an IPv6 one if `v6`.
    pub fn covers(self, kind: Kind, v6: bool) -> bool {
        match self {
            On::Any => true,
            On::Inet => kind.is_inet(),
            On::Inet6 => kind.is_inet() && v6,
            On::Tcp => kind == Kind::Tcp,
            On::Listener => !kind.is_datagram(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            On::Any => "every socket",
            On::Inet => "TCP and UDP sockets",
            On::Inet6 => "IPv6 sockets",
            On::Tcp => "TCP sockets",
            On::Listener => "listening sockets",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ValueKind {
    Switch,
    Number {
        least: i32,
        most: i32,
    },
    Seconds,
    /// Seconds that the kernel rounds up to its own steps.
    RoundedSeconds,
    Milliseconds,
    /// A buffer; the kernel doubles what it is asked for (socket(7)).
    Bytes,
    Text,
    /// The argument of listen(2).
    Backlog,
}

impl SocketOption {
    /// The row called `name`.
    pub fn find(name: &str) -> Option<&'static SocketOption> {
        SOCKET_OPTIONS.iter().find(|option| option.name == name)
    }

    fn parse(&'static self, text: &str) -> Result<Value, Error> {
        let bad = || {
            Error::Config(format!(
                "option {}: `{}` is not a value it takes; use {}",
                self.name,
                text.escape_default(),
                self.values
            ))
        };
        let number = |n: u128| i32::try_from(n).map_err(|_| bad());
        Ok(match self.kind {
            ValueKind::Switch => match text {
                "on" | "yes" | "true" | "1" => Value::Int(1),
                "off" | "no" | "false" | "0" => Value::Int(0),
                _ => return Err(bad()),
            },
            ValueKind::Number { least, most } => {
                let n =
                    text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| i32::from_str_radix(hex, 16));
                Value::Int(n.ok().filter(|n| (least..=most).contains(n)).ok_or_else(bad)?)
            }
            ValueKind::Backlog => {
                Value::Int(text.parse().ok().filter(|n| (1..=65_535).contains(n)).ok_or_else(bad)?)
            }
            ValueKind::Seconds | ValueKind::RoundedSeconds => {
                let seconds = quantity::duration(text)?.as_secs();
                if seconds == 0 {
                    return Err(bad());
                }
                Value::Int(number(u128::from(seconds))?)
            }
            ValueKind::Milliseconds => Value::Int(number(quantity::duration(text)?.as_millis())?),
            ValueKind::Bytes => {
                let bytes = match text.strip_prefix("bdp:") {
                    Some(path) => {
                        let (rate, rtt) = path.split_once(',').ok_or_else(bad)?;
                        quantity::bandwidth_delay_product(quantity::bit_rate(rate)?, quantity::duration(rtt)?)
                    }
                    None => quantity::bytes(text)?,
                };
                Value::Int(number(bytes as u128)?)
            }
            ValueKind::Text if text.is_empty() || text.len() > 15 || text.contains('\0') => return Err(bad()),
            ValueKind::Text => Value::Text(text.to_owned()),
        })
    }

    /// A value as users write it.
    fn show(&self, value: &Value) -> String {
        match (self.kind, value) {
            (ValueKind::Switch, Value::Int(n)) => (if *n == 0 { "off" } else { "on" }).to_owned(),
            (ValueKind::Milliseconds, Value::Int(n)) => format!("{n}ms"),
            (_, Value::Int(n)) => n.to_string(),
            (_, Value::Text(text)) => text.clone(),
        }
    }

    fn number(&self, v6: bool) -> (i32, i32) {
        self.numbers[usize::from(v6)]
    }

    /// What the socket has now.
    fn read(&self, fd: BorrowedFd<'_>, v6: bool) -> Result<Value, Errno> {
        let (level, number) = self.number(v6);
        match self.kind {
            ValueKind::Text => {
                let mut text = [0; 16];
                let len = sockopt::get(fd, level, number, &mut text)?;
                let text = text[..len].split(|b| *b == 0).next().unwrap_or_default();
                Ok(Value::Text(String::from_utf8_lossy(text).into_owned()))
            }
            ValueKind::Backlog => {
                // For a listening socket tcp_info's `sacked` is the length of the queue (net/ipv4/tcp.c).
                let mut info = [0; 104];
                sockopt::get(fd, level, number, &mut info)?;
                Ok(Value::Int(i32::from_ne_bytes([info[28], info[29], info[30], info[31]])))
            }
            _ => sockopt::get_int(fd, level, number).map(Value::Int),
        }
    }

    /// Whether `got` is what a socket has that was asked for `asked`.
    fn took(&self, asked: &Value, got: &Value) -> bool {
        match (self.kind, asked, got) {
            // Twice what was asked for, and never less than a small minimum.
            (ValueKind::Bytes, Value::Int(asked), Value::Int(got)) => {
                i64::from(*got) >= 2 * i64::from(*asked)
            }
            (ValueKind::RoundedSeconds, Value::Int(asked), Value::Int(got)) => got >= asked,
            _ => asked == got,
        }
    }
}

/// A value of an option.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Value {
    Int(i32),
    Text(String),
}

/// The options given for a socket; what is not given has the table's default, or the kernel's.
#[derive(Clone, Debug, Default)]
pub struct SocketOptions {
    given: Vec<(&'static SocketOption, Value)>,
}

/// What the kernel made of an option.
#[derive(Clone, Debug)]
pub struct Effect {
    /// The option's name.
    pub name: &'static str,
    /// What was asked for, if anything was.
    pub asked: Option<String>,
    /// What the socket has.
    pub got: String,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.asked {
            Some(asked) if *asked != self.got => write!(f, "{}={} (asked {asked})", self.name, self.got),
            _ => write!(f, "{}={}", self.name, self.got),
        }
    }
}

impl SocketOptions {
    /// Sets `name` to `value`; a later setting of the same option replaces an earlier one.
    ///
    /// # Errors
    /// An option that does not exist, or a value that it does not take.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let option = SocketOption::find(name)
            .ok_or_else(|| Error::Config(format!("there is no socket option `{}`", name.escape_default())))?;
        let value = option.parse(value)?;
        self.given.retain(|(given, _)| given.name != name);
        self.given.push((option, value));
        Ok(())
    }

    /// The length of the accept queue to ask for.
    pub(crate) fn backlog(&self) -> i32 {
        match self.given("backlog") {
            Some(Value::Int(n)) => *n,
            _ => 4096,
        }
    }

    /// Whether a switch was given, and how.
    pub(crate) fn switch(&self, name: &str) -> Option<bool> {
        match self.given(name)? {
            Value::Int(n) => Some(*n != 0),
            Value::Text(_) => None,
        }
    }

    /// The name of an option that was given and makes sense for a listener only.
    pub(crate) fn for_listeners(&self) -> Option<&'static str> {
        const ONLY: [&str; 4] = ["backlog", "defer-accept", "fastopen", "v6only"];
        self.given.iter().map(|(option, _)| option.name).find(|name| ONLY.contains(name))
    }

    /// Whether `name` was given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.given(name).is_some()
    }

    fn given(&self, name: &str) -> Option<&Value> {
        self.given.iter().find(|(option, _)| option.name == name).map(|(_, value)| value)
    }

    /// Sets everything on a socket that is not bound yet, and checks what the kernel took.
    ///
    /// # Errors
    /// An option that does not apply to this kind of socket, that the kernel refused, or silently changed.
    pub fn apply(&self, fd: impl AsFd, kind: Kind, v6: bool) -> Result<(), Error> {
        let fd = fd.as_fd();
        if let Some((option, _)) = self.given.iter().find(|(option, _)| !option.on.covers(kind, v6)) {
            return Err(Error::Config(format!(
                "option {}: it is for {}, and this is a {} socket",
                option.name,
                option.on.name(),
                kind.name()
            )));
        }
        for option in SOCKET_OPTIONS {
            if option.kind == ValueKind::Backlog || !option.on.covers(kind, v6) {
                continue;
            }
            let default = match option.name {
                "reuse" if !kind.is_datagram() && kind.is_inet() => Some(Value::Int(1)),
                _ => option.default.map(Value::Int),
            };
            let asked = self.given(option.name);
            if let Some(value) = asked.cloned().or(default) {
                option.write(fd, v6, &value)?;
            }
            if let Some(asked) = asked {
                self.check(fd, v6, option, asked)?;
            }
        }
        Ok(())
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// Sets what was given, and nothing else, on a socket that another program made; an option that is not for this
    /// kind of socket is passed over. Says what was set.
    ///
    /// # Errors
    /// An option that the kernel refused; those before it are set.
    pub fn impose(&self, fd: impl AsFd, kind: Kind, v6: bool) -> Result<Vec<String>, Error> {
        let fits = |(option, _): &&(&'static SocketOption, Value)| {
            option.kind != ValueKind::Backlog && option.on.covers(kind, v6)
        };
        let set = |(option, value): &(&'static SocketOption, Value)| {
            option.write(fd.as_fd(), v6, value)?;
            Ok(format!("{}={}", option.name, option.show(value)))
        };
        self.given.iter().filter(fits).map(set).collect()
    }

    /// Checks the accept queue of a listening TCP socket against what was asked for.
    pub(crate) fn check_backlog(&self, fd: impl AsFd, kind: Kind) -> Result<(), Error> {
        match (self.given("backlog"), SocketOption::find("backlog")) {
            (Some(asked), Some(option)) if kind == Kind::Tcp => self.check(fd.as_fd(), false, option, asked),
            _ => Ok(()),
        }
    }

    fn check(&self, fd: BorrowedFd<'_>, v6: bool, option: &SocketOption, asked: &Value) -> Result<(), Error> {
        let got = option.read(fd, v6).map_err(|errno| option.refused(asked, errno))?;
        if option.took(asked, &got) {
            return Ok(());
        }
        let (asked, got) = (option.show(asked), option.show(&got));
        Err(Error::Config(format!("option {}={asked}: the kernel set {got}. {}", option.name, option.reason)))
    }

    /// What a socket has, for every option that applies to it.
    pub fn effects(&self, fd: impl AsFd, kind: Kind, v6: bool) -> Vec<Effect> {
        let applies = |option: &&SocketOption| {
            option.on.covers(kind, v6) && (option.kind != ValueKind::Backlog || kind == Kind::Tcp)
        };
        let effect = |option: &SocketOption| {
            let got = option.read(fd.as_fd(), v6).ok()?;
            let asked = self.given(option.name).map(|value| option.show(value));
            Some(Effect { name: option.name, asked, got: option.show(&got) })
        };
        SOCKET_OPTIONS.iter().filter(applies).filter_map(effect).collect()
    }
}

impl SocketOption {
    fn write(&self, fd: BorrowedFd<'_>, v6: bool, value: &Value) -> Result<(), Error> {
        let (level, number) = self.number(v6);
        match value {
            Value::Int(n) => sockopt::set_int(fd, level, number, *n),
            Value::Text(text) => sockopt::set(fd, level, number, text.as_bytes()),
        }
        .map_err(|errno| self.refused(value, errno))
    }

    fn refused(&self, value: &Value, errno: Errno) -> Error {
        Error::System {
            what: format!("set option {}={}", self.name, self.show(value)),
            source: errno.into(),
            hint: (!self.reason.is_empty()).then(|| self.reason.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_before_any_socket() {
        let mut options = SocketOptions::default();
        options.set("sndbuf", "bdp:100Mbit/s,80ms").unwrap();
        assert_eq!(options.given("sndbuf"), Some(&Value::Int(1_000_000)));
        options.set("keepalive", "off").unwrap();
        assert_eq!(options.switch("keepalive"), Some(false));
        for (name, value, part) in [
            ("nodelay", "maybe", "use on|off"),
            ("ttl", "0", "use 1..255"),
            ("sndbuf", "bdp:1Gbit/s", "use BYTES"),
            ("backlog", "0", "use 1..65535"),
            ("no-delay", "on", "there is no socket option"),
        ] {
            let error = options.set(name, value).unwrap_err().to_string();
            assert!(error.contains(part), "{name}={value}: {error}");
        }
    }

    #[test]
    fn rows_are_unique() {
        for (index, option) in SOCKET_OPTIONS.iter().enumerate() {
            assert!(
                !SOCKET_OPTIONS[..index].iter().any(|other| other.name == option.name),
                "{}",
                option.name
            );
        }
    }
}
