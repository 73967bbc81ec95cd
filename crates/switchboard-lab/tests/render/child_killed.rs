//! Case 14 as it goes: three echoes (the third is lost once), the server's child is killed, the client writes twice.

use std::net::{IpAddr, Ipv4Addr};
use switchboard_lab::record::{
    Call, Change, Disposition, Event, Header, HostId, HostInfo, Packet, Point, Process, Recording, Returned,
    Signal, Socket, What,
};
use switchboard_lab::render::{Class, Finding};

const CLIENT: HostId = HostId(0);
const SERVER: HostId = HostId(1);
const BEGAN: u64 = 77_000_000_000;
const ISN: [u32; 2] = [4_294_967_200, 1_000];

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// Collects events; times are microseconds since the beginning.
struct Script {
    events: Vec<Event>,
    serial: u64,
    packets: u64,
}

impl Script {
    fn at(&mut self, us: u64, host: Option<HostId>, what: What) -> usize {
        self.events.push(Event { at_ns: BEGAN + us * 1_000, host, what });
        self.events.len() - 1
    }

    /// A call; `took` is none for one that is entered only.
    fn call(
        &mut self,
        us: u64,
        host: HostId,
        pid: i32,
        text: &str,
        result: Option<Returned>,
        took_us: u64,
    ) -> usize {
        let (name, rest) = text.split_once('(').expect("a call");
        let values = rest.trim_end_matches(')').split(", ").filter(|value| !value.is_empty());
        let names = ["fd", "data", "length", "flags"];
        let arguments = values.zip(names).map(|(value, name)| (name.to_owned(), value.to_owned())).collect();
        let data = match text.split('"').nth(1) {
            Some(data) if result.is_some() => data.replace("\\n", "\n").into_bytes(),
            _ => Vec::new(),
        };
        let call = Call {
            pid,
            tid: pid,
            serial: self.serial,
            name: name.to_owned(),
            arguments,
            fd: Some(3),
            socket: Some(4711),
            data: if name == "recv" { data } else { Vec::new() },
            result,
            took_ns: took_us * 1_000,
            restarted: false,
            injected: None,
        };
        let what = if result.is_some() { What::Call(call) } else { What::CallEntered(call) };
        self.at(us, Some(host), what)
    }

    /// One that returns at once.
    fn quick(&mut self, us: u64, host: HostId, pid: i32, text: &str, result: i64) -> usize {
        self.serial += 1;
        self.call(us, host, pid, text, Some(Returned::Value(result)), 12)
    }

    /// Enters a call that waits; its serial number.
    fn enter(&mut self, us: u64, host: HostId, pid: i32, text: &str) -> u64 {
        self.serial += 1;
        self.call(us, host, pid, text, None, 0);
        self.serial
    }

    fn leave(&mut self, us: u64, serial: u64, call: (HostId, i32, &str, i64), entered_us: u64) -> usize {
        let (host, pid, text, result) = call;
        let now = std::mem::replace(&mut self.serial, serial);
        let index = self.call(us, host, pid, text, Some(Returned::Value(result)), us - entered_us);
        self.serial = now;
        index
    }

    fn packet(&mut self, us: u64, from: HostId, flags: u8, numbers: (u32, u32), data: &str) -> Packet {
        self.packets += 1;
        let to = if from == CLIENT { SERVER } else { CLIENT };
        let packet = Packet {
            id: self.packets,
            from: Some(from),
            to,
            point: Point::Sent,
            bytes: segment(from, flags, numbers, data.as_bytes()),
            length: 40 + data.len() as u32,
        };
        self.at(us, None, What::Packet(packet.clone()));
        packet
    }

    fn arrives(&mut self, us: u64, packet: &Packet) -> usize {
        self.at(us, None, What::Packet(Packet { point: Point::Delivered, ..packet.clone() }))
    }

    fn lost(&mut self, us: u64, packet: &Packet, why: &str) -> usize {
        self.at(us, None, What::Packet(Packet { point: Point::Dropped(why.to_owned()), ..packet.clone() }))
    }

    fn process(&mut self, us: u64, host: HostId, pid: i32, change: Change) -> usize {
        self.at(us, Some(host), What::Process(Process { pid, tid: pid, change }))
    }

    fn signal(&mut self, us: u64, host: HostId, pid: i32, signal: i32, sender: Option<i32>) -> usize {
        let disposition = Disposition::Default;
        self.at(us, Some(host), What::Signal(Signal { pid, tid: pid, signal, sender, disposition }))
    }

    fn state(&mut self, us: u64, host: HostId, state: &str) -> usize {
        let (local, peer) = match (host, state) {
            (CLIENT, _) => ("10.0.0.1:40000", Some("10.0.0.2:7000")),
            (_, "LISTEN") => ("0.0.0.0:7000", None),
            _ => ("10.0.0.2:7000", Some("10.0.0.1:40000")),
        };
        let socket = Socket {
            inode: 4711 + u64::from(host.0),
            protocol: "tcp".to_owned(),
            local: local.to_owned(),
            peer: peer.map(str::to_owned),
            state: state.to_owned(),
            receive_queue: 0,
            send_queue: 0,
            timer: None,
        };
        self.at(us, Some(host), What::Socket(socket))
    }
}

fn address(host: HostId) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, host.0 + 1)
}

/// IPv4 and TCP headers without options, with right checksums, so that other readers believe them.
fn segment(from: HostId, flags: u8, (sequence, acknowledged): (u32, u32), data: &[u8]) -> Vec<u8> {
    let to = HostId(1 - from.0);
    let (ours, theirs) = (usize::from(from.0), usize::from(to.0));
    let ports: [u16; 2] = [40_000, 7_000];
    let mut tcp = Vec::new();
    tcp.extend(ports[ours].to_be_bytes());
    tcp.extend(ports[theirs].to_be_bytes());
    tcp.extend(ISN[ours].wrapping_add(sequence).to_be_bytes());
    let acknowledged = if flags & ACK == 0 { 0 } else { ISN[theirs].wrapping_add(acknowledged) };
    tcp.extend(acknowledged.to_be_bytes());
    tcp.extend([0x50, flags]);
    tcp.extend(if flags & RST == 0 { 64_240u16 } else { 0 }.to_be_bytes());
    tcp.extend([0; 4]);
    tcp.extend(data);
    let mut pseudo = [address(from).octets(), address(to).octets()].concat();
    pseudo.extend([0, 6]);
    pseudo.extend((tcp.len() as u16).to_be_bytes());
    let sum = checksum(&[&pseudo[..], &tcp].concat());
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut ip = vec![0x45, 0];
    ip.extend((20 + tcp.len() as u16).to_be_bytes());
    ip.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    ip.extend(address(from).octets());
    ip.extend(address(to).octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ip.extend(tcp);
    ip
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// What was seen, and what is said of it.
pub(crate) fn recording() -> (Recording, Vec<Finding>) {
    let mut script = Script { events: Vec::new(), serial: 0, packets: 0 };
    let s = &mut script;
    let command = |text: &str| Change::Executed { command: text.split(' ').map(str::to_owned).collect() };
    s.process(0, SERVER, 400, command("./server 7000"));
    s.quick(900, SERVER, 400, "listen(3, 128)", 0);
    s.state(1_000, SERVER, "LISTEN");
    let accept = s.enter(1_050, SERVER, 400, "accept(3)");
    s.process(4_000, CLIENT, 301, command("./client 10.0.0.2 7000"));
    let connect = s.enter(5_000, CLIENT, 301, "connect(3, 10.0.0.2:7000)");
    let syn = s.packet(5_020, CLIENT, SYN, (0, 0), "");
    s.state(5_400, CLIENT, "SYN_SENT");
    s.arrives(10_030, &syn);
    let syn_ack = s.packet(10_050, SERVER, SYN | ACK, (0, 1), "");
    s.arrives(15_060, &syn_ack);
    s.leave(15_090, connect, (CLIENT, 301, "connect(3, 10.0.0.2:7000)", 0), 5_000);
    let ack = s.packet(15_080, CLIENT, ACK, (1, 1), "");
    s.state(15_500, CLIENT, "ESTABLISHED");
    s.arrives(20_090, &ack);
    s.leave(20_120, accept, (SERVER, 400, "accept(3)", 4), 1_050);
    s.state(20_400, SERVER, "ESTABLISHED");
    s.process(20_500, SERVER, 402, Change::Started { parent: 400, thread: false });
    let mut read = s.enter(20_800, SERVER, 402, "recv(4)");
    let mut read_at = 20_800;
    let (mut sent, mut now) = (1, 40_000);
    for (word, dropped) in [("one\n", false), ("two\n", false), ("three\n", true)] {
        let length = word.len() as u32;
        let text = word.replace('\n', "\\n");
        s.quick(now, CLIENT, 301, &format!("send(3, \"{text}\", {length}, 0)"), length.into());
        let mut data = s.packet(now + 20, CLIENT, PSH | ACK, (sent, sent), word);
        let reply = s.enter(now + 60, CLIENT, 301, "recv(3)");
        let reply_at = now + 60;
        if dropped {
            s.lost(now + 2_000, &data, "random loss");
            now += 211_000;
            data = s.packet(now, CLIENT, PSH | ACK, (sent, sent), word);
        }
        s.arrives(now + 5_030, &data);
        s.leave(now + 5_060, read, (SERVER, 402, &format!("recv(4, \"{text}\")"), length.into()), read_at);
        s.quick(now + 5_100, SERVER, 402, &format!("send(4, \"{text}\", {length}, 0)"), length.into());
        let echo = s.packet(now + 5_120, SERVER, PSH | ACK, (sent, sent + length), word);
        read_at = now + 5_160;
        read = s.enter(read_at, SERVER, 402, "recv(4)");
        s.arrives(now + 10_140, &echo);
        let call = (CLIENT, 301, &*format!("recv(3, \"{text}\")"), i64::from(length));
        s.leave(now + 10_170, reply, call, reply_at);
        sent += length;
        let ack = s.packet(now + 10_180, CLIENT, ACK, (sent, sent), "");
        s.arrives(now + 15_200, &ack);
        now += 40_000;
    }
    let _ = read;
    s.at(2_300_000, None, What::Step { text: "kill the child of the server".to_owned() });
    s.signal(2_300_100, SERVER, 402, 9, None);
    let open = vec!["fd 4: 10.0.0.2:7000 → 10.0.0.1:40000".to_owned()];
    s.process(2_300_300, SERVER, 402, Change::Killed { signal: 9, core: false, open_sockets: open });
    let fin = s.packet(2_300_320, SERVER, FIN | ACK, (sent, sent), "");
    let zombie = s.process(2_300_600, SERVER, 402, Change::Zombie);
    s.state(2_301_000, SERVER, "FIN_WAIT1");
    s.arrives(2_305_340, &fin);
    let ack = s.packet(2_305_360, CLIENT, ACK, (sent, sent + 1), "");
    s.state(2_305_700, CLIENT, "CLOSE_WAIT");
    s.arrives(2_310_380, &ack);
    s.state(2_310_800, SERVER, "FIN_WAIT2");
    let first = s.quick(3_000_000, CLIENT, 301, "send(3, \"four\\n\", 5, 0)", 5);
    let data = s.packet(3_000_020, CLIENT, PSH | ACK, (sent, sent + 1), "four\n");
    s.arrives(3_005_040, &data);
    let reset = s.packet(3_005_060, SERVER, RST, (sent + 1, 0), "");
    s.state(3_005_500, SERVER, "GONE");
    let reset = s.arrives(3_010_080, &reset);
    s.state(3_010_500, CLIENT, "CLOSE");
    s.serial += 1;
    let second = s.call(3_500_000, CLIENT, 301, "send(3, \"five\\n\", 5, 0)", Some(Returned::Errno(32)), 15);
    let pipe = s.signal(3_500_010, CLIENT, 301, 13, None);
    let killed = Change::Killed { signal: 13, core: false, open_sockets: Vec::new() };
    let killed = s.process(3_500_200, CLIENT, 301, killed);
    s.at(3_500_300, None, What::Note { text: "the run is over".to_owned() });

    let host = |name: &str, host, program: &str| HostInfo {
        name: name.to_owned(),
        addresses: vec![IpAddr::V4(address(host))],
        program: Some(program.to_owned()),
    };
    let header = Header {
        version: 1,
        scenario: "14-child-killed".to_owned(),
        title: "the server's child is killed and the client writes twice".to_owned(),
        seed: 7,
        kernel: "6.18.0".to_owned(),
        began_at_ns: BEGAN,
        began_unix_ns: 1_795_258_800_000_000_000,
        hosts: vec![
            host("client", CLIENT, "./client 10.0.0.2 7000"),
            host("server", SERVER, "./server 7000"),
        ],
    };
    let findings = vec![
        Finding {
            word: "KILLED BY SIGPIPE".to_owned(),
            subject: "client".to_owned(),
            sentence: "the first write after the peer's end brought a reset, the second a signal that nobody handles"
                .to_owned(),
            cites: vec![first, reset, second, pipe, killed],
            remedy: Some("send with MSG_NOSIGNAL or ignore SIGPIPE, and treat EPIPE as the end".to_owned()),
            class: Class::Bad,
        },
        Finding {
            word: "ZOMBIES(1)".to_owned(),
            subject: "server".to_owned(),
            sentence: "process 402 has ended and nobody has waited for it".to_owned(),
            cites: vec![zombie],
            remedy: Some("wait in a loop: while (waitpid(-1, NULL, WNOHANG) > 0)".to_owned()),
            class: Class::Bad,
        },
    ];
    (Recording { header, events: script.events }, findings)
}
