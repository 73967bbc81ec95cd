//! The databases of users and groups: getpwnam_r(3), getgrnam_r(3), getgrouplist(3). These may ask the network, so
//! they belong before serving, not into it.

use std::ffi::{CStr, CString, OsStr};
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A user's entry in passwd(5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
    /// Shell.
    pub shell: PathBuf,
}

/// Text of one entry; more is an error of the database.
const MOST: usize = 1 << 20;
/// Groups of one user (NGROUPS_MAX of limits.h).
const MOST_GROUPS: usize = 65_536;

/// The user called `name`.
pub fn by_name(name: &str) -> Option<User> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name ends with NUL, and `lookup` gives pointers to what it says they are.
    lookup(
        |entry, text, len, found| unsafe { libc::getpwnam_r(name.as_ptr(), entry, text, len, found) },
        user,
    )
}

/// The user with this number.
pub fn by_uid(uid: u32) -> Option<User> {
    // SAFETY: `lookup` gives pointers to what it says they are.
    lookup(|entry, text, len, found| unsafe { libc::getpwuid_r(uid, entry, text, len, found) }, user)
}

/// The number of the group called `name`.
pub fn gid(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    let call = |entry, text, len, found| {
        // SAFETY: the name ends with NUL, and `lookup` gives pointers to what it says they are.
        unsafe { libc::getgrnam_r(name.as_ptr(), entry, text, len, found) }
    };
    lookup(call, |group: &libc::group| group.gr_gid)
}

/// All groups that the database gives the user called `name`, and `gid`.
pub fn groups_of(name: &str, gid: u32) -> Vec<u32> {
    let Ok(name) = CString::new(name) else { return vec![gid] };
    let mut groups = vec![0_u32; 64];
    loop {
        let mut count = groups.len() as libc::c_int;
        // SAFETY: there is room for `count` groups; the call says how many there are.
        let fits =
            unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) } >= 0;
        let count = usize::try_from(count).unwrap_or_default();
        if fits || groups.len() >= MOST_GROUPS {
            groups.truncate(count);
            return groups;
        }
        groups.resize(count.max(groups.len() * 2).min(MOST_GROUPS), 0);
    }
}

fn user(entry: &libc::passwd) -> User {
    User {
        name: text(entry.pw_name).to_string_lossy().into_owned(),
        uid: entry.pw_uid,
        gid: entry.pw_gid,
        home: OsStr::from_bytes(text(entry.pw_dir).to_bytes()).into(),
        shell: OsStr::from_bytes(text(entry.pw_shell).to_bytes()).into(),
    }
}

fn text<'a>(pointer: *const libc::c_char) -> &'a CStr {
    if pointer.is_null() {
        return c"";
    }
    // SAFETY: the fields of an entry point to texts that end with NUL and live as long as `lookup`'s buffer, which
    // outlives the caller's use: it copies at once.
    unsafe { CStr::from_ptr(pointer) }
}

/// Calls one of the `…_r` functions, with more room as long as it asks for it.
fn lookup<E, T>(
    call: impl Fn(*mut E, *mut libc::c_char, usize, *mut *mut E) -> libc::c_int,
    take: impl Fn(&E) -> T,
) -> Option<T> {
    let mut room = vec![0 as libc::c_char; 1_024];
    loop {
        // SAFETY: all-zero bytes are a valid passwd and a valid group: numbers and null pointers.
        let mut entry: E = unsafe { mem::zeroed() };
        let mut found = std::ptr::null_mut();
        match call(&raw mut entry, room.as_mut_ptr(), room.len(), &raw mut found) {
            0 if found.is_null() => return None,
            0 => return Some(take(&entry)),
            libc::ERANGE if room.len() < MOST => room.resize(room.len() * 4, 0),
            libc::EINTR => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_and_nobody_else_by_accident() {
        let root = by_name("root").expect("every machine has root");
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(by_uid(0).map(|user| user.uid), Some(0));
        assert!(groups_of(&root.name, 0).contains(&0));
        assert_eq!(gid("root"), Some(0));
        assert_eq!(by_name("no such user"), None);
        assert_eq!(by_name("nul\0"), None);
        assert_eq!(gid(""), None);
    }
}
