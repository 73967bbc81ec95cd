//! [`Prepared`]: a process on a host that is about to become a program.
//!
//! The program is a child of the lab, although it lives in the host's namespaces: the lab clones a process that joins
//! them, and that one clones a *sibling* (`CLONE_PARENT`), since only processes born after setns(2) are in the new pid
//! namespace. So the lab learns the exit status, and every number it sees is of its own pid namespace.

use crate::host::child::{Child, Process, reap};
use crate::host::program::{Hook, Program, Stream, User};
use crate::host::sys::{self, Side, Strings};
use crate::host::user::{Identity, Users, take};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Resource, Rlimit, WaitId, WaitIdOptions, setrlimit};
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, PoisonError};

/// All namespaces of a host, as its programs join them.
const NAMESPACES: i32 =
    libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWNET;

/// A process that is about to become a program: it waits, under its final number, for [`Prepared::release`].
///
/// For a tracer: `PTRACE_SEIZE` [`Prepared::pid`] now, from the thread that will trace; then `release`; handle the
/// stops up to `PTRACE_EVENT_EXEC`; then `confirm`, which by then does not block.
#[derive(Debug)]
pub struct Prepared {
    child: Child,
    go: Option<OwnedFd>,
    report: OwnedFd,
}

impl Prepared {
    /// The process number in the lab's own pid namespace, as ptrace(2) and /proc want it.
    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    /// Lets it run the hook and execve. Does not wait.
    pub fn release(&mut self) {
        if let Some(go) = self.go.take() {
            let _ = write(&go, b"!");
        }
    }

    pub(super) fn process(&self) -> &Arc<Process> {
        self.child.process()
    }

    /// Waits until it has become the program.
    ///
    /// # Errors
    /// Why it has not: those of chdir(2), of the hook, of execve(2), with the step named.
    pub fn confirm(mut self) -> io::Result<Child> {
        self.release();
        let failure = receive(&self.report)?;
        match failure {
            None => Ok(self.child),
            Some((step, error)) => {
                let step = STEPS.get(step as usize).copied().unwrap_or("starting the program");
                let error = io::Error::from_raw_os_error(error);
                Err(io::Error::new(error.kind(), format!("{step}: {error}")))
            }
        }
    }
}

/// What a new process may fail in.
const STEPS: [&str; 8] = [
    "the process was told its number",
    "joining the host",
    "becoming its user",
    "changing to the working directory",
    "connecting its standard streams",
    "setting its limits",
    "the hook before execve",
    "executing the program (its file must be readable and executable for the user it runs as)",
];

/// A message of a new process: the number of a step, and an errno; step 0 brings its process number.
fn receive(report: &OwnedFd) -> io::Result<Option<(i32, i32)>> {
    let mut message = [0_u8; 8];
    loop {
        match read(report, &mut message) {
            Ok(8) => {
                let [a, b, c, d, e, f, g, h] = message;
                return Ok(Some((i32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h]))));
            }
            Ok(_) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn tell(report: BorrowedFd<'_>, step: i32, value: i32) {
    let ([a, b, c, d], [e, f, g, h]) = (step.to_ne_bytes(), value.to_ne_bytes());
    // At most PIPE_BUF bytes: written whole (pipe(7)).
    let _ = write(report, &[a, b, c, d, e, f, g, h]);
}

/// Everything that the new process needs, in memory before it is born.
struct Birth {
    file: CString,
    arguments: Strings,
    environment: Strings,
    directory: CString,
    streams: [OwnedFd; 3],
    identity: Identity,
    descriptor_limit: Option<u64>,
    hook: Option<Hook>,
}

/// One birth at a time: a process that is born while another's pipes are being made would hold copies of them.
static BIRTHS: Mutex<()> = Mutex::new(());

/// Brings a process that is about to become the program to this machine, as whom it would be on a host.
pub(super) fn prepare_here(mut program: Program) -> io::Result<Prepared> {
    let own = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let many = own.0 == 0 && has_nobody();
    if !many && matches!(program.user, User::Plain) {
        // There is nobody else to become; to stay is what is done for the host's root.
        program.user = User::Root;
    }
    bring(None, Users { many, own }, program)
}

/// Whether user 65534 exists where we are: a user namespace may have root alone (user_namespaces(7)).
fn has_nobody() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().filter_map(|number| number.parse::<u64>().ok());
        let (first, count) = (numbers.next(), numbers.nth(1));
        matches!((first, count), (Some(first), Some(count)) if (first..first + count).contains(&65_534))
    })
}

/// Brings a process into the host that is about to become the program.
pub(super) fn prepare(host: BorrowedFd<'_>, users: Users, program: Program) -> io::Result<Prepared> {
    bring(Some(host), users, program)
}

fn bring(host: Option<BorrowedFd<'_>>, users: Users, program: Program) -> io::Result<Prepared> {
    let _one_at_a_time = BIRTHS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ours: [Option<OwnedFd>; 3] = [None, None, None];
    let mut theirs = Vec::with_capacity(3);
    for ((index, stream), ours) in program.streams.into_iter().enumerate().zip(&mut ours) {
        theirs.push(connect(index, stream, ours)?);
    }
    let streams = theirs.try_into().expect("three streams");
    let directory = match program.directory {
        Some(path) => path,
        None => std::env::current_dir()?,
    };
    let mut birth = Birth {
        file: find(program.arguments.first().map(OsString::as_os_str), &program.environment)?,
        arguments: Strings::new(
            program.arguments.iter().map(|s| c_string(s.as_bytes())).collect::<io::Result<_>>()?,
        ),
        environment: Strings::new(
            program
                .environment
                .iter()
                .map(|(name, value)| c_string(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
                .collect::<io::Result<_>>()?,
        ),
        directory: c_string(directory.as_os_str().as_bytes())?,
        streams,
        identity: users.identity(program.user)?,
        descriptor_limit: program.descriptor_limit,
        hook: program.hook,
    };
    let (report, report_in) = pipe_with(PipeFlags::CLOEXEC)?;
    let (go_out, go) = pipe_with(PipeFlags::CLOEXEC)?;
    let midwife = born(host, &report_in, &go_out, &mut birth)?;
    drop((report_in, birth));
    let first = receive(&report)?;
    reap(midwife.as_fd());
    let pid = match first {
        Some((0, pid)) => pid,
        Some((step, error)) => {
            let error = io::Error::from_raw_os_error(error);
            let step = STEPS.get(step as usize).copied().unwrap_or("starting");
            return Err(io::Error::new(error.kind(), format!("{step}: {error}")));
        }
        None => return Err(io::Error::other("the host has ended")),
    };
    let known = Pid::from_raw(pid).ok_or_else(|| io::Error::other("not a process number"))?;
    // It is our child and was not waited for, so the number is still its.
    let pidfd = rustix::process::pidfd_open(known, rustix::process::PidfdFlags::empty())?;
    Ok(Prepared { child: Child::new(Process::new(pid, pidfd), ours), go: Some(go), report })
}

/// Clones the process that joins the host and clones the one that will be the program.
#[allow(unsafe_code, reason = "clone(2)")]
fn born(
    host: Option<BorrowedFd<'_>>,
    report: &OwnedFd,
    go: &OwnedFd,
    birth: &mut Birth,
) -> io::Result<OwnedFd> {
    let report = report.as_fd();
    // SAFETY: the child makes system calls on memory prepared in `birth`, and ends with _exit or execve.
    match unsafe { sys::clone(0, false) }? {
        Side::Parent(_, pidfd) => return Ok(pidfd),
        Side::Child => {}
    }
    if let Some(host) = host
        && let Err(error) = sys::join(host, NAMESPACES)
    {
        tell(report, 1, error.raw_os_error());
        sys::exit_now(1);
    }
    // SAFETY: as above; this process has one thread.
    match unsafe { sys::clone(0, true) } {
        Ok(Side::Child) => {}
        Ok(Side::Parent(pid, _)) => {
            tell(report, 0, pid);
            sys::exit_now(0)
        }
        Err(error) => {
            tell(report, 1, error.raw_os_error());
            sys::exit_now(1)
        }
    }
    let (step, error) = become_program(report, go.as_fd(), birth);
    tell(report, step, error);
    sys::exit_now(127)
}

/// The last steps of the new process; returns only if one fails: which, and its errno.
fn become_program(report: BorrowedFd<'_>, go: BorrowedFd<'_>, birth: &mut Birth) -> (i32, i32) {
    let _ = rustix::process::setsid();
    sys::default_signals();
    if let Err(error) = take(&birth.identity) {
        return (2, error.raw_os_error());
    }
    // As the user, since that is whose rights count.
    if let Err(error) = rustix::process::chdir(birth.directory.as_c_str()) {
        return (3, error.raw_os_error());
    }
    let [stdin, stdout, stderr] = &birth.streams;
    let connected = rustix::stdio::dup2_stdin(stdin)
        .and_then(|()| rustix::stdio::dup2_stdout(stdout))
        .and_then(|()| rustix::stdio::dup2_stderr(stderr));
    if let Err(error) = connected {
        return (4, error.raw_os_error());
    }
    if let Some(limit) = birth.descriptor_limit {
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            return (5, error.raw_os_error());
        }
    }
    // Copies of what other programs' pipes end in would keep those from ever seeing the end of file.
    sys::close_all_but(report, go);
    let mut word = [0_u8; 1];
    while read(go, &mut word) == Err(Errno::INTR) {}
    if let Some(hook) = &mut birth.hook
        && let Err(error) = hook()
    {
        return (6, error.raw_os_error().unwrap_or(libc::EINVAL));
    }
    sys::close_on_exec();
    (7, sys::execute(&birth.file, &birth.arguments, &birth.environment).raw_os_error())
}

/// The program's end of a stream; the lab's goes to `ours`. Never one of descriptors 0 to 2, which are about to be
/// replaced.
fn connect(index: usize, stream: Stream, ours: &mut Option<OwnedFd>) -> io::Result<OwnedFd> {
    let theirs = match stream {
        Stream::Null => open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?,
        Stream::Inherit => match index {
            0 => rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?,
            1 => rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?,
            _ => rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)?,
        },
        Stream::File(file) => file,
        Stream::Pipe => {
            let (out, into) = pipe_with(PipeFlags::CLOEXEC)?;
            let (mine, theirs) = if index == 0 { (into, out) } else { (out, into) };
            *ours = Some(mine);
            theirs
        }
    };
    Ok(rustix::io::fcntl_dupfd_cloexec(&theirs, 3)?)
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a NUL byte in a string"))
}

/// The file of a program: as given if it has a slash, else the first executable one in `PATH`.
fn find(name: Option<&OsStr>, environment: &[(OsString, OsString)]) -> io::Result<CString> {
    let name = name.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program was named"))?;
    if name.as_bytes().contains(&b'/') {
        return c_string(name.as_bytes());
    }
    let path = environment.iter().find(|(known, _)| known == "PATH").map(|(_, value)| value.as_os_str());
    std::env::split_paths(path.unwrap_or(OsStr::new("/usr/bin:/bin")))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok())
        .ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("{}: not found in PATH", name.display()))
        })
        .and_then(|file| c_string(file.as_os_str().as_bytes()))
}

/// Clones a child that asks to be traced and ends; the error says why it may not.
#[allow(unsafe_code, reason = "clone(2)")]
pub(super) fn probe_tracing() -> io::Result<()> {
    // SAFETY: the child makes one system call and ends.
    match unsafe { sys::clone(0, false) }? {
        Side::Child => sys::exit_now(sys::be_traced().map_or_else(Errno::raw_os_error, |()| 0)),
        Side::Parent(_, pidfd) => {
            match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)? {
                Some(status) if status.exit_status() == Some(0) => Ok(()),
                Some(status) => {
                    Err(io::Error::from_raw_os_error(status.exit_status().unwrap_or(libc::EPERM)))
                }
                None => Err(Errno::CHILD.into()),
            }
        }
    }
}
