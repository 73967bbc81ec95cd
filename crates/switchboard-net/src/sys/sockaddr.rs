//! Socket addresses as the kernel gets them: the bytes of a `sockaddr_in`, `sockaddr_in6` or `sockaddr_un`.

use crate::endpoint::Address;
use crate::error::Error;
use rustix::net::SocketAddrAny;
use std::slice;

/// The bytes that bind(2) or connect(2) would be given for `address`, as many as would be said.
///
/// # Errors
/// A name that does not fit a `sockaddr_un`.
pub fn bytes(address: &Address) -> Result<Vec<u8>, Error> {
    let any: SocketAddrAny = match (address.inet(), address.unix_name()?) {
        (Some(inet), _) => inet.into(),
        (None, Some(unix)) => unix.into(),
        (None, None) => return Err(Error::Config(format!("{address} is not the address of a socket"))),
    };
    // SAFETY: the storage lives as long as `any`, and its first `addr_len` bytes were written: the fields of these
    // three structures, padding included, leave no gap.
    let bytes = unsafe { slice::from_raw_parts(any.as_ptr().cast::<u8>(), any.addr_len() as usize) };
    Ok(bytes.to_vec())
}
