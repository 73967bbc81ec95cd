//! A server that is started to be measured ends with whoever started it, however that ends.
//!
//! It is started in two steps: this program once more, in a role of its own, asks the kernel for SIGTERM when its parent
//! dies (`PR_SET_PDEATHSIG`, kept by execve(2)) and becomes the server. That way nobody stands between the two, whose
//! memory and processor time would be measured with the server's. The kernel means the *thread* that made the child:
//! servers are started by the main thread, which ends with the process.

use crate::exit::Exit;
use crate::report::Output;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use std::ffi::{OsStr, OsString};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// First word of the command line.
const ROLE: &str = "tethered";
/// This program, also when its file was replaced meanwhile (proc_pid_exe(5)).
const OURSELVES: &str = "/proc/self/exe";

/// A command that becomes `program`.
pub(super) fn tethered(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(OURSELVES);
    command.arg(ROLE).arg(std::process::id().to_string()).arg(program);
    command
}

/// Becomes the program, if that is what this process was started for; what comes back is why that failed.
pub(crate) fn role(mut words: impl Iterator<Item = OsString>, out: &mut Output) -> Option<Exit> {
    if words.next()? != ROLE {
        return None;
    }
    let parent = words.next()?.to_str()?.parse::<i32>().ok()?;
    let program = words.next()?;
    if let Err(errno) = set_parent_process_death_signal(Some(Signal::TERM)) {
        out.talk(format_args!("cannot be tied to who started it: {errno}"));
        return Some(Exit::Failed);
    }
    // Who died before that tells nobody any more.
    if getppid().is_none_or(|now| now.as_raw_pid() != parent) {
        return Some(Exit::Failed);
    }
    let error = Command::new(&program).args(words).exec();
    out.talk(format_args!("cannot start {}: {error}", program.display()));
    Some(Exit::Failed)
}

/// A port that nobody uses now.
pub(super) fn free_port() -> std::io::Result<u16> {
    TcpListener::bind("127.0.0.1:0")?.local_addr().map(|address| address.port())
}
