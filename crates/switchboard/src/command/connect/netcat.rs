//! [`Netcat`]: what nc says with `-v`, to the letter, since scripts look for `succeeded!`, `refused` and `Listening on`.

use std::fmt::Display;
use std::net::SocketAddr;
use switchboard_net::dial::{Failure, Reason};
use switchboard_net::{Address, Kind, services};

/// How nc tells of connections.
#[derive(Clone, Debug)]
pub(crate) struct Netcat {
    /// As what it was called.
    pub(crate) name: String,
    /// The host as given, if one was.
    pub(crate) host: Option<String>,
    /// Whether names are neither looked up nor shown.
    pub(crate) numeric: bool,
}

impl Netcat {
    /// The host as given, and the address that it stands for.
    fn host(&self, address: SocketAddr) -> String {
        let ip = address.ip().to_string();
        match &self.host {
            Some(host) if !self.numeric && *host != ip => format!("{} ({ip})", host.escape_debug()),
            _ => ip,
        }
    }

    /// That a connection was made, or a port is open.
    pub(crate) fn connected(&self, kind: Kind, address: SocketAddr) -> String {
        let entries = if self.numeric { Vec::new() } else { services::of_port(address.port()) };
        let service = entries.into_iter().find(|entry| entry.protocol == kind.name());
        let service = service.map_or_else(|| "*".to_owned(), |entry| entry.name);
        let host = self.host(address);
        format!("Connection to {host} {} port [{}/{service}] succeeded!", address.port(), kind.name())
    }

    /// That there was none.
    pub(crate) fn failed(&self, kind: Kind, address: SocketAddr, why: impl Display) -> String {
        let (name, host) = (&self.name, self.host(address));
        format!("{name}: connect to {host} port {} ({}) failed: {why}", address.port(), kind.name())
    }

    /// The same, of any address.
    pub(crate) fn unreached(&self, failure: &Failure) -> String {
        let Failure { address, reason } = failure;
        let why = match reason {
            // Without the number.
            Reason::System(errno) | Reason::Reset(errno) => {
                let words = errno.to_string();
                words.split(" (os error").next().unwrap_or_default().to_owned()
            }
            Reason::TimedOut(_) => "Connection timed out".into(),
            Reason::Unprepared(error) => error.to_string(),
        };
        match address.inet() {
            Some(inet) => self.failed(address.kind, inet, why),
            None => format!("{}: {address}: {why}", self.name),
        }
    }

    /// Where it listens.
    pub(crate) fn listening(&self, address: &Address) -> String {
        match address.inet() {
            Some(inet) => format!("{} on {} {}", self.bound(address), inet.ip(), inet.port()),
            None => format!("{} on {address}", self.bound(address)),
        }
    }

    fn bound(&self, address: &Address) -> &'static str {
        if address.kind.is_datagram() { "Bound" } else { "Listening" }
    }

    /// Who has come; `name` is `KIND:ADDRESS`.
    pub(crate) fn received(&self, name: &str) -> String {
        let bare = name.split_once(':').map_or(name, |(_, bare)| bare);
        match bare.parse::<SocketAddr>() {
            Ok(from) => format!("Connection received on {} {}", from.ip(), from.port()),
            Err(_) => format!("Connection received on {bare}"),
        }
    }
}
