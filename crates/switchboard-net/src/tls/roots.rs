//! [`Roots`]: whose certificates are trusted: the system's authorities, or those of a file.

use super::identity::{certificates, read};
use crate::error::Error;
use rustls::RootCertStore;
use std::path::Path;
use std::sync::Arc;

/// Authorities that are trusted.
#[derive(Clone, Debug)]
pub struct Roots {
    store: Arc<RootCertStore>,
}

/// Whether the same authorities are trusted, in the same order.
impl PartialEq for Roots {
    fn eq(&self, other: &Roots) -> bool {
        self.store.roots == other.store.roots
    }
}

impl Roots {
    /// Those that the system trusts: the files that OpenSSL reads here, or what `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` say. A certificate that cannot be used is left out, as every client does.
    ///
    /// # Errors
    /// None was found.
    pub fn system() -> Result<Roots, Error> {
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        let (used, _) = store.add_parsable_certificates(found.certs);
        if used == 0 {
            let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
            return Err(Error::Config(format!(
                "this system trusts no certificate authority{why}: install ca-certificates, or name a file of \
                 authorities"
            )));
        }
        Ok(Roots { store: Arc::new(store) })
    }

    /// Those of a PEM file, and no others.
    ///
    /// # Errors
    /// The file cannot be read, or holds no certificate that can be used; the file is named.
    pub fn file(path: &Path) -> Result<Roots, Error> {
        let what = "file of authorities";
        let found = certificates(&read(path, what)?, path, what)?;
        let mut store = RootCertStore::empty();
        for (at, certificate) in found.into_iter().enumerate() {
            store.add(certificate).map_err(|error| {
                Error::Config(format!(
                    "{what} {}: certificate number {} cannot be used as an authority: {error}",
                    path.display(),
                    at + 1
                ))
            })?;
        }
        Ok(Roots { store: Arc::new(store) })
    }

    /// As rustls wants them.
    pub fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.store)
    }
}
