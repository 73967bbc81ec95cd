//! The log of `load --hlog` (row S7) as strangers read it: a reader written from the format's description alone, and
//! HdrHistogram's own for Python where it is installed. And logs of versions that knew less are still read.

mod harness;

use harness::{PATIENCE, Scratch, Server, number, program, run_to_end, skip, text};
use serde_json::Value;
use std::process::Command;

/// Interval logs with histograms V2, as HistogramLogWriter and the encoding are described in HdrHistogram's Java sources:
/// no line of it knows of us, or of the crate that we write with. It prints one JSON object.
const READER: &str = r#"
import base64, json, math, struct, sys, zlib

def leb128(data, at):
    # LEB128 with nine bytes at most: the ninth has eight bits. Then ZigZag.
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        if shift == 56:
            value |= byte << shift
            break
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    return (value >> 1) ^ -(value & 1), at

def histogram(word):
    packed = base64.b64decode(word, validate=True)
    cookie, length = struct.unpack('>ii', packed[:8])
    assert cookie == 0x1c849314 and length == len(packed) - 8, (hex(cookie), length)
    data = zlib.decompress(packed[8:])
    cookie, length, offset, digits, low, high, ratio = struct.unpack('>iiiiqqd', data[:40])
    assert (cookie, offset, ratio) == (0x1c849313, 0, 1.0) and length == len(data) - 40, data[:40]
    magnitude = max(math.ceil(math.log2(2 * 10 ** digits)) - 1, 0)
    half, unit = 1 << magnitude, int(math.log2(low))
    at, index, counts = 40, 0, {}
    while at < len(data):
        count, at = leb128(data, at)
        if count < 0:
            index -= count
            continue
        bucket, sub = (index >> magnitude) - 1, (index & (half - 1)) + half
        if bucket < 0:
            bucket, sub = 0, sub - half
        width = 1 << (bucket + unit)
        if count:
            # The highest value that is not told apart from it.
            counts[sub * width + width - 1] = count
        index += 1
    return counts

start, base, all = None, None, {}
for line in open(sys.argv[1]):
    line = line.rstrip('\n')
    if line.startswith('#[StartTime: '):
        start = float(line.split()[1])
    elif line.startswith('#[BaseTime: '):
        base = float(line.split()[1])
    elif not line.startswith(('#', '"')):
        words = line.split(',')
        tag = words.pop(0)[4:] if line.startswith('Tag=') else ''
        begin, length, most, word = words
        one = all.setdefault(tag, {'counts': {}, 'intervals': []})
        counts = histogram(word)
        for value, count in counts.items():
            one['counts'][value] = one['counts'].get(value, 0) + count
        one['intervals'].append([base + float(begin), float(length), float(most), max(counts, default=0)])

def told(counts):
    total = sum(counts.values())
    def at(quantile):
        left = max(math.ceil(quantile * total), 1)
        for value in sorted(counts):
            left -= counts[value]
            if left <= 0:
                return value
    if not total:
        return {'count': 0}
    return {'count': total, 'p50': at(.5), 'p99': at(.99), 'p99.9': at(.999), 'max': max(counts)}

out = {tag: dict(told(one['counts']), intervals=one['intervals']) for tag, one in all.items()}

# HdrHistogram's own reader must say the same. It rounds the rank of a percentile where the Java one takes the next
# whole answer, so it is asked for the percentage of just that answer.
try:
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogReader
except ImportError:
    out['hdrh'] = None
else:
    out['hdrh'] = {}
    for tag in all:
        sum_of, intervals = HdrHistogram(1, 3600000000000, 3), []
        reader = HistogramLogReader(sys.argv[1], HdrHistogram(1, 3600000000000, 3))
        while True:
            one = reader.get_next_interval_histogram()
            if one is None:
                break
            if (one.get_tag() or '') == tag:
                sum_of.add(one)
                intervals.append(one.get_start_time_stamp() / 1000)
        total = sum_of.get_total_count()
        at = lambda quantile: sum_of.get_value_at_percentile(100 * math.ceil(quantile * total) / total)
        theirs = {'count': total, 'intervals': intervals}
        if total:
            theirs.update({'p50': at(.5), 'p99': at(.99), 'p99.9': at(.999), 'max': sum_of.get_max_value()})
        out['hdrh'][tag] = theirs
out['start'] = start
print(json.dumps(out))
"#;

/// `switchboard load ARGUMENTS` that must succeed: its JSON.
fn load(arguments: &[&str]) -> Value {
    let words = [arguments, &["--format", "json"]].concat();
    let output = run_to_end(program().arg("load").args(words), None, PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A run of some slices, and its log.
fn measured(scratch: &Scratch) -> (Value, String) {
    let server = Server::start(&["echo", "--listen", "127.0.0.1:0"]);
    let log = scratch.path("run.hlog");
    let shape = ["-c", "3", "-d", "600ms", "--warm-up", "60ms", "--ramp", "40ms", "--interval", "150ms"];
    let endpoint = server.endpoint();
    let facts = load(&[&[endpoint.as_str(), "--rate", "900", "-q", "--hlog", &log], &shape[..]].concat());
    (facts, log)
}

fn near(one: &Value, other: f64, by: f64) -> bool {
    one.as_f64().is_some_and(|one| (one - other).abs() <= by)
}

#[test]
fn strangers_read_the_same_times_and_counts() {
    let scratch = Scratch::new();
    let (facts, log) = measured(&scratch);
    let Ok(output) = Command::new("python3").args(["-c", READER, &log]).output() else {
        return skip("a log of histograms read by others", "there is no python3");
    };
    assert!(output.status.success(), "{}", text(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    if read["hdrh"].is_null() {
        skip("a log read by HdrHistogram's own reader", "python3 has no hdrh (pip install hdrhistogram)");
    }
    let plan = &facts["plan"];
    let begins_s =
        ["began_unix_ns", "ramp_ns", "warm_up_ns"].iter().map(|name| number(plan, name)).sum::<u64>() as f64
            / 1e9;
    // The format has milliseconds.
    assert!(near(&read["start"], begins_s, 0.001), "{begins_s}: {}", read["start"]);
    for (tag, name) in [
        ("", "latency_since_due_ns"),
        ("since_sent", "latency_since_sent_ns"),
        ("first_byte", "first_byte_ns"),
    ] {
        let (theirs, ours) = (&read[tag], &facts[name]);
        let readers = [Some(theirs), read["hdrh"].get(tag)];
        for reader in readers.into_iter().flatten() {
            for value in ["count", "p50", "p99", "p99.9", "max"] {
                assert_eq!(number(reader, value), number(ours, value), "{tag} {value}: {reader} {ours}");
            }
        }
        // Slices are 150 ms long, one after the other; one without an answer has no histogram.
        let mut before = 0;
        for (index, interval) in theirs["intervals"].as_array().expect("intervals").iter().enumerate() {
            let slice = ((interval[0].as_f64().expect("a time") - begins_s) / 0.15).round();
            let starts_s = begins_s + 0.15 * slice;
            assert!(near(&interval[0], starts_s, 0.002), "{starts_s}: {interval}");
            assert!(slice as i64 >= before, "in their order: {theirs}");
            before = slice as i64 + 1;
            let most_ns = interval[3].as_f64().expect("a number");
            assert!(near(&interval[2], most_ns / 1e6, 0.001), "the column of the maximum: {interval}");
            if let Some(reader) = read["hdrh"].get(tag) {
                assert!(near(&reader["intervals"][index], starts_s, 0.002), "{starts_s}: {reader}");
            }
        }
    }
}

#[test]
fn logs_of_versions_that_knew_fewer_errors_are_read() {
    let scratch = Scratch::new();
    let (facts, log) = measured(&scratch);
    let written = std::fs::read_to_string(&log).expect("a log");
    // Errors stood in an order once, before there was TLS; and nobody counted sessions.
    let old: String = written.lines().map(|line| older(line) + "\n").collect();
    assert!(old.contains(r#""errors":[0,0,0,0,0,0,0,0]"#) && !old.contains("resumed"), "{old}");
    let place = scratch.path("old.hlog");
    std::fs::write(&place, old).expect("a scratch file");
    let merged = load(&["merge", &place]);
    for name in ["answers", "offered", "errors", "latency_since_due_ns", "handshakes_resumed"] {
        assert_eq!(merged[name], facts[name], "{name}");
    }
}

/// The line as it was written before TLS came.
fn older(line: &str) -> String {
    let comment = |head: &str| line.strip_prefix(head).and_then(|rest| rest.strip_suffix(']'));
    let (head, drops) = match comment("#[switchboard.load ") {
        Some(_) => ("#[switchboard.load ", &["tls"][..]),
        None => ("#[switchboard.slice ", &["tls_failure", "resumed"][..]),
    };
    let Some(json) = comment(head) else { return line.to_owned() };
    let mut value: Value = serde_json::from_str(json).expect("JSON");
    let object = value.as_object_mut().expect("an object");
    drops.iter().for_each(|name| assert!(object.remove(*name).is_some(), "{name}"));
    if let Some(errors) = object.get_mut("errors") {
        let kinds = ["refused", "reset", "closed", "timeout", "wrong_content", "exhausted", "lost", "other"];
        *errors = kinds.iter().map(|kind| errors[kind].clone()).collect();
    }
    format!("{head}{value}]")
}
