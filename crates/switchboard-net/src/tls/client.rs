//! [`Client`]: what a client needs to speak TLS: whom it trusts, who it is, and what it wants to speak.

use super::{Codec, Failure, HANDSHAKE_BYTES, Identity, Roots, Version, provider};
use crate::error::Error;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::sync::Arc;

/// How a client speaks TLS.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// Who may vouch for the server; `None`: anybody, and nothing is verified.
    pub roots: Option<Roots>,
    /// Who we are, if the server asks.
    pub identity: Option<Identity>,
    /// Application protocols, the best first.
    pub alpn: Vec<Vec<u8>>,
    /// The oldest and the newest version.
    pub versions: (Version, Version),
}

/// Ready to speak TLS as a client; shared by all its connections.
#[derive(Clone, Debug)]
pub struct Client(Arc<ClientConfig>);

impl Client {
    /// Checks what is wished.
    ///
    /// # Errors
    /// No version; authorities that cannot be used.
    pub fn new(wishes: Wishes) -> Result<Client, Error> {
        let wrong = |error: &dyn std::fmt::Display| Error::Config(format!("TLS cannot be set up: {error}"));
        let provider = provider();
        let versions = Version::range(wishes.versions.0, wishes.versions.1);
        if versions.is_empty() {
            return Err(Error::Config(
                "no version of TLS is left: the oldest is newer than the newest".into(),
            ));
        }
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(|error| wrong(&error))?;
        let builder = match wishes.roots {
            Some(roots) => {
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(roots.store(), Arc::clone(&provider));
                builder.with_webpki_verifier(verifier.build().map_err(|error| wrong(&error))?)
            }
            None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Credulous(provider))),
        };
        let mut config = match wishes.identity {
            Some(identity) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = wishes.alpn;
        Ok(Client(Arc::new(config)))
    }

    /// The same, with a memory of its own: one that keeps the sessions of one server, which are resumed, or none, so
    /// that every handshake is a full one.
    #[must_use]
    pub fn remembering(&self, remembers: bool) -> Client {
        let mut config = ClientConfig::clone(&self.0);
        config.resumption =
            if remembers { Resumption::in_memory_sessions(1) } else { Resumption::disabled() };
        Client(Arc::new(config))
    }

    /// A session with the server of this name, or address: the one that its certificate must have.
    ///
    /// # Errors
    /// What is no name of a server.
    pub fn codec(&self, name: &str) -> Result<Codec, Error> {
        let wrong =
            || Error::Config(format!("`{}` is no name that a certificate could have", name.escape_default()));
        let name = ServerName::try_from(name.to_owned()).map_err(|_| wrong())?;
        let unusable = |failure: Failure| Error::Config(format!("TLS cannot be set up: {failure}"));
        Codec::client(Arc::clone(&self.0), name, HANDSHAKE_BYTES).map_err(unusable)
    }
}

/// Believes every certificate. That its holder has its key is still checked: only this makes what is told about the
/// certificate true.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
