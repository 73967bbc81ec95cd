//! The house is in order: format, folder = table, forbidden calls, documents. Each check is a function from text
//! to problems, and is shown to find one before it is believed when it finds none.
//!
//! The documents in `docs/` are made from the tables:
//! `SWITCHBOARD_BLESS=1 cargo test -p switchboard --test tidy` writes them anew.

#[path = "tidy/code.rs"]
mod code;
#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/generated.rs"]
mod generated;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use switchboard::{ENGINES, SERVICES};
use switchboard_lab::scenario::SCENARIOS;
use switchboard_lab::wire::impairment::IMPAIRMENTS;

/// What is wrong, and where: `file:line: what`.
type Problems = Vec<String>;

/// Files of `engine/` that are no engines but shared by several: the driver of the blocking engines, their waiting
/// room and reception; the loop of the readiness engines; what all of them need.
const SHARED_BY_ENGINES: [&str; 9] =
    ["attend", "blocking", "conversation", "gate", "lobby", "porch", "readiness", "spin", "timers"];

/// The top of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    let bytes = std::fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Says that something could not be looked at; a skipped check is never counted as passed in silence.
fn skip(what: &str, reason: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED {what}: {reason}");
}

/// Every file that is or will be part of the repository, by its path from the top.
fn files() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .ok()
        .filter(|listed| listed.status.success());
    let mut files = match listed {
        Some(listed) => String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect(),
        None => {
            skip("the list of tracked files", "there is no git here; every file below the top is looked at");
            let mut files = Vec::new();
            walk(&root(), "", &mut files);
            files
        }
    };
    files.retain(|path| root().join(path).is_file());
    files.sort();
    assert!(files.iter().any(|path| path == "Cargo.toml") && files.len() > 50, "the list is not complete");
    files
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        if path.is_dir() && !matches!(&*name, "target" | ".git" | "corpus" | "artifacts") {
            walk(&path, &format!("{prefix}{name}/"), files);
        } else if path.is_file() {
            files.push(format!("{prefix}{name}"));
        }
    }
}

fn rust_files() -> impl Iterator<Item = (String, String)> {
    files().into_iter().filter(|path| path.ends_with(".rs")).map(|path| {
        let text = read(&path);
        (path, text)
    })
}

#[track_caller]
fn none(problems: &Problems) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn the_code_is_formatted() {
    let fmt = |arguments: &[&str]| {
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
        cargo.arg("fmt").args(arguments).current_dir(root()).output()
    };
    if !fmt(&["--version"]).is_ok_and(|version| version.status.success()) {
        return skip("the format", "there is no rustfmt here");
    }
    // The fuzz targets and the servers on other runtimes are workspaces of their own.
    for package in
        [&["--all"][..], &["--manifest-path", "fuzz/Cargo.toml"], &["--manifest-path", "peers/Cargo.toml"]]
    {
        let checked = fmt(&[package, &["--check"]].concat()).expect("cargo runs");
        let diff = [checked.stdout, checked.stderr].concat();
        let diff = String::from_utf8_lossy(&diff);
        assert!(checked.status.success(), "`cargo fmt {}` would change this:\n{diff}", package.join(" "));
    }
}

#[test]
fn nothing_forbidden_is_called() {
    none(&rust_files().flat_map(|(path, text)| code::forbidden(&path, &text)).collect());
}

#[test]
fn unsafe_blocks_say_why_they_are_safe() {
    none(&rust_files().flat_map(|(path, text)| code::undocumented_unsafe(&path, &text)).collect());
}

#[test]
fn every_file_says_what_it_is() {
    none(&rust_files().filter_map(|(path, text)| code::headless(&path, &text)).collect());
}

#[test]
fn no_room_is_called_after_nothing() {
    none(&files().iter().filter_map(|path| code::meaningless_name(path)).collect());
}

#[test]
fn no_path_of_a_machine_is_written_down() {
    none(&files().iter().flat_map(|path| documents::machine_paths(path, &read(path))).collect());
}

/// Names of the files with this ending in a folder.
fn folder(path: &str, ending: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(ending).map(str::to_owned))
        .collect()
}

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

/// A folder and its table hold the same names.
fn difference(what: &str, folder: &BTreeSet<String>, table: &BTreeSet<String>) -> Problems {
    let only = |of: &BTreeSet<String>, other: &BTreeSet<String>, problem: &str| {
        of.difference(other).map(|name| format!("{what}: {name} {problem}")).collect::<Vec<_>>()
    };
    [only(folder, table, "has a file and no row"), only(table, folder, "has a row and no file")].concat()
}

/// The committed field guide: a page for each scenario, links that lead somewhere, and nothing from elsewhere.
#[test]
fn the_field_guide_is_whole() {
    const GUIDE: &str = "docs/guide";
    let pages = folder(GUIDE, ".html");
    let mut table: BTreeSet<String> =
        SCENARIOS.iter().filter_map(|(name, _)| name.strip_suffix(".toml").map(str::to_owned)).collect();
    table.insert("index".to_owned());
    none(&difference("the field guide (`switchboard lab guide docs/guide`)", &pages, &table));
    let mut problems = Problems::new();
    for page in &pages {
        let path = format!("{GUIDE}/{page}.html");
        let text = read(&path);
        for link in text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            if !link.starts_with('#') && !root().join(GUIDE).join(link).is_file() {
                problems.push(format!("{path}: {link} leads nowhere"));
            }
        }
        for foreign in ["://", "<script", "<img", "/tmp/"] {
            if text.contains(foreign) {
                problems
                    .push(format!("{path}: `{foreign}`: the guide fetches and knows nothing from outside"));
            }
        }
    }
    none(&problems);
}

#[test]
fn a_difference_between_folder_and_table_is_found() {
    let problems = difference("services", &set(["echo", "finger"]), &set(["echo", "time"]));
    assert_eq!(problems, ["services: finger has a file and no row", "services: time has a row and no file"]);
}

#[test]
fn services_are_one_file_and_one_row_each() {
    let table = SERVICES.iter().map(|service| service.name.replace('-', "_")).collect();
    none(&difference("services", &folder("crates/switchboard-proto/src/service", ".rs"), &table));
}

#[test]
fn workloads_are_one_file_and_one_row_each() {
    let table = set(switchboard_proto::WORKLOADS.iter().map(|workload| workload.name));
    none(&difference("workloads", &folder("crates/switchboard-proto/src/workload", ".rs"), &table));
}

#[test]
fn engines_are_one_file_and_one_row_each() {
    let mut here = folder("crates/switchboard-net/src/engine", ".rs");
    for shared in SHARED_BY_ENGINES {
        assert!(here.remove(shared), "{shared}.rs is listed as shared by the engines, and is not there");
    }
    let table = set(ENGINES.iter().map(|row| row.name));
    none(&difference("engines", &here, &table));
    // The benchmark has a row for each engine, since it needs to know how much each can hold.
    let subjects = read("crates/switchboard/benches/engines/subject.rs");
    none(&difference("the benchmark's engines", &code::named_rows(&subjects, "Engine::row(\""), &table));
}

#[test]
fn impairments_are_one_file_and_one_row_each() {
    let files = folder("crates/switchboard-lab/src/wire/impairment", ".rs");
    let table = IMPAIRMENTS.iter().map(|row| row.name.replace('-', "_")).collect();
    none(&difference("impairments", &files, &table));
}

#[test]
fn verbs_are_one_file_and_one_variant_each() {
    let help =
        Command::new(env!("CARGO_BIN_EXE_switchboard")).arg("--help").output().expect("the program runs");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let table = set(listed.filter_map(|line| line.split_whitespace().next()));
    assert!(!table.is_empty(), "{help}");
    none(&difference("verbs", &folder("crates/switchboard/src/command", ".rs"), &table));
}

#[test]
fn personalities_are_one_file_and_one_row_each() {
    let files = folder("crates/switchboard/src/personality", ".rs");
    let text = read("crates/switchboard/src/personality.rs");
    let rows = text.match_indices("::PERSONALITY").map(|(at, _)| &text[..at]);
    let table = set(rows.filter_map(|before| before.rsplit(|c: char| !c.is_alphanumeric()).next()));
    none(&difference("personalities", &files, &table));
}

#[test]
fn fuzz_targets_are_one_file_one_row_and_one_binary_each() {
    let files = folder("fuzz/fuzz_targets", ".rs");
    let table = code::named_rows(&read("fuzz/src/lib.rs"), "name: \"");
    none(&difference("fuzz targets", &files, &table));
    let mut binaries = code::named_rows(&read("fuzz/Cargo.toml"), "name = \"");
    assert!(binaries.remove("switchboard-fuzz"));
    none(&difference("binaries of fuzz targets", &files, &binaries));
}

#[test]
fn every_row_of_the_systems_has_a_test() {
    none(&documents::unproven(&read("ARCHITECTURE.md"), &documents::ROWS));
}

#[test]
fn every_test_file_is_on_the_test_map() {
    let tests = files().into_iter().filter(|path| {
        let parts: Vec<&str> = path.split('/').collect();
        matches!(parts[..], ["crates", _, "tests", file] if file.ends_with(".rs"))
    });
    let targets = documents::links("ARCHITECTURE.md", &read("ARCHITECTURE.md"));
    let known: BTreeSet<String> = targets.into_iter().map(|link| link.path).collect();
    none(
        &tests
            .filter(|path| !known.contains(path))
            .map(|path| format!("{path}: not on the test map"))
            .collect(),
    );
}

#[test]
fn every_document_is_linked_and_every_link_leads_somewhere() {
    let files = files();
    let texts: Vec<(String, String)> =
        files.iter().filter(|path| path.ends_with(".md")).map(|path| (path.clone(), read(path))).collect();
    none(&documents::broken_links(&texts, &|path| root().join(path).exists()));
    none(&documents::unlinked(&texts, &["README.md", "ARCHITECTURE.md"]));
}

#[test]
fn every_complaint_has_a_test_or_a_refusal() {
    // Inside modules tests are indented.
    let sources: String = rust_files().map(|(_, text)| text.replace("\n    ", "\n")).collect();
    none(&documents::missing_tests("docs/complaints.md", &read("docs/complaints.md"), &sources));
}

#[test]
fn examples_in_the_readme_are_the_tested_ones() {
    none(&documents::untested_code(&read("README.md"), &read("crates/switchboard/src/lib.rs")));
}

#[test]
fn documents_made_from_the_tables_are_up_to_date() {
    let bless = std::env::var_os("SWITCHBOARD_BLESS").is_some();
    for (path, text) in generated::documents() {
        if bless {
            std::fs::create_dir_all(root().join("docs")).expect("docs/ can be made");
            std::fs::write(root().join(path), &text).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        let committed = std::fs::read_to_string(root().join(path)).unwrap_or_default();
        let line = committed.lines().zip(text.lines()).take_while(|(a, b)| a == b).count() + 1;
        assert!(
            committed == text,
            "{path}:{line} differs from the tables; write it anew with\n  \
             SWITCHBOARD_BLESS=1 cargo test -p switchboard --test tidy"
        );
    }
}
