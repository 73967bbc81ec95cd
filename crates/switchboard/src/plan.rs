//! [`Plan`]: a configuration, fully checked; nothing inside it can be invalid. It comes from the command line
//! (`command/serve`), from TOML, or from the files of inetd and xinetd (`config/`), and the supervisor carries it out.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use switchboard_net::admission::Admission;
use switchboard_net::confine::Confinement;
use switchboard_net::introduction::{Outward, Upstreams};
use switchboard_net::program::{Mode, Program};
use switchboard_net::tls::Server;
use switchboard_net::{Endpoint, EngineRow, Error, Kind, Limits, Listener, Location, Workers};
use switchboard_proto::proxy_header::Versions;
use switchboard_proto::{Recipe, Service};

pub(crate) mod diff;
mod place;
mod tls;

pub(crate) use diff::Changes;
pub(crate) use place::{Place, secured};
pub(crate) use tls::{Demand, Wanted};

/// All that is to be served, and how.
#[derive(Clone)]
pub(crate) struct Plan {
    /// The services; their ids are unique.
    pub(crate) services: Vec<ServicePlan>,
    /// Connections of all services at once; none: as many as there are descriptors.
    pub(crate) max_connections: Option<u32>,
    /// After a request to stop, conversations may go on for this long.
    pub(crate) drain_timeout: Duration,
    /// After a request to upgrade, the new program has this long to say that it is ready.
    pub(crate) upgrade_timeout: Duration,
    /// The log.
    pub(crate) log: LogPlan,
    /// Path of the control socket; none: there is none.
    pub(crate) control: Option<PathBuf>,
    /// Where Prometheus may scrape; Unix or loopback.
    pub(crate) metrics: Option<Endpoint>,
    /// Reload when the file changes (inotify(7)).
    pub(crate) watch: bool,
    /// The files that this plan was read from; empty if it comes from the command line.
    pub(crate) files: Vec<PathBuf>,
    /// A file for the number of the process that owns the sockets; removed at the end.
    pub(crate) pid_file: Option<PathBuf>,
    /// Without anything to serve it waits for a reload; otherwise it ends.
    pub(crate) may_be_empty: bool,
}

/// One service.
#[derive(Clone, PartialEq)]
pub(crate) struct ServicePlan {
    /// Its id: what `status` and the log call it; compared by a reload.
    pub(crate) id: String,
    /// What is done with a connection.
    pub(crate) action: Action,
    /// Where clients come in; at least one, unless it is reached by tcpmux only.
    pub(crate) listen: Vec<Place>,
    /// Options of all its sockets; those of a place win.
    pub(crate) options: Vec<(String, String)>,
    /// The Unix sockets' files: mode, owner, group.
    pub(crate) file: FilePlan,
    /// Who may come in, how many, how fast.
    pub(crate) admission: Admission,
    /// Who introduces clients; none: they come by themselves.
    pub(crate) upstreams: Option<Arc<Upstreams>>,
    /// Bounds of a conversation, for built-in services and relays. `max_connections` is in `admission`.
    pub(crate) limits: Limits,
    /// How TLS is spoken at those places that ask for it.
    pub(crate) tls: Option<Server>,
    /// Clients come in by way of a worker that speaks TLS with them.
    pub(crate) escorted: bool,
    /// Identity and confinement of the worker, for built-in services and relays; a program has its own.
    pub(crate) confinement: Confinement,
    /// Offered by the tcpmux service, under its id.
    pub(crate) tcpmux: bool,
    /// May it be missing? An address that cannot be bound is then said and left out; otherwise nothing is served.
    pub(crate) optional: bool,
    /// Where this service was written, such as `switchboard.toml:12`; for messages.
    pub(crate) origin: String,
}

/// What is done with a connection or datagram.
#[derive(Clone)]
pub(crate) enum Action {
    /// A built-in service answers.
    Builtin {
        /// The row, for its name and its line to try.
        service: &'static Service,
        /// The service with its options.
        recipe: Recipe,
        /// What the options were, in words: compared by a reload.
        settings: Vec<(String, String)>,
        /// The engine.
        engine: &'static EngineRow,
        /// Workers, children or threads; none: as the engine does by itself.
        workers: Option<u16>,
        /// The processors that workers are pinned to, in turn; empty: the kernel moves them as it likes.
        pins: Vec<usize>,
    },
    /// A program is started.
    Program(Box<Program>),
    /// It is relayed to another address.
    Forward(Forward),
    /// A service is chosen by name (RFC 1078).
    Tcpmux,
    /// TLS is spoken for the service of this id, whose worker gets the plaintext. Made by the supervisor.
    Escort {
        /// The id.
        of: String,
    },
}

impl ServicePlan {
    /// Who those are that serve, and what they may do: the worker, or the programs.
    pub(crate) fn confinement_of_servers(&self) -> &Confinement {
        match &self.action {
            Action::Program(program) => &program.confinement,
            _ => &self.confinement,
        }
    }
}

impl Plan {
    /// What works and is not wise, in words: certificates that clients will refuse, keys that everybody may read.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let tls = self.services.iter().filter_map(|service| Some((service, service.tls.as_ref()?)));
        let warning = |(service, tls): (&ServicePlan, &Server)| -> Vec<String> {
            let all = tls.settings().identities.iter().flat_map(|identity| identity.warnings());
            all.map(|warning| format!("{}: {warning}", service.id)).collect()
        };
        tls.flat_map(warning).collect()
    }

    /// Whether this process may do to its workers and programs what is asked.
    ///
    /// # Errors
    /// For people: each service that cannot be had, and the capability that is missing.
    pub(crate) fn check_rights(&self) -> Result<(), String> {
        let problem = |service: &ServicePlan| {
            let checked = service.confinement_of_servers().check();
            checked.err().map(|error| format!("{}: {error}", service.id))
        };
        let problems: Vec<String> = self.services.iter().filter_map(problem).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
    }
}

impl Plan {
    /// Programs that would run as root because nobody has said as whom, if this process is root's; as a warning.
    pub(crate) fn unsaid_users(&self) -> Option<String> {
        let unsaid = |service: &&ServicePlan| matches!(&service.action, Action::Program(program) if program.confinement.identity.is_none());
        let ids: Vec<&str> = self.services.iter().filter(unsaid).map(|service| service.id.as_str()).collect();
        if ids.is_empty() || !rustix::process::geteuid().is_root() {
            return None;
        }
        let who = match ids[..] {
            [id] => format!("the program of service {id} runs"),
            _ => format!("the programs of services {} run", ids.join(", ")),
        };
        Some(format!("warning: {who} as root: set `user` (to \"root\", if that is meant)"))
    }
}

impl PartialEq for Action {
    /// Whether the same would be done. A recipe is what its service makes of its settings.
    fn eq(&self, other: &Action) -> bool {
        match (self, other) {
            (
                Action::Builtin { service, settings, engine, workers, pins, .. },
                Action::Builtin {
                    service: service2,
                    settings: settings2,
                    engine: engine2,
                    workers: workers2,
                    pins: pins2,
                    ..
                },
            ) => {
                (service.name, settings, engine.name, workers, pins)
                    == (service2.name, settings2, engine2.name, workers2, pins2)
            }
            (Action::Program(program), Action::Program(other)) => program == other,
            (Action::Forward(forward), Action::Forward(other)) => forward == other,
            (Action::Tcpmux, Action::Tcpmux) => true,
            (Action::Escort { of }, Action::Escort { of: other }) => of == other,
            _ => false,
        }
    }
}

impl Action {
    /// What does it: the engine's name, or the kind of action; for people.
    pub(crate) fn by(&self) -> &'static str {
        match self {
            Action::Builtin { engine, .. } => engine.name,
            Action::Program(_) => "program",
            Action::Forward(_) => "relay",
            Action::Tcpmux => "tcpmux",
            Action::Escort { .. } => "tls",
        }
    }

    /// What kind of thing [`by`](Action::by) names.
    pub(crate) fn kind(&self) -> &'static str {
        if matches!(self, Action::Builtin { .. }) { "engine" } else { "service" }
    }

    /// Whether a program takes clients of these sockets off the queue by itself, so that nobody can ask first who they
    /// are.
    pub(crate) fn accepts_by_itself<'a>(&self, mut listen: impl Iterator<Item = &'a Place>) -> bool {
        let Action::Program(program) = self else { return false };
        matches!(program.mode, Mode::Listener | Mode::Pool(_))
            && listen.any(|place| !place.endpoint.kind.is_datagram())
    }

    /// How many sockets each address has, and how many processes serve them.
    pub(crate) fn copies(&self) -> usize {
        match self {
            Action::Builtin { engine, workers, .. } if engine.workers == Workers::ReusePort => {
                workers.unwrap_or(1).into()
            }
            _ => 1,
        }
    }
}

/// Why clients of such a service cannot be introduced by a PROXY header; `None`: they can.
pub(crate) fn unfit_for_introductions<'a>(
    action: &Action,
    mut listen: impl Iterator<Item = &'a Place>,
    versions: Versions,
) -> Option<&'static str> {
    match action {
        Action::Program(program) if matches!(program.mode, Mode::Listener | Mode::Pool(_)) => {
            return Some("a program that gets the listening socket reads what comes there by itself");
        }
        Action::Tcpmux => return Some("a connection that tcpmux passes on cannot bring its header along"),
        Action::Escort { .. } => return None,
        Action::Builtin { .. } | Action::Program(_) | Action::Forward(_) => {}
    }
    listen.find_map(|place| match place.endpoint.kind {
        Kind::Tcp | Kind::Unix | Kind::Vsock => None,
        Kind::Udp if versions == Versions::V1 => Some("version 1 does not know datagrams: use `v2` or `any`"),
        Kind::Udp => None,
        Kind::UnixDatagram => {
            Some("who sends a Unix datagram is not known, so nobody there could be believed")
        }
        Kind::UnixSeqpacket => Some("a socket of messages has no place for a header: use `unix:`"),
    })
}

/// A relay's far side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Forward {
    /// Where to.
    pub(crate) to: Endpoint,
    /// Address to connect from.
    pub(crate) source: Option<IpAddr>,
    /// Time for connecting.
    pub(crate) connect_timeout: Duration,
    /// How clients are introduced there; none: not at all.
    pub(crate) outward: Option<Outward>,
}

/// The file of a Unix socket.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct FilePlan {
    /// Permission bits; none: 0666 less the umask, as bind(2) does it.
    pub(crate) mode: Option<u32>,
    /// Owner, if it is to be changed.
    pub(crate) uid: Option<u32>,
    /// Group, if it is to be changed.
    pub(crate) gid: Option<u32>,
}

impl FilePlan {
    /// Gives the file of a Unix socket its owner and group.
    pub(crate) fn give(&self, listener: &Listener) -> Result<(), Error> {
        if let (Location::Path(path), true) = (&listener.local().place, self.uid.or(self.gid).is_some()) {
            std::os::unix::fs::chown(path, self.uid, self.gid).map_err(|source| Error::System {
                what: format!("give {} its owner", path.display()),
                source,
                hint: Some("Another owner needs CAP_CHOWN; a group needs membership".into()),
            })?;
        }
        Ok(())
    }
}

/// Where the log goes and what it says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LogPlan {
    /// How records are written; none: there are none.
    pub(crate) format: Option<switchboard_net::Format>,
    /// Where to.
    pub(crate) sink: Sink,
    /// Also the peers' names.
    pub(crate) names: bool,
    /// How much of the peers' addresses is shown.
    pub(crate) mask: switchboard_net::Mask,
}

/// Where the log goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Sink {
    /// Standard error.
    Stderr,
    /// A file, appended to, and opened again at SIGUSR1.
    File(PathBuf),
    /// syslog(3), with this facility (`daemon`, `local0`, …).
    Syslog {
        /// Facility code of RFC 5424 §6.2.1, 0 to 23.
        facility: u8,
    },
    /// systemd's journal, with its fields.
    Journald,
}
