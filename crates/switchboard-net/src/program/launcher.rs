//! [`Launcher`]: everything about a program that is the same for every client, prepared once, so that starting it
//! is filling in the rest and one call.

use super::environment::{self, Client};
use super::{Program, Stderr};
use crate::confine::{Confinement, Group, Tree};
use crate::error::Error;
use crate::sys::confine::{Step, Steps};
use crate::sys::spawn::{Orders, Spawner, Strings};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicI32, AtomicU32};

/// Starts one program, again and again.
pub(super) struct Launcher {
    file: CString,
    arguments: Strings,
    environment: Strings,
    /// How many variables are there for every client.
    fixed: usize,
    directory: CString,
    steps: Steps,
    /// Where each program gets a cgroup of its own.
    group: Option<Group>,
    spawner: Spawner,
    null: OwnedFd,
}

/// What descriptors 0 and 1 are.
#[derive(Clone, Copy)]
pub(super) enum Standard<'a> {
    /// A connection: 0 and 1.
    Connection(BorrowedFd<'a>),
    /// A listener: 0, 1 and 3.
    Listener(BorrowedFd<'a>),
    /// Two pipes.
    Pipes { input: BorrowedFd<'a>, output: BorrowedFd<'a> },
}

impl Launcher {
    /// # Errors
    /// What of the confinement cannot be had here; no memory, no descriptors.
    pub(super) fn new(program: &Program, service: &str) -> Result<Launcher, Error> {
        let failed = |errno: Errno| Error::system("prepare a program", errno);
        let mut arguments = Strings::default();
        program.arguments.iter().for_each(|word| arguments.push(&[word.as_bytes()]));
        if arguments.is_empty() {
            // execve(2): a program without argv[0] is a trap for programs (CVE-2021-4034).
            arguments.push(&[program.file.as_os_str().as_bytes()]);
        }
        let environment = environment::fixed(program, service);
        let mut steps = steps(&program.confinement, service)?;
        steps.cut_bounding_here().map_err(failed)?;
        let null =
            rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
        Ok(Launcher {
            file: text(program.file.as_os_str())?,
            arguments,
            fixed: environment.len(),
            environment,
            directory: text(program.directory.as_os_str())?,
            steps,
            group: program.confinement.group(service)?,
            spawner: Spawner::new().map_err(|error| Error::system("prepare a program", error))?,
            null,
        })
    }

    /// Starts it for a client; the kernel stores its id in `places.0`, and it says in `places.1` why it could not.
    ///
    /// # Errors
    /// `EAGAIN`, `ENOMEM`: there is no process for it now.
    pub(super) fn start(
        &mut self,
        program: &Program,
        service: &str,
        client: &Client<'_>,
        standard: Standard<'_>,
        stderr: Option<&OwnedFd>,
        places: (&AtomicI32, &AtomicU32),
    ) -> Result<Pid, Errno> {
        self.environment.truncate(self.fixed);
        let (input, output, listener) = match standard {
            Standard::Connection(fd) => (fd, fd, None),
            Standard::Listener(fd) => (fd, fd, Some(fd)),
            Standard::Pipes { input, output } => (input, output, None),
        };
        match listener {
            Some(_) => environment::add_listener(&mut self.environment, service, client.local),
            None => environment::add_client(&mut self.environment, program, client),
        }
        let error = match (program.stderr, stderr) {
            (_, Some(pipe)) => pipe.as_fd(),
            (Stderr::Client, None) => output,
            (Stderr::Null | Stderr::Log, None) => self.null.as_fd(),
        };
        let descriptors = [input, output, error, listener.unwrap_or(input)];
        let count = if listener.is_some() { 4 } else { 3 };
        if let Some(group) = &self.group {
            let entrance = group.plant(client.id);
            let errno = |error: &std::io::Error| Errno::from_io_error(error).unwrap_or(Errno::IO);
            self.steps.cgroup = Some(entrance.map_err(|error| errno(&error))?);
        }
        let mut orders = Orders {
            file: &self.file,
            arguments: &mut self.arguments,
            environment: &mut self.environment,
            directory: &self.directory,
            descriptors: &descriptors[..count],
            steps: &self.steps,
        };
        let started = self.spawner.spawn(&mut orders, places.0, places.1);
        self.steps.cgroup = None;
        if started.is_err()
            && let Some(tree) = self.tree(client.id)
        {
            tree.remove();
        }
        started
    }

    /// Where the program of a connection is that was started from here, with all its processes.
    pub(super) fn tree(&self, connection: u64) -> Option<Tree> {
        self.group.as_ref().map(|group| group.tree(connection))
    }

    /// The service's cgroup.
    pub(super) fn group(&mut self) -> Option<&mut Group> {
        self.group.as_mut()
    }
}

/// Prepares a confinement for processes that are about to be made.
pub(super) fn steps(confinement: &Confinement, service: &str) -> Result<Steps, Error> {
    crate::confine::prepare(confinement, service)
}

fn text(name: &OsStr) -> Result<CString, Error> {
    CString::new(name.as_bytes())
        .map_err(|_| Error::Config(format!("{} has a NUL byte in it", name.to_string_lossy())))
}

/// Why a program could not be started, with the way out where one is known.
pub(super) fn explain(program: &Program, step: Step, errno: Errno) -> String {
    let file = program.file.display();
    let confinement = &program.confinement;
    let identity = || confinement.identity.as_ref().map_or(0, |identity| identity.uid);
    let what = match step {
        Step::Session => "begin a session".to_owned(),
        Step::Descriptors => "put its descriptors in place".to_owned(),
        Step::Cgroup => "enter its cgroup".to_owned(),
        Step::Limits => "set its resource limits".to_owned(),
        Step::Nice => format!("set nice {}", confinement.nice.unwrap_or_default()),
        Step::Root => format!("chroot {}", confinement.root.as_deref().unwrap_or(&program.file).display()),
        Step::Directory => format!("chdir {}", program.directory.display()),
        Step::Groups => "set its groups".to_owned(),
        Step::Group => "set its group".to_owned(),
        Step::User => format!("become user {}", identity()),
        Step::Capabilities => "drop capabilities".to_owned(),
        Step::NoNewPrivs => "set no_new_privs".to_owned(),
        Step::Landlock => "restrict it with Landlock".to_owned(),
        Step::Seccomp => "filter its system calls".to_owned(),
        Step::Execute => format!("execute {file}"),
    };
    let way_out = match (step, errno) {
        (Step::Execute, Errno::NOENT) if program.file.exists() && confinement.root.is_none() => {
            ". The file is there: the interpreter named in its first line, or its dynamic loader, is not"
        }
        (Step::Execute, Errno::NOENT) => ". There is no such file",
        (Step::Execute, Errno::NOEXEC) => {
            ". It is neither a binary for this machine nor does it begin with `#!`"
        }
        (Step::Execute, Errno::ACCESS) if confinement.landlock.is_some() => {
            ". Landlock must let it read the file, its loader and its libraries"
        }
        (Step::Execute, Errno::AGAIN) => ". That user has as many processes as RLIMIT_NPROC lets it have",
        (Step::Execute, Errno::ACCESS) => ". It must be executable for the user it runs as",
        (Step::Groups, Errno::PERM) | (Step::Group, Errno::PERM) => {
            ". That needs CAP_SETGID: run as root, or leave the user out"
        }
        (Step::User, Errno::PERM) => ". That needs CAP_SETUID: run as root, or leave the user out",
        (Step::User, Errno::AGAIN) => ". That user has as many processes as RLIMIT_NPROC lets it have",
        (Step::Root, Errno::PERM) => ". That needs CAP_SYS_CHROOT: run as root, or leave the root out",
        (Step::Limits, Errno::PERM) => ". Raising a hard limit needs CAP_SYS_RESOURCE",
        (Step::Nice, Errno::PERM | Errno::ACCESS) => ". A lower nice value needs CAP_SYS_NICE",
        (Step::Landlock | Step::Seccomp, Errno::PERM) => ". Without no_new_privs that needs CAP_SYS_ADMIN",
        _ => "",
    };
    format!("cannot {what}: {errno}{way_out}")
}
