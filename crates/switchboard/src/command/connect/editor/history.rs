//! [`History`]: lines that were sent, to be sent again; in memory, and in a file if one was asked for.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Lines that are remembered.
const MOST: usize = 1_000;
/// Bytes of a file that are read: its end.
const MOST_BYTES: usize = 1 << 20;

/// Lines that were sent, oldest first.
#[derive(Debug, Default)]
pub(in crate::command::connect) struct History {
    lines: Vec<Vec<u8>>,
    file: Option<PathBuf>,
    /// Which one is shown; the number of lines while it is none.
    at: usize,
    /// What was typed before an old line was shown.
    draft: Vec<u8>,
}

impl History {
    /// The history of a file, which need not exist yet.
    pub(in crate::command::connect) fn of(file: PathBuf) -> io::Result<History> {
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let bytes = &bytes[bytes.len().saturating_sub(MOST_BYTES)..];
        let lines: Vec<Vec<u8>> =
            bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
        let lines = lines[lines.len().saturating_sub(MOST)..].to_vec();
        Ok(History { at: lines.len(), lines, file: Some(file), draft: Vec::new() })
    }

    /// A line was sent. One like the last, or an empty one, is not worth remembering.
    pub(super) fn add(&mut self, line: &[u8]) {
        if !line.is_empty() && self.lines.last().is_none_or(|last| last != line) {
            if self.lines.len() == MOST {
                self.lines.remove(0);
            }
            self.lines.push(line.to_vec());
            if let Some(file) = &self.file
                && append(file, line).is_err()
            {
                // It worked, or seemed to, when it was read; the conversation is more important.
                self.file = None;
            }
        }
        self.at = self.lines.len();
    }

    /// The line before the one that is shown, while `current` is what is typed.
    pub(super) fn older(&mut self, current: Vec<u8>) -> Option<&[u8]> {
        if self.at == self.lines.len() {
            self.draft = current;
        }
        self.at = self.at.checked_sub(1)?;
        self.lines.get(self.at).map(Vec::as_slice)
    }

    /// The line after the one that is shown; after the last one what was typed before.
    pub(super) fn newer(&mut self) -> Option<&[u8]> {
        if self.at == self.lines.len() {
            return None;
        }
        self.at += 1;
        Some(self.lines.get(self.at).unwrap_or(&self.draft))
    }
}

fn append(file: &PathBuf, line: &[u8]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    // What is typed may be nobody else's business.
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(file)?;
    file.write_all(&[line, b"\n"].concat())
}

/// Where histories are kept that have no file of their own: the XDG Base Directory Specification's state.
pub(in crate::command::connect) fn usual_file() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("switchboard").join("history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_and_the_draft_stays() {
        let path = std::env::temp_dir().join(format!("switchboard-history-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let mut history = History::of(path.clone()).unwrap();
        assert_eq!(history.older(b"x".to_vec()), None);
        assert_eq!(history.newer(), None);
        for line in [&b"one"[..], b"two", b"two", b""] {
            history.add(line);
        }
        assert_eq!(history.older(b"draft".to_vec()), Some(&b"two"[..]));
        assert_eq!(history.older(b"two".to_vec()), Some(&b"one"[..]));
        assert_eq!(history.older(b"one".to_vec()), None);
        assert_eq!(history.newer(), Some(&b"two"[..]));
        assert_eq!(history.newer(), Some(&b"draft"[..]));
        assert_eq!(history.newer(), None);

        let mut again = History::of(path.clone()).unwrap();
        assert_eq!(again.older(Vec::new()), Some(&b"two"[..]));
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
        fs::remove_file(&path).unwrap();
    }
}
