//! [`Codec`]: one TLS session without I/O. Everything has a bound: the handshake in bytes, plaintext by the room
//! that the caller gives, ciphertext by what the caller sends.

use super::{Facts, Failure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, HandshakeKind, ServerConfig, ServerConnection};
use std::io::{BufRead as _, Write};
use std::sync::Arc;
use switchboard_proto::Buffer;

/// Bytes that a peer may send before the handshake is done, if nothing else is asked for. A chain of four large
/// certificates is about 16 KiB.
pub const HANDSHAKE_BYTES: usize = 64 * 1024;

/// How far a session is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Keys are being agreed on; no plaintext passes.
    Handshake,
    /// Plaintext passes both ways.
    Open,
    /// The peer has ended its half with close_notify; ours may go on.
    PeerEnded,
    /// Over: all calls fail, but [`Codec::transmit`] has an alert for the peer.
    Failed,
}

/// One TLS session, of a client or a server.
pub struct Codec {
    connection: Connection,
    state: State,
    /// What the peer may still send before the handshake is done, bytes.
    budget: usize,
    handshake_bytes: usize,
    closed: bool,
}

impl Codec {
    /// A client's session with `name`, which is checked against the certificate and sent as SNI if it is a name
    /// and not an address.
    ///
    /// # Errors
    /// A configuration that rustls cannot use.
    pub fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        handshake_bytes: usize,
    ) -> Result<Codec, Failure> {
        let connection = ClientConnection::new(config, name).map_err(Failure::from_rustls)?;
        Ok(Codec::new(connection.into(), handshake_bytes))
    }

    /// A server's session.
    ///
    /// # Errors
    /// A configuration that rustls cannot use.
    pub fn server(config: Arc<ServerConfig>, handshake_bytes: usize) -> Result<Codec, Failure> {
        let connection = ServerConnection::new(config).map_err(Failure::from_rustls)?;
        Ok(Codec::new(connection.into(), handshake_bytes))
    }

    fn new(mut connection: Connection, handshake_bytes: usize) -> Codec {
        // The caller bounds what it gives; a second bound inside could only cut an answer in two.
        connection.set_buffer_limit(None);
        Codec { connection, state: State::Handshake, budget: handshake_bytes, handshake_bytes, closed: false }
    }

    /// How far the session is.
    pub fn state(&self) -> State {
        self.state
    }

    /// What was agreed on, and with whom; from [`State::Open`] on.
    pub fn facts(&self) -> Option<Facts> {
        (!self.connection.is_handshaking()).then(|| Facts::of(&self.connection))
    }

    /// Whether an earlier session was resumed.
    pub fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The name that the client asked for, as soon as it is known: also of a handshake that failed later.
    pub fn server_name(&self) -> Option<&str> {
        match &self.connection {
            Connection::Server(server) => server.server_name(),
            Connection::Client(_) => None,
        }
    }

    /// Takes ciphertext, and adds plaintext to `plain` until `room` bytes were added or more (a record is at most
    /// 16 KiB). What stays in `cipher` is to be given again when there is room. After close_notify the rest of
    /// the input means nothing and is dropped.
    ///
    /// # Errors
    /// The session is over; see [`Failure`]. Plaintext that came before is in `plain`.
    pub fn receive(&mut self, cipher: &mut Buffer, plain: &mut Buffer, room: usize) -> Result<(), Failure> {
        let full = plain.len().saturating_add(room);
        loop {
            match self.state {
                State::PeerEnded => {
                    cipher.clear();
                    return Ok(());
                }
                State::Failed => {
                    cipher.clear();
                    return Err(Failure::Over);
                }
                _ if cipher.is_empty() || plain.len() >= full => return Ok(()),
                State::Handshake | State::Open => self.step(cipher, plain)?,
            }
        }
    }

    /// Gives rustls one piece (4 KiB at most, by rustls' own bound) and takes what comes of it.
    fn step(&mut self, cipher: &mut Buffer, plain: &mut Buffer) -> Result<(), Failure> {
        let handshaking = self.connection.is_handshaking();
        let most = if handshaking { cipher.len().min(self.budget) } else { cipher.len() };
        if most == 0 {
            self.state = State::Failed;
            return Err(Failure::Budget { limit: self.handshake_bytes });
        }
        let mut piece = &cipher.bytes()[..most];
        let taken = match self.connection.read_tls(&mut piece) {
            Ok(taken) if taken > 0 => taken,
            // A record longer than TLS allows: rustls has no room left for it.
            _ => {
                self.state = State::Failed;
                return Err(Failure::Protocol("a record longer than TLS allows".into()));
            }
        };
        let first = cipher.bytes()[..taken.min(8)].to_vec();
        cipher.consume(taken);
        if handshaking {
            self.budget -= taken;
        }
        let io = self.connection.process_new_packets();
        self.collect(plain);
        match io {
            Ok(io) => {
                if self.state == State::Handshake && !self.connection.is_handshaking() {
                    self.state = State::Open;
                }
                if io.peer_has_closed() {
                    // Before the handshake is done it can end nothing that has begun.
                    if self.state == State::Handshake {
                        self.state = State::Failed;
                        return Err(Failure::Alert("close_notify before the handshake was done".into()));
                    }
                    self.state = State::PeerEnded;
                }
                Ok(())
            }
            Err(error) => {
                let at_start = handshaking && self.budget + taken == self.handshake_bytes;
                self.state = State::Failed;
                Err(if at_start { Failure::at_start(error, &first) } else { Failure::from_rustls(error) })
            }
        }
    }

    /// Moves decrypted bytes out of rustls.
    fn collect(&mut self, plain: &mut Buffer) {
        let mut reader = self.connection.reader();
        // An error says that there is nothing now, or never again; the state tells which.
        while let Ok(chunk) = reader.fill_buf() {
            let n = chunk.len();
            if n == 0 {
                return;
            }
            plain.push(chunk);
            reader.consume(n);
        }
    }

    /// The transport's end of input (a FIN).
    ///
    /// # Errors
    /// [`Failure::Truncated`] if the peer had not said close_notify: an attacker may have cut the stream.
    pub fn receive_end(&mut self) -> Result<(), Failure> {
        match self.state {
            State::PeerEnded => Ok(()),
            State::Handshake => {
                self.state = State::Failed;
                Err(Failure::Unfinished)
            }
            State::Open => {
                self.state = State::Failed;
                Err(Failure::Truncated)
            }
            State::Failed => Err(Failure::Over),
        }
    }

    /// Encrypts all of `plain` and adds it to `cipher`, 22 to 29 bytes longer per record of 16 KiB. Before
    /// [`State::Open`], and after [`close`](Codec::close), nothing is taken.
    pub fn send(&mut self, plain: &mut Buffer, cipher: &mut Buffer) {
        if matches!(self.state, State::Open | State::PeerEnded) && !self.closed && !plain.is_empty() {
            let taken = self.connection.writer().write(plain.bytes()).unwrap_or(0);
            plain.consume(taken);
        }
        self.transmit(cipher);
    }

    /// Ends our half: adds close_notify to `cipher`. Nothing can be sent afterwards; receiving goes on.
    pub fn close(&mut self, cipher: &mut Buffer) {
        if !self.closed {
            self.closed = true;
            self.connection.send_close_notify();
        }
        self.transmit(cipher);
    }

    /// Adds to `cipher` what is to be sent: handshake messages, alerts, key updates, records.
    pub fn transmit(&mut self, cipher: &mut Buffer) {
        while self.connection.wants_write() {
            if !matches!(self.connection.write_tls(&mut Sink(cipher)), Ok(1..)) {
                return;
            }
        }
    }
}

/// A buffer as something to write to; it always takes everything.
struct Sink<'a>(&'a mut Buffer);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
