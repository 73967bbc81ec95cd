//! SOCKS5 (RFC 1928): which ways to say who we are, that (RFC 1929), the request, its reply. Every message tells its
//! length as it comes, so not one byte too many is taken.

use super::{Credentials, Destination};
use crate::prelude::{Failure, Gathered, Prelude, Why};
use alloc::format;
use alloc::vec::Vec;
use core::net::IpAddr;

const VERSION: u8 = 5;
const CONNECT: u8 = 1;
/// The version of the exchange of RFC 1929, which is another one than that of SOCKS.
const PASSWORD_VERSION: u8 = 1;

const NO_AUTHENTICATION: u8 = 0x00;
const PASSWORD: u8 = 0x02;
const NONE_ACCEPTABLE: u8 = 0xff;

const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Our side.
pub(super) struct Socks5 {
    output: Vec<u8>,
    reply: Gathered,
    state: State,
    /// User name and password as they are sent.
    secret: Option<Vec<u8>>,
    /// The request, until it is sent.
    request: Vec<u8>,
}

/// What is awaited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Method,
    Verdict,
    Reply,
    Done,
}

impl Socks5 {
    pub(super) fn new(destination: &Destination, credentials: Option<&Credentials>) -> Socks5 {
        let mut request = Vec::from([VERSION, CONNECT, 0]);
        match destination {
            // Their lengths were checked when they were taken.
            Destination::Name(name, _) => {
                request.extend([NAME, name.len() as u8]);
                request.extend(name.as_bytes());
            }
            Destination::Address(address) => match address.ip().to_canonical() {
                IpAddr::V4(ip) => {
                    request.push(IPV4);
                    request.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    request.push(IPV6);
                    request.extend(ip.octets());
                }
            },
        }
        request.extend(destination.port().to_be_bytes());
        let secret = credentials.map(|Credentials { user, password }| {
            let mut secret = Vec::from([PASSWORD_VERSION, user.len() as u8]);
            secret.extend(user.as_bytes());
            secret.push(password.len() as u8);
            secret.extend(password.as_bytes());
            secret
        });
        let output = match secret {
            Some(_) => Vec::from([VERSION, 2, NO_AUTHENTICATION, PASSWORD]),
            None => Vec::from([VERSION, 1, NO_AUTHENTICATION]),
        };
        Socks5 { output, reply: Gathered::default(), state: State::Method, secret, request }
    }

    /// Bytes of the message that is awaited, as far as it can be told yet.
    fn wanted(&self) -> usize {
        match (self.state, self.reply.bytes()) {
            (State::Done, _) => 0,
            (State::Method | State::Verdict, _) => 2,
            (State::Reply, [_, _, _, IPV4, ..]) => 4 + 4 + 2,
            (State::Reply, [_, _, _, IPV6, ..]) => 4 + 16 + 2,
            (State::Reply, [_, _, _, NAME, length, ..]) => 5 + usize::from(*length) + 2,
            (State::Reply, [_, _, _, _, ..]) => 5,
            (State::Reply, _) => 4,
        }
    }

    /// What is wrong is told as soon as it is there: a proxy that refuses may send no more.
    fn check(&self) -> Result<(), Failure> {
        let version = if self.state == State::Verdict { PASSWORD_VERSION } else { VERSION };
        match (self.state, self.reply.bytes()) {
            (_, [first, ..]) if *first != version => Err(Failure::new(
                Why::Malformed,
                format!("an answer that begins with byte {first} is not one of SOCKS5"),
            )),
            (State::Method, [_, NONE_ACCEPTABLE, ..]) => Err(Failure::new(
                Why::Denied,
                match self.secret {
                    Some(_) => "it takes neither a password nor nobody",
                    None => "it wants to know who asks: name a user and a password",
                },
            )),
            (State::Method, [_, method, ..]) => match *method {
                NO_AUTHENTICATION => Ok(()),
                PASSWORD if self.secret.is_some() => Ok(()),
                method => Err(Failure::new(
                    Why::Malformed,
                    format!("it chose authentication method {method}, which was not offered"),
                )),
            },
            (State::Verdict, [_, 0, ..]) => Ok(()),
            (State::Verdict, [_, _, ..]) => {
                Err(Failure::new(Why::Denied, "it does not accept this user name and password"))
            }
            (State::Reply, [_, code, ..]) if *code != 0 => Err(refusal(*code)),
            (State::Reply, [_, _, _, kind, ..]) if ![IPV4, NAME, IPV6].contains(kind) => {
                Err(Failure::new(Why::Malformed, format!("its answer has an address of unknown kind {kind}")))
            }
            _ => Ok(()),
        }
    }

    /// The message is complete.
    fn advance(&mut self) {
        let method = self.reply.bytes().get(1).copied();
        self.reply.clear();
        let secret = self.secret.take();
        self.state = match (self.state, method, secret) {
            (State::Method, Some(PASSWORD), Some(secret)) => {
                self.output = secret;
                State::Verdict
            }
            (State::Method | State::Verdict, ..) => {
                self.output = core::mem::take(&mut self.request);
                State::Reply
            }
            (State::Reply | State::Done, ..) => State::Done,
        };
    }
}

impl Prelude for Socks5 {
    fn take_output(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.output)
    }

    fn look(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        let mut taken = 0;
        // One message: what follows it answers something that was not asked yet.
        let state = self.state;
        while self.state == state && state != State::Done && taken < bytes.len() {
            taken += self.reply.take(&bytes[taken..], self.wanted());
            self.check()?;
            if self.reply.bytes().len() == self.wanted() {
                self.advance();
            }
        }
        Ok(taken)
    }

    fn is_done(&self) -> bool {
        self.state == State::Done
    }
}

/// RFC 1928 §6.
fn refusal(code: u8) -> Failure {
    let (why, words) = match code {
        1 => (Why::Denied, "general failure"),
        2 => (Why::Denied, "its rules do not allow this connection"),
        3 => (Why::Unreached, "network unreachable"),
        4 => (Why::Unreached, "host unreachable"),
        5 => (Why::Unreached, "connection refused"),
        6 => (Why::Unreached, "time to live expired"),
        7 => (Why::Denied, "it cannot connect, only do other things"),
        8 => (Why::Denied, "it does not know this kind of address"),
        _ => (Why::Malformed, "for a reason that SOCKS5 does not know"),
    };
    Failure::new(why, format!("it says no: {words} ({code})"))
}
