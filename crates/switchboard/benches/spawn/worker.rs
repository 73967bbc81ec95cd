//! Our worker, as the supervisor runs it, without the supervisor.

use std::path::PathBuf;
use std::time::Duration;
use switchboard_net::confine::{Confinement, Identity};
use switchboard_net::program::{self, Environment, Mode, Program, ProgramSite, Register, Stderr, WhenGone};
use switchboard_net::{Counters, Endpoint, Format, Journal, Listener, SocketOptions, Stop};

/// Serves for ever if this process was started for that.
pub(crate) fn serve_if_asked() -> bool {
    let Ok(role) = std::env::var("SPAWN_ROLE") else { return false };
    if role == "minimal" {
        return false;
    }
    let address = std::env::var("SPAWN_ADDRESS").expect("the bench says where");
    let endpoint: Endpoint = address.parse().expect("an address of loopback");
    let listeners = Listener::bind(&endpoint, &SocketOptions::default()).expect("the port is free");
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null").expect("there is a /dev/null");
    let nobody = Identity { uid: 65_534, gid: 65_534, groups: Vec::new(), login: None };
    let counters = Counters::shared().expect("memory");
    program::serve(ProgramSite {
        upstreams: None,
        id: "bench",
        listeners,
        door: None,
        program: Program {
            file: PathBuf::from("/bin/cat"),
            arguments: vec!["cat".into()],
            mode: Mode::PerConnection,
            stderr: if role == "null" { Stderr::Null } else { Stderr::Log },
            environment: Environment::default(),
            directory: PathBuf::from("/"),
            when_gone: WhenGone::Leave,
            grace: Duration::from_secs(1),
            confinement: Confinement {
                identity: (role == "nobody").then_some(nobody),
                ..Confinement::default()
            },
        },
        warden: None,
        most: 1_000,
        drain_timeout: Duration::ZERO,
        stop: &Stop::new().expect("descriptors"),
        journal: &Journal::new(null.into(), Format::Human),
        counters,
        numbers: counters,
        register: Register::create().expect("memory").1,
        heir: None,
        legacy: None,
    })
    .expect("it can serve");
    true
}
