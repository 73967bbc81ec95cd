//! A cgroup that is delegated to the server under test (cgroups(7), version 2).

use crate::harness::{Scratch, skip, unique, wait_until};
use crate::house::{self, House};
use rustix::process::Pid;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Removed at the end, with all that is in it.
pub struct Delegated(PathBuf);

/// One for this test; where there can be none, that is said.
pub fn delegated(what: &str) -> Option<Delegated> {
    Delegated::new().inspect_err(|why| skip(what, why)).ok()
}

impl Delegated {
    fn new() -> Result<Delegated, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("it takes root".into());
        }
        let own = std::fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).ok_or("no cgroup of version 2")?;
        let above = Path::new("/sys/fs/cgroup").join(own);
        let has = std::fs::read_to_string(above.join("cgroup.subtree_control"))
            .map_err(|_| "/sys/fs/cgroup is not of version 2".to_owned())?;
        for controller in ["memory", "pids", "cpu"] {
            if !has.split_whitespace().any(|name| name == controller) {
                return Err(format!("{} has no controller {controller} for its children", above.display()));
            }
        }
        let name = format!("switchboard-test-{}-{}.service", std::process::id(), unique());
        let delegated = Delegated(above.join(name));
        std::fs::create_dir_all(delegated.at("supervisor")).map_err(|error| error.to_string())?;
        Ok(delegated)
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// What a file of a cgroup says; nothing if there is no such cgroup.
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.at(path)).unwrap_or_default().trim().to_owned()
    }

    /// The processes in a cgroup itself.
    pub fn members(&self, path: &str) -> Vec<Pid> {
        let text = std::fs::read_to_string(self.at(path).join("cgroup.procs")).unwrap_or_default();
        text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    }

    /// The cgroups below one.
    pub fn below(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.at(path)).into_iter().flatten().flatten();
        let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut names: Vec<_> =
            directories.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// `command`, run in a cgroup of this one.
    pub fn within(&self, path: &str, command: &Command) -> Command {
        let procs = self.at(path).join("cgroup.procs");
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo $$ >\"$0\" && exec \"$@\""]).arg(procs);
        shell.arg(command.get_program()).args(command.get_args());
        shell
    }

    /// A server of this file in one of the cgroups.
    pub fn serve(&self, path: &str, text: &str) -> House {
        let scratch = Scratch::new();
        house::write(&scratch, text);
        let mut command = crate::harness::program();
        command.args(["serve", "--format", "json", "--config", &scratch.path("file.toml")]);
        command.arg(format!("--control={}", scratch.path("control")));
        House::run(scratch, &mut self.within(path, &command))
    }

    /// Waits until there is nothing below but these.
    pub fn wait_until_only(&self, path: &str, names: &[&str]) {
        let only = || self.below(path) == names;
        wait_until("cgroups are removed", only, || format!("there are {:?}", self.below(path)));
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let _ = std::fs::write(self.at("cgroup.kill"), "1");
        // Not an assertion: it may be dropped because one has failed.
        for _ in 0..1_000 {
            remove(&self.0);
            if !self.0.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

fn remove(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(directory);
}
