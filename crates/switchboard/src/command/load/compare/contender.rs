//! [`Contender`]: a server that is compared: one that is there, or one that is started for it.

use super::START_TIMEOUT;
use crate::command::connect::Spot;
use crate::command::load::server::owner;
use crate::command::load::tether::{free_port, tethered};
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};
use switchboard_net::{Address, Dialing, Error, dial};

/// How often a server that is starting, or ending, is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a server may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes that are kept of what a server says while it starts.
const MOST_SAID: usize = 4_096;
/// In a command it stands for the port to listen on.
const PORT: &str = "{port}";

/// A server.
pub(super) struct Contender {
    pub(super) remote: Spot,
    child: Option<Child>,
}

impl Contender {
    /// An endpoint, or a command with `{port}`, which is started on these processors and waited for.
    ///
    /// # Errors
    /// It is neither, or does not start, or does not answer in time.
    pub(super) fn start(written: &str, processors: &[usize]) -> Result<Contender, Error> {
        if !written.contains(PORT) {
            return match Spot::parse(written) {
                Ok(remote) => Ok(Contender { remote, child: None }),
                Err(error) => Err(Error::Config(format!("{error}; a command to start needs {PORT} in it"))),
            };
        }
        let port = free_port().map_err(|error| Error::system("find a free port", error))?;
        let remote = Spot::parse(&format!("tcp:127.0.0.1:{port}"))?;
        let line = format!("exec {}", written.replace(PORT, &port.to_string()));
        let mut command = tethered("/bin/sh");
        // A group of its own, so that what it starts ends with it, and an interrupt at the terminal is ours alone.
        command.args(["-c", &line]).process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::piped());
        let mut child = on_processors(processors, || command.spawn())
            .map_err(|error| Error::system(format!("start `{written}`"), error))?;
        let said = listen(child.stderr.take());
        let mut contender = Contender { remote, child: Some(child) };
        contender.wait_until_it_answers(written, &said)?;
        Ok(contender)
    }

    fn wait_until_it_answers(&mut self, written: &str, said: &Mutex<String>) -> Result<(), Error> {
        let until = Instant::now() + START_TIMEOUT;
        let dialing = Dialing { connect_timeout: START_TIMEOUT, ..Dialing::default() };
        while dial(&self.remote.endpoint, &dialing, &mut |_| {}).is_err() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                let said = said.lock().map(|said| said.trim_end().to_owned()).unwrap_or_default();
                return Err(Error::Config(format!("`{written}` ended before it listened: {status}\n{said}")));
            }
            if Instant::now() >= until {
                return Err(Error::Config(format!(
                    "`{written}` does not listen on {} after {START_TIMEOUT:?}",
                    self.remote.endpoint
                )));
            }
            sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Its process, if that can be known.
    pub(super) fn pid(&self, address: &Address) -> Option<i32> {
        let own = self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok());
        own.or_else(|| owner(address))
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        let group = Pid::from_child(child);
        let _ = kill_process_group(group, Signal::TERM);
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
            sleep(LOOK_EVERY);
        }
        let _ = kill_process_group(group, Signal::KILL);
        let _ = child.wait();
    }
}

/// The beginning of what a server says. The rest is taken and forgotten: a log would cost the terminal's time, and a
/// full pipe the server's.
fn listen(stderr: Option<ChildStderr>) -> Arc<Mutex<String>> {
    let said = Arc::new(Mutex::new(String::new()));
    let Some(mut stderr) = stderr else { return said };
    let kept = Arc::clone(&said);
    std::thread::spawn(move || {
        let mut bytes = [0; 4_096];
        while let Ok(n @ 1..) = stderr.read(&mut bytes) {
            let Ok(mut kept) = kept.lock() else { return };
            if kept.len() < MOST_SAID {
                kept.push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
        }
    });
    said
}

/// Does it with this thread on these processors, which children inherit.
fn on_processors<T>(processors: &[usize], act: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
    if processors.is_empty() {
        return act();
    }
    let before = sched_getaffinity(None)?;
    let mut set = CpuSet::new();
    processors.iter().for_each(|processor| set.set(*processor));
    sched_setaffinity(None, &set)?;
    let done = act();
    sched_setaffinity(None, &before)?;
    done
}
