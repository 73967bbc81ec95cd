//! [`Place`]: an endpoint to listen at, with the options of that socket alone.

use std::fmt;
use std::str::FromStr;
use switchboard_net::{Endpoint, Error, SocketOption, SocketOptions};

/// What is written before an endpoint where TLS is spoken.
const TLS: &str = "tls:";

/// Where to listen, with the options of that socket alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) endpoint: Endpoint,
    /// Clients speak TLS here.
    pub(crate) tls: bool,
    pub(crate) options: Vec<(String, String)>,
}

impl FromStr for Place {
    type Err = Error;

    /// `[tls:]ENDPOINT,NAME=VALUE,…`; a piece without `=` belongs to the one before it (`sndbuf=bdp:RATE,RTT`).
    fn from_str(text: &str) -> Result<Place, Error> {
        let mut pieces: Vec<String> = Vec::new();
        for piece in text.split(',') {
            match pieces.last_mut() {
                Some(before) if !piece.contains('=') => {
                    before.push(',');
                    before.push_str(piece);
                }
                _ => pieces.push(piece.to_owned()),
            }
        }
        let mut pieces = pieces.into_iter();
        let first = pieces.next().unwrap_or_default();
        let (endpoint, tls) = match first.strip_prefix(TLS) {
            Some(rest) => (rest.parse::<Endpoint>()?, true),
            None => (first.parse()?, false),
        };
        if tls && !endpoint.kind.is_stream() {
            return Err(Error::Config(format!(
                "{first}: TLS is for streams: write tls:HOST:PORT or tls:unix:PATH (datagrams would need DTLS)"
            )));
        }
        let mut options = Vec::new();
        for piece in pieces {
            let (name, value) = piece.split_once('=').unwrap_or((&piece, ""));
            if SocketOption::find(name)
                .is_some_and(|option| !option.on.covers(endpoint.kind, endpoint.may_be_ipv6()))
            {
                return Err(Error::Config(format!("{text}: option {name} does not apply to that socket")));
            }
            SocketOptions::default().set(name, value)?;
            options.push((name.to_owned(), value.to_owned()));
        }
        Ok(Place { endpoint, tls, options })
    }
}

impl fmt::Display for Place {
    /// Without its options: `tls:127.0.0.1:7`, `tcp:127.0.0.1:7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&secured(&self.endpoint.to_string(), self.tls))
    }
}

/// An endpoint or address as text, where TLS is spoken or not.
pub(crate) fn secured(text: &str, tls: bool) -> String {
    match (tls, text.strip_prefix("tcp:")) {
        (false, _) => text.to_owned(),
        (true, Some(rest)) => format!("{TLS}{rest}"),
        (true, None) => format!("{TLS}{text}"),
    }
}

impl From<Endpoint> for Place {
    fn from(endpoint: Endpoint) -> Place {
        Place { endpoint, tls: false, options: Vec::new() }
    }
}
