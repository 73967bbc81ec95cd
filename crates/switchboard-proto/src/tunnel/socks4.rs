//! SOCKS4 and SOCKS4a, as written down by their makers (`SOCKS: A protocol for TCP proxy across firewalls` and
//! `SOCKS 4A: A Simple Extension to SOCKS 4 Protocol`): one request, one reply of eight bytes.

use super::{Credentials, Destination};
use crate::prelude::{Failure, Gathered, Prelude, Why};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

const VERSION: u8 = 4;
const CONNECT: u8 = 1;
const REPLY: usize = 8;
/// An address that cannot be: the name follows (SOCKS 4A).
const NAME_FOLLOWS: [u8; 4] = [0, 0, 0, 1];

/// Our side.
pub(super) struct Socks4 {
    output: Vec<u8>,
    reply: Gathered,
    granted: bool,
}

impl Socks4 {
    pub(super) fn new(
        names: bool,
        destination: &Destination,
        credentials: Option<&Credentials>,
    ) -> Result<Socks4, String> {
        let (address, name) = match destination {
            Destination::Name(name, _) if names => (NAME_FOLLOWS, Some(name)),
            Destination::Name(name, _) => {
                return Err(format!("SOCKS4 takes addresses, and {name} is a name: use socks4a or socks5"));
            }
            Destination::Address(address) => match address.ip().to_canonical() {
                IpAddr::V4(ip) => (ip.octets(), None),
                IpAddr::V6(ip) => return Err(format!("SOCKS4 knows no IPv6, and {ip} is that: use socks5")),
            },
        };
        let mut output = Vec::from([VERSION, CONNECT]);
        output.extend(destination.port().to_be_bytes());
        output.extend(address);
        output.extend(credentials.map_or(&b""[..], |who| who.user.as_bytes()));
        output.push(0);
        if let Some(name) = name {
            output.extend(name.as_bytes());
            output.push(0);
        }
        Ok(Socks4 { output, reply: Gathered::default(), granted: false })
    }
}

impl Prelude for Socks4 {
    fn take_output(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.output)
    }

    fn look(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        if self.granted {
            return Ok(0);
        }
        let taken = self.reply.take(bytes, REPLY);
        if let [version, ..] = self.reply.bytes()
            && *version != 0
        {
            return Err(Failure::new(
                Why::Malformed,
                format!("an answer that begins with byte {version} is not one of SOCKS4"),
            ));
        }
        let refused = |why, words: &str| Err(Failure::new(why, format!("it says no: {words}")));
        if let [_, code, ..] = self.reply.bytes()
            && self.reply.bytes().len() == REPLY
        {
            match code {
                90 => self.granted = true,
                // The one code for all that can go wrong behind it.
                91 => return refused(Why::Unreached, "rejected or failed (91)"),
                92 => return refused(Why::Denied, "it cannot reach identd on this machine (92)"),
                93 => return refused(Why::Denied, "identd on this machine names another user (93)"),
                code => {
                    return Err(Failure::new(
                        Why::Malformed,
                        format!("its answer {code} is not one of SOCKS4"),
                    ));
                }
            }
        }
        Ok(taken)
    }

    fn is_done(&self) -> bool {
        self.granted
    }
}
