//! [`Postgres`]: `SSLRequest`, eight bytes, answered by one: `S` or `N`.

use super::injected;
use crate::prelude::{Failure, Prelude, Why, shown};
use alloc::format;
use alloc::vec::Vec;

/// Length, and the code that is no version of the protocol (PostgreSQL manual, "Message Formats").
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Our side.
#[derive(Default)]
pub(super) struct Postgres {
    asked: bool,
    done: bool,
}

impl Prelude for Postgres {
    fn take_output(&mut self) -> Vec<u8> {
        match core::mem::replace(&mut self.asked, true) {
            true => Vec::new(),
            false => SSL_REQUEST.to_vec(),
        }
    }

    fn look(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        match bytes {
            _ if self.done => Ok(0),
            [] => Ok(0),
            [b'S'] => {
                self.done = true;
                Ok(1)
            }
            // CVE-2021-23222.
            [b'S', ..] => Err(injected()),
            [b'N', ..] => Err(Failure::new(Why::Denied, "it does not offer TLS")),
            _ => {
                let text = shown(&bytes[..bytes.len().min(40)]);
                Err(Failure::new(Why::Malformed, format!("`{text}` is no answer of postgres")))
            }
        }
    }

    fn is_done(&self) -> bool {
        self.done
    }
}
