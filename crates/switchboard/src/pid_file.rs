//! The file with the number of the process that owns the sockets.

use std::io::{self, Write};
use std::path::Path;

/// Writes this process's number to `path`: the file is there with its content at once, or not at all. What is no
/// regular file (a device, a pipe) is written to and never replaced.
///
/// # Errors
/// The directory does not exist or cannot be written.
pub(crate) fn write(path: &Path) -> io::Result<()> {
    let number = format!("{}\n", std::process::id());
    if is_special(path) {
        return std::fs::OpenOptions::new().write(true).open(path)?.write_all(number.as_bytes());
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    std::fs::write(&beside, number)?;
    std::fs::rename(&beside, path).inspect_err(|_| drop(std::fs::remove_file(&beside)))
}

/// Takes the file away, if it is one.
pub(crate) fn remove(path: &Path) {
    if !is_special(path) {
        let _ = std::fs::remove_file(path);
    }
}

/// Old daemons take `-pidfile /dev/null` and, as root, leave a machine without that device.
fn is_special(path: &Path) -> bool {
    // A symbolic link is replaced, not followed: who may write to the directory does not choose what is written to.
    std::fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_symlink())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_stays_a_device() {
        let pipe = std::env::temp_dir().join(format!("switchboard-pid-{}", std::process::id()));
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, 0o600.into(), 0).expect("a pipe");
        let reader = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).expect("open");
        write(&pipe).expect("written");
        remove(&pipe);
        assert!(is_special(&pipe), "it is still there");
        drop(reader);
        std::fs::remove_file(&pipe).expect("ours");
    }
}
