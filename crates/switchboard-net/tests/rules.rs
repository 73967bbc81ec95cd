//! hosts.allow, hosts.deny and tcprules files mean here what they mean to the programs they come from: random files are
//! judged by tcpdmatch(8), and compiled and judged by tcprules(1) and tcprulescheck(1) of ucspi-tcp. Where these are
//! not installed, that is said.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use switchboard_net::admission::{Access, Admission, HostsFiles, Ledger, Verdict, Visit, Warden};
use switchboard_net::{Peer, sys::clock};
use switchboard_proto::Random;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("switchboard-rules-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn seed() -> u64 {
    std::env::var("SWITCHBOARD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(5)
}

/// Whether a program can be started; says so if not.
fn is_here(program: &str) -> bool {
    let here = Command::new(program).arg("--version").output().is_ok();
    if !here {
        let _ = writeln!(std::io::stderr(), "SKIPPED: {program} is not installed");
    }
    here
}

/// What the rules say of `address`: the settings of a client who comes in.
fn judge(access: Access, address: Ipv4Addr) -> Option<BTreeSet<String>> {
    let admission = Admission { access, ..Admission::default() };
    let ledger = Ledger::create().expect("memory");
    let warden = Warden::new("s", &admission, None, &ledger).expect("the files are right");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let socket = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
    let mut visit = Visit::new(Peer::Inet((IpAddr::V4(address), 4_000).into()));
    match warden.judge(&mut visit, &socket, clock::now()) {
        Verdict::Admit(admitted) => {
            Some(admitted.environment.iter().map(|(name, value)| format!("{name}={value}")).collect())
        }
        Verdict::Refuse(refusal) if refusal.denied => None,
        other => panic!("{other:?}"),
    }
}

/// Few different ones, so that rules meet clients.
fn address(random: &mut Random) -> Ipv4Addr {
    let mut octet = |most: u64| (random.bits() % most) as u8;
    Ipv4Addr::new(10 + octet(2), octet(2), octet(2), 1 + octet(4))
}

#[test]
fn tcpdmatch_agrees() {
    if !is_here("tcpdmatch") {
        return;
    }
    let scratch = Scratch::new("hosts");
    let mut random = Random::new(seed());
    for case in 0..60 {
        for name in ["hosts.allow", "hosts.deny"] {
            let text: String = (0..random.bits() % 4).map(|_| rule_of_hosts(&mut random)).collect();
            fs::write(scratch.0.join(name), text).expect("written");
        }
        for _ in 0..4 {
            let client = address(&mut random);
            let said = Command::new("tcpdmatch")
                .args(["-d", "echod", &client.to_string()])
                .current_dir(&scratch.0)
                .output()
                .expect("started");
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            let (granted, denied) = (said.contains("granted"), said.contains("denied"));
            assert!(granted != denied, "tcpdmatch said {said}");
            let (allow, deny) = (scratch.0.join("hosts.allow"), scratch.0.join("hosts.deny"));
            let texts = [&allow, &deny].map(|path| fs::read_to_string(path).expect("there"));
            let hosts = Some(HostsFiles { allow, deny, daemon: "echod".into() });
            let ours = judge(Access { hosts, ..Access::default() }, client).is_some();
            assert_eq!(ours, granted, "seed {}, case {case}: {client}: {texts:?}", seed());
        }
    }
}

fn rule_of_hosts(random: &mut Random) -> String {
    let list = |random: &mut Random, item: &dyn Fn(&mut Random) -> String| {
        let part = |random: &mut Random| {
            let items: Vec<String> = (0..1 + random.bits() % 2).map(|_| item(random)).collect();
            items.join([", ", " "][random.bits() as usize % 2])
        };
        let parts = 1 + random.bits() % 3;
        (0..parts).map(|_| part(random)).collect::<Vec<_>>().join(" EXCEPT ")
    };
    let daemon = |random: &mut Random| ["ALL", "echod", "other"][random.bits() as usize % 3].to_owned();
    let client = |random: &mut Random| {
        let [a, b, c, d] = address(random).octets();
        match random.bits() % 7 {
            0 => "ALL".to_owned(),
            1 => format!("{a}."),
            2 => format!("{a}.{b}."),
            3 => format!("{a}.{b}.0.0/255.255.0.0"),
            4 => format!("{a}.{b}.{c}.*"),
            5 => format!("{a}.{b}.{c}.0/24"),
            _ => format!("{a}.{b}.{c}.{d}"),
        }
    };
    let verdict = ["", "", " : ALLOW", " : DENY"][random.bits() as usize % 4];
    format!("{}: {}{verdict}\n", list(random, &daemon), list(random, &client))
}

#[test]
fn tcprulescheck_agrees() {
    if !(is_here("tcprules") && is_here("tcprulescheck")) {
        return;
    }
    let scratch = Scratch::new("tcprules");
    let mut random = Random::new(seed());
    let (source, database) = (scratch.0.join("rules"), scratch.0.join("rules.cdb"));
    for case in 0..60 {
        let text: String = (0..1 + random.bits() % 6).map(|_| rule_of_tcp(&mut random)).collect();
        fs::write(&source, &text).expect("written");
        compile(&source, &database);
        for _ in 0..4 {
            let client = address(&mut random);
            let said = Command::new("tcprulescheck")
                .arg(&database)
                .env("TCPREMOTEIP", client.to_string())
                .output()
                .expect("started");
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            let set = said.lines().filter_map(|line| line.strip_prefix("set environment variable "));
            let set: BTreeSet<String> = set.map(str::to_owned).collect();
            let theirs = said.contains("allow connection").then_some(set);
            for path in [&source, &database] {
                let access = Access { tcprules: Some(path.clone()), ..Access::default() };
                let ours = judge(access, client);
                assert_eq!(ours, theirs, "seed {}, case {case}: {client}: {text}", seed());
            }
        }
    }
}

fn compile(source: &Path, database: &Path) {
    let made = Command::new("tcprules")
        .arg(database)
        .arg(database.with_extension("tmp"))
        .stdin(fs::File::open(source).expect("there"))
        .status()
        .expect("started");
    assert!(made.success(), "{}", fs::read_to_string(source).expect("there"));
}

fn rule_of_tcp(random: &mut Random) -> String {
    let [a, b, c, d] = address(random).octets();
    let who = match random.bits() % 6 {
        0 => String::new(),
        1 => format!("{a}."),
        2 => format!("{a}.{b}."),
        3 => format!("{a}.{b}.{c}.1-{d}"),
        4 => "10-11.".to_owned(),
        _ => format!("{a}.{b}.{c}.{d}"),
    };
    let what = ["deny", "allow", "allow,A=\"x y\"", "allow,A='1',B=/2 \"3\"/"][random.bits() as usize % 4];
    format!("{who}:{what}\n")
}
