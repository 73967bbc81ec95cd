//! A worker process to try things on: starting it, talking to it, looking at it.

use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, Signal};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use switchboard_net::confine::{Confinement, Identity, Landlock, Seccomp};
use switchboard_net::program::{self, Environment, Mode, Program, ProgramSite, Register, Stderr, WhenGone};
use switchboard_net::sys::parcel;
use switchboard_net::{Address, Counters, Endpoint, Format, Journal, Listener, SocketOptions, Stop};

const ROLE: &str = "SWITCHBOARD_TEST_WORKER";
const PATIENCE: Duration = Duration::from_secs(30);

/// A program with its options, as they travel to the worker.
#[derive(Clone)]
pub(crate) struct Spec {
    words: Vec<String>,
    options: Vec<String>,
    listen: String,
}

impl Spec {
    pub(crate) fn new(words: &[&str]) -> Spec {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Spec { words, options: Vec::new(), listen: "tcp:127.0.0.1:0".into() }
    }

    pub(crate) fn listen(mut self, endpoint: &str) -> Spec {
        self.listen = endpoint.to_owned();
        self
    }

    pub(crate) fn option(mut self, option: &str) -> Spec {
        self.options.push(option.to_owned());
        self
    }

    fn bytes(&self) -> Vec<u8> {
        format!("{}\u{1}{}", self.words.join("\0"), self.options.join("\0")).into_bytes()
    }
}

/// A worker, its listener, its register, its log.
pub(crate) struct Server {
    pub(crate) register: &'static Register,
    pub(crate) address: Address,
    child: Child,
    control: OwnedFd,
    log: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
    parts: Parts,
    /// To the worker's other door.
    pub(crate) passer: Option<OwnedFd>,
    /// The other end of what the worker would hand over.
    bequest: Option<OwnedFd>,
}

struct Parts {
    listener: Listener,
    register: OwnedFd,
    heir: OwnedFd,
    legacy: OwnedFd,
    door: OwnedFd,
}

impl Server {
    pub(crate) fn start(spec: &Spec) -> Server {
        let endpoint: Endpoint = spec.listen.parse().unwrap();
        let listener = Listener::bind(&endpoint, &SocketOptions::default()).unwrap().remove(0);
        let (register, _) = Register::create().unwrap();
        let (heir, bequest) = parcel::pair().unwrap();
        let (_, legacy) = parcel::pair().unwrap();
        let (passer, door) = parcel::pair().unwrap();
        let mut server = Server::with(spec, Parts { listener, register, heir, legacy, door });
        server.passer = Some(passer);
        server.bequest = Some(bequest);
        server
    }

    fn with(spec: &Spec, mut parts: Parts) -> Server {
        let (control, theirs) = parcel::pair().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "worker", "--nocapture", "--test-threads=1"]).env(ROLE, "1");
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(command);
        parcel::send(
            &control,
            &spec.bytes(),
            &[
                parts.listener.as_fd(),
                parts.register.as_fd(),
                parts.heir.as_fd(),
                parts.legacy.as_fd(),
                parts.door.as_fd(),
            ],
        )
        .unwrap();
        let log = Arc::<Mutex<String>>::default();
        let (mut stderr, kept) = (child.stderr.take().unwrap(), Arc::clone(&log));
        let reader = thread::spawn(move || {
            let mut bytes = [0; 64 * 1024];
            while let Ok(n @ 1..) = stderr.read(&mut bytes) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
        });
        let none = parcel::pair().unwrap().0;
        parts.heir = none.try_clone().unwrap();
        parts.legacy = none;
        let register = Register::open(&parts.register).unwrap();
        let address = parts.listener.local().clone();
        Server { register, address, child, control, log, reader, parts, bequest: None, passer: None }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let address: SocketAddr = self.address.inet().unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn logged(&self, text: &str) {
        let late = Instant::now() + PATIENCE;
        while !self.log.lock().unwrap().contains(text) {
            assert!(Instant::now() < late, "not logged: {text}\n{}", self.log.lock().unwrap());
            thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn count(&self, text: &str) -> usize {
        self.log.lock().unwrap().matches(text).count()
    }

    /// Children of the worker, those that nobody has reaped among them.
    pub(crate) fn children(&self) -> Vec<i32> {
        let pid = self.child.id();
        let mut all = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let Ok(text) = std::fs::read_to_string(task.unwrap().path().join("children")) else { continue };
            all.extend(text.split_whitespace().map(|pid| pid.parse::<i32>().unwrap()));
        }
        all
    }

    pub(crate) fn resident_kib(&self) -> usize {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Asks it to stop, waits until it has, and returns its log.
    pub(crate) fn stop(mut self) -> String {
        parcel::send(&self.control, b"stop", &[]).unwrap();
        let mut status = None;
        let child = &mut self.child;
        until("the worker ends", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        self.reader.join().unwrap();
        let log = self.log.lock().unwrap().clone();
        assert!(status.unwrap().success(), "{log}");
        log
    }

    /// Starts another worker beside this one, which is asked to leave its programs to it, and waits until it has gone.
    pub(crate) fn succeed(mut self, spec: &Spec) -> (Server, String) {
        let listener = self.parts.listener.share().unwrap();
        let register = self.parts.register.try_clone().unwrap();
        let legacy = self.bequest.take().unwrap();
        let (heir, bequest) = parcel::pair().unwrap();
        let door = parcel::pair().unwrap().0;
        let mut next = Server::with(spec, Parts { listener, register, heir, legacy, door });
        next.bequest = Some(bequest);
        parcel::send(&self.control, b"leave", &[]).unwrap();
        let child = &mut self.child;
        until("the worker leaves", || child.try_wait().unwrap().is_some());
        self.reader.join().unwrap();
        let log = self.log.lock().unwrap().clone();
        // The programs are the next one's.
        std::mem::forget(self.parts);
        (next, log)
    }

    /// Kills the worker, and starts another one with the same listener and register.
    pub(crate) fn kill_and_start_again(mut self, spec: &Spec) -> Server {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reader.join().unwrap();
        Server::with(spec, self.parts)
    }
}

pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let late = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < late, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn is_alive(pid: i32) -> bool {
    rustix::process::test_kill_process(Pid::from_raw(pid).unwrap()).is_ok()
}

pub(crate) fn root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

pub(crate) fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// The worker process: its parts come over standard input, then the request to stop.
pub(crate) fn worker() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let control = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3).unwrap();
    let parts = parcel::receive(&control).unwrap().unwrap();
    let text = String::from_utf8(parts.bytes).unwrap();
    let mut descriptors = parts.descriptors.into_iter();
    let (listener, register) = (descriptors.next().unwrap(), descriptors.next().unwrap());
    let address = Address::of_descriptor(&listener).unwrap();
    let listener = Listener::adopt(listener, &address, &SocketOptions::default()).unwrap();
    let sink = rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 3).unwrap();
    let journal = Journal::new(sink, Format::Human);
    let stop: &'static Stop = Box::leak(Box::new(Stop::new().unwrap()));
    let counters = Counters::shared().unwrap();
    let mut site = ProgramSite {
        upstreams: None,
        id: "test",
        listeners: vec![listener],
        program: Program {
            file: PathBuf::new(),
            arguments: Vec::new(),
            mode: Mode::PerConnection,
            stderr: Stderr::Log,
            environment: Environment::default(),
            directory: PathBuf::from("/"),
            when_gone: WhenGone::Leave,
            grace: Duration::from_secs(5),
            confinement: Confinement::default(),
        },
        most: 1_000,
        // Only where it is to pass is it short.
        drain_timeout: Duration::from_secs(20),
        stop,
        journal: &journal,
        counters,
        numbers: counters,
        register: Register::open(&register).unwrap(),
        door: None,
        warden: None,
        heir: descriptors.next(),
        legacy: descriptors.next(),
    };
    site.door = descriptors.next();
    apply(&mut site, &text);
    thread::spawn(move || {
        while let Ok(Some(parcel)) = parcel::receive(&control) {
            match parcel.bytes.as_slice() {
                b"stop" => stop.set(),
                b"leave" => stop.set_patiently(),
                _ => {}
            }
        }
        // The test has gone.
        stop.set();
    });
    let served = program::serve(site);
    if let Err(error) = &served {
        journal.event(&error.to_string());
    }
    switchboard_net::sys::process::exit_now(i32::from(served.is_err()));
}

fn apply(site: &mut ProgramSite<'_>, text: &str) {
    let (words, options) = text.split_once('\u{1}').unwrap();
    let program = &mut site.program;
    program.arguments = words.split('\0').map(OsString::from).collect();
    program.file = PathBuf::from(&program.arguments[0]);
    for option in options.split('\0').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap();
        let number = || value.parse::<u64>().unwrap();
        let identity = |program: &mut Program, set: &dyn Fn(&mut Identity)| {
            let nobody = Identity { uid: 0, gid: 0, groups: Vec::new(), login: None };
            set(program.confinement.identity.get_or_insert(nobody));
        };
        match name {
            "stderr" => {
                program.stderr = match value {
                    "client" => Stderr::Client,
                    "null" => Stderr::Null,
                    _ => Stderr::Log,
                }
            }
            "set" => {
                let (name, value) = value.split_once('=').unwrap();
                program.environment.set.push((name.into(), value.into()));
            }
            "mode" => {
                program.mode = match value {
                    "wait" => Mode::Listener,
                    "datagram" => Mode::PerDatagram,
                    pool => Mode::Pool(pool.parse().unwrap()),
                }
            }
            "seccomp" => {
                program.confinement.seccomp =
                    if value == "strict" { Seccomp::Strict } else { Seccomp::Service };
            }
            "landlock" => {
                let read = value.split(',').map(PathBuf::from).collect();
                let write = vec!["/dev/null".into(), "/proc".into()];
                program.confinement.landlock = Some(Landlock { read, write, ..Landlock::default() });
            }
            "directory" => program.directory = value.into(),
            "when_gone" => program.when_gone = WhenGone::Terminate,
            "grace" => program.grace = Duration::from_millis(number()),
            "drain" => site.drain_timeout = Duration::from_millis(number()),
            "most" => site.most = number() as usize,
            "uid" => identity(program, &|identity| identity.uid = number() as u32),
            "gid" => identity(program, &|identity| identity.gid = number() as u32),
            "groups" => identity(program, &|identity| {
                identity.groups = value.split(',').map(|group| group.parse().unwrap()).collect();
            }),
            "nproc" => program.confinement.limits.push((6, number(), number())),
            "worker_uid" => {
                let uid = number() as u32;
                let identity = Some(Identity { uid, gid: uid, groups: Vec::new(), login: None });
                let limits = Vec::new();
                Confinement { identity, limits, ..Confinement::default() }.apply_to_self("test").unwrap();
            }
            "worker_nproc" => {
                use rustix::process::{Resource, Rlimit, setrlimit};
                setrlimit(Resource::Nproc, Rlimit { current: Some(number()), maximum: Some(number()) })
                    .unwrap();
            }
            "nofile" => {
                use rustix::process::{Resource, Rlimit, setrlimit};
                setrlimit(Resource::Nofile, Rlimit { current: Some(number()), maximum: Some(number()) })
                    .unwrap();
            }
            _ => panic!("{option}"),
        }
    }
}

/// Kills whatever a failed test leaves behind.
impl Drop for Parts {
    fn drop(&mut self) {
        let Ok(register) = Register::open(&self.register) else { return };
        register.entries().for_each(|entry| entry.signal(Signal::KILL));
    }
}
