//! [`Identity`]: a certificate with its key, as read from PEM files. Errors name the file and what was expected of
//! it; what will work and is not wise is a warning.

use super::{Certificate, provider};
use crate::error::Error;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

/// The longest file of certificates or keys that is read, bytes; a system's whole collection has about 220 KiB.
const LONGEST: u64 = 4 * 1024 * 1024;
/// Nobody but the owner and perhaps a group should read a key.
const OTHERS: u32 = 0o007;

/// A certificate chain with the key of its first certificate.
#[derive(Clone, Debug)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    certificate: Certificate,
    warnings: Vec<String>,
}

/// A key belongs to its certificate: where that is the same, so is the key.
impl PartialEq for Identity {
    fn eq(&self, other: &Identity) -> bool {
        self.certified.cert == other.certified.cert
    }
}

impl Identity {
    /// Reads a certificate, with those that lead to its authority behind it, and its key. Both may be in one
    /// file. `now_unix_s` is the date, for warnings of certificates that are not valid.
    ///
    /// # Errors
    /// A file that cannot be read or holds something else, a key that is not the certificate's.
    pub fn read(certificate: &Path, key: &Path, now_unix_s: i64) -> Result<Identity, Error> {
        let chain_pem = read(certificate, CERTIFICATE)?;
        let mut warnings = Vec::new();
        let key_pem = read(key, KEY)?;
        if let Ok(metadata) = fs::metadata(key)
            && metadata.mode() & OTHERS != 0
        {
            warnings.push(format!(
                "{KEY} {} can be read or changed by everybody (mode {:04o}): chmod o= {}",
                key.display(),
                metadata.mode() & 0o7777,
                key.display()
            ));
        }
        Identity::parse(&chain_pem, certificate, &key_pem, key, now_unix_s, warnings)
    }

    fn parse(
        chain_pem: &[u8],
        chain_path: &Path,
        key_pem: &[u8],
        key_path: &Path,
        now_unix_s: i64,
        mut warnings: Vec<String>,
    ) -> Result<Identity, Error> {
        let chain = certificates(chain_pem, chain_path, CERTIFICATE)?;
        let key = private_key(key_pem, key_path)?;
        let own = Certificate::parse(&chain[0]).ok_or_else(|| {
            Error::Config(format!(
                "{CERTIFICATE} {}: its first certificate cannot be read",
                chain_path.display()
            ))
        })?;
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
            Error::Config(match error {
                rustls::Error::InconsistentKeys(_) => format!(
                    "{KEY} {} is not the key of the certificate in {} ({}); the certificate itself must come \
                     first in its file, before those of its authorities",
                    key_path.display(),
                    chain_path.display(),
                    own.name()
                ),
                other => format!("{KEY} {} cannot be used: {other}", key_path.display()),
            })
        })?;
        let path = chain_path.display();
        if own.not_after_unix_s < now_unix_s {
            warnings.push(format!("{CERTIFICATE} {path} expired on {}: clients refuse it", own.not_after()));
        } else if own.not_before_unix_s > now_unix_s {
            warnings.push(format!(
                "{CERTIFICATE} {path} is valid from {} on: clients refuse it",
                own.not_before()
            ));
        }
        if own.sans.is_empty() {
            warnings.push(format!(
                "{CERTIFICATE} {path} names nobody (no subject alternative name): clients refuse it"
            ));
        }
        Ok(Identity { certified: Arc::new(certified), certificate: own, warnings })
    }

    /// Chain and key as rustls wants them; [`rustls::sign::SingleCertAndKey`] makes a resolver of them, for either
    /// side.
    pub fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// The certificate itself.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// What works and is not wise: a key that everybody may read, a certificate that clients refuse.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

const CERTIFICATE: &str = "certificate file";
const KEY: &str = "key file";

/// A small file as a whole; `what` it is, for the error.
pub(super) fn read(path: &Path, what: &str) -> Result<Vec<u8>, Error> {
    let failed = |error| Error::system(format!("read {what} {}", path.display()), error);
    let mut file = fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    (&mut file).take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LONGEST {
        return Err(Error::Config(format!("{what} {}: longer than {LONGEST} bytes", path.display())));
    }
    Ok(bytes)
}

/// All certificates of a PEM file; at least one.
pub(super) fn certificates(
    pem: &[u8],
    path: &Path,
    what: &str,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(Error::Config(format!(
            "{what} {}: no certificate in it, expected PEM with `-----BEGIN CERTIFICATE-----`; {}",
            path.display(),
            instead(pem, "x509")
        ))),
        Err(error) => Err(broken(what, path, &error)),
    }
}

fn private_key(pem: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        Err(PemError::NoItemsFound) => Err(Error::Config(format!(
            "{KEY} {}: no private key in it, expected PEM with `-----BEGIN PRIVATE KEY-----` (or RSA, or EC \
             PRIVATE KEY); {}",
            path.display(),
            instead(pem, "pkey")
        ))),
        Err(error) => Err(broken(KEY, path, &error)),
    }
}

fn broken(what: &str, path: &Path, error: &PemError) -> Error {
    Error::Config(format!("{what} {}: the PEM in it is broken: {error}", path.display()))
}

/// What a file holds that does not hold what was expected, and what would help.
fn instead(pem: &[u8], verb: &str) -> String {
    let text = String::from_utf8_lossy(pem);
    if pem.is_empty() {
        return "it is empty".into();
    }
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return "it holds a key with a passphrase: take it off with `openssl pkey -in OLD -out NEW`".into();
    }
    let label = text.lines().find_map(|line| line.strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
    match label {
        Some(label) => format!("it holds a {}", label.to_lowercase()),
        None if pem[0] == 0x30 => format!("it looks like DER: convert it with `openssl {verb} -inform der`"),
        None => "it holds no PEM at all".into(),
    }
}
