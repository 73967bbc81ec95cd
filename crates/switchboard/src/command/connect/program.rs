//! A program as one end: its standard input and output are one Unix socket, so that each half can end by itself.

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use switchboard_net::Error;
use switchboard_net::sys::process;

/// How long a program may go on after its socket was closed, and again after it was asked to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// A program that runs.
pub(super) struct Program {
    name: String,
    child: Child,
}

impl Program {
    /// Starts it; the socket is our end.
    pub(super) fn start(words: &[String]) -> Result<(Program, OwnedFd), Error> {
        let failed =
            |error: std::io::Error| Error::system(format!("run `{}`", words[0].escape_default()), error);
        let pair = || {
            let (ours, theirs) =
                socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            rustix::io::ioctl_fionbio(&ours, true)?;
            let again = theirs.try_clone()?;
            Ok((ours, theirs, again))
        };
        let (ours, input, output) = pair().map_err(failed)?;
        let child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(output))
            .spawn()
            .map_err(failed)?;
        Ok((Program { name: words[0].clone(), child }, ours))
    }

    /// Waits for its end, and hastens it if it does not come; what is to be said of it.
    pub(super) fn end(mut self) -> Result<String, String> {
        let pid = self.child.id();
        let mut hint = "";
        if process::wait_for_end(pid, Some(PATIENCE)).is_err() {
            hint = "; it had gone on after the end, and was told to stop";
            if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            if process::wait_for_end(pid, Some(PATIENCE)).is_err() {
                let _ = self.child.kill();
            }
        }
        match self.child.wait() {
            Ok(status) if status.success() => Ok(format!("exec:{} ended with status 0", self.name)),
            Ok(status) => Err(format!("exec:{} {}{hint}", self.name, told(status))),
            Err(error) => Err(format!("exec:{}: {error}", self.name)),
        }
    }
}

fn told(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (_, Some(signal)) => format!("was ended by signal {signal}"),
        _ => status.to_string(),
    }
}
