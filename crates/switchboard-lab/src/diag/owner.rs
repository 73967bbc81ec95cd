//! [`Owners`]: which process holds which socket, from `/proc/PID/fd`, and which of its children are zombies.
//!
//! Descriptors of other users' processes are hidden from whoever lacks `CAP_SYS_PTRACE`
//! (`PTRACE_MODE_READ_FSCREDS`, proc_pid_fd(5)); how many processes were hidden is counted, not guessed.

use std::collections::HashMap;
use std::fs;
use std::io;

/// A process that holds sockets, or should have waited for its children.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// Its number, as this process sees it.
    pub pid: i32,
    /// Its parent's number.
    pub parent: i32,
    /// The first 15 bytes of the program's name (proc_pid_comm(5)).
    pub name: String,
    /// State letter of proc_pid_stat(5); `Z` for a zombie.
    pub state: char,
    /// Children that have ended and that it has not waited for.
    pub zombies: Vec<i32>,
}

/// A descriptor of a socket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Holder {
    /// The process.
    pub pid: i32,
    /// The descriptor's number in it.
    pub fd: i32,
}

/// What `/proc` tells of who holds sockets, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    programs: HashMap<i32, Program>,
    holders: HashMap<u64, Vec<Holder>>,
    /// Processes whose descriptors this process may not see.
    pub hidden: usize,
}

impl Owners {
    /// Looks at every process. Processes that end meanwhile are left out.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn look() -> io::Result<Owners> {
        let mut owners = Owners::default();
        for entry in fs::read_dir("/proc")?.flatten() {
            if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                owners.add(pid);
            }
        }
        let zombies: Vec<(i32, i32)> = owners
            .programs
            .values()
            .filter(|program| program.state == 'Z')
            .map(|program| (program.parent, program.pid))
            .collect();
        for (parent, pid) in zombies {
            if let Some(parent) = owners.programs.get_mut(&parent) {
                parent.zombies.push(pid);
            }
        }
        owners.programs.values_mut().for_each(|program| program.zombies.sort_unstable());
        owners.holders.values_mut().for_each(|holders| holders.sort_unstable());
        Ok(owners)
    }

    fn add(&mut self, pid: i32) {
        let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else { return };
        let Some(program) = parse(pid, &stat) else { return };
        self.programs.insert(pid, program);
        let descriptors = match fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(descriptors) => descriptors,
            Err(error) => {
                self.hidden += usize::from(error.kind() == io::ErrorKind::PermissionDenied);
                return;
            }
        };
        for descriptor in descriptors.flatten() {
            let number = descriptor.file_name().to_str().and_then(|name| name.parse().ok());
            let target = fs::read_link(descriptor.path());
            let inode = target.ok().as_deref().and_then(|target| target.to_str()).and_then(inode);
            if let (Some(fd), Some(inode)) = (number, inode) {
                self.holders.entry(inode).or_default().push(Holder { pid, fd });
            }
        }
    }

    /// Who holds the socket with this inode number; sorted.
    pub fn of(&self, inode: u64) -> &[Holder] {
        self.holders.get(&inode).map_or(&[], Vec::as_slice)
    }

    /// A process by its number.
    pub fn program(&self, pid: i32) -> Option<&Program> {
        self.programs.get(&pid)
    }
}

/// `socket:[INODE]`.
fn inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// `PID (NAME) STATE PARENT …`; a name may hold blanks and parentheses.
fn parse(pid: i32, stat: &[u8]) -> Option<Program> {
    let stat = String::from_utf8_lossy(stat);
    let (_, rest) = stat.split_once('(')?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    let state = words.next()?.chars().next()?;
    let parent = words.next()?.parse().ok()?;
    Some(Program { pid, parent, name: name.to_owned(), state, zombies: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_anything() {
        let program = parse(7, b"7 (a) Z (b) 9) S 1 7 7 0").expect("a line of proc_pid_stat(5)");
        assert_eq!((&*program.name, program.state, program.parent), ("a) Z (b) 9", 'S', 1));
        for broken in [&b""[..], b"7", b"7 (a", b"7 (a) ", b"7 (a) S", b"7 (a) S x"] {
            assert_eq!(parse(7, broken), None);
        }
        assert_eq!((inode("socket:[42]"), inode("pipe:[42]"), inode("socket:[x]")), (Some(42), None, None));
    }
}
