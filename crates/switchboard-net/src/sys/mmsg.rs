//! Many datagrams in one call: recvmmsg(2) and sendmmsg(2), with the address each was sent to.

use super::fault;
use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use switchboard_proto::Buffer;

/// Datagrams moved by one call at most.
pub const BATCH: usize = 64;
/// Room for one datagram: more than any payload, so that none is cut.
const ROOM: usize = 65_536;
/// Control bytes: one `in_pktinfo` or `in6_pktinfo` with its header.
const CONTROL: usize = 64;

/// Where a datagram was sent to, as `IP_PKTINFO` and `IPV6_RECVPKTINFO` tell it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Asked {
    /// Not told (Unix sockets).
    #[default]
    Unknown,
    /// IPv4: the header's destination, and the local address that answers for it.
    V4 {
        /// Destination address of the packet.
        to: Ipv4Addr,
        /// The local address it was delivered for; another one when `to` is a broadcast address.
        local: Ipv4Addr,
    },
    /// IPv6: the header's destination and the interface it came in on.
    V6 {
        /// Destination address of the packet.
        to: Ipv6Addr,
        /// Index of the interface.
        interface: u32,
    },
}

/// One datagram: what came, from whom, to where; and the answer.
pub struct Slot {
    /// The payload received.
    pub request: Buffer,
    /// The payload to send back.
    pub answer: Buffer,
    /// Whether `answer` is to be sent.
    pub answered: bool,
    /// Where the request was sent to; the answer leaves from there.
    pub asked: Asked,
    name: libc::sockaddr_storage,
    name_len: libc::socklen_t,
    control: Control,
}

/// Control messages start with a `cmsghdr`, so their storage has its alignment.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

impl Slot {
    fn new() -> Slot {
        Slot {
            request: Buffer::with_capacity(ROOM),
            answer: Buffer::new(),
            answered: false,
            asked: Asked::Unknown,
            // SAFETY: all-zero bytes are a valid sockaddr_storage (AF_UNSPEC).
            name: unsafe { mem::zeroed() },
            name_len: 0,
            control: Control([0; CONTROL]),
        }
    }

    /// The sender's internet address, if it has one.
    pub fn source(&self) -> Option<SocketAddr> {
        // SAFETY: the storage is large and aligned enough for either family, and its family says which it is.
        unsafe {
            let at = &raw const self.name;
            match i32::from(self.name.ss_family) {
                libc::AF_INET => {
                    let a = &*at.cast::<libc::sockaddr_in>();
                    let ip = Ipv4Addr::from(u32::from_be(a.sin_addr.s_addr));
                    Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(a.sin_port))))
                }
                libc::AF_INET6 => {
                    let a = &*at.cast::<libc::sockaddr_in6>();
                    let ip = Ipv6Addr::from(a.sin6_addr.s6_addr);
                    let port = u16::from_be(a.sin6_port);
                    Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, a.sin6_scope_id)))
                }
                _ => None,
            }
        }
    }

    /// Whether the sender can be answered at all: an unbound Unix socket has no name.
    pub fn has_return_address(&self) -> bool {
        self.name_len as usize > mem::size_of::<libc::sa_family_t>()
    }

    /// Room for another answer to the same sender, from the same address, as a batch of one.
    pub fn return_envelope(&self) -> Batch {
        let slot = Slot {
            request: Buffer::new(),
            answer: Buffer::new(),
            answered: false,
            asked: self.asked,
            name: self.name,
            name_len: self.name_len,
            control: self.control,
        };
        Batch { slots: vec![slot], asks: 1 }
    }

    /// Gets ready for the next datagram, wherever the session left the large storage.
    fn reset(&mut self) {
        if self.request.capacity() < ROOM {
            mem::swap(&mut self.request, &mut self.answer);
        }
        if self.request.capacity() < ROOM {
            self.request = Buffer::with_capacity(ROOM);
        }
        self.request.clear();
        self.answer.clear();
        self.answered = false;
        self.asked = Asked::Unknown;
    }
}

/// Storage for [`BATCH`] datagrams; pages that no datagram ever reached are never touched.
pub struct Batch {
    slots: Vec<Slot>,
    /// How many the next call asks for: preparing a slot costs as much as a short datagram, and most queues are short.
    asks: usize,
}

/// Datagrams that a call asks for at least.
const FEW: usize = 4;

impl Default for Batch {
    fn default() -> Batch {
        Batch { slots: (0..BATCH).map(|_| Slot::new()).collect(), asks: FEW }
    }
}

impl Batch {
    /// Storage for one datagram only.
    pub fn one() -> Batch {
        Batch { slots: vec![Slot::new()], asks: 1 }
    }

    /// The first `n` datagrams.
    pub fn slots(&mut self, n: usize) -> &mut [Slot] {
        &mut self.slots[..n]
    }

    /// Receives what is queued at a non-blocking socket, at most [`BATCH`] datagrams: their number. More than one may
    /// mean that more are queued: few are asked for at first, and twice as many as came the time before.
    ///
    /// # Errors
    /// `EAGAIN` when nothing is queued, and the others of recvmmsg(2).
    pub fn receive(&mut self, fd: impl AsFd) -> Result<usize, Errno> {
        if fault::again() {
            return Err(Errno::AGAIN);
        }
        let mut iovecs = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH];
        for ((slot, iovec), header) in
            self.slots.iter_mut().zip(&mut iovecs).zip(&mut headers).take(self.asks)
        {
            slot.reset();
            slot.name.ss_family = libc::AF_UNSPEC as libc::sa_family_t;
            let spare = slot.request.spare();
            let iovec =
                iovec.write(libc::iovec { iov_base: spare.as_mut_ptr().cast(), iov_len: spare.len() });
            header.write(slot.header(iovec, mem::size_of::<libc::sockaddr_storage>(), CONTROL));
        }
        let n = super::socket::retry(|| {
            // SAFETY: every header was written above; its pointers lead into `iovecs` and `self.slots`, which
            // outlive the call and are not touched during it.
            let n = unsafe {
                libc::recvmmsg(
                    fd.as_fd().as_raw_fd(),
                    headers.as_mut_ptr().cast(),
                    self.asks as libc::c_uint,
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                )
            };
            usize::try_from(n).map_err(|_| last())
        })?;
        for (slot, header) in self.slots.iter_mut().zip(&headers).take(n) {
            // SAFETY: the header was initialised above and updated by the kernel.
            let header = unsafe { header.assume_init_ref() };
            slot.request.commit(header.msg_len as usize);
            slot.name_len = header.msg_hdr.msg_namelen;
            slot.asked = slot.parse_control(header.msg_hdr.msg_controllen);
        }
        self.asks = (2 * n).max(FEW).min(self.slots.len());
        Ok(n)
    }

    /// Sends the answers of the datagrams `from..to`, each from the address that was asked. Returns how far it
    /// came, and why it stopped if it did: `EAGAIN` when the socket's buffer is full (call again with the
    /// returned index when it is writable), another error for the datagram at that index (skip it).
    pub fn send(&mut self, fd: impl AsFd, from: usize, to: usize) -> (usize, Result<(), Errno>) {
        let mut iovecs = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH];
        let mut indices = [0_usize; BATCH];
        let mut count = 0;
        for index in from..to {
            let slot = &mut self.slots[index];
            if !slot.answered {
                continue;
            }
            let control = slot.write_control();
            let bytes = slot.answer.bytes();
            let iovec = iovecs[count]
                .write(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() });
            headers[count].write(slot.header(iovec, slot.name_len as usize, control));
            indices[count] = index;
            count += 1;
        }
        let mut done = 0;
        while done < count {
            if fault::again() {
                return (indices[done], Err(Errno::AGAIN));
            }
            let sent = super::socket::retry(|| {
                // SAFETY: headers up to `count` were written above and point into `iovecs` and `self.slots`.
                let n = unsafe {
                    libc::sendmmsg(
                        fd.as_fd().as_raw_fd(),
                        headers[done..].as_mut_ptr().cast(),
                        (count - done) as libc::c_uint,
                        libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                    )
                };
                usize::try_from(n).map_err(|_| last())
            });
            match sent {
                Ok(n) => done += n,
                Err(errno) => return (indices[done], Err(errno)),
            }
        }
        (to, Ok(()))
    }
}

impl Slot {
    fn header(&mut self, iovec: &mut libc::iovec, name_len: usize, control_len: usize) -> libc::mmsghdr {
        // SAFETY: all-zero bytes are a valid mmsghdr (musl has private padding that cannot be named).
        let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
        header.msg_hdr.msg_name = (&raw mut self.name).cast();
        header.msg_hdr.msg_namelen = name_len as libc::socklen_t;
        header.msg_hdr.msg_iov = iovec;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = self.control.0.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = control_len as _;
        header
    }

    /// Reads the packet information that the kernel left in `self.control`.
    fn parse_control(&self, len: usize) -> Asked {
        let header_len = mem::size_of::<libc::cmsghdr>();
        if len < header_len {
            return Asked::Unknown;
        }
        // SAFETY: `Control` has a cmsghdr's alignment, and at least a header was written into it.
        let header = unsafe { &*self.control.0.as_ptr().cast::<libc::cmsghdr>() };
        let data = &self.control.0[header_len..len.min(CONTROL)];
        match (header.cmsg_level, header.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) if data.len() >= 12 => Asked::V4 {
                local: Ipv4Addr::new(data[4], data[5], data[6], data[7]),
                to: Ipv4Addr::new(data[8], data[9], data[10], data[11]),
            },
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if data.len() >= 20 => {
                let mut to = [0; 16];
                to.copy_from_slice(&data[..16]);
                let interface = u32::from_ne_bytes([data[16], data[17], data[18], data[19]]);
                Asked::V6 { to: Ipv6Addr::from(to), interface }
            }
            _ => Asked::Unknown,
        }
    }

    /// Writes the packet information that makes the answer leave from the address that was asked; its length.
    fn write_control(&mut self) -> usize {
        let mut data = [0_u8; 20];
        let (level, kind, len) = match self.asked {
            Asked::Unknown => return 0,
            Asked::V4 { local, .. } => {
                data[4..8].copy_from_slice(&local.octets());
                (libc::IPPROTO_IP, libc::IP_PKTINFO, 12)
            }
            Asked::V6 { to, interface } => {
                data[..16].copy_from_slice(&to.octets());
                // A link-local address means nothing without its interface; any other must not pin the route.
                let interface = if to.is_unicast_link_local() { interface } else { 0 };
                data[16..20].copy_from_slice(&interface.to_ne_bytes());
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, 20)
            }
        };
        // SAFETY: CMSG_LEN and CMSG_SPACE only compute.
        let (used, space) = unsafe { (libc::CMSG_LEN(len) as usize, libc::CMSG_SPACE(len) as usize) };
        // SAFETY: `Control` has a cmsghdr's alignment and is larger than one.
        let header = unsafe { &mut *self.control.0.as_mut_ptr().cast::<libc::cmsghdr>() };
        header.cmsg_len = used as _;
        header.cmsg_level = level;
        header.cmsg_type = kind;
        let header_len = mem::size_of::<libc::cmsghdr>();
        self.control.0[header_len..used].copy_from_slice(&data[..len as usize]);
        space
    }
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}
