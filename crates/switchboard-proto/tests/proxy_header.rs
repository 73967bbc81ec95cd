//! The PROXY header: what the specification shows, what real proxies sent, every kind of mistake, and random headers
//! there and back, cut anywhere. Row B1: what a layer says is the same for every service.

use std::net::{IpAddr, SocketAddr};
use switchboard_proto::Random;
use switchboard_proto::proxy_header::{
    Carrier, Certificate, Decoded, Extras, Header, MAX_UNIQUE_ID, MAX_V1, MAX_V2, Malformed, Origin, Ssl,
    Tlv, Unencodable, Version, Versions, decode,
};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2: the thirteenth byte, the fourteenth, and what follows the length.
fn v2(what: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[what, family], &length, rest].concat()
}

/// Addresses and ports of IPv4, for [`v2`].
const FOUR: &[u8] = &[192, 0, 2, 7, 198, 51, 100, 1, 0x9c, 0x40, 0, 7];

fn whole(bytes: &[u8]) -> Header {
    match decode(bytes, Versions::Any) {
        Ok(Decoded::Header(header, length)) if length == bytes.len() => header,
        other => panic!("{}: {other:?}", bytes.escape_ascii()),
    }
}

fn wrong(bytes: &[u8]) -> Malformed {
    let found = decode(bytes, Versions::Any).expect_err("this is no header");
    assert!(!found.to_string().is_empty());
    found
}

fn inet(source: &str, destination: &str) -> Origin {
    Origin::Inet { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// Whatever is cut off a header: the rest is a beginning, and nothing else.
fn beginnings(bytes: &[u8]) {
    for length in 0..bytes.len() {
        assert_eq!(decode(&bytes[..length], Versions::Any), Ok(Decoded::More), "{length} bytes");
    }
}

#[test]
fn the_lines_of_the_specification() {
    let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    let all = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
    let cases = [
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            inet("255.255.255.255:65535", "255.255.255.255:65535"),
        ),
        (longest, inet(all, all)),
        ("PROXY UNKNOWN\r\n", Origin::Unknown),
        (
            "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            Origin::Unknown,
        ),
        ("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", inet("192.168.0.1:56324", "192.168.0.11:443")),
        ("PROXY TCP6 ::1 ::FFFF:10.0.0.1 0 1\r\n", inet("[::1]:0", "[::ffff:10.0.0.1]:1")),
        ("PROXY UNKNOWN a lone \r and \n, to be ignored\r\n", Origin::Unknown),
    ];
    for (line, origin) in cases {
        let header = whole(line.as_bytes());
        assert_eq!(
            (header.version, header.origin, header.carrier),
            (Version::V1, origin, Carrier::Stream),
            "{line}"
        );
        beginnings(line.as_bytes());
        // What follows is the client's.
        let followed = [line.as_bytes(), b"GET / HTTP/1.1\r\n\r\n"].concat();
        assert!(
            matches!(decode(&followed, Versions::V1), Ok(Decoded::Header(_, length)) if length == line.len())
        );
    }
}

#[test]
fn lines_that_are_none() {
    for (line, problem) in [
        ("GET / HTTP/1.1\r\n", Malformed::NoHeader),
        ("PROXZ", Malformed::NotV1),
        ("PROXY\r\n", Malformed::NotV1),
        ("PROXY\tTCP4", Malformed::NotV1),
        ("PROXY TCP5 ", Malformed::Protocol),
        ("PROXY tcp4", Malformed::Protocol),
        ("PROXY UNKNOWNS", Malformed::Protocol),
        ("PROXY  TCP4", Malformed::Protocol),
        ("PROXY TCP4\r\n", Malformed::Words),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", Malformed::Words),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", Malformed::Words),
        ("PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n", Malformed::Words),
        ("PROXY TCP4 1.2.3.4  1.2.3.4 1\r\n", Malformed::Address(2)),
        ("PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n", Malformed::Address(1)),
        ("PROXY TCP4 1.2.3.4 ::1 1 2\r\n", Malformed::Address(2)),
        ("PROXY TCP6 ::1%lo ::1 1 2\r\n", Malformed::Address(1)),
        ("PROXY TCP6 ::1 1.2.3.4 1 2\r\n", Malformed::Address(2)),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", Malformed::Port(1)),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", Malformed::Port(2)),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", Malformed::Port(1)),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", Malformed::LoneLineEnd),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rx", Malformed::LoneLineEnd),
    ] {
        assert_eq!(wrong(line.as_bytes()), problem, "{line:?}");
    }
    let endless = [&b"PROXY UNKNOWN "[..], &[b'x'; MAX_V1]].concat();
    beginnings(&endless[..MAX_V1]);
    assert_eq!(wrong(&endless[..MAX_V1]), Malformed::Endless);
    assert_eq!(wrong(&[&endless[..MAX_V1 - 1], b"\r\n"].concat()), Malformed::Endless);
}

#[test]
fn only_the_versions_that_are_welcome() {
    let (first, second) = (b"PROXY UNKNOWN\r\n", v2(0x20, 0, b""));
    for (bytes, versions, expected) in [
        (&first[..], Versions::V2, Malformed::NotV2),
        (&second, Versions::V1, Malformed::NotV1),
        (b"x", Versions::Any, Malformed::NoHeader),
    ] {
        assert_eq!(decode(bytes, versions), Err(expected));
    }
    assert!(matches!(decode(first, Versions::V1), Ok(Decoded::Header(..))));
    assert!(matches!(decode(&second, Versions::V2), Ok(Decoded::Header(..))));
}

#[test]
fn the_families_of_version_2() {
    let six = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 15], &[1], &[0, 1, 0, 2]].concat();
    let mut paths = [0; 216];
    paths[..8].copy_from_slice(b"/run/a.s");
    paths[108..113].copy_from_slice(b"\0name");
    let unix = Origin::Unix { source: Box::from(&b"/run/a.s"[..]), destination: Box::from(&b"\0name"[..]) };
    let unnamed = Origin::Unix { source: Box::from(&b""[..]), destination: Box::from(&[b'x'; 108][..]) };
    let cases = [
        (v2(0x21, 0x11, FOUR), inet("192.0.2.7:40000", "198.51.100.1:7"), Carrier::Stream),
        (v2(0x21, 0x12, FOUR), inet("192.0.2.7:40000", "198.51.100.1:7"), Carrier::Datagram),
        (v2(0x21, 0x21, &six), inet("[2001:db8::1]:1", "[::1]:2"), Carrier::Stream),
        (v2(0x21, 0x22, &six), inet("[2001:db8::1]:1", "[::1]:2"), Carrier::Datagram),
        (v2(0x21, 0x31, &paths), unix.clone(), Carrier::Stream),
        (v2(0x21, 0x32, &paths), unix, Carrier::Datagram),
        (v2(0x21, 0x31, &[&[0; 108][..], &[b'x'; 108]].concat()), unnamed, Carrier::Stream),
        (v2(0x21, 0, b""), Origin::Unknown, Carrier::Stream),
        (v2(0x20, 0, b""), Origin::Local, Carrier::Stream),
        // LOCAL: whatever else is there is thrown away, unread.
        (v2(0x20, 0x11, FOUR), Origin::Local, Carrier::Stream),
        (v2(0x20, 0xff, b"\x03no extra"), Origin::Local, Carrier::Stream),
    ];
    for (bytes, origin, carrier) in cases {
        let header = whole(&bytes);
        assert_eq!((header.version, header.origin, header.carrier), (Version::V2, origin, carrier));
        beginnings(&bytes);
    }
}

#[test]
fn binary_that_is_none() {
    for (bytes, problem) in [
        (b"\r\n\r\nx".to_vec(), Malformed::NotV2),
        (v2(0x11, 0x11, FOUR)[..13].to_vec(), Malformed::VersionNumber(1)),
        (v2(0x22, 0x11, FOUR)[..13].to_vec(), Malformed::Command(2)),
        (v2(0x21, 0x10, FOUR)[..14].to_vec(), Malformed::Family(0x10)),
        (v2(0x21, 0x01, b"")[..14].to_vec(), Malformed::Family(0x01)),
        (v2(0x21, 0x41, b"")[..14].to_vec(), Malformed::Family(0x41)),
        (v2(0x21, 0x11, &FOUR[..11])[..16].to_vec(), Malformed::NoRoomForAddresses(27)),
        (v2(0x20, 0, &[0; MAX_V2])[..16].to_vec(), Malformed::TooLong(MAX_V2 + 16)),
        (v2(0x21, 0x11, &[FOUR, b"\x01\0"].concat()), Malformed::Cut(28)),
        (v2(0x21, 0x11, &[FOUR, b"\x04\0\0\x01\0\x02h"].concat()), Malformed::Cut(31)),
        (v2(0x21, 0x11, &[FOUR, b"\x03\0\x02ab"].concat()), Malformed::Length(3)),
        (v2(0x21, 0x11, &[FOUR, b"\x20\0\x04abcd"].concat()), Malformed::Length(0x20)),
        (v2(0x21, 0x11, &[FOUR, b"\x20\0\x07\x01\0\0\0\0\x21\0"].concat()), Malformed::Cut(36)),
        (v2(0x21, 0x11, &[FOUR, b"\x01\0\x01a\x01\0\x01a"].concat()), Malformed::Twice(1)),
        (v2(0x21, 0x11, &[FOUR, b"\x05\0\x81", &[0; 0x81]].concat()), Malformed::Length(5)),
    ] {
        assert_eq!(wrong(&bytes), problem);
    }
}

/// What HAProxy 2.6 sends with `proxy-v2-options crc32c`.
const SEALED: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x16\x7f\0\0\x01\x7f\0\0\x01\xe5\xbe\x43\xf8\
    \x03\0\x04\x42\xd7\xcb\x17\x05\0\0";

#[test]
fn the_checksum_is_checked() {
    let header = whole(SEALED);
    assert_eq!(header.origin, inet("127.0.0.1:58814", "127.0.0.1:17400"));
    assert!(header.extras.crc32c);
    assert_eq!(header.extras.unique_id.as_deref(), Some(&b""[..]));
    // Any bit that changes is noticed.
    for at in 16..SEALED.len() {
        for bit in 0..8 {
            let mut bytes = SEALED.to_vec();
            bytes[at] ^= 1 << bit;
            let found = decode(&bytes, Versions::V2);
            // The type of the checksum itself may have become another.
            let hidden =
                at == 28 && matches!(&found, Ok(Decoded::Header(header, _)) if !header.extras.crc32c);
            assert!(found.is_err() || hidden, "byte {at}, bit {bit}");
        }
    }
    let mut bytes = SEALED.to_vec();
    bytes[31] ^= 1;
    assert_eq!(wrong(&bytes), Malformed::Checksum { said: 0x43d7_cb17, computed: 0x42d7_cb17 });
}

#[test]
fn what_cannot_be_written_is_refused() {
    let plain = Header::v2("192.0.2.7:1".parse().unwrap(), "192.0.2.8:2".parse().unwrap());
    let extras = Extras { crc32c: true, ..Extras::default() };
    let long_id = Extras { unique_id: Some(vec![0; MAX_UNIQUE_ID + 1].into()), ..Extras::default() };
    let long = Extras { authority: Some(vec![0; MAX_V2 - 16 - 12 - 2].into()), ..Extras::default() };
    let path = Origin::Unix { source: vec![1; 109].into(), destination: Box::default() };
    for (header, expected) in [
        (Header { version: Version::V1, extras, ..plain.clone() }, Unencodable::ExtrasInV1),
        (
            Header { version: Version::V1, carrier: Carrier::Datagram, ..plain.clone() },
            Unencodable::DatagramInV1,
        ),
        (Header { extras: long_id, ..plain.clone() }, Unencodable::LongUniqueId),
        (Header { extras: long, ..plain.clone() }, Unencodable::TooLong(MAX_V2 + 1)),
        (Header { origin: path, ..plain }, Unencodable::LongPath),
    ] {
        assert_eq!(header.encode(), Err(expected));
        assert!(!expected.to_string().is_empty());
    }
}

#[test]
fn addresses_of_two_families_are_made_one() {
    let cases = [
        ("[::ffff:192.0.2.7]:1", "192.0.2.8:2", "PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n"),
        ("192.0.2.7:1", "[2001:db8::1]:2", "PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 1 2\r\n"),
    ];
    for (source, destination, line) in cases {
        let header = Header::v1(source.parse().unwrap(), destination.parse().unwrap());
        assert_eq!(String::from_utf8(header.encode().unwrap()).unwrap(), line);
        let Origin::Inet { source, destination } =
            whole(&Header { version: Version::V2, ..header }.encode().unwrap()).origin
        else {
            panic!("not an address")
        };
        assert_eq!(source.is_ipv4(), destination.is_ipv4());
    }
    // What has no place in a line.
    let unix = Header {
        origin: Origin::Local,
        ..Header::v1("1.2.3.4:1".parse().unwrap(), "1.2.3.4:2".parse().unwrap())
    };
    assert_eq!(unix.encode().unwrap(), b"PROXY UNKNOWN\r\n");
}

fn bytes(random: &mut Random, most: usize) -> Box<[u8]> {
    (0..random.below(most + 1)).map(|_| random.bits() as u8).collect()
}

fn maybe(random: &mut Random, most: usize) -> Option<Box<[u8]>> {
    random.one_in(2).then(|| bytes(random, most))
}

fn others(random: &mut Random) -> Vec<Tlv> {
    (0..random.below(3))
        .map(|_| Tlv { kind: 0xe0 | random.below(16) as u8, value: bytes(random, 40) })
        .collect()
}

fn address(random: &mut Random, six: bool) -> SocketAddr {
    let ip = if six {
        IpAddr::from(random.bits().to_be_bytes().repeat(2).first_chunk::<16>().copied().unwrap())
    } else {
        IpAddr::from((random.bits() as u32).to_be_bytes())
    };
    SocketAddr::new(ip, random.bits() as u16)
}

fn name(random: &mut Random) -> Box<[u8]> {
    let mut name = bytes(random, 108);
    name.iter_mut().for_each(|byte| *byte = (*byte).max(1));
    if let Some(first) = name.first_mut().filter(|_| random.one_in(2)) {
        *first = 0;
    }
    // A zero alone is no name, and is not told from none.
    if *name == [0] { Box::default() } else { name }
}

fn header(random: &mut Random) -> Header {
    let six = random.one_in(2);
    let version = if random.one_in(3) { Version::V1 } else { Version::V2 };
    let origin = match (random.below(6), version) {
        (0, _) => Origin::Unknown,
        (1, Version::V2) => Origin::Local,
        (2, Version::V2) => Origin::Unix { source: name(random), destination: name(random) },
        _ => Origin::Inet { source: address(random, six), destination: address(random, six) },
    };
    if version == Version::V1 {
        return Header { version, origin, carrier: Carrier::Stream, extras: Extras::default() };
    }
    let bare = matches!(origin, Origin::Unknown | Origin::Local);
    let carrier = if !bare && random.one_in(2) { Carrier::Datagram } else { Carrier::Stream };
    let ssl = Ssl {
        connected: random.one_in(2),
        certificate: Certificate { connection: random.one_in(2), session: random.one_in(2) },
        verify: random.bits() as u32,
        version: maybe(random, 9),
        common_name: maybe(random, 100),
        cipher: maybe(random, 30),
        signature_algorithm: maybe(random, 9),
        key_algorithm: maybe(random, 9),
        group: maybe(random, 9),
        signature_scheme: maybe(random, 9),
        client_certificate: maybe(random, 2_000),
        others: others(random).into_iter().map(|tlv| Tlv { kind: tlv.kind | 0x40, ..tlv }).collect(),
    };
    let ssl = random.one_in(2).then(|| Box::new(ssl));
    let extras = Extras {
        alpn: maybe(random, 20),
        authority: maybe(random, 255),
        unique_id: maybe(random, MAX_UNIQUE_ID),
        ssl,
        netns: maybe(random, 20),
        others: others(random),
        crc32c: random.one_in(2),
    };
    let extras = if origin == Origin::Local { Extras::default() } else { extras };
    Header { version, origin, carrier, extras }
}

#[test]
fn random_headers_there_and_back() {
    let given = std::env::var("SWITCHBOARD_SEED").ok();
    let given: Option<u64> = given.map(|text| text.parse().expect("SWITCHBOARD_SEED is a number"));
    for seed in given.map_or(0..2_000, |seed| seed..seed + 1) {
        let mut random = Random::new(seed);
        let header = header(&mut random);
        let replay = format!(
            "{header:?}\nreplay with: SWITCHBOARD_SEED={seed} cargo test -p switchboard-proto --test proxy_header random"
        );
        let mut bytes = header.encode().unwrap_or_else(|problem| panic!("{problem}\n{replay}"));
        let length = bytes.len();
        let cut = random.below(length);
        assert_eq!(decode(&bytes[..cut], Versions::Any), Ok(Decoded::More), "cut at {cut}: {replay}");
        bytes.extend((0..random.below(20)).map(|_| random.bits() as u8));
        assert_eq!(decode(&bytes, Versions::Any), Ok(Decoded::Header(header, length)), "{replay}");
    }
}
