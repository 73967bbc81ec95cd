//! [`Certificate`]: what a log, a user or a program wants to know of an X.509 certificate (RFC 5280). Whether it is
//! to be believed is rustls' business and was decided before, except where the user said that nothing is verified.

use der::Der;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use switchboard_proto::Civil;

mod der;
mod name;

/// Names in one certificate that are kept; a certificate is as long as its holder likes.
const NAMES: usize = 64;

/// A certificate, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// Whom it is for, as a distinguished name (RFC 4514: `CN=host,O=Firm`). Often empty today.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// Its number, in hexadecimal digits.
    pub serial: String,
    /// From when it is valid, seconds since 1970.
    pub not_before_unix_s: i64,
    /// Until when it is valid, seconds since 1970.
    pub not_after_unix_s: i64,
    /// Whom it is for, as names that mean something to machines. At most 64 are kept.
    pub sans: Vec<San>,
}

/// A subject alternative name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum San {
    /// A host's name, or `*.domain`.
    Dns(String),
    /// An address.
    Ip(IpAddr),
    /// A mail address.
    Email(String),
    /// A URI, as SPIFFE uses them.
    Uri(String),
}

impl fmt::Display for San {
    /// As OpenSSL prints it: `DNS:host`, `IP:192.0.2.1`, `email:…`, `URI:…`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            San::Dns(name) => write!(f, "DNS:{name}"),
            San::Ip(address) => write!(f, "IP:{address}"),
            San::Email(address) => write!(f, "email:{address}"),
            San::Uri(uri) => write!(f, "URI:{uri}"),
        }
    }
}

impl Certificate {
    /// Reads DER; nothing if it is no certificate. Bytes of names that are not ASCII come through as they are in
    /// UTF-8, control characters too: who prints them must escape them.
    pub fn parse(der: &[u8]) -> Option<Certificate> {
        let mut certificate = Der(der).sequence()?;
        let mut tbs = certificate.sequence()?;
        tbs.skip(der::VERSION);
        let serial = tbs.take(der::INTEGER)?;
        tbs.sequence()?;
        let issuer = tbs.sequence()?;
        let mut validity = tbs.sequence()?;
        let (not_before_unix_s, not_after_unix_s) = (validity.time()?, validity.time()?);
        let subject = tbs.sequence()?;
        tbs.sequence()?;
        tbs.skip(der::ISSUER_ID);
        tbs.skip(der::SUBJECT_ID);
        let extensions = tbs.take(der::EXTENSIONS);
        Some(Certificate {
            subject: name::text(subject)?,
            issuer: name::text(issuer)?,
            serial: serial.iter().map(|byte| format!("{byte:02X}")).collect(),
            not_before_unix_s,
            not_after_unix_s,
            sans: match extensions {
                Some(extensions) => names(Der(extensions).sequence()?)?,
                None => Vec::new(),
            },
        })
    }

    /// The name to call it by: the first alternative name, else the subject.
    pub fn name(&self) -> String {
        match self.sans.first() {
            Some(san) => san.to_string(),
            None if self.subject.is_empty() => "nobody".into(),
            None => self.subject.clone(),
        }
    }

    /// First day of validity, `2026-01-31`.
    pub fn not_before(&self) -> String {
        day(self.not_before_unix_s)
    }

    /// Last day of validity.
    pub fn not_after(&self) -> String {
        day(self.not_after_unix_s)
    }
}

fn day(unix_s: i64) -> String {
    let civil = Civil::from_unix(unix_s);
    format!("{}-{:02}-{:02}", civil.year, civil.month, civil.day)
}

/// The alternative names among the extensions (RFC 5280 §4.2.1.6).
fn names(mut extensions: Der<'_>) -> Option<Vec<San>> {
    const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
    let mut found = Vec::new();
    while !extensions.is_empty() {
        let mut extension = extensions.sequence()?;
        let id = extension.take(der::OBJECT_ID)?;
        extension.skip(der::BOOLEAN);
        let value = extension.take(der::OCTETS)?;
        if id != SUBJECT_ALT_NAME {
            continue;
        }
        let mut names = Der(value).sequence()?;
        while !names.is_empty() && found.len() < NAMES {
            let (tag, value) = names.next()?;
            let text = || std::str::from_utf8(value).ok().map(str::to_owned);
            // rfc822Name, dNSName, uniformResourceIdentifier, iPAddress; the others have no short text.
            found.extend(match tag {
                0x81 => text().map(San::Email),
                0x82 => text().map(San::Dns),
                0x86 => text().map(San::Uri),
                0x87 => address(value).map(San::Ip),
                _ => None,
            });
        }
    }
    Some(found)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(|four| IpAddr::V4(Ipv4Addr::from(four)))
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(|sixteen| IpAddr::V6(Ipv6Addr::from(sixteen))))
        .ok()
}
