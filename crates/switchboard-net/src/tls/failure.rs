//! [`Failure`]: why a TLS session ended badly, in words for a log or a user.

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};
use std::fmt::Write as _;
use switchboard_proto::Civil;

/// Why a TLS session is over.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// The transport ended without close_notify: what was received may have been cut short by anybody.
    #[error("the connection ended without close_notify: what was received may be cut short")]
    Truncated,
    /// The transport ended before the handshake was done.
    #[error("the connection ended before the TLS handshake was done")]
    Unfinished,
    /// The peer ended the session with an alert: it did not like ours.
    #[error("the peer ended the session with the alert {0}")]
    Alert(String),
    /// The peer's certificate was not accepted.
    #[error("{0}")]
    Certificate(String),
    /// The peer sent what TLS does not allow, or nothing that both sides know was found.
    #[error("{0}")]
    Protocol(String),
    /// The handshake took more bytes than it may.
    #[error("the handshake took more than {limit} bytes")]
    Budget {
        /// The limit, bytes.
        limit: usize,
    },
    /// The handshake took longer than it may.
    #[error("the handshake took longer than {limit_ms} ms")]
    Late {
        /// The limit, milliseconds.
        limit_ms: u64,
    },
    /// The session had failed before.
    #[error("the TLS session is over")]
    Over,
}

impl Failure {
    /// What rustls says, in plain words where its own are for programmers.
    pub(crate) fn from_rustls(error: Error) -> Failure {
        match error {
            Error::AlertReceived(alert) => Failure::Alert(alert_name(alert)),
            Error::NoCertificatesPresented => Failure::Certificate("the peer sent no certificate".into()),
            Error::InvalidCertificate(error) => Failure::Certificate(certificate(&error)),
            Error::PeerIncompatible(what) => Failure::Protocol(incompatible(&what)),
            Error::NoApplicationProtocol => Failure::Protocol(
                "none of the application protocols (ALPN) that the peer offers is served".into(),
            ),
            other => Failure::Protocol(other.to_string()),
        }
    }

    /// The same for the first bytes of all: whoever sends something else than TLS is told so.
    pub(crate) fn at_start(error: Error, first: &[u8]) -> Failure {
        match error {
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge
                | InvalidMessage::InvalidEmptyPayload,
            ) => Failure::Protocol(format!(
                "the peer does not speak TLS: it began with {}",
                first.escape_ascii()
            )),
            other => Failure::from_rustls(other),
        }
    }

    /// One word for logs and counters: the end of a connection.
    pub fn name(&self) -> &'static str {
        match self {
            Failure::Truncated => "truncated",
            Failure::Unfinished => "unfinished",
            Failure::Alert(_) => "alert",
            Failure::Certificate(_) => "certificate",
            Failure::Protocol(_) => "protocol",
            Failure::Budget { .. } => "budget",
            Failure::Late { .. } => "late",
            Failure::Over => "over",
        }
    }
}

/// The alert's name as in RFC 8446 §6, with what it usually means where the name does not say it.
fn alert_name(alert: AlertDescription) -> String {
    let mut name = String::new();
    for (i, c) in format!("{alert:?}").chars().enumerate() {
        if c.is_ascii_uppercase() && i > 0 && !name.ends_with(|last: char| last.is_ascii_uppercase()) {
            name.push('_');
        }
        name.push(c);
    }
    let mut name = name.to_ascii_lowercase();
    let meaning = match alert {
        AlertDescription::UnknownCA => "it does not trust who issued our certificate",
        AlertDescription::CertificateRequired => "it wants a certificate of ours",
        AlertDescription::BadCertificate => "it could not use our certificate",
        AlertDescription::CertificateExpired => "our certificate has expired",
        AlertDescription::CertificateUnknown => "it did not accept our certificate",
        AlertDescription::HandshakeFailure => "no version, suite or key exchange that both sides know",
        AlertDescription::ProtocolVersion => "no TLS version that both sides know",
        AlertDescription::UnrecognisedName => "it serves no such name",
        AlertDescription::NoApplicationProtocol => "no application protocol (ALPN) that both sides know",
        _ => return name,
    };
    let _ = write!(name, " ({meaning})");
    name
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "the certificate of the peer is issued by nobody who is trusted here".into()
        }
        CertificateError::Expired => "the certificate of the peer has expired".into(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate of the peer has expired, on {}", date(*not_after))
        }
        CertificateError::NotValidYet => "the certificate of the peer is not valid yet".into(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the certificate of the peer is not valid yet, but from {} on", date(*not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            let names = if names.is_empty() { "nobody".into() } else { names.join(", ") };
            format!("the certificate of the peer is for {names}, and not for {}", expected.to_str())
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the certificate of the peer is not meant for this side of a connection (extended key usage)"
                .into()
        }
        CertificateError::Revoked => "the certificate of the peer was revoked".into(),
        CertificateError::BadEncoding => "the certificate of the peer cannot be read".into(),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the signature of the certificate of the peer is of a kind that is not known here, or does not fit the key \
             of who is said to have issued it: another authority of the same name?"
                .into()
        }
        CertificateError::BadSignature => "the certificate of the peer has a wrong signature".into(),
        CertificateError::Other(error) if error.to_string().contains("CaUsedAsEndEntity") => {
            "the certificate of the peer is that of an authority (CA:TRUE, as `openssl req -x509` makes it), which is no \
             server's or client's own: make it with `-addext basicConstraints=critical,CA:FALSE`, or both with \
             `switchboard cert dev NAME`"
                .into()
        }
        // What remains has context that rustls puts well: the names that were expected and found.
        other => format!("the certificate of the peer is not accepted: {other}"),
    }
}

fn date(time: UnixTime) -> String {
    let civil = Civil::from_unix(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    format!("{}-{:02}-{:02}", civil.year, civil.month, civil.day)
}

/// A name of a certificate without what rustls puts around it: `DnsName("host")`, `IpAddress(192.0.2.1)`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.map_or(name, |inner| inner.trim_matches('"'))
}

fn incompatible(what: &PeerIncompatible) -> String {
    let text = match what {
        PeerIncompatible::NoCipherSuitesInCommon => "no cipher suite that both sides know",
        PeerIncompatible::NoKxGroupsInCommon => "no key exchange that both sides know",
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            "no kind of signature that both sides know"
        }
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::Tls13RequiredForQuic
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => "no TLS version that both sides know",
        PeerIncompatible::ExtendedMasterSecretExtensionRequired => {
            "the peer lacks the extended master secret (RFC 7627)"
        }
        other => return format!("nothing that both sides know: {other:?}"),
    };
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_have_the_names_of_the_rfc() {
        for (alert, name) in [
            (AlertDescription::UnknownCA, "unknown_ca (it does not trust who issued our certificate)"),
            (AlertDescription::BadRecordMac, "bad_record_mac"),
            (AlertDescription::UserCanceled, "user_canceled"),
        ] {
            assert_eq!(alert_name(alert), name);
        }
    }

    #[test]
    fn what_is_not_tls_is_shown() {
        let failure =
            Failure::at_start(Error::InvalidMessage(InvalidMessage::InvalidContentType), b"GET / HT");
        assert_eq!(failure.to_string(), "the peer does not speak TLS: it began with GET / HT");
    }
}
