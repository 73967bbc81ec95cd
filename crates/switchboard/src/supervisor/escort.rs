//! TLS in front of programs: a worker of its own speaks it, without any rights, and hands the worker of the program one
//! end of a pair for each client. That one may be root, since it gives programs their identity; it is not to read what
//! strangers send.

use crate::plan::{Action, Plan, ServicePlan};
use switchboard_net::confine::{Confinement, Identity, Landlock, Seccomp};
use switchboard_net::sys::users;

/// What is behind the id of a service, in the id of the one that speaks TLS for it; no configuration has such ids.
const SUFFIX: &str = " (tls)";

/// The services of `plan`, and for each program with TLS another one that speaks it.
pub(super) fn with_escorts(mut plan: Plan) -> Plan {
    let needs = |service: &ServicePlan| matches!(service.action, Action::Program(_)) && service.tls.is_some();
    let mut escorts = Vec::new();
    for service in plan.services.iter_mut().filter(|service| needs(service)) {
        let (secured, plain) = std::mem::take(&mut service.listen).into_iter().partition(|place| place.tls);
        escorts.push(ServicePlan {
            id: format!("{}{SUFFIX}", service.id),
            action: Action::Escort { of: service.id.clone() },
            listen: secured,
            confinement: confinement(service, plan.log.names),
            tcpmux: false,
            ..service.clone()
        });
        service.listen = plain;
        // Another certificate is no reason to start another worker for programs.
        service.tls = None;
        service.escorted = true;
    }
    plan.services.extend(escorts);
    plan
}

/// As little as there can be: the user of the programs, or nobody; no files, no sockets but those that are there.
fn confinement(service: &ServicePlan, names: bool) -> Confinement {
    let theirs = match &service.action {
        Action::Program(program) => program.confinement.identity.clone(),
        _ => None,
    };
    let root = rustix::process::geteuid().is_root();
    let nobody = || {
        let user = users::by_name("nobody").filter(|_| root)?;
        Some(Identity { uid: user.uid, gid: user.gid, groups: Vec::new(), login: None })
    };
    Confinement {
        identity: theirs.filter(|identity| identity.uid != 0).or_else(nobody),
        // Whoever looks names up opens sockets and files.
        seccomp: if names { Seccomp::Service } else { Seccomp::Strict },
        // The log has local time, and the C library looks that up when it is first asked.
        landlock: (!names).then(|| Landlock::only(&["/etc/localtime", "/usr/share/zoneinfo"])).flatten(),
        ..Confinement::default()
    }
}
