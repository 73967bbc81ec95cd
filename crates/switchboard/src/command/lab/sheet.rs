//! `lab show`: one case in words.

use crate::exit::Exit;
use crate::report::Output;
use clap::Args;
use switchboard_lab::scenario::{Part, Scenario};

/// Shows a case: what Linux does, where the textbook differs, who plays and what happens when
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  switchboard lab show 14-child-killed\n  switchboard lab show 2")]
pub(crate) struct Arguments {
    /// Ids, or numbers of the catalogue
    #[arg(required = true)]
    cases: Vec<String>,
}

pub(super) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    match super::named(&arguments.cases) {
        Ok(scenarios) => {
            for (index, scenario) in scenarios.iter().enumerate() {
                if index > 0 {
                    out.line("");
                }
                show(scenario, out);
            }
            Exit::Ok
        }
        Err(error) => {
            out.talk(error);
            Exit::Usage
        }
    }
}

fn show(scenario: &Scenario, out: &mut Output) {
    out.line(format_args!("{}: {}", scenario.id, scenario.title));
    out.line(format_args!("  read: {}", scenario.book));
    out.line(format_args!(
        "  with the settings Linux comes with, the kernel gives up: {}",
        scenario.default.by_default()
    ));
    paragraph("linux", &scenario.linux, out);
    if let Some(textbook) = &scenario.textbook {
        paragraph("textbook", textbook, out);
    }
    let parts = [
        ("the kernel's answers", &scenario.kernel),
        ("a client program", &scenario.client),
        ("a server program", &scenario.server),
    ];
    for (title, part) in parts {
        if let Some(part) = part {
            out.line("");
            out.line(format_args!("  {title}"));
            show_part(part, out);
        }
    }
}

fn paragraph(name: &str, text: &str, out: &mut Output) {
    for (index, line) in text.lines().enumerate() {
        let name = if index == 0 { format!("{name}:") } else { String::new() };
        out.line(format_args!("  {name:<9} {line}"));
    }
}

fn show_part(part: &Part, out: &mut Output) {
    for (role, script) in &part.actors {
        for (index, line) in script.trim().lines().enumerate() {
            let role = if index == 0 { role } else { "" };
            out.line(format_args!("    {role:<18} {line}"));
        }
    }
    for step in &part.steps {
        out.line(format_args!("    {:<18} {}", "step", step.text));
    }
    for pattern in &part.expect {
        out.line(format_args!("    {:<18} {}", "expected", pattern.text));
    }
    if let Some(because) = &part.because {
        out.line(format_args!("    {:<18} {because}", "because"));
    }
    let alone = part.loopback.as_ref().map_or_else(|why| format!("no: {why}"), |_| "yes".to_owned());
    out.line(format_args!("    {:<18} {alone}", "without hosts"));
}
