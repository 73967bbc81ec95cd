//! Two codecs face to face, without a socket: every promise of `Codec`.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::sync::Arc;
use switchboard_net::tls::{Certificate, Codec, Failure, HANDSHAKE_BYTES, State, provider};
use switchboard_proto::{Buffer, Random};

/// An authority, a certificate of `localhost`, and the two configurations that go with them.
struct House {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    certificate: CertificateDer<'static>,
}

impl House {
    fn new() -> House {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "An Authority, of Sorts");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "localhost");
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        params.subject_alt_names.push(SanType::URI("spiffe://here/echo".try_into().unwrap()));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        House { server: Arc::new(server), client: Arc::new(client), certificate }
    }

    fn pair(&self) -> (Codec, Codec) {
        let name = ServerName::try_from("localhost").unwrap();
        (
            Codec::client(Arc::clone(&self.client), name, HANDSHAKE_BYTES).unwrap(),
            Codec::server(Arc::clone(&self.server), HANDSHAKE_BYTES).unwrap(),
        )
    }

    /// Two codecs that have shaken hands.
    fn open(&self) -> (Codec, Codec) {
        let (mut client, mut server) = self.pair();
        let (mut up, mut down, mut plain) = Default::default();
        client.transmit(&mut up);
        for _ in 0..8 {
            server.receive(&mut up, &mut plain, 1).unwrap();
            server.transmit(&mut down);
            client.receive(&mut down, &mut plain, 1).unwrap();
            client.transmit(&mut up);
        }
        assert_eq!((client.state(), server.state()), (State::Open, State::Open));
        assert!(plain.is_empty());
        (client, server)
    }
}

#[test]
fn what_goes_in_comes_out_however_it_is_cut() {
    let house = House::new();
    for seed in 1..40 {
        let mut random = Random::new(seed);
        let (mut client, mut server) = house.pair();
        let text: Vec<u8> = (0..random.below(100_000)).map(|at| (at % 251) as u8).collect();
        let (mut input, mut output) = (Buffer::from(&text[..]), Buffer::new());
        let (mut up, mut down, mut none) = (Buffer::new(), Buffer::new(), Buffer::new());
        client.transmit(&mut up);
        for _ in 0..1_000_000 {
            let mut piece = Buffer::new();
            let most = if random.one_in(2) { 1 + random.below(9) } else { 1 + random.below(20_000) };
            piece.append_up_to(&mut up, most);
            let room = 1 + random.below(5_000);
            let before = output.len();
            server.receive(&mut piece, &mut output, room).unwrap();
            assert!(output.len() - before < room + 16_384, "seed {seed}: room is a bound");
            // What it did not take comes again, in its place.
            piece.append(&mut up);
            up = piece;
            server.transmit(&mut down);
            client.receive(&mut down, &mut none, 1).unwrap();
            let mut some = Buffer::new();
            some.append_up_to(&mut input, random.below(9_000));
            client.send(&mut some, &mut up);
            some.append(&mut input);
            input = some;
            if input.is_empty() && client.state() == State::Open {
                client.close(&mut up);
            }
            if server.state() == State::PeerEnded {
                break;
            }
        }
        assert_eq!(server.state(), State::PeerEnded, "seed {seed}");
        assert!(output.bytes() == text, "seed {seed}");
        server.receive_end().unwrap();
        assert!(none.is_empty());
    }
}

#[test]
fn a_half_closed_session_still_carries_the_answer() {
    let (mut client, mut server) = House::new().open();
    let (mut up, mut down, mut heard) = (Buffer::new(), Buffer::new(), Buffer::new());
    client.close(&mut up);
    server.receive(&mut up, &mut heard, 100).unwrap();
    assert_eq!(server.state(), State::PeerEnded);
    server.send(&mut Buffer::from(&b"the answer"[..]), &mut down);
    server.close(&mut down);
    client.receive(&mut down, &mut heard, 100).unwrap();
    assert_eq!((heard.bytes(), client.state()), (&b"the answer"[..], State::PeerEnded));
    let mut late = Buffer::from(&b"late"[..]);
    server.send(&mut late, &mut down);
    assert_eq!((late.len(), down.len()), (4, 0), "after close nothing is taken");
}

#[test]
fn an_end_without_close_notify_is_a_truncation() {
    let house = House::new();
    let (mut client, mut server) = house.open();
    assert_eq!(server.receive_end(), Err(Failure::Truncated));
    assert_eq!(client.receive_end(), Err(Failure::Truncated));
    let (mut client, mut server) = house.pair();
    assert_eq!(server.receive_end(), Err(Failure::Unfinished));
    assert_eq!(client.receive_end(), Err(Failure::Unfinished));
    assert_eq!(client.receive_end(), Err(Failure::Over));
}

#[test]
fn a_peer_that_ends_after_any_number_of_bytes_ends_the_session() {
    // Where complete_io looped for ever (RUSTSEC-2024-0336): an end, or a close_notify, in the middle of the handshake.
    let house = House::new();
    let alert = [21, 3, 3, 0, 2, 1, 0];
    for with_alert in [false, true] {
        for cut in 0..2_000 {
            let (mut client, mut server) = house.pair();
            let (mut up, mut down, mut plain) = (Buffer::new(), Buffer::new(), Buffer::new());
            client.transmit(&mut up);
            let hello = up.len();
            if cut <= hello {
                up.truncate(cut);
                if with_alert {
                    up.push(&alert);
                }
                let failed = server.receive(&mut up, &mut plain, 1).is_err();
                server.transmit(&mut down);
                assert!(failed || server.receive_end().is_err(), "server, cut at {cut}");
            }
            let (mut client, mut server) = house.pair();
            let (mut up, mut down) = (Buffer::new(), Buffer::new());
            client.transmit(&mut up);
            server.receive(&mut up, &mut plain, 1).unwrap();
            server.transmit(&mut down);
            if cut >= down.len() {
                break;
            }
            down.truncate(cut);
            if with_alert {
                down.push(&alert);
            }
            let failed = client.receive(&mut down, &mut plain, 1).is_err();
            client.transmit(&mut up);
            assert!(failed || client.receive_end().is_err(), "client, cut at {cut}");
        }
    }
}

#[test]
fn the_handshake_has_a_budget() {
    let house = House::new();
    let mut server = Codec::server(Arc::clone(&house.server), 100).unwrap();
    let (mut client, _) = house.pair();
    let (mut up, mut plain) = (Buffer::new(), Buffer::new());
    client.transmit(&mut up);
    assert_eq!(server.receive(&mut up, &mut plain, 1), Err(Failure::Budget { limit: 100 }));
    assert_eq!(server.state(), State::Failed);
}

#[test]
fn a_bit_flipped_anywhere_is_noticed() {
    let house = House::new();
    for seed in 1..200 {
        let mut random = Random::new(seed);
        let (mut client, mut server) = house.open();
        let (mut up, mut heard) = (Buffer::new(), Buffer::new());
        client.send(&mut Buffer::from(&b"a message of some importance"[..]), &mut up);
        let mut bytes = up.bytes().to_vec();
        // Not a record's type and version: the true ones are inside, encrypted.
        let at = 3 + random.below(bytes.len() - 3);
        bytes[at] ^= 1 << random.below(8);
        let came = server.receive(&mut Buffer::from(&bytes[..]), &mut heard, 100);
        // A flipped length may only make it wait for more, which then does not come.
        assert!(came.is_err() || server.receive_end().is_err(), "seed {seed}");
        assert!(heard.is_empty(), "seed {seed}");
    }
}

#[test]
fn what_is_not_tls_is_called_so() {
    let house = House::new();
    let (_, mut server) = house.pair();
    let (mut down, mut plain) = (Buffer::new(), Buffer::new());
    let failure =
        server.receive(&mut Buffer::from(&b"GET / HTTP/1.1\r\n\r\n"[..]), &mut plain, 1).unwrap_err();
    assert_eq!(failure.to_string(), "the peer does not speak TLS: it began with GET / HT");
    server.transmit(&mut down);
    assert_eq!(down.bytes()[0], 21, "an alert tells the peer");
    for seed in 1..500 {
        let mut random = Random::new(seed);
        let (mut client, mut server) = house.pair();
        let bytes: Vec<u8> = (0..random.below(600)).map(|_| random.below(256) as u8).collect();
        let _ = server.receive(&mut Buffer::from(&bytes[..]), &mut plain, 1);
        let _ = client.receive(&mut Buffer::from(&bytes[..]), &mut plain, 1);
        assert!(server.receive_end().is_err() && client.receive_end().is_err());
    }
}

#[test]
fn facts_say_what_was_agreed_on() {
    let house = House::new();
    let (client, server) = house.open();
    let (client, server) = (client.facts().unwrap(), server.facts().unwrap());
    assert_eq!((server.version, server.server_name.as_deref()), ("TLSv1.3", Some("localhost")));
    assert!(server.suite.starts_with("TLS_") && !server.suite.contains("TLS13"), "{}", server.suite);
    assert_eq!((client.suite, client.peer_chain), (server.suite, vec![house.certificate.to_vec()]));
    let peer = client.peer.unwrap();
    assert_eq!((&*peer.subject, &*peer.issuer), ("CN=localhost", "CN=An Authority\\, of Sorts"));
    let sans: Vec<_> = peer.sans.iter().map(ToString::to_string).collect();
    assert_eq!(sans, ["DNS:localhost", "IP:127.0.0.1", "URI:spiffe://here/echo"]);
    assert!(server.peer.is_none());
}

#[test]
fn a_certificate_with_flipped_bits_is_read_or_refused() {
    let der = House::new().certificate;
    for seed in 1..5_000 {
        let mut random = Random::new(seed);
        let mut bytes = der.to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            bytes[at] = random.below(256) as u8;
        }
        bytes.truncate(1 + random.below(bytes.len()));
        let _ = Certificate::parse(&bytes);
    }
}
