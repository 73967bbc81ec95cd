//! Metrics for Prometheus (its text format, version 0.0.4), `/healthz` and `/readyz`, over the little of HTTP/1.1 that a
//! scraper needs. A worker of its own serves them and reads what clients send: the supervisor does not.

use super::sockets::Complaint;
use crate::exit::Exit;
use crate::plan::{Action, FilePlan, Place, Plan, ServicePlan};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use switchboard_net::admission::Admission;
use switchboard_net::confine::{Confinement, Seccomp};
use switchboard_net::program::{Register, service_key};
use switchboard_net::{EngineRow, Limits, Scoreboard};
use switchboard_proto::{Board, Datagram, Flow, Io, Recipe, Service, Session, TryIt};

/// What the worker is called; no service of a configuration can have this id.
pub(super) const ID: &str = "(metrics)";

/// Bytes of a request's head at most.
const LONGEST: usize = 8 * 1024;
/// Scrapers at once; more wait in the queue.
const MOST: usize = 16;
/// Time for one request and its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The row of a service that is in no table: nobody can ask for it by name.
static SERVICE: Service = Service {
    name: "metrics",
    summary: "metrics for Prometheus",
    source: "Prometheus text format 0.0.4",
    port: 0,
    board: Board { tcp: &[], udp: &[] },
    datagram: Datagram::Silent,
    options: &[],
    try_it: TryIt { ask: "", show: "" },
    examples: &[],
    make: |_| Ok(Arc::new(|_| Box::new(Scrape { numbers: Arc::default() }))),
};

/// The services of `plan`, and the one that tells of them, if it is asked for.
///
/// # Errors
/// None with the engines of this program.
pub(super) fn with_metrics(plan: &Plan) -> Result<Plan, Complaint> {
    let mut plan = plan.clone();
    let Some(endpoint) = plan.metrics.clone() else { return Ok(plan) };
    let wrong = |why: &str| (Exit::Failed, format!("metrics: {why}"));
    let engine = EngineRow::find("epoll").ok_or_else(|| wrong("no such engine"))?;
    let recipe = SERVICE.recipe(&[]).map_err(|error| wrong(&error.problem))?;
    // A worker knows the services that there were when it was started: others make it another one.
    let services = plan.services.iter().map(|service| ("service".to_owned(), service.id.clone())).collect();
    plan.services.push(ServicePlan {
        id: ID.to_owned(),
        action: Action::Builtin {
            service: &SERVICE,
            recipe,
            settings: services,
            engine,
            workers: None,
            pins: Vec::new(),
        },
        listen: vec![Place::from(endpoint)],
        options: Vec::new(),
        file: FilePlan::default(),
        admission: Admission::default(),
        upstreams: None,
        limits: Limits { max_connections: Some(MOST), lifetime: Some(PATIENCE), ..Limits::default() },
        tls: None,
        escorted: false,
        confinement: Confinement { seccomp: Seccomp::Service, ..Confinement::default() },
        tcpmux: false,
        optional: false,
        origin: "metrics".into(),
    });
    Ok(plan)
}

/// Where the numbers are, for the worker that tells them.
#[derive(Default)]
pub(super) struct Numbers {
    pub(super) scores: Option<&'static Scoreboard>,
    pub(super) register: Option<&'static Register>,
    /// Every unit with its place on the board.
    pub(super) services: Vec<(String, usize)>,
}

/// What the worker serves.
pub(super) fn recipe(numbers: Numbers) -> Recipe {
    let numbers = Arc::new(numbers);
    Recipe::new(ID, move |_| Scrape { numbers: numbers.clone() })
}

/// One request.
struct Scrape {
    numbers: Arc<Numbers>,
}

impl Session for Scrape {
    fn advance(&mut self, io: &mut Io<'_>) -> Flow {
        let bytes = io.rx.bytes();
        let ends = |end: &[u8]| bytes.windows(end.len()).any(|window| window == end);
        if !ends(b"\r\n\r\n") && !ends(b"\n\n") {
            if bytes.len() >= LONGEST {
                answer(io, "431 Request Header Fields Too Large", "the request is too long\n", true);
                return Flow::Finish;
            }
            return if io.rx_eof { Flow::Abort } else { Flow::Continue };
        }
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line).into_owned();
        let mut words = line.split_ascii_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let body = method != "HEAD";
        let draining = self.numbers.scores.is_some_and(Scoreboard::is_draining);
        match (method, path.split('?').next().unwrap_or_default()) {
            ("GET" | "HEAD", "/metrics" | "/") => answer(io, "200 OK", &self.numbers.text(), body),
            ("GET" | "HEAD", "/healthz") => answer(io, "200 OK", "ok\n", body),
            ("GET" | "HEAD", "/readyz") if draining => {
                answer(io, "503 Service Unavailable", "draining\n", body);
            }
            ("GET" | "HEAD", "/readyz") => answer(io, "200 OK", "ready\n", body),
            ("GET" | "HEAD", _) => {
                answer(io, "404 Not Found", "there are /metrics, /healthz and /readyz\n", body)
            }
            _ => answer(io, "405 Method Not Allowed", "only GET and HEAD\n", true),
        }
        Flow::Finish
    }
}

fn answer(io: &mut Io<'_>, status: &str, text: &str, body: bool) {
    io.rx.clear();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        text.len()
    );
    io.tx.push(head.as_bytes());
    if body {
        io.tx.push(text.as_bytes());
    }
}

impl Numbers {
    /// Everything, as it is now.
    fn text(&self) -> String {
        let mut text = String::new();
        let Some(scores) = self.scores else { return text };
        let mut family = |name: &str, kind: &str, help: &str, values: &[(String, u64)]| {
            let _ = writeln!(text, "# HELP switchboard_{name} {help}\n# TYPE switchboard_{name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(text, "switchboard_{name}{labels} {value}");
            }
        };
        let alone = |value: u64| [(String::new(), value)];
        let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
        family("info", "gauge", "The program.", &[(version, 1)]);
        family("draining", "gauge", "1 once the end was announced.", &alone(scores.is_draining().into()));
        let of = |value: &std::sync::atomic::AtomicU64| alone(value.load(Ordering::Relaxed));
        family("reloads_total", "counter", "Reloads that were carried out.", &of(&scores.reloads));
        let refused = of(&scores.reloads_refused);
        family("reloads_refused_total", "counter", "Reloads that were refused.", &refused);
        family("upgrades_total", "counter", "Upgrades that led to this process.", &of(&scores.upgrades));
        let lost = of(&scores.log_lines_lost);
        family("log_lines_lost_total", "counter", "Lines of the log that could not be written.", &lost);
        let label = |id: &str| {
            let id = id.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{{service=\"{id}\"}}")
        };
        let programs = |id: &str| {
            let entries = self.register.into_iter().flat_map(Register::entries);
            entries.filter(|entry| entry.service == service_key(id)).count() as u64
        };
        let programs: Vec<_> = self.services.iter().map(|(id, _)| (label(id), programs(id))).collect();
        family("programs", "gauge", "Programs that run for clients.", &programs);
        let tallies: Vec<_> =
            self.services.iter().map(|(id, slot)| (label(id), scores.services[*slot].read())).collect();
        let open = tallies.iter().map(|(label, tally)| (label.clone(), tally.open()));
        family("connections_open", "gauge", "Connections now.", &open.collect::<Vec<_>>());
        let Some((_, first)) = tallies.first() else { return text };
        for (at, (name, _)) in first.figures().iter().enumerate() {
            let values: Vec<_> =
                tallies.iter().map(|(label, tally)| (label.clone(), tally.figures()[at].1)).collect();
            family(&format!("{name}_total"), "counter", "As in `status`.", &values);
        }
        text
    }
}
