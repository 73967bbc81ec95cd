//! [`Roles`]: which process plays which part, learnt from the events as they come.

use crate::record::{Change, Event, HostId, What};
use std::collections::HashMap;

/// Who is who in a run. A child plays the part of its parent.
#[derive(Clone, Default, Debug)]
pub struct Roles {
    roles: Vec<Role>,
    /// Role of each process that was ever seen.
    processes: HashMap<i32, usize>,
    hosts: Vec<String>,
}

#[derive(Clone, Debug)]
struct Role {
    name: String,
    first: i32,
    host: HostId,
}

impl Roles {
    /// Nobody yet, on these hosts.
    pub fn new(hosts: Vec<String>) -> Roles {
        Roles { roles: Vec::new(), processes: HashMap::new(), hosts }
    }

    /// `pid`, on `host`, plays `name` from now on.
    pub fn cast(&mut self, name: &str, pid: i32, host: HostId) {
        self.processes.insert(pid, self.roles.len());
        self.roles.push(Role { name: name.to_owned(), first: pid, host });
    }

    /// Learns who the children are.
    pub fn see(&mut self, event: &Event) {
        if let What::Process(process) = &event.what
            && let Change::Started { parent, .. } = process.change
            && let Some(role) = self.processes.get(&parent).copied()
        {
            self.processes.entry(process.pid).or_insert(role);
        }
    }

    /// Whether this process plays `name`; `client.child` is any but the first.
    pub fn is(&self, name: &str, pid: i32) -> bool {
        let (name, child) = name.strip_suffix(".child").map_or((name, false), |name| (name, true));
        let role = self.processes.get(&pid).map(|role| &self.roles[*role]);
        role.is_some_and(|role| role.name == name && (!child || role.first != pid))
    }

    /// Whether this process is the one that a role began with.
    pub fn is_first(&self, pid: i32) -> bool {
        self.roles.iter().any(|role| role.first == pid)
    }

    /// The process that `name` began with.
    pub fn first(&self, name: &str) -> Option<i32> {
        self.roles.iter().rev().find(|role| role.name == name).map(|role| role.first)
    }

    /// The process that plays `name` and came last: of `server.child`, the newest child.
    pub fn newest(&self, name: &str) -> Option<i32> {
        self.processes.keys().copied().filter(|pid| self.is(name, *pid)).max()
    }

    /// Every process that ever played `name`.
    pub fn all(&self, name: &str) -> impl Iterator<Item = i32> {
        self.processes.keys().copied().filter(move |pid| self.is(name, *pid))
    }

    /// The host a role is on, or the host of that name.
    pub fn host(&self, name: &str) -> Option<HostId> {
        let role = self.roles.iter().find(|role| role.name == name).map(|role| role.host);
        let named = || self.hosts.iter().position(|host| host == name).and_then(|at| u8::try_from(at).ok());
        role.or_else(|| named().map(HostId))
    }

    /// Whether `name` is that host, or a role on it.
    pub fn host_is(&self, name: &str, host: HostId) -> bool {
        self.host(name) == Some(host)
    }
}
