//! [`Subject`]: a server that starts `cat` for each connection, in processes of its own.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that runs until it is dropped.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    /// Whether something was promised of it.
    pub(crate) wanted: bool,
    child: Child,
    file: Option<PathBuf>,
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(file) = &self.file {
            let _ = std::fs::remove_file(file.with_extension("pid"));
            let _ = std::fs::remove_file(file);
        }
    }
}

/// A role of this very program: its name, and whether something was promised of it.
const OURS: [(&str, &str, bool); 4] = [
    ("minimal accept + vfork + exec", "minimal", false),
    ("switchboard", "log", true),
    ("switchboard, stderr = null", "null", false),
    ("switchboard, user = nobody", "nobody", false),
];

impl Subject {
    /// Starts all of them, the minimal loop first; `missing` hears of those that cannot be.
    pub(crate) fn start_all(missing: &mut dyn FnMut(&str)) -> Vec<Subject> {
        let mut subjects = Vec::new();
        let root =
            std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
        for (name, role, wanted) in OURS {
            if role == "nobody" && !root {
                missing("switchboard, user = nobody (needs root)");
                continue;
            }
            let address = free_address();
            let mut command = Command::new(std::env::current_exe().expect("this program has a file"));
            command.env("SPAWN_ROLE", role).env("SPAWN_ADDRESS", address.to_string());
            start(&mut subjects, name, address, wanted, command, None, missing);
        }
        let address = free_address();
        let port = address.port().to_string();
        let file = std::env::temp_dir().join(format!("switchboard-spawn-{}.conf", std::process::id()));
        let configuration = format!(
            "defaults\n{{\n instances = UNLIMITED\n cps = 1000000 1\n}}\nservice bench\n{{\n type = UNLISTED\n \
             socket_type = stream\n protocol = tcp\n port = {port}\n bind = 127.0.0.1\n wait = no\n user = root\n \
             server = /bin/cat\n}}\n"
        );
        if std::fs::write(&file, configuration).is_ok() {
            let mut command = Command::new("xinetd");
            // It removes the file and makes it anew, whatever it is: never name a device here.
            command.args(["-dontfork", "-f"]).arg(&file).arg("-pidfile").arg(file.with_extension("pid"));
            start(&mut subjects, "xinetd", address, false, command, Some(file), missing);
        }
        let address = free_address();
        let mut command = Command::new("tcpserver");
        command.args([
            "-RHl0",
            "-c",
            "1000",
            "-b",
            "1000",
            "127.0.0.1",
            &address.port().to_string(),
            "/bin/cat",
        ]);
        start(&mut subjects, "tcpserver", address, false, command, None, missing);
        let address = free_address();
        let mut command = Command::new("socat");
        command.arg(format!("TCP-LISTEN:{},bind=127.0.0.1,fork,reuseaddr,backlog=1000", address.port()));
        command.arg("EXEC:/bin/cat,nofork");
        start(&mut subjects, "socat fork", address, false, command, None, missing);
        let address = free_address();
        let mut command = Command::new("ncat");
        command.args([
            "-l",
            "-k",
            "-m",
            "1000",
            "127.0.0.1",
            &address.port().to_string(),
            "--exec",
            "/bin/cat",
        ]);
        start(&mut subjects, "ncat -k --exec", address, false, command, None, missing);
        subjects
    }
}

fn start(
    subjects: &mut Vec<Subject>,
    name: &'static str,
    address: SocketAddr,
    wanted: bool,
    mut command: Command,
    file: Option<PathBuf>,
    missing: &mut dyn FnMut(&str),
) {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(child) = command.spawn() else { return missing(name) };
    let subject = Subject { name, address, wanted, child, file };
    let late = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(address).is_err() {
        if Instant::now() > late {
            return missing(&format!("{name} (does not listen)"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    subjects.push(subject);
}

/// A port that was free a moment ago: most of these servers cannot be asked which one they got.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port on loopback")
}
