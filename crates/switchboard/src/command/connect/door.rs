//! `listen:` as one end: whoever connects, or sends the first datagram.

use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketAddrAny, SocketAddrUnix};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;
use switchboard_net::sys::socket::{self, Wait};
use switchboard_net::sys::watchlist::WatchList;
use switchboard_net::{Address, Endpoint, Error, Kind, Listener, SocketOptions};

/// How long to wait when no descriptor or memory is left for a client.
const SHORTAGE: Duration = Duration::from_millis(100);

/// Sockets of one endpoint that wait for a client.
pub(super) struct Door {
    kind: Kind,
    endpoint: Endpoint,
    options: SocketOptions,
    listeners: Vec<Listener>,
}

impl Door {
    pub(super) fn open(endpoint: &Endpoint, options: &SocketOptions) -> Result<Door, Error> {
        let listeners = Listener::bind(endpoint, options)?;
        Ok(Door { kind: endpoint.kind, endpoint: endpoint.clone(), options: options.clone(), listeners })
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Where it listens.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.listeners.iter().map(Listener::local)
    }

    /// Waits for a client: its socket, and its name.
    pub(super) fn wait(&mut self) -> Result<(OwnedFd, String), Error> {
        let failed = |errno| Error::system(format!("wait for a client on {}", self.endpoint), errno);
        let mut list = WatchList::default();
        loop {
            list.clear();
            self.listeners.iter().for_each(|listener| list.push(listener.as_fd(), true, false));
            socket::retry(|| list.wait(None)).map_err(failed)?;
            let ready: Vec<usize> = list.ready().map(|(place, _)| place).collect();
            for place in ready {
                let listener = &self.listeners[place];
                if self.kind.is_datagram() {
                    if let Some(name) = connect_to_sender(listener).map_err(failed)? {
                        return self.take(place).map(|fd| (fd, name));
                    }
                    continue;
                }
                match socket::accept(listener.as_fd(), Wait::No) {
                    Ok((fd, peer)) => return Ok((fd, format!("{}:{peer}", self.kind.name()))),
                    // Ours, not the client's: he waits until there is room again.
                    Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => {
                        thread::sleep(SHORTAGE)
                    }
                    Err(_) => {}
                }
            }
        }
    }

    /// A datagram socket becomes the conversation; another one takes its place at the door.
    fn take(&mut self, place: usize) -> Result<OwnedFd, Error> {
        let failed = |errno| Error::system(format!("talk to the sender on {}", self.endpoint), errno);
        self.listeners[place]
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| Error::system("duplicate a socket", error))
            .and_then(|fd| rustix::io::ioctl_fionbio(&fd, true).map_err(failed).map(|()| fd))
    }

    /// After a conversation by datagrams: the socket that had it listens to nobody else, so a new one is needed.
    pub(super) fn renew(&mut self) -> Result<(), Error> {
        if self.kind.is_datagram() {
            self.listeners.clear();
            self.listeners = Listener::bind(&self.endpoint, &self.options)?;
        }
        Ok(())
    }
}

/// Connects a datagram socket to the sender of what waits in it, and leaves that there; the sender's name. None if it
/// was gone.
fn connect_to_sender(listener: &Listener) -> Result<Option<String>, Errno> {
    let fd = listener.as_fd();
    let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT | RecvFlags::TRUNC;
    let mut byte = [0_u8; 1];
    let from: SocketAddrAny = match rustix::net::recvfrom(fd, &mut byte, peek) {
        Ok((_, _, Some(from))) => from,
        Ok((_, _, None)) => {
            // A Unix sender without a name cannot be answered; it can be heard.
            return Ok(Some("unix-dgram: without a name".into()));
        }
        Err(_) => return Ok(None),
    };
    if let Ok(address) = SocketAddr::try_from(from.clone()) {
        rustix::net::connect(fd, &address)?;
        return Ok(Some(format!("udp:{address}")));
    }
    match SocketAddrUnix::try_from(from) {
        Ok(address) if !address.is_unnamed() => {
            rustix::net::connect(fd, &address)?;
            Ok(Some("unix-dgram peer".into()))
        }
        _ => Ok(Some("unix-dgram: without a name".into())),
    }
}
