//! Users and groups, looked up once.

use super::super::complaint::Complaint;
use super::super::source::At;
use super::Draft;
use switchboard_net::confine::{Identity, Login};
use switchboard_net::sys::users;

impl Draft<'_> {
    /// A user: a name or a number.
    pub(super) fn uid(&mut self, at: &At<String>) -> Option<u32> {
        let uid = number(&at.value).or_else(|| users::by_name(&at.value).map(|user| user.uid));
        self.found(uid, "user", at)
    }

    /// A group: a name or a number.
    pub(super) fn gid(&mut self, at: &At<String>) -> Option<u32> {
        let gid = number(&at.value).or_else(|| users::gid(&at.value));
        self.found(gid, "group", at)
    }

    fn found(&mut self, id: Option<u32>, what: &str, at: &At<String>) -> Option<u32> {
        if id.is_none() {
            let problem = format!("there is no {what} `{}`", at.value.escape_debug());
            self.complain(
                Complaint::new(problem)
                    .at(at.span, format!("expected a {what} of this machine, by name or number")),
            );
        }
        id
    }

    /// Whose the processes are.
    pub(super) fn identity(&mut self) -> Option<Identity> {
        let all = &self.service.all;
        let user = match &all.user {
            Some(at) => {
                let entry = number(&at.value).map_or_else(|| users::by_name(&at.value), users::by_uid);
                Some((self.uid(at), entry))
            }
            None => None,
        };
        let group = all.group.as_ref().map(|at| self.gid(at));
        if user.is_none() && group.is_none() {
            self.useless(&["groups"], "it goes with `user`");
            return None;
        }
        let entry = user.as_ref().and_then(|(_, entry)| entry.clone());
        let uid = match &user {
            Some((uid, _)) => (*uid)?,
            None => rustix::process::geteuid().as_raw(),
        };
        let gid = match (group, &entry, &all.user) {
            (Some(gid), ..) => gid?,
            (None, Some(entry), _) => entry.gid,
            (None, None, at) => {
                let complaint = Complaint::new(format!("user {uid} has no entry that would say its group"))
                    .at(at.as_ref().and_then(|at| at.span), "")
                    .help("say `group` too");
                self.complain(complaint);
                return None;
            }
        };
        let mut groups = Vec::new();
        for at in all.groups.iter().flat_map(|at| &at.value.0) {
            if at.value != "all" {
                groups.extend(self.gid(at));
                continue;
            }
            match &entry {
                Some(entry) => groups.extend(users::groups_of(&entry.name, gid)),
                None => self.complain(
                    Complaint::new("the database has no groups of this user")
                        .at(at.span, "expected names or numbers"),
                ),
            }
        }
        groups.sort_unstable();
        groups.dedup();
        let login = entry.map(|entry| Login { name: entry.name, home: entry.home, shell: entry.shell });
        Some(Identity { uid, gid, groups, login })
    }
}

/// The largest number means "leave it" to setuid(2)'s family, and is nobody's.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}
