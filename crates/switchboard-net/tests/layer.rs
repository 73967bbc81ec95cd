//! TLS as a layer in virtual time: a connection as an engine drives it, with short reads and writes, and a client of
//! TLS at the other end of the wire.

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use switchboard_net::tls::{Codec, HANDSHAKE_BYTES, Identity, Server, Settings, State, Witness, provider};
use switchboard_proto::{
    Bounds, Buffer, Cause, Connection, End, Instant, Random, Service, Start, Transport, Wall, layer::Idle,
};

const MS: u64 = 1_000_000;

/// A server's side and a client's, and what is under way between them.
struct World {
    connection: Connection,
    witness: Witness,
    client: Codec,
    to_server: Buffer,
    to_client: Buffer,
    heard: Buffer,
    /// The client's TCP has ended.
    ended: bool,
    told_end: bool,
    now: Instant,
    random: Random,
}

fn server() -> (Server, Arc<ClientConfig>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let directory = std::env::temp_dir().join(format!("switchboard-layer-{}", std::process::id()));
    let file = directory.join(format!("{:?}.pem", std::thread::current().id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(&file, certificate.pem() + &key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&file).unwrap()).unwrap();
    let identity = Identity::read(&file, &file, 1_800_000_000).unwrap();
    std::fs::remove_file(&file).unwrap();
    let server = Server::new(Settings::new(vec![identity])).unwrap();
    let client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server, Arc::new(client))
}

impl World {
    fn new(
        (server, client): &(Server, Arc<ClientConfig>),
        service: &str,
        bounds: Bounds,
        seed: u64,
    ) -> World {
        let (witness, now) = (Witness::default(), Instant(0));
        let start = Start { transport: Transport::Stream, wall: Wall::utc(0), seed };
        let bare = Service::find(service).unwrap().recipe(&[]).unwrap().session(&start);
        let idle = Box::new(Idle::new(bare, Duration::from_secs(60), now));
        let session = server.layer(idle, witness.clone(), now);
        let name = ServerName::try_from("localhost").unwrap();
        World {
            connection: Connection::new(session, Transport::Stream, bounds, now),
            witness,
            client: Codec::client(Arc::clone(client), name, HANDSHAKE_BYTES).unwrap(),
            to_server: Buffer::new(),
            to_client: Buffer::new(),
            heard: Buffer::new(),
            ended: false,
            told_end: false,
            now,
            random: Random::new(seed),
        }
    }

    /// Everybody does a little of what can be done.
    fn step(&mut self) {
        self.now = Instant(self.now.0 + self.random.below(1_000) as u64);
        self.client.transmit(&mut self.to_server);
        let wants = self.connection.wants();
        if wants.read && !self.to_server.is_empty() {
            let mut piece = Buffer::new();
            let most = 1 + self.random.below(3_000);
            piece.append_up_to(&mut self.to_server, most);
            self.connection.on_read(piece, self.now);
        } else if wants.read && self.ended && !self.told_end && self.to_server.is_empty() {
            self.told_end = true;
            self.connection.on_read(Buffer::new(), self.now);
        }
        if self.connection.wants().write && self.to_client.len() < 5_000 {
            let mut out = self.connection.take_write();
            let sent = 1 + self.random.below(out.len());
            self.to_client.push(&out.bytes()[..sent]);
            out.consume(sent);
            self.connection.on_write(out, self.now);
        }
        if self.connection.wants().shutdown {
            self.connection.on_shutdown(self.now);
        }
        if self.random.one_in(3) {
            self.client.receive(&mut self.to_client, &mut self.heard, 2_000).unwrap();
        }
        if self.connection.deadline() <= self.now {
            self.connection.on_deadline(self.now);
        }
    }
}

#[test]
fn an_echo_comes_back_whole_within_its_bounds() {
    let house = server();
    for seed in 1..30 {
        let bounds = Bounds { rx: 4_096, tx: 8_192, ..Bounds::default() };
        let mut world = World::new(&house, "echo", bounds, seed);
        let said: Vec<u8> = (0..world.random.below(60_000)).map(|at| (at % 251) as u8).collect();
        let mut rest = Buffer::from(&said[..]);
        for _ in 0..200_000 {
            world.step();
            if world.client.state() == State::Open && world.to_server.len() < 20_000 {
                let mut piece = Buffer::new();
                piece.append_up_to(&mut rest, 1 + (seed as usize * 97) % 9_000);
                world.client.send(&mut piece, &mut world.to_server);
                if rest.is_empty() {
                    world.client.close(&mut world.to_server);
                }
            }
            // One answer beyond the bound is what the session inside may say at once, and each record has its cost.
            assert!(world.connection.pending() <= 3 * 8_192, "seed {seed}: {}", world.connection.pending());
            assert!(world.connection.untaken() < 4_096 + 3_000, "seed {seed}");
            if world.client.state() == State::PeerEnded {
                break;
            }
        }
        assert!(world.heard.bytes() == said, "seed {seed}: {} of {}", world.heard.len(), said.len());
        assert_eq!(
            (world.client.state(), world.connection.end()),
            (State::PeerEnded, End::Peer),
            "seed {seed}"
        );
        assert!(world.witness.known().failure.is_none());
    }
}

#[test]
fn a_handshake_ends_at_its_time_and_not_before() {
    let mut world = World::new(&server(), "echo", Bounds::default(), 1);
    assert_eq!(world.connection.deadline(), Instant(10_000 * MS));
    world.connection.on_deadline(Instant(9_999 * MS));
    assert!(!world.connection.wants().shutdown);
    world.connection.on_deadline(Instant(10_000 * MS));
    assert!(world.connection.wants().shutdown);
    assert_eq!(world.connection.end(), End::Cause(Cause::Layer("tls-handshake")));
}

#[test]
fn what_ends_inside_ends_with_close_notify() {
    let house = server();
    let mut world = World::new(&house, "echo", Bounds::default(), 2);
    while world.witness.known().facts.is_none()
        || !world.to_server.is_empty()
        || world.connection.pending() > 0
    {
        world.step();
    }
    // The idle limit inside is polite: the client is told, and does not take the end for a truncation.
    world.now = Instant(200_000 * MS);
    for _ in 0..100 {
        world.step();
    }
    assert_eq!((world.client.state(), world.connection.end()), (State::PeerEnded, End::Cause(Cause::Idle)));
    // A service that says its word and ends does so in TLS as well.
    let mut world = World::new(&house, "daytime", Bounds::default(), 3);
    while world.client.state() != State::PeerEnded {
        world.step();
    }
    assert!(world.heard.bytes().ends_with(b"\r\n"));
    assert_eq!(world.connection.end(), End::Service);
}

#[test]
fn an_end_without_close_notify_is_no_end_to_the_session() {
    let mut world = World::new(&server(), "echo", Bounds::default(), 4);
    while world.client.state() == State::Handshake {
        world.step();
    }
    world.client.send(&mut Buffer::from(&b"whole"[..]), &mut world.to_server);
    world.ended = true;
    while !world.told_end || world.connection.pending() > 0 {
        world.step();
    }
    world.client.receive(&mut world.to_client, &mut world.heard, 2_000).unwrap();
    assert_eq!(world.heard.bytes(), b"whole");
    assert_eq!(world.connection.end(), End::Cause(Cause::Layer("tls-truncated")));
}
