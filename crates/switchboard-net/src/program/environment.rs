//! What a program finds in its environment: what is passed on, who it is, and who its client is, in every
//! convention that such programs know. It starts from nothing; of the client only numbers get in, unless names were
//! asked for.
//!
//! | from | variables |
//! |---|---|
//! | UCSPI (tcpserver, unixserver) | `PROTO`, `TCPLOCALIP`, `TCPLOCALPORT`, `TCPREMOTEIP`, `TCPREMOTEPORT`, with names `TCPREMOTEHOST`, `TCPLOCALHOST`; `UNIXLOCALPATH`, `UNIXREMOTEPID`, `UNIXREMOTEEUID`, `UNIXREMOTEEGID`; the same with `UDP` for datagrams |
//! | inetutils inetd | the same `TCP…` ones |
//! | xinetd, CGI, systemd | `REMOTE_HOST` (the address, if names were not asked for or there is none), `REMOTE_ADDR`, `REMOTE_PORT` |
//! | ncat | `NCAT_REMOTE_ADDR`, `NCAT_REMOTE_PORT`, `NCAT_LOCAL_ADDR`, `NCAT_LOCAL_PORT`, `NCAT_PROTO` |
//! | socat | `SOCAT_PEERADDR`, `SOCAT_PEERPORT`, `SOCAT_SOCKADDR`, `SOCAT_SOCKPORT` |
//! | systemd, for listeners | `LISTEN_FDS`, `LISTEN_FDNAMES`, `LISTEN_PID` |
//! | here | `SWITCHBOARD_CONNECTION`, `SWITCHBOARD_SERVICE` |
//! | here, of a client whom a proxy has introduced | `PROXY_VERSION` (1 or 2), `PROXY_REMOTEIP`, `PROXY_REMOTEPORT`, `PROXY_LOCALIP`, `PROXY_LOCALPORT` (the connection from the proxy), and of what it said `PROXY_UNIQUE_ID`, `PROXY_AUTHORITY`, `PROXY_ALPN`, `PROXY_TLS`, `PROXY_TLS_CIPHER`, `PROXY_TLS_NAME`, `PROXY_TLS_VERIFY`, `PROXY_NETNS`, `PROXY_PATH`, `PROXY_TLV_E0` … (hexadecimal) |
//!
//! All other variables then speak of the client and of the address that he connected to. What a proxy passes on was
//! chosen by clients: whatever is not a letter, a digit or one of `._:/@+=,-` stands there as `%` and two digits.
//!
//! A client on a Unix socket has neither address nor port, so there are no `REMOTE_…`, `NCAT_…` and `SOCAT_…` for him: what
//! the others set then is made up (ncat: `localhost` and an empty port; socat: an empty address).

use super::{Environment, Program};
use crate::endpoint::{Address, Location};
use crate::guests::BothNames;
use crate::introduction::Introduction;
use crate::peer::Peer;
use crate::sys::spawn::Strings;
use rustix::fd::BorrowedFd;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;

/// The search path of programs whose environment has none.
const PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What one client adds.
pub(super) struct Client<'a> {
    pub(super) id: u64,
    pub(super) peer: Peer,
    /// Both ends of this, if there is a connection.
    pub(super) socket: Option<BorrowedFd<'a>>,
    /// The listener's address.
    pub(super) local: &'a Address,
    /// The names of both ends, if they were asked for.
    pub(super) names: Option<&'a BothNames>,
    /// Settings that the rules of access give.
    pub(super) settings: &'a [(String, String)],
    /// What a proxy said of him.
    pub(super) introduction: Option<&'a Introduction>,
}

/// What every process of the program gets: what is passed on, and who it is. What was set wins over all.
pub(super) fn fixed(program: &Program, service: &str) -> Strings {
    let mut out = Strings::default();
    let Environment { pass, set, .. } = &program.environment;
    let is_set = |name: &[u8]| set.iter().any(|(key, _)| key.as_bytes() == name);
    let mut add = |name: &[u8], value: &[u8]| {
        if !is_set(name) {
            out.push(&[name, b"=", value]);
        }
    };
    for name in pass {
        if let Some(value) = std::env::var_os(name) {
            add(name.as_bytes(), value.as_bytes());
        }
    }
    let passed =
        |name: &str| pass.iter().any(|passed| passed == OsStr::new(name)) && std::env::var_os(name).is_some();
    if !passed("PATH") {
        add(b"PATH", PATH);
    }
    if let Some(login) = program.confinement.identity.as_ref().and_then(|identity| identity.login.as_ref()) {
        let values: [(&str, &[u8]); 4] = [
            ("HOME", login.home.as_os_str().as_bytes()),
            ("USER", login.name.as_bytes()),
            ("LOGNAME", login.name.as_bytes()),
            ("SHELL", login.shell.as_os_str().as_bytes()),
        ];
        for (name, value) in values {
            if !passed(name) {
                add(name.as_bytes(), value);
            }
        }
    }
    add(b"SWITCHBOARD_SERVICE", service.as_bytes());
    for (name, value) in set {
        out.push(&[name.as_bytes(), b"=", value.as_bytes()]);
    }
    out
}

/// Adds what one client brings; what the program was given by `set` stays as it is.
pub(super) fn add_client(out: &mut Strings, program: &Program, client: &Client<'_>) {
    let set = &program.environment.set;
    let mut writer = Writer {
        out,
        taken: &|name| {
            set.iter().any(|(key, _)| key.as_bytes() == name.as_bytes())
                || client.settings.iter().any(|(key, _)| key == name)
        },
        text: String::new(),
    };
    writer.set("SWITCHBOARD_CONNECTION", client.id);
    match client.peer {
        Peer::Inet(remote) => internet(&mut writer, client, remote),
        Peer::Unix { pid, uid } => unix(&mut writer, client, pid, uid),
        Peer::Vsock { cid, port } => {
            writer.set("PROTO", "VSOCK");
            writer.set("VSOCKREMOTECID", cid);
            writer.set("VSOCKREMOTEPORT", port);
        }
        Peer::Unknown => writer.set("PROTO", protocol(client.local)),
    }
    if let Some(introduction) = client.introduction {
        for (name, value) in introduction.variables(own_address(client)) {
            writer.set(&name, value);
        }
    }
    for (name, value) in client.settings {
        if !set.iter().any(|(key, _)| key.as_bytes() == name.as_bytes()) {
            out.push(&[name.as_bytes(), b"=", value.as_bytes()]);
        }
    }
}

/// Adds what a program that is handed a listener looks for (sd_listen_fds(3)). The last one is completed by the new
/// process, since only it knows its id.
pub(super) fn add_listener(out: &mut Strings, service: &str, local: &Address) {
    out.push(&[b"PROTO=", protocol(local).as_bytes()]);
    out.push(&[b"LISTEN_FDS=1"]);
    // sd_listen_fds_with_names(3): no colons, no control characters.
    let name: String =
        service.chars().map(|c| if c.is_ascii_graphic() && c != ':' { c } else { '_' }).collect();
    out.push(&[b"LISTEN_FDNAMES=", name.as_bytes()]);
    out.push(&[b"LISTEN_PID=          "]);
}

fn protocol(local: &Address) -> &'static str {
    use crate::endpoint::Kind;
    match local.kind {
        Kind::Tcp => "TCP",
        Kind::Udp => "UDP",
        Kind::Unix | Kind::UnixDatagram | Kind::UnixSeqpacket => "UNIX",
        Kind::Vsock => "VSOCK",
    }
}

struct Writer<'a> {
    out: &'a mut Strings,
    /// Whether somebody else has decided about this variable.
    taken: &'a dyn Fn(&str) -> bool,
    text: String,
}

impl Writer<'_> {
    fn set(&mut self, name: &str, value: impl std::fmt::Display) {
        if (self.taken)(name) {
            return;
        }
        self.text.clear();
        let done = write!(self.text, "{value}");
        debug_assert!(done.is_ok(), "writing into a string cannot fail");
        self.out.push(&[name.as_bytes(), b"=", self.text.as_bytes()]);
    }

    fn set_all(&mut self, names: &[&str], value: impl std::fmt::Display + Copy) {
        names.iter().for_each(|name| self.set(name, value));
    }
}

fn internet(writer: &mut Writer<'_>, client: &Client<'_>, remote: SocketAddr) {
    let destination = client.introduction.and_then(Introduction::destination);
    let local = destination.or_else(|| own_address(client));
    let names = if client.local.kind.is_datagram() { &UDP } else { &TCP };
    // A client may come over TCP to a proxy that comes over a Unix socket.
    let protocol = if client.local.kind.is_datagram() { "UDP" } else { "TCP" };
    writer.set("PROTO", protocol);
    writer.set("NCAT_PROTO", protocol);
    let ip = remote.ip().to_canonical();
    writer.set_all(&[names.remote_ip, "REMOTE_ADDR", "NCAT_REMOTE_ADDR"], ip);
    match client.names.and_then(|both| both.remote.as_deref()) {
        Some(name) => writer.set_all(&[names.remote_host, "REMOTE_HOST"], name),
        // As CGI has it (RFC 3875 §4.1.9): the address in its place.
        None => writer.set("REMOTE_HOST", ip),
    }
    writer.set("SOCAT_PEERADDR", Bracketed(ip));
    let port = remote.port();
    writer.set_all(&[names.remote_port, "REMOTE_PORT", "NCAT_REMOTE_PORT", "SOCAT_PEERPORT"], port);
    if let Some(local) = local {
        let (ip, port) = (local.ip().to_canonical(), local.port());
        writer.set_all(&[names.local_ip, "NCAT_LOCAL_ADDR"], ip);
        writer.set("SOCAT_SOCKADDR", Bracketed(ip));
        writer.set_all(&[names.local_port, "NCAT_LOCAL_PORT", "SOCAT_SOCKPORT"], port);
    }
    if let Some(name) = client.names.and_then(|both| both.local.as_deref()) {
        writer.set(names.local_host, name);
    }
}

fn own_address(client: &Client<'_>) -> Option<SocketAddr> {
    let name = client.socket.and_then(|fd| rustix::net::getsockname(fd).ok());
    name.and_then(|name| SocketAddr::try_from(name).ok()).or_else(|| client.local.inet())
}

fn unix(writer: &mut Writer<'_>, client: &Client<'_>, pid: i32, uid: u32) {
    writer.set("PROTO", "UNIX");
    match &client.local.place {
        Location::Path(path) => writer.set("UNIXLOCALPATH", path.display()),
        Location::Abstract(name) => writer.set("UNIXLOCALPATH", format_args!("@{}", name.escape_ascii())),
        Location::Inet { .. } | Location::Vsock(..) => {}
    }
    writer.set("UNIXREMOTEPID", pid);
    writer.set("UNIXREMOTEEUID", uid);
    let gid = client.socket.and_then(|fd| crate::sys::sockopt::peer_credentials(fd).ok());
    if let Some(credentials) = gid {
        writer.set("UNIXREMOTEEGID", credentials.gid);
    }
}

struct Names {
    local_ip: &'static str,
    local_port: &'static str,
    remote_ip: &'static str,
    remote_port: &'static str,
    remote_host: &'static str,
    local_host: &'static str,
}

const TCP: Names = Names {
    local_ip: "TCPLOCALIP",
    local_port: "TCPLOCALPORT",
    remote_ip: "TCPREMOTEIP",
    remote_port: "TCPREMOTEPORT",
    remote_host: "TCPREMOTEHOST",
    local_host: "TCPLOCALHOST",
};
const UDP: Names = Names {
    local_ip: "UDPLOCALIP",
    local_port: "UDPLOCALPORT",
    remote_ip: "UDPREMOTEIP",
    remote_port: "UDPREMOTEPORT",
    remote_host: "UDPREMOTEHOST",
    local_host: "UDPLOCALHOST",
};

/// socat puts IPv6 addresses in brackets.
#[derive(Clone, Copy)]
struct Bracketed(IpAddr);

impl std::fmt::Display for Bracketed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(ip) => ip.fmt(f),
            IpAddr::V6(ip) => write!(f, "[{ip}]"),
        }
    }
}
