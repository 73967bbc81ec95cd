//! `.hlog`: a run in a file, as an interval log of HdrHistogram (format 1.3, histograms V2 with deflate).
//!
//! Every program that reads such logs can read it: the latency that counts has no tag, the other times have the tags
//! `since_sent`, `first_byte`, `connect` and `handshake`. Values are in nanoseconds, and the column of the interval's maximum is in
//! milliseconds. What the format has no place for stands in comments: `#[switchboard.load {…}]` at the beginning,
//! `#[switchboard.slice {…}]` behind the histograms of each slice, `#[switchboard.end {…}]` at the end. A log without
//! its end is of a run that was killed.

use super::record::{Counts, End, Facts, Record};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};
use switchboard_net::load::{Slice, Tally, times};

/// Longest file that is read.
const MOST_BYTES: u64 = 1 << 30;
/// Nanoseconds are shown as milliseconds in the column of the maximum.
const MAX_DIVISOR: f64 = 1e6;

const NO_LOG: &str = "it is no log of `switchboard load --hlog`";

const LOAD: &str = "#[switchboard.load ";
const SLICE: &str = "#[switchboard.slice ";
const END: &str = "#[switchboard.end ";

/// Writes a log while the run goes on.
pub(super) struct Log {
    out: BufWriter<File>,
    is_open_loop: bool,
    serializer: V2DeflateSerializer,
}

impl Log {
    pub(super) fn begin(file: File, facts: &Facts) -> io::Result<Log> {
        let mut log = Log {
            out: BufWriter::new(file),
            is_open_loop: facts.is_open_loop(),
            serializer: V2DeflateSerializer::new(),
        };
        // Slices count from when the measuring began.
        let warm_up_ns = facts.ramp_ns.saturating_add(facts.warm_up_ns);
        let start = UNIX_EPOCH + Duration::from_nanos(facts.began_unix_ns.saturating_add(warm_up_ns));
        let mut builder = IntervalLogWriterBuilder::new();
        builder.with_start_time(start).with_base_time(start).with_max_value_divisor(MAX_DIVISOR);
        builder.add_comment("[Histogram log format version 1.3]");
        builder.begin_log_with(&mut log.out, &mut log.serializer)?;
        log.comment(LOAD, facts)?;
        log.out.flush()?;
        Ok(log)
    }

    /// Adds a slice. The file is whole up to it when this returns.
    pub(super) fn slice(&mut self, slice: &Slice) -> io::Result<()> {
        let tally = &slice.tally;
        let (first, sent) =
            if self.is_open_loop { (&tally.response, Some(&tally.service)) } else { (&tally.service, None) };
        let all = [
            (None, Some(first)),
            (Some("since_sent"), sent),
            (Some("first_byte"), Some(&tally.first_byte)),
            (Some("connect"), Some(&tally.connect)),
            (Some("handshake"), Some(&tally.handshake)),
        ];
        let duration = Duration::from_nanos(tally.measured_ns);
        // Written without the crate's writer, which writes its header anew with every `begin_log_with`.
        let mut lines = Vec::new();
        for (tag, histogram) in all {
            let Some(histogram) = histogram.filter(|histogram| !histogram.is_empty() || tag.is_none()) else {
                continue;
            };
            let mut builder = IntervalLogWriterBuilder::new();
            builder.with_max_value_divisor(MAX_DIVISOR);
            let mut part = Vec::new();
            let mut writer = builder.begin_log_with(&mut part, &mut self.serializer)?;
            writer
                .write_histogram(histogram, slice.begin, duration, tag.and_then(Tag::new))
                .map_err(|error| io::Error::other(format!("{error:?}")))?;
            let text = String::from_utf8_lossy(&part).into_owned();
            lines.extend(text.lines().filter(|line| !line.starts_with(['#', '"'])).map(str::to_owned));
        }
        for line in lines {
            writeln!(self.out, "{line}")?;
        }
        self.comment(SLICE, &Counts::of(slice))?;
        self.out.flush()
    }

    pub(super) fn end(mut self, end: &End) -> io::Result<()> {
        self.comment(END, end)?;
        self.out.flush()
    }

    fn comment(&mut self, head: &str, what: &impl Serialize) -> io::Result<()> {
        let json = serde_json::to_string(what).map_err(io::Error::other)?;
        writeln!(self.out, "{head}{json}]")
    }
}

/// Writes a record that is whole.
pub(super) fn write(path: &Path, record: &Record) -> io::Result<()> {
    let mut log = Log::begin(File::create(path)?, &record.facts)?;
    for slice in &record.slices {
        log.slice(slice)?;
    }
    log.end(&record.end)
}

/// Reads a log.
///
/// # Errors
/// What is wrong with the file; it begins with its name.
pub(super) fn read(path: &Path) -> Result<Record, String> {
    let shown = path.display();
    let mut bytes = Vec::new();
    // A device tells no length and has no end.
    let read = File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    let length = read.map_err(|error| format!("cannot read {shown}: {error}"))? as u64;
    if length > MOST_BYTES {
        return Err(format!("{shown}: a log has at most {MOST_BYTES} bytes"));
    }
    // What is no text has none of our lines either.
    let text = String::from_utf8(bytes).map_err(|_| format!("{shown}: {NO_LOG}"))?;
    parse(&text).map_err(|problem| format!("{shown}: {problem}"))
}

/// Reads the text of a log.
pub(super) fn parse(text: &str) -> Result<Record, String> {
    let mut facts: Option<Facts> = None;
    let mut end = None;
    let mut slices: Vec<Slice> = Vec::new();
    let mut part = String::new();
    // A line that is not whole is being written, or was when its disk was full.
    let whole = text.rfind('\n').map_or("", |at| &text[..at]);
    for (index, line) in whole.lines().enumerate() {
        let at = |error: serde_json::Error| format!("line {}: {error}", index + 1);
        let json = |head: &str| line.strip_prefix(head).map(|rest| rest.strip_suffix(']').unwrap_or(rest));
        if let Some(json) = json(LOAD) {
            facts = Some(serde_json::from_str(json).map_err(at)?);
        } else if let Some(json) = json(END) {
            end = Some(serde_json::from_str(json).map_err(at)?);
        } else if let Some(json) = json(SLICE) {
            let counts: Counts = serde_json::from_str(json).map_err(at)?;
            let is_open_loop = facts.as_ref().is_some_and(Facts::is_open_loop);
            let tally =
                histograms(&part, is_open_loop).map_err(|why| format!("before line {}: {why}", index + 1))?;
            if slices.last().is_some_and(|last| last.index >= counts.index) {
                return Err(format!("line {}: slice {} is not in its order", index + 1, counts.index));
            }
            slices.push(counts.slice(tally).map_err(|why| format!("line {}: {why}", index + 1))?);
            part.clear();
        } else if !line.starts_with('#') {
            part.push_str(line);
            part.push('\n');
        }
    }
    let facts = facts.ok_or(NO_LOG)?;
    let end =
        end.ok_or("its end is missing: the run that wrote it was killed, had a full disk, or goes on")?;
    Ok(Record { facts, slices, end })
}

/// The histograms of one slice.
fn histograms(text: &str, is_open_loop: bool) -> Result<Tally, String> {
    let mut tally = Tally::new();
    let mut deserializer = Deserializer::new();
    for entry in IntervalLogIterator::new(text.as_bytes()) {
        let entry = entry.map_err(|error| format!("a line that is no interval: {error:?}"))?;
        let LogEntry::Interval(interval) = entry else { continue };
        let bytes =
            BASE64_STANDARD.decode(interval.encoded_histogram()).map_err(|error| error.to_string())?;
        let read: Histogram<u64> = deserializer
            .deserialize(&mut &bytes[..])
            .map_err(|error| format!("a damaged histogram: {error}"))?;
        let into = match interval.tag().map(|tag| tag.as_str()) {
            None if is_open_loop => &mut tally.response,
            None | Some("since_sent") => &mut tally.service,
            Some("first_byte") => &mut tally.first_byte,
            Some("connect") => &mut tally.connect,
            Some("handshake") => &mut tally.handshake,
            Some(_) => continue,
        };
        let mut histogram = times();
        histogram.add(&read).map_err(|error| format!("a histogram with other bounds: {error}"))?;
        *into = histogram;
    }
    Ok(tally)
}
