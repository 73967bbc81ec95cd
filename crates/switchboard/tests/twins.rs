//! Verdicts are true: programs in C, Python and Rust with one known fault each are called by its name, and their
//! corrected twins are not accused. Rows S15, S20.
//!
//! A twin is one file under `twins/`; its first argument says which of the two it is. `SWITCHBOARD_TWINS_RUNS=20` repeats
//! every run and prints the counts: no verdict may hang on luck.

mod harness;

use harness::{Scratch, program, run_to_end, skip, text};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::time::Duration;

/// The longest that one case may take here, with the conversation without a fault before it.
const LIMIT: Duration = Duration::from_secs(120);
/// Cases at the same time: most of each is waiting.
const JOBS: usize = 6;

/// A program, the side it plays, the case that brings its fault out, and what the fault is called.
struct Twin {
    file: &'static str,
    side: &'static str,
    case: &'static str,
    fault: &'static str,
}

const fn twin(file: &'static str, side: &'static str, case: &'static str, fault: &'static str) -> Twin {
    Twin { file, side, case, fault }
}

const TWINS: [Twin; 17] = [
    twin("sigpipe.c", "client", "14-child-killed", "KILLED BY SIGPIPE"),
    twin("patient.c", "client", "06-idle-host-crash", "HANGS"),
    twin("short_send.c", "client", "19-short-io", "DATA LOST"),
    twin("unconnected.c", "client", "01-no-server", "IGNORED ERROR"),
    twin("spinning.c", "client", "04-inactive-ctrl-c", "SPINS"),
    twin("one_answer.py", "client", "19-short-io", "DATA TRUNCATED"),
    twin("swallows.py", "client", "14-child-killed", "IGNORED ERROR"),
    twin("uncaught.py", "client", "24-reset-on-close", "CRASHED"),
    twin("again.py", "client", "07-routers-down", "DATA DUPLICATED"),
    twin("unwraps.rs", "client", "24-reset-on-close", "CRASHED"),
    twin("one_wait.c", "server", "17-zombies", "ZOMBIES"),
    twin("no_descriptors.c", "server", "28-no-descriptors", "SPINS"),
    twin("close_wait.py", "server", "04-inactive-ctrl-c", "DESCRIPTORS LEAKED"),
    twin("one_by_one.py", "server", "30-silent-peer", "STARVES OTHERS"),
    twin("panics.rs", "server", "13-accept-aborted", "CRASHED"),
    twin("one_write.rs", "server", "19-short-io", "DATA LOST"),
    twin("one_read.rs", "server", "19-short-io", "DATA LOST"),
];

#[test]
fn faults_are_called_by_name_and_corrected_twins_are_not_accused() {
    if let Some(workshop) = Workshop::new(None) {
        judge_all(&workshop);
    }
}

/// The same verdicts for somebody without privileges, in user namespaces and over veth.
#[test]
fn an_ordinary_user_gets_the_same_verdicts() {
    const SOMEBODY: u32 = 12_345;
    if !rustix::process::getuid().is_root() {
        return skip("the twins as an ordinary user", "this is one already: the other tests are that");
    }
    if let Some(workshop) = Workshop::new(Some(SOMEBODY)) {
        judge_all(&workshop);
    }
}

fn judge_all(workshop: &Workshop) {
    let runs = std::env::var("SWITCHBOARD_TWINS_RUNS").map_or(1, |runs| runs.parse().expect("a number"));
    let made: Vec<(&Twin, String)> =
        TWINS.iter().filter_map(|twin| Some((twin, workshop.command(twin.file)?))).collect();
    let mut jobs = Vec::new();
    for _ in 0..runs {
        for (twin, command) in &made {
            jobs.extend([("faulty", *twin, command.as_str()), ("corrected", *twin, command.as_str())]);
        }
    }
    let total = jobs.len();
    let queue = Mutex::new(jobs);
    let wrong: Mutex<Vec<String>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..JOBS {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no panic").pop();
                    let Some((which, twin, command)) = next else { return };
                    if let Err(why) = workshop.try_one(which, twin, command, &[]) {
                        wrong.lock().expect("no panic").push(why);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    let counts = format!("{total} runs of {} twins, {} judged wrongly", made.len(), wrong.len());
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{counts}\n"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_fault_that_has_a_name_is_some_twins() {
    let bad = switchboard_lab::judge::KINDS.into_iter().filter(|kind| kind.is_bad());
    let nobodys: Vec<&str> =
        bad.map(|kind| kind.word()).filter(|word| !TWINS.iter().any(|twin| twin.fault == *word)).collect();
    assert!(nobodys.is_empty(), "no program is caught at {nobodys:?}");
}

/// A case that did not come about is no pass: `cat` connects to nobody, and is neither praised nor accused.
#[test]
fn what_did_not_come_about_is_inconclusive() {
    let Some(workshop) = Workshop::new(None) else { return };
    for case in ["14-child-killed", "05-active-host-crash"] {
        let run = workshop.lab(case, "client", "cat", &[]).expect("it ran before");
        assert_eq!(words(&run, false), ["INCONCLUSIVE"], "{run}");
        assert_eq!(run["grade"], "unknown", "{run}");
    }
    let output = workshop.finish(&["run", "14", "--client", "cat"]);
    assert_eq!(output.status.code(), Some(77), "{}", text(&output.stdout));
}

/// The same verdicts where there are neither hosts nor a wire.
#[test]
fn one_machine_is_enough_to_call_a_fault_by_its_name() {
    let Some(workshop) = Workshop::new(None) else { return };
    let shown = ["sigpipe.c", "short_send.c", "unconnected.c", "spinning.c", "one_wait.c", "one_by_one.py"];
    let made: Vec<(&Twin, String)> = TWINS
        .iter()
        .filter(|twin| shown.contains(&twin.file))
        .filter_map(|twin| Some((twin, workshop.command(twin.file)?)))
        .collect();
    let workshop = &workshop;
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = made
            .iter()
            .flat_map(|(twin, command)| ["faulty", "corrected"].map(|which| (which, *twin, command)))
            .map(|(which, twin, command)| {
                scope.spawn(move || workshop.try_one(which, twin, command, &["--mode", "loopback"]))
            })
            .collect();
        runs.into_iter().filter_map(|run| run.join().expect("no panic").err()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A remedy is proven before the code is changed: the option is set on the program's sockets from outside.
#[test]
fn a_program_that_hangs_notices_with_an_option_set_from_outside() {
    let Some(workshop) = Workshop::new(None) else { return };
    let Some(command) = workshop.command("patient.c") else { return };
    let command = format!("{command} faulty {{host}} {{port}}");
    let case = "06-idle-host-crash";
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let run = workshop.lab(case, "client", &command, &[]).expect("it ran before");
            assert_eq!(words(&run, true), ["HANGS"], "{run}");
        });
        for with in
            ["keepalive=on", "keepalive=on,keepalive-idle=1s,user-timeout=3s", "keepalive,user_timeout=4s"]
        {
            let (command, workshop) = (&command, &workshop);
            scope.spawn(move || {
                let run = workshop.lab(case, "client", command, &["--with", with]).expect("it ran before");
                assert_eq!(words(&run, false), ["NOTICED"], "{with}: {run}");
                assert!(run.to_string().contains("ETIMEDOUT"), "{with}: {run}");
            });
        }
    });
}

/// A place for programs that everybody may start, since the lab's programs have a user of their own.
struct Workshop {
    scratch: Scratch,
    /// Who runs the lab, if not the user of this test.
    user: Option<u32>,
}

impl Workshop {
    /// None, said aloud, where the lab cannot run.
    fn new(user: Option<u32>) -> Option<Workshop> {
        let scratch = Scratch::new();
        let everybody = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&scratch.0, everybody).expect("it is ours");
        let workshop = Workshop { scratch, user };
        if let Some(user) = user
            && let Err(error) = Command::new(program().get_program()).arg("--version").uid(user).output()
        {
            skip("the twins", &format!("the program is not for user {user}: {error}"));
            return None;
        }
        let probe = workshop.finish(&["run", "01", "--kernel"]);
        if probe.status.code() == Some(77) {
            skip("the twins", &text(&probe.stderr));
            return None;
        }
        Some(workshop)
    }

    /// Runs one of the two and says what is wrong with its verdict.
    fn try_one(&self, which: &str, twin: &Twin, command: &str, more: &[&str]) -> Result<(), String> {
        let host = if twin.side == "client" { "{host} " } else { "" };
        let command = format!("{command} {which} {host}{{port}}");
        let run = self.lab(twin.case, twin.side, &command, more).ok_or("the lab does not run any more")?;
        let bad = words(&run, true);
        let right = match which {
            "faulty" => bad == [twin.fault],
            _ => run["grade"] == "good",
        };
        let wanted = if which == "faulty" { twin.fault } else { "no accusation" };
        right.then_some(()).ok_or_else(|| format!("{} ({which}): {wanted} was expected: {run}", twin.file))
    }

    /// What `lab run` says of one case; none, said aloud, where the lab cannot run.
    fn lab(&self, case: &str, side: &str, command: &str, more: &[&str]) -> Option<Value> {
        let side = format!("--{side}");
        let output = self.finish(&[&["run", case, "--format", "json", &side, command], more].concat());
        let stdout = text(&output.stdout);
        let value: Value = serde_json::from_str(&stdout)
            .unwrap_or_else(|error| panic!("{case} {command}: {error}: {stdout} {}", text(&output.stderr)));
        let runs = value["runs"].as_array().expect("runs");
        runs.iter().find(|run| run["scenario"] == case).cloned()
    }

    fn finish(&self, arguments: &[&str]) -> Output {
        let mut command = program();
        command.arg("lab").args(arguments);
        if let Some(user) = self.user {
            command.uid(user).gid(user).current_dir("/");
        }
        run_to_end(&mut command, None, LIMIT)
    }

    /// The beginning of the command line of a twin, compiled if need be; none, said aloud, where it cannot be.
    fn command(&self, file: &str) -> Option<String> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/twins").join(file);
        let source = source.to_str().expect("UTF-8");
        let (stem, language) = file.split_once('.').expect("a language");
        let made = self.scratch.path(stem);
        let compiler = match language {
            // The system's own, which everybody may start.
            "py" if Path::new("/usr/bin/python3").exists() => "/usr/bin/python3",
            "py" => "python3",
            "c" => "cc",
            _ => "rustc",
        };
        let found = Command::new(compiler).arg("--version").output();
        if !found.is_ok_and(|found| found.status.success()) {
            skip(file, &format!("there is no {compiler}"));
            return None;
        }
        let arguments: &[&str] = match language {
            "py" => {
                std::fs::copy(source, &made).expect("a copy");
                return Some(format!("{compiler} {made}"));
            }
            "c" => &["-O1", "-Wall", "-Wextra", "-Werror", "-o", &made, source],
            _ => &["--edition", "2024", "-D", "warnings", "-o", &made, source],
        };
        let output = Command::new(compiler).args(arguments).output().expect("a compiler");
        assert!(output.status.success(), "{file}: {}", text(&output.stderr));
        Some(made)
    }
}

fn words(run: &Value, bad: bool) -> Vec<&str> {
    let verdicts = run["verdicts"].as_array().expect("verdicts").iter();
    let chosen = verdicts.filter(|verdict| !bad || verdict["bad"] == true);
    chosen.map(|verdict| verdict["word"].as_str().expect("a word")).collect()
}
