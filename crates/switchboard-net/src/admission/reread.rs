//! [`Reread`]: what a file says, read again when it has changed: no restart, no signal. A new version that is wrong is
//! said once and not used.

use crate::error::Error;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use switchboard_proto::Instant;

/// Time between two looks at the file, nanoseconds.
const LOOK_EVERY_NS: u64 = 1_000_000_000;
/// The longest file that is read.
const LONGEST: u64 = 64 << 20;

/// Device, inode, size, time of the last change.
type Stamp = (u64, u64, u64, i64, i64);

#[derive(Debug)]
pub(super) struct Reread<T> {
    path: PathBuf,
    parse: fn(&Path, &[u8]) -> Result<T, Error>,
    /// A file that is not there is an empty one.
    optional: bool,
    stamp: Option<Stamp>,
    looked_at: Option<Instant>,
    content: T,
}

impl<T> Reread<T> {
    /// # Errors
    /// The file cannot be read, or is wrong.
    pub(super) fn open(
        path: &Path,
        optional: bool,
        parse: fn(&Path, &[u8]) -> Result<T, Error>,
    ) -> Result<Reread<T>, Error> {
        let (stamp, content) = load(path, optional, parse)?;
        Ok(Reread { path: path.to_owned(), parse, optional, stamp, looked_at: None, content })
    }

    /// What the file says now, as of a second ago at most. A complaint if it is wrong now, or right again.
    pub(super) fn at(&mut self, now: Instant) -> (&T, Option<String>) {
        let due = self.looked_at.is_none_or(|last| now.0.saturating_sub(last.0) >= LOOK_EVERY_NS);
        let mut complaint = None;
        if due {
            self.looked_at = Some(now);
            let stamp = fs::metadata(&self.path).ok().map(|found| stamp_of(&found));
            if stamp != self.stamp {
                match load(&self.path, self.optional, self.parse) {
                    Ok((stamp, content)) => (self.stamp, self.content) = (stamp, content),
                    Err(error) => {
                        self.stamp = stamp;
                        complaint = Some(format!("{error}; the rules read before still hold"));
                    }
                }
            }
        }
        (&self.content, complaint)
    }
}

fn stamp_of(found: &fs::Metadata) -> Stamp {
    (found.dev(), found.ino(), found.size(), found.ctime(), found.ctime_nsec())
}

fn load<T>(
    path: &Path,
    optional: bool,
    parse: fn(&Path, &[u8]) -> Result<T, Error>,
) -> Result<(Option<Stamp>, T), Error> {
    let failed = |error| Error::system(format!("read {}", path.display()), error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if optional && error.kind() == std::io::ErrorKind::NotFound => {
            return Ok((None, parse(path, b"")?));
        }
        Err(error) => return Err(failed(error)),
    };
    // Of the file that was opened, and before it is read: what changes meanwhile is seen the next time.
    let stamp = stamp_of(&file.metadata().map_err(failed)?);
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LONGEST {
        return Err(Error::Config(format!("{} is longer than {LONGEST} bytes", path.display())));
    }
    Ok((Some(stamp), parse(path, &bytes)?))
}
