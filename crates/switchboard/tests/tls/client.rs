//! A TLS client over a real socket, which never waits for more than poll(2) says there is.

use crate::authority::{Authority, Issued};
use crate::harness::PATIENCE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Instant;
use switchboard_net::tls::{Codec, Facts, HANDSHAKE_BYTES, State, provider};
use switchboard_proto::Buffer;

/// How a client speaks.
#[derive(Clone)]
pub(crate) struct How {
    config: ClientConfig,
    pub(crate) name: &'static str,
    /// Bytes in one call at most.
    pub(crate) piece: usize,
    /// Say nothing for the end, and close the connection like that.
    pub(crate) truncates: bool,
}

impl How {
    /// Trusts `authority`, shows `own` if the server asks.
    pub(crate) fn new(authority: &Authority, own: Option<&Issued>) -> How {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(&authority.file).expect("a certificate"))
            .expect("an authority");
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = vec![CertificateDer::from_pem_file(&own.cert).expect("a certificate")];
                let key = PrivateKeyDer::from_pem_file(&own.key).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("they fit")
            }
        };
        How { config, name: "localhost", piece: 16_384, truncates: false }
    }

    pub(crate) fn alpn(mut self, names: &[&str]) -> How {
        self.config.alpn_protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }
}

/// What came of a conversation.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) bytes: Vec<u8>,
    pub(crate) facts: Option<Facts>,
    /// Why it ended badly, if it did.
    pub(crate) failure: Option<String>,
}

impl Heard {
    /// All of this came, and nothing went wrong.
    #[track_caller]
    pub(crate) fn must_be(&self, said: &[u8]) {
        let Heard { bytes, failure, .. } = self;
        assert!(bytes == said && failure.is_none(), "{} of {} bytes, {failure:?}", bytes.len(), said.len());
    }
}

/// A session that has begun.
pub(crate) struct Client {
    codec: Codec,
    socket: TcpStream,
    how: How,
    up: Buffer,
    heard: Buffer,
}

impl Client {
    pub(crate) fn connect(endpoint: &str, how: &How) -> Client {
        let address = endpoint.strip_prefix("tls:").expect("an endpoint of TLS");
        let socket = TcpStream::connect(address).expect("connect");
        socket.set_nonblocking(true).expect("a socket");
        socket.set_nodelay(true).expect("a socket");
        let name = ServerName::try_from(how.name).expect("a name");
        let mut codec =
            Codec::client(Arc::new(how.config.clone()), name, HANDSHAKE_BYTES).expect("a session");
        let mut up = Buffer::new();
        codec.transmit(&mut up);
        Client { codec, socket, how: how.clone(), up, heard: Buffer::new() }
    }

    /// Says `input`, ends it, and hears what comes back until that ends.
    pub(crate) fn converse(mut self, input: &[u8]) -> Heard {
        let failure = self.go_on(input, None).err();
        Heard { bytes: self.heard.bytes().to_vec(), facts: self.codec.facts(), failure }
    }

    /// Says `input`, and hears until `wanted` bytes are there; the session goes on.
    pub(crate) fn exchange(&mut self, input: &[u8], wanted: usize) -> Vec<u8> {
        self.go_on(input, Some(wanted)).expect("a session that goes on");
        let heard = self.heard.bytes().to_vec();
        self.heard.clear();
        heard
    }

    pub(crate) fn facts(&self) -> Option<Facts> {
        self.codec.facts()
    }

    fn go_on(&mut self, input: &[u8], wanted: Option<usize>) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        let mut rest = Buffer::from(input);
        let (mut said_all, mut ended) = (false, false);
        loop {
            if self.codec.state() != State::Handshake && self.up.len() < 65_536 {
                self.codec.send(&mut rest, &mut self.up);
            }
            if wanted.is_none()
                && rest.is_empty()
                && self.codec.state() == State::Open
                && !said_all
                && self.up.is_empty()
            {
                said_all = true;
                if self.how.truncates {
                    let _ = self.socket.shutdown(Shutdown::Write);
                } else {
                    self.codec.close(&mut self.up);
                }
            }
            if wanted.is_some_and(|wanted| self.heard.len() >= wanted) && self.up.is_empty() {
                return Ok(());
            }
            if ended {
                return Ok(());
            }
            let interest = if self.up.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no answer; {} bytes heard, {} to say", self.heard.len(), rest.len());
            let mut fds = [PollFd::new(&self.socket, interest)];
            let timeout = Timespec::try_from(left).expect("short");
            let _ = poll(&mut fds, Some(&timeout));
            if !self.up.is_empty() {
                let piece = self.up.len().min(self.how.piece);
                match self.socket.write(&self.up.bytes()[..piece]) {
                    Ok(n) => self.up.consume(n),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error.to_string()),
                }
            }
            let mut piece = vec![0; self.how.piece];
            match self.socket.read(&mut piece) {
                Ok(0) => {
                    self.codec.receive_end().map_err(|failure| failure.to_string())?;
                    ended = true;
                }
                Ok(n) => {
                    let came =
                        self.codec.receive(&mut Buffer::from(&piece[..n]), &mut self.heard, usize::MAX);
                    self.codec.transmit(&mut self.up);
                    came.map_err(|failure| failure.to_string())?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}
