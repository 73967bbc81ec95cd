//! What `load` writes (row S7): the log of histograms as other programs read it, CSV, JSON as its schema promises; and
//! that parts of a run, merged, are the run.

mod harness;

use harness::{Scratch, Server, has_answers, number, run_load, text};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;

fn echo() -> Server {
    Server::start(&["echo", "--listen", "127.0.0.1:0"])
}

/// `switchboard load ARGUMENTS`, which must end with this code: standard output and standard error. Where it must go well
/// there are answers.
fn load(arguments: &[&str], code: i32) -> (String, String) {
    let output = run_load(arguments, |output| code != 0 || has_answers(output));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// All histograms of a log with this tag, added, as anybody reads them who knows nothing of us.
fn read_log(path: &str, tag: Option<&str>) -> (Histogram<u64>, usize) {
    use base64::Engine;
    let log = std::fs::read(path).expect("a log");
    let mut sum = Histogram::<u64>::new(3).expect("three digits");
    let (mut intervals, mut has_start) = (0, false);
    for entry in IntervalLogIterator::new(&log) {
        match entry.expect("a line of the format") {
            LogEntry::StartTime(_) => has_start = true,
            LogEntry::BaseTime(_) => {}
            LogEntry::Interval(interval) if interval.tag().map(|tag| tag.as_str()) == tag => {
                let bytes = base64::prelude::BASE64_STANDARD.decode(interval.encoded_histogram());
                let read: Histogram<u64> =
                    Deserializer::new().deserialize(&mut &bytes.expect("base64")[..]).expect("a histogram");
                sum.add(&read).expect("room for it");
                intervals += 1;
            }
            LogEntry::Interval(_) => {}
        }
    }
    assert!(has_start);
    (sum, intervals)
}

#[test]
fn the_log_is_read_by_others_and_holds_every_answer() {
    let (server, scratch) = (echo(), Scratch::new());
    let (log, csv) = (scratch.path("run.hlog"), scratch.path("run.csv"));
    let endpoint = server.endpoint();
    let shape = ["-c", "2", "-d", "600ms", "--warm-up", "0s", "--interval", "100ms", "--rate", "500"];
    let files = ["--hlog", log.as_str(), "--csv", csv.as_str(), "--format", "json"];
    let (out, progress) = load(&[&[endpoint.as_str()], &shape[..], &files].concat(), 0);
    let facts = json(&out);
    assert!(progress.lines().any(|line| line.contains("p99.9")), "a line for a slice: {progress}");
    let csv = std::fs::read_to_string(&csv).expect("a table");
    let mut rows = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = rows.next().expect("a head");
    let rows: Vec<_> = rows.collect();
    assert!(rows.iter().all(|row| row.len() == head.len()), "{csv}");
    let column = |name: &str| {
        let column = head.iter().position(|head| *head == name).expect("a column");
        rows.iter().map(move |row| row[column].parse::<u64>().expect("a number"))
    };
    for name in ["answers", "offered", "started", "unsent", "bytes_up", "bytes_down"] {
        assert_eq!(column(name).sum::<u64>(), number(&facts, name), "{name}: {facts}");
    }
    let answered = column("answers").filter(|answers| *answers > 0).count();
    for (tag, name) in [(None, "latency_since_due_ns"), (Some("since_sent"), "latency_since_sent_ns")] {
        let (times, intervals) = read_log(&log, tag);
        // A busy machine may leave some unsent; those were due, too.
        let unsent = if tag.is_none() { number(&facts, "unsent") } else { 0 };
        assert_eq!(times.len(), number(&facts, "answers") + unsent, "{facts}");
        // Six slices; one in which nothing was answered has no second histogram.
        assert_eq!(intervals, if tag.is_none() { 6 } else { answered }, "{facts}");
        assert_eq!(times.max(), number(&facts[name], "max"), "{facts}");
        assert_eq!(times.value_at_quantile(0.99), number(&facts[name], "p99"), "{facts}");
    }
}

#[test]
fn merged_parts_are_the_union() {
    let (server, scratch) = (echo(), Scratch::new());
    let endpoint = server.endpoint();
    let log = |name: &str| scratch.path(&format!("{name}.hlog"));
    let part = |shard: &str, name: &str| {
        let shape =
            ["-c", "5", "--rate", "400", "-d", "500ms", "--warm-up", "0s", "--interval", "100ms", "-q"];
        let (log, shard) = (log(name), ["--shard", shard, "--format", "json", "--hlog"]);
        json(&load(&[&[endpoint.as_str()], &shape[..], &shard, &[log.as_str()]].concat(), 0).0)
    };
    let parts = [part("1/3", "1"), part("2/3", "2"), part("3/3", "3")];
    let (one, two, three, whole) = (log("1"), log("2"), log("3"), log("whole"));
    let merged = ["merge", &one, &three, &two, "-o", &whole, "--format", "json"];
    let facts = json(&load(&merged, 0).0);
    for name in ["answers", "offered", "started", "answers_in_time", "unfinished", "unsent"] {
        let sum: u64 = parts.iter().map(|part| number(part, name)).sum();
        assert_eq!(number(&facts, name), sum, "{name}: {facts}");
    }
    assert_eq!(number(&facts, "offered"), 200, "the shards share the rate out: {facts}");
    // The histogram of the union, not an average: made here from the parts' logs by the format alone.
    let mut union = Histogram::<u64>::new(3).expect("three digits");
    for part in [&one, &two, &three] {
        union.add(read_log(part, None).0).expect("room for it");
    }
    for (log, what) in [(read_log(&whole, None).0, "the merged log"), (union, "the union")] {
        for (name, at) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
            assert_eq!(
                number(&facts["latency_since_due_ns"], name),
                log.value_at_quantile(at),
                "{what}, {name}"
            );
        }
    }
    // Merged again it is the same; and what is merged is a whole.
    assert_eq!(
        json(&load(&["merge", &whole, "--format", "json"], 0).0)["latency_since_due_ns"],
        facts["latency_since_due_ns"]
    );
    for (arguments, part) in [
        (vec!["merge", one.as_str(), &two], "of 3 shards these are missing: 3"),
        (vec!["merge", &one, &two, &two, &three], "are both shard 2/3"),
        (vec!["merge", &whole, &one], "not of one plan"),
        (vec!["merge", &one, "/dev/null"], "/dev/null: it is no log of"),
    ] {
        let (_, said) = load(&arguments, 1);
        assert!(said.contains(part), "{said}");
    }
    let (_, said) = load(&["merge", &one, &two, "--allow-missing"], 0);
    assert!(said.contains("this is not the whole: of the shards these are missing: 3"), "{said}");
}

/// What is added without being of one run looks like a result, too.
#[test]
fn parts_that_may_not_be_of_one_run_are_doubted() {
    let (one, other, udp) = (echo(), echo(), Server::start(&["echo", "--listen", "udp:127.0.0.1:0"]));
    let scratch = Scratch::new();
    let part = |server: &Server, shard: &str, duration: &str, more: &[&str]| {
        let log = scratch.path("part.hlog");
        let name =
            scratch.path(&format!("{}.hlog", std::fs::read_dir(scratch.path("")).map_or(0, Iterator::count)));
        let shape = ["-c", "2", "--warm-up", "0s", "-q", "--shard", shard, "-d", duration, "--hlog", &log];
        load(&[&[server.endpoint().as_str()], &shape[..], more].concat(), 0);
        std::fs::rename(log, &name).expect("a scratch file");
        name
    };
    // Some time later: longer than a tenth of its duration.
    let (first, second) = (part(&one, "1/2", "600ms", &[]), part(&other, "2/2", "600ms", &[]));
    let (_, said) = load(&["merge", &first, &second], 0);
    for doubt in ["is told is right only if these are one server", "apart: their rates are added as if"] {
        assert!(said.contains(doubt), "{doubt}: {said}");
    }
    for (part, what) in [
        (part(&other, "2/2", "700ms", &[]), "duration 600ms and 700ms"),
        (part(&other, "2/2", "600ms", &["--rate", "50"]), "rate none and 50/s"),
        (part(&other, "2/2", "600ms", &["--workload", "connect"]), "workload ping and connect"),
        (part(&udp, "2/2", "600ms", &[]), "transport tcp and udp"),
    ] {
        let (_, said) = load(&["merge", &first, &part], 1);
        assert!(said.contains("are not of one plan") && said.contains(what), "{what}: {said}");
    }
    // Who comes too late for a common begin says so; the others do not know.
    let words = ["--start-at", "@1", "-d", "50ms", "--warm-up", "0s"];
    let (_, said) = load(&[&[one.endpoint().as_str()], &words[..]].concat(), 0);
    assert!(said.contains("--start-at was ") && said.contains(" ago: this begins now"), "{said}");
}

#[test]
fn results_go_where_they_are_to_or_it_is_said() {
    let (server, scratch) = (echo(), Scratch::new());
    let (log, other) = (scratch.path("run.hlog"), scratch.path("link"));
    let endpoint = server.endpoint();
    let shape = [endpoint.as_str(), "-d", "50ms", "--warm-up", "0s", "-q"];
    load(&[&shape[..], &["--hlog", &log]].concat(), 0);
    let written = std::fs::read(&log).expect("a log");
    std::fs::hard_link(&log, &other).expect("a scratch file");
    for (words, code, part) in [
        (vec!["--hlog", "-"], 2, "standard output has the result"),
        (vec!["--csv", "-"], 2, "standard output has the result"),
        (vec!["--hlog", &log, "--csv", &other], 2, "each needs a file of its own"),
        (vec!["--hlog", "/dev/full"], 10, "cannot write /dev/full: No space left"),
        (vec!["--csv", "/none/x"], 10, "cannot write /none/x: No such file"),
        // Said before it is waited for.
        (vec!["--csv", "/none/x", "--start-at", "@9999999999"], 10, "cannot write /none/x: No such file"),
    ] {
        let (_, said) = load(&[&shape[..], &words].concat(), code);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(part), "{words:?}: {said}");
    }
    for (words, code, part) in [
        (vec!["merge", &log, "-o", &other], 2, "is one of the parts: that would be lost"),
        (vec!["merge", &log, "-o", "-"], 2, "standard output has the result"),
        (vec!["merge", &log, "-o", "/dev/full"], 10, "No space left"),
        (vec!["report", &log, "-o", &other], 2, "is one of the runs: that would be lost"),
        (vec!["report", &log, "-o", "/dev/full"], 10, "No space left"),
    ] {
        let (_, said) = load(&words, code);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(part), "{words:?}: {said}");
    }
    assert_eq!(std::fs::read(&log).expect("a log"), written, "nothing was written over it");
    let (page, said) = load(&["report", &log, "-o", "-"], 0);
    assert!(page.starts_with("<!DOCTYPE html>") && said.is_empty(), "{said}");
}

#[test]
fn a_log_that_is_cut_off_or_none_is_refused() {
    let (server, scratch) = (echo(), Scratch::new());
    let log = scratch.path("run.hlog");
    load(&[&server.endpoint(), "-d", "50ms", "--warm-up", "0s", "--hlog", &log, "-q"], 0);
    let text = std::fs::read_to_string(&log).expect("a log");
    let end = text.find("#[switchboard.end").expect("an end");
    for (damaged, part) in [
        (&text[..end], "its end is missing"),
        (&text[..end - 9], "its end is missing"),
        (&text[..text.len() - 9], "its end is missing"),
        ("hello\n", "it is no log of"),
        ("\0\u{1}", "it is no log of"),
        (&text.replace("HISTFAAA", "HASTFAAA"), "histogram"),
        (&text.replace("\"index\":0", "\"index\":zero"), "line "),
    ] {
        std::fs::write(&log, damaged).expect("a scratch file");
        let (_, said) = load(&["merge", &log], 1);
        assert!(said.contains(part) && said.contains("run.hlog"), "{part}: {said}");
    }
}

#[test]
fn the_report_is_one_page_that_fetches_and_runs_nothing() {
    let (server, scratch) = (echo(), Scratch::new());
    let (one, two, page, folder) = (
        scratch.path("one.hlog"),
        scratch.path("two.hlog"),
        scratch.path("page.html"),
        scratch.path("figures"),
    );
    let shape = ["-d", "300ms", "--warm-up", "0s", "--interval", "100ms", "-q", "-c", "2", "--hlog"];
    let endpoint = server.endpoint();
    load(&[&[endpoint.as_str()], &shape[..], &[one.as_str(), "--rate", "300"]].concat(), 0);
    load(&[&[endpoint.as_str()], &shape[..], &[two.as_str()]].concat(), 0);
    let named = format!("<b>&two=\"{two}");
    let words = ["report", &one, &named, "-o", &page, "--svg", &folder];
    let (_, said) = load(&words, 1);
    assert!(said.contains("two"), "a file that is not there is said: {said}");
    let named = format!("<b>&two={two}");
    load(&["report", &one, &named, "-o", &page, "--svg", &folder], 0);
    let page = std::fs::read_to_string(&page).expect("a page");
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    let foreign = page.replace("http://www.w3.org/2000/svg", "");
    for word in ["://", "@import", "url(", "<img", "<link", "<script>", "<b>&two", "onload"] {
        assert!(!foreign.contains(word), "{word}");
    }
    assert_eq!(page.matches("<svg ").count(), 4, "percentiles, throughput, two maps");
    for part in [
        "p99.999",
        "&lt;b&gt;&amp;two",
        "prefers-color-scheme: dark",
        "load tcp:127.0.0.1",
        "Linux ",
        "300/s",
    ] {
        assert!(page.contains(part), "{part}");
    }
    // Bytes of streams and answers have no axis in common: a figure for each, without the others' names.
    let three = scratch.path("three.hlog");
    load(&[&[endpoint.as_str()], &shape[..], &[three.as_str(), "--workload", "stream"]].concat(), 0);
    let both = scratch.path("both.html");
    load(&["report", &one, &format!("flow={three}"), "-o", &both], 0);
    let both = std::fs::read_to_string(&both).expect("a page");
    let figure = |id: &str| {
        let begin = both.split(&format!("<figure id=\"{id}\">")).nth(1).expect("such a figure");
        begin.split("</figure>").next().expect("its end")
    };
    assert!(figure("bytes").contains(">flow</text>") && !figure("bytes").contains(">one</text>"));
    assert!(figure("throughput").contains(">one</text>") && !figure("throughput").contains(">flow</text>"));
    // What programs want to know is in it, as the schema has it.
    let data = page.split("<script type=\"application/json\" id=\"run-2\">").nth(1).expect("the numbers");
    assert_eq!(json(data.split("</script>").next().expect("its end"))["schema"], "switchboard.load");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .expect("a folder")
        .flatten()
        .map(|entry| entry.file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(names, ["latency-1.svg", "latency-2.svg", "percentiles.svg", "throughput.svg"]);
    for name in names {
        let svg = std::fs::read_to_string(format!("{folder}/{name}")).expect("a figure");
        assert!(svg.starts_with("<svg ") && svg.contains("<style>") && svg.ends_with("</svg>\n"), "{name}");
        assert_eq!(svg.matches("<title>").count(), svg.matches("</title>").count(), "{name}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}");
    }
}

#[test]
fn json_is_what_its_schema_promises() {
    let schema = json(&load(&["schema"], 0).0);
    let (server, sum) = (echo(), Server::start(&["sum", "--listen", "127.0.0.1:0"]));
    let (server, sum) = (server.endpoint(), sum.endpoint());
    let shape = ["-d", "100ms", "--warm-up", "0s", "--format", "json"];
    for (endpoint, more) in [
        (&server, &["--rate", "100"][..]),
        (&server, &["--workload", "stream"]),
        (&server, &["--workload", "connect", "--size", "0"]),
        (&server, &["--workload", "idle", "-c", "3"]),
        (&sum, &["--workload", "sum", "--depth", "3"]),
    ] {
        let facts = json(&load(&[&[endpoint.as_str()], &shape[..], more].concat(), 0).0);
        let mut problems = Vec::new();
        validate(&facts, &schema, &schema, "$", &mut problems);
        assert!(problems.is_empty(), "{more:?}: {problems:?}: {facts}");
        // What is damaged is found.
        for damage in ["/answers", "/errors/reset", "/generator/saturated", "/plan/machine/kernel"] {
            let mut damaged = facts.clone();
            *damaged.pointer_mut(damage).expect("a field") = Value::Bool(true);
            validate(&damaged, &schema, &schema, "$", &mut problems);
            assert_eq!(problems.len(), 1, "{damage}: {problems:?}");
            problems.clear();
        }
    }
}

/// The part of JSON Schema (draft 2020-12) that the shipped schema uses; a keyword that is not known here is an error.
fn validate(value: &Value, schema: &Value, root: &Value, at: &str, problems: &mut Vec<String>) {
    let mut wrong = |what: String| problems.push(format!("{at}: {what}"));
    for (keyword, wanted) in schema.as_object().expect("a schema is an object") {
        let strings = || wanted.as_array().into_iter().flatten().filter_map(Value::as_str);
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" => {}
            "$ref" => {
                let pointer =
                    wanted.as_str().and_then(|text| text.strip_prefix('#')).expect("within the schema");
                validate(value, root.pointer(pointer).expect("it is there"), root, at, problems);
                return;
            }
            "const" => {
                if value != wanted {
                    wrong(format!("{value} is not {wanted}"));
                }
            }
            "enum" => {
                if !wanted.as_array().is_some_and(|all| all.contains(value)) {
                    wrong(format!("{value} is none of {wanted}"));
                }
            }
            "type" => {
                let is = |name: &str| match name {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "number" => value.is_number(),
                    "null" => value.is_null(),
                    other => panic!("type {other}"),
                };
                if !wanted.as_str().map_or_else(|| strings().any(is), is) {
                    wrong(format!("{value} is not {wanted}"));
                }
            }
            "minimum" => {
                if value.as_f64().is_some_and(|n| n < wanted.as_f64().expect("a number")) {
                    wrong(format!("{value} is less than {wanted}"));
                }
            }
            "required" => {
                if let Some(object) = value.as_object() {
                    strings()
                        .filter(|name| !object.contains_key(*name))
                        .for_each(|name| wrong(format!("no {name}")));
                }
            }
            "additionalProperties" => {
                assert_eq!(wanted, &Value::Bool(false));
                for name in value.as_object().into_iter().flat_map(|object| object.keys()) {
                    if schema["properties"].get(name).is_none() {
                        wrong(format!("{name} is not in the schema"));
                    }
                }
            }
            "properties" | "items" => {}
            other => panic!("keyword {other}"),
        }
    }
    if let (Some(object), Some(properties)) = (value.as_object(), schema.get("properties")) {
        for (name, value) in object {
            if let Some(schema) = properties.get(name) {
                validate(value, schema, root, &format!("{at}.{name}"), problems);
            }
        }
    }
    if let (Some(array), Some(schema)) = (value.as_array(), schema.get("items")) {
        array.iter().for_each(|value| validate(value, schema, root, at, problems));
    }
}
