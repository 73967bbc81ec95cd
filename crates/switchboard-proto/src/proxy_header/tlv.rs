//! Extras of version 2: type, length, value, one after the other, behind the addresses.

use super::crc32c::crc32c;
use super::{MAX_UNIQUE_ID, MAX_V2, Malformed, Unencodable};
use alloc::boxed::Box;
use alloc::vec::Vec;

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const NOOP: u8 = 0x04;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
const NETNS: u8 = 0x30;
/// Type and length.
const HEAD: usize = 3;
/// The checksum's type, length and value.
const CRC_LENGTH: usize = HEAD + 4;
/// Flags and the result of verification, before the parts of [`SSL`].
const SSL_HEAD: usize = 5;

/// What a proxy said beside addresses. Values are bytes as they came, chosen by whoever is before the proxy: escape
/// them, and expect no form.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Extras {
    /// The application protocol that was agreed on (`PP2_TYPE_ALPN`): `h2`.
    pub alpn: Option<Box<[u8]>>,
    /// The name the client asked for (`PP2_TYPE_AUTHORITY`): the SNI of TLS.
    pub authority: Option<Box<[u8]>>,
    /// Names the connection, in the proxy's log and in others (`PP2_TYPE_UNIQUE_ID`); at most [`MAX_UNIQUE_ID`] bytes.
    pub unique_id: Option<Box<[u8]>>,
    /// The client talks TLS to the proxy (`PP2_TYPE_SSL`).
    pub ssl: Option<Box<Ssl>>,
    /// The network namespace that the proxy took the connection in (`PP2_TYPE_NETNS`).
    pub netns: Option<Box<[u8]>>,
    /// Types without a meaning here: `0xE0` to `0xEF` are the proxies' own. In their order.
    pub others: Vec<Tlv>,
    /// There was a checksum, and it was right; or one is to be written (`PP2_TYPE_CRC32C`).
    pub crc32c: bool,
}

/// The client's TLS, as the proxy saw it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ssl {
    /// The client speaks TLS (`PP2_CLIENT_SSL`).
    pub connected: bool,
    /// Whether he showed a certificate.
    pub certificate: Certificate,
    /// What verifying the certificate came to: 0 is a success, or that there is none.
    pub verify: u32,
    /// `TLSv1.3`.
    pub version: Option<Box<[u8]>>,
    /// The common name of the client's certificate.
    pub common_name: Option<Box<[u8]>>,
    /// The cipher suite.
    pub cipher: Option<Box<[u8]>>,
    /// How the certificate is signed: `SHA256`.
    pub signature_algorithm: Option<Box<[u8]>>,
    /// What its key is: `RSA2048`.
    pub key_algorithm: Option<Box<[u8]>>,
    /// The key exchange group: `secp256r1`.
    pub group: Option<Box<[u8]>>,
    /// How the server's certificate was used to sign: `rsa_pss_rsae_sha256`.
    pub signature_scheme: Option<Box<[u8]>>,
    /// The client's certificate itself, DER.
    pub client_certificate: Option<Box<[u8]>>,
    /// Parts without a meaning here, in their order.
    pub others: Vec<Tlv>,
}

/// When a client showed a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Certificate {
    /// On this connection (`PP2_CLIENT_CERT_CONN`).
    pub connection: bool,
    /// In the TLS session at least once, maybe on an earlier connection (`PP2_CLIENT_CERT_SESS`).
    pub session: bool,
}

/// A type without a meaning here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tlv {
    /// The type's number.
    pub kind: u8,
    /// What it says.
    pub value: Box<[u8]>,
}

impl Extras {
    fn slot(&mut self, kind: u8) -> Option<&mut Option<Box<[u8]>>> {
        Some(match kind {
            ALPN => &mut self.alpn,
            AUTHORITY => &mut self.authority,
            UNIQUE_ID => &mut self.unique_id,
            NETNS => &mut self.netns,
            _ => return None,
        })
    }
}

impl Ssl {
    fn slot(&mut self, kind: u8) -> Option<&mut Option<Box<[u8]>>> {
        Some(match kind {
            0x21 => &mut self.version,
            0x22 => &mut self.common_name,
            0x23 => &mut self.cipher,
            0x24 => &mut self.signature_algorithm,
            0x25 => &mut self.key_algorithm,
            0x26 => &mut self.group,
            0x27 => &mut self.signature_scheme,
            0x28 => &mut self.client_certificate,
            _ => return None,
        })
    }

    fn parts(&self) -> [(u8, &Option<Box<[u8]>>); 8] {
        [
            (0x21, &self.version),
            (0x22, &self.common_name),
            (0x23, &self.cipher),
            (0x24, &self.signature_algorithm),
            (0x25, &self.key_algorithm),
            (0x26, &self.group),
            (0x27, &self.signature_scheme),
            (0x28, &self.client_certificate),
        ]
    }
}

/// Type, value and offset of each of the extras that begin at `at`.
fn each(whole: &[u8], mut at: usize) -> impl Iterator<Item = Result<(u8, &[u8], usize), Malformed>> {
    core::iter::from_fn(move || {
        let start = at;
        let rest = whole.get(start..).filter(|rest| !rest.is_empty())?;
        let value = match *rest {
            [kind, high, low, ref rest @ ..] => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                rest.get(..length).map(|value| (kind, value, start))
            }
            _ => None,
        };
        at = match value {
            Some((_, value, _)) => start + HEAD + value.len(),
            None => whole.len(),
        };
        Some(value.ok_or(Malformed::Cut(start)))
    })
}

fn put(slot: &mut Option<Box<[u8]>>, kind: u8, value: &[u8]) -> Result<(), Malformed> {
    match slot.replace(Box::from(value)) {
        None => Ok(()),
        Some(_) => Err(Malformed::Twice(kind)),
    }
}

/// Reads the extras of a `whole` header that begin at `at`.
pub(super) fn read(whole: &[u8], at: usize) -> Result<Extras, Malformed> {
    let mut extras = Extras::default();
    for extra in each(whole, at) {
        let (kind, value, at) = extra?;
        match kind {
            CRC32C if extras.crc32c => return Err(Malformed::Twice(kind)),
            CRC32C => {
                check(whole, at, value)?;
                extras.crc32c = true;
            }
            NOOP => {}
            SSL if extras.ssl.is_some() => return Err(Malformed::Twice(kind)),
            SSL => extras.ssl = Some(Box::new(read_ssl(whole, value.len(), at)?)),
            UNIQUE_ID if value.len() > MAX_UNIQUE_ID => return Err(Malformed::Length(kind)),
            _ => match extras.slot(kind) {
                Some(slot) => put(slot, kind, value)?,
                None => extras.others.push(Tlv { kind, value: Box::from(value) }),
            },
        }
    }
    Ok(extras)
}

/// The checksum is over the whole header, with zeros in its own place.
fn check(whole: &[u8], at: usize, value: &[u8]) -> Result<(), Malformed> {
    let said: [u8; 4] = value.try_into().map_err(|_| Malformed::Length(CRC32C))?;
    let said = u32::from_be_bytes(said);
    let computed = crc32c(&[&whole[..at + HEAD], &[0; 4], &whole[at + CRC_LENGTH..]]);
    if said == computed { Ok(()) } else { Err(Malformed::Checksum { said, computed }) }
}

fn read_ssl(whole: &[u8], length: usize, at: usize) -> Result<Ssl, Malformed> {
    let value = &whole[..at + HEAD + length];
    let Some([client, verify @ ..]) = value.get(at + HEAD..at + HEAD + SSL_HEAD) else {
        return Err(Malformed::Length(SSL));
    };
    let mut ssl = Ssl {
        connected: client & 1 != 0,
        certificate: Certificate { connection: client & 2 != 0, session: client & 4 != 0 },
        verify: verify.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)),
        ..Ssl::default()
    };
    for part in each(value, at + HEAD + SSL_HEAD) {
        let (kind, value, _) = part?;
        match ssl.slot(kind) {
            Some(slot) => put(slot, kind, value)?,
            None => ssl.others.push(Tlv { kind, value: Box::from(value) }),
        }
    }
    Ok(ssl)
}

/// Writes the extras; the checksum last, with zeros for its value ([`seal`]).
pub(super) fn write(extras: &Extras, bytes: &mut Vec<u8>) -> Result<(), Unencodable> {
    if extras.unique_id.as_ref().is_some_and(|id| id.len() > MAX_UNIQUE_ID) {
        return Err(Unencodable::LongUniqueId);
    }
    let known = [
        (ALPN, &extras.alpn),
        (AUTHORITY, &extras.authority),
        (UNIQUE_ID, &extras.unique_id),
        (NETNS, &extras.netns),
    ];
    for (kind, value) in known {
        value.as_ref().map_or(Ok(()), |value| push(kind, value, bytes))?;
    }
    if let Some(ssl) = &extras.ssl {
        let mut value = Vec::new();
        let certificate = u8::from(ssl.certificate.connection) << 1 | u8::from(ssl.certificate.session) << 2;
        value.push(u8::from(ssl.connected) | certificate);
        value.extend_from_slice(&ssl.verify.to_be_bytes());
        for (kind, part) in ssl.parts() {
            part.as_ref().map_or(Ok(()), |part| push(kind, part, &mut value))?;
        }
        ssl.others.iter().try_for_each(|other| push(other.kind, &other.value, &mut value))?;
        push(SSL, &value, bytes)?;
    }
    extras.others.iter().try_for_each(|other| push(other.kind, &other.value, bytes))?;
    if extras.crc32c { push(CRC32C, &[0; 4], bytes) } else { Ok(()) }
}

fn push(kind: u8, value: &[u8], bytes: &mut Vec<u8>) -> Result<(), Unencodable> {
    let whole = bytes.len() + HEAD + value.len();
    let length = u16::try_from(value.len()).ok().filter(|_| whole <= MAX_V2);
    let length = length.ok_or(Unencodable::TooLong(whole))?;
    bytes.push(kind);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(value);
    Ok(())
}

/// Puts the checksum of a header into its last four bytes, which are zeros.
pub(super) fn seal(bytes: &mut [u8]) {
    let checksum = crc32c(&[bytes]);
    if let Some(place) = bytes.last_chunk_mut::<4>() {
        *place = checksum.to_be_bytes();
    }
}
