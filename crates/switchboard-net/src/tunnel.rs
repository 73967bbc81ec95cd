//! [`Proxy`]: a proxy as users write it, and the way through it.

use crate::endpoint::{Endpoint, Host, Kind, Place};
use crate::error::Error;
use crate::prelude::{PreludeError, carry_out};
use rustix::fd::OwnedFd;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use switchboard_proto::Instant;
use switchboard_proto::tunnel::{Credentials, Destination, Method, tunnel};

/// Where proxies listen, unless the port is written: SOCKS at its assigned port, HTTP where squid does.
const SOCKS_PORT: u16 = 1080;
const HTTP_PORT: u16 = 3128;

/// `http://[USER[:PASSWORD]@]HOST[:PORT]`, `socks4://…`, `socks4a://…`, `socks5://…`. What has a meaning in it is
/// written as `%` and two hexadecimal digits in user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// How it is asked.
    pub method: Method,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Who asks.
    pub user: Option<String>,
    /// His password, if it was written.
    pub password: Option<String>,
}

const SCHEMES: [(&str, Method); 5] = [
    ("http", Method::HttpConnect),
    ("socks4", Method::Socks4),
    ("socks4a", Method::Socks4a),
    ("socks5", Method::Socks5),
    // curl's word for a SOCKS5 proxy that looks names up itself, as all of these do here.
    ("socks5h", Method::Socks5),
];

impl FromStr for Proxy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Proxy, Error> {
        // The text may hold a password: it is not repeated.
        let wrong = |problem: &str| Error::Config(format!("--proxy: {problem}"));
        let (scheme, rest) = text.split_once("://").ok_or_else(|| {
            wrong("write http://HOST:PORT, socks4://HOST:PORT, socks4a://HOST:PORT or socks5://HOST:PORT")
        })?;
        let method =
            SCHEMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(scheme)).map(|(_, method)| *method);
        let method = method.ok_or_else(|| {
            let scheme = scheme.escape_default();
            wrong(&format!("`{scheme}` is none of http, socks4, socks4a, socks5"))
        })?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (who, place) = match rest.rsplit_once('@') {
            Some((who, place)) => (Some(who), place),
            None => (None, rest),
        };
        let decode = |text: &str| {
            percent_decoded(text).ok_or_else(|| wrong("`%` is not followed by two hexadecimal digits"))
        };
        let (user, password) =
            match who.map(|who| who.split_once(':').map_or((who, None), |(user, word)| (user, Some(word)))) {
                None => (None, None),
                Some((user, None)) => (Some(decode(user)?), None),
                Some((user, Some(password))) => (Some(decode(user)?), Some(decode(password)?)),
            };
        let port = if method == Method::HttpConnect { HTTP_PORT } else { SOCKS_PORT };
        let has_port = place.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
        let endpoint = if has_port { format!("tcp:{place}") } else { format!("tcp:{place}:{port}") };
        let endpoint: Endpoint = endpoint.parse()?;
        if place.is_empty() || matches!(endpoint.place, Place::Inet(Host::Any, _)) {
            return Err(wrong("the proxy's host is missing"));
        }
        let proxy = Proxy { method, endpoint, user, password };
        // What the protocol cannot say is said now, and not when the proxy was connected.
        tunnel(
            method,
            &Destination::Address((Ipv4Addr::LOCALHOST, 0).into()),
            proxy.credentials_for_check().as_ref(),
        )
        .map_err(|problem| wrong(&problem))?;
        Ok(proxy)
    }
}

impl Proxy {
    /// Whether it is yet to be asked for a password.
    pub fn lacks_password(&self) -> bool {
        let takes = matches!(self.method, Method::HttpConnect | Method::Socks5);
        takes && self.user.is_some() && self.password.is_none()
    }

    fn credentials(&self) -> Option<Credentials> {
        let password = self.password.clone().unwrap_or_default();
        self.user.clone().map(|user| Credentials { user, password })
    }

    /// The same, with any password for one that is not known yet.
    fn credentials_for_check(&self) -> Option<Credentials> {
        self.credentials().map(|who| match self.lacks_password() {
            true => Credentials { password: "?".into(), ..who },
            false => who,
        })
    }

    /// What this proxy is to be asked for so that `endpoint` is reached: its name if the protocol has names, for they are
    /// the proxy's to look up; otherwise, and if the address of that name was given, an address.
    ///
    /// # Errors
    /// An endpoint that is not TCP; a name that nobody knows or a port that has no number; IPv6 in SOCKS4.
    pub fn destination(&self, endpoint: &Endpoint, given: &[SocketAddr]) -> Result<Destination, Error> {
        let wrong =
            |problem: &str| Err(Error::Config(format!("cannot reach {endpoint} through a proxy: {problem}")));
        let Place::Inet(host, port) = &endpoint.place else {
            return wrong("proxies connect to TCP ports only");
        };
        if endpoint.kind != Kind::Tcp {
            return wrong("proxies connect to TCP ports only");
        }
        let port = port.number(Kind::Tcp)?;
        let v4_only = matches!(self.method, Method::Socks4 | Method::Socks4a);
        let fit = |addresses: &[SocketAddr]| {
            addresses.iter().find(|address| address.is_ipv4() || !v4_only).copied()
        };
        let destination = match host {
            Host::Any => return wrong("`*` is for listening; name one address"),
            Host::Ip(ip, _) => Destination::Address(SocketAddr::new(*ip, port)),
            Host::Loopback => Destination::Address((Ipv4Addr::LOCALHOST, port).into()),
            Host::Name(_) if fit(given).is_some() => {
                Destination::Address(fit(given).unwrap_or((Ipv4Addr::LOCALHOST, port).into()))
            }
            Host::Name(name) if self.method == Method::Socks4 => {
                let found: Vec<SocketAddr> =
                    endpoint.resolve()?.iter().filter_map(|address| address.inet()).collect();
                let reason = || "it has no IPv4 address, and SOCKS4 knows no other".into();
                Destination::Address(
                    fit(&found).ok_or_else(|| Error::Name { name: name.clone(), reason: reason() })?,
                )
            }
            Host::Name(name) => Destination::Name(name.clone(), port),
        };
        match tunnel(self.method, &destination, self.credentials_for_check().as_ref()) {
            Ok(_) => Ok(destination),
            Err(problem) => wrong(&problem),
        }
    }

    /// Asks the proxy at the other end of `socket` for a way to `destination`. After that the socket is the way.
    ///
    /// # Errors
    /// The proxy's refusal, its silence until `until`, or what broke.
    pub fn open(
        &self,
        socket: &OwnedFd,
        destination: &Destination,
        until: Instant,
    ) -> Result<(), PreludeError> {
        use switchboard_proto::prelude::{Failure, Why};
        let mut asking = tunnel(self.method, destination, self.credentials().as_ref())
            .map_err(|words| PreludeError::Failed(Failure { why: Why::Denied, words }))?;
        carry_out(socket, &mut *asking, until)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = SCHEMES.iter().find(|(_, method)| *method == self.method).map_or("", |(name, _)| name);
        let place = self.endpoint.to_string();
        write!(f, "{scheme}://{}", place.strip_prefix("tcp:").unwrap_or(&place))
    }
}

/// Without the password.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Proxy").field(&self.to_string()).finish()
    }
}

/// RFC 3986 §2.1; None if it is not written as that says, or is no text.
fn percent_decoded(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digits = [bytes.next()?, bytes.next()?].map(|digit| char::from(digit).to_digit(16));
        let [Some(high), Some(low)] = digits else { return None };
        decoded.push((high * 16 + low) as u8);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_read_and_shown_without_their_password() {
        for (text, method, place, user, password, shown) in [
            ("http://h", Method::HttpConnect, "tcp:h:3128", None, None, "http://h:3128"),
            ("http://u:p@h:80/", Method::HttpConnect, "tcp:h:80", Some("u"), Some("p"), "http://h:80"),
            ("socks5://[::1]", Method::Socks5, "tcp:[::1]:1080", None, None, "socks5://[::1]:1080"),
            (
                "SOCKS5h://u%40b:p%3a@[::1]:9",
                Method::Socks5,
                "tcp:[::1]:9",
                Some("u@b"),
                Some("p:"),
                "socks5://[::1]:9",
            ),
            ("socks4a://me@h:9", Method::Socks4a, "tcp:h:9", Some("me"), None, "socks4a://h:9"),
            ("socks5://me@h:9", Method::Socks5, "tcp:h:9", Some("me"), None, "socks5://h:9"),
        ] {
            let proxy: Proxy = text.parse().unwrap();
            assert_eq!((proxy.method, proxy.endpoint.to_string().as_str()), (method, place), "{text}");
            assert_eq!((proxy.user.as_deref(), proxy.password.as_deref()), (user, password), "{text}");
            assert_eq!(proxy.to_string(), shown);
            assert_eq!(proxy.lacks_password(), text == "socks5://me@h:9");
        }
        for text in [
            "h:80",
            "ftp://h",
            "http://",
            "http://u@",
            "socks4://u:p@h",
            "socks5://:p@h",
            "http://a%3ab:c@h",
            "http://%4@h",
            "http://%zz@h",
            "http://h:x y",
            "http://*:7",
        ] {
            let error = text.parse::<Proxy>().unwrap_err();
            assert!(matches!(error, Error::Config(_)), "{text}: {error}");
        }
    }

    #[test]
    fn names_are_the_proxys_to_look_up() {
        let asked = |proxy: &str, endpoint: &str, given: &[SocketAddr]| {
            let proxy: Proxy = proxy.parse().unwrap();
            proxy
                .destination(&endpoint.parse().unwrap(), given)
                .map(|found| found.to_string())
                .map_err(|e| e.to_string())
        };
        assert_eq!(asked("socks5://h", "tcp:nowhere.invalid:7", &[]).unwrap(), "nowhere.invalid:7");
        assert_eq!(asked("http://h", "tcp:nowhere.invalid:echo", &[]).unwrap(), "nowhere.invalid:7");
        assert_eq!(asked("http://h", "tcp:7", &[]).unwrap(), "127.0.0.1:7");
        let given = ["[2001:db8::1]:7".parse().unwrap(), "192.0.2.1:7".parse().unwrap()];
        assert_eq!(asked("socks5://h", "tcp:nowhere.invalid:7", &given).unwrap(), "[2001:db8::1]:7");
        assert_eq!(asked("socks4://h", "tcp:nowhere.invalid:7", &given).unwrap(), "192.0.2.1:7");
        assert_eq!(asked("socks4://h", "tcp:localhost:7", &[]).unwrap(), "127.0.0.1:7");
        for (proxy, endpoint, part) in [
            ("socks4://h", "tcp:[::1]:7", "IPv6"),
            ("socks5://h", "udp:127.0.0.1:7", "TCP ports only"),
            ("socks5://h", "unix:/x", "TCP ports only"),
            ("http://h", "tcp:*:7", "one address"),
        ] {
            let error = asked(proxy, endpoint, &[]).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
