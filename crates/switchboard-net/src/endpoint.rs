//! [`Endpoint`]: where to listen or connect, as users write it; [`Address`]: where that is for the kernel.
//!
//! ```text
//!   tcp:HOST:PORT   udp:HOST:PORT     HOST: 127.0.0.1, [::1], [fe80::1%eth0], a name, * (every address)
//!   HOST:PORT       PORT              TCP; PORT alone is on the loopback addresses
//!   unix:PATH       unix:@NAME        Unix stream socket; @ is the abstract namespace (unix(7))
//!   unix-dgram:…    unix-seqpacket:…
//!   vsock:CID:PORT                    a virtual machine or its host (vsock(7)); CID: a number, host, local, * (any)
//! ```
//! PORT is a number or a name of the services database, of vsock a number; 0 lets the kernel choose.

pub(crate) mod vsock;

pub(crate) use vsock::ANY_PORT;
pub use vsock::Cid;

use crate::error::Error;
use rustix::net::{AddressFamily, SocketType};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where to listen or connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// What kind of socket.
    pub kind: Kind,
    /// Where it is.
    pub place: Place,
}

/// Kinds of sockets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Unix stream socket.
    Unix,
    /// Unix datagram socket.
    UnixDatagram,
    /// Unix sequenced-packet socket: a connection whose messages keep their boundaries.
    UnixSeqpacket,
    /// Stream socket between a virtual machine and its host (vsock(7)).
    Vsock,
}

/// Where an endpoint is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A host and a port of the internet protocols.
    Inet(Host, Port),
    /// A path in the file system.
    Path(PathBuf),
    /// A name in Linux's abstract namespace, without the leading NUL.
    Abstract(Vec<u8>),
    /// A virtual machine and a port of it; port 0 lets the kernel choose.
    Vsock(Cid, u32),
}

/// A host, as written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    /// A numeric address, and the interface of a link-local one.
    Ip(IpAddr, Option<String>),
    /// A name to be looked up.
    Name(String),
    /// `*`: every address of either family.
    Any,
    /// Nothing written: the loopback addresses.
    Loopback,
}

/// A port, as written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Port {
    /// A number; 0 lets the kernel choose.
    Number(u16),
    /// A name of the services database (services(5)).
    Name(String),
}

/// An endpoint after names were looked up.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Address {
    /// What kind of socket.
    pub kind: Kind,
    /// Where it is.
    pub place: Location,
}

/// Where an address is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Location {
    /// An internet address and port. `only_v6`: an IPv4 socket takes the other half of the wildcard.
    Inet {
        /// Address and port.
        address: SocketAddr,
        /// Whether an IPv6 wildcard must leave IPv4 to another socket; `None` leaves it to the kernel.
        only_v6: Option<bool>,
    },
    /// A path in the file system.
    Path(PathBuf),
    /// A name in the abstract namespace.
    Abstract(Vec<u8>),
    /// A virtual machine and a port of it.
    Vsock(Cid, u32),
}

impl Kind {
    const PREFIXES: [(&'static str, Kind); 6] = [
        ("tcp", Kind::Tcp),
        ("udp", Kind::Udp),
        ("unix", Kind::Unix),
        ("unix-dgram", Kind::UnixDatagram),
        ("unix-seqpacket", Kind::UnixSeqpacket),
        ("vsock", Kind::Vsock),
    ];

    /// The word before the colon.
    pub fn name(self) -> &'static str {
        Kind::PREFIXES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// The kind of this name.
    pub fn find(name: &str) -> Option<Kind> {
        Kind::PREFIXES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// Whether each packet stands for itself.
    pub fn is_datagram(self) -> bool {
        matches!(self, Kind::Udp | Kind::UnixDatagram)
    }

    /// Whether bytes flow without boundaries.
    pub fn is_stream(self) -> bool {
        matches!(self, Kind::Tcp | Kind::Unix | Kind::Vsock)
    }

    /// Whether the address is a host and a port.
    pub fn is_inet(self) -> bool {
        matches!(self, Kind::Tcp | Kind::Udp)
    }

    pub(crate) fn socket_type(self) -> SocketType {
        match self {
            Kind::Tcp | Kind::Unix | Kind::Vsock => SocketType::STREAM,
            Kind::Udp | Kind::UnixDatagram => SocketType::DGRAM,
            Kind::UnixSeqpacket => SocketType::SEQPACKET,
        }
    }

    /// Whether the address is a name or a file of this machine.
    pub fn is_unix(self) -> bool {
        matches!(self, Kind::Unix | Kind::UnixDatagram | Kind::UnixSeqpacket)
    }
}

impl Endpoint {
    /// An endpoint of `kind` on the loopback addresses.
    pub fn loopback(kind: Kind, port: u16) -> Endpoint {
        Endpoint { kind, place: Place::Inet(Host::Loopback, Port::Number(port)) }
    }

    /// `HOST` and `PORT` written apart, as in `connect HOST PORT`.
    ///
    /// # Errors
    /// The part that cannot be read, and why.
    pub fn from_host_port(kind: Kind, host: &str, port: &str) -> Result<Endpoint, Error> {
        let host = if host.is_empty() { Host::Loopback } else { host.parse()? };
        Ok(Endpoint { kind, place: Place::Inet(host, port.parse()?) })
    }

    /// Whether one of the addresses may be an IPv6 one, before names are looked up.
    pub fn may_be_ipv6(&self) -> bool {
        matches!(&self.place, Place::Inet(host, _) if !matches!(host, Host::Ip(IpAddr::V4(_), _)))
    }

    /// The addresses this stands for, in the resolver's order (getaddrinfo(3), RFC 6724); at least one.
    ///
    /// # Errors
    /// A host or service name that nobody knows.
    pub fn resolve(&self) -> Result<Vec<Address>, Error> {
        let at = |place| Address { kind: self.kind, place };
        let inet =
            |ip: IpAddr, port, only_v6| at(Location::Inet { address: SocketAddr::new(ip, port), only_v6 });
        let (host, port) = match &self.place {
            Place::Path(path) => return Ok(vec![at(Location::Path(path.clone()))]),
            Place::Abstract(name) => return Ok(vec![at(Location::Abstract(name.clone()))]),
            Place::Vsock(cid, port) => return Ok(vec![at(Location::Vsock(*cid, *port))]),
            Place::Inet(host, port) => (host, port.number(self.kind)?),
        };
        // A datagram socket for both families would have to trust mapped addresses; streams may be dual.
        let only_v6 = |ip: &IpAddr| match (ip.is_unspecified(), self.kind) {
            (true, Kind::Udp) => Some(true),
            (true, _) => Some(false),
            (false, _) => None,
        };
        Ok(match host {
            Host::Any => vec![
                inet(Ipv4Addr::UNSPECIFIED.into(), port, None),
                inet(Ipv6Addr::UNSPECIFIED.into(), port, Some(true)),
            ],
            Host::Loopback => {
                vec![
                    inet(Ipv4Addr::LOCALHOST.into(), port, None),
                    inet(Ipv6Addr::LOCALHOST.into(), port, None),
                ]
            }
            Host::Ip(IpAddr::V6(ip), Some(interface)) => {
                let scoped = SocketAddrV6::new(*ip, port, 0, interface_index(interface)?);
                vec![at(Location::Inet { address: SocketAddr::V6(scoped), only_v6: None })]
            }
            Host::Ip(ip, _) => vec![inet(*ip, port, only_v6(ip).filter(|_| ip.is_ipv6()))],
            Host::Name(name) => {
                let found = (name.as_str(), port)
                    .to_socket_addrs()
                    .map_err(|error| Error::Name { name: name.clone(), reason: resolver_message(&error) })?;
                let mut addresses = Vec::new();
                for address in found {
                    let address = at(Location::Inet { address, only_v6: None });
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
                if addresses.is_empty() {
                    return Err(Error::Name { name: name.clone(), reason: "it has no address".into() });
                }
                addresses
            }
        })
    }
}

/// The standard library wraps getaddrinfo's message; users need only that.
fn resolver_message(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").map(str::to_owned).unwrap_or(text)
}

fn interface_index(name: &str) -> Result<u32, Error> {
    if let Ok(index) = name.parse() {
        return Ok(index);
    }
    let path = Path::new("/sys/class/net").join(name).join("ifindex");
    let index = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    index.ok_or_else(|| Error::Name { name: name.to_owned(), reason: "there is no such interface".into() })
}

impl Port {
    /// The number, looked up in the services database if it is a name.
    ///
    /// # Errors
    /// A name that the database does not have for this protocol.
    pub fn number(&self, kind: Kind) -> Result<u16, Error> {
        let name = match self {
            Port::Number(number) => return Ok(*number),
            Port::Name(name) => name,
        };
        let database = std::fs::read_to_string("/etc/services").unwrap_or_default();
        services_port(&database, name, kind.name())
            .or_else(|| {
                let row = switchboard_proto::Service::find(name)?;
                (row.port != 0).then_some(row.port)
            })
            .ok_or_else(|| Error::Name {
                name: format!("port {name}"),
                reason: format!("the services database has no {}/{name}; use a number", kind.name()),
            })
    }
}

/// Looks `name` up in text of the form of services(5): `name port/protocol aliases… # comment`.
fn services_port(database: &str, name: &str, protocol: &str) -> Option<u16> {
    database.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let official = words.next()?;
        let (port, listed) = words.next()?.split_once('/')?;
        let named = official == name || words.any(|alias| alias == name);
        (named && listed == protocol).then(|| port.parse().ok()).flatten()
    })
}

impl FromStr for Port {
    type Err = Error;

    fn from_str(text: &str) -> Result<Port, Error> {
        if text.is_empty() {
            return Err(Error::Config(
                "the port is missing: write HOST:PORT, and 0 for any free port".into(),
            ));
        }
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return text
                .parse()
                .map(Port::Number)
                .map_err(|_| Error::Config(format!("port {text} is out of range: ports are 0 to 65535")));
        }
        if text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_+.*/".contains(&b)) {
            return Ok(Port::Name(text.to_owned()));
        }
        Err(Error::Config(format!("`{}` is neither a port number nor a service name", text.escape_default())))
    }
}

impl FromStr for Host {
    type Err = Error;

    fn from_str(text: &str) -> Result<Host, Error> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let (address, interface) = match bare.unwrap_or(text).split_once('%') {
            Some((address, interface)) => (address, Some(interface.to_owned())),
            None => (bare.unwrap_or(text), None),
        };
        match (address.parse(), &interface) {
            (Ok(IpAddr::V4(ip)), Some(_)) => {
                return Err(Error::Config(format!("{ip}: only an IPv6 address can name an interface")));
            }
            (Ok(ip), _) => return Ok(Host::Ip(ip, interface)),
            (Err(_), _) => {}
        }
        let named = !text.is_empty()
            && text.len() <= 253
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        match text {
            "*" => Ok(Host::Any),
            _ if bare.is_some() => {
                Err(Error::Config(format!("`{}` is not an IPv6 address", text.escape_default())))
            }
            _ if named => Ok(Host::Name(text.to_owned())),
            _ => Err(Error::Config(format!(
                "`{}` is neither an address nor a host name",
                text.escape_default()
            ))),
        }
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Endpoint, Error> {
        let with_context = |error: Error| match error {
            Error::Config(problem) => {
                Error::Config(format!("endpoint `{}`: {problem}", text.escape_default()))
            }
            other => other,
        };
        if text.is_empty() {
            return Err(Error::Config("an endpoint is missing, for example tcp:127.0.0.1:7007".into()));
        }
        let (kind, rest) = match text.split_once(':') {
            Some((prefix, rest)) => match Kind::find(prefix) {
                Some(kind) => (kind, rest),
                None if !rest.contains(':') || text.starts_with('[') => (Kind::Tcp, text),
                None => {
                    return Err(Error::Config(format!(
                        "endpoint `{}`: there is no kind `{}`; kinds are {}; an IPv6 address needs brackets",
                        text.escape_default(),
                        prefix.escape_default(),
                        Kind::PREFIXES.map(|(name, _)| name).join(", "),
                    )));
                }
            },
            None => (Kind::Tcp, text),
        };
        if kind.is_inet() {
            let (host, port) = match rest.rsplit_once(':') {
                Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
                Some(_) if rest.starts_with('[') => {
                    return Err(with_context(Error::Config("the port is missing after the address".into())));
                }
                Some(_) => {
                    return Err(with_context(Error::Config(
                        "an IPv6 address needs brackets: [::1]:7".into(),
                    )));
                }
                None if rest.starts_with('[') => {
                    return Err(with_context(Error::Config("the port is missing after the address".into())));
                }
                None => ("", rest),
            };
            return Endpoint::from_host_port(kind, host, port).map_err(with_context);
        }
        if kind == Kind::Vsock {
            let place = vsock::place(rest).map_err(with_context)?;
            return Ok(Endpoint { kind, place });
        }
        let place = match rest.strip_prefix('@') {
            Some(name) => Place::Abstract(name.as_bytes().to_vec()),
            None => Place::Path(PathBuf::from(rest)),
        };
        // sun_path has 108 bytes: one for the leading or the closing NUL.
        match &place {
            Place::Path(path) if path.as_os_str().is_empty() => {
                Err(with_context(Error::Config("the path is missing".into())))
            }
            Place::Path(path) if path.as_os_str().len() > 107 || rest.contains('\0') => Err(with_context(
                Error::Config("a socket's path has at most 107 bytes, none of them NUL".into()),
            )),
            Place::Abstract(name) if name.is_empty() || name.len() > 107 => {
                Err(with_context(Error::Config("an abstract name has 1 to 107 bytes".into())))
            }
            _ => Ok(Endpoint { kind, place }),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.kind.name())?;
        match &self.place {
            Place::Inet(host, port) => {
                match host {
                    Host::Ip(IpAddr::V4(ip), _) => write!(f, "{ip}:")?,
                    Host::Ip(IpAddr::V6(ip), None) => write!(f, "[{ip}]:")?,
                    Host::Ip(IpAddr::V6(ip), Some(interface)) => write!(f, "[{ip}%{interface}]:")?,
                    Host::Name(name) => write!(f, "{name}:")?,
                    Host::Any => f.write_str("*:")?,
                    Host::Loopback => {}
                }
                match port {
                    Port::Number(number) => number.fmt(f),
                    Port::Name(name) => name.fmt(f),
                }
            }
            Place::Path(path) => write!(f, "{}", path.display()),
            Place::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
            Place::Vsock(cid, port) => write!(f, "{cid}:{port}"),
        }
    }
}

impl Address {
    pub(crate) fn family(&self) -> AddressFamily {
        match &self.place {
            Location::Inet { address: SocketAddr::V4(_), .. } => AddressFamily::INET,
            Location::Inet { address: SocketAddr::V6(_), .. } => AddressFamily::INET6,
            Location::Path(_) | Location::Abstract(_) => AddressFamily::UNIX,
            Location::Vsock(..) => AddressFamily::VSOCK,
        }
    }

    /// The internet address, if it is one.
    pub fn inet(&self) -> Option<SocketAddr> {
        match &self.place {
            Location::Inet { address, .. } => Some(*address),
            _ => None,
        }
    }

    /// The address that a bound or connected socket has.
    pub(crate) fn of_socket(kind: Kind, name: &rustix::net::SocketAddrAny) -> Option<Address> {
        if let Ok(address) = SocketAddr::try_from(name.clone()) {
            return Some(Address { kind, place: Location::Inet { address, only_v6: None } });
        }
        if let Some((cid, port)) = crate::sys::sockaddr::vsock(name) {
            return Some(Address { kind, place: Location::Vsock(Cid(cid), port) });
        }
        let unix = rustix::net::SocketAddrUnix::try_from(name.clone()).ok()?;
        let place = match (unix.abstract_name(), unix.path()) {
            (Some(name), _) => Location::Abstract(name.to_vec()),
            (None, Some(path)) => {
                Location::Path(PathBuf::from(std::ffi::OsString::from_vec(path.to_bytes().to_vec())))
            }
            (None, None) => return None,
        };
        Some(Address { kind, place })
    }

    /// This address, with what else `asked` says of the socket.
    #[must_use]
    pub fn like(&self, asked: &Address) -> Address {
        match (&self.place, &asked.place) {
            (Location::Inet { address, .. }, Location::Inet { only_v6, .. }) => {
                Address { kind: self.kind, place: Location::Inet { address: *address, only_v6: *only_v6 } }
            }
            _ => self.clone(),
        }
    }

    /// Whether a socket that is bound here is what was asked for; port 0 asks for any port.
    pub fn is_at(&self, asked: &Address) -> bool {
        match (&self.place, &asked.place) {
            (Location::Inet { address: here, .. }, Location::Inet { address: asked_at, .. }) => {
                self.kind == asked.kind
                    && here.ip() == asked_at.ip()
                    && (asked_at.port() == 0 || here.port() == asked_at.port())
            }
            (Location::Vsock(here, port), Location::Vsock(asked_at, asked_port)) => {
                here == asked_at && (*asked_port == 0 || port == asked_port)
            }
            (here, asked_at) => self.kind == asked.kind && here == asked_at,
        }
    }

    /// The address of a socket that came from elsewhere; none if it is no socket of a kind that is known here.
    pub fn of_descriptor(fd: impl rustix::fd::AsFd) -> Option<Address> {
        let name = rustix::net::getsockname(&fd).ok()?;
        let socket_type = rustix::net::sockopt::socket_type(&fd).ok()?;
        let inet = SocketAddr::try_from(name.clone()).is_ok();
        let unix = name.address_family() == AddressFamily::UNIX;
        let mut kinds = Kind::PREFIXES.iter().map(|(_, kind)| *kind);
        let kind = kinds.find(|kind| {
            kind.socket_type() == socket_type && kind.is_inet() == inet && kind.is_unix() == unix
        })?;
        Address::of_socket(kind, &name)
    }

    /// For what has no address of its own: a Unix socket without a name.
    pub(crate) fn unnamed() -> Address {
        Address { kind: Kind::Unix, place: Location::Abstract(Vec::new()) }
    }

    /// Where a client on this machine finds a socket that is bound here: a wildcard becomes loopback.
    #[must_use]
    pub fn reachable(&self) -> Address {
        let mut reachable = self.clone();
        if let Location::Vsock(cid @ Cid::ANY, _) = &mut reachable.place {
            *cid = Cid::LOCAL;
        }
        if let Location::Inet { address, .. } = &mut reachable.place
            && address.ip().is_unspecified()
        {
            address.set_ip(match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        reachable
    }

    pub(crate) fn unix_name(&self) -> Result<Option<rustix::net::SocketAddrUnix>, Error> {
        use rustix::net::SocketAddrUnix;
        let name = match &self.place {
            Location::Inet { .. } | Location::Vsock(..) => return Ok(None),
            Location::Path(path) => SocketAddrUnix::new(path.as_os_str().as_bytes()),
            Location::Abstract(name) => SocketAddrUnix::new_abstract_name(name),
        };
        name.map(Some).map_err(|errno| Error::system(format!("use {self} as a socket's name"), errno))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.kind.name())?;
        match &self.place {
            Location::Inet { address, .. } => address.fmt(f),
            Location::Path(path) => write!(f, "{}", path.display()),
            Location::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
            Location::Vsock(cid, port) => write!(f, "{cid}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_comes_back() {
        for text in [
            "tcp:127.0.0.1:7",
            "udp:[::1]:0",
            "tcp:[fe80::1%eth0]:80",
            "tcp:localhost:echo",
            "tcp:*:7007",
            "tcp:7007",
            "unix:/run/echo.sock",
            "unix:@echo",
            "unix-dgram:relative/path",
            "unix-seqpacket:@x",
            "vsock:3:4294967294",
            "vsock:host:1",
            "vsock:local:0",
            "vsock:*:7",
        ] {
            let endpoint: Endpoint = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(endpoint.to_string(), text);
        }
    }

    #[test]
    fn short_forms_are_tcp() {
        for (short, long) in
            [("7007", "tcp:7007"), ("localhost:7", "tcp:localhost:7"), ("[::1]:7", "tcp:[::1]:7")]
        {
            assert_eq!(short.parse::<Endpoint>().unwrap().to_string(), long);
        }
    }

    #[test]
    fn errors_name_the_part_and_the_fix() {
        for (text, part) in [
            ("", "missing"),
            ("tcp:127.0.0.1:", "port is missing"),
            ("tcp:127.0.0.1:65536", "out of range"),
            ("tcp:::1:7", "brackets"),
            ("::1:7", "brackets"),
            ("tcp:[::1]", "port is missing"),
            ("tcp:[localhost]:7", "not an IPv6 address"),
            ("tpc:127.0.0.1:7", "no kind `tpc`"),
            ("tcp:host name:7", "neither an address nor a host name"),
            ("unix:", "path is missing"),
            ("unix:@", "1 to 107"),
            ("vsock:7", "CID:PORT"),
            ("vsock:guest:7", "host, local or *"),
            ("vsock:3:echo", "port"),
            ("vsock:3:4294967295", "port"),
            ("vsock:4294967296:1", "host, local or *"),
        ] {
            let error = text.parse::<Endpoint>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn the_services_database_is_read_by_protocol() {
        let database = "# comment\necho 7/tcp\necho 7/udp ping # no\ntime 37/tcp timserver\n";
        assert_eq!(services_port(database, "echo", "tcp"), Some(7));
        assert_eq!(services_port(database, "ping", "udp"), Some(7));
        assert_eq!(services_port(database, "ping", "tcp"), None);
        assert_eq!(services_port(database, "timserver", "tcp"), Some(37));
    }
}
