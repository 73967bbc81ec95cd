//! Who there is on a host, and how a process becomes one of them.

use crate::host::program::User;
use crate::host::sys;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, write};
use std::io;

/// The user maps of a host, as far as programs need to know them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Users {
    /// Whether the host has all users that the lab's own namespace has; else only root, who is the lab's user.
    pub(super) many: bool,
    /// The lab's user and group.
    pub(super) own: (u32, u32),
}

/// How to become the user.
pub(super) enum Identity {
    /// Stay root of the host.
    Root,
    /// setresuid(2).
    Switch(u32, u32),
    /// A nested user namespace in which the lab's user has his own number again and no rights on the host; texts of
    /// its uid_map and gid_map.
    Nested(Vec<u8>, Vec<u8>),
}

impl Users {
    /// How to become `user`; the error says that there is no such user.
    pub(super) fn identity(self, user: User) -> io::Result<Identity> {
        /// `nobody`.
        const NOBODY: u32 = 65_534;
        let (uid, gid) = match user {
            User::Root | User::Id(0) => return Ok(Identity::Root),
            User::Plain if self.own.0 == 0 => (NOBODY, NOBODY),
            User::Plain => self.own,
            User::Id(uid) if uid == self.own.0 => self.own,
            User::Id(uid) => (uid, uid),
        };
        if self.many {
            return Ok(Identity::Switch(uid, gid));
        }
        if (uid, gid) != self.own && self.own.0 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "user {uid} does not exist on this host: without root there is only user {}",
                    self.own.0
                ),
            ));
        }
        Ok(Identity::Nested(format!("{uid} 0 1\n").into_bytes(), format!("{gid} 0 1\n").into_bytes()))
    }
}

/// Becomes it, in a fresh child of the host's namespaces: system calls only.
pub(super) fn take(identity: &Identity) -> Result<(), Errno> {
    match identity {
        Identity::Root => Ok(()),
        Identity::Switch(uid, gid) => sys::become_user(*uid, *gid),
        Identity::Nested(uids, gids) => {
            sys::unshare(libc::CLONE_NEWUSER)?;
            // Without this, a group map may not be written by those without rights (user_namespaces(7)).
            for (path, text) in [
                (c"/proc/self/setgroups", b"deny".as_slice()),
                (c"/proc/self/gid_map", gids),
                (c"/proc/self/uid_map", uids),
            ] {
                let file = open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
                write(&file, text)?;
            }
            Ok(())
        }
    }
}
