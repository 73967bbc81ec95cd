//! The flags about TLS, and what they come to.

use super::Arguments;
use super::end::{End, Remote};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use switchboard_net::sys::clock;
use switchboard_net::tls::{Client, Identity, Roots, Version, Wishes};
use switchboard_net::{Endpoint, Error, Host, Place};
use switchboard_proto::starttls;

#[derive(Args, Debug)]
#[command(next_help_heading = "TLS (tls:HOST:PORT)")]
pub(super) struct Securing {
    /// Speak TLS with every server, as if tls: stood before it
    ///
    /// The server must have a certificate of its name, issued by somebody whom this system trusts. The end of the input is
    /// TLS' close_notify, and the answer is still awaited; a connection that ends without it was cut short (exit code 7).
    #[arg(long)]
    tls: bool,

    /// Begin without TLS, and ask for it as this protocol does: ftp, imap, lmtp, nntp, pop3, postgres, sieve, smtp
    ///
    /// What the server and we say until then is not shown. A server who does not offer TLS is left.
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol)]
    starttls: Option<starttls::Protocol>,

    /// Trust those who are in this file (PEM), and nobody else [default: whom the system trusts]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Our certificate, for servers who ask for one (PEM, with those that lead to its authority behind it)
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,

    /// Its key (PEM) [default: in the file of the certificate]
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// Application protocols, the best first, for example h2,http/1.1
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    alpn: Vec<String>,

    /// The name that the server's certificate must have, and that he is asked for [default: that of the host]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,

    /// Believe any certificate: whoever is in between can read and change everything
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,

    /// The oldest version [default: 1.2]
    #[arg(long, value_name = "VERSION")]
    tls_min: Option<Protocol>,

    /// The newest version [default: 1.3]
    #[arg(long, value_name = "VERSION")]
    tls_max: Option<Protocol>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Protocol {
    #[value(name = "1.2")]
    Tls12,
    #[value(name = "1.3")]
    Tls13,
}

fn protocol(name: &str) -> Result<starttls::Protocol, Error> {
    let all = starttls::Protocol::ALL;
    all.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|protocol| protocol.name()).collect();
        Error::Config(format!("there is no STARTTLS for this; there are {}", names.join(", ")))
    })
}

impl From<Protocol> for Version {
    fn from(protocol: Protocol) -> Version {
        match protocol {
            Protocol::Tls12 => Version::Tls12,
            Protocol::Tls13 => Version::Tls13,
        }
    }
}

/// How TLS is spoken.
pub(super) struct Security {
    pub(super) client: Client,
    /// The name of every server, if it was given.
    server_name: Option<String>,
    /// Whether anybody is believed.
    pub(super) insecure: bool,
    /// How TLS is asked for on a connection that begins without.
    pub(super) starttls: Option<starttls::Protocol>,
}

impl Arguments {
    /// Marks the ends that `--tls` is about.
    pub(super) fn secured(&self, mut ends: [End; 2]) -> Result<[End; 2], Error> {
        for end in &mut ends {
            let End::Remote(remote) = end else { continue };
            remote.tls |= self.securing.tls || self.securing.starttls.is_some();
            remote.check()?;
        }
        Ok(ends)
    }

    /// How TLS is spoken with these ends; nothing if it is not.
    pub(super) fn security(&self, ends: &[End; 2]) -> Result<Option<Security>, Error> {
        let flags = &self.securing;
        let mut secure = ends.iter().filter_map(|end| match end {
            End::Remote(remote) if remote.tls => Some(remote),
            _ => None,
        });
        let Some(first) = secure.next() else {
            let given = [
                (flags.tls, "--tls"),
                (flags.starttls.is_some(), "--starttls"),
                (flags.ca.is_some(), "--ca"),
                (flags.cert.is_some(), "--cert"),
                (!flags.alpn.is_empty(), "--alpn"),
                (flags.server_name.is_some(), "--server-name"),
                (flags.insecure, "--insecure"),
                (flags.tls_min.is_some(), "--tls-min"),
                (flags.tls_max.is_some(), "--tls-max"),
            ];
            return match given.iter().find(|(given, _)| *given) {
                Some((_, flag)) => Err(Error::Config(format!(
                    "{flag} is for a server with TLS: write tls:HOST:PORT, or --tls and an end to connect to"
                ))),
                None => Ok(None),
            };
        };
        if self.scripting.pass_socket {
            return Err(Error::Config(
                "--pass-socket gives the socket away, and TLS' keys are not in it: leave one of the two out"
                    .into(),
            ));
        }
        let identity = match &flags.cert {
            Some(cert) => {
                Some(Identity::read(cert, flags.key.as_ref().unwrap_or(cert), clock::realtime().0)?)
            }
            None => None,
        };
        let roots = match (flags.insecure, &flags.ca) {
            (true, _) => None,
            (false, Some(file)) => Some(Roots::file(file)?),
            (false, None) => Some(Roots::system()?),
        };
        let client = Client::new(Wishes {
            roots,
            identity,
            alpn: flags.alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
            versions: (
                flags.tls_min.unwrap_or(Protocol::Tls12).into(),
                flags.tls_max.unwrap_or(Protocol::Tls13).into(),
            ),
        })?;
        let security = Security {
            client,
            server_name: flags.server_name.clone(),
            insecure: flags.insecure,
            starttls: flags.starttls,
        };
        // What cannot be a name is said before anything is connected.
        for remote in std::iter::once(first).chain(secure) {
            security.client.codec(&security.name_of(&remote.endpoint)?)?;
        }
        Ok(Some(security))
    }
}

impl Security {
    /// The name that the server at `endpoint` must prove.
    pub(super) fn name_of(&self, endpoint: &Endpoint) -> Result<String, Error> {
        if let Some(name) = &self.server_name {
            return Ok(name.clone());
        }
        match &endpoint.place {
            Place::Inet(Host::Name(name), _) => Ok(name.clone()),
            Place::Inet(Host::Ip(ip, _), _) => Ok(ip.to_string()),
            Place::Inet(Host::Loopback, _) => Ok("localhost".into()),
            Place::Inet(Host::Any, _) | Place::Path(_) | Place::Abstract(_) => Err(Error::Config(format!(
                "{endpoint} has no name that a certificate could have: give one with --server-name"
            ))),
        }
    }
}

impl Remote {
    fn check(&self) -> Result<(), Error> {
        match self.tls && !self.endpoint.kind.is_stream() {
            true => Err(Error::Config(format!("TLS is for streams, and {} is none", self.endpoint))),
            false => Ok(()),
        }
    }
}
