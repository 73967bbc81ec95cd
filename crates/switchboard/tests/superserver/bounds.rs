//! Bounds that only some kernels keep: ports by Landlock, processes and memory by cgroups. Real programs try what is
//! forbidden. Where the kernel or the machine cannot, the test is skipped aloud.

use super::{file, hear, is_root, script};
use crate::harness::{Scratch, Server, end, program, skip};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const OURS: &str = env!("CARGO_BIN_EXE_switchboard");

/// A server of this text; nothing if the kernel does not have what it takes.
fn try_serve(scratch: &Scratch, what: &str, text: &str, command: &mut Command) -> Option<Server> {
    let file = file(scratch, text);
    match Server::try_start(command.args(["serve", "--format", "json", "--config", &file])) {
        Ok(server) => Some(server),
        Err(said) if said.iter().any(|line| line.contains("this kernel") || line.contains("Linux 6.7")) => {
            skip(what, &format!("{said:?}"));
            None
        }
        Err(said) => panic!("{said:?}"),
    }
}

#[test]
fn landlock_keeps_a_program_from_ports_that_are_not_its_own() {
    let scratch = Scratch::new();
    // Both listen, so that whoever is let through is told that he is connected.
    let [allowed, forbidden] = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
    let try_both = format!(
        "for port in {} {}; do {OURS} connect -z tcp:127.0.0.1:$port 2>&1 && echo through; done",
        port(&allowed),
        port(&forbidden)
    );
    let rules =
        format!("landlock = {{ read = [\"/\"], write = [\"/dev\"], connect = [{}] }}", port(&allowed));
    let Some(server) = try_serve(&scratch, "ports", &script(&try_both, &rules), &mut program()) else {
        return;
    };
    let heard = hear(&server, b"");
    assert_eq!(heard.matches("through").count(), 1, "{heard}");
    let refused = heard.lines().filter(|line| line.contains("ermission denied")).collect::<Vec<_>>();
    assert!(refused.iter().any(|line| line.contains(&port(&forbidden).to_string())), "{heard}");
    end(server);

    let serve = |port: u16| format!("timeout 5 {OURS} serve echo --listen tcp:127.0.0.1:{port} 2>&1");
    let free = port(&forbidden);
    drop(forbidden);
    let rules = "landlock = { read = [\"/\"], write = [\"/dev\"], bind = [1] }";
    let Some(server) = try_serve(&scratch, "ports", &script(&serve(free), rules), &mut program()) else {
        return;
    };
    let heard = hear(&server, b"");
    assert!(heard.contains("ermission denied"), "{heard}");
    end(server);
}

/// A cgroup that is delegated to us, with a place for the server in it; removed at the end.
struct Delegated(PathBuf);

impl Delegated {
    fn new() -> Result<Delegated, String> {
        let own = std::fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).ok_or("no cgroup of version 2")?;
        let above = Path::new("/sys/fs/cgroup").join(own);
        let has = std::fs::read_to_string(above.join("cgroup.subtree_control"))
            .map_err(|_| "/sys/fs/cgroup is not of version 2".to_owned())?;
        if !has.split_whitespace().any(|name| name == "pids") {
            return Err(format!("{} has no controller pids for its children", above.display()));
        }
        let delegated = Delegated(above.join(format!("switchboard-test-{}", std::process::id())));
        std::fs::create_dir_all(delegated.0.join("supervisor")).map_err(|error| error.to_string())?;
        Ok(delegated)
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for directory in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(directory.path());
        }
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_cgroup_bounds_the_processes_of_a_service() {
    if !is_root("cgroups") {
        return;
    }
    let delegated = match Delegated::new() {
        Ok(delegated) => delegated,
        Err(why) => return skip("cgroups", &why),
    };
    let scratch = Scratch::new();
    // The shell itself is one; of the others some are refused, and it says so and goes on.
    let forks = "for n in 1 2 3 4 5 6 7 8; do sleep 20 & done 2>&1; echo done; kill $(jobs -p) 2>/dev/null";
    let procs = delegated.0.join("supervisor/cgroup.procs");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("echo $$ >{} && exec \"$0\" \"$@\"", procs.display()), OURS]);
    command.process_group(0);
    let text = script(forks, "id = \"forks\"\ncgroup = { processes = 4 }");
    let Some(server) = try_serve(&scratch, "cgroups", &text, &mut command) else { return };
    let heard = hear(&server, b"");
    assert!(heard.to_lowercase().contains("fork"), "{heard}");
    let most = std::fs::read_to_string(delegated.0.join("switchboard-forks/pids.max")).expect("its cgroup");
    assert_eq!(most.trim(), "4");
    end(server);
}
