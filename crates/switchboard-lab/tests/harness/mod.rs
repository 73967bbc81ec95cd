//! What the tests of hosts and of the wire share: networks, sockets inside hosts, and what the wire has seen.
#![allow(dead_code, unreachable_pub)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switchboard_lab::host::{Builder, Carrier, Ended, Host, Network, Program, Stream, User};
use switchboard_lab::mode::{Full, Mode};
use switchboard_lab::record::{Event, Packet, What};

/// The longest that anything here may take; a test that needs it has failed. Nothing waits for it to pass, so it may be
/// long: a busy machine is no fault.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Says that something could not be tried; a skipped test is never counted as passed in silence.
pub fn skip(what: &str, reason: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED {what}: {reason}");
}

/// What the wire has seen.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<Event>>>);

impl Seen {
    /// All packets so far, in order.
    pub fn packets(&self) -> Vec<Packet> {
        let events = self.0.lock().expect("nobody panicked");
        let packets = events.iter().filter_map(|event| match &event.what {
            What::Packet(packet) => Some(packet.clone()),
            _ => None,
        });
        packets.collect()
    }
}

/// A network, and what its wire sees; none, said aloud, where there can be none.
pub fn start(what: &str, builder: Builder) -> Option<(Network, Seen)> {
    let seen = Seen::default();
    let events = Arc::clone(&seen.0);
    match builder.start(Box::new(move |event| events.lock().expect("nobody panicked").push(event))) {
        Ok(network) => Some((network, seen)),
        Err(error) if switchboard_lab::mode::probe().is_full() => panic!("{what}: {error}"),
        Err(error) => {
            skip(what, &error.to_string());
            None
        }
    }
}

/// The carriers that can be had here.
pub fn carriers() -> Vec<Carrier> {
    match switchboard_lab::mode::probe() {
        Mode::Full(Full { tun: true, .. }) => vec![Carrier::Tun, Carrier::Veth],
        _ => {
            skip("TUN", "/dev/net/tun is not for us");
            vec![Carrier::Veth]
        }
    }
}

/// The host with this name.
pub fn host<'a>(network: &'a Network, name: &str) -> &'a Host {
    network.host(name).expect("there is such a host")
}

/// Runs a shell script on a host; what it wrote, and how it ended.
pub fn run(host: &Host, script: &str, user: User) -> (String, Option<Ended>) {
    let program = Program::new(["sh", "-c", script]).user(user).directory("/").stdout(Stream::Pipe);
    let mut child = host.spawn(program).expect("sh runs");
    let text = text(child.stdout.take().expect("piped"));
    (text, child.wait(PATIENCE).expect("it can be waited for"))
}

/// Everything that comes out of a pipe.
pub fn text(fd: OwnedFd) -> String {
    let mut text = String::new();
    File::from(fd).read_to_string(&mut text).expect("UTF-8");
    text
}

fn socket(host: &Host, address: IpAddr) -> OwnedFd {
    let domain = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    host.socket(domain, libc::SOCK_STREAM, 0).expect("a socket")
}

/// A listener on a host, at its address of a family and a port of the kernel's choice.
pub fn listen(host: &Host, v6: bool) -> (TcpListener, SocketAddr) {
    let address = host.address(v6).expect("an address");
    let fd = socket(host, address);
    rustix::net::bind(&fd, &SocketAddr::new(address, 0)).expect("bind");
    rustix::net::listen(&fd, 16).expect("listen");
    let listener = TcpListener::from(fd);
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// A connection from a host. Reading and writing end with an error after [`PATIENCE`]; so does connecting.
pub fn connect(host: &Host, to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::from(socket(host, to.ip()));
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    rustix::net::connect(&stream, &to)?;
    Ok(stream)
}

/// A connection between two hosts: the client's end and the server's.
pub fn pair(network: &Network, v6: bool) -> (TcpStream, TcpStream) {
    let (listener, address) = listen(host(network, "server"), v6);
    let client = connect(host(network, "client"), address).expect("connected");
    let (server, _) = listener.accept().expect("accepted");
    server.set_read_timeout(Some(PATIENCE)).expect("settable");
    server.set_write_timeout(Some(PATIENCE)).expect("settable");
    (client, server)
}
