//! Moving from inetd and xinetd: what their files become, that `check` accepts it and it means the same, and what is
//! said about every construct that was ambiguous or a bug. Row S14.
//!
//! The samples are in `tests/migration`, each with what becomes of it beside it:
//! `SWITCHBOARD_BLESS=1 cargo test -p switchboard --test migration` writes that anew.

mod harness;

use harness::{Scratch, program, text};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

/// A file, whose it is, how it is converted, and the exit code.
const SAMPLES: [(&str, &str, &[&str], i32); 9] = [
    ("debian.conf", "openbsd", &[], 0),
    ("debian.conf", "openbsd", &["--compat"], 0),
    ("freebsd.conf", "freebsd", &[], 0),
    ("netbsd.conf", "netbsd", &[], 0),
    ("gnu.conf", "gnu", &[], 0),
    ("xinetd.conf", "xinetd", &[], 0),
    ("xinetd.conf", "xinetd", &["--compat"], 0),
    ("mistakes.inetd", "openbsd", &[], 78),
    ("mistakes.xinetd", "xinetd", &[], 78),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/migration")
}

fn run(arguments: &[&str], file: &Path) -> Output {
    program().args(arguments).arg(file).current_dir(folder()).output().expect("the program runs")
}

/// The values in force, without the places where they were written.
fn effective(arguments: &[&str], file: &Path) -> Value {
    let output = run(&[&["check", "--explain", "--format", "json"], arguments].concat(), file);
    assert_eq!(output.status.code(), Some(0), "{arguments:?} {}: {}", file.display(), text(&output.stdout));
    let mut told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    forget_places(&mut told);
    told
}

fn forget_places(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("at");
            map.values_mut().for_each(forget_places);
        }
        Value::Array(list) => list.iter_mut().for_each(forget_places),
        _ => {}
    }
}

#[test]
fn samples_become_configurations_that_mean_the_same() {
    let bless = std::env::var_os("SWITCHBOARD_BLESS").is_some();
    let scratch = Scratch::new();
    for (file, from, more, code) in SAMPLES {
        let output = run(&[&["convert", "--from", from], more].concat(), Path::new(file));
        let (toml, said) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{file} {more:?}: {said}");
        let told = folder().join(format!("{file}{}.toml", more.concat()));
        if bless {
            fs::write(&told, &toml).expect("the sample is written");
        }
        let expected = fs::read_to_string(&told).unwrap_or_default();
        assert!(toml == expected, "{} is out of date: SWITCHBOARD_BLESS=1 writes it anew", told.display());
        // Every note in the file is also said.
        for id in toml.lines().filter_map(|line| line.strip_prefix('#')?.strip_suffix(']')?.rsplit_once('['))
        {
            assert!(said.contains(&format!("[{}]", id.1)), "{file}: {} is not said", id.1);
        }
        if code == 0 {
            let converted = scratch.0.join("converted.toml");
            fs::write(&converted, &toml).expect("a scratch file");
            let direct = effective(&[&["--from", from], more].concat(), Path::new(file));
            assert_eq!(direct, effective(&[], &converted), "{file} {more:?}");
        }
    }
}

#[test]
fn mistakes_are_shown_all_at_once_each_in_its_place() {
    let output = run(&["check", "--from", "openbsd"], Path::new("mistakes.inetd"));
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(78), ""));
    let said = text(&output.stderr);
    for line in [1, 2, 3, 4, 5, 6, 7, 8] {
        assert!(said.contains(&format!("mistakes.inetd:{line}:")), "line {line} is missing: {said}");
    }
    assert!(!said.contains("mistakes.inetd:9:"), "{said}");
    let output = run(&["check"], Path::new("mistakes.xinetd"));
    let said = text(&output.stderr);
    for id in ["unknown", "words", "operator", "address", "line", "entry"] {
        assert!(said.contains(&format!("[xinetd-{id}]")), "{id} is missing: {said}");
    }
    assert!(said.contains("did you mean `server_args`?"), "{said}");
}

#[test]
fn compat_leaves_out_what_the_old_daemon_left_out() {
    let output = run(&["check", "--compat", "--format", "json"], Path::new("mistakes.inetd"));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &told["services"]), (Some(0), &serde_json::json!(["2106", "2109"])));
    let output = run(&["check", "--compat", "--format", "json"], Path::new("mistakes.xinetd"));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &told["services"]), (Some(0), &serde_json::json!(["a"])));
}

#[test]
fn whose_a_file_is_can_be_seen_and_is_said() {
    let cases = [
        ("debian.conf", "Debian"),
        ("freebsd.conf", "FreeBSD"),
        ("netbsd.conf", "NetBSD"),
        ("gnu.conf", "GNU"),
        ("xinetd.conf", "xinetd"),
    ];
    for (file, name) in cases {
        let said = text(&run(&["convert"], Path::new(file)).stderr);
        let first = said.lines().next().unwrap_or_default();
        assert!(first.contains("read as") && first.contains(name), "{file}: {first}");
        assert!(!text(&run(&["convert", "--quiet"], Path::new(file)).stderr).contains("read as"), "{file}");
    }
    let scratch = Scratch::new();
    let file = scratch.0.join("poem");
    fs::write(&file, "Tyger Tyger, burning bright,\nIn the forests of the night;\n").expect("a scratch file");
    let output = run(&["convert"], &file);
    assert_eq!(output.status.code(), Some(78));
    assert!(
        text(&output.stderr).contains("neither a file of inetd nor of xinetd"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(run(&["convert"], &scratch.0.join("nothing")).status.code(), Some(78));
}
