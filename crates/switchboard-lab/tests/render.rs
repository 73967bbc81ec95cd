//! Every output from one recording: pictures as committed (`SWITCHBOARD_BLESS=1` writes them anew), files that other
//! programs read, and no panic whatever is in a recording.

#[path = "render/child_killed.rs"]
mod child_killed;
#[path = "render/random.rs"]
mod random;

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use switchboard_lab::record::{Event, HostId, HostInfo, Packet, Point, Recording, Returned, What};
use switchboard_lab::render::{Chapter, Finding, Ladder, html, jsonl, junit, pcapng, svg, terminal};

fn skip(what: &str, reason: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED {what}: {reason}");
}

/// The committed text is what is made now.
#[track_caller]
fn is_golden(name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/render").join(name);
    if std::env::var_os("SWITCHBOARD_BLESS").is_some() {
        std::fs::write(&path, made).expect("it can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let line = committed.lines().zip(made.lines()).take_while(|(a, b)| a == b).count();
    assert!(
        committed == made,
        "{name}:{}: {:?} is now {:?}; if that is right: SWITCHBOARD_BLESS=1 cargo test -p switchboard-lab --test render",
        line + 1,
        committed.lines().nth(line).unwrap_or_default(),
        made.lines().nth(line).unwrap_or_default()
    );
}

fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\x1b') {
        out.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    out + rest
}

fn the_case() -> (Recording, Vec<Finding>) {
    child_killed::recording()
}

#[test]
fn the_ladder_in_a_terminal_is_the_committed_one() {
    let (recording, findings) = the_case();
    let chapter = Chapter { recording: &recording, findings: &findings };
    for width in [80, 120, 160] {
        let text = plain(&terminal::chapter(&chapter, width));
        is_golden(&format!("child_killed_{width}.txt"), &text);
        let (ladder, _) = text.split_once("\n\n✘").expect("findings below");
        let widest = ladder.lines().skip(2).map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(widest <= width, "a line has {widest} of {width} columns");
    }
    is_golden("scores.txt", &plain(&terminal::scores(&[chapter], 120)));
}

#[test]
fn colour_adds_nothing_that_is_not_there_without_it() {
    let (recording, _) = the_case();
    let ladder = Ladder::new(&recording, &[]);
    assert_eq!(plain(&terminal::draw(&ladder, 120)), terminal::plain(&ladder, 120));
    assert!(terminal::draw(&ladder, 120).contains('\x1b'), "there is colour");
}

#[test]
fn the_picture_and_the_xml_are_the_committed_ones() {
    let (recording, findings) = the_case();
    let chapter = Chapter { recording: &recording, findings: &findings };
    is_golden("child_killed.svg", &svg::document(&chapter));
    is_golden("junit.xml", &junit::document("lab", &[chapter]));
}

/// A third host in the middle, which reports an unreachable host; a reset out of nowhere; a call that never returns.
#[test]
fn more_hosts_are_more_columns() {
    let (mut recording, _) = the_case();
    let began = recording.header.began_at_ns;
    recording.events.retain(|event| event.at_ns < began + 100_000_000);
    let moved = |host: HostId| if host == HostId(1) { HostId(2) } else { host };
    for event in &mut recording.events {
        event.host = event.host.map(moved);
        if let What::Packet(packet) = &mut event.what {
            (packet.from, packet.to) = (packet.from.map(moved), moved(packet.to));
        }
    }
    let router = HostInfo {
        name: "router".to_owned(),
        addresses: vec!["10.0.0.254".parse().expect("an address")],
        program: None,
    };
    recording.header.hosts.insert(1, router);
    recording.header.scenario = "three-hosts".to_owned();
    let mut bytes = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 254, 10, 0, 0, 1];
    bytes.extend([3, 1, 0, 0, 0, 0, 0, 0]);
    let icmp =
        Packet { id: 900, from: Some(HostId(1)), to: HostId(0), point: Point::Sent, bytes, length: 28 };
    let reset = recording.events.iter().find_map(|event| match &event.what {
        What::Packet(packet) if packet.to == HostId(0) => Some(packet.clone()),
        _ => None,
    });
    let mut reset = reset.expect("a packet to the client");
    reset.bytes[33] = 4;
    (reset.id, reset.from, reset.point) = (901, None, Point::Forged("reset injected".to_owned()));
    for (ms, packet) in [
        (101, icmp.clone()),
        (104, Packet { point: Point::Delivered, ..icmp }),
        (105, reset.clone()),
        (107, Packet { point: Point::Delivered, ..reset }),
    ] {
        recording.events.push(Event {
            at_ns: began + ms * 1_000_000,
            host: None,
            what: What::Packet(packet),
        });
    }
    let chapter = Chapter { recording: &recording, findings: &[] };
    is_golden("three_hosts.txt", &plain(&terminal::chapter(&chapter, 150)));
    is_golden("three_hosts.svg", &svg::document(&chapter));
    assert!(Ladder::new(&recording, &[]).bars.iter().any(|bar| bar.stuck), "a call still waits");
}

/// A plain trace: one column, and no wire.
#[test]
fn one_host_is_one_column() {
    let (mut recording, _) = the_case();
    recording.events.retain(|event| event.host == Some(HostId(0)));
    recording.header.hosts.truncate(1);
    recording.header.scenario = "trace".to_owned();
    let chapter = Chapter { recording: &recording, findings: &[] };
    is_golden("one_host.txt", &plain(&terminal::chapter(&chapter, 90)));
    is_golden("one_host.svg", &svg::document(&chapter));
}

/// What a finding cites is shown, marked, and has a number.
#[test]
fn cited_events_have_lines() {
    let (recording, findings) = the_case();
    for finding in &findings {
        let ladder = Ladder::new(&recording, &finding.cites);
        for event in &finding.cites {
            let line = ladder.line_of(*event).expect("a line");
            let row = ladder.rows.iter().find(|row| row.line == Some(line)).expect("its row");
            assert!(row.cited, "line {line}");
        }
    }
}

#[test]
fn a_report_is_one_file_that_fetches_nothing() {
    let (recording, findings) = the_case();
    let chapter = Chapter { recording: &recording, findings: &findings };
    let page = html::document(
        "A run of the lab",
        "switchboard lab run 14 --client './client {host} {port}'",
        &[chapter],
    );
    if let Some(path) = std::env::var_os("SWITCHBOARD_REPORT") {
        std::fs::write(path, &page).expect("it can be written");
    }
    for word in ["http:", "https:", "//", "@import", "url(", "src="] {
        let harmless = |line: &str| {
            // Within the picture, and remarks of the script.
            line.contains("marker-end=\"url(#") || line.trim_start().starts_with("// ")
        };
        let found: Vec<&str> = page.lines().filter(|line| line.contains(word) && !harmless(line)).collect();
        assert!(found.is_empty(), "{word}: {found:?}");
    }
    let script = page.rsplit_once("<script>").expect("a script").1;
    assert!(script.len() < 10_000, "{} bytes of script", script.len());
    // Score table first, then the picture, and all of it without the script.
    let at = |part: &str| page.find(part).unwrap_or_else(|| panic!("no {part}"));
    assert!(at("<table class=\"scores\">") < at("<svg"));
    assert!(at("KILLED BY SIGPIPE") < at("<svg"));
    assert!(at("prefers-color-scheme: dark") < at("<body>") && at("@media print") < at("<body>"));
    // The log itself can be taken out again.
    let data = page.split_once("id=\"s-14-child-killed-data\">").expect("data").1;
    let data = data.split_once("</script>").expect("its end").0;
    let again: Recording = serde_json::from_str(data).expect("JSON");
    assert_eq!(again, recording);
}

/// Nothing that a program or a peer says can leave its place in the page.
#[test]
fn foreign_text_stays_text() {
    let (mut recording, mut findings) = the_case();
    let evil = "</script><script>alert(1)</script>\"'<b>&\u{202e}\x1b[31m";
    recording.header.title = evil.to_owned();
    recording.header.hosts[0].name = evil.to_owned();
    findings[0].sentence = evil.to_owned();
    for event in &mut recording.events {
        match &mut event.what {
            What::Call(call) => call.arguments = vec![(evil.to_owned(), evil.to_owned())],
            What::Packet(packet) => {
                if let Point::Dropped(why) = &mut packet.point {
                    *why = evil.to_owned();
                }
            }
            What::Socket(socket) => socket.state = evil.to_owned(),
            _ => {}
        }
    }
    let chapter = Chapter { recording: &recording, findings: &findings };
    let page = html::document(evil, evil, std::slice::from_ref(&chapter));
    assert_eq!(page.matches("<script").count(), 2, "the data and ours");
    // The log itself holds what was said; a browser does not show it.
    let shown = page.split_once("<script type=\"application/json\"").expect("data").0;
    assert!(!shown.contains("<b>&") && !shown.contains('\u{202e}') && !shown.contains('\x1b'));
    let text = plain(&terminal::chapter(&chapter, 100));
    assert!(!text.contains('\x1b') && !text.contains('\u{202e}'));
    assert!(!junit::document(evil, &[chapter]).contains("<script"));
}

#[test]
fn the_log_is_read_as_it_was_written() {
    let (recording, _) = the_case();
    let mut bytes = Vec::new();
    jsonl::write(&recording, &mut bytes).expect("memory");
    assert!(bytes.starts_with(b"{\"schema\":\"switchboard.recording\""));
    assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), recording.events.len() + 1);
    assert_eq!(jsonl::read(&mut &bytes[..]).expect("a recording"), recording);

    let text = String::from_utf8(bytes).expect("UTF-8");
    let wrong = |text: &str| jsonl::read(&mut text.as_bytes()).expect_err("no recording").to_string();
    assert!(wrong("").contains("line 1"), "{}", wrong(""));
    assert!(wrong("{}\n").contains("line 1"));
    assert!(wrong(&text.replacen("\"version\":1", "\"version\":2", 1)).contains("version 2"));
    let cut = &text[..text.len() - 10];
    let last = recording.events.len() + 1;
    assert!(wrong(cut).contains(&format!("line {last} ")), "{}", wrong(cut));
    let long = format!("{text}{}", "x".repeat(jsonl::LONGEST as usize + 1));
    assert!(wrong(&long).contains("longer than"), "{}", wrong(&long));
}

/// The packets of a file: comment and bytes.
fn packets(mut file: &[u8]) -> Vec<(Option<String>, Vec<u8>)> {
    let word =
        |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes")) as usize;
    let mut packets = Vec::new();
    let mut kinds = Vec::new();
    while !file.is_empty() {
        let (kind, length) = (word(file, 0), word(file, 4));
        assert_eq!(length % 4, 0);
        assert_eq!(word(file, length - 4), length, "the length stands at both ends");
        let body = &file[8..length - 4];
        kinds.push(kind);
        if kind == 6 {
            let (captured, whole) = (word(body, 12), word(body, 16));
            assert!(captured <= whole);
            let mut options = &body[20 + captured.next_multiple_of(4)..];
            let mut comment = None;
            loop {
                let code = u16::from_le_bytes([options[0], options[1]]);
                let length = usize::from(u16::from_le_bytes([options[2], options[3]]));
                if code == 1 {
                    comment = Some(String::from_utf8(options[4..4 + length].to_vec()).expect("UTF-8"));
                }
                if code == 0 {
                    assert_eq!(options.len(), 4, "nothing after the last option");
                    break;
                }
                options = &options[4 + length.next_multiple_of(4)..];
            }
            packets.push((comment, body[20..20 + captured].to_vec()));
        }
        file = &file[length..];
    }
    assert_eq!(kinds[..2], [0x0a0d_0d0a, 1], "section and interface first");
    packets
}

fn capture(recording: &Recording, host: u8) -> Vec<u8> {
    let mut file = Vec::new();
    pcapng::write(recording, HostId(host), &mut file).expect("memory");
    file
}

#[test]
fn each_host_has_its_own_capture() {
    let (recording, _) = the_case();
    let seen = |host: u8| packets(&capture(&recording, host));
    let (client, server) = (seen(0), seen(1));
    assert_eq!(client.len(), server.len() + 1, "one packet was lost on its way to the server");
    let comments: Vec<&str> = client.iter().filter_map(|(comment, _)| comment.as_deref()).collect();
    assert_eq!(comments, ["dropped: random loss"]);
    assert!(server.iter().all(|(comment, _)| comment.is_none()));
    assert!(client.iter().all(|(_, bytes)| bytes[0] == 0x45));
}

#[test]
fn wireshark_reads_the_captures() {
    let (recording, _) = the_case();
    let path = std::env::temp_dir().join(format!("switchboard-render-{}.pcapng", std::process::id()));
    std::fs::write(&path, capture(&recording, 0)).expect("a scratch file");
    let fields = ["frame.comment", "tcp.flags.str", "ip.src", "frame.time_epoch", "tcp.checksum.status"];
    let mut tshark = Command::new("tshark");
    tshark.arg("-nr").arg(&path).args(["-o", "tcp.check_checksum:TRUE", "-T", "fields"]);
    for field in fields {
        tshark.args(["-e", field]);
    }
    let output = tshark.stdin(Stdio::null()).output();
    let _ = std::fs::remove_file(&path);
    let Ok(output) = output else { return skip("reading with tshark", "it is not installed") };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), packets(&capture(&recording, 0)).len());
    assert!(lines.iter().all(|line| line.len() == fields.len() && line[4] == "1"), "{text}");
    assert_eq!(lines.iter().filter(|line| line[0] == "dropped: random loss").count(), 1, "{text}");
    assert!(lines[0][3].starts_with("1795258800.005020"), "{text}");
}

/// Long runs are folded, what is cited never is.
#[test]
fn routine_is_folded_around_what_is_cited() {
    let (mut recording, _) = the_case();
    let data: Vec<_> = recording
        .events
        .iter()
        .filter(|event| matches!(&event.what, What::Packet(packet) if packet.length > 40))
        .cloned()
        .collect();
    let (first, last) = (recording.events[0].clone(), recording.events.last().expect("an event").clone());
    recording.events = vec![first];
    for id in 0..500u64 {
        for point in [Point::Sent, Point::Delivered] {
            let mut event = data[0].clone();
            event.at_ns = recording.header.began_at_ns + id * 2_000_000;
            if let What::Packet(packet) = &mut event.what {
                packet.id = 1_000 + id;
                packet.point = point;
                // A byte further each time, so that nothing is sent twice.
                let sequence = 1_000_000 + (id as u32) * 4;
                packet.bytes[24..28].copy_from_slice(&sequence.to_be_bytes());
            }
            recording.events.push(event);
        }
    }
    recording.events.push(last);
    let whole = recording.events.len();
    let ladder = Ladder::new(&recording, &[]);
    assert!(ladder.rows.len() < 25, "{} rows", ladder.rows.len());
    let cited = whole / 2;
    let ladder = Ladder::new(&recording, &[cited]);
    assert!(ladder.line_of(cited).is_some(), "what is cited is not folded");
    assert!(ladder.rows.len() < 45, "{} rows", ladder.rows.len());
}

/// A server out of descriptors accepts in vain a million times a second: the picture stays short.
#[test]
fn a_loop_that_spins_is_folded() {
    let (mut recording, _) = the_case();
    let template =
        recording.events.iter().find(|event| matches!(event.what, What::Call(_))).expect("a call").clone();
    recording.events.clear();
    for serial in 0..20_000u64 {
        let mut event = template.clone();
        event.at_ns = recording.header.began_at_ns + serial * 1_500_000;
        if let What::Call(call) = &mut event.what {
            let (name, result) = match serial % 2 {
                0 => ("epoll_wait", Returned::Value(1)),
                _ => ("accept4", Returned::Errno(24)),
            };
            (call.serial, call.name, call.result, call.took_ns) =
                (serial, name.to_owned(), Some(result), serial);
        }
        recording.events.push(event);
    }
    let ladder = Ladder::new(&recording, &[5_001]);
    assert!(ladder.rows.len() < 40, "{} rows", ladder.rows.len());
    assert!(ladder.line_of(5_001).is_some());
    // Nothing is like anything else: the middle is left out.
    for (index, event) in recording.events.iter_mut().enumerate() {
        if let What::Call(call) = &mut event.what {
            (call.name, call.result) = (format!("call{index}"), Some(Returned::Errno(11)));
        }
    }
    let ladder = Ladder::new(&recording, &[10_000]);
    assert!(ladder.rows.len() < 2_010, "{} rows", ladder.rows.len());
    assert!(
        ladder.line_of(0).is_some() && ladder.line_of(10_000).is_some() && ladder.line_of(19_999).is_some()
    );
}

/// Tags that are opened are closed, in order, and nothing else looks like one.
fn is_well_formed(xml: &str) -> Result<(), String> {
    let mut open = Vec::new();
    let mut rest = xml;
    while let Some((text, after)) = rest.split_once('<') {
        if text.contains('>') && !open.ends_with(&["style"]) {
            return Err(format!("a stray > in {text:?}"));
        }
        let (tag, after) = after.split_once('>').ok_or("a tag does not end")?;
        rest = after;
        if tag.starts_with('?') || tag.ends_with('/') {
            continue;
        }
        if tag.matches('"').count() % 2 != 0 {
            return Err(format!("quotes in <{tag}>"));
        }
        match tag.strip_prefix('/') {
            Some(name) if open.pop() != Some(name) => return Err(format!("</{name}> closes something else")),
            Some(_) => {}
            None => open.push(tag.split([' ', '\n']).next().unwrap_or_default()),
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("{open:?} are not closed")) }
}

#[test]
fn what_is_not_well_formed_is_found() {
    assert_eq!(is_well_formed("<?xml?><a b=\"c\"><d/>text</a>"), Ok(()));
    for wrong in ["<a>", "<a></b>", "<a b=\"></a>", "<a", "<a>></a>"] {
        assert!(is_well_formed(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn no_recording_makes_a_renderer_panic() {
    let seed = random::seed();
    for round in 0..100 {
        let (recording, findings) = random::recording(seed.wrapping_add(round));
        let chapters = &[Chapter { recording: &recording, findings: &findings }];
        let [chapter] = chapters;
        let run = || {
            for width in [0, 40, 80, 130, 5_000] {
                terminal::chapter(chapter, width);
                terminal::scores(chapters, width);
            }
            is_well_formed(&svg::document(chapter)).expect("XML");
            html::document("x", "y", chapters);
            is_well_formed(&junit::document("x", chapters)).expect("XML");
            for host in 0..3 {
                packets(&capture(&recording, host));
            }
            let mut bytes = Vec::new();
            jsonl::write(&recording, &mut bytes).expect("memory");
            assert_eq!(jsonl::read(&mut &bytes[..]).expect("our own file"), recording);
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        assert!(outcome.is_ok(), "SWITCHBOARD_SEED={}", seed.wrapping_add(round));
    }
}
