//! The flags about TLS, and what they come to.

use super::Arguments;
use super::end::End;
use super::proof::name_of;
use crate::plan::Demand;
use clap::Args;
use std::path::PathBuf;
use switchboard_net::sys::clock;
use switchboard_net::tls::{Client, Identity, Roots, Version, Wishes};
use switchboard_net::{Endpoint, Error};
use switchboard_proto::starttls;

#[derive(Args, Debug)]
#[command(next_help_heading = "TLS (tls:HOST:PORT, listen:tls:HOST:PORT)")]
pub(super) struct Securing {
    /// Speak TLS with every server, as if tls: stood before it
    ///
    /// The server must have a certificate of its name, issued by somebody whom this system trusts. The end of the input is
    /// TLS' close_notify, and the answer is still awaited; a connection that ends without it was cut short (exit code 7).
    #[arg(long)]
    pub(super) tls: bool,

    /// Begin without TLS, and ask for it as this protocol does: ftp, imap, lmtp, nntp, pop3, postgres, sieve, smtp
    ///
    /// What the server and we say until then is not shown. A server who does not offer TLS is left.
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol)]
    starttls: Option<starttls::Protocol>,

    /// Trust those who are in this file (PEM), and nobody else [default: whom the system trusts]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Our certificate, for servers who ask for one and for clients (PEM, with those that lead to its authority behind it)
    #[arg(long, value_name = "FILE")]
    pub(super) cert: Option<PathBuf>,

    /// Its key (PEM) [default: in the file of the certificate]
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(super) key: Option<PathBuf>,

    /// Application protocols, the best first, for example h2,http/1.1
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub(super) alpn: Vec<String>,

    /// The name that the server's certificate must have, and that he is asked for [default: that of the host]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,

    /// Believe any certificate: whoever is in between can read and change everything
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,

    /// listen:tls: whether clients must show a certificate [default: none]
    #[arg(long, value_enum, value_name = "WHETHER")]
    pub(super) client_cert: Option<Demand>,

    /// listen:tls: who may have issued clients' certificates (PEM) [default: whom the system trusts]
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub(super) client_roots: Option<PathBuf>,

    /// The oldest version, 1.2 or 1.3 [default: 1.2]
    #[arg(long, value_name = "VERSION")]
    pub(super) tls_min: Option<Version>,

    /// The newest version, 1.2 or 1.3 [default: 1.3]
    #[arg(long, value_name = "VERSION")]
    pub(super) tls_max: Option<Version>,
}

fn protocol(name: &str) -> Result<starttls::Protocol, Error> {
    let all = starttls::Protocol::ALL;
    all.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|protocol| protocol.name()).collect();
        Error::Config(format!("there is no STARTTLS for this; there are {}", names.join(", ")))
    })
}

/// How TLS is spoken with servers.
pub(super) struct Security {
    pub(super) client: Client,
    /// The name of every server, if it was given.
    server_name: Option<String>,
    /// Whether anybody is believed.
    pub(super) insecure: bool,
    /// How TLS is asked for on a connection that begins without.
    pub(super) starttls: Option<starttls::Protocol>,
    /// What works and is not wise.
    pub(super) warnings: Vec<String>,
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

    /// The flags about TLS that have no meaning between these ends.
    pub(super) fn check_tls(&self, ends: &[End; 2]) -> Result<(), Error> {
        let flags = &self.securing;
        let connects = ends.iter().any(|end| matches!(end, End::Remote(spot) if spot.tls));
        let listens = ends.iter().any(|end| matches!(end, End::Listening(spot) if spot.tls));
        let server = "a server with TLS: write tls:HOST:PORT, or --tls and an end to connect to";
        let client = "clients with TLS: write listen:tls:HOST:PORT";
        let either = "a server with TLS or for clients with it: write tls:HOST:PORT or listen:tls:HOST:PORT";
        let given = [
            (flags.tls && !connects, "--tls", server),
            (flags.starttls.is_some() && !connects, "--starttls", server),
            (flags.ca.is_some() && !connects, "--ca", server),
            (flags.server_name.is_some() && !connects, "--server-name", server),
            (flags.insecure && !connects, "--insecure", server),
            (flags.client_cert.is_some() && !listens, "--client-cert", client),
            (flags.cert.is_some() && !connects && !listens, "--cert", either),
            (!flags.alpn.is_empty() && !connects && !listens, "--alpn", either),
            (flags.tls_min.is_some() && !connects && !listens, "--tls-min", either),
            (flags.tls_max.is_some() && !connects && !listens, "--tls-max", either),
        ];
        if let Some((_, flag, whom)) = given.iter().find(|(misplaced, ..)| *misplaced) {
            return Err(Error::Config(format!("{flag} is for {whom}")));
        }
        if self.scripting.pass_socket && (connects || listens) {
            return Err(Error::Config(
                "--pass-socket gives the socket away, and TLS' keys are not in it: leave one of the two out"
                    .into(),
            ));
        }
        Ok(())
    }

    /// How TLS is spoken with the servers among these ends; nothing if it is not.
    pub(super) fn security(&self, ends: &[End; 2]) -> Result<Option<Security>, Error> {
        let flags = &self.securing;
        let mut secure = ends.iter().filter_map(|end| match end {
            End::Remote(remote) if remote.tls => Some(remote),
            _ => None,
        });
        let Some(first) = secure.next() else { return Ok(None) };
        let identity = match &flags.cert {
            Some(cert) => {
                Some(Identity::read(cert, flags.key.as_ref().unwrap_or(cert), clock::realtime().0)?)
            }
            None => None,
        };
        let warnings = identity.as_ref().map(|identity| identity.warnings().to_vec()).unwrap_or_default();
        let roots = match (flags.insecure, &flags.ca) {
            (true, _) => None,
            (false, Some(file)) => Some(Roots::file(file)?),
            (false, None) => Some(Roots::system()?),
        };
        let client = Client::new(Wishes {
            roots,
            identity,
            alpn: flags.alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
            versions: (flags.tls_min.unwrap_or(Version::Tls12), flags.tls_max.unwrap_or(Version::Tls13)),
        })?;
        let security = Security {
            warnings,
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
        name_of(endpoint, self.server_name.as_deref())
    }
}
