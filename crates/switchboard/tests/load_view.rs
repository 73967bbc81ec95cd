//! How a run of `load` is seen while it goes on, at a terminal and elsewhere, and how it ends: interrupted, or killed with
//! servers of its own (row S7). Nothing here asks that anything be fast.

mod harness;

use harness::{PATIENCE, Server, descendants, has_answers, program, run_load, skip, text, wait_until};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const COLUMNS: u16 = 90;

/// `load` at a terminal of its own, killed when dropped.
struct Desk {
    keyboard: File,
    output: Vec<u8>,
    client: Child,
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// A new terminal: our side, the program's side.
fn terminal() -> (File, OwnedFd) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("our terminal");
    let name = ptsname(&ours, Vec::new()).expect("its name");
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_NOCTTY);
    let theirs = options.open(name.to_str().expect("ASCII")).expect("its other side");
    let size = Winsize { ws_row: 40, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&theirs, size).expect("its size");
    (File::from(ours), theirs.into())
}

impl Desk {
    /// None, said aloud, where a program cannot be given a terminal of its own.
    fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Option<Desk> {
        let (keyboard, line) = terminal();
        let side = || Stdio::from(line.try_clone().expect("a descriptor"));
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(program().get_program()).arg("load").args(arguments);
        command.env("TERM", "xterm").env_remove("SWITCHBOARD_FAULT").envs(environment.iter().copied());
        match command.stdin(side()).stdout(side()).stderr(side()).spawn() {
            Ok(client) => Some(Desk { keyboard, output: Vec::new(), client }),
            Err(error) => {
                skip("load at a terminal", &format!("setsid(1): {error}"));
                None
            }
        }
    }

    fn shown(&self) -> String {
        text(&self.output)
    }

    /// Takes what is for the screen until this is so.
    #[track_caller]
    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Desk) -> bool) {
        let started = Instant::now();
        while !is_so(self) {
            assert!(started.elapsed() < PATIENCE, "{what}: not so: {}", self.shown());
            let mut events = [PollFd::new(&self.keyboard, PollFlags::IN)];
            let a_while = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            if poll(&mut events, Some(&a_while)) != Ok(1) {
                continue;
            }
            let mut bytes = [0; 4_096];
            // The other side closed: Linux says EIO.
            let Ok(n) = self.keyboard.read(&mut bytes) else { continue };
            self.output.extend_from_slice(&bytes[..n]);
        }
    }

    /// Its exit code, once it has ended and everything was taken that it wrote.
    #[track_caller]
    fn ends(&mut self) -> Option<i32> {
        let mut status = None;
        self.until("it ends", |desk| {
            status = status.or(desk.client.try_wait().expect("our child"));
            let mut events = [PollFd::new(&desk.keyboard, PollFlags::IN)];
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let _ = poll(&mut events, Some(&at_once));
            status.is_some() && !events[0].revents().contains(PollFlags::IN)
        });
        status.and_then(|status| status.code())
    }
}

fn is_braille(c: char) -> bool {
    ('\u{2801}'..='\u{28ff}').contains(&c)
}

#[test]
fn a_terminal_shows_the_run_and_an_interrupt_its_result() {
    let server = Server::start(&["echo", "--listen", "127.0.0.1:0"]);
    let endpoint = server.endpoint();
    let run = [&endpoint, "-c", "2", "--rate", "300", "-d", "1h", "--warm-up", "0s", "--interval", "50ms"];
    // Colours are not wanted, and cursor movements are none.
    let Some(mut desk) = Desk::start(&run, &[("NO_COLOR", "1")]) else { return };
    desk.until("a map of the latency", |desk| desk.shown().chars().any(is_braille));
    // Drawn again over itself: up, and every line cleared.
    desk.until("a second picture", |desk| desk.shown().matches("now ").count() >= 3);
    let shown = desk.shown();
    let goes_up = |after: &str| {
        let lines = after.trim_start_matches(|c: char| c.is_ascii_digit());
        lines.len() < after.len() && lines.starts_with('A')
    };
    assert!(shown.split("\x1b[").any(goes_up), "{shown:?}");
    for part in ["/s", "p50", "p99", "p99.9", "errors 0", "%"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // A line that the terminal had to break would not be overwritten.
    for line in shown.split("\x1b[2K").skip(1).filter_map(|line| line.split("\r\n").next()) {
        assert!(line.chars().count() <= usize::from(COLUMNS), "{line:?}");
    }
    desk.keyboard.write_all(b"\x03").expect("the terminal's interrupt");
    let code = desk.ends();
    let shown = desk.shown();
    assert_eq!(code, Some(0), "{shown}");
    let summary = shown.rsplit_once("(ended early)").expect("what there is").1;
    for part in ["rate ", "answers", "errors 0", "since due", "p99.999"] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
}

#[test]
fn elsewhere_there_are_plain_lines() {
    let server = Server::start(&["echo", "--listen", "127.0.0.1:0"]);
    let endpoint = server.endpoint();
    let run = |duration| [&endpoint, "-d", duration, "--warm-up", "0s", "--interval", "100ms"];
    let lines = |said: &str| said.lines().filter(|line| line.contains(" s  ")).count();
    let output = run_load(&run("400ms"), has_answers);
    let said = text(&output.stderr);
    assert!(!said.contains('\x1b') && !said.chars().any(is_braille), "{said:?}");
    assert!(lines(&said) >= 3 && said.contains("p99.9") && said.contains("errors 0"), "{said}");
    assert!(output.status.success());
    // A terminal that cannot move its cursor.
    let mut ended = None;
    for duration in ["400ms", "10s"] {
        let Some(mut desk) = Desk::start(&run(duration), &[("TERM", "dumb")]) else { return };
        // Nothing may be answered in a short time.
        ended = Some((desk.ends(), desk.shown())).filter(|(code, _)| *code == Some(0));
        if ended.is_some() {
            break;
        }
    }
    let (_, shown) = ended.expect("a run that goes well");
    assert!(!shown.contains('\x1b') && lines(&shown) >= 3, "{shown:?}");
}

/// Starts it, waits until this many of its servers are there, kills it, and waits until they are gone.
fn servers_end_with(arguments: &[&str], servers: usize) {
    let mut command = program();
    command.arg("load").args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the program can be started");
    let pid = Pid::from_child(&child);
    let is_server = |pid: &i32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split('\0').any(|word| word == "serve") && !line.contains("tethered")
    };
    let mut family = Vec::new();
    wait_until(
        "its servers",
        || {
            // Those who are on their way to become servers are there as well, and must not stay either.
            family = descendants(pid.as_raw_pid()).into_iter().skip(1).collect();
            family.iter().filter(|pid| is_server(pid)).count() >= servers
        },
        String::new,
    );
    kill_process(pid, Signal::KILL).expect("our child");
    child.wait().expect("our child");
    let family: Vec<Pid> = family.into_iter().filter_map(Pid::from_raw).collect();
    Server::wait_until_gone(&family, "its servers end with it");
}

#[test]
fn servers_end_with_a_comparison_that_is_killed() {
    let serve = format!("{} serve echo --listen 127.0.0.1:{{port}}", program().get_program().display());
    servers_end_with(&["compare", &serve, &serve, "-d", "10s", "--pairs", "50"], 2);
}

#[test]
fn servers_end_with_a_bake_off_that_is_killed() {
    servers_end_with(&["engines", "--quick"], 2);
}
