//! [`Pinned`]: addresses that the user gives for a name, in the resolver's place.

use crate::endpoint::{Address, Endpoint, Host, Place, Port};
use crate::error::Error;
use std::str::FromStr;

/// Addresses of a name at one port, as written: `NAME:PORT:ADDRESS[,ADDRESS…]`. The resolver is not asked for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pinned {
    /// The name, in any case.
    name: String,
    /// The port that must be meant as well.
    port: Port,
    /// Numeric addresses, in the order in which they stand for the resolver's; at least one.
    addresses: Vec<Host>,
}

impl Pinned {
    /// What the pins say of `endpoint`, none twice; empty if they are about others.
    ///
    /// # Errors
    /// A port or an interface that nobody knows.
    pub fn addresses(pins: &[Pinned], endpoint: &Endpoint) -> Result<Vec<Address>, Error> {
        let Place::Inet(Host::Name(name), port) = &endpoint.place else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for pin in pins.iter().filter(|pin| pin.name.eq_ignore_ascii_case(name)) {
            if pin.port.number(endpoint.kind)? != port.number(endpoint.kind)? {
                continue;
            }
            for host in &pin.addresses {
                let numeric =
                    Endpoint { kind: endpoint.kind, place: Place::Inet(host.clone(), port.clone()) };
                for address in numeric.resolve()? {
                    if !found.contains(&address) {
                        found.push(address);
                    }
                }
            }
        }
        Ok(found)
    }
}

impl FromStr for Pinned {
    type Err = Error;

    fn from_str(text: &str) -> Result<Pinned, Error> {
        let wrong = |problem: String| {
            let text = text.escape_default();
            Error::Config(format!("`{text}` is not NAME:PORT:ADDRESS[,ADDRESS...]: {problem}"))
        };
        let mut parts = text.splitn(3, ':');
        let (Some(name), Some(port), Some(addresses)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong("a part is missing".into()));
        };
        match name.parse() {
            Ok(Host::Name(_)) => {}
            Ok(_) => return Err(wrong(format!("`{}` needs no address", name.escape_default()))),
            Err(error) => return Err(wrong(error.to_string())),
        }
        let port: Port = port.parse().map_err(|error: Error| wrong(error.to_string()))?;
        let numeric = |address: &str| match address.parse() {
            Ok(host @ Host::Ip(..)) => Ok(host),
            _ => Err(wrong(format!("`{}` is not an address", address.escape_default()))),
        };
        let addresses = addresses.split(',').map(numeric).collect::<Result<_, _>>()?;
        Ok(Pinned { name: name.to_owned(), port, addresses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_stand_for_the_resolver() {
        let pins: Vec<Pinned> = [
            "Example.test:7:192.0.2.1,[2001:db8::1]",
            "example.test:8:192.0.2.8",
            "example.test:7:2001:db8::2,192.0.2.1",
        ]
        .map(|text| text.parse().unwrap())
        .into();
        let found = |endpoint: &str| {
            let found = Pinned::addresses(&pins, &endpoint.parse().unwrap()).unwrap();
            found.iter().map(Address::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            found("example.test:7"),
            ["tcp:192.0.2.1:7", "tcp:[2001:db8::1]:7", "tcp:[2001:db8::2]:7"]
        );
        assert_eq!(found("udp:EXAMPLE.TEST:8"), ["udp:192.0.2.8:8"]);
        for other in ["example.test:9", "www.example.test:7", "192.0.2.1:7", "tcp:7", "unix:example.test"] {
            assert!(found(other).is_empty(), "{other}");
        }
    }

    #[test]
    fn pins_that_cannot_be_read() {
        for (text, part) in [
            ("example.test", "missing"),
            ("example.test:7", "missing"),
            ("example.test:7:", "`` is not an address"),
            ("example.test:7:192.0.2.1,", "`` is not an address"),
            ("example.test:7:other.test", "`other.test` is not an address"),
            ("example.test:99999:192.0.2.1", "out of range"),
            ("192.0.2.1:7:192.0.2.2", "needs no address"),
            ("*:7:192.0.2.2", "needs no address"),
            (":7:192.0.2.2", "neither an address nor a host name"),
        ] {
            let error = text.parse::<Pinned>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
