//! TLS on the command line.

use super::{Complaint, usage};
use crate::plan::{Demand, Place, Wanted};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;
use switchboard_net::quantity;
use switchboard_net::tls::{Server, Version};

#[derive(Args, Debug)]
#[command(next_help_heading = "TLS, for --listen tls:HOST:PORT")]
pub(super) struct TlsArguments {
    /// A certificate, with those that lead to its authority behind it, as PEM; several are chosen from by the name that
    /// the client asks for
    #[arg(long, value_name = "FILE")]
    cert: Vec<PathBuf>,

    /// The certificate's key, as PEM; for several, in the same order [default: in the file of the certificate]
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Vec<PathBuf>,

    /// Application protocols that are spoken, the best first
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', requires = "cert")]
    alpn: Vec<String>,

    /// Whether clients must show a certificate
    #[arg(long, value_enum, default_value_t = Demand::None, value_name = "WHETHER", requires = "cert")]
    client_cert: Demand,

    /// Who may have issued clients' certificates, as PEM [default: the system's authorities]
    #[arg(long, value_name = "FILE", requires = "cert")]
    client_roots: Option<PathBuf>,

    /// The oldest version, 1.2 or 1.3
    #[arg(long, default_value = "1.2", value_name = "VERSION", requires = "cert")]
    tls_min: Version,

    /// The newest version, 1.2 or 1.3
    #[arg(long, default_value = "1.3", value_name = "VERSION", requires = "cert")]
    tls_max: Version,

    /// Time for a handshake
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration, default_value = "10s", requires = "cert")]
    handshake_timeout: Duration,
}

impl TlsArguments {
    /// How TLS is spoken at `places`, if it is.
    pub(super) fn server(&self, places: &[Place]) -> Result<Option<Server>, Complaint> {
        match (places.iter().find(|place| place.tls), self.cert.is_empty()) {
            (None, true) => Ok(None),
            (None, false) => {
                Err(usage("--cert is for TLS: say where it is spoken with --listen tls:HOST:PORT"))
            }
            (Some(place), true) => Err(usage(format!(
                "--listen {place}: TLS needs a certificate and its key: --cert FILE --key FILE (`switchboard cert dev` \
                 makes them for a test)"
            ))),
            (Some(_), false) => self.wanted().server().map(Some).map_err(usage),
        }
    }

    /// The same as a line of a service in a configuration file, if anything is asked for.
    pub(super) fn line(&self) -> Option<String> {
        if self.cert.is_empty() {
            return None;
        }
        let file = |path: &PathBuf| {
            // The command line is read where it was written; a file means the same everywhere.
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            toml::Value::from(path.to_string_lossy().into_owned())
        };
        let mut table = toml::Table::new();
        let mut put = |key: &str, value: toml::Value| drop(table.insert(key.to_owned(), value));
        put("cert", self.cert.iter().map(file).collect::<Vec<_>>().into());
        if !self.key.is_empty() {
            put("key", self.key.iter().map(file).collect::<Vec<_>>().into());
        }
        if !self.alpn.is_empty() {
            put("alpn", self.alpn.clone().into());
        }
        if let Some(roots) = &self.client_roots {
            put("client_roots", file(roots));
        }
        let client = self.client_cert.to_possible_value();
        put("client", client.map(|word| word.get_name().to_owned()).unwrap_or_default().into());
        put("min_version", self.tls_min.name().into());
        put("max_version", self.tls_max.name().into());
        put("handshake_timeout", self.handshake_timeout.as_secs_f64().into());
        Some(format!("tls = {}\n", toml::Value::from(table)))
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            certificates: self.cert.clone(),
            keys: self.key.clone(),
            alpn: self.alpn.clone(),
            client: self.client_cert,
            client_roots: self.client_roots.clone(),
            min_version: self.tls_min,
            max_version: self.tls_max,
            handshake_timeout: self.handshake_timeout,
            ..Wanted::default()
        }
    }
}
