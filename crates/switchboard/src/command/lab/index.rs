//! `lab list`: the cases.

use crate::exit::Exit;
use crate::report::{Output, Table};
use clap::{Args, ValueEnum};
use switchboard_lab::scenario::Scenario;

/// Lists the cases
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  switchboard lab list\n  switchboard lab list --format json")]
pub(crate) struct Arguments {
    /// How to print them
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum Format {
    /// A table
    Human,
    /// JSON
    Json,
}

pub(super) fn run(arguments: &Arguments, out: &mut Output) -> Exit {
    let scenarios = Scenario::all();
    match arguments.format {
        Format::Human => {
            let mut table = Table::new(&["case", "tries", "by default", "what happens"]);
            for scenario in &scenarios {
                table.row([
                    &scenario.id,
                    &tries(scenario).join(" "),
                    &scenario.default.by_default(),
                    &scenario.title,
                ]);
            }
            out.line(table);
        }
        Format::Json => {
            let cases: Vec<_> = scenarios
                .iter()
                .map(|scenario| {
                    serde_json::json!({
                        "id": scenario.id, "title": scenario.title, "book": scenario.book, "linux": scenario.linux,
                        "textbook": scenario.textbook, "default": scenario.default.by_default(),
                        "tries": tries(scenario),
                    })
                })
                .collect();
            out.line(serde_json::json!({ "schema": "switchboard-lab-list", "version": 1, "cases": cases }));
        }
    }
    Exit::Ok
}

fn tries(scenario: &Scenario) -> Vec<&'static str> {
    let parts = [("kernel", &scenario.kernel), ("client", &scenario.client), ("server", &scenario.server)];
    parts.into_iter().filter(|(_, part)| part.is_some()).map(|(name, _)| name).collect()
}
