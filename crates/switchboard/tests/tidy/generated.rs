//! Documents made from the tables: services, engines, options.

use std::fmt::Write;
use switchboard::{
    Datagram, ENGINES, Example, On, Over, SERVICES, SOCKET_OPTIONS, Service, ServiceOption, Workers,
};
use switchboard_proto::AMPLIFY;

/// Every such document: where it belongs, and its text.
pub(crate) fn documents() -> [(&'static str, String); 5] {
    [
        ("docs/services.md", services()),
        ("docs/engines.md", engines()),
        ("docs/options.md", options()),
        ("docs/configuration.md", by_itself("reference")),
        ("docs/migration.md", by_itself("migration")),
    ]
}

/// The program itself writes these.
fn by_itself(what: &str) -> String {
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_switchboard"));
    let output = program.args(["config", what]).output().expect("the program runs");
    String::from_utf8(output.stdout).expect("UTF-8")
}

const MADE: &str =
    "<!-- Made from the tables by crates/switchboard/tests/tidy/generated.rs; edit those. -->\n";

fn services() -> String {
    let mut text = format!(
        "# Services\n{MADE}\n\
         The protocols that `switchboard serve` speaks, each over TCP, UDP and Unix sockets, from one implementation. \
         Ports of the board are those that `serve` uses when nothing else is asked for; they are all above 1023 and on \
         loopback. The examples are run as tests: whole, one byte at a time, at random splits, as a datagram, and on \
         every engine.\n\n\
         In the examples `>` is what the client sends before it ends its input, and `<` all that it receives; `…` \
         means that more follows. Bytes are written as in C.\n"
    );
    for service in SERVICES {
        one_service(service, &mut text);
    }
    text
}

fn one_service(service: &Service, text: &mut String) {
    let Service { name, summary, source, port, board, try_it, .. } = service;
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    line(&format!("\n## {name}\n\n{} ({source}).\n", capital(summary)));
    let mut ports = Vec::new();
    if *port != 0 {
        ports.push(format!("{port} by assignment"));
    }
    for (kind, list) in [("TCP", board.tcp), ("UDP", board.udp)] {
        if !list.is_empty() {
            let list: Vec<String> = list.iter().map(u16::to_string).collect();
            ports.push(format!("{} on the board's {kind}", list.join(" and ")));
        }
    }
    line(&format!("* Ports: {}.", ports.join("; ")));
    line(&format!("* A datagram {}.", fate(service.datagram)));
    if let Some(port) = board.tcp.first() {
        let before = if try_it.ask.is_empty() { String::new() } else { format!("{} | ", try_it.ask) };
        let after = if try_it.show.is_empty() { String::new() } else { format!(" | {}", try_it.show) };
        line(&format!("* Try it: `{before}switchboard connect 127.0.0.1 {port}{after}`"));
    }
    if !service.options.is_empty() {
        line("\n| option | values | default | what it does |\n|---|---|---|---|");
        service.options.iter().for_each(|option| line(&option_row(option, "")));
    }
    line("\n```text");
    let mut first = true;
    for example in service.examples {
        if !first {
            line("");
        }
        first = false;
        one_example(example, &mut line);
    }
    line("```");
}

fn fate(datagram: Datagram) -> String {
    match datagram {
        Datagram::Silent => "is never answered".into(),
        Datagram::Bounded => {
            "is answered by at most as many bytes as it brought, unless option `amplify=on` is given".into()
        }
        Datagram::Fixed(most) => format!("is answered by at most {most} bytes, even an empty one"),
    }
}

fn one_example(example: &Example, line: &mut impl FnMut(&str)) {
    let over = match example.over {
        Over::Both => "",
        Over::Stream | Over::Endless => " (on a stream)",
        Over::Datagram | Over::Silence => " (in a datagram)",
    };
    let options: String =
        example.options.iter().map(|(name, value)| format!(" --option {name}={}", shell(value))).collect();
    line(&format!(
        "# {}{over}{}",
        example.title,
        if options.is_empty() { "" } else { ", with" }.to_owned() + &options
    ));
    if example.unix_s != 0 {
        line(&format!("@ {} seconds after 1970 began", example.unix_s));
    }
    line(&format!("> {}", shown(example.input)));
    let more = if example.over == Over::Endless { "…" } else { "" };
    line(&match example.over {
        Over::Silence => "< no answer".to_owned(),
        _ => format!("< {}{more}", shown(example.output)),
    });
}

fn shell(value: &str) -> String {
    if value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:".contains(&b)) {
        return value.to_owned();
    }
    format!("'{}'", value.escape_debug())
}

/// Bytes as in C; many equal ones are counted.
fn shown(bytes: &[u8]) -> String {
    const LONG: usize = 240;
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string().replace("\\'", "'");
    match bytes {
        [] => "nothing".into(),
        [first, rest @ ..] if rest.len() >= 32 && rest.iter().all(|byte| byte == first) => {
            format!("\"{}\" {} times", text(&[*first]), bytes.len())
        }
        _ if bytes.len() > LONG => {
            format!("\"{}\" and {} bytes more", text(&bytes[..LONG]), bytes.len() - LONG)
        }
        _ => format!("\"{}\"", text(bytes)),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn engines() -> String {
    let mut text = format!(
        "# Engines\n{MADE}\n\
         An engine is a concurrency model: who accepts, where sessions run, which kernel mechanism waits. Every \
         engine serves every stream service, with the same limits, log and drain; choose one with `--engine`.\n\n\
         | engine | how it serves | datagrams | services in one worker | described in |\n|---|---|---|---|---|\n"
    );
    for row in ENGINES {
        let datagrams = if row.datagrams { "yes" } else { "no" };
        let services = if row.many_services { "all" } else { "one each" };
        let (name, summary, source) = (row.name, cell(row.summary), row.source);
        let _ = writeln!(text, "| `{name}` | {summary} | {datagrams} | {services} | {source} |");
    }
    text.push_str(
        "\nA worker is a process. Where one conversation can hold up all others of its worker, each service gets a \
         worker of its own (\"one each\"), so that a slow client of one service does not stop another service.\n\n\
         ## What `--workers N` makes\n\n| engine | N of | sharing the listener by | default |\n|---|---|---|---|\n",
    );
    for row in ENGINES {
        let (of, by) = match row.workers {
            Workers::ReusePort => {
                ("worker processes", "one listener each on the same address (`SO_REUSEPORT`)")
            }
            Workers::Children => ("children of one worker", "one inherited listener"),
            Workers::Threads => ("threads of one worker", "one listener"),
        };
        let _ = writeln!(text, "| `{}` | {of} | {by} | {} |", row.name, row.workers.default_count());
    }
    text.push_str(
        "\nUnix sockets cannot be bound twice: there the workers share one.\n\n\
         ## What `--max-connections N` means\n\n\
         Conversations at once. Beyond it clients wait in the listener's queue; no listener is ever closed to limit \
         load. Several worker processes share N out among them, and each has at least one; where each service has a \
         worker of its own, N is for each service. Without it, engines that keep all conversations in one process \
         take as many as the descriptor limit allows, less a reserve; `fork` and `threads` take 1,024 per worker, \
         which a machine bears; `prefork` and `pool` have one conversation for each child or thread, and \
         `iterative` one in any case.\n\n\
         ## How a conversation ends\n\n\
         A session that has said everything (daytime, finger, the answer of an HTTP request that asked for the end) sends \
         FIN and then waits for the peer's: to close at once, while the peer may still be sending, could become a \
         reset, which destroys what the peer has not read yet (RFC 1122, section 4.2.2.13; RFC 2525, section 2.17). The \
         wait ends with the peer's FIN, after 2 s of silence, or after 30 s in all. The conversation has its place for so long: \
         under `iterative` a client who does not close lets the next one wait those 2 s, in `prefork` and `pool` \
         it keeps a child or thread, elsewhere it is one more conversation and nobody waits for it.\n\n\
         ## Which one\n\n\
         `epoll` is the default: fast, and everywhere. `uring` makes fewer system calls and needs Linux 6.0; where it \
         is missing or forbidden, it says so and names the alternative. The others are there to be compared and \
         learned from: `switchboard load engines` compares them on your machine and says which to choose, and \
         `cargo bench -p switchboard --bench engines` measures all of them against plain servers written straight on \
         the same kernel interfaces. [performance.md](performance.md) tells what was found.\n\n\
         ## Looking before sleeping\n\n\
         With few clients who ask again as soon as they have their answer, most of the time goes into waking up. With \
         `--busy-poll` (`busy_poll` in a file) a worker of poll, epoll or uring looks for the next event for up to 200 µs \
         before it sleeps, as long as events keep coming that quickly: sooner answers for few clients, for a \
         processor that is never idle meanwhile. One wait that takes longer and it sleeps again at once, so \
         that a server without clients costs nothing. It is for servers that have a processor to themselves.\n\n\
         ## A worker for each processor\n\n\
         Several workers have a listener each at the same address, and the kernel spreads connections over them, on whatever \
         processor their packets arrive: half of the messages, or more, then wake a worker on another processor than the one that \
         the network stack has just worked on. With `--pin all` (`pin = \"all\"` in a file; or a list: `0,2-3`) there is a worker for each \
         processor, which does not leave it, and takes the connections and datagrams that arrive there (`SO_INCOMING_CPU`, \
         Linux 6.2). It is for the engines whose workers have listeners of their own, for machines whose packets arrive on all \
         processors (a network card with as many queues, clients on the same machine), and for many clients: a few may all \
         arrive on one processor, and other programs that want a pinned worker\'s processor hold its clients up. \
         [performance.md](performance.md) has what it gives.\n",
    );
    text
}

fn options() -> String {
    let mut text = format!(
        "# Options\n{MADE}\n\
         `--option NAME=VALUE`, as often as needed, for sockets and services alike; `connect` takes those of sockets. \
         Numbers have units: `64KiB`, `1.5MB`, `10k`; durations `500ms`, `3s`, `1.5m`. What the kernel made of \
         every socket option is shown by `serve --verbose`, and what a fresh socket has on this machine by \
         `switchboard list options`. A value that the kernel refuses or silently changes is an error that gives the \
         reason.\n\n\
         ## Sockets\n\n\
         Set on the listener before it is bound; Linux hands them on to the connections that it accepts.\n\n\
         | option | values | applies to | what it does | described in |\n|---|---|---|---|---|\n"
    );
    for option in SOCKET_OPTIONS {
        let on = match option.on {
            On::Any => "every socket",
            On::Inet => "TCP, UDP",
            On::Inet6 => "TCP, UDP over IPv6",
            On::Tcp => "TCP",
            On::Listener => "listeners of streams",
        };
        let (name, values, summary) = (option.name, cell(option.values), cell(option.summary));
        let _ = writeln!(text, "| `{name}` | `{values}` | {on} | {summary} | {} |", option.source);
    }
    text.push_str(
        "\n`bdp:RATE,RTT` computes the bandwidth-delay product, which is what must fit in a buffer for a path to be \
         filled: `sndbuf=bdp:100Mbit/s,80ms` is 1,000,000 bytes.\n\n\
         ## Services\n\n| option | of | values | default | what it does |\n|---|---|---|---|---|\n",
    );
    for service in SERVICES {
        for option in service.options {
            let _ =
                writeln!(text, "{}", option_row(option, &format!("[{0}](services.md#{0})", service.name)));
        }
    }
    let bounded = SERVICES.iter().filter(|service| service.datagram == Datagram::Bounded);
    let bounded: Vec<String> =
        bounded.map(|service| format!("[{0}](services.md#{0})", service.name)).collect();
    let _ = writeln!(text, "{}", option_row(&AMPLIFY, &bounded.join(", ")));
    text
}

fn option_row(option: &ServiceOption, of: &str) -> String {
    let ServiceOption { name, values, default, summary } = option;
    let default = if default.is_empty() { "-".to_owned() } else { format!("`{}`", cell(default)) };
    let of = if of.is_empty() { String::new() } else { format!(" {of} |") };
    format!("| `{name}` |{of} `{}` | {default} | {} |", cell(values), cell(summary))
}

/// Text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[test]
fn bytes_are_shown_as_in_c() {
    assert_eq!(shown(b""), "nothing");
    assert_eq!(shown(b"it's\r\n\0"), "\"it's\\r\\n\\x00\"");
    assert_eq!(shown(&[b'm'; 300]), "\"m\" 300 times");
    assert!(shown(&(0..250).map(|n| b'a' + n % 26).collect::<Vec<u8>>()).ends_with("\" and 10 bytes more"));
}

#[test]
fn cells_do_not_break_their_table() {
    assert_eq!(cell("on|off"), "on\\|off");
}
