//! The plan of a command line that names built-in services, or nothing.

use super::options::{Options, chosen};
use super::{Arguments, usage};
use crate::config::value::{Pins, one_for_each, why_not_pinned};
use crate::plan::{Action, FilePlan, Place, Plan, ServicePlan};
use crate::supervisor::Complaint;
use std::time::Duration;
use switchboard_net::admission::Admission;
use switchboard_net::confine::Confinement;
use switchboard_net::{ENGINES, Endpoint, EngineRow, Error, Kind, Limits, Place as Where, Port};

/// What the command line says.
///
/// # Errors
/// For people: what cannot be served so.
pub(super) fn plan(arguments: &Arguments, admission: &Admission) -> Result<Plan, Complaint> {
    let engine = EngineRow::find(&arguments.engine).ok_or_else(|| usage("no such engine"))?;
    if arguments.limits.busy_poll.is_some() && !engine.spins {
        let able: Vec<&str> = ENGINES.iter().filter(|row| row.spins).map(|row| row.name).collect();
        return Err(usage(format!(
            "--busy-poll: engine {} has no loop that could look before it sleeps; {} have",
            engine.name,
            able.join(", ")
        )));
    }
    if let (Some(_), Some((why, able))) = (&arguments.pin, why_not_pinned(engine)) {
        return Err(usage(format!("--pin: {why}; those of these have their own: {able}")));
    }
    let options = Options::sort(&arguments.options, &arguments.services).map_err(usage)?;
    let services = services(arguments, engine, &options, admission)?;
    options.check_sockets(&services).map_err(usage)?;
    Ok(Plan {
        services,
        max_connections: None,
        drain_timeout: arguments.limits.drain_timeout,
        upgrade_timeout: UPGRADE_TIMEOUT,
        log: arguments.log.plan(),
        control: None,
        metrics: None,
        watch: false,
        files: Vec::new(),
        pid_file: None,
        may_be_empty: false,
    })
}

/// Time that a new binary has to take over.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(60);

fn services(
    arguments: &Arguments,
    engine: &'static EngineRow,
    options: &Options,
    admission: &Admission,
) -> Result<Vec<ServicePlan>, Complaint> {
    let listen = arguments.listen.iter().map(|text| text.parse()).collect::<Result<Vec<Place>, Error>>();
    let listen = listen.map_err(usage)?;
    if arguments.services.is_empty() && !listen.is_empty() {
        return Err(usage("--listen needs a service: switchboard serve echo --listen …"));
    }
    if arguments.services.len() > 1 {
        let free = |at: &&Place| !matches!(&at.endpoint.place, Where::Inet(_, Port::Number(0)));
        if let Some(taken) = listen.iter().find(free) {
            return Err(usage(format!(
                "--listen {}: {} services cannot share it; give each its own `switchboard serve`, or port 0",
                taken.endpoint,
                arguments.services.len()
            )));
        }
    }
    let tls = arguments.tls.server(&listen)?;
    let pins = arguments.pin.as_ref().map_or(Ok(Vec::new()), Pins::here);
    let pins = pins.map_err(|problem| usage(format!("--pin: {problem}")))?;
    let mut services = Vec::new();
    for service in chosen(&arguments.services) {
        let settings = options.of(service);
        let recipe = service.recipe(&settings).map_err(usage)?;
        let mut places = listen.clone();
        if places.is_empty() {
            let at = |kind| move |port: &u16| Place::from(Endpoint::loopback(kind, *port));
            places.extend(service.board.tcp.iter().map(at(Kind::Tcp)));
            if engine.datagrams {
                places.extend(service.board.udp.iter().map(at(Kind::Udp)));
            }
        }
        let kinds = places.iter().map(|at| &at.endpoint);
        if let Some(packets) = kinds.into_iter().find(|at| at.kind.is_datagram() && !engine.datagrams) {
            let able: Vec<&str> = ENGINES.iter().filter(|row| row.datagrams).map(|row| row.name).collect();
            return Err(usage(format!(
                "--listen {packets}: engine {} serves streams only; datagrams are served by {}",
                engine.name,
                able.join(", ")
            )));
        }
        let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let secured = places.iter().any(|place| place.tls);
        services.push(ServicePlan {
            id: service.name.to_owned(),
            action: Action::Builtin {
                service,
                recipe,
                settings: settings.collect(),
                engine,
                workers: arguments.workers.or_else(|| one_for_each(&pins)),
                pins: pins.clone(),
            },
            listen: places,
            options: options.sockets().to_vec(),
            file: FilePlan::default(),
            admission: admission.clone(),
            upstreams: None,
            limits: Limits {
                // With another policy, who comes beyond the limit is not left in the queue.
                max_connections: arguments.limits.max_connections.filter(|_| arguments.admission.queues()),
                ..arguments.limits.limits()
            },
            tls: tls.clone().filter(|_| secured),
            escorted: false,
            confinement: Confinement::default(),
            tcpmux: false,
            optional: !arguments.strict,
            origin: "the command line".to_owned(),
        });
    }
    Ok(services)
}
