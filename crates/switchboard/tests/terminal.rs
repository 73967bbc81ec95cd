//! `connect` at a terminal: a real pseudo-terminal, and what its screen shows. Row S5.

#[path = "../src/command/connect/editor/emulator.rs"]
mod emulator;
mod harness;

use emulator::Emulator;
use harness::{PATIENCE, program};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

const COLUMNS: usize = 40;

/// A client at a terminal of its own, and the server it is connected to.
struct Desk {
    /// Our side of the terminal.
    keyboard: File,
    /// The client's side, for its modes.
    line: OwnedFd,
    screen: Emulator,
    /// Everything that was ever written to the screen.
    output: Vec<u8>,
    client: Child,
    server: TcpStream,
    heard: Vec<u8>,
}

fn has(command: &str) -> bool {
    Command::new(command).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// A new terminal: our side, the client's side.
fn terminal() -> (File, OwnedFd) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let path = name.to_str().unwrap();
    let theirs = File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path).unwrap();
    tcsetwinsize(&theirs, Winsize { ws_row: 24, ws_col: COLUMNS as u16, ws_xpixel: 0, ws_ypixel: 0 })
        .unwrap();
    (File::from(ours), theirs.into())
}

impl Desk {
    /// None, said aloud, where a program cannot be given a terminal of its own.
    fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Option<Desk> {
        if !has("setsid") {
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: setsid(1) gives a program its terminal, and is not here"
            );
            return None;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (keyboard, line) = terminal();
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(program().get_program()).arg("connect").arg(&address);
        command.args(arguments).env("TERM", "xterm").env_remove("SWITCHBOARD_FAULT");
        command.envs(environment.iter().copied());
        let side = || Stdio::from(line.try_clone().unwrap());
        let client = command.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        let screen = Emulator::new(COLUMNS);
        let mut desk = Desk { keyboard, line, screen, output: Vec::new(), client, server, heard: Vec::new() };
        if !arguments.contains(&"--no-edit") {
            // Keys that come before are shown by the terminal itself.
            desk.until("the client edits lines", |desk| !desk.echoes());
        }
        Some(desk)
    }

    /// Whether the terminal shows keys by itself.
    fn echoes(&self) -> bool {
        tcgetattr(&self.line).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    fn types(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    /// Takes what is for the screen until this is so.
    #[track_caller]
    fn until(&mut self, what: &str, is_so: impl Fn(&mut Desk) -> bool) {
        let started = Instant::now();
        while !is_so(self) {
            assert!(
                started.elapsed() < PATIENCE,
                "{what}: not so; the screen:\n{}",
                self.screen.rows().join("\n")
            );
            let mut events = [PollFd::new(&self.keyboard, PollFlags::IN)];
            let a_while = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            if poll(&mut events, Some(&a_while)).unwrap() == 0 {
                continue;
            }
            let mut bytes = [0; 4096];
            // The other side closed: Linux says EIO.
            let Ok(n) = self.keyboard.read(&mut bytes) else { continue };
            self.output.extend_from_slice(&bytes[..n]);
            self.screen.write(&bytes[..n]);
        }
    }

    #[track_caller]
    fn shows(&mut self, rows: &[&str]) {
        self.until(&format!("{rows:?}"), |desk| desk.screen.rows() == rows);
    }

    #[track_caller]
    fn hears(&mut self, wanted: &[u8]) {
        let mut bytes = vec![0; wanted.len()];
        self.server.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, wanted, "{}", bytes.escape_ascii());
        self.heard.extend(bytes);
    }

    #[track_caller]
    fn ends(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.client.try_wait().unwrap() {
                self.until("all is shown", |desk| {
                    let mut events = [PollFd::new(&desk.keyboard, PollFlags::IN)];
                    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
                    poll(&mut events, Some(&at_once)).unwrap() == 0
                        || !events[0].revents().contains(PollFlags::IN)
                });
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the client hangs; the screen: {:?}", self.screen.rows());
            let now = Instant::now();
            self.until("a while passes", |_| now.elapsed().as_millis() > 20);
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // The terminal goes, and whoever is at it gets SIGHUP.
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

#[test]
fn lines_are_edited_while_others_arrive() {
    let Some(mut desk) = Desk::start(&[], &[]) else { return };
    desk.server.write_all(b"login: ").unwrap();
    desk.shows(&["login:"]);
    desk.types(b"usr\x1b[De");
    desk.shows(&["login: user"]);
    desk.server.write_all(b"\nsomebody else came\nlogin: ").unwrap();
    desk.shows(&["login:", "somebody else came", "login: user"]);
    desk.types(b"\x05s\x7f\r");
    desk.hears(b"user\n");
    desk.server.write_all(b"hello\n").unwrap();
    desk.shows(&["login:", "somebody else came", "login: user", "hello"]);
    // The line before, and what is cut and put back.
    desk.types(b"\x1b[A!");
    desk.shows(&["login:", "somebody else came", "login: user", "hello", "user!"]);
    desk.types(b"\x15new \x19\r");
    desk.hears(b"new user!\n");
    // Longer than the terminal is wide.
    let long = b"0123456789".repeat(9);
    desk.types(&long);
    desk.until("the long line stands there", |desk| desk.screen.text().ends_with("0123456789"));
    desk.server.write_all(b"in between\n").unwrap();
    desk.until("it is below", |desk| {
        let rows = desk.screen.rows();
        rows.len() >= 4 && rows[rows.len() - 4] == "in between" && rows[rows.len() - 1] == "0123456789"
    });
    desk.types(b"\r");
    desk.hears(&[&long[..], b"\n"].concat());
    // The end of the input, and an answer after it.
    desk.types(b"\x04");
    assert_eq!(desk.server.read(&mut [0]).unwrap(), 0, "half-closed");
    desk.server.write_all(b"bye\n").unwrap();
    desk.server.shutdown(Shutdown::Both).unwrap();
    assert_eq!(desk.ends().code(), Some(0));
    assert_eq!(desk.screen.rows().last().map(String::as_str), Some("bye"));
    assert!(desk.echoes(), "the terminal is as it was");
}

#[test]
fn the_end_leaves_a_line_for_the_shell() {
    let Some(mut desk) = Desk::start(&[], &[]) else { return };
    desk.types(b"never sent");
    desk.shows(&["never sent"]);
    desk.server.shutdown(Shutdown::Both).unwrap();
    assert_eq!(desk.ends().code(), Some(0));
    assert!(desk.output.ends_with(b"\n"), "{}", desk.output.escape_ascii());
    assert!(desk.echoes());
}

#[test]
fn ctrl_c_ends_it_and_gives_the_terminal_back() {
    let Some(mut desk) = Desk::start(&[], &[]) else { return };
    desk.types(b"half a line");
    desk.shows(&["half a line"]);
    desk.types(b"\x03");
    // setsid(1) tells a signal as shells do.
    let status = desk.ends();
    assert!(status.code() == Some(130) || status.signal() == Some(2), "{status}");
    assert!(desk.echoes());
    // Nothing of the line was sent.
    let mut rest = Vec::new();
    let _ = desk.server.read_to_end(&mut rest);
    assert_eq!(rest, b"");
}

#[test]
fn without_editing_the_terminal_does_it() {
    for (arguments, environment) in [(&["--no-edit"][..], &[][..]), (&["--no-edit"], &[("TERM", "dumb")])] {
        let Some(mut desk) = Desk::start(arguments, environment) else { return };
        assert!(desk.echoes());
        desk.types(b"as it is\n");
        desk.hears(b"as it is\n");
        assert!(!desk.output.contains(&0x1b));
        desk.server.shutdown(Shutdown::Both).unwrap();
        assert_eq!(desk.ends().code(), Some(0));
    }
}

#[test]
fn history_is_kept_where_it_was_asked_for() {
    let file = std::env::temp_dir().join(format!("switchboard-lines-{}", std::process::id()));
    let _ = std::fs::remove_file(&file);
    let flag = format!("--history={}", file.display());
    let Some(mut desk) = Desk::start(&[&flag], &[]) else { return };
    desk.types(b"remembered\r");
    desk.hears(b"remembered\n");
    desk.types(b"\x04");
    desk.server.shutdown(Shutdown::Both).unwrap();
    assert_eq!(desk.ends().code(), Some(0));
    let Some(mut desk) = Desk::start(&[&flag], &[]) else { return };
    desk.types(b"\x1b[A");
    desk.shows(&["remembered"]);
    desk.types(b"\r");
    desk.hears(b"remembered\n");
    desk.server.shutdown(Shutdown::Both).unwrap();
    desk.ends();
    assert_eq!(std::fs::read(&file).unwrap(), b"remembered\n");
    std::fs::remove_file(&file).unwrap();
}

/// A file on its way, and a terminal to tell of it: rate and time to go.
#[test]
fn progress_of_a_file_is_shown_at_the_terminal() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (mut ours, theirs) = terminal();
    let file = rustix::fs::memfd_create("input", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, 300_000).unwrap();
    let mut command = program();
    command.args(["connect", &address, "--rate", "100k"]).env("TERM", "xterm");
    command.stdin(file).stdout(Stdio::null()).stderr(Stdio::from(theirs));
    let mut client = command.spawn().unwrap();
    drop(command);
    let (mut server, _) = listener.accept().unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        server.read_to_end(&mut all).map(|_| all.len())
    });
    let mut shown = Vec::new();
    let mut bytes = [0; 1024];
    while let Ok(n @ 1..) = ours.read(&mut bytes) {
        shown.extend_from_slice(&bytes[..n]);
    }
    assert_eq!(client.wait().unwrap().code(), Some(0));
    assert_eq!(reader.join().unwrap().unwrap(), 300_000);
    let shown = String::from_utf8_lossy(&shown);
    assert!(
        shown.contains("% of the input") && shown.contains("MB/s") && shown.contains("s to go"),
        "{shown}"
    );
}
