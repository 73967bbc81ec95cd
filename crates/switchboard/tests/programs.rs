//! Real programs as services, started the way inetd starts them, talked to by their own clients, and the content
//! compared. From our own configuration; git and micro-httpd also from files of inetd and xinetd. What is not
//! installed is skipped aloud. Row S14.

mod harness;

use harness::{Scratch, Server, end, free_port, skip};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where each of these programs is, or which one is missing, said aloud.
fn installed<const N: usize>(what: &str, names: [&str; N]) -> Option<[String; N]> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let find = |name: &str| {
        let mut places = path.split(':').map(|place| Path::new(place).join(name));
        places.find(|file| file.is_file()).map(|file| file.to_str().expect("UTF-8").to_owned())
    };
    for name in names {
        if find(name).is_none() {
            skip(what, &format!("{name} is not installed"));
            return None;
        }
    }
    Some(names.map(|name| find(name).expect("found before")))
}

/// Whether programs can be somebody else here: that needs root, and a /dev/null that everybody may open.
fn can_be_nobody(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    let null = std::fs::metadata("/dev/null")
        .is_ok_and(|meta| meta.file_type().is_char_device() && meta.permissions().mode() & 0o666 == 0o666);
    if !root {
        skip(what, "only root starts programs as nobody");
    } else if !null {
        skip(what, "/dev/null of this machine is not a device that everybody may write to");
    }
    root && null
}

/// Ends by itself, whatever the server does.
fn client(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "1", "60", program]).stdin(Stdio::null());
    command
}

fn must(command: &mut Command) -> Output {
    let done = command.output().expect("timeout(1) can be started");
    assert!(
        done.status.success(),
        "{command:?}: {}: {}{}",
        done.status,
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    done
}

/// A directory whose content everybody may read.
fn scratch() -> Scratch {
    let scratch = Scratch::new();
    std::fs::set_permissions(&scratch.0, std::fs::Permissions::from_mode(0o755)).expect("ours");
    scratch
}

/// Bytes that do not compress, the same each time.
fn blob(bytes: usize) -> Vec<u8> {
    let mut random = switchboard::Random::new(3);
    (0..bytes).map(|_| random.bits() as u8).collect()
}

fn serve(scratch: &Scratch, services: &str) -> Server {
    let file = scratch.path("switchboard.toml");
    let text = format!("version = 1\nlog = {{ format = \"json\" }}\n{services}");
    std::fs::write(&file, text).expect("a file");
    Server::start(&["--config", &file])
}

/// The port of the first listener.
fn port(server: &Server) -> String {
    server.endpoint().rsplit_once(':').expect("an address").1.to_owned()
}

/// The connection is in the log with the status that its program ended with.
fn ended_well(server: Server) {
    let record = server.records(1).remove(0);
    assert_eq!((&record["status"], &record["end"]), (&0.into(), &"program".into()), "{record}");
    end(server);
}

/// A repository with a commit, and what is in its file.
fn repository(scratch: &Scratch, git: &str) -> (PathBuf, Vec<u8>) {
    let (work, bare) = (scratch.0.join("work"), scratch.0.join("served/project.git"));
    let content = blob(300_000);
    let run = |arguments: &[&str]| {
        let mut command = client(git);
        command.args(["-c", "user.name=Test", "-c", "user.email=test@example.org"]);
        must(command.args(["-c", "safe.directory=*"]).args(arguments).env("HOME", &scratch.0));
    };
    let (at, to) = (work.to_str().expect("UTF-8"), bare.to_str().expect("UTF-8"));
    run(&["init", "-q", at]);
    std::fs::write(work.join("blob"), &content).expect("a file");
    run(&["-C", at, "add", "blob"]);
    run(&["-C", at, "commit", "-q", "-m", "A blob"]);
    run(&["clone", "-q", "--bare", at, to]);
    (bare.parent().expect("served").to_owned(), content)
}

fn clone(scratch: &Scratch, git: &str, port: &str, content: &[u8]) {
    let to = scratch.0.join("cloned");
    let from = format!("git://127.0.0.1:{port}/project.git");
    must(client(git).args(["clone", "-q", &from]).arg(&to).env("HOME", &scratch.0));
    assert!(std::fs::read(to.join("blob")).expect("cloned") == content, "the clone has other content");
}

fn git_arguments(base: &Path) -> String {
    format!("-c safe.directory=* daemon --inetd --export-all --base-path={}", base.display())
}

#[test]
fn git_daemon_is_cloned_from() {
    let Some([git]) = installed("git daemon", ["git"]) else { return };
    if !can_be_nobody("git daemon") {
        return;
    }
    let scratch = scratch();
    let (base, content) = repository(&scratch, &git);
    let arguments = git_arguments(&base);
    let server = serve(
        &scratch,
        &format!(
            "[[service]]\nexec = \"{git} {arguments}\"\nlisten = \"tcp:127.0.0.1:0\"\nuser = \"nobody\"\n\
             env = {{ HOME = \"/nonexistent\" }}\n"
        ),
    );
    clone(&scratch, &git, &port(&server), &content);
    ended_well(server);
}

#[test]
fn git_daemon_is_cloned_from_by_a_file_of_inetd() {
    let Some([git]) = installed("git daemon by inetd.conf", ["git"]) else { return };
    if !can_be_nobody("git daemon by inetd.conf") {
        return;
    }
    let scratch = scratch();
    let (base, content) = repository(&scratch, &git);
    let (port, file) = (free_port().to_string(), scratch.path("inetd.conf"));
    let line = format!("127.0.0.1:{port} stream tcp nowait nobody {git} git {}\n", git_arguments(&base));
    std::fs::write(&file, line).expect("a file");
    let server = Server::start(&["--inetd", &file]);
    clone(&scratch, &git, &port, &content);
    end(server);
}

#[test]
fn git_daemon_is_cloned_from_by_a_file_of_xinetd() {
    let Some([git]) = installed("git daemon by xinetd.conf", ["git"]) else { return };
    if !can_be_nobody("git daemon by xinetd.conf") {
        return;
    }
    let scratch = scratch();
    let (base, content) = repository(&scratch, &git);
    let (port, file) = (free_port().to_string(), scratch.path("xinetd.conf"));
    let text = format!(
        "service git\n{{\n type = UNLISTED\n port = {port}\n bind = 127.0.0.1\n socket_type = stream\n \
         protocol = tcp\n wait = no\n user = nobody\n server = {git}\n server_args = {}\n}}\n",
        git_arguments(&base)
    );
    std::fs::write(&file, text).expect("a file");
    let server = Server::start(&["--xinetd", &file]);
    clone(&scratch, &git, &port, &content);
    end(server);
}

#[test]
fn rsync_daemon_is_copied_from() {
    let Some([rsync]) = installed("rsync daemon", ["rsync"]) else { return };
    let scratch = scratch();
    let (from, to) = (scratch.0.join("from"), scratch.path("to/"));
    std::fs::create_dir(&from).expect("a directory");
    let content = blob(3_000_000);
    std::fs::write(from.join("blob"), &content).expect("a file");
    let own = scratch.path("rsyncd.conf");
    let text = format!("use chroot = no\n[data]\n path = {}\n read only = yes\n", from.display());
    std::fs::write(&own, text).expect("a file");
    // As root it becomes the module's user, for which it needs these two of root's rights and no others.
    let rights = if rustix::process::geteuid().is_root() { "\"setuid\", \"setgid\"" } else { "" };
    let server = serve(
        &scratch,
        &format!(
            "[[service]]\nexec = [\"{rsync}\", \"--daemon\", \"--config={own}\"]\n\
             listen = \"tcp:127.0.0.1:0\"\ncapabilities = [{rights}]\n"
        ),
    );
    must(client(&rsync).args(["-a", &format!("rsync://127.0.0.1:{}/data/", port(&server)), &to]));
    assert!(std::fs::read(scratch.0.join("to/blob")).expect("copied") == content, "the copy is another");
    ended_well(server);
}

/// Pages to serve, and what is on them.
fn site(scratch: &Scratch) -> (PathBuf, Vec<u8>) {
    let site = scratch.0.join("site");
    std::fs::create_dir(&site).expect("a directory");
    let content = blob(100_000);
    std::fs::write(site.join("blob.bin"), &content).expect("a file");
    (site, content)
}

fn fetch(curl: &str, port: &str, content: &[u8]) {
    let done = must(client(curl).args(["-sS", "--fail", &format!("http://127.0.0.1:{port}/blob.bin")]));
    assert!(done.stdout == content, "{} bytes, or other ones, came", done.stdout.len());
}

#[test]
fn micro_httpd_is_fetched_from() {
    let Some([httpd, curl]) = installed("micro-httpd", ["micro-httpd", "curl"]) else { return };
    let scratch = scratch();
    let (site, content) = site(&scratch);
    let server = serve(
        &scratch,
        &format!("[[service]]\nexec = [\"{httpd}\", \"{}\"]\nlisten = \"tcp:127.0.0.1:0\"\n", site.display()),
    );
    fetch(&curl, &port(&server), &content);
    ended_well(server);
}

#[test]
fn micro_httpd_is_fetched_from_by_files_of_inetd_and_xinetd() {
    let Some([httpd, curl]) = installed("micro-httpd by old files", ["micro-httpd", "curl"]) else { return };
    let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
    let scratch = scratch();
    let (site, content) = site(&scratch);
    let site = site.display();
    let port = free_port().to_string();
    let inetd = format!("127.0.0.1:{port} stream tcp nowait {user} {httpd} micro-httpd {site}\n");
    let xinetd = format!(
        "service web\n{{\n type = UNLISTED\n port = {port}\n bind = 127.0.0.1\n socket_type = stream\n \
         protocol = tcp\n wait = no\n user = {user}\n server = {httpd}\n server_args = {site}\n}}\n"
    );
    for (option, text) in [("--inetd", inetd), ("--xinetd", xinetd)] {
        let file = scratch.path(option.trim_start_matches('-'));
        std::fs::write(&file, text).expect("a file");
        let server = Server::start(&[option, &file]);
        fetch(&curl, &port, &content);
        end(server);
    }
}

#[test]
fn tftpd_has_the_socket_of_datagrams() {
    let Some([tftpd, tftp]) = installed("in.tftpd", ["in.tftpd", "tftp"]) else { return };
    if !rustix::process::geteuid().is_root() {
        return skip("in.tftpd", "its -s is chroot(2), for root");
    }
    let scratch = scratch();
    let served = scratch.0.join("served");
    std::fs::create_dir(&served).expect("a directory");
    let content = blob(100_000);
    std::fs::write(served.join("blob"), &content).expect("a file");
    let server = serve(
        &scratch,
        &format!(
            "drain_timeout = \"100ms\"\n[[service]]\nexec = [\"{tftpd}\", \"-s\", \"{}\"]\nmode = \"wait\"\n\
             listen = \"udp:127.0.0.1:0\"\ncapabilities = [\"setuid\", \"setgid\", \"sys_chroot\"]\n\
             grace = \"1s\"\n",
            served.display()
        ),
    );
    let port = port(&server);
    for to in ["first", "second"] {
        let mut command = client(&tftp);
        command.args(["-m", "binary", "127.0.0.1", &port, "-c", "get", "blob", to]).current_dir(&scratch.0);
        must(&mut command);
        assert!(std::fs::read(scratch.0.join(to)).expect("fetched") == content, "{to} is another");
    }
    // One process got both requests: it waits for more, and is ended with the service.
    let ended = server.stop();
    assert_eq!((ended.code, ended.summary["accepted"].clone()), (Some(0), 1.into()), "{:?}", ended.stderr);
}

#[test]
fn nbdkit_is_activated_by_its_socket() {
    let Some([nbdkit, nbdinfo]) = installed("nbdkit", ["nbdkit", "nbdinfo"]) else { return };
    let scratch = scratch();
    let server = serve(
        &scratch,
        &format!(
            "drain_timeout = \"100ms\"\n[[service]]\nexec = \"{nbdkit} -f memory 1M\"\nmode = \"wait\"\n\
             listen = \"tcp:127.0.0.1:0\"\ngrace = \"1s\"\n"
        ),
    );
    for _ in 0..2 {
        let uri = format!("nbd://127.0.0.1:{}", port(&server));
        let done = must(client(&nbdinfo).args(["--size", &uri]));
        assert_eq!(harness::text(&done.stdout).trim(), "1048576");
    }
    let ended = server.stop();
    assert_eq!((ended.code, ended.summary["accepted"].clone()), (Some(0), 1.into()), "{:?}", ended.stderr);
}
