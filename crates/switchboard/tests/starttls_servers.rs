//! `connect --starttls` with the servers that people run: exim, dovecot, vsftpd and PostgreSQL, each with a certificate of
//! `cert dev`, none as a daemon of this machine. What is not installed is skipped aloud. Rows S5, B1.

mod harness;

use harness::{PATIENCE, Scratch, free_port, program, run_to_end, skip, text, wait_for_listener};
use rustix::process::{Pid, Signal, getuid, kill_process};
use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Who owns files of a server that does not run as root.
const NOBODY: u32 = 65_534;

/// A folder with a certificate for 127.0.0.1, and where its authority is.
struct Certified {
    scratch: Scratch,
    ca: String,
}

impl Certified {
    fn new() -> Certified {
        let scratch = Scratch::new();
        let mut command = program();
        command.env("XDG_DATA_HOME", scratch.path("home")).args(["cert", "dev", "127.0.0.1", "--dir"]);
        let made = run_to_end(command.arg(scratch.path("")), None, PATIENCE);
        assert!(made.status.success(), "{}", text(&made.stderr));
        // Servers give up rights before they read their keys.
        fs::set_permissions(scratch.path(""), Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(scratch.path("127.0.0.1-key.pem"), Permissions::from_mode(0o644)).unwrap();
        let ca = scratch.path("home/switchboard/ca.pem");
        Certified { scratch, ca }
    }

    /// A file in which `DIR`, `CERT` and `KEY` stand for what they are.
    fn file(&self, name: &str, content: &str) -> String {
        let content = content
            .replace("CERT", &self.scratch.path("127.0.0.1.pem"))
            .replace("KEY", &self.scratch.path("127.0.0.1-key.pem"))
            .replace("DIR", self.scratch.path("").trim_end_matches('/'));
        let path = self.scratch.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// What our client hears when it says this in TLS.
    fn ask(&self, protocol: &str, at: SocketAddr, words: &[u8]) -> Output {
        let mut command = program();
        command.args(["connect", "--starttls", protocol, "--ca", &self.ca, &at.to_string()]);
        run_to_end(&mut command, Some(words), PATIENCE)
    }
}

/// A server that is killed in the end, with whatever it has started.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let until = Instant::now() + PATIENCE;
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program, if it is here and can be used by this user.
fn installed(places: &[&str], wants_root: bool) -> Option<PathBuf> {
    let found = places.iter().map(PathBuf::from).find(|path| path.exists());
    match found {
        None => skip(places[0], "not installed"),
        Some(_) if wants_root && !getuid().is_root() => skip(places[0], "needs root"),
        found => return found,
    }
    None
}

/// Starts the program for one client, with the connection as its input and output, as inetd does.
fn for_one_client(command: Command) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let mut command = command;
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let output = OwnedFd::from(stream.try_clone().unwrap());
        command.stdin(OwnedFd::from(stream)).stdout(output).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        drop(command);
        let _ = child.wait();
    });
    (at, server)
}

#[test]
fn smtp_of_exim() {
    let Some(exim) = installed(&["/usr/sbin/exim4"], true) else { return };
    let house = Certified::new();
    fs::create_dir(house.scratch.path("spool")).unwrap();
    let file = house.file(
        "exim.conf",
        "spool_directory = DIR/spool\nlog_file_path = syslog\nprimary_hostname = mx.test\nkeep_environment =\n\
         tls_advertise_hosts = *\ntls_certificate = CERT\ntls_privatekey = KEY\nhost_lookup =\nrfc1413_hosts =\n\
         smtp_enforce_sync = false\n",
    );
    let mut command = Command::new(exim);
    command.args(["-C", &file, "-bs"]);
    let (at, server) = for_one_client(command);
    let ran = house.ask("smtp", at, b"EHLO client.test\r\nQUIT\r\n");
    let (said, heard) = (text(&ran.stderr), text(&ran.stdout));
    assert_eq!(ran.status.code(), Some(0), "{said}{heard}");
    assert!(heard.contains("mx.test Hello client.test") && heard.contains("\n221 "), "{heard}");
    server.join().unwrap();
}

#[test]
fn ftp_of_vsftpd() {
    let Some(vsftpd) = installed(&["/usr/sbin/vsftpd"], true) else { return };
    let house = Certified::new();
    fs::create_dir(house.scratch.path("empty")).unwrap();
    let file = house.file(
        "vsftpd.conf",
        "listen=NO\nbackground=NO\nanonymous_enable=YES\nssl_enable=YES\nallow_anon_ssl=YES\nssl_ciphers=HIGH\n\
         rsa_cert_file=CERT\nrsa_private_key_file=KEY\nsecure_chroot_dir=DIR/empty\nxferlog_enable=NO\n",
    );
    let mut command = Command::new(vsftpd);
    command.arg(&file);
    let (at, server) = for_one_client(command);
    let ran = house.ask("ftp", at, b"QUIT\r\n");
    let (said, heard) = (text(&ran.stderr), text(&ran.stdout));
    assert!(heard.starts_with("221 "), "{said}{heard}");
    // It leaves without ending TLS, which our client does not take for an end.
    assert_eq!(ran.status.code(), Some(7), "{said}");
    assert!(said.contains("cut short"), "{said}");
    server.join().unwrap();
}

#[test]
fn imap_and_pop3_of_dovecot() {
    let Some(dovecot) = installed(&["/usr/sbin/dovecot"], true) else { return };
    let modules = ["/usr/lib/dovecot/imap-login", "/usr/lib/dovecot/pop3-login"];
    if modules.iter().any(|path| installed(&[path], true).is_none()) {
        return;
    }
    let house = Certified::new();
    let (imap, pop3) = (free_port(), free_port());
    let listener = |service: &str, port: u16| {
        format!(
            "service {service}-login {{\n chroot =\n inet_listener {service} {{\n  port = {port}\n }}\n \
             inet_listener {service}s {{\n  port = 0\n }}\n}}\n"
        )
    };
    let file = house.file(
        "dovecot.conf",
        &format!(
            "protocols = imap pop3\nbase_dir = DIR/run\nstate_dir = DIR/run\nlog_path = DIR/log\nlisten = 127.0.0.1\n\
             ssl = required\nssl_cert = <CERT\nssl_key = <KEY\nservice anvil {{\n chroot =\n}}\nservice stats {{\n \
             chroot =\n}}\n{}{}passdb {{\n driver = static\n args = nopassword=y\n}}\nuserdb {{\n driver = static\n \
             args = uid={NOBODY} gid={NOBODY} home=DIR/mail\n}}\n",
            listener("imap", imap),
            listener("pop3", pop3),
        ),
    );
    let mut command = Command::new(dovecot);
    command.args(["-F", "-c", &file]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut daemon = Daemon(command.spawn().unwrap());
    for (protocol, port, words, wanted) in
        [("imap", imap, &b"x LOGOUT\r\n"[..], "x OK Logout completed"), ("pop3", pop3, b"QUIT\r\n", "+OK")]
    {
        let at = SocketAddr::from(([127, 0, 0, 1], port));
        wait_for_listener(at, "tcp", Some(&mut daemon.0));
        let ran = house.ask(protocol, at, words);
        let log = fs::read_to_string(house.scratch.path("log")).unwrap_or_default();
        assert_eq!(ran.status.code(), Some(0), "{}{}{log}", text(&ran.stderr), text(&ran.stdout));
        assert!(text(&ran.stdout).contains(wanted), "{}", text(&ran.stdout));
    }
}

/// Where the newest PostgreSQL keeps its programs.
fn postgres() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.flatten().map(|entry| entry.path()).max_by_key(|path| number(path))?;
    Some(newest.join("bin")).filter(|bin| bin.join("initdb").exists())
}

#[test]
fn the_database_of_postgresql() {
    let Some(bin) = postgres() else { return skip("postgresql", "not installed") };
    let house = Certified::new();
    // It does not run as root.
    let root = getuid().is_root();
    let unprivileged = |name: &str| {
        let mut command = Command::new(if root { "setpriv".into() } else { bin.join(name) });
        if root {
            let nobody = NOBODY.to_string();
            command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]).arg(bin.join(name));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let data = house.scratch.path("data");
    fs::create_dir(&data).unwrap();
    let key = house.scratch.path("127.0.0.1-key.pem");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    if root {
        chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
        chown(&key, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mut command = unprivileged("initdb");
    let made = run_to_end(
        command.args(["-D", &data, "-N", "--no-locale", "-U", "switchboard", "-A", "trust"]),
        None,
        PATIENCE,
    );
    assert!(made.status.success(), "{}", text(&made.stderr));
    let port = free_port();
    let mut command = unprivileged("postgres");
    command.args(["-D", &data, "-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "ssl=on"]);
    command.args(["-c", "unix_socket_directories=", "-c", "fsync=off"]);
    command.args(["-c", &format!("ssl_cert_file={}", house.scratch.path("127.0.0.1.pem"))]);
    command.args(["-c", &format!("ssl_key_file={key}")]);
    let mut daemon = Daemon(command.stderr(Stdio::null()).spawn().unwrap());
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    wait_for_listener(at, "tcp", Some(&mut daemon.0));
    // Version 3.0, the user; then that this was all (PostgreSQL manual, "Message Formats").
    let mut words = b"\0\0\0\x24\0\x03\0\0user\0switchboard\0database\0x\0\0".to_vec();
    words[3] = words.len() as u8;
    words.extend(b"X\0\0\0\x04");
    let ran = house.ask("postgres", at, &words);
    let heard = text(&ran.stdout);
    // It is still recovering, or there is no such database: what counts is that it was heard, and answered in TLS.
    assert!(heard.starts_with(['R', 'E']), "{heard}{}", text(&ran.stderr));
    assert!([0, 7].contains(&ran.status.code().unwrap()), "{}", text(&ran.stderr));
}
