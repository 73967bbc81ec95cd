//! The file with the number of the process that owns the sockets.

use std::io;
use std::path::Path;

/// Writes this process's number to `path`: the file is there with its content at once, or not at all.
///
/// # Errors
/// The directory does not exist or cannot be written.
pub(crate) fn write(path: &Path) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    std::fs::write(&beside, format!("{}\n", std::process::id()))?;
    std::fs::rename(&beside, path).inspect_err(|_| drop(std::fs::remove_file(&beside)))
}
