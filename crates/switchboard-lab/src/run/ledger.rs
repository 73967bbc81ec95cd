//! Reading what the built-in peers wrote down: every byte that they really sent and received.

use std::path::{Path, PathBuf};

/// A folder of ledgers; it is removed when dropped.
pub(super) struct Ledgers(PathBuf);

impl Ledgers {
    /// Makes a folder that actors of any user can write to.
    pub(super) fn new(seed: u64) -> std::io::Result<Ledgers> {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder(std::process::id(), seed);
        std::fs::create_dir_all(&folder)?;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777))?;
        Ok(Ledgers(folder))
    }

    /// What an actor is given: the beginning of its file names.
    pub(super) fn prefix(&self, role: &str) -> PathBuf {
        self.0.join(role)
    }

    /// Everything that this role received and sent, over all its connections in their order.
    pub(super) fn read(&self, role: &str) -> [Vec<u8>; 2] {
        ["in", "out"].map(|end| {
            let mut files: Vec<(u32, PathBuf)> = std::fs::read_dir(&self.0)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .filter_map(|path| Some((place(&path, role, end)?, path)))
                .collect();
            files.sort();
            files.iter().filter_map(|(_, path)| std::fs::read(path).ok()).flatten().collect()
        })
    }
}

/// Where the worker with this process number keeps its ledgers.
pub(super) fn folder(worker: u32, seed: u64) -> PathBuf {
    std::env::temp_dir().join(format!("switchboard-lab-{worker}-{seed:x}"))
}

/// `ROLE-PID-CONNECTION.END`: the connection's number.
fn place(path: &Path, role: &str, end: &str) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    let rest = name.strip_suffix(end)?.strip_suffix('.')?.strip_prefix(role)?.strip_prefix('-')?;
    let (pid, connection) = rest.split_once('-')?;
    pid.parse::<u32>().ok()?;
    connection.parse().ok()
}

impl Drop for Ledgers {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
