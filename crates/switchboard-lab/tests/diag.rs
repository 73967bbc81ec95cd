//! What sock_diag(7) tells, against sockets that are really there, and against bytes that no kernel would send.

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, netlink, sockopt};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use switchboard_lab::diag::{Diag, End, Entry, Error, Overflow, Owners, Protocol, State, Wanted, parse};

/// The longest that anything here may take; what needs it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn skip(what: &str, reason: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED {what}: {reason}");
}

fn inode(socket: impl AsFd) -> u64 {
    rustix::fs::fstat(socket).expect("a descriptor").st_ino
}

fn look(wanted: &Wanted) -> Vec<Entry> {
    let mut diag = Diag::open().expect("a netlink socket");
    let mut entries = Vec::new();
    // Each kind by itself: a kernel may lack the module of one.
    for kind in 0..4 {
        let only = Wanted {
            tcp: wanted.tcp && kind == 0,
            udp: wanted.udp && kind == 1,
            raw: wanted.raw && kind == 2,
            unix: wanted.unix && kind == 3,
            ..wanted.clone()
        };
        match diag.sockets(&only) {
            Ok(some) => entries.extend(some),
            Err(error @ Error::Refused { .. }) => skip("a kind of socket", &error.to_string()),
            Err(error) => panic!("{error}"),
        }
    }
    entries
}

#[track_caller]
fn only(entries: &[Entry], inode: u64) -> &Entry {
    let mut found = entries.iter().filter(|entry| entry.inode == inode);
    let entry = found.next().unwrap_or_else(|| panic!("socket {inode} is not listed"));
    assert_eq!(found.count(), 0, "socket {inode} is listed twice");
    entry
}

#[test]
fn tcp_sockets_are_told_with_queues_timers_and_numbers() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("an address");
    let mut client = TcpStream::connect(at).expect("it listens");
    let waiting = TcpStream::connect(at).expect("it listens");
    let (server, _) = listener.accept().expect("a client waits");
    client.write_all(b"hello").expect("connected");
    let until = Instant::now() + PATIENCE;
    let entries = loop {
        let entries = look(&Wanted { tcp_info: true, ..Wanted::inet() });
        if only(&entries, inode(&server)).receive_queue == 5 && only(&entries, inode(&client)).send_queue == 0
        {
            break entries;
        }
        assert!(Instant::now() < until, "five bytes never arrived");
    };

    // The kernel itself leaves out who has another port at both ends.
    let near = look(&Wanted { ports: Some(at.port()..=at.port()), ..Wanted::inet() });
    for fd in [inode(&listener), inode(&client), inode(&server)] {
        only(&near, fd);
    }
    let has = |end: &End| matches!(end, End::Inet(address, _) if address.port() == at.port());
    assert!(near.iter().all(|entry| has(&entry.local) || entry.peer.as_ref().is_some_and(has)), "{near:?}");
    let none =
        look(&Wanted { ports: Some(0..=0), tcp_info: false, udp: false, raw: false, ..Wanted::inet() });
    assert!(none.iter().all(|entry| entry.inode != inode(&client) && entry.inode != inode(&server)));

    let ours = only(&entries, inode(&listener));
    assert_eq!((ours.state, ours.protocol, &ours.peer), (State::Listen, Protocol::Tcp, &None));
    assert_eq!(ours.local, End::Inet(at, None));
    let (queued, backlog) = ours.backlog().expect("it listens");
    assert_eq!(queued, 1, "one client waits to be accepted");
    assert!(backlog > 1 && !ours.is_full(), "{backlog}");
    assert!(ours.memory.expect("told by every kernel").receive_limit_bytes > 0);
    assert_eq!(ours.uid, Some(rustix::process::getuid().as_raw()));

    let theirs = only(&entries, inode(&client));
    let tcp = theirs.tcp.as_ref().expect("it was asked for");
    assert_eq!((theirs.state_name(), &theirs.peer), ("ESTABLISHED", &Some(End::Inet(at, None))));
    assert_eq!((tcp.acknowledged_bytes, tcp.sent_bytes), (6, 5), "the SYN is acknowledged as well");
    assert!(tcp.rtt_us > 0 && tcp.send_mss_bytes > 0 && theirs.congestion_control.is_some(), "{tcp:?}");
    let accepted = only(&entries, inode(&server));
    assert_eq!(accepted.tcp.as_ref().expect("asked for").received_bytes, 5);
    let sample = accepted.sample();
    assert_eq!((&*sample.protocol, &*sample.state, sample.receive_queue), ("tcp", "ESTABLISHED", 5));
    assert_eq!(sample.peer, Some(client.local_addr().expect("an address").to_string()));

    // Whoever closes first keeps the name for a minute; the socket belongs to nobody then.
    let gone = client.local_addr().expect("an address");
    drop((client, waiting));
    drop(server);
    let listed = |state| {
        let entries = look(&Wanted { udp: false, raw: false, states: vec![state], ..Wanted::inet() });
        entries.into_iter().filter(|entry| entry.local == End::Inet(gone, None)).collect::<Vec<_>>()
    };
    assert!(listed(State::Established).is_empty());
    assert!(listed(State::Listen).is_empty());
}

#[test]
fn time_wait_runs_out_by_a_timer_and_belongs_to_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("it listens");
    let (server, peer) = listener.accept().expect("a client waits");
    drop(client);
    let mut end = [0];
    assert_eq!(io::Read::read(&mut &server, &mut end).expect("end of input"), 0);
    drop(server);
    let until = Instant::now() + PATIENCE;
    let wanted = Wanted { udp: false, raw: false, states: vec![State::TimeWait], ..Wanted::inet() };
    let entry = loop {
        let mut entries = look(&wanted);
        assert!(entries.iter().all(|entry| entry.state == State::TimeWait), "the kernel filters by state");
        entries.retain(|entry| entry.local == End::Inet(peer, None));
        if let Some(entry) = entries.pop() {
            break entry;
        }
        assert!(Instant::now() < until, "no TIME_WAIT");
    };
    let timer = entry.timer.expect("TIME_WAIT ends by a timer");
    assert_eq!(entry.inode, 0);
    assert!(timer.expires_ms <= 60_000, "{timer:?}");
    assert!(timer.to_string().starts_with("gone in "), "{timer}");
}

#[test]
fn wildcards_and_other_families_are_told_apart() {
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let connected = UdpSocket::bind("127.0.0.1:0").expect("a port");
    connected.connect(udp.local_addr().expect("an address")).expect("a datagram socket");
    let both = TcpListener::bind("[::]:0");
    let entries = look(&Wanted::all());
    assert_eq!(only(&entries, inode(&udp)).state_name(), "UNCONNECTED");
    assert_eq!(only(&entries, inode(&udp)).peer, None);
    assert_eq!(only(&entries, inode(&connected)).state_name(), "ESTABLISHED");
    match both {
        Ok(both) => {
            let port = both.local_addr().expect("an address").port();
            assert_eq!(only(&entries, inode(&both)).local, End::Any(port), "it takes IPv4 as well");
            let without = look(&Wanted { v6: false, ..Wanted::inet() });
            assert!(without.iter().all(|entry| entry.inode != inode(&both)));
        }
        Err(error) => skip("IPv6", &error.to_string()),
    }
}

#[test]
fn raw_sockets_are_told_with_the_protocol_they_are_for() {
    let icmp = rustix::net::ipproto::ICMP;
    match rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(icmp)) {
        Ok(raw) => {
            let entries = look(&Wanted { tcp: false, udp: false, ..Wanted::inet() });
            if entries.is_empty() {
                return skip("raw sockets", "this kernel does not list them");
            }
            assert_eq!(only(&entries, inode(&raw)).protocol, Protocol::Raw(1));
        }
        Err(errno) => skip("raw sockets", &errno.to_string()),
    }
}

#[test]
fn unix_sockets_have_names_peers_and_backlogs() {
    let name = format!("switchboard-diag-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name);
    let listener = UnixListener::bind_addr(&address.expect("a name")).expect("an abstract name");
    let client = UnixStream::connect_addr(&listener.local_addr().expect("a name")).expect("it listens");
    let (left, right) = UnixStream::pair().expect("a pair");
    (&left).write_all(b"12345").expect("a pair");
    let entries = look(&Wanted { tcp: false, udp: false, raw: false, unix: true, ..Wanted::inet() });
    if entries.is_empty() {
        return skip("Unix sockets", "this kernel does not list them");
    }
    let ours = only(&entries, inode(&listener));
    assert_eq!(ours.local.to_string(), format!("@{name}"));
    assert_eq!(ours.backlog().map(|(waiting, _)| waiting), Some(1), "a client waits");
    assert_eq!(only(&entries, inode(&client)).state, State::Established);
    assert_eq!(only(&entries, inode(&right)).receive_queue, 5);
    assert_eq!(only(&entries, inode(&right)).peer, Some(End::Unnamed(inode(&left))));
}

#[test]
fn owners_are_found_with_their_zombies() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let mut child = Command::new("true").stdin(Stdio::null()).spawn().expect("true(1)");
    let pid = child.id() as i32;
    let until = Instant::now() + PATIENCE;
    loop {
        let owners = Owners::look().expect("/proc");
        let holders = owners.of(inode(&socket));
        let own = (std::process::id() as i32, socket.as_raw_fd());
        let us = owners.program(own.0).expect("this process");
        // A child of another test has our descriptors, too, until it executes its program.
        let is_ours_alone = holders.iter().map(|holder| (holder.pid, holder.fd)).eq([own]);
        if is_ours_alone && us.zombies.contains(&pid) {
            break;
        }
        assert!(Instant::now() < until, "{holders:?} {us:?}");
    }
    assert!(child.wait().expect("our child").success());
    let owners = Owners::look().expect("/proc");
    assert!(owners.program(pid).is_none_or(|program| program.state != 'Z'));
}

#[test]
fn queues_that_overflow_are_counted() {
    let before = Overflow::look(None).expect("/proc/net/netstat");
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    rustix::net::bind(&socket, &"127.0.0.1:0".parse::<std::net::SocketAddr>().expect("an address"))
        .expect("a port");
    rustix::net::listen(&socket, 1).expect("bound");
    let listener = TcpListener::from(socket);
    let at = listener.local_addr().expect("an address");
    // A backlog of 1 holds 2; whoever comes then is not answered.
    let _fits = [TcpStream::connect(at).expect("room"), TcpStream::connect(at).expect("room")];
    let late = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    rustix::io::ioctl_fionbio(&late, true).expect("a socket");
    assert_eq!(rustix::net::connect(&late, &at), Err(rustix::io::Errno::INPROGRESS));
    let until = Instant::now() + PATIENCE;
    loop {
        let entries = look(&Wanted { udp: false, raw: false, ..Wanted::inet() });
        let entry = only(&entries, inode(&listener));
        if entry.is_full() && entry.memory.is_some_and(|memory| memory.drops > 0) {
            assert_eq!(entry.backlog(), Some((2, 1)));
            break;
        }
        assert!(Instant::now() < until, "{entry:?}");
    }
    let after = Overflow::look(Some(std::process::id() as i32)).expect("/proc/PID/net/netstat");
    assert!(after.overflows > before.overflows && after.drops > before.drops, "{before:?} {after:?}");
}

/// A descriptor made in another network namespace sees that one, from wherever it is asked.
#[test]
fn a_socket_of_another_network_namespace_sees_that_one() {
    const WHAT: &str = "another network namespace";
    let shell = "echo ready; read line";
    let mut unshare = Command::new("unshare");
    unshare
        .args(["-n", "sh", "-c", shell])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let Ok(mut child) = unshare.spawn() else {
        return skip(WHAT, "there is no unshare(1)");
    };
    let mut ready = String::new();
    let stdout = child.stdout.take().expect("piped");
    let _ = io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut ready);
    let other = std::fs::File::open(format!("/proc/{}/ns/net", child.id()));
    let made = std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            let other = other.map_err(|_| "it is gone")?;
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(other.as_fd(), Some(kind))
                .map_err(|_| "not permitted")?;
            let socket =
                rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::SOCK_DIAG));
            let listener = TcpListener::bind("0.0.0.0:7").map_err(|_| "no port")?;
            Ok::<(OwnedFd, TcpListener), &str>((socket.map_err(|_| "no socket")?, listener))
        });
        made.join().expect("no panic")
    });
    match made {
        Ok((socket, listener)) if ready == "ready\n" => {
            let entries = Diag::on(socket).sockets(&Wanted { udp: false, raw: false, ..Wanted::inet() });
            let entries = entries.expect("a listing");
            assert_eq!(entries.len(), 1, "it has one socket: {entries:?}");
            assert_eq!(entries[0].inode, inode(&listener));
        }
        Ok(_) => skip(WHAT, "this user may not make one"),
        Err(reason) => skip(WHAT, reason),
    }
    drop(child.stdin.take());
    let _ = child.wait();
}

/// A real answer of this kernel's, as one datagram.
fn answer(body: &[u8]) -> Vec<u8> {
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::SOCK_DIAG));
    let socket = socket.expect("a netlink socket");
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE)).expect("an option");
    let mut request = Vec::new();
    request.extend((16 + body.len() as u32).to_ne_bytes());
    request.extend(20u16.to_ne_bytes());
    request.extend(0x301u16.to_ne_bytes());
    request.extend(1u32.to_ne_bytes());
    request.extend([0; 4]);
    request.extend(body);
    rustix::net::send(&socket, &request, SendFlags::empty()).expect("sent");
    let mut bytes = vec![0; 65536];
    let (length, _) = rustix::net::recv(&socket, &mut bytes[..], RecvFlags::empty()).expect("an answer");
    bytes.truncate(length);
    bytes
}

/// xorshift64* of Vigna.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

#[test]
fn bytes_that_no_kernel_sends_are_refused_or_read_but_never_a_panic() {
    let seed =
        std::env::var("SWITCHBOARD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
            now.as_nanos() as u64 | 1
        });
    let _keep = TcpListener::bind("127.0.0.1:0").expect("a port");
    let _pair = UnixStream::pair().expect("a pair");
    let tcp = answer(&[&[2, 6, 0xff, 0][..], &u32::MAX.to_ne_bytes(), &[0; 48]].concat());
    let unix = answer(
        &[&[1, 0, 0, 0][..], &u32::MAX.to_ne_bytes(), &[0; 4], &0x7fu32.to_ne_bytes(), &[0; 8]].concat(),
    );
    let mut random = Random(seed);
    for (protocol, real) in [(Protocol::Tcp, &tcp), (Protocol::Raw(0), &tcp), (Protocol::Unix(1), &unix)] {
        let mut entries = Vec::new();
        parse(real, 1, protocol, &mut entries).expect("a kernel's own answer");
        assert!(!entries.is_empty(), "seed {seed}");
        let mut others = Vec::new();
        let progress = parse(real, 2, protocol, &mut others).expect("well-formed");
        assert!(others.is_empty() && progress.end.is_none(), "an answer to another request is passed over");
        for _ in 0..4000 {
            let mut bytes = real.clone();
            for _ in 0..=random.below(4) {
                let (at, value) = (random.below(bytes.len().min(400)), random.below(256) as u8);
                bytes[at] = value;
            }
            bytes.truncate(if random.below(2) == 0 { bytes.len() } else { random.below(bytes.len()) });
            let mut entries = Vec::new();
            // It must end, and whatever was read must be showable.
            let _ = parse(&bytes, 1, protocol, &mut entries);
            entries.iter().for_each(|entry| drop(entry.sample()));
        }
    }
}
