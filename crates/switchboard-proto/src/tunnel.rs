//! A way through a proxy: HTTP `CONNECT` (RFC 9110 §9.3.6), SOCKS4, SOCKS4a, SOCKS5 (RFC 1928) with user name and
//! password (RFC 1929).
//!
//! ```text
//!   we ──▶ the destination, perhaps who we are ──▶ proxy ──▶ destination
//!   we ◀── granted, or why not ────────────────── proxy
//!   we ◀═══════════════ the conversation ═══════════════▶ destination
//! ```
//! SOCKS4 knows IPv4 addresses only; the others take names, and the proxy looks them up.

mod http_connect;
mod socks4;
mod socks5;

use crate::prelude::Prelude;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

/// Bytes of the longest name that a proxy can be asked for: its length is one byte in SOCKS5, and DNS allows fewer.
pub const LONGEST_NAME: usize = 255;
/// Bytes of the longest user name or password: their lengths are one byte each (RFC 1929).
pub const LONGEST_CREDENTIAL: usize = 255;

/// How a proxy is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// HTTP's method `CONNECT`.
    HttpConnect,
    /// SOCKS 4: an IPv4 address.
    Socks4,
    /// SOCKS 4A: an IPv4 address or a name.
    Socks4a,
    /// SOCKS 5: an address or a name.
    Socks5,
}

/// Where the proxy is to connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Destination {
    /// A name, which the proxy looks up, and a port.
    Name(String, u16),
    /// An address and a port.
    Address(SocketAddr),
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    /// The user's name; for SOCKS4 all there is.
    pub user: String,
    /// The password; may be empty.
    pub password: String,
}

/// Our side of asking a proxy for a way to `destination`.
///
/// # Errors
/// What cannot be said in this protocol, in words: a name that is too long or none, IPv6 in SOCKS4, a colon in a
/// user name of HTTP.
pub fn tunnel(
    method: Method,
    destination: &Destination,
    credentials: Option<&Credentials>,
) -> Result<Box<dyn Prelude + Send>, String> {
    destination.check()?;
    if let Some(who) = credentials {
        who.check(method)?;
    }
    Ok(match method {
        Method::HttpConnect => Box::new(http_connect::HttpConnect::new(destination, credentials)),
        Method::Socks4 | Method::Socks4a => {
            Box::new(socks4::Socks4::new(method == Method::Socks4a, destination, credentials)?)
        }
        Method::Socks5 => Box::new(socks5::Socks5::new(destination, credentials)),
    })
}

impl Destination {
    fn check(&self) -> Result<(), String> {
        let Destination::Name(name, _) = self else { return Ok(()) };
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(format!("a proxy takes names of 1 to {LONGEST_NAME} bytes; this has {}", name.len()));
        }
        match name.bytes().find(|byte| !byte.is_ascii_graphic() || b":/@[]?#".contains(byte)) {
            Some(byte) => Err(format!("a host's name has no `{}`", byte.escape_ascii())),
            None => Ok(()),
        }
    }

    fn port(&self) -> u16 {
        match self {
            Destination::Name(_, port) => *port,
            Destination::Address(address) => address.port(),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Name(name, port) => write!(f, "{name}:{port}"),
            // Without the zone of a link-local address: it is ours, and means nothing to the proxy.
            Destination::Address(address) => match address.ip() {
                IpAddr::V6(ip) => write!(f, "[{ip}]:{}", address.port()),
                IpAddr::V4(ip) => write!(f, "{ip}:{}", address.port()),
            },
        }
    }
}

impl Credentials {
    fn check(&self, method: Method) -> Result<(), String> {
        for (what, text) in [("user name", &self.user), ("password", &self.password)] {
            if text.len() > LONGEST_CREDENTIAL {
                return Err(format!("a {what} for a proxy has up to {LONGEST_CREDENTIAL} bytes"));
            }
        }
        match method {
            // RFC 7617 §2: the first colon ends the user's name.
            Method::HttpConnect if self.user.contains(':') => Err("a user name for HTTP has no colon".into()),
            Method::HttpConnect
                if [&self.user, &self.password].iter().any(|text| text.contains(char::is_control)) =>
            {
                Err("credentials for HTTP have no control characters".into())
            }
            Method::Socks4 | Method::Socks4a if self.user.contains('\0') => {
                Err("a user name for SOCKS4 has no NUL".into())
            }
            Method::Socks4 | Method::Socks4a if !self.password.is_empty() => {
                Err("SOCKS4 knows no passwords: leave it out, or use socks5".into())
            }
            // RFC 1929 §2: 1 to 255 bytes each.
            Method::Socks5 if self.user.is_empty() => Err("SOCKS5 wants a user name with a password".into()),
            Method::Socks5 if self.password.is_empty() => {
                Err("SOCKS5 wants a password with a user name".into())
            }
            _ => Ok(()),
        }
    }
}
