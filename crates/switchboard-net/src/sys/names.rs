//! Reverse look-up: getnameinfo(3).

use std::ffi::{CStr, CString};
use std::mem;
use std::net::IpAddr;

/// The name that the resolver gives `address`; `None` if it has none. May take as long as the resolver likes.
pub fn of(address: IpAddr) -> Option<CString> {
    // SAFETY: all-zero bytes are a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let at = &raw mut storage;
    let len = match address {
        IpAddr::V4(ip) => {
            // SAFETY: the storage is large and aligned enough for a sockaddr_in.
            let to = unsafe { &mut *at.cast::<libc::sockaddr_in>() };
            to.sin_family = libc::AF_INET as libc::sa_family_t;
            to.sin_addr.s_addr = u32::from_ne_bytes(ip.octets());
            mem::size_of::<libc::sockaddr_in>()
        }
        IpAddr::V6(ip) => {
            // SAFETY: the storage is large and aligned enough for a sockaddr_in6.
            let to = unsafe { &mut *at.cast::<libc::sockaddr_in6>() };
            to.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            to.sin6_addr.s6_addr = ip.octets();
            mem::size_of::<libc::sockaddr_in6>()
        }
    };
    let mut name = [0_u8; 256];
    // SAFETY: both buffers are described by their lengths; no service name is asked for.
    let code = unsafe {
        libc::getnameinfo(
            at.cast_const().cast(),
            len as libc::socklen_t,
            name.as_mut_ptr().cast(),
            name.len() as libc::socklen_t,
            std::ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    (code == 0).then(|| CStr::from_bytes_until_nul(&name).ok().map(CStr::to_owned)).flatten()
}
