//! [`Cid`]: which virtual machine, and how that is written (vsock(7)).

use super::Place;
use crate::error::Error;
use std::fmt;
use std::str::FromStr;

/// The port that stands for any (`VMADDR_PORT_ANY`).
pub(crate) const ANY_PORT: u32 = u32::MAX;

/// What to do about a kernel without vsock.
pub(crate) const WITHOUT: &str = "This kernel has no vsock: it needs CONFIG_VSOCKETS (module vsock), and a transport, as root: `modprobe vsock`";
/// What to do when no transport leads there.
pub(crate) const ELSEWHERE: &str = "No transport leads there: for this machine itself (local) the kernel needs module \
                                    vsock_loopback, in a virtual machine vmw_vsock_virtio_transport, on a host \
                                    vhost_vsock; /sys/module tells which are there";

/// A context identifier: the number of a virtual machine, or of the host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Cid(pub u32);

impl Cid {
    /// Where a listener hears everybody (`VMADDR_CID_ANY`).
    pub const ANY: Cid = Cid(u32::MAX);
    /// This machine itself (`VMADDR_CID_LOCAL`).
    pub const LOCAL: Cid = Cid(1);
    /// The host, seen from a virtual machine (`VMADDR_CID_HOST`).
    pub const HOST: Cid = Cid(2);

    const NAMES: [(&'static str, Cid); 3] = [("*", Cid::ANY), ("local", Cid::LOCAL), ("host", Cid::HOST)];
}

impl FromStr for Cid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Cid, Error> {
        let named = Cid::NAMES.iter().find(|(name, _)| *name == text).map(|(_, cid)| *cid);
        named.or_else(|| text.parse().ok().map(Cid)).ok_or_else(|| {
            Error::Config(format!(
                "`{}` is no context identifier: use a number, host, local or *",
                text.escape_default()
            ))
        })
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Cid::NAMES.iter().find(|(_, cid)| cid == self) {
            Some((name, _)) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

/// `CID:PORT`.
pub(super) fn place(text: &str) -> Result<Place, Error> {
    let Some((cid, port)) = text.split_once(':') else {
        return Err(Error::Config("write vsock:CID:PORT, for example vsock:host:1024".into()));
    };
    let port = port.parse().ok().filter(|port| *port != ANY_PORT).ok_or_else(|| {
        Error::Config(format!(
            "`{}` is no port of vsock: those are numbers from 0 (any free one) to {}",
            port.escape_default(),
            ANY_PORT - 1
        ))
    })?;
    Ok(Place::Vsock(cid.parse()?, port))
}
