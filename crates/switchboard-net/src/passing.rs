//! Connections that one worker has accepted and another one serves, passed over a Unix sequenced-packet socket
//! ([`crate::sys::parcel::pair`]): what tcpmux (RFC 1078) is made of.

use crate::endpoint::{Address, Endpoint};
use crate::peer::Peer;
use crate::sys::parcel;
use crate::sys::socket::{self, Wait};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

/// A connection from somebody else's door.
#[derive(Debug)]
pub struct Passed {
    /// The connection; a blocking socket.
    pub fd: OwnedFd,
    /// Who is at its other end.
    pub peer: Peer,
    /// Our end.
    pub local: Address,
    /// The service was chosen by name: before anything else the client is owed an answer, [`welcome`] or [`refuse`].
    pub multiplexed: bool,
    /// Somebody else has let him in and speaks TLS with him.
    pub escort: Option<Escort>,
}

/// What the worker that speaks TLS with a client says of him. The connection is one end of a pair: it knows nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Escort {
    /// Who he is.
    pub peer: Peer,
    /// Where he came in.
    pub local: Address,
    /// Variables for a program's environment.
    pub settings: Vec<(String, String)>,
    /// What is to stand in the record of the connection.
    pub told: String,
}

/// Sends a connection to a worker.
///
/// # Errors
/// `EAGAIN` if the socket is non-blocking and full, `EPIPE` if nobody is there.
pub fn pass(door: impl AsFd, connection: impl AsFd, multiplexed: bool) -> Result<(), Errno> {
    parcel::send(door, &[u8::from(multiplexed)], &[connection.as_fd()])
}

/// Sends one end of a pair, at whose other end is a client who was let in already.
///
/// # Errors
/// `EAGAIN` if the socket is non-blocking and full, `EPIPE` if nobody is there.
pub fn pass_escorted(door: impl AsFd, connection: impl AsFd, escort: &Escort) -> Result<(), Errno> {
    let mut bytes = vec![ESCORTED];
    escort.peer.to_words().iter().for_each(|word| bytes.extend(word.to_ne_bytes()));
    let place = escort.local.to_string();
    let pairs = escort.settings.iter().flat_map(|(name, value)| [name, value]);
    for text in [&place, &escort.told].into_iter().chain(pairs) {
        bytes.extend(text.bytes().filter(|byte| *byte != 0));
        bytes.push(0);
    }
    parcel::send(door, &bytes, &[connection.as_fd()])
}

/// The first byte of a message with an [`Escort`].
const ESCORTED: u8 = 2;

impl Escort {
    /// From what [`pass_escorted`] has sent.
    fn read(bytes: &[u8]) -> Option<Escort> {
        let (words, rest) = bytes.split_at_checked(24)?;
        let word = |at: usize| words[at..at + 8].try_into().map(u64::from_ne_bytes);
        let peer = Peer::from_words([word(0).ok()?, word(8).ok()?, word(16).ok()?]);
        let mut texts = rest.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
        let place: Endpoint = texts.next()?.parse().ok()?;
        let local = place.resolve().ok()?.into_iter().next()?;
        let told = texts.next()?;
        let mut settings = Vec::new();
        while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
            settings.push((name, value));
        }
        Some(Escort { peer, local, settings, told })
    }
}

/// The next connection that was passed; `None` when nobody can pass any more.
///
/// # Errors
/// `EAGAIN` if there is none now; `EBADMSG` for something that is no connection.
pub fn receive(door: impl AsFd) -> Result<Option<Passed>, Errno> {
    let Some(mut parcel) = parcel::receive(door)? else { return Ok(None) };
    let fd = parcel.descriptors.pop().ok_or(Errno::BADMSG)?;
    if let Some((&ESCORTED, rest)) = parcel.bytes.split_first() {
        let escort = Escort::read(rest).ok_or(Errno::BADMSG)?;
        rustix::io::ioctl_fionbio(&fd, false)?;
        let (peer, local) = (escort.peer, escort.local.clone());
        return Ok(Some(Passed { fd, peer, local, multiplexed: false, escort: Some(escort) }));
    }
    let local = Address::of_descriptor(&fd).ok_or(Errno::BADMSG)?;
    // Whoever has accepted it may have needed it the other way.
    rustix::io::ioctl_fionbio(&fd, false)?;
    let peer = Peer::of_connected(&fd, local.kind.is_inet());
    Ok(Some(Passed { fd, peer, local, multiplexed: parcel.bytes.first() == Some(&1), escort: None }))
}

/// Tells a client who has chosen a service by name that it begins. A fresh socket has room for that.
pub fn welcome(connection: impl AsFd) {
    let _ = socket::send(connection, b"+Go\r\n", Wait::No);
}

/// Tells him that it does not, and why: one line of text.
pub fn refuse(connection: impl AsFd, why: &str) {
    let _ = socket::send(connection, format!("-{why}\r\n").as_bytes(), Wait::No);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escort_says_what_it_was_told() {
        let (near, far) = parcel::pair().unwrap();
        let (one, _other) = parcel::pair().unwrap();
        let escort = Escort {
            peer: Peer::Inet("192.0.2.1:7".parse().unwrap()),
            local: "tcp:[::1]:443".parse::<Endpoint>().unwrap().resolve().unwrap().remove(0),
            settings: vec![("SSL_CIPHER".into(), "x".into()), ("EMPTY".into(), String::new())],
            told: " tls=TLSv1.3".into(),
        };
        pass_escorted(&near, &one, &escort).unwrap();
        let passed = receive(&far).unwrap().unwrap();
        assert_eq!(passed.escort, Some(escort));
        assert!(!passed.multiplexed);
    }
}
