//! [`Authority`]: somebody who vouches for names on one machine, for tests and development.

use super::Certificate;
use crate::error::Error;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::IpAddr;
use switchboard_proto::Civil;

/// Years that an authority lasts.
const YEARS: i64 = 10;
const DAY_S: i64 = 86_400;
/// The first words of an authority's name.
const NAME: &str = "switchboard development authority";

/// Somebody who vouches for names.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, as PEM.
pub struct Certified {
    /// The certificate.
    pub certificate: String,
    /// Its key (PKCS #8); whoever has it is whom the certificate names.
    pub key: String,
}

impl Authority {
    /// A new one; `whose` says for whom, in its name. Its key is returned with its certificate.
    ///
    /// # Errors
    /// The cryptography refuses.
    pub fn make(whose: &str, now_unix_s: i64) -> Result<(Authority, Certified), Error> {
        let key = KeyPair::generate().map_err(|error| wrong(&error))?;
        let mut params = named(&format!("{NAME} of {whose}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, now_unix_s, YEARS * 365);
        let certificate = params.self_signed(&key).map_err(|error| wrong(&error))?;
        let made = Certified { certificate: certificate.pem(), key: key.serialize_pem() };
        Ok((Authority { issuer: Issuer::new(params, key), pem: made.certificate.clone() }, made))
    }

    /// One that was made earlier, from its certificate and key.
    ///
    /// # Errors
    /// Files that were not made here, or that do not belong together.
    pub fn read(certificate: &str, key: &str) -> Result<Authority, Error> {
        let foreign = || Error::Config("this is no authority that was made here".into());
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|_| foreign())?;
        let own = Certificate::parse(&der).ok_or_else(foreign)?;
        let name =
            own.subject.strip_prefix("CN=").filter(|name| name.starts_with(NAME)).ok_or_else(foreign)?;
        let key = KeyPair::from_pem(key).map_err(|error| wrong(&error))?;
        // A key that is not this certificate's would sign what nobody believes.
        if !der.windows(key.public_key_raw().len()).any(|bytes| bytes == key.public_key_raw()) {
            return Err(Error::Config("the authority's key is not that of its certificate".into()));
        }
        Ok(Authority { issuer: Issuer::new(named(name), key), pem: certificate.to_owned() })
    }

    /// Its certificate as PEM: for those who are to believe it.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these names, for both sides of a connection. A name is that of a host, `*.domain`, an address, a
    /// mail address or a URI. The first is also the common name.
    ///
    /// # Errors
    /// What can be no name.
    pub fn certify(&self, names: &[String], now_unix_s: i64, days: u32) -> Result<Certified, Error> {
        let mut params = named(names.first().map_or("nobody", String::as_str));
        params.subject_alt_names = names.iter().map(|name| san(name)).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now_unix_s, i64::from(days));
        let key = KeyPair::generate().map_err(|error| wrong(&error))?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(|error| wrong(&error))?;
        Ok(Certified { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// From the beginning of yesterday, for clocks that are slow, to that of the day after the last.
fn set_validity(params: &mut CertificateParams, now_unix_s: i64, days: i64) {
    let date = |unix_s| {
        let Civil { year, month, day, .. } = Civil::from_unix(unix_s);
        date_time_ymd(i32::try_from(year).unwrap_or(i32::MAX).min(9999), month, day)
    };
    params.not_before = date(now_unix_s - DAY_S);
    params.not_after = date(now_unix_s + (days + 1) * DAY_S);
}

fn san(name: &str) -> Result<SanType, Error> {
    let shown = name.escape_default();
    let no_name = || Error::Config(format!("`{shown}` is no name for a certificate"));
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(ip));
    }
    let text = || name.try_into().map_err(|_| no_name());
    if name.contains("://") {
        return Ok(SanType::URI(text()?));
    }
    if let Some((user, host)) = name.split_once('@') {
        return if user.is_empty() || !is_host(host) {
            Err(no_name())
        } else {
            Ok(SanType::Rfc822Name(text()?))
        };
    }
    match is_host(name.strip_prefix("*.").unwrap_or(name)) {
        true => Ok(SanType::DnsName(text()?)),
        false => Err(no_name()),
    }
}

/// RFC 1123 §2.1, and underscores.
fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn wrong(error: &rcgen::Error) -> Error {
    Error::Config(format!("no certificate can be made: {error}"))
}
