//! [`Secured`]: the flags about TLS, and the first connection, which tells whether there is any.

use crate::command::connect::{Spot, exit_for_dialling, name_of, no_tls};
use crate::exit::Exit;
use crate::plan::secured;
use crate::report::Output;
use clap::Args;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use switchboard_net::load::Secure;
use switchboard_net::sys::clock;
use switchboard_net::tls::{Client, Facts, Identity, Roots, Version, Wishes};
use switchboard_net::{Address, Channel, Dialing, Error, dial};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "TLS (tls:HOST:PORT)")]
pub(super) struct Secured {
    /// Speak TLS with the server, as if tls: stood before it
    #[arg(long)]
    tls: bool,

    /// Every connection resumes its own earlier session when it is made again, as browsers do
    ///
    /// Without this every handshake is a full one. How many were resumed is told beside their times.
    #[arg(long)]
    resume: bool,

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

    /// The oldest version, 1.2 or 1.3 [default: 1.2]
    #[arg(long, value_name = "VERSION")]
    tls_min: Option<Version>,

    /// The newest version, 1.2 or 1.3 [default: 1.3]
    #[arg(long, value_name = "VERSION")]
    tls_max: Option<Version>,
}

/// What server and clients agreed on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Session {
    /// As in `TLSv1.3`.
    pub(super) version: String,
    pub(super) suite: String,
    pub(super) alpn: Option<String>,
    /// Whether sessions are resumed.
    pub(super) resumes: bool,
}

/// Who answers, and how he is spoken to.
pub(super) struct Answerer {
    pub(super) address: Address,
    pub(super) secure: Option<Secure>,
    pub(super) session: Option<Session>,
}

impl Secured {
    /// How TLS is spoken with this server; nothing if it is not.
    ///
    /// # Errors
    /// Flags that do not fit him or each other, and files that cannot be used.
    pub(super) fn secure(&self, remote: &Spot) -> Result<Option<Secure>, Error> {
        if !remote.tls && !self.tls {
            let given = [
                (self.resume, "--resume"),
                (self.ca.is_some(), "--ca"),
                (self.cert.is_some(), "--cert"),
                (!self.alpn.is_empty(), "--alpn"),
                (self.server_name.is_some(), "--server-name"),
                (self.insecure, "--insecure"),
                (self.tls_min.is_some(), "--tls-min"),
                (self.tls_max.is_some(), "--tls-max"),
            ];
            return given.iter().find(|(is_given, _)| *is_given).map_or(Ok(None), |(_, flag)| {
                Err(Error::Config(format!("{flag} is for a server with TLS: write tls:HOST:PORT, or --tls")))
            });
        }
        let endpoint = &remote.endpoint;
        if !endpoint.kind.is_stream() {
            return Err(Error::Config(format!("TLS is for streams, and {endpoint} is none")));
        }
        let name = name_of(endpoint, self.server_name.as_deref())?;
        let client = self.client()?;
        // What cannot be a name is said before anything is connected.
        client.codec(&name)?;
        Ok(Some(Secure { client, name, resumes: self.resume }))
    }

    fn client(&self) -> Result<Client, Error> {
        let identity = match &self.cert {
            Some(cert) => Some(Identity::read(cert, self.key.as_ref().unwrap_or(cert), clock::realtime().0)?),
            None => None,
        };
        let roots = match (self.insecure, &self.ca) {
            (true, _) => None,
            (false, Some(file)) => Some(Roots::file(file)?),
            (false, None) => Some(Roots::system()?),
        };
        Client::new(Wishes {
            roots,
            identity,
            alpn: self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
            versions: (self.tls_min.unwrap_or(Version::Tls12), self.tls_max.unwrap_or(Version::Tls13)),
        })
    }

    /// Chooses among the addresses of a name by connecting to one, and shakes hands there; the exit code if there is
    /// none that answers, or no TLS.
    pub(super) fn answerer(
        &self,
        remote: &Spot,
        secure: Option<Secure>,
        timeout: Option<Duration>,
        out: &mut Output,
    ) -> Result<Answerer, Exit> {
        let connect_timeout = timeout.unwrap_or(Dialing::default().connect_timeout);
        let dialing = Dialing { connect_timeout, ..Dialing::default() };
        let (fd, address) = dial(&remote.endpoint, &dialing, &mut |_| {}).map_err(|error| {
            out.talk(&error);
            exit_for_dialling(&error)
        })?;
        let Some(secure) = secure else { return Ok(Answerer { address, secure: None, session: None }) };
        let codec = secure.client.remembering(false).codec(&secure.name).map_err(|error| {
            out.talk(error);
            Exit::Usage
        })?;
        let mut channel = Channel::secure(fd, address.kind, codec, connect_timeout).map_err(|error| {
            let (exit, words) = no_tls(&address.to_string(), &secure.name, &error);
            out.talk(words);
            exit
        })?;
        if self.insecure {
            out.talk(format_args!(
                "WARNING: --insecure: nobody has checked who {} is, and whoever is in between can read and change \
                 everything",
                secured(&address.to_string(), true)
            ));
        }
        let session = channel.facts().map(|facts| Session::of(facts, secure.resumes));
        // Said for the sake of the server's log; whether he hears it is all the same.
        let _ = channel.finish();
        Ok(Answerer { address, secure: Some(secure), session })
    }
}

impl Session {
    fn of(facts: Facts, resumes: bool) -> Session {
        let alpn = facts.alpn.map(|name| String::from_utf8_lossy(&name).into_owned());
        Session { version: facts.version.to_owned(), suite: facts.suite, alpn, resumes }
    }

    /// In a few words.
    pub(super) fn words(&self) -> String {
        let alpn = self.alpn.as_ref().map(|name| format!(", {}", name.escape_debug())).unwrap_or_default();
        let resumed = if self.resumes { ", sessions resumed" } else { ", every handshake a full one" };
        format!("{} {}{alpn}{resumed}", self.version, self.suite)
    }
}
