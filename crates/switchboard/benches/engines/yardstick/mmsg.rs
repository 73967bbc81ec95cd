//! Yardstick: datagrams, up to 64 in one recvmmsg(2), sent back by one sendmmsg(2).

use std::io;
use std::mem;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Datagrams of one call.
const BATCH: usize = 64;
/// Room for one; longer ones are cut.
const ROOM_BYTES: usize = 2_048;

pub(super) fn serve(socket: UdpSocket) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    let mut room = vec![0_u8; BATCH * ROOM_BYTES];
    // SAFETY: all-zero bytes are valid for these plain structures.
    let mut peers: [libc::sockaddr_in; BATCH] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut pieces: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
    for (index, header) in headers.iter_mut().enumerate() {
        pieces[index].iov_base = room[index * ROOM_BYTES..].as_mut_ptr().cast();
        header.msg_hdr.msg_name = (&raw mut peers[index]).cast();
        header.msg_hdr.msg_iov = &raw mut pieces[index];
        header.msg_hdr.msg_iovlen = 1;
    }
    loop {
        for index in 0..BATCH {
            pieces[index].iov_len = ROOM_BYTES;
            headers[index].msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_in>() as u32;
        }
        // SAFETY: the headers point at arrays that outlive the call, each element with the room it states.
        let got = unsafe {
            libc::recvmmsg(fd, headers.as_mut_ptr(), BATCH as u32, libc::MSG_WAITFORONE, std::ptr::null_mut())
        };
        let got = match got {
            1.. => got as usize,
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => continue,
                error => return Err(error),
            },
        };
        for index in 0..got {
            pieces[index].iov_len = headers[index].msg_len as usize;
        }
        let mut sent = 0;
        while sent < got {
            // SAFETY: as above; the lengths are those of what was received.
            let more = unsafe { libc::sendmmsg(fd, headers[sent..].as_mut_ptr(), (got - sent) as u32, 0) };
            // A client who has gone is told by an error that belongs to no datagram of this call.
            sent += more.max(1) as usize;
        }
    }
}
