//! [`Layers`]: what lies between a connected socket and the conversation, and laying it.
//!
//! ```text
//!   socket ─▶ proxy: a way through it ─▶ the conversation
//! ```

use crate::exit::Exit;
use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;
use switchboard_net::dial::{Dialing, Pinned};
use switchboard_net::prelude::PreludeError;
use switchboard_net::sys::clock;
use switchboard_net::tunnel::Proxy;
use switchboard_net::{Endpoint, Error};
use switchboard_proto::prelude::Why;
use switchboard_proto::tunnel::Destination;

/// What lies between the sockets of the remote ends and the conversation.
#[derive(Default)]
pub(super) struct Layers {
    pub(super) proxy: Option<Proxy>,
}

/// How a remote end is reached.
pub(super) struct Route<'a> {
    /// What is connected.
    pub(super) first: &'a Endpoint,
    /// What the proxy there is asked for.
    beyond: Option<(&'a Proxy, Destination)>,
}

/// Why a layer could not be laid.
pub(super) struct Trouble {
    pub(super) exit: Exit,
    words: String,
}

impl Layers {
    /// How to reach `endpoint`.
    pub(super) fn route<'a>(&'a self, endpoint: &'a Endpoint, how: &Dialing) -> Result<Route<'a>, Error> {
        let Some(proxy) = self.proxy.as_ref().filter(|_| endpoint.kind.is_inet()) else {
            return Ok(Route { first: endpoint, beyond: None });
        };
        let given: Vec<_> =
            Pinned::addresses(&how.pinned, endpoint)?.iter().filter_map(|at| at.inet()).collect();
        let destination = proxy.destination(endpoint, &given)?;
        Ok(Route { first: &proxy.endpoint, beyond: Some((proxy, destination)) })
    }

    /// Lays what belongs on a connected socket. Each layer may take `timeout`.
    pub(super) fn lay(&self, socket: &OwnedFd, route: &Route<'_>, timeout: Duration) -> Result<(), Trouble> {
        if let Some((proxy, destination)) = &route.beyond {
            proxy
                .open(socket, destination, clock::now() + timeout)
                .map_err(|error| Trouble::of_proxy(proxy, destination, &error))?;
        }
        Ok(())
    }
}

impl Route<'_> {
    /// What to call the other end, if it is not the one that was connected.
    pub(super) fn name(&self) -> Option<String> {
        self.beyond.as_ref().map(|(proxy, destination)| format!("tcp:{destination} through {proxy}"))
    }
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
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}
