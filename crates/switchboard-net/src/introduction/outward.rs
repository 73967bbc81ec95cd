//! [`Outward`]: how a relay introduces its clients to the target.

use super::Introduction;
use crate::peer::Peer;
use crate::sys::clock;
use std::net::SocketAddr;
use switchboard_proto::proxy_header::{Carrier, Extras, Header, Origin, Unencodable, Version};

/// The header that goes before a client's first byte, or before each of his datagrams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outward {
    /// The version.
    pub version: Version,
    /// With a checksum; version 2.
    pub crc32c: bool,
    /// With a name for the connection that the log has too; version 2. The one that came with the client is passed
    /// on, otherwise one is made.
    pub unique_id: bool,
}

impl Outward {
    /// A name for connection number `id`, different from those of every other run.
    pub(crate) fn new_id(id: u64) -> Box<[u8]> {
        let (seconds, nanoseconds) = clock::realtime();
        format!("{seconds:x}.{nanoseconds:x}-{id}").into_bytes().into()
    }

    /// The header for a client who came from `peer` to `local`. Whatever a proxy before us said is passed on.
    ///
    /// # Errors
    /// What was passed on does not fit.
    pub(crate) fn header(
        &self,
        peer: Peer,
        local: Option<SocketAddr>,
        carrier: Carrier,
        introduction: Option<&Introduction>,
        unique_id: Option<&[u8]>,
    ) -> Result<Vec<u8>, Unencodable> {
        let origin = match (introduction, peer, local) {
            (Some(introduction), ..) => introduction.header.origin.clone(),
            (None, Peer::Inet(source), Some(destination)) => Origin::Inet { source, destination },
            // Users of this machine have no address.
            (None, ..) => Origin::Unknown,
        };
        let mut extras = Extras::default();
        if self.version == Version::V2 {
            extras = introduction.map(|introduction| introduction.extras().clone()).unwrap_or_default();
            extras.crc32c = self.crc32c;
            extras.unique_id = match self.unique_id {
                true => unique_id.map(Box::from).or(extras.unique_id),
                false => None,
            };
        }
        Header { version: self.version, origin, carrier, extras }.encode()
    }
}
