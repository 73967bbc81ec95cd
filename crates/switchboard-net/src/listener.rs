//! [`Listener`]: a bound socket, and the file that a Unix one leaves behind.

use crate::endpoint::{Address, Endpoint, Kind, Location, vsock};
use crate::error::Error;
use crate::option::{Effect, SocketOptions};
use crate::sys::{sockaddr, sockopt};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// A bound socket: a stream or seqpacket one listens, a datagram one is ready to receive. Non-blocking.
///
/// A Unix socket's file is removed when the process that bound it drops the listener.
#[derive(Debug)]
pub struct Listener {
    fd: Option<OwnedFd>,
    local: Address,
    file: Option<BoundFile>,
    options: SocketOptions,
}

#[derive(Debug)]
struct BoundFile {
    path: PathBuf,
    owner: u32,
}

/// Whether several sockets of the same user may be bound to one address, the kernel spreading connections over
/// them (`SO_REUSEPORT`, socket(7)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// This socket alone.
    Alone,
    /// Others may join.
    ReusePort,
}

impl Listener {
    /// Binds every address that `endpoint` stands for; at least one.
    ///
    /// # Errors
    /// The first address that cannot be bound, with the way out where one is known.
    pub fn bind(endpoint: &Endpoint, options: &SocketOptions) -> Result<Vec<Listener>, Error> {
        endpoint
            .resolve()?
            .iter()
            .map(|address| Listener::bind_address(address, options, Sharing::Alone))
            .collect()
    }

    /// Binds one address.
    ///
    /// # Errors
    /// Why it cannot be bound, with the way out where one is known.
    pub fn bind_address(
        address: &Address,
        options: &SocketOptions,
        sharing: Sharing,
    ) -> Result<Listener, Error> {
        Listener::bind_with_mode(address, options, sharing, None)
    }

    /// Binds one address; the file of a Unix socket gets the permission bits `mode`, less the umask (0777 if none are
    /// given).
    ///
    /// # Errors
    /// Why it cannot be bound, with the way out where one is known.
    pub fn bind_with_mode(
        address: &Address,
        options: &SocketOptions,
        sharing: Sharing,
        mode: Option<u32>,
    ) -> Result<Listener, Error> {
        let v6 = address.family() == AddressFamily::INET6;
        let kind = address.kind;
        let failed = |errno: Errno| bind_error(address, errno);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = net::socket_with(address.family(), kind.socket_type(), flags, None).map_err(failed)?;
        options.apply(&fd, kind, v6)?;
        if let Location::Inet { only_v6: Some(only), .. } = address.place {
            let only = options.switch("v6only").unwrap_or(only);
            sockopt::set_int(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, i32::from(only)).map_err(failed)?;
        }
        if sharing == Sharing::ReusePort && kind.is_inet() {
            sockopt::set_int(&fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1).map_err(failed)?;
        }
        if kind == Kind::Udp {
            enlarge_queue(&fd, options);
            let (level, number) = if v6 {
                (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
            } else {
                (libc::IPPROTO_IP, libc::IP_PKTINFO)
            };
            // To which address a datagram was sent, and from where its answer has to leave; told with each.
            if !address.inet().is_some_and(is_of_one_host) {
                sockopt::set_int(&fd, level, number, 1).map_err(failed)?;
            }
        }
        let mut file = None;
        if let Some(inet) = address.inet() {
            net::bind(&fd, &inet).map_err(failed)?;
        } else if let Some(name) = address.unix_name()? {
            if let Location::Path(path) = &address.place {
                remove_stale(path, address)?;
                if let Some(mode) = mode {
                    // bind(2) makes the file with the bits of the socket's own inode: there is no moment at which
                    // more may connect.
                    rustix::fs::fchmod(&fd, rustix::fs::Mode::from_raw_mode(mode)).map_err(failed)?;
                }
                net::bind(&fd, &name).map_err(failed)?;
                file = Some(BoundFile { path: path.clone(), owner: std::process::id() });
            } else {
                net::bind(&fd, &name).map_err(failed)?;
            }
        } else {
            net::bind(&fd, &sockaddr::name(address)?).map_err(failed)?;
        }
        if !kind.is_datagram() {
            net::listen(&fd, options.backlog()).map_err(failed)?;
            options.check_backlog(&fd, kind)?;
        }
        let name = net::getsockname(&fd).map_err(failed)?;
        let local = Address::of_socket(kind, &name).unwrap_or_else(|| address.clone());
        Ok(Listener { fd: Some(fd), local, file, options: options.clone() })
    }

    /// A socket that was bound by somebody else, for `address`; whoever takes it over removes its file from now on.
    ///
    /// # Errors
    /// A descriptor that is no socket, or one of another kind, or is bound elsewhere.
    pub fn adopt(fd: OwnedFd, address: &Address, options: &SocketOptions) -> Result<Listener, Error> {
        let what = || format!("take over the socket for {address}");
        let local = Address::of_descriptor(&fd).filter(|local| local.is_at(address));
        let local = local.ok_or_else(|| {
            Error::Config(format!("cannot {}: it is of another kind, or bound elsewhere", what()))
        })?;
        rustix::io::ioctl_fionbio(&fd, true).map_err(|errno| Error::system(what(), errno))?;
        let file = match &local.place {
            Location::Path(path) => Some(BoundFile { path: path.clone(), owner: std::process::id() }),
            _ => None,
        };
        Ok(Listener { fd: Some(fd), local, file, options: options.clone() })
    }

    /// Leaves the file of a Unix socket where it is when this listener goes: somebody else has taken it over.
    pub fn disown(&mut self) {
        self.file = None;
    }

    /// Sets options on the socket while it is in use. An option that was set before and is not among them any more
    /// keeps its value.
    ///
    /// # Errors
    /// The first option that the kernel refuses.
    pub fn change_options(&mut self, options: &SocketOptions) -> Result<(), Error> {
        let v6 = self.local.family() == net::AddressFamily::INET6;
        options.apply(&*self, self.local.kind, v6)?;
        if !self.local.kind.is_datagram() {
            net::listen(&*self, options.backlog())
                .map_err(|errno| Error::system(format!("listen on {}", self.local), errno))?;
        }
        self.options = options.clone();
        Ok(())
    }

    /// Of several sockets at one TCP or UDP address, connections and datagrams that arrive on `processor` come to this one
    /// (`SO_INCOMING_CPU`, socket(7)); where no processor is named, or by kernels before Linux 6.2, they are spread. No other
    /// sockets heed it.
    ///
    /// # Errors
    /// `ENOPROTOOPT` where the kernel knows no such option.
    pub fn prefer_processor(&self, processor: Option<usize>) -> Result<(), Errno> {
        if self.local.inet().is_none() {
            return Ok(());
        }
        let number = processor.and_then(|number| i32::try_from(number).ok()).unwrap_or(-1);
        sockopt::set_int(self, libc::SOL_SOCKET, libc::SO_INCOMING_CPU, number)
    }

    /// The address it is bound to; with the port that the kernel chose if 0 was asked for.
    pub fn local(&self) -> &Address {
        &self.local
    }

    /// What the kernel made of the options.
    pub fn effects(&self) -> Vec<Effect> {
        let v6 = self.local.family() == net::AddressFamily::INET6;
        self.options.effects(self, self.local.kind, v6)
    }

    /// Another handle of the same socket, which does not own its file.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn share(&self) -> Result<Listener, Error> {
        let fd = rustix::io::fcntl_dupfd_cloexec(self, 3)
            .map_err(|errno| Error::system(format!("share {}", self.local), errno))?;
        Ok(Listener { fd: Some(fd), local: self.local.clone(), file: None, options: self.options.clone() })
    }
}

impl Listener {
    /// Takes the socket out and keeps the name. The listener must not be used as a descriptor afterwards: whoever
    /// took the socket decides when this process closes it.
    pub(crate) fn take(&mut self) -> Option<OwnedFd> {
        self.fd.take()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("a listener whose socket was taken is only used for its name").as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(file) = self.file.take()
            && file.owner == std::process::id()
        {
            let _ = std::fs::remove_file(file.path);
        }
    }
}

/// A datagram that finds the queue full is lost, and the kernel's default holds fewer than 300 small ones. As much
/// as the kernel gives; root gets all of it (socket(7), `SO_RCVBUFFORCE`). Unless it was chosen.
pub(crate) fn enlarge_queue(fd: &OwnedFd, options: &SocketOptions) {
    const QUEUE: i32 = 4 * 1024 * 1024;
    if options.has("rcvbuf") {
        return;
    }
    if sockopt::set_int(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, QUEUE).is_err() {
        let _ = sockopt::set_int(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, QUEUE);
    }
}

/// Whether a UDP socket bound to `address` gets only what was sent to that one address of this machine, so that the
/// kernel need not tell it with each datagram, which costs 5 to 10 % of it.
fn is_of_one_host(address: SocketAddr) -> bool {
    let ip = address.ip();
    if ip.is_unspecified() || ip.is_multicast() {
        return false;
    }
    // Only the routes know a broadcast address. To connect to one is refused (ip(7), EACCES); it sends nothing.
    let probe = || {
        let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        net::connect(&socket, &address)
    };
    probe().is_ok()
}

/// Removes the file of a Unix socket that nobody listens on any more. Anything else is left alone.
fn remove_stale(path: &Path, address: &Address) -> Result<(), Error> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(Error::System {
            what: format!("listen on {address}"),
            source: Errno::EXIST.into(),
            hint: Some("There is a file of another kind at that path; it was left alone".into()),
        });
    }
    let Some(name) = address.unix_name()? else { return Ok(()) };
    let kinds = [Kind::Unix, Kind::UnixDatagram, Kind::UnixSeqpacket];
    let refused_by_all = kinds.iter().all(|kind| {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let probe = net::socket_with(net::AddressFamily::UNIX, kind.socket_type(), flags, None);
        let answer = probe.and_then(|probe| net::connect(&probe, &name));
        matches!(answer, Err(Errno::CONNREFUSED | Errno::PROTOTYPE))
    });
    if refused_by_all {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

fn bind_error(address: &Address, errno: Errno) -> Error {
    let port = address.inet().map_or(0, |inet| inet.port());
    let hint = match errno {
        Errno::ACCESS if address.kind.is_inet() => {
            let start = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
            let start = start.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024_u32);
            Some(if u32::from(port) < start {
                format!(
                    "Ports below {start} need CAP_NET_BIND_SERVICE: run `setcap cap_net_bind_service+ep` on this \
                     program, or listen on a higher port such as {}",
                    10_000 + u32::from(port)
                )
            } else {
                "Something keeps this program from that port: Landlock, SELinux or AppArmor".into()
            })
        }
        Errno::ADDRINUSE if address.kind.is_inet() => Some(format!(
            "Another socket has that port; find it with `ss -{}lpn 'sport = :{port}'`, or use port 0 for a free one",
            if address.kind == Kind::Udp { 'u' } else { 't' }
        )),
        Errno::ADDRINUSE => Some("Another process listens there".into()),
        Errno::ADDRNOTAVAIL if address.kind.is_inet() => Some(
            "No interface of this machine has that address; option freebind=on binds all the same".into(),
        ),
        Errno::AFNOSUPPORT if address.kind == Kind::Vsock => Some(vsock::WITHOUT.into()),
        Errno::ADDRNOTAVAIL if address.kind == Kind::Vsock => Some(vsock::ELSEWHERE.into()),
        Errno::AFNOSUPPORT => Some("This kernel has no such protocol family".into()),
        _ => None,
    };
    Error::System { what: format!("listen on {address}"), source: errno.into(), hint }
}
