//! A service manager's end: the socket on which it is told how it goes (sd_notify(3)).

use crate::harness::PATIENCE;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// Listens at `NOTIFY_SOCKET`.
pub struct Manager {
    socket: UnixDatagram,
    pub path: PathBuf,
}

impl Manager {
    pub fn listen(path: PathBuf) -> Manager {
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Manager { socket, path }
    }

    /// The next message with `word`, whole.
    pub fn wait_for(&self, word: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let mut bytes = [0; 4096];
            let n = match self.socket.recv(&mut bytes) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                heard => heard.unwrap_or_else(|error| panic!("no {word}: {error}; {seen:?}")),
            };
            let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
            if text.lines().any(|line| line.starts_with(word)) {
                return text;
            }
            seen.push(text);
        }
    }
}
