//! [`Host`]: one simulated machine. Namespaces with a network stack, a name, a process table and an `/etc/hosts` of
//! their own; programs start in it, it crashes, is booted again, is shut down.
//!
//! A [`Network`] makes hosts and the wire between them. Everything ends with the process of the lab, however that ends:
//! see `init.rs`.
//!
//! ```no_run
//! use std::time::Duration;
//! use switchboard_lab::host::{Network, Program, Stream};
//! use switchboard_lab::wire::{Act, Kind, Pattern, Way};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut network = Network::builder().seed(7).start(Box::new(|event| drop(event)))?;
//! let (client, server) = (network.hosts()[0].id(), network.hosts()[1].id());
//! network.wire().act(Act::impair(Way::ALL, "delay", "5ms")?);
//! let third = network.wire().when(Pattern::sent(Way::between(client, server), Kind::Data), 3, vec![]);
//! let program = Program::new(["my-server", "7000"]).stdout(Stream::Pipe);
//! let child = network.hosts()[1].spawn(program)?;
//! if third.wait(Duration::from_secs(10)).is_some() {
//!     network.host_mut("server").expect("one of two").crash();
//! }
//! # Ok(())
//! # }
//! ```

mod birth;
mod child;
mod device;
mod init;
mod machine;
mod netlink;
mod network;
mod program;
#[allow(unsafe_code, reason = "the system calls of hosts, each with its reason")]
pub(crate) mod sys;
mod user;

use crate::mode::Full;
use crate::record::HostId;
use crate::wire::Wire;
use device::Device;
use machine::{Etc, Machine};
use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::process::Signal;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

pub use birth::Prepared;
pub use child::{Child, Ended};
pub use device::{Carrier, Packets};
pub use network::{Builder, MOST_HOSTS, Network, Topology};
pub use program::{Hook, Program, Stream, User};

/// A simulated machine at the wire.
pub struct Host {
    id: HostId,
    etc: Etc,
    device: Device,
    wire: Wire,
    machine: Option<Machine>,
}

impl Host {
    /// Its number: its place in the network's list and in [`crate::record::Header::hosts`].
    pub fn id(&self) -> HostId {
        self.id
    }

    /// Its name, by which the other hosts know it too.
    pub fn name(&self) -> &str {
        &self.etc.hostname
    }

    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.device.addresses.iter().map(|(address, _)| *address)
    }

    /// Its first address of a family.
    pub fn address(&self, v6: bool) -> Option<IpAddr> {
        self.addresses().find(|address| address.is_ipv6() == v6)
    }

    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        self.machine.is_some()
    }

    /// Boots it: a fresh kernel stack, the same name and addresses. Nothing if it runs.
    ///
    /// # Errors
    /// What the system refuses, with the step named; [`crate::mode::probe`] says what would help.
    pub fn boot(&mut self) -> io::Result<()> {
        if self.machine.is_none() {
            let machine = Machine::boot(&self.etc).map_err(|e| machine::about(self.name(), e))?;
            let port = self.device.connect(&machine).map_err(|e| machine::about(self.name(), e))?;
            self.wire.attach(self.id, port);
            self.machine = Some(machine);
        }
        Ok(())
    }

    /// The plug is pulled: nothing is sent, packets on their way vanish, every process is killed, and the network stack
    /// ends with them. Nothing if it is down.
    pub fn crash(&mut self) {
        // First the silence, so that nobody hears the kernel's farewells to the killed programs' peers; then the
        // processes; and then our end of the interface, which would keep the dead stack alive and talking.
        self.wire.mute(self.id);
        self.machine = None;
        self.wire.detach(self.id);
    }

    /// [`Host::crash`] and [`Host::boot`].
    ///
    /// # Errors
    /// Those of booting.
    pub fn reboot(&mut self) -> io::Result<()> {
        self.crash();
        self.boot()
    }

    /// An orderly end: SIGTERM to every program that was started here, SIGKILL to those that are left after `grace`; the
    /// network goes last, so that peers hear of it. Then the host is down.
    ///
    /// # Errors
    /// Those of waiting.
    pub fn shutdown(&mut self, grace: Duration) -> io::Result<()> {
        let Some(machine) = &self.machine else { return Ok(()) };
        let deadline = Instant::now() + grace;
        let processes = machine.processes();
        for process in &processes {
            process.signal(Signal::TERM)?;
        }
        for process in &processes {
            if process.wait(Some(deadline))?.is_none() {
                process.kill();
            }
        }
        self.wire.part(self.id);
        self.machine = None;
        self.wire.detach(self.id);
        Ok(())
    }

    /// Brings a process here that is about to become `program`; for those who want to trace it from its first
    /// instruction.
    ///
    /// # Errors
    /// `NotConnected` if the host is down; a user that does not exist; a file that is not found; what the system
    /// refuses.
    pub fn prepare(&self, program: Program) -> io::Result<Prepared> {
        self.machine()?.prepare(program)
    }

    /// Runs a program here.
    ///
    /// # Errors
    /// Those of [`Host::prepare`] and [`Prepared::confirm`].
    pub fn spawn(&self, program: Program) -> io::Result<Child> {
        self.prepare(program)?.confirm()
    }

    /// Sets a parameter of the kernel by its name in sysctl(8), such as `net.ipv4.tcp_retries2`. The host forgets it
    /// when it crashes.
    ///
    /// # Errors
    /// `NotFound` for a parameter that this kernel, or a network namespace, does not have; `PermissionDenied`,
    /// `InvalidInput` as the kernel says.
    pub fn set_sysctl(&self, name: &str, value: &str) -> io::Result<()> {
        let done = self.machine()?.write(&sysctl_path(name), value);
        done.map_err(|e| machine::about(&format!("{}: {name}={value}", self.name()), e))
    }

    /// Reads a parameter of the kernel.
    ///
    /// # Errors
    /// As [`Host::set_sysctl`].
    pub fn sysctl(&self, name: &str) -> io::Result<String> {
        let text = self.machine()?.read(&sysctl_path(name));
        text.map(|text| text.trim_end().to_owned())
            .map_err(|e| machine::about(&format!("{}: {name}", self.name()), e))
    }

    /// Takes the host's interface down, or up again, as an administrator does: local routes go and come with it.
    ///
    /// # Errors
    /// `NotConnected` if the host is down.
    pub fn set_link(&self, up: bool) -> io::Result<()> {
        self.device.set_link(self.machine()?, up)
    }

    /// Opens a socket of this host's network for the lab: `domain`, `kind` and `protocol` as in socket(2). It has
    /// rights over the host's network: one of `AF_NETLINK` and `NETLINK_SOCK_DIAG` may also destroy sockets. Close it when
    /// the host crashes: until then it keeps the dead stack alive.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn socket(&self, domain: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
        self.machine()?.socket(domain, kind, protocol)
    }

    /// Opens a file as the host sees it: its own `/proc`, `/etc/hosts`.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        self.machine()?.open(path, flags)
    }

    /// The number of its first process in the lab's pid namespace; /proc/N/root is the host's file system.
    pub fn init_pid(&self) -> Option<i32> {
        self.machine.as_ref().map(Machine::pid)
    }

    fn machine(&self) -> io::Result<&Machine> {
        self.machine.as_ref().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotConnected, format!("{} is down", self.etc.hostname))
        })
    }
}

/// Brings a process that is about to become `program` to this very machine, for those who can have no host: it shares
/// everything with its surroundings, and is itself what must be killed.
///
/// # Errors
/// A user that the invoking one cannot become; a file that is not found; what the system refuses.
pub fn prepare_here(program: Program) -> io::Result<Prepared> {
    birth::prepare_here(program)
}

/// Makes a machine as a host would have it, with its interface, and lets it go.
pub(crate) fn probe() -> io::Result<Full> {
    let machine = Machine::boot(&Etc { hostname: "probe".into(), hosts: String::new() })?;
    let full = Full { tun: machine.has_tun(), many_users: machine.users().many };
    Device::probe().connect(&machine)?;
    Ok(full)
}

/// Lets a child of ours be traced by us for a moment.
pub(crate) fn probe_tracing() -> io::Result<()> {
    birth::probe_tracing()
}

impl Drop for Host {
    fn drop(&mut self) {
        self.crash();
    }
}

/// `net.ipv4.tcp_retries2` or `net/ipv4/tcp_retries2` as a path; dots and slashes change places (sysctl(8)).
fn sysctl_path(name: &str) -> String {
    let swap = name.split(['.', '/']).next().is_some_and(|first| name[first.len()..].starts_with('.'));
    let path: String = match swap {
        true => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
        false => name.to_owned(),
    };
    format!("/proc/sys/{path}")
}
