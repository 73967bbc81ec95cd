//! One client, run to its end or killed.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// What became of a client.
pub(crate) struct Ran {
    /// None: it was killed.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) took: Duration,
}

/// Runs it; `feed` has its input until it returns, and is told when the client has ended (the channel closes). It is
/// killed after `patience`.
pub(crate) fn run(
    mut command: Command,
    patience: Duration,
    feed: impl FnOnce(ChildStdin, mpsc::Receiver<()>) + Send,
) -> std::io::Result<Ran> {
    let begin = Instant::now();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let process = rustix::process::Pid::from_child(&child);
    let (alive, watched) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        if watched.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
    });
    let (running, ended) = mpsc::channel::<()>();
    let pipe = child.stdin.take();
    let mut output = child.stdout.take();
    thread::scope(|scope| {
        if let Some(pipe) = pipe {
            scope.spawn(move || feed(pipe, ended));
        }
        let reader = scope.spawn(move || {
            let mut stdout = Vec::new();
            output.as_mut().map(|output| output.read_to_end(&mut stdout));
            stdout
        });
        let status = child.wait()?;
        let took = begin.elapsed();
        drop(running);
        drop(alive);
        let _ = watchdog.join();
        let code = status.code().filter(|_| status.signal().is_none());
        Ok(Ran { code, stdout: reader.join().unwrap_or_default(), took })
    })
}

/// Input that is all there at once, and then ends.
pub(crate) fn all_of(bytes: &[u8]) -> impl FnOnce(ChildStdin, mpsc::Receiver<()>) + Send {
    let bytes = bytes.to_vec();
    move |mut pipe, _| drop(pipe.write_all(&bytes))
}

/// Input that is there at once, and does not end before the client.
pub(crate) fn open_after(bytes: &[u8]) -> impl FnOnce(ChildStdin, mpsc::Receiver<()>) + Send {
    let bytes = bytes.to_vec();
    move |mut pipe, ended| {
        let _ = pipe.write_all(&bytes);
        let _ = ended.recv();
    }
}
