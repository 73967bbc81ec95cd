//! Servers with TLS: an authority with what it has certified, and a conversation that goes by a script.
#![allow(dead_code, reason = "each file of tests uses some of it")]

use super::HUNG;
use rustix::io::Errno;
use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use switchboard_net::tls::{self, Authority, Identity, Settings};
use switchboard_net::{Channel, Kind};

/// An authority and what it has certified, in a folder of their own.
pub(crate) struct House {
    folder: PathBuf,
    pub(crate) ca: String,
}

pub(crate) static HOUSE: LazyLock<House> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("switchboard-secure-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let now = switchboard_net::sys::clock::realtime().0;
    let (authority, own) = Authority::make("these tests", now).unwrap();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write("ca.pem", &own.certificate);
    let (stranger, _) = Authority::make("somebody else", now).unwrap();
    for (file, by, names, since) in [
        ("good", &authority, &["localhost", "127.0.0.1"][..], now),
        ("other", &authority, &["example.test", "192.0.2.1"], now),
        ("expired", &authority, &["localhost", "127.0.0.1"], now - 400 * 86_400),
        ("early", &authority, &["localhost", "127.0.0.1"], now + 400 * 86_400),
        ("stranger", &stranger, &["localhost", "127.0.0.1"], now),
        ("client", &authority, &["me@example.test"], now),
    ] {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = by.certify(&names, since, 30).unwrap();
        write(&format!("{file}.pem"), &made.certificate);
        write(&format!("{file}-key.pem"), &made.key);
    }
    let ca = folder.join("ca.pem").to_str().unwrap().to_owned();
    House { folder, ca }
});

impl House {
    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn identity(&self, name: &str) -> Identity {
        let (certificate, key) = (self.file(&format!("{name}.pem")), self.file(&format!("{name}-key.pem")));
        Identity::read(Path::new(&certificate), Path::new(&key), 0).unwrap()
    }
}

/// A server of one TLS conversation.
pub(crate) struct Scripted(pub(crate) Channel);

impl Scripted {
    /// Listens, and does `what` with the first client.
    pub(crate) fn start<T: Send + 'static>(
        settings: Settings,
        what: impl FnOnce(Scripted) -> T + Send + 'static,
    ) -> (String, JoinHandle<T>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tls:{}", listener.local_addr().unwrap());
        let server = tls::Server::new(settings).unwrap();
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let codec = server.codec().unwrap();
            what(Scripted(Channel::secure(OwnedFd::from(stream), Kind::Tcp, codec, HUNG).unwrap()))
        });
        (address, thread)
    }

    pub(crate) fn plain(what: impl FnOnce(Scripted) + Send + 'static) -> (String, JoinHandle<()>) {
        Scripted::start(Settings::new(vec![HOUSE.identity("good")]), what)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let sent = self.try_send(bytes);
        assert!(sent != Err(Errno::TIMEDOUT), "the client takes nothing");
        sent.unwrap();
    }

    /// The same, for a client who may have left.
    pub(crate) fn try_send(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        let until = Instant::now() + HUNG;
        while !bytes.is_empty() || self.0.has_output() {
            let sent = if bytes.is_empty() { self.0.flush().map(|()| 0) } else { self.0.send(bytes) };
            match sent {
                Ok(n) => bytes = &bytes[n..],
                Err(Errno::AGAIN) if Instant::now() >= until => return Err(Errno::TIMEDOUT),
                // Waits for room without a loop of its own: nothing is due to come.
                Err(Errno::AGAIN) => thread::sleep(Duration::from_millis(1)),
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Everything to the end of the client's half.
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut room = vec![0; 64 * 1024];
        loop {
            match self.0.recv_within(&mut room, HUNG).unwrap() {
                0 => {
                    assert!(self.0.failure().is_none(), "{:?}", self.0.failure());
                    return all;
                }
                n => all.extend_from_slice(&room[..n]),
            }
        }
    }
}
