//! [`Facts`]: what two sides agreed on, and who the peer is.

use super::Certificate;
use rustls::{Connection, HandshakeKind, ProtocolVersion, SupportedCipherSuite};

/// What is known of a session once its handshake is done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite by its IANA name: `TLS_AES_128_GCM_SHA256`, `TLS_ECDHE_RSA_WITH_…`.
    pub suite: String,
    /// Length of the cipher's key, bits.
    pub key_bits: u16,
    /// How the key was agreed on: `X25519`, `X25519MLKEM768`, `secp256r1`; nothing when a session was resumed.
    pub group: Option<String>,
    /// The application protocol, if one was agreed on. Bytes chosen by us and offered by the peer.
    pub alpn: Option<Vec<u8>>,
    /// The name that the client asked for; nothing on the client's side.
    pub server_name: Option<String>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The peer's own certificate, if it sent one. It was verified, unless the client was told not to.
    pub peer: Option<Certificate>,
    /// The peer's certificates as they came, its own first, in DER.
    pub peer_chain: Vec<Vec<u8>>,
}

impl Facts {
    pub(super) fn of(connection: &Connection) -> Facts {
        let suite = connection.negotiated_cipher_suite();
        let chain = connection.peer_certificates().unwrap_or_default();
        Facts {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "unknown",
            },
            suite: suite.map(suite_name).unwrap_or_default(),
            key_bits: suite.map_or(0, |suite| if suite_name(suite).contains("AES_128") { 128 } else { 256 }),
            group: connection.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name())),
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            server_name: match connection {
                Connection::Server(server) => server.server_name().map(str::to_owned),
                Connection::Client(_) => None,
            },
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            peer: chain.first().and_then(|own| Certificate::parse(own)),
            peer_chain: chain.iter().map(|der| der.to_vec()).collect(),
        }
    }
}

/// rustls calls the suites of TLS 1.3 `TLS13_AES_…`; IANA, and every other tool, `TLS_AES_…`.
fn suite_name(suite: SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
}
