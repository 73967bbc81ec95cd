//! Small recordings made by hand, each with one fault and one without.

use super::*;
use crate::record::{Call, Change, Event, Header, Process, Returned, Signal, Socket, What};

const PID: i32 = 100;
const HOST: HostId = HostId(0);
const MS: Nanos = 1_000_000;

/// A recording that grows by an event each 10 ms.
struct Story {
    events: Vec<Event>,
    now: Nanos,
    serial: u64,
    facts: Facts,
}

impl Story {
    fn of(role: &str, must: Must) -> Story {
        let facts = Facts {
            role: role.to_owned(),
            host: HOST,
            processes: vec![PID],
            must,
            fault: None,
            missing: None,
            until_ns: 0,
            watched_s: 5.0,
            signals: Vec::new(),
            gives_up: "never".to_owned(),
            streams: Vec::new(),
            probe: None,
            ends: Some(true),
            datagrams: false,
        };
        Story { events: Vec::new(), now: 0, serial: 0, facts }
    }

    fn event(mut self, what: What) -> Story {
        self.now += 10 * MS;
        self.events.push(Event { at_ns: self.now, host: Some(HOST), what });
        self
    }

    fn fault(mut self) -> Story {
        self.facts.fault = Some(self.events.len());
        self.event(What::Step { text: "the fault".to_owned() })
    }

    fn call_with(mut self, name: &str, result: Option<Returned>, arguments: &[(&str, &str)]) -> Story {
        self.serial += 1;
        let arguments =
            arguments.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let call = Call {
            pid: PID,
            tid: PID,
            serial: self.serial,
            name: name.to_owned(),
            arguments,
            fd: Some(3),
            socket: Some(77),
            result,
            ..Call::default()
        };
        let what = if result.is_some() { What::Call(call) } else { What::CallEntered(call) };
        self.event(what)
    }

    fn returns(self, name: &str, value: i64) -> Story {
        self.call_with(name, Some(Returned::Value(value)), &[])
    }

    fn fails(self, name: &str, errno: i32) -> Story {
        self.call_with(name, Some(Returned::Errno(errno)), &[])
    }

    fn enters(self, name: &str) -> Story {
        self.call_with(name, None, &[])
    }

    fn process(self, pid: i32, change: Change) -> Story {
        self.event(What::Process(Process { pid, tid: pid, change }))
    }

    fn exits(self, status: i32) -> Story {
        self.process(PID, Change::Exited { status, open_sockets: Vec::new() })
    }

    fn killed(self, signal: i32) -> Story {
        self.process(PID, Change::Killed { signal, core: false, open_sockets: Vec::new() })
    }

    fn says(self, stream: u8, text: &str) -> Story {
        self.event(What::Output { pid: PID, stream, bytes: text.as_bytes().to_vec() })
    }

    fn socket(self, state: &str) -> Story {
        self.event(What::Socket(Socket {
            inode: 77,
            protocol: "tcp".to_owned(),
            local: "10.0.1.1:4000".to_owned(),
            peer: Some("10.0.2.1:7".to_owned()),
            state: state.to_owned(),
            receive_queue: 0,
            send_queue: 0,
            timer: None,
        }))
    }

    fn later(mut self, ms: Nanos) -> Story {
        self.now += ms * MS;
        self
    }

    fn verdicts(mut self) -> Vec<Verdict> {
        self.facts.until_ns = self.now + 10 * MS;
        let header = Header {
            version: 1,
            scenario: "99-story".to_owned(),
            title: String::new(),
            seed: 0,
            kernel: String::new(),
            began_at_ns: 0,
            began_unix_ns: 0,
            hosts: Vec::new(),
        };
        let events = self.events.len();
        let recording = Recording { header, events: self.events };
        let verdicts = judge(&recording, &self.facts);
        let cited = verdicts.iter().flat_map(|verdict| &verdict.cites);
        assert!(cited.into_iter().all(|cite| *cite < events), "{verdicts:?}");
        verdicts
    }

    #[track_caller]
    fn is(self, kinds: &[Kind]) -> Vec<Verdict> {
        let verdicts = self.verdicts();
        let found: Vec<Kind> = verdicts.iter().map(|verdict| verdict.kind).collect();
        assert_eq!(found, kinds, "{verdicts:?}");
        verdicts
    }
}

fn client() -> Story {
    Story::of("client", Must::Notice).returns("connect", 0).returns("sendto", 6).returns("recvfrom", 6)
}

fn server() -> Story {
    let story = Story::of("server", Must::Survive).returns("listen", 0);
    let probe = Some(Probe { meanwhile: true, at_the_end: true, patience_s: 3 });
    Story { facts: Facts { probe, ..story.facts.clone() }, ..story }
}

#[test]
fn a_client_that_is_told_and_ends_has_noticed() {
    let verdicts =
        client().fault().fails("recvfrom", libc::ECONNRESET).says(2, "reset").exits(1).is(&[Kind::Noticed]);
    assert_eq!(verdicts[0].text, "after 0.0 s, recv said ECONNRESET; exit 1");
    assert_eq!(verdicts[0].cites, [4, 6]);
}

#[test]
fn a_client_that_sits_in_a_call_hangs_there() {
    let story = client().fault().socket("ESTABLISHED").enters("recvfrom").later(6000);
    let verdicts = story.is(&[Kind::Hangs]);
    assert_eq!(
        verdicts[0].text,
        "> 5 s in recv on descriptor 3, connection ESTABLISHED; the kernel would never give up"
    );
    // One that has closed its socket may do what it likes.
    client()
        .fault()
        .returns("recvfrom", 0)
        .returns("close", 0)
        .enters("read")
        .later(6000)
        .is(&[Kind::Noticed]);
}

#[test]
fn a_limit_that_was_not_waited_for_is_no_hang_and_no_pass() {
    let wait = |timeout| client().fault().call_with("poll", None, &[("timeout", timeout)]).later(6000);
    wait("30s").is(&[Kind::Inconclusive]);
    wait("1s").is(&[Kind::Hangs]);
    wait("NULL").is(&[Kind::Hangs]);
    let keepalive = [("option", "SO_KEEPALIVE"), ("value", "1")];
    let story = client().call_with("setsockopt", Some(Returned::Value(0)), &keepalive).fault();
    story.enters("recvfrom").later(6000).is(&[Kind::Inconclusive]);
}

#[test]
fn sigpipe_is_told_from_other_deaths() {
    let story = client().fault().returns("sendto", 6).fails("sendto", libc::EPIPE);
    let signal = Signal {
        pid: PID,
        tid: PID,
        signal: 13,
        sender: None,
        disposition: crate::record::Disposition::Default,
    };
    let verdicts = story.event(What::Signal(signal)).killed(libc::SIGPIPE).is(&[Kind::KilledBySigpipe]);
    assert!(verdicts[0].text.contains("send on descriptor 3"), "{verdicts:?}");
    client().fault().killed(libc::SIGSEGV).is(&[Kind::Crashed]);
    let panic = "thread 'main' panicked at src/main.rs:3:5:\nBroken pipe";
    client().fault().fails("sendto", libc::EPIPE).says(2, panic).exits(101).is(&[Kind::Crashed]);
    let python =
        "Traceback (most recent call last):\n  File \"c.py\"\nBrokenPipeError: [Errno 32] Broken pipe\n";
    let verdicts = client().fault().says(2, python).exits(1).is(&[Kind::Crashed]);
    assert!(verdicts[0].text.contains("BrokenPipeError"), "{verdicts:?}");
}

#[test]
fn a_server_that_ends_because_of_one_client_has_crashed() {
    server().fault().fails("accept4", libc::ECONNABORTED).exits(1).is(&[Kind::Crashed]);
    server().fault().fails("accept4", libc::ECONNABORTED).returns("accept4", 4).is(&[Kind::Survived]);
}

#[test]
fn children_that_nobody_waits_for_are_zombies_after_a_while() {
    let child = |story: Story| {
        let mut story = story.process(101, Change::Started { parent: PID, thread: false });
        story.facts.processes.push(101);
        story
            .process(101, Change::Exited { status: 0, open_sockets: Vec::new() })
            .process(101, Change::Zombie)
    };
    child(server().fault()).later(2000).returns("listen", 0).is(&[Kind::Zombies]);
    child(server().fault()).is(&[Kind::Survived]);
    child(server().fault()).process(101, Change::Reaped).later(2000).is(&[Kind::Survived]);
}

#[test]
fn a_connection_that_is_held_after_the_peers_end_is_leaked() {
    let held = || server().returns("recvfrom", 6).fault().socket("CLOSE_WAIT").later(2000);
    held().is(&[Kind::Leaked]);
    held().socket("GONE").is(&[Kind::Survived]);
    // The other half is in use.
    held().returns("sendto", 6).is(&[Kind::Survived]);
}

#[test]
fn a_loop_that_moves_nothing_spins() {
    let mut story = server().fault();
    for _ in 0..600 {
        story.now -= 9 * MS;
        story = story.fails("accept4", libc::EMFILE);
    }
    let verdicts = story.is(&[Kind::Spins]);
    assert!(verdicts[0].text.contains("accept = EMFILE"), "{verdicts:?}");
    let mut story = server().fault();
    for _ in 0..600 {
        story.now -= 9 * MS;
        story = story.returns("recvfrom", 10);
    }
    story.is(&[Kind::Survived]);
    // The end of many conversations is not the same news again and again.
    let mut story = server().fault();
    for socket in 0..60 {
        story = story.returns("recvfrom", 0);
        if let Some(Event { what: What::Call(call), .. }) = story.events.last_mut() {
            call.socket = Some(socket);
        }
    }
    story.is(&[Kind::Survived]);
    // A busy machine makes few calls, and a patient program pauses between them.
    for (pause, kind) in [(false, Kind::Spins), (true, Kind::Survived)] {
        let mut story = server().fault();
        for _ in 0..40 {
            story = story.later(200).fails("accept4", libc::EMFILE);
            story = if pause { story.returns("clock_nanosleep", 0) } else { story.returns("ppoll", 1) };
        }
        story.is(&[kind]);
    }
}

#[test]
fn others_must_be_served() {
    for (meanwhile, at_the_end) in [(false, true), (false, false), (true, false)] {
        let story = server().fault().enters("recvfrom").later(4000);
        let probe = Some(Probe { meanwhile, at_the_end, patience_s: 3 });
        Story { facts: Facts { probe, ..story.facts.clone() }, ..story }.is(&[Kind::Starves]);
    }
}

#[test]
fn going_on_after_a_fatal_error_is_to_ignore_it() {
    let story = client().fault().fails("sendto", libc::EPIPE);
    story.fails("sendto", libc::EPIPE).fails("sendto", libc::EPIPE).exits(1).is(&[Kind::IgnoredError]);
    // Trying the other direction, or once more, is not.
    let story = client().fault().fails("sendto", libc::EPIPE).returns("recvfrom", 0);
    story.fails("sendto", libc::EPIPE).exits(1).is(&[Kind::Noticed]);
    // The number may belong to another connection by now.
    let story = client().fault().fails("sendto", libc::EPIPE).returns("close", 0).returns("socket", 3);
    story.returns("sendto", 6).returns("sendto", 6).returns("sendto", 6).exits(0).is(&[Kind::Noticed]);
    let refused = || Story::of("client", Must::Notice).fails("connect", libc::ECONNREFUSED);
    refused().exits(0).is(&[Kind::IgnoredError]);
    refused().exits(1).is(&[Kind::Noticed]);
    refused().says(2, "refused").exits(0).is(&[Kind::Noticed]);
    refused().returns("connect", 0).exits(0).is(&[Kind::Noticed]);
}

#[test]
fn what_did_not_come_about_is_no_pass_but_a_crash_is_a_crash() {
    let missing = |mut story: Story| {
        story.facts.missing = Some("the trigger never fired".to_owned());
        story
    };
    missing(client()).is(&[Kind::Inconclusive]);
    missing(client().killed(libc::SIGPIPE)).is(&[Kind::KilledBySigpipe]);
    missing(client().killed(libc::SIGSEGV)).is(&[Kind::Crashed]);
    let mut nobody = client();
    nobody.facts.processes.clear();
    nobody.is(&[Kind::Inconclusive]);
}

#[test]
fn every_bad_word_has_a_remedy_and_no_good_one() {
    for kind in KINDS {
        assert_eq!(kind.is_bad(), kind.remedy().is_some(), "{kind}");
        assert!(kind.remedy().is_none_or(|remedy| !remedy.contains('\n')), "{kind}");
    }
}
