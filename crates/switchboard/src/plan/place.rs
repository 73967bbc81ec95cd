//! [`Place`]: an endpoint to listen at, with the options of that socket alone.

use std::str::FromStr;
use switchboard_net::{Endpoint, Error, SocketOption, SocketOptions};

/// Where to listen, with the options of that socket alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) endpoint: Endpoint,
    pub(crate) options: Vec<(String, String)>,
}

impl FromStr for Place {
    type Err = Error;

    /// `ENDPOINT,NAME=VALUE,…`; a piece without `=` belongs to the one before it (`sndbuf=bdp:RATE,RTT`).
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
        let endpoint: Endpoint = pieces.next().unwrap_or_default().parse()?;
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
        Ok(Place { endpoint, options })
    }
}

impl From<Endpoint> for Place {
    fn from(endpoint: Endpoint) -> Place {
        Place { endpoint, options: Vec::new() }
    }
}
