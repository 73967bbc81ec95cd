//! What the processes of a service may do.

use super::super::complaint::{Complaint, near};
use super::super::document::{CgroupTable, LandlockTable};
use super::super::source::At;
use super::super::value::{Count, Many, Profile, RESOURCES};
use super::{Draft, absolute};
use std::path::PathBuf;
use switchboard_net::confine::{CAPABILITIES, Cgroup, Confinement, Landlock, Seccomp};

impl Draft<'_> {
    /// Identity, limits and what else its processes may do.
    pub(super) fn confinement(&mut self) -> Confinement {
        let all = &self.service.all;
        let identity = self.identity();
        let root = all.chroot.as_ref().and_then(|at| self.directory(at));
        let nice = all.nice.as_ref().and_then(|at| {
            let nice = i32::try_from(at.value.0).ok().filter(|nice| (-20..=19).contains(nice));
            if nice.is_none() {
                self.complain(
                    Complaint::new(format!("{} is not a nice value", at.value.0))
                        .at(at.span, "expected -20 to 19"),
                );
            }
            nice
        });
        let limits = all.rlimits.as_ref().map(|at| at.value.0.as_slice()).unwrap_or_default();
        let number =
            |name: &str| RESOURCES.iter().find(|(known, ..)| *known == name).map(|(_, number, _)| *number);
        let limits = limits
            .iter()
            .filter_map(|(name, soft, hard)| Some((number(name.value)?, *soft, *hard)))
            .collect();
        let capabilities = self.capabilities(all.capabilities.as_ref());
        let landlock = all.landlock.as_ref().map(|at| self.landlock(&at.value));
        let seccomp = match all.seccomp.as_ref().map(|at| at.value) {
            None | Some(Profile::None) => Seccomp::None,
            Some(Profile::Service) => Seccomp::Service,
            Some(Profile::Strict) => Seccomp::Strict,
        };
        Confinement {
            identity,
            root,
            umask: all.umask.as_ref().map(|at| at.value.0),
            nice,
            limits,
            capabilities,
            no_new_privs: all.no_new_privs.as_ref().is_none_or(|at| at.value),
            landlock,
            seccomp,
            cgroup: all.cgroup.as_ref().map(|at| cgroup(&at.value)),
        }
    }

    fn directory(&mut self, at: &At<PathBuf>) -> Option<PathBuf> {
        absolute(at, self.complaints).filter(|path| {
            let there = path.is_dir();
            if !there {
                let problem = format!("there is no directory {}", path.display());
                self.complaints.push(Complaint::new(problem).at(at.span, ""));
            }
            there
        })
    }

    fn capabilities(&mut self, list: Option<&At<Many<String>>>) -> Vec<u8> {
        let mut numbers = Vec::new();
        for item in list.iter().flat_map(|at| &at.value.0) {
            if item.value == "all" {
                // All that there are to keep: those that we have.
                let has = switchboard_net::sys::confine::capabilities().map_or(0, |sets| sets.permitted);
                numbers.extend((0..64).filter(|number| has & (1 << number) != 0));
                continue;
            }
            let name = item.value.to_ascii_lowercase();
            let name = name.strip_prefix("cap_").unwrap_or(&name);
            match CAPABILITIES.iter().position(|known| *known == name) {
                Some(number) => numbers.push(number as u8),
                None => {
                    let complaint =
                        Complaint::new(format!("there is no capability `{}`", item.value.escape_debug()))
                            .at(item.span, "expected a name of capabilities(7), such as net_raw");
                    self.complain(match near(name, CAPABILITIES) {
                        Some(near) => complaint.help(format!("did you mean `{near}`?")),
                        None => complaint,
                    });
                }
            }
        }
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    fn landlock(&mut self, table: &LandlockTable) -> Landlock {
        let mut paths = |list: &Option<At<Many<PathBuf>>>| -> Vec<PathBuf> {
            let items = list.iter().flat_map(|at| &at.value.0);
            items.filter_map(|item| absolute(item, self.complaints)).collect()
        };
        let (read, write) = (paths(&table.read), paths(&table.write));
        let mut ports = |list: &Option<At<Many<Count>>>| {
            let items = list.as_ref().map(|at| at.value.0.as_slice())?;
            let mut ports = Vec::new();
            for item in items {
                match u16::try_from(item.value.0) {
                    Ok(port) => ports.push(port),
                    Err(_) => {
                        let problem = format!("{} is not a port", item.value.0);
                        self.complaints.push(Complaint::new(problem).at(item.span, "expected 0 to 65535"));
                    }
                }
            }
            Some(ports)
        };
        Landlock { read, write, bind: ports(&table.bind), connect: ports(&table.connect) }
    }
}

fn cgroup(table: &CgroupTable) -> Cgroup {
    Cgroup {
        memory_bytes: table.memory.as_ref().map(|at| at.value.0),
        processes: table.processes.as_ref().map(|at| at.value.0.into()),
        cpu_percent: table.cpu.as_ref().map(|at| at.value.0),
    }
}
