//! A certificate authority for tests, and what it issues, as files.

use crate::harness::{Scratch, unique};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// An authority with its certificate in a file.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: Scratch,
    /// Its certificate.
    pub(crate) file: String,
}

/// A certificate and its key, in files.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let directory = Scratch::new();
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, format!("authority {}", unique()));
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let file = directory.path("authority.pem");
        fs::write(&file, issuer.pem()).expect("written");
        Authority { issuer, directory, file }
    }

    /// A certificate for a host (and 127.0.0.1).
    pub(crate) fn server(&self, host: &str) -> Issued {
        let mut params = CertificateParams::new([host.to_owned()]).expect("a name");
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        params.distinguished_name.push(DnType::CommonName, host);
        self.issue(host, params)
    }

    /// A certificate for a client called `name`.
    pub(crate) fn client(&self, name: &str) -> Issued {
        self.issue(&format!("client-{name}"), client(name))
    }

    /// One that has expired long ago.
    pub(crate) fn expired(&self, name: &str) -> Issued {
        let mut params = client(name);
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        self.issue(&format!("expired-{name}"), params)
    }

    fn issue(&self, file: &str, params: CertificateParams) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let issued = Issued {
            cert: self.directory.path(&format!("{file}.pem")),
            key: self.directory.path(&format!("{file}.key")),
        };
        fs::write(&issued.cert, certificate.pem()).expect("written");
        fs::write(&issued.key, key.serialize_pem()).expect("written");
        fs::set_permissions(&issued.key, fs::Permissions::from_mode(0o600)).expect("our file");
        issued
    }

    /// A path beside the authority's files.
    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path(name)
    }
}

fn client(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names.push(SanType::URI(format!("spiffe://test/{name}").try_into().expect("ASCII")));
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params
}
