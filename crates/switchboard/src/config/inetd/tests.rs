//! Construct by construct: what a line becomes in each dialect, and what is said about it.

use super::*;
use crate::config::source::Sources;
use std::path::PathBuf;

/// The services of a text as TOML, each in one line `key = value; …`, and the names of the notes.
fn converted(text: &str, dialect: Dialect, life: &Life) -> (Vec<String>, Vec<&'static str>) {
    let mut sources = Sources::default();
    let legacy = read(vec![(PathBuf::from("inetd.conf"), text.to_owned())], dialect, life, &mut sources);
    let services = legacy.document.service.iter().map(|service| {
        let document =
            crate::config::document::Document { service: vec![service.clone()], ..Default::default() };
        let toml = document.to_toml().unwrap_or_default();
        let lines = toml.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "[[service]]");
        lines.collect::<Vec<_>>().join("; ")
    });
    (services.collect(), legacy.findings.iter().map(|finding| finding.note.id).collect())
}

struct Case {
    dialect: Dialect,
    text: &'static str,
    /// What each service has, among others.
    services: &'static [&'static [&'static str]],
    notes: &'static [&'static str],
}

/// Said of every file with a program of root, and of one with a program of somebody else.
const ROOT: [&str; 3] = ["program-stderr", "program-environment", "program-root"];
const USER: [&str; 3] = ["program-stderr", "program-environment", "program-privileges"];

use Dialect::{FreeBsd, Gnu, NetBsd, OpenBsd, Xinetd};

static CASES: &[Case] = &[
    // What `tcp` and `udp` bind.
    Case {
        dialect: OpenBsd,
        text: "ftp stream tcp nowait root /bin/ftpd ftpd -l\n",
        services: &[&[
            r#"id = "ftp""#,
            r#"listen = "tcp:*:ftp""#,
            r#"exec = "/bin/ftpd -l""#,
            r#"mode = "nowait""#,
            r#"argv0 = "ftpd""#,
            r#"user = "root""#,
            r#"groups = "all""#,
            r#"capabilities = "all""#,
            "no_new_privs = false",
            r#"[service.rate]; most = "256/m:256"; otherwise = "queue""#,
        ]],
        notes: &["inetd-rate", "program-environment", "program-root", "program-stderr"],
    },
    Case {
        dialect: OpenBsd,
        text: "a stream tcp4 nowait u /bin/a a",
        services: &[&[r#"listen = "tcp:0.0.0.0:a""#, r#"user = "u""#]],
        notes: &["inetd-rate", "program-environment", "program-privileges", "program-stderr"],
    },
    Case {
        dialect: OpenBsd,
        text: "a stream tcp6 nowait u /bin/a a",
        services: &[&[r#"listen = "tcp:[::]:a,v6only=on""#]],
        notes: &["inetd-rate"],
    },
    Case {
        dialect: OpenBsd,
        text: "a stream tcp46 nowait u /bin/a a",
        services: &[&[r#"listen = "tcp:[::]:a,v6only=off""#]],
        notes: &["inetd-rate"],
    },
    Case {
        dialect: OpenBsd,
        text: "a dgram udp wait u /bin/a a",
        services: &[&[r#"listen = "udp:*:a""#, r#"mode = "wait""#]],
        notes: &[],
    },
    Case {
        dialect: FreeBsd,
        text: "a stream tcp nowait u /bin/a a",
        services: &[&[r#"listen = "tcp:0.0.0.0:a""#, r#"most = "256/m:256""#]],
        notes: &["inetd-rate"],
    },
    Case {
        dialect: FreeBsd,
        text: "a stream tcp46 nowait u /bin/a a",
        services: &[&[r#"listen = "tcp:[::]:a,v6only=off""#]],
        notes: &["inetd-rate"],
    },
    Case {
        dialect: NetBsd,
        text: "a stream tcp6 nowait u /bin/a a",
        services: &[&[r#"listen = "tcp:[::]:a,v6only=on""#, r#"most = "40/m:40""#]],
        notes: &["inetd-rate"],
    },
    Case {
        dialect: Gnu,
        text: "a stream tcp nowait u /bin/a a",
        services: &[&[r#"listen = "tcp:0.0.0.0:a""#, r#"most = "1000/m:1000""#]],
        notes: &["inetd-rate"],
    },
    Case {
        dialect: Gnu,
        text: "a stream tcp6 nowait u /bin/a a",
        services: &[&[r#"listen = "tcp:[::]:a,v6only=off""#]],
        notes: &["inetd-rate"],
    },
    Case {
        dialect: Gnu,
        text: "a stream tcp6only nowait u /bin/a a",
        services: &[&[r#"listen = "tcp:[::]:a,v6only=on""#]],
        notes: &["inetd-rate"],
    },
    Case {
        dialect: Xinetd,
        text: "a stream tcp nowait u /bin/a a",
        services: &[&[r#"listen = "tcp:*:a""#]],
        notes: &["program-privileges"],
    },
    Case { dialect: Xinetd, text: "a stream tcp6 nowait u /bin/a a", services: &[], notes: &["inetd-entry"] },
    Case { dialect: Gnu, text: "a stream tcp46 nowait u /bin/a a", services: &[], notes: &["inetd-entry"] },
    // Addresses.
    Case {
        dialect: OpenBsd,
        text: "127.0.0.1:a stream tcp nowait u /bin/a a",
        services: &[&[r#"listen = "tcp:127.0.0.1:a""#]],
        notes: &[],
    },
    Case {
        dialect: OpenBsd,
        text: "[::1]:79 stream tcp nowait u /bin/a a",
        services: &[&[r#"id = "79""#, r#"listen = "tcp:[::1]:79""#]],
        notes: &[],
    },
    Case {
        dialect: OpenBsd,
        text: "10.0.0.1,10.0.0.2:a stream tcp4 nowait u /bin/a a",
        services: &[&[r#"listen = ["tcp:10.0.0.1:a", "tcp:10.0.0.2:a"]"#]],
        notes: &[],
    },
    Case {
        dialect: OpenBsd,
        text: "127.0.0.1:\na stream tcp nowait u /bin/a a\n*:b stream tcp nowait u /bin/b b\n*:\nc stream tcp nowait u /bin/c c\n",
        services: &[
            &[r#"listen = "tcp:127.0.0.1:a""#],
            &[r#"listen = "tcp:*:b""#],
            &[r#"listen = "tcp:*:c""#],
        ],
        notes: &[],
    },
    Case {
        dialect: OpenBsd,
        text: "127.0.0.1: a stream tcp nowait u /bin/a a\nb stream tcp nowait u /bin/b b",
        services: &[&[r#"listen = "tcp:127.0.0.1:a""#], &[r#"listen = "tcp:*:b""#]],
        notes: &[],
    },
    Case {
        dialect: OpenBsd,
        text: "localhost:a stream tcp4 nowait u /bin/a a",
        services: &[&[r#"listen = "tcp:localhost:a""#]],
        notes: &["inetd-name-family"],
    },
    Case {
        dialect: OpenBsd,
        text: "127.0.0.1:a stream tcp6 nowait u /bin/a a",
        services: &[],
        notes: &["inetd-entry"],
    },
    Case {
        dialect: OpenBsd,
        text: ",:a stream tcp nowait u /bin/a a",
        services: &[],
        notes: &["inetd-entry"],
    },
    // Unix sockets.
    Case {
        dialect: OpenBsd,
        text: "/run/a.sock stream unix nowait u /bin/a a",
        services: &[&[r#"id = "a.sock""#, r#"listen = "unix:/run/a.sock""#]],
        notes: &[],
    },
    Case {
        dialect: OpenBsd,
        text: "/run/a.sock dgram unix wait u /bin/a a",
        services: &[&[r#"listen = "unix-dgram:/run/a.sock""#]],
        notes: &[],
    },
    Case {
        dialect: FreeBsd,
        text: ":daemon:wheel:660:/run/a.sock seqpacket unix nowait u /bin/a a",
        services: &[&[
            r#"listen = "unix-seqpacket:/run/a.sock""#,
            r#"socket_mode = "0660""#,
            r#"socket_owner = "daemon""#,
            r#"socket_group = "wheel""#,
        ]],
        notes: &[],
    },
    Case {
        dialect: FreeBsd,
        text: ":daemon:wheel:999:/run/a.sock stream unix nowait u /bin/a a",
        services: &[],
        notes: &["inetd-entry"],
    },
    // wait, and numbers behind it.
    Case {
        dialect: OpenBsd,
        text: "a stream tcp nowait.5 u /bin/a a",
        services: &[&[r#"most = "5/m:5""#, r#"otherwise = "queue""#]],
        notes: &["inetd-rate"],
    },
    Case {
        dialect: OpenBsd,
        text: "a stream tcp Wait u /bin/a a",
        services: &[],
        notes: &["inetd-wait-word"],
    },
    Case {
        dialect: OpenBsd,
        text: "a stream tcp nowait.x u /bin/a a",
        services: &[],
        notes: &["inetd-entry"],
    },
    Case {
        dialect: FreeBsd,
        text: "a stream tcp nowait/10/20/3 u /bin/a a",
        services: &[&[
            r#"[service.max_connections]; most = 10; otherwise = "queue""#,
            r#"[service.rate_per_source]; most = "20/m:20"; otherwise = "close""#,
            r#"[service.per_source]; most = 3; otherwise = "close""#,
        ]],
        notes: &["inetd-per-source"],
    },
    Case {
        dialect: FreeBsd,
        text: "a stream tcp nowait/0/0 u /bin/a a",
        services: &[&[r#"mode = "nowait""#]],
        notes: &["inetd-rate"],
    },
    Case {
        dialect: FreeBsd,
        text: "a stream tcp wait/4 u /bin/a a",
        services: &[&["pool = 4"]],
        notes: &["inetd-wait-children"],
    },
    Case {
        dialect: FreeBsd,
        text: "a stream tcp waitfoo u /bin/a a",
        services: &[],
        notes: &["inetd-wait-word"],
    },
    Case {
        dialect: NetBsd,
        text: "a stream,7 tcp nowait:9 u /bin/a a",
        services: &[&[r#"[service.max_connections]; most = 7"#, r#"most = "9/m:9""#]],
        notes: &["inetd-rate"],
    },
    Case {
        dialect: NetBsd,
        text: "a stream:dataready tcp nowait u /bin/a a",
        services: &[&[r#"defer-accept = "30""#]],
        notes: &["inetd-accept-filter"],
    },
    Case {
        dialect: Xinetd,
        text: "a stream tcp nowait.5 u /bin/a a",
        services: &[],
        notes: &["inetd-wait-word"],
    },
    // Users.
    Case {
        dialect: OpenBsd,
        text: "a stream tcp nowait u.g /bin/a a\nb stream tcp nowait u:g /bin/b b",
        services: &[&[r#"user = "u""#, r#"group = "g""#], &[r#"user = "u""#, r#"group = "g""#]],
        notes: &[],
    },
    Case {
        dialect: FreeBsd,
        text: "a stream tcp nowait u:g/daemon /bin/a a",
        services: &[&[r#"user = "u""#, r#"group = "g""#]],
        notes: &["inetd-class"],
    },
    Case {
        dialect: NetBsd,
        text: "a stream tcp nowait u.x:g /bin/a a",
        services: &[&[r#"user = "u.x""#, r#"group = "g""#]],
        notes: &[],
    },
    Case {
        dialect: OpenBsd,
        text: "a stream tcp nowait u. /bin/a a",
        services: &[],
        notes: &["inetd-entry"],
    },
    // Programs and arguments.
    Case {
        dialect: OpenBsd,
        text: "a stream tcp nowait u /bin/a",
        services: &[&[r#"exec = "/bin/a""#, r#"argv0 = "a""#]],
        notes: &["inetd-argv0"],
    },
    Case { dialect: OpenBsd, text: "a stream tcp nowait u bin/a a", services: &[], notes: &["inetd-entry"] },
    Case {
        dialect: OpenBsd,
        text: "a stream tcp nowait u /bin/a a 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21",
        services: &[&["20 21"]],
        notes: &["inetd-arguments"],
    },
    Case {
        dialect: OpenBsd,
        text: "a stream tcp nowait u /bin/a a # not a comment",
        services: &[&[r##"exec = "/bin/a # not a comment""##]],
        notes: &["inetd-trailing-comment"],
    },
    Case {
        dialect: OpenBsd,
        text: "a stream tcp nowait u /usr/sbin/tcpd in.a -x",
        services: &[&[r#"exec = "/usr/sbin/tcpd -x""#, r#"argv0 = "in.a""#]],
        notes: &["program-tcpd"],
    },
    Case {
        dialect: FreeBsd,
        text: r#"a stream tcp nowait u /bin/a a "b c" 'd"e'"#,
        services: &[&[r#""b c", 'd"e']"#]],
        notes: &[],
    },
    Case {
        dialect: Gnu,
        text: r#"a stream tcp nowait u /bin/a a b\ c "#,
        services: &[&[r#"exec = ["/bin/a", "b c"]"#]],
        notes: &[],
    },
    Case {
        dialect: FreeBsd,
        text: r#"a stream tcp nowait u /bin/a a "b c"#,
        services: &[&[r#""b c"]"#]],
        notes: &["inetd-open-quote"],
    },
    // Continuation.
    Case {
        dialect: OpenBsd,
        text: "a stream tcp nowait u /bin/a\n\ta -x\n   # a comment\n -y\n",
        services: &[&[r#"exec = "/bin/a -x -y""#]],
        notes: &["inetd-indented-comment"],
    },
    Case {
        dialect: OpenBsd,
        text: "a stream tcp nowait u /bin/a a\n b stream tcp nowait u /bin/b b\n",
        services: &[&[r#"exec = "/bin/a b stream"#]],
        notes: &["inetd-continuation"],
    },
    Case {
        dialect: Gnu,
        text: "a stream tcp nowait u /bin/a a\n b stream tcp nowait u /bin/b b\n  # c\n",
        services: &[&[r#"id = "a""#], &[r#"id = "b""#]],
        notes: &[],
    },
    // Internal services.
    Case {
        dialect: OpenBsd,
        text: "daytime stream tcp nowait root internal\ndaytime dgram udp wait root internal",
        services: &[
            &[r#"id = "daytime""#, r#"builtin = "daytime""#, r#"format = "ctime""#],
            &[r#"id = "daytime-udp""#, r#"listen = "udp:*:daytime""#],
        ],
        notes: &["dgram-builtin"],
    },
    Case {
        dialect: OpenBsd,
        text: "7 stream tcp nowait root internal",
        services: &[&[r#"builtin = "echo""#, r#"listen = "tcp:*:7""#]],
        notes: &["inetd-port-number"],
    },
    Case {
        dialect: FreeBsd,
        text: "auth stream tcp nowait root internal auth -r -f -n -o UNKNOWN -t 30\nqotd stream tcp nowait root internal",
        services: &[],
        notes: &["builtin-unknown"],
    },
    Case {
        dialect: OpenBsd,
        text: "echo stream tcp nowait nobody internal",
        services: &[&[r#"user = "nobody""#]],
        notes: &[],
    },
    Case {
        dialect: Xinetd,
        text: "discard stream tcp nowait root internal",
        services: &[&[r#"builtin = "discard""#]],
        notes: &["inetd-discard"],
    },
    Case {
        dialect: FreeBsd,
        text: "tcpmux stream tcp nowait root internal\ntcpmux/+date stream tcp nowait guest /bin/date date\ntcpmux/phone stream tcp nowait guest /bin/phone phone",
        services: &[
            &[r#"builtin = "tcpmux""#],
            &[r#"id = "date""#, "tcpmux = true", r#"exec = "/bin/date""#],
        ],
        notes: &["mux-handshake"],
    },
    // Datagrams without wait.
    Case {
        dialect: OpenBsd,
        text: "a dgram udp nowait u /bin/a a",
        services: &[&[r#"mode = "wait""#]],
        notes: &["dgram-nowait"],
    },
    // Not carried over.
    Case {
        dialect: OpenBsd,
        text: "rusers/1-3 dgram rpc/udp wait root /bin/a a",
        services: &[],
        notes: &["rpc"],
    },
    Case {
        dialect: FreeBsd,
        text: "a raw icmp wait root /bin/a a\nb rdm tcp wait root /bin/b b\nc stream tcp/ttcp nowait root /bin/c c",
        services: &[],
        notes: &["inetd-entry", "socket-type"],
    },
    Case {
        dialect: NetBsd,
        text: "#@ in bypass\na stream tcp nowait u /bin/a a",
        services: &[&[]],
        notes: &["inetd-ipsec"],
    },
    Case {
        dialect: OpenBsd,
        text: "#@ in bypass\na stream tcp nowait u /bin/a a",
        services: &[&[]],
        notes: &[],
    },
    // Buffers.
    Case {
        dialect: OpenBsd,
        text: "a stream tcp,sndbuf=64k,rcvbuf=1m nowait u /bin/a a",
        services: &[&[r#"sndbuf = "64KiB""#, r#"rcvbuf = "1MiB""#]],
        notes: &[],
    },
    Case {
        dialect: FreeBsd,
        text: "a stream tcp,sndbuf=64k nowait u /bin/a a",
        services: &[],
        notes: &["inetd-entry"],
    },
    // NetBSD's newer form.
    Case {
        dialect: NetBsd,
        text: "# both\nftp on # begins\n socktype = stream, protocol = tcp6,\n user = root, group = wheel,\n exec = \"/bin/ftpd\", args = ftpd \"-l x\" '\\x41\\n',\n service_max = 7, ip_max = 3, accept_max = 2; echo off socktype = stream;\nb stream tcp nowait u /bin/b b\n",
        services: &[
            &[
                r#"listen = "tcp:[::]:ftp,v6only=on""#,
                r#"user = "root""#,
                r#"group = "wheel""#,
                r#""-l x""#,
                r#""""; A;"#,
                r#"most = "7/m:7""#,
                r#"[service.rate_per_source]; most = "3/m:3""#,
                r#"[service.max_connections]; most = 2"#,
            ],
            &[r#"builtin = "echo""#, "disabled = true"],
            &[r#"id = "b""#],
        ],
        notes: &["inetd-off", "inetd-per-source"],
    },
    Case {
        dialect: NetBsd,
        text: "a on bind = 127.0.0.1, socktype = dgram, wait = yes, user = u, exec = /bin/a;",
        services: &[&[r#"listen = "udp:127.0.0.1:a""#, r#"mode = "wait""#]],
        notes: &["inetd-argv0"],
    },
    Case {
        dialect: NetBsd,
        text: "a on socktype = stream, service_max = 0, user = u, exec = /bin/a, args = a;",
        services: &[&[r#"deny = "all""#]],
        notes: &["inetd-limit-zero"],
    },
    Case {
        dialect: NetBsd,
        text: "a on socktype = stream, ipsec = in, user = u, exec = /bin/a, args = a;",
        services: &[&[]],
        notes: &["inetd-ipsec"],
    },
    Case {
        dialect: NetBsd,
        text: "a on socktype stream;\nb on usre = x;\nc on socktype = stream, user = u u, exec = /bin/c;\nd on socktype = stream",
        services: &[],
        notes: &["inetd-argv0", "inetd-entry"],
    },
    // The later entry for a place.
    Case {
        dialect: OpenBsd,
        text: "a stream tcp nowait u /bin/a a\na stream tcp nowait u /bin/b b",
        services: &[&[r#"exec = "/bin/b""#]],
        notes: &["inetd-duplicate"],
    },
    // What is no entry.
    Case {
        dialect: OpenBsd,
        text: "a stream tcp\nb strem tcp nowait u /bin/b b\nc stream ipx nowait u /bin/c c",
        services: &[],
        notes: &["inetd-entry"],
    },
];

#[test]
fn each_construct_becomes_what_it_meant() {
    let mut problems = Vec::new();
    for case in CASES {
        let (services, notes) = converted(case.text, case.dialect, &Life::default());
        let shown = format!("{:?}\n{}\n{services:#?}\n{notes:?}", case.dialect, case.text);
        if services.len() != case.services.len() {
            problems.push(format!("{} services expected\n{shown}", case.services.len()));
        }
        for (service, parts) in services.iter().zip(case.services) {
            let missing = parts.iter().filter(|part| !service.contains(**part));
            problems.extend(missing.map(|part| format!("{part} is missing\n{shown}")));
        }
        let missing = case.notes.iter().filter(|note| !notes.contains(note));
        problems.extend(missing.map(|note| format!("{note} is missing\n{shown}")));
        let usual = [&ROOT[..], &USER[..], &["inetd-rate"]].concat();
        let more = notes.iter().filter(|note| !case.notes.contains(note) && !usual.contains(note));
        problems.extend(more.map(|note| format!("{note} is too much\n{shown}")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

#[test]
fn compat_keeps_the_old_ways() {
    let life = Life { compat: true, ..Life::default() };
    let cases: [(Dialect, &str, &[&str]); 6] = [
        (
            OpenBsd,
            "a stream tcp Wait u /bin/a a",
            &[r#"mode = "nowait""#, r#"stderr = "client""#, "no_new_privs = false"],
        ),
        (FreeBsd, "a stream tcp waitfoo u /bin/a a", &[r#"mode = "wait""#]),
        (OpenBsd, "a stream tcp nowait u /bin/a a\n # b\n", &[r##"exec = "/bin/a # b""##]),
        (
            OpenBsd,
            "a stream tcp nowait u /bin/a a 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21",
            &[r#"19 20""#],
        ),
        (FreeBsd, "a stream tcp nowait u /bin/a \"b c", &[r#"argv0 = "b c""#]),
        (OpenBsd, "x\na stream tcp nowait u /bin/a a", &[r#"id = "a""#]),
    ];
    for (dialect, text, parts) in cases {
        let (services, notes) = converted(text, dialect, &life);
        assert_eq!(services.len(), 1, "{text} {notes:?}");
        for part in parts {
            assert!(services[0].contains(part), "{part} is missing in {services:?}");
        }
    }
}

#[test]
fn the_command_line_adds_to_the_file() {
    let life = Life {
        addresses: vec!["127.0.0.1".into()],
        limits: Limits {
            per_minute: Some(7),
            at_once: Some(3),
            per_source_minute: Some(5),
            per_source: Some(2),
        },
        libwrap: true,
        backlog: Some(9),
        names: true,
        ..Life::default()
    };
    let (services, _) = converted("a stream tcp nowait u /usr/sbin/tcpd in.a -x", FreeBsd, &life);
    for part in [
        r#"listen = "tcp:127.0.0.1:a""#,
        r#"most = "7/m:7""#,
        r#"[service.max_connections]; most = 3"#,
        r#"[service.rate_per_source]; most = "5/m:5""#,
        r#"[service.per_source]; most = 2"#,
        r#"hosts_files = "in.a""#,
        r#"exec = "/usr/sbin/in.a -x""#,
        r#"backlog = "9""#,
        "resolve_names = true",
    ] {
        assert!(services[0].contains(part), "{part} is missing in {services:?}");
    }
    let unlimited = Life { limits: Limits { per_minute: Some(0), ..Limits::default() }, ..Life::default() };
    let (services, _) = converted("a stream tcp nowait u /bin/a a", FreeBsd, &unlimited);
    assert!(!services[0].contains("rate"), "{services:?}");
}
