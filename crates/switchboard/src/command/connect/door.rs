//! `listen:` as one end: whoever connects, or sends a datagram.

use rustix::io::Errno;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;
use switchboard_net::callers::Callers;
use switchboard_net::sys::socket::{self, Wait};
use switchboard_net::sys::watchlist::WatchList;
use switchboard_net::{Address, Channel, Endpoint, Error, Kind, Listener, SocketOptions};

/// How long to wait when no descriptor or memory is left for a client.
const SHORTAGE: Duration = Duration::from_millis(100);

/// Sockets of one endpoint that wait for a client.
pub(super) struct Door {
    kind: Kind,
    endpoint: Endpoint,
    sockets: Sockets,
}

enum Sockets {
    Listening(Vec<Listener>),
    Datagrams(Callers),
}

impl Door {
    /// `together`: all who send datagrams are one conversation, which is heard only.
    pub(super) fn open(endpoint: &Endpoint, options: &SocketOptions, together: bool) -> Result<Door, Error> {
        let listeners = Listener::bind(endpoint, options)?;
        let sockets = match endpoint.kind.is_datagram() {
            true => Sockets::Datagrams(Callers::new(listeners, options, together)?),
            false => Sockets::Listening(listeners),
        };
        Ok(Door { kind: endpoint.kind, endpoint: endpoint.clone(), sockets })
    }

    /// Where it listens.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &Address> {
        let listeners = match &self.sockets {
            Sockets::Listening(listeners) => &listeners[..],
            Sockets::Datagrams(callers) => callers.doors(),
        };
        listeners.iter().map(Listener::local)
    }

    /// Datagrams that came from others than those who were let in.
    pub(super) fn waiting(&self) -> usize {
        match &self.sockets {
            Sockets::Listening(_) => 0,
            Sockets::Datagrams(callers) => callers.waiting(),
        }
    }

    /// Waits for a client: a channel to him, and his name.
    pub(super) fn wait(&mut self) -> Result<(Channel, String), Error> {
        let listeners = match &mut self.sockets {
            Sockets::Datagrams(callers) => return callers.wait(),
            Sockets::Listening(listeners) => listeners,
        };
        let failed = |errno| Error::system(format!("wait for a client on {}", self.endpoint), errno);
        let mut list = WatchList::default();
        loop {
            list.clear();
            listeners.iter().for_each(|listener| list.push(listener.as_fd(), true, false));
            socket::retry(|| list.wait(None)).map_err(failed)?;
            for place in list.ready().map(|(place, _)| place) {
                match socket::accept(listeners[place].as_fd(), Wait::No) {
                    Ok((fd, peer)) => {
                        return Ok((Channel::plain(fd, self.kind), format!("{}:{peer}", self.kind.name())));
                    }
                    // Ours, not the client's: he waits until there is room again.
                    Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => {
                        thread::sleep(SHORTAGE)
                    }
                    Err(_) => {}
                }
            }
        }
    }

    /// After a conversation. `forked`: another process has it, perhaps with the door's own socket.
    pub(super) fn renew(&mut self, forked: bool) -> Result<(), Error> {
        match &mut self.sockets {
            Sockets::Datagrams(callers) => callers.renew(forked),
            Sockets::Listening(_) => Ok(()),
        }
    }
}
