//! `connect --starttls`, against a server that speaks every one of those protocols as far as it must, and one that is
//! not alone on its wire; the PROXY header that goes before all that, proxies that it goes through. Rows S5, B1.

mod harness;

use harness::{PATIENCE, program, run_to_end, text};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::LazyLock;
use std::thread::{self, JoinHandle};
use switchboard_net::tls::{self, Authority, Identity, Settings};
use switchboard_net::{Channel, Kind};
use switchboard_proto::proxy_header::{Decoded, Header, Origin, Versions, decode};

/// A folder with an authority and a certificate of this machine.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("switchboard-starttls-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let now = switchboard_net::sys::clock::realtime().0;
    let (authority, own) = Authority::make("these tests", now).unwrap();
    let made = authority.certify(&["127.0.0.1".into()], now, 30).unwrap();
    for (name, text) in [("ca.pem", own.certificate), ("own.pem", made.certificate), ("key.pem", made.key)] {
        fs::write(folder.join(name), text).unwrap();
    }
    folder
});

fn connect(arguments: &[&str], input: &[u8]) -> Output {
    let ca = FOLDER.join("ca.pem");
    let mut command = program();
    run_to_end(command.args(["connect", "--ca"]).arg(ca).args(arguments), Some(input), PATIENCE)
}

/// Shakes hands, and echoes.
fn echo(stream: TcpStream) {
    let identity = Identity::read(&FOLDER.join("own.pem"), &FOLDER.join("key.pem"), 0).unwrap();
    let codec = tls::Server::new(Settings::new(vec![identity])).unwrap().codec().unwrap();
    let mut channel = Channel::secure(OwnedFd::from(stream), Kind::Tcp, codec, PATIENCE).unwrap();
    let mut room = [0; 4096];
    loop {
        match channel.recv_within(&mut room, PATIENCE).unwrap() {
            0 => return channel.finish().unwrap(),
            n => assert_eq!(channel.send(&room[..n]), Ok(n)),
        }
    }
}

/// A server of one client: `what` it does before TLS, and whether that comes then.
fn server(what: impl FnOnce(&TcpStream) -> bool + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        if what(&stream) {
            echo(stream);
        }
    });
    (address, server)
}

/// What a server says, and what he waits for before he goes on.
type Script = &'static [(&'static str, &'static str)];

const SCRIPTS: [(&str, Script); 7] = [
    (
        "smtp",
        &[
            ("220-mx\r\n220 mx ESMTP\r\n", "EHLO "),
            ("250-mx\r\n250-STARTTLS\r\n250 SIZE\r\n", "STARTTLS"),
            ("220 go\r\n", ""),
        ],
    ),
    ("lmtp", &[("220 mx\r\n", "LHLO "), ("250-mx\r\n250 STARTTLS\r\n", "STARTTLS"), ("220 go\r\n", "")]),
    (
        "imap",
        &[
            ("* OK ready\r\n", "a CAPABILITY"),
            ("* CAPABILITY IMAP4rev1 STARTTLS\r\na OK\r\n", "b STARTTLS"),
            ("b OK go\r\n", ""),
        ],
    ),
    ("pop3", &[("+OK ready\r\n", "CAPA"), ("+OK\r\nUIDL\r\nSTLS\r\n.\r\n", "STLS"), ("+OK go\r\n", "")]),
    ("ftp", &[("220 ready\r\n", "AUTH TLS"), ("234 go\r\n", "")]),
    (
        "nntp",
        &[
            ("200 ready\r\n", "CAPABILITIES"),
            ("101 can\r\nVERSION 2\r\nSTARTTLS\r\n.\r\n", "STARTTLS"),
            ("382 go\r\n", ""),
        ],
    ),
    ("sieve", &[("\"STARTTLS\"\r\nOK\r\n", "STARTTLS"), ("OK\r\n", "")]),
];

fn play(stream: &TcpStream, script: Script) {
    let mut lines = BufReader::new(stream);
    for (said, awaited) in script {
        (&mut &*stream).write_all(said.as_bytes()).unwrap();
        if !awaited.is_empty() {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            assert!(line.starts_with(awaited) && line.ends_with("\r\n"), "{line:?}");
        }
    }
}

#[test]
fn tls_begins_where_the_protocol_lets_it() {
    for (protocol, script) in SCRIPTS {
        let (address, server) = server(move |stream| {
            play(stream, script);
            true
        });
        let ran = connect(&["--starttls", protocol, &address], b"inside");
        assert_eq!(ran.status.code(), Some(0), "{protocol}: {}", text(&ran.stderr));
        assert_eq!(ran.stdout, b"inside", "{protocol}");
        server.join().unwrap();
    }
    let (address, server) = server(|mut stream| {
        let mut request = [0; 8];
        stream.read_exact(&mut request).unwrap();
        assert_eq!(request, [0, 0, 0, 8, 4, 210, 22, 47]);
        stream.write_all(b"S").unwrap();
        true
    });
    let ran = connect(&["--starttls", "postgres", &address], b"inside");
    assert_eq!((ran.status.code(), &ran.stdout[..]), (Some(0), &b"inside"[..]), "{}", text(&ran.stderr));
    server.join().unwrap();
}

#[test]
fn nothing_is_said_to_a_server_without_tls_or_with_company() {
    for (script, part) in [
        (&[("220 mx\r\n", "EHLO "), ("250-mx\r\n250 XXXXXXXX\r\n", "")][..], "does not offer TLS"),
        (
            &[("220 mx\r\n", "EHLO "), ("250 STARTTLS\r\n", "STARTTLS"), ("220 go\r\n250 injected\r\n", "")],
            "somebody in between",
        ),
        (&[("220 mx\r\n", "EHLO "), ("250 STARTTLS\r\n", "STARTTLS"), ("454 no\r\n", "")], "454 no"),
        (&[("SSH-2.0-x\r\n", "")], "no answer of smtp"),
    ] {
        let (address, server) = server(move |mut stream| {
            play(stream, script);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            assert!(!rest.windows(6).any(|bytes| bytes == b"secret"));
            false
        });
        let ran = connect(&["--starttls", "smtp", &address], b"secret");
        assert_eq!(ran.status.code(), Some(9), "{}", text(&ran.stderr));
        assert!(text(&ran.stderr).contains(part), "{}", text(&ran.stderr));
        server.join().unwrap();
    }
    for arguments in [&["--starttls", "http", "127.0.0.1:7"][..], &["--starttls", "smtp", "udp:127.0.0.1:7"]]
    {
        assert_eq!(connect(arguments, b"").status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn the_header_goes_before_tls_and_names_the_client() {
    for (version, versions) in [("v1", Versions::V1), ("v2", Versions::V2)] {
        for tls in [false, true] {
            let (address, server) = server(move |mut stream| {
                let mut bytes = vec![0; 16];
                stream.read_exact(&mut bytes).unwrap();
                let (header, _) = loop {
                    match decode(&bytes[..], versions) {
                        Ok(Decoded::Header(header, length)) => {
                            assert_eq!(length, bytes.len());
                            break (header, length);
                        }
                        decoded => assert_eq!(decoded, Ok(Decoded::More)),
                    }
                    let at = bytes.len();
                    bytes.push(0);
                    stream.read_exact(&mut bytes[at..]).unwrap();
                };
                let Header { origin: Origin::Inet { source, destination }, extras, .. } = header else {
                    panic!("{header:?}")
                };
                assert_eq!(source, stream.peer_addr().unwrap());
                assert_eq!(destination, stream.local_addr().unwrap());
                assert_eq!((extras.crc32c, extras.unique_id.is_some()), (version == "v2", version == "v2"));
                if !tls {
                    std::io::copy(&mut &*stream, &mut &*stream).unwrap();
                }
                tls
            });
            let ca = FOLDER.join("ca.pem");
            let mut command = program();
            command.args(["connect", "--send-proxy", version]);
            match tls {
                true => command.args(["--ca"]).arg(ca).arg(format!("tls:{address}")),
                false => command.arg(&address),
            };
            let ran = run_to_end(&mut command, Some(b"payload"), PATIENCE);
            assert_eq!(
                (ran.status.code(), &ran.stdout[..]),
                (Some(0), &b"payload"[..]),
                "{}",
                text(&ran.stderr)
            );
            server.join().unwrap();
        }
    }
}

/// A proxy of one client, who is connected where he wants (HTTP CONNECT); each half ends by itself.
fn through() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            (&stream).read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        let wanted = text(&request).split(' ').nth(1).unwrap().to_owned();
        let target = TcpStream::connect(wanted).unwrap();
        (&stream).write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let pass = |from: &TcpStream, to: &TcpStream| {
            let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            })
        };
        let both = [pass(&stream, &target), pass(&target, &stream)];
        both.into_iter().for_each(|way| way.join().unwrap());
    });
    url
}

#[test]
fn tls_goes_through_a_proxy_with_or_without_a_beginning_in_the_clear() {
    for (arguments, script) in [
        (&["--tls"][..], None),
        (&["--starttls", "smtp"], Some(SCRIPTS[0].1)),
        (
            &["--starttls", "imap"],
            SCRIPTS.iter().find(|(name, _)| *name == "imap").map(|(_, script)| *script),
        ),
    ] {
        let (address, server) = server(move |stream| {
            script.inspect(|script| play(stream, script));
            true
        });
        let ran = connect(&[&["--proxy", &through(), &address][..], arguments].concat(), b"inside");
        assert_eq!(ran.status.code(), Some(0), "{arguments:?}: {}", text(&ran.stderr));
        assert_eq!(ran.stdout, b"inside", "{arguments:?}");
        server.join().unwrap();
    }
}

#[test]
fn tls_is_spoken_with_the_address_that_answers() {
    let (address, server) = server(|_| true);
    let port = address.rsplit_once(':').unwrap().1;
    // Nobody listens at the first one.
    let pinned = format!("two.test:{port}:127.0.0.9,127.0.0.1");
    let to = format!("tls:two.test:{port}");
    let ran = connect(&["-v", "--resolve", &pinned, "--server-name", "127.0.0.1", &to], b"inside");
    let said = text(&ran.stderr);
    assert_eq!((ran.status.code(), &ran.stdout[..]), (Some(0), &b"inside"[..]), "{said}");
    assert!(said.contains("tcp:127.0.0.9:") && said.contains("TLSv1.3"), "{said}");
    server.join().unwrap();
}

#[test]
fn a_development_authority_is_made_once_and_believed_where_it_is_named() {
    let home = FOLDER.join("home");
    let cert = |arguments: &[&str]| {
        let mut command = program();
        command
            .env("XDG_DATA_HOME", &home)
            .args(["cert", "dev", "--dir"])
            .arg(FOLDER.join("dev"))
            .args(arguments);
        run_to_end(&mut command, None, PATIENCE)
    };
    let mode = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(path).unwrap().mode() & 0o777
    };
    let ran = cert(&["127.0.0.1", "*.example.test", "--days", "3"]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    assert!(text(&ran.stdout).contains("made now"));
    let (own, key) = (FOLDER.join("dev/127.0.0.1.pem"), FOLDER.join("dev/127.0.0.1-key.pem"));
    let ca = home.join("switchboard/ca.pem");
    assert_eq!((mode(&key), mode(&home.join("switchboard/ca-key.pem")), mode(&own)), (0o600, 0o600, 0o644));
    let authority = fs::read(&ca).unwrap();
    assert_eq!(cert(&["127.0.0.1"]).status.code(), Some(2), "it is not replaced");
    let again = cert(&["127.0.0.1", "--force"]);
    assert!(again.status.success() && text(&again.stdout).contains("made earlier"));
    assert_eq!(fs::read(&ca).unwrap(), authority);
    for wrong in ["", "a b", "-x.test", "a..b", "@x"] {
        assert_eq!(cert(&["--force", "--", wrong]).status.code(), Some(2), "{wrong:?}");
    }
    let (own, key) = (own.to_str().unwrap().to_owned(), key.to_str().unwrap().to_owned());
    let served =
        harness::Server::start(&["echo", "--listen", "tls:127.0.0.1:0", "--cert", &own, "--key", &key]);
    let at = served.endpoint();
    let at = if at.starts_with("tls:") { at } else { at.replace("tcp:", "tls:") };
    let mut command = program();
    let ran = run_to_end(command.args(["connect", &at, "--ca"]).arg(&ca), Some(b"hello"), PATIENCE);
    assert_eq!((ran.status.code(), &ran.stdout[..]), (Some(0), &b"hello"[..]), "{}", text(&ran.stderr));
}
