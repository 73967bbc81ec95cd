//! [`Secure`]: TLS on every connection of a run.

use crate::endpoint::{Address, Kind};
use crate::error::Error;
use crate::tls::Client;

/// TLS on every connection.
#[derive(Clone, Debug)]
pub struct Secure {
    /// How it is spoken.
    pub client: Client,
    /// The name that the server's certificate must have.
    pub name: String,
    /// Whether every connection of the run remembers its own earlier sessions and resumes them when it is made again.
    /// Otherwise every handshake is a full one.
    pub resumes: bool,
}

impl Secure {
    /// Looks for what cannot be done at such an address.
    pub(super) fn check(&self, address: &Address) -> Result<(), Error> {
        if !matches!(address.kind, Kind::Tcp | Kind::Unix) {
            return Err(Error::Config(format!("TLS is for streams, and {address} is none")));
        }
        self.client.codec(&self.name).map(|_| ())
    }
}
