//! Recordings that no run would leave behind: hosts that are not there, packets that are none, calls that return
//! without having been entered, times that go backwards.

use std::time::{SystemTime, UNIX_EPOCH};
use switchboard_lab::record::{
    Call, Change, Disposition, Event, Header, HostId, HostInfo, Packet, Point, Process, Recording, Returned,
    Signal, Socket, What,
};
use switchboard_lab::render::{Class, Finding};

/// From the environment, or another one each time.
pub(crate) fn seed() -> u64 {
    std::env::var("SWITCHBOARD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        now.as_nanos() as u64
    })
}

/// SplitMix64 of Steele, Lea and Flood.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn text(&mut self) -> String {
        const SIGNS: [char; 12] = ['a', 'Z', '0', ' ', '<', '&', '"', '\n', '\u{202e}', 'é', '漢', '\u{0}'];
        (0..self.below(30)).map(|_| SIGNS[self.below(SIGNS.len() as u64) as usize]).collect()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..self.below(80)).map(|_| self.next() as u8).collect();
        // Some that begin like packets.
        if let Some(first) = bytes.first_mut() {
            *first = [0x45, 0x60, 0x4f, 0][self.below(4) as usize];
        }
        if let Some(protocol) = bytes.get_mut(9) {
            *protocol = [6, 17, 1, 99][self.below(4) as usize];
        }
        bytes
    }
}

fn what(random: &mut Random) -> What {
    let pid = random.below(4) as i32;
    match random.below(10) {
        0 => What::Step { text: random.text() },
        1 => What::Note { text: random.text() },
        kind @ (2 | 3) => {
            let result = match random.below(3) {
                0 => None,
                1 => Some(Returned::Value(random.next() as i64)),
                _ => Some(Returned::Errno(random.below(200) as i32)),
            };
            let call = Call {
                pid,
                tid: pid,
                serial: random.below(20),
                name: random.text(),
                arguments: (0..random.below(4)).map(|_| (random.text(), random.text())).collect(),
                fd: None,
                socket: None,
                data: random.bytes(),
                result,
                took_ns: random.next(),
                restarted: random.below(2) == 0,
                injected: (random.below(2) == 0).then(|| random.text()),
            };
            if kind == 2 { What::CallEntered(call) } else { What::Call(call) }
        }
        4 => What::Signal(Signal {
            pid,
            tid: pid,
            signal: random.next() as i32,
            sender: None,
            disposition: Disposition::Ignored,
        }),
        5 => {
            let change = match random.below(5) {
                0 => Change::Killed { signal: 9, core: true, open_sockets: vec![random.text()] },
                1 => Change::Executed { command: vec![random.text(), random.text()] },
                2 => Change::Zombie,
                3 => Change::Started { parent: 1, thread: true },
                _ => Change::Sampled { cpu_ns: 1, state: 'S', blocked_in: None, descriptors: 3 },
            };
            What::Process(Process { pid, tid: pid, change })
        }
        6 | 7 => {
            let point = match random.below(4) {
                0 => Point::Sent,
                1 => Point::Delivered,
                2 => Point::Dropped(random.text()),
                _ => Point::Forged(random.text()),
            };
            What::Packet(Packet {
                id: random.below(6),
                from: (random.below(3) > 0).then(|| HostId(random.below(4) as u8)),
                to: HostId(random.below(4) as u8),
                point,
                bytes: random.bytes(),
                length: random.next() as u32 >> random.below(32),
            })
        }
        8 => What::Socket(Socket {
            inode: random.below(3),
            protocol: "tcp".to_owned(),
            local: random.text(),
            peer: None,
            state: ["LISTEN", "ESTABLISHED", "GONE", "漢"][random.below(4) as usize].to_owned(),
            receive_queue: 0,
            send_queue: 0,
            timer: Some(random.text()),
        }),
        _ => What::Output { pid, stream: random.below(5) as u8, bytes: random.bytes() },
    }
}

/// A recording and findings that cite what may not be there.
pub(crate) fn recording(seed: u64) -> (Recording, Vec<Finding>) {
    let random = &mut Random(seed);
    let hosts = (0..random.below(5)).map(|_| HostInfo {
        name: random.text(),
        addresses: Vec::new(),
        program: Some(random.text()),
    });
    let hosts = hosts.collect();
    let header = Header {
        version: 1,
        scenario: random.text(),
        title: random.text(),
        seed: random.next(),
        kernel: random.text(),
        began_at_ns: random.next() >> random.below(64),
        began_unix_ns: random.next(),
        hosts,
    };
    let mut at_ns = header.began_at_ns;
    let mut events = Vec::new();
    for _ in 0..random.below(120) {
        at_ns = match random.below(20) {
            0 => random.next(),
            1 => at_ns.wrapping_add(5_000_000_000),
            _ => at_ns.wrapping_add(random.below(3_000_000)),
        };
        let host = (random.below(4) > 0).then(|| HostId(random.below(6) as u8));
        events.push(Event { at_ns, host, what: what(random) });
    }
    let finding = |random: &mut Random| Finding {
        word: random.text(),
        subject: random.text(),
        sentence: random.text(),
        cites: (0..random.below(5)).map(|_| random.below(200) as usize).collect(),
        remedy: (random.below(2) == 0).then(|| random.text()),
        class: [Class::Good, Class::Unknown, Class::Bad][random.below(3) as usize],
    };
    let findings = (0..random.below(4)).map(|_| finding(random)).collect();
    (Recording { header, events }, findings)
}
