//! [`Wanted`]: how TLS is to be spoken, as asked for in words, and the [`Server`] that comes of it: files are read
//! here, while the rights to read them are there.

use clap::ValueEnum;
use std::path::PathBuf;
use std::time::Duration;
use switchboard_net::Error;
use switchboard_net::sys::clock;
use switchboard_net::tls::{
    Clients, HANDSHAKE_BYTES, HANDSHAKE_TIMEOUT, Identity, Roots, Server, Settings, Version,
};

/// The longest name of an application protocol (RFC 7301 §3.1), bytes.
const LONGEST_ALPN: usize = 255;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Files with certificates, each with those that lead to its authority behind it.
    pub(crate) certificates: Vec<PathBuf>,
    /// Their keys, in the same order; none: they are in the same files.
    pub(crate) keys: Vec<PathBuf>,
    /// Application protocols, the best first.
    pub(crate) alpn: Vec<String>,
    /// Whether clients must show a certificate.
    pub(crate) client: Demand,
    /// Who may have issued it; none: the system's authorities.
    pub(crate) client_roots: Option<PathBuf>,
    /// The oldest version.
    pub(crate) min_version: Version,
    /// The newest version.
    pub(crate) max_version: Version,
    /// Time for a handshake.
    pub(crate) handshake_timeout: Duration,
    /// Bytes of a client's in a handshake.
    pub(crate) handshake_bytes: usize,
    /// Whether clients get tickets, with which they need no second handshake.
    pub(crate) tickets: bool,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug, Default)]
pub(crate) enum Demand {
    #[default]
    None,
    Optional,
    Required,
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted {
            certificates: Vec::new(),
            keys: Vec::new(),
            alpn: Vec::new(),
            client: Demand::None,
            client_roots: None,
            min_version: Version::Tls12,
            max_version: Version::Tls13,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            handshake_bytes: HANDSHAKE_BYTES,
            tickets: true,
        }
    }
}

impl Wanted {
    /// Reads every file and checks that all of it fits together.
    ///
    /// # Errors
    /// The file, what was expected of it, and what is wrong.
    pub(crate) fn server(&self) -> Result<Server, Error> {
        let wrong = |problem: String| Err(Error::Config(problem));
        let (certificates, keys) = (&self.certificates, &self.keys);
        if !keys.is_empty() && keys.len() != certificates.len() {
            return wrong(format!(
                "there are {} certificates and {} keys: each certificate needs its key, in the same order, or has it \
                 in its own file",
                certificates.len(),
                keys.len()
            ));
        }
        if self.min_version > self.max_version {
            return wrong(format!(
                "TLS {} is the oldest version and {} the newest: no version is left",
                self.min_version.name(),
                self.max_version.name()
            ));
        }
        if let Some(bad) = self.alpn.iter().find(|name| name.is_empty() || name.len() > LONGEST_ALPN) {
            return wrong(format!("`{}` is no name of an application protocol", bad.escape_debug()));
        }
        if self.client_roots.is_some() && self.client == Demand::None {
            return wrong(
                "there are roots for clients' certificates, but clients are not asked for one".into(),
            );
        }
        if self.handshake_timeout.is_zero() || self.handshake_bytes == 0 {
            return wrong("a handshake takes some time and bytes: 0 lets nobody in".into());
        }
        let now = clock::wall().unix_s;
        let identity = |(at, certificate): (usize, &PathBuf)| {
            Identity::read(certificate, keys.get(at).unwrap_or(certificate), now)
        };
        let identities = certificates.iter().enumerate().map(identity).collect::<Result<_, _>>()?;
        let roots = || match &self.client_roots {
            Some(path) => Roots::file(path),
            None => Roots::system(),
        };
        Server::new(Settings {
            alpn: self.alpn.iter().map(|name| name.clone().into_bytes()).collect(),
            clients: match self.client {
                Demand::None => Clients::Unasked,
                Demand::Optional => Clients::Asked(roots()?),
                Demand::Required => Clients::Required(roots()?),
            },
            versions: (self.min_version, self.max_version),
            handshake_timeout: self.handshake_timeout,
            handshake_bytes: self.handshake_bytes,
            tickets: self.tickets,
            ..Settings::new(identities)
        })
    }
}
