//! `check`: is this configuration right, and what does it come to?

use crate::config::complaint::Complaint;
use crate::config::effective::Line;
use crate::config::legacy::{self, LANGUAGES, Old};
use crate::config::load::Written;
use crate::config::read::Table as _;
use crate::config::source::{Sources, Span};
use crate::config::{self, Configuration, Dialect, Rejected};
use crate::exit::Exit;
use crate::plan::Action;
use crate::report::{Output, Table};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use switchboard_net::Json;

/// Checks a configuration file, and those that it includes, without serving anything
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    /// The file; see `switchboard config example`
    file: PathBuf,

    /// Whose file it is, if it is one of inetd or xinetd [default: seen from what is in
    /// it; a file called .toml is ours]
    #[arg(long, value_name = "DAEMON", value_parser = PossibleValuesParser::new(LANGUAGES.map(|(name, _)| name)))]
    from: Option<String>,

    /// Of inetd and xinetd: leave out what the old daemon left out, as `convert --compat` does
    #[arg(long)]
    compat: bool,

    /// Show every value in force, and where it came from
    #[arg(short, long)]
    explain: bool,

    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Shape::Human)]
    format: Shape,
}

const EXAMPLES: &str = "\
Examples:
  switchboard config example > switchboard.toml; switchboard check switchboard.toml
  switchboard config example | switchboard check --explain /dev/stdin
  switchboard config example | switchboard check --format json /dev/stdin";

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Shape {
    Human,
    Json,
}

pub(crate) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    match config::load(&arguments.file, dialect(arguments)) {
        Ok(configuration) => {
            right(&configuration, arguments, out);
            Exit::Ok
        }
        Err(rejected) => {
            wrong(&rejected, arguments, out);
            Exit::Config
        }
    }
}

/// In which language the file is written. What is not a file cannot be looked at twice, and is taken as ours, as is
/// everything called `.toml`.
fn dialect(arguments: &Arguments) -> Dialect {
    let named = arguments.from.as_deref().and_then(legacy::language);
    let seen = || {
        let ours = arguments.file.extension().is_some_and(|extension| extension == "toml");
        let text =
            (arguments.file.is_file() && !ours).then(|| std::fs::read(&arguments.file).ok()).flatten()?;
        legacy::guess(&String::from_utf8_lossy(&text)).map(|(language, _)| language)
    };
    match named.or_else(seen) {
        Some(language) => Dialect::Old(Old::new(Some(language), arguments.compat)),
        None => Dialect::Toml,
    }
}

fn right(configuration: &Configuration, arguments: &Arguments, out: &mut Output) {
    let plan = &configuration.plan;
    if arguments.format == Shape::Human {
        for finding in &configuration.findings {
            out.report(finding.complaint(arguments.compat).show(&configuration.sources));
        }
    }
    match (arguments.format, arguments.explain) {
        (Shape::Human, false) => {
            let mut table = Table::new(&["service", "does", "listens at"]);
            for service in &plan.services {
                let places: Vec<String> =
                    service.listen.iter().map(|place| place.endpoint.to_string()).collect();
                let places = if places.is_empty() { "tcpmux".to_owned() } else { places.join(" ") };
                table.row([&service.id, &deed(&service.action), &places]);
            }
            out.line(table);
            let (services, files) = (plan.services.len(), plan.files.len());
            out.line(format_args!("good: {} in {}", counted(services, "service"), counted(files, "file")));
        }
        (Shape::Human, true) => {
            for (title, lines) in sections(configuration) {
                out.line(format_args!("[{title}]"));
                let mut table = Table::new(&["key", "value", "from"]);
                for line in &lines {
                    table.row([&line.key, &line.value, &origin(line, &configuration.sources)]);
                }
                out.line(table);
                out.line("");
            }
        }
        (Shape::Json, explain) => {
            let sections = if explain { sections(configuration) } else { Vec::new() };
            let value = |line: &Line| {
                let from = line.span.map(|span| position(span, &configuration.sources));
                let from = from.unwrap_or_else(|| "null".into());
                format!(
                    "{{\"key\":{},\"value\":{},\"set\":{},\"at\":{from}}}",
                    Json(&line.key),
                    Json(&line.value),
                    line.set
                )
            };
            let sections: Vec<String> = sections
                .iter()
                .map(|(title, lines)| {
                    let values: Vec<String> = lines.iter().map(value).collect();
                    format!("{{\"title\":{},\"values\":[{}]}}", Json(title), values.join(","))
                })
                .collect();
            let services: Vec<String> =
                plan.services.iter().map(|service| Json(&service.id).to_string()).collect();
            out.line(format_args!(
                "{{\"event\":\"check\",\"version\":1,\"good\":true,\"services\":[{}],\"effective\":[{}],\"complaints\":[]}}",
                services.join(","),
                sections.join(",")
            ));
        }
    }
}

fn wrong(rejected: &Rejected, arguments: &Arguments, out: &mut Output) {
    let count = counted(rejected.complaints.count(), "error");
    match arguments.format {
        Shape::Human => {
            out.report(rejected);
            out.talk(format_args!("{}: {count}", arguments.file.display()));
        }
        Shape::Json => {
            let one = |complaint: &&Complaint| {
                let marks = complaint.marks.iter().map(|(span, label)| {
                    format!("{{\"at\":{},\"label\":{}}}", position(*span, &rejected.sources), Json(label))
                });
                let help =
                    complaint.help.as_ref().map_or_else(|| "null".into(), |help| Json(help).to_string());
                let marks: Vec<String> = marks.collect();
                format!(
                    "{{\"problem\":{},\"marks\":[{}],\"help\":{help}}}",
                    Json(&complaint.problem),
                    marks.join(",")
                )
            };
            let list = rejected.complaints.list();
            let all: Vec<String> = list.iter().map(one).collect();
            out.line(format_args!(
                "{{\"event\":\"check\",\"version\":1,\"good\":false,\"services\":[],\"effective\":[],\"complaints\":[{}]}}",
                all.join(",")
            ));
        }
    }
}

/// What is in force: for everything, and for each service.
fn sections(configuration: &Configuration) -> Vec<(String, Vec<Line>)> {
    let Configuration { plan, written, .. } = configuration;
    let Written { global, services } = written;
    let mut lines = Vec::new();
    global.lines("", &mut lines);
    lines.retain(|line| line.set || !matches!(line.key.as_str(), "version" | "include"));
    let mut sections = vec![("global".to_owned(), lines)];
    for (service, done) in services.iter().zip(&plan.services) {
        let mut lines = Vec::new();
        service.all.lines("", &mut lines);
        lines.retain(|line| config::heeds(&done.action, &line.key));
        for line in &mut lines {
            match line.key.as_str() {
                "id" => line.value = done.id.clone(),
                "listen" if !line.set => {
                    let places: Vec<String> =
                        done.listen.iter().map(|place| place.endpoint.to_string()).collect();
                    line.value = places.join(" ");
                }
                _ => {}
            }
        }
        sections.push((format!("service {}", done.id), lines));
    }
    sections
}

fn origin(line: &Line, sources: &Sources) -> String {
    match (line.span, line.set) {
        (Some(span), _) => sources.place(span),
        (None, true) => "made".into(),
        (None, false) => "built in".into(),
    }
}

fn position(span: Span, sources: &Sources) -> String {
    let (line, column) = sources.line_column(span);
    let file = sources.file(span.file).path.display().to_string();
    format!(
        "{{\"file\":{},\"line\":{line},\"column\":{column},\"length_bytes\":{}}}",
        Json(&file),
        span.end - span.start
    )
}

/// What a service does, in few words.
fn deed(action: &Action) -> String {
    match action {
        Action::Builtin { service, engine, .. } => format!("{} on {}", service.name, engine.name),
        Action::Program(program) => program.file.display().to_string(),
        Action::Forward(forward) => format!("forward to {}", forward.to),
        Action::Tcpmux => "tcpmux".into(),
        Action::Escort { of } => format!("TLS for {of}"),
    }
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
