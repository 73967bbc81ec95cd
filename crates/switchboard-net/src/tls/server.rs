//! [`Server`]: what a listener needs to speak TLS, made once from [`Settings`]: certificates chosen by the name that a
//! client asks for, who among clients must show a certificate, versions, and bounds of the handshake.

use super::{Codec, Failure, HANDSHAKE_BYTES, Identity, Layer, Roots, San, Witness, provider};
use crate::error::Error;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use switchboard_proto::{Instant, Session};

/// Time for a handshake, if nothing else is asked for.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How a server speaks TLS.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its certificates. The first that fits the name a client asks for is used, and the first of all if none does.
    pub identities: Vec<Identity>,
    /// Application protocols that it speaks, the best first; empty: what a client offers does not matter.
    pub alpn: Vec<Vec<u8>>,
    /// Whether clients must say who they are.
    pub clients: Clients,
    /// The oldest and the newest version.
    pub versions: (Version, Version),
    /// Time for a handshake.
    pub handshake_timeout: Duration,
    /// Bytes of a client's at most before the handshake is done.
    pub handshake_bytes: usize,
    /// Whether clients who are not asked for a certificate get tickets, with which they need no second handshake. A client
    /// who leaves without having read them resets the connection; what he said last may be lost with it.
    pub tickets: bool,
}

/// Whether clients must show a certificate.
#[derive(Clone, Debug, Default)]
pub enum Clients {
    /// They are not asked.
    #[default]
    Unasked,
    /// They are asked, and one that they show must be good.
    Asked(Roots),
    /// Nobody comes in without.
    Required(Roots),
}

/// A version of TLS that is fit for use (RFC 8996 has retired the others).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl Version {
    /// All, the oldest first.
    pub const ALL: [Version; 2] = [Version::Tls12, Version::Tls13];

    /// `1.2`, `1.3`.
    pub fn name(self) -> &'static str {
        match self {
            Version::Tls12 => "1.2",
            Version::Tls13 => "1.3",
        }
    }

    /// The versions from one to another, as rustls wants them.
    pub fn range(from: Version, to: Version) -> Vec<&'static SupportedProtocolVersion> {
        let row = |version| match version {
            Version::Tls12 => &rustls::version::TLS12,
            Version::Tls13 => &rustls::version::TLS13,
        };
        Version::ALL.into_iter().filter(|version| (from..=to).contains(version)).map(row).collect()
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Version, Error> {
        Version::ALL.into_iter().find(|version| version.name() == text).ok_or_else(|| {
            let all = Version::ALL.map(Version::name).join(" and ");
            Error::Config(format!(
                "`{}` is no version of TLS that is spoken here: there are {all}",
                text.escape_debug()
            ))
        })
    }
}

impl Settings {
    /// The usual ones, with these certificates.
    pub fn new(identities: Vec<Identity>) -> Settings {
        Settings {
            identities,
            tickets: true,
            alpn: Vec::new(),
            clients: Clients::Unasked,
            versions: (Version::Tls12, Version::Tls13),
            handshake_timeout: HANDSHAKE_TIMEOUT,
            handshake_bytes: HANDSHAKE_BYTES,
        }
    }
}

/// Ready to speak TLS; shared by all connections of a listener. Made before rights are given up, since keys are read
/// then; processes forked later have it too.
#[derive(Clone, Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
    settings: Arc<Settings>,
}

impl Server {
    /// # Errors
    /// No certificate; no version; authorities that cannot be used.
    pub fn new(settings: Settings) -> Result<Server, Error> {
        let wrong = |error: &dyn std::fmt::Display| Error::Config(format!("TLS cannot be set up: {error}"));
        if settings.identities.is_empty() {
            return Err(Error::Config("TLS needs a certificate and its key".into()));
        }
        let provider = provider();
        let versions = Version::range(settings.versions.0, settings.versions.1);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(|error| wrong(&error))?;
        let verifier =
            |roots: &Roots| WebPkiClientVerifier::builder_with_provider(roots.store(), Arc::clone(&provider));
        let builder = match &settings.clients {
            Clients::Unasked => builder.with_no_client_auth(),
            Clients::Asked(roots) => builder.with_client_cert_verifier(
                verifier(roots).allow_unauthenticated().build().map_err(|error| wrong(&error))?,
            ),
            Clients::Required(roots) => {
                builder.with_client_cert_verifier(verifier(roots).build().map_err(|error| wrong(&error))?)
            }
        };
        let choice = Choice(settings.identities.iter().map(|one| (one.certified(), names(one))).collect());
        let mut config = builder.with_cert_resolver(Arc::new(choice));
        config.alpn_protocols.clone_from(&settings.alpn);
        if settings.tickets && matches!(settings.clients, Clients::Unasked) {
            // Tickets that every worker can read, and that end with this configuration.
            config.ticketer = ticketer().map_err(|error| wrong(&error))?;
        } else {
            // A resumed session would let in whose certificate has been withdrawn since.
            config.send_tls13_tickets = 0;
        }
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Server { config: Arc::new(config), settings: Arc::new(settings) })
    }

    /// What it was made from.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A session of its own for a connection.
    ///
    /// # Errors
    /// None that is known of a configuration that could be made.
    pub fn codec(&self) -> Result<Codec, Failure> {
        Codec::server(Arc::clone(&self.config), self.settings.handshake_bytes)
    }

    /// Puts TLS around the session of a connection that begins now. `witness` learns what comes of it.
    pub fn layer(&self, inside: Box<dyn Session>, witness: Witness, now: Instant) -> Box<dyn Session> {
        match self.codec() {
            Ok(codec) => Box::new(Layer::new(codec, inside, self.settings.handshake_timeout, witness, now)),
            Err(failure) => Box::new(super::layer::Broken(Some(failure), witness)),
        }
    }
}

/// Whether the same would be said to every client.
impl PartialEq for Server {
    fn eq(&self, other: &Server) -> bool {
        let (a, b) = (&self.settings, &other.settings);
        a.identities == b.identities
            && a.alpn == b.alpn
            && a.clients == b.clients
            && a.tickets == b.tickets
            && a.versions == b.versions
            && a.handshake_timeout == b.handshake_timeout
            && a.handshake_bytes == b.handshake_bytes
    }
}

impl PartialEq for Clients {
    fn eq(&self, other: &Clients) -> bool {
        match (self, other) {
            (Clients::Unasked, Clients::Unasked) => true,
            (Clients::Asked(a), Clients::Asked(b)) | (Clients::Required(a), Clients::Required(b)) => a == b,
            _ => false,
        }
    }
}

#[cfg(feature = "aws-lc-rs")]
fn ticketer() -> Result<Arc<dyn rustls::server::ProducesTickets>, rustls::Error> {
    rustls::crypto::aws_lc_rs::Ticketer::new()
}

#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
fn ticketer() -> Result<Arc<dyn rustls::server::ProducesTickets>, rustls::Error> {
    rustls::crypto::ring::Ticketer::new()
}

/// The names of a certificate, in lower case.
fn names(identity: &Identity) -> Vec<String> {
    let sans = identity.certificate().sans.iter();
    sans.filter_map(|san| match san {
        San::Dns(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    })
    .collect()
}

/// Certificates with their names.
#[derive(Debug)]
struct Choice(Vec<(Arc<CertifiedKey>, Vec<String>)>);

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable = |key: &CertifiedKey| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let wanted = hello.server_name().map(str::to_ascii_lowercase);
        let named = wanted.and_then(|wanted| {
            let fits = |names: &[String]| names.iter().any(|name| is_name_of(name, &wanted));
            self.0.iter().find(|(key, names)| fits(names) && usable(key))
        });
        // Among several for the same names, an RSA one may be all that an old client can check.
        let first = || self.0.iter().find(|(key, _)| usable(key));
        named.or_else(first).map(|(key, _)| Arc::clone(key))
    }
}

/// Whether a certificate's name stands for `host`: the same, or `*` in place of the first label (RFC 9525 §6.3).
fn is_name_of(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(domain) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == domain),
        None => name == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        assert!(is_name_of("a.example", "a.example"));
        assert!(is_name_of("*.example", "a.example"));
        for host in ["example", ".example", "a.b.example", "a.example.org"] {
            assert!(!is_name_of("*.example", host), "{host}");
        }
    }
}
