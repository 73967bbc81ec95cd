//! Socket addresses as the kernel gets them: the bytes of a `sockaddr_in`, `sockaddr_in6`, `sockaddr_un` or `sockaddr_vm`.

use crate::endpoint::{ANY_PORT, Address, Location};
use crate::error::Error;
use rustix::net::addr::SocketAddrStorage;
use rustix::net::{AddressFamily, SocketAddrAny};
use std::mem::MaybeUninit;
use std::slice;

/// `address` as the kernel wants it.
///
/// # Errors
/// A name that does not fit a `sockaddr_un`.
pub(crate) fn name(address: &Address) -> Result<SocketAddrAny, Error> {
    match (&address.place, address.unix_name()?) {
        (Location::Inet { address, .. }, _) => Ok((*address).into()),
        (Location::Vsock(cid, port), _) => Ok(of_vsock(cid.0, if *port == 0 { ANY_PORT } else { *port })),
        (_, Some(unix)) => Ok(unix.into()),
        (_, None) => Err(Error::Config(format!("{address} is not the address of a socket"))),
    }
}

/// Machine and port of a socket's name, if it is one of vsock.
pub(crate) fn vsock(name: &SocketAddrAny) -> Option<(u32, u32)> {
    if name.address_family() != AddressFamily::VSOCK
        || (name.addr_len() as usize) < size_of::<libc::sockaddr_vm>()
    {
        return None;
    }
    // SAFETY: as many bytes as the structure has were written, any bytes are one, and the pointer is aligned for
    // `sockaddr_storage`, which asks for more.
    let vm = unsafe { name.as_ptr().cast::<libc::sockaddr_vm>().read_unaligned() };
    Some((vm.svm_cid, vm.svm_port))
}

fn of_vsock(cid: u32, port: u32) -> SocketAddrAny {
    let mut storage = MaybeUninit::<SocketAddrStorage>::zeroed();
    let size = size_of::<libc::sockaddr_vm>();
    // SAFETY: zeroes are a `sockaddr_vm`, which is shorter than the storage; its fields are written in place.
    let vm = unsafe { &mut *storage.as_mut_ptr().cast::<libc::sockaddr_vm>() };
    vm.svm_family = libc::AF_VSOCK as libc::sa_family_t;
    (vm.svm_cid, vm.svm_port) = (cid, port);
    // SAFETY: the first `size` bytes are a whole address.
    unsafe { SocketAddrAny::new(storage, size as u32) }
}

/// The bytes that bind(2) or connect(2) would be given for `address`, as many as would be said.
///
/// # Errors
/// A name that does not fit a `sockaddr_un`.
pub fn bytes(address: &Address) -> Result<Vec<u8>, Error> {
    let any = name(address)?;
    // SAFETY: the storage lives as long as `any`, and its first `addr_len` bytes were written: the fields of these
    // structures, padding included, leave no gap.
    let bytes = unsafe { slice::from_raw_parts(any.as_ptr().cast::<u8>(), any.addr_len() as usize) };
    Ok(bytes.to_vec())
}
