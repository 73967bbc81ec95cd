//! [`Layers`]: what lies between a connected socket and the conversation, and laying it.
//!
//! ```text
//!   socket ─▶ proxy: a way through it ─▶ a header that says who comes ─▶ (STARTTLS) ─▶ TLS ─▶ the conversation
//! ```

use super::end::Spot;
use super::proof::no_tls;
use super::secure::Security;
use super::tunnel::Header as Version;
use crate::exit::Exit;
use crate::plan::secured;
use rustix::net::{getpeername, getsockname};
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use switchboard_net::channel::HandshakeError;
use switchboard_net::dial::{Dialing, Pinned};
use switchboard_net::prelude::{PreludeError, carry_out, send_all};
use switchboard_net::sys::clock;
use switchboard_net::sys::socket::peek;
use switchboard_net::tls::Server;
use switchboard_net::tunnel::Proxy;
use switchboard_net::{Address, Channel, Endpoint, Error, Kind};
use switchboard_proto::prelude::Why;
use switchboard_proto::proxy_header::{self, Carrier, Extras, Header, Origin};
use switchboard_proto::starttls::{self, Protocol};
use switchboard_proto::tunnel::Destination;

/// What lies between the sockets of the remote ends and the conversation.
#[derive(Default)]
pub(super) struct Layers {
    pub(super) proxy: Option<Proxy>,
    pub(super) header: Option<Version>,
    pub(super) security: Option<Security>,
    /// How TLS is spoken with clients of the ends that listen.
    pub(super) server: Option<Server>,
}

/// How a remote end is reached.
pub(super) struct Route<'a> {
    /// What is connected.
    pub(super) first: &'a Endpoint,
    /// What the proxy there is asked for.
    beyond: Option<(&'a Proxy, Destination)>,
    /// On whose behalf.
    client: Option<Pair>,
    /// Whose certificate is wanted.
    security: Option<(&'a Security, String)>,
}

/// Both ends of a TCP connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    source: SocketAddr,
    destination: SocketAddr,
}

impl Pair {
    /// Of a connection that was accepted: its client, and where he connected to.
    pub(super) fn of(accepted: impl AsFd) -> Option<Pair> {
        let source = SocketAddr::try_from(getpeername(&accepted).ok()??).ok()?;
        let destination = SocketAddr::try_from(getsockname(&accepted).ok()?).ok()?;
        Some(Pair { source, destination })
    }
}

/// Why a layer could not be laid.
pub(super) struct Trouble {
    pub(super) exit: Exit,
    words: String,
}

impl Layers {
    /// What works and is not wise: a key that everybody may read, a certificate that is refused.
    pub(super) fn warnings(&self) -> impl Iterator<Item = &String> {
        let ours = self.security.iter().flat_map(|security| &security.warnings);
        let identities = self.server.iter().flat_map(|server| &server.settings().identities);
        // One certificate serves both sides.
        let shown = identities.filter(|_| self.security.is_none()).flat_map(|identity| identity.warnings());
        ours.chain(shown)
    }

    /// How to reach `remote`.
    pub(super) fn route<'a>(
        &'a self,
        remote: &'a Spot,
        client: Option<Pair>,
        how: &Dialing,
    ) -> Result<Route<'a>, Error> {
        let endpoint = &remote.endpoint;
        let security = match self.security.as_ref().filter(|_| remote.tls) {
            Some(security) => Some((security, security.name_of(endpoint)?)),
            None => None,
        };
        let Some(proxy) = self.proxy.as_ref().filter(|_| endpoint.kind == Kind::Tcp) else {
            return Ok(Route { first: endpoint, beyond: None, client, security });
        };
        let given = Pinned::addresses(&how.pinned, endpoint)?;
        let given: Vec<_> = given.iter().filter_map(Address::inet).collect();
        let destination = proxy.destination(endpoint, &given)?;
        Ok(Route { first: &proxy.endpoint, beyond: Some((proxy, destination)), client, security })
    }

    /// Lays what belongs on a connected socket. Each layer may take `timeout`. `name` is that of the other end.
    pub(super) fn lay(
        &self,
        socket: OwnedFd,
        kind: Kind,
        name: &str,
        route: &Route<'_>,
        timeout: Duration,
    ) -> Result<Channel, Trouble> {
        if let Some((proxy, destination)) = &route.beyond {
            proxy
                .open(&socket, destination, clock::now() + timeout)
                .map_err(|error| Trouble::of_proxy(proxy, destination, &error))?;
        }
        if let Some(version) = self.header.filter(|_| kind.is_stream()) {
            let trouble = |exit, words: &dyn fmt::Display| Trouble {
                exit,
                words: format!("cannot send the PROXY header to {name}: {words}"),
            };
            let header =
                header(version, &socket, route).encode().map_err(|error| trouble(Exit::Failed, &error))?;
            send_all(&socket, &header, clock::now() + timeout).map_err(|error| match error {
                PreludeError::TimedOut => trouble(Exit::ConnectTimeout, &error),
                PreludeError::Failed(_) | PreludeError::System(_) => trouble(Exit::Reset, &error),
            })?;
        }
        let Some((security, wanted)) = &route.security else { return Ok(Channel::plain(socket, kind)) };
        if let Some(protocol) = security.starttls {
            ask(protocol, &socket, timeout).map_err(|error| Trouble {
                exit: if matches!(error, PreludeError::TimedOut) { Exit::ConnectTimeout } else { Exit::Tls },
                words: format!("no TLS with {name} ({}): {error}", protocol.name()),
            })?;
        }
        let codec = security
            .client
            .codec(wanted)
            .map_err(|error| Trouble { exit: Exit::Tls, words: error.to_string() })?;
        Channel::secure(socket, kind, codec, timeout).map_err(|error| Trouble::of_tls(name, wanted, &error))
    }

    /// Whether this end is believed to be whoever it says.
    pub(super) fn is_insecure(&self, remote: &Spot) -> bool {
        remote.tls && self.believes_anybody()
    }

    /// Whether TLS verifies nothing.
    pub(super) fn believes_anybody(&self) -> bool {
        self.security.as_ref().is_some_and(|security| security.insecure)
    }
}

impl Route<'_> {
    /// The proxy on it.
    pub(super) fn proxy(&self) -> Option<&Proxy> {
        self.beyond.as_ref().map(|(proxy, _)| *proxy)
    }

    /// What to call the other end, where this address was connected.
    pub(super) fn name(&self, address: &Address) -> String {
        let (name, through) = match &self.beyond {
            Some((proxy, destination)) => (format!("tcp:{destination}"), format!(" through {proxy}")),
            None => (address.to_string(), String::new()),
        };
        secured(&name, self.security.is_some()) + &through
    }
}

/// Asks for TLS on a connection that began without.
fn ask(protocol: Protocol, socket: &OwnedFd, timeout: Duration) -> Result<(), PreludeError> {
    carry_out(socket, &mut *protocol.start(), clock::now() + timeout)?;
    // We begin with TLS: what is there already, nobody could have said in answer.
    match peek(socket, &mut [0]) {
        Ok(1..) => Err(PreludeError::Failed(starttls::injected())),
        _ => Ok(()),
    }
}

/// What the server is told of where the connection comes from.
fn header(version: Version, socket: &OwnedFd, route: &Route<'_>) -> Header {
    let ours = || {
        let source = SocketAddr::try_from(getsockname(socket).ok()?).ok()?;
        let destination = match &route.beyond {
            None => SocketAddr::try_from(getpeername(socket).ok()??).ok()?,
            Some((_, Destination::Address(address))) => *address,
            // Only the proxy knows which address it has.
            Some((_, Destination::Name(..))) => return None,
        };
        Some(Pair { source, destination })
    };
    let origin = match route.client.or_else(ours) {
        Some(Pair { source, destination }) => Origin::Inet { source, destination },
        None => Origin::Unknown,
    };
    match version {
        Version::V1 => Header {
            version: proxy_header::Version::V1,
            origin,
            carrier: Carrier::Stream,
            extras: Extras::default(),
        },
        Version::V2 => Header {
            version: proxy_header::Version::V2,
            origin,
            carrier: Carrier::Stream,
            extras: Extras { crc32c: true, unique_id: Some(unique_id()), ..Extras::default() },
        },
    }
}

/// Names a connection: no two have the same.
fn unique_id() -> Box<[u8]> {
    format!("{:016x}-{:x}", clock::seed(), std::process::id()).into_bytes().into()
}

impl Trouble {
    fn of_proxy(proxy: &Proxy, destination: &Destination, error: &PreludeError) -> Trouble {
        let exit = match error {
            PreludeError::Failed(failure) if failure.why == Why::Unreached => Exit::Refused,
            PreludeError::TimedOut => Exit::ConnectTimeout,
            PreludeError::Failed(_) | PreludeError::System(_) => Exit::Proxy,
        };
        Trouble {
            exit,
            words: format!("cannot connect to tcp:{destination} through the proxy {proxy}: {error}"),
        }
    }

    pub(super) fn of_client(name: &str, error: &HandshakeError) -> Trouble {
        let exit = match error {
            HandshakeError::TimedOut(_) => Exit::Timeout,
            HandshakeError::Tls(_) | HandshakeError::System(_) => Exit::Tls,
        };
        Trouble { exit, words: format!("no TLS with {name}, who has come: {error}") }
    }

    fn of_tls(name: &str, wanted: &str, error: &HandshakeError) -> Trouble {
        let (exit, words) = no_tls(name, wanted, error);
        Trouble { exit, words }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}
