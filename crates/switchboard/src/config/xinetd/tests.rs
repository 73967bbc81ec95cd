//! Construct by construct: what an attribute becomes, and what is said about it.

use super::*;
use crate::config::legacy::Legacy;
use crate::config::source::Sources;
use std::path::Path;

fn legacy(text: &str, compat: bool) -> (Legacy, Sources) {
    let mut sources = Sources::default();
    let legacy = read(Path::new("xinetd.conf"), text.to_owned(), compat, true, &mut sources);
    (legacy, sources)
}

/// The services of a text as TOML, each in one line `key = value; …`, and the names of the notes.
fn converted(text: &str, compat: bool) -> (Vec<String>, Vec<&'static str>) {
    let (legacy, _) = legacy(text, compat);
    let services = legacy.document.service.iter().map(|service| {
        let document =
            crate::config::document::Document { service: vec![service.clone()], ..Default::default() };
        let toml = document.to_toml().unwrap_or_default();
        let lines = toml.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "[[service]]");
        lines.collect::<Vec<_>>().join("; ")
    });
    (services.collect(), legacy.findings.iter().map(|finding| finding.note.id).collect())
}

/// A service of the kind that most files have, with these lines besides.
fn plain(lines: &str) -> String {
    format!(
        "service a\n{{\n\ttype = UNLISTED\n\tport = 79\n\tprotocol = tcp\n\tsocket_type = stream\n\twait = no\n\tuser = u\n\tserver = /bin/a\n{lines}\n}}\n"
    )
}

/// Said of nearly every file.
const USUAL: [&str; 5] =
    ["program-stderr", "program-environment", "program-privileges", "xinetd-libwrap", "xinetd-log-none"];

/// Lines of a service, what its TOML has, and what is said.
type Line = (&'static str, &'static [&'static str], &'static [&'static str]);

static LINES: &[Line] = &[
    (
        "",
        &[
            r#"id = "a""#,
            r#"listen = "tcp:*:79""#,
            r#"exec = "/bin/a""#,
            r#"mode = "nowait""#,
            r#"argv0 = "a""#,
            r#"user = "u""#,
            r#"hosts_files = "a""#,
        ],
        &[],
    ),
    ("id = b", &[r#"id = "b""#], &[]),
    ("server_args = -l \"x y\"", &[r#"exec = ["/bin/a", "-l", '"x', 'y"']"#], &["xinetd-quotes"]),
    ("server_args =", &[r#"exec = "/bin/a""#], &[]),
    (
        "flags = NAMEINARGS\nserver_args = in.a -l",
        &[r#"exec = "/bin/a -l""#, r#"argv0 = "in.a""#, r#"hosts_files = "in.a""#],
        &[],
    ),
    (
        "server_args = in.a -l\nflags = NAMEINARGS REUSE",
        &[r#"exec = "/bin/a -l""#, r#"argv0 = "in.a""#],
        &["xinetd-args-order"],
    ),
    ("group = g\ngroups = yes", &[r#"group = "g""#, r#"groups = "all""#], &[]),
    // Limits.
    ("instances = 5", &[r#"[service.max_connections]; most = 5; otherwise = "close""#], &["xinetd-refuse"]),
    ("instances = UNLIMITED", &[], &[]),
    ("per_source = 2", &[r#"[service.per_source]; most = 2; otherwise = "close""#], &["xinetd-refuse"]),
    ("cps = 25 30", &[r#"[service.rate]; most = "25/s:25"; otherwise = "queue""#], &["xinetd-cps"]),
    ("max_load = 2.5", &[r#"[service.max_load]; most = 2.5; otherwise = "close""#], &["xinetd-refuse"]),
    // Who.
    (
        "only_from = 10.0.0.0 192.168.1.7",
        &[r#"allow = ["10.0.0.0/8", "192.168.1.7"]"#],
        &["xinetd-zero-octets"],
    ),
    ("only_from =", &[r#"deny = "all""#], &["xinetd-nobody"]),
    ("only_from = 1.2.3.4\nonly_from = 1.2.3.5", &[r#"allow = "1.2.3.5""#], &["xinetd-replaced"]),
    (
        "only_from = 1.2.3.4\nonly_from += 1.2.3.5 1.2.3.6\nonly_from -= 1.2.3.4",
        &[r#"allow = ["1.2.3.5", "1.2.3.6"]"#],
        &[],
    ),
    ("no_access = 10.1.{2,3}", &[r#"deny = ["10.1.2.0/24", "10.1.3.0/24"]"#], &[]),
    (
        "only_from = 10.0.0.0/8\nno_access = 10.1.0.0/16",
        &[r#"allow = "10.0.0.0/8""#, r#"deny = "10.1.0.0/16""#],
        &[],
    ),
    (
        "only_from = 10.1.0.0/16\nno_access = 10.0.0.0/8",
        &[r#"allow = "10.1.0.0/16""#, r#"deny = "10.0.0.0/8""#],
        &["xinetd-both-lists"],
    ),
    ("only_from = .example.org", &[r#"allow = ".example.org""#], &["xinetd-host-name"]),
    ("only_from = 10.1", &[r#"allow = "10.0.0.1""#], &["xinetd-short-address"]),
    ("only_from = ::", &[r#"allow = "::""#], &["xinetd-v6-any"]),
    ("only_from = ::1/128", &[r#"allow = "::1""#], &["xinetd-v6-host"]),
    ("only_from = 10.0.0.1,10.0.0.2", &[], &["xinetd-address"]),
    ("no_access = 10.0.0.1,10.0.0.2", &[], &["xinetd-no-access"]),
    ("access_times = 2:00-8:59 12:00-23:59", &[r#"times = ["02:00-08:59", "12:00-23:59"]"#], &[]),
    ("access_times = 12:00-24:00", &[r#"times = "12:00-23:59""#], &["xinetd-midnight"]),
    ("access_times = 22:00-6:00", &[r#"times = "22:00-06:00""#], &["xinetd-midnight"]),
    ("flags = NOLIBWRAP\nonly_from = 1.2.3.4", &[r#"allow = "1.2.3.4""#], &[]),
    ("libwrap = other", &[r#"hosts_files = "other""#], &[]),
    // Sockets.
    ("bind = 127.0.0.1", &[r#"listen = "tcp:127.0.0.1:79""#], &[]),
    ("interface = ::1", &[r#"listen = "tcp:[::1]:79""#], &[]),
    ("bind = 0.0.0.0", &[r#"listen = "tcp:0.0.0.0:79""#], &[]),
    ("flags = IPv4", &[r#"listen = "tcp:0.0.0.0:79""#], &[]),
    ("flags = IPv6", &[r#"listen = "tcp:[::]:79,v6only=off""#], &[]),
    ("v6only = yes", &[r#"listen = "tcp:[::]:79,v6only=on""#], &[]),
    ("v6only = no", &[r#"listen = "tcp:[::]:79,v6only=off""#], &["xinetd-v6only"]),
    (
        "flags = NODELAY KEEPALIVE",
        &[r#"nodelay = "on""#, r#"keepalive = "on""#],
        &["xinetd-listener-options"],
    ),
    // Processes.
    ("nice = -5\numask = 022", &["nice = -5", r#"umask = "0022""#], &[]),
    (
        "rlimit_as = 8M\nrlimit_cpu = 20\nrlimit_files = 64\nrlimit_stack = UNLIMITED\nrlimit_rss = 2K",
        &[r#"as = "8MiB""#, "cpu = 20", "nofile = 64", r#"stack = "unlimited""#, r#"rss = "2KiB""#],
        &[],
    ),
    ("nice = 99", &["nice = 19"], &[]),
    ("rlimit_data = 0", &[], &["xinetd-rlimit-zero"]),
    ("env = A=1 B=x=y\nenv += A=2", &[r#"[service.env]; B = "x=y"; A = "2""#], &[]),
    ("passenv = HOME LANG", &[r#"pass_env = ["HOME", "LANG"]"#], &[]),
    ("passenv =", &["pass_env = []"], &[]),
    // The log.
    (
        "log_type = SYSLOG local4 info\nlog_on_success = PID HOST\nlog_on_failure += HOST",
        &[],
        &["xinetd-log-fields"],
    ),
    ("log_type = FILE /var/log/a 5M 6M", &[], &["xinetd-log-limit"]),
    ("log_type = SYSLOG daemon debug", &[], &["xinetd-log-level"]),
    ("log_on_success = USERID", &[], &["xinetd-log-fields", "xinetd-userid"]),
    // Not carried over.
    ("banner = /etc/motd\nbanner_success = /etc/motd", &[], &["xinetd-banner"]),
    ("flags = INTERCEPT NORETRY", &[], &["xinetd-intercept", "xinetd-retry"]),
    ("rpc_number = 7\nrpc_version = 1", &[], &["xinetd-rpc-words", "xinetd-rpc-words"]),
    ("flags = IDONLY", &[], &[]),
    ("mdns = yes", &[], &["xinetd-mdns"]),
    ("deny_time = 5", &[], &["xinetd-sensor"]),
    (
        "flags = SENSOR\ndeny_time = FOREVER",
        &[r#"builtin = "discard""#, r#"deny = "all""#],
        &["xinetd-sensor"],
    ),
    (
        "redirect = 10.0.0.1 80",
        &[r#"forward = "tcp:10.0.0.1:80""#, r#"hosts_files = "a""#, r#"user = "u""#],
        &["xinetd-redirect"],
    ),
    ("redirect = fe80::1 http", &[r#"forward = "tcp:[fe80::1]:http""#], &["xinetd-redirect"]),
    // Mistakes that leave the service on without the attribute, once `--compat` is given.
    ("instances = 5 # five", &[], &["xinetd-words"]),
    ("nice += 5", &[], &["xinetd-operator"]),
    ("env -= A", &[], &["xinetd-operator"]),
    ("nice = 1\nnice = 2", &["nice = 1"], &["xinetd-twice"]),
    ("servr = /bin/b", &[], &["xinetd-unknown"]),
];

/// Lines with which there is no service.
static LOST: &[(&str, &str)] = &[
    ("nice=5", "xinetd-line"),
    ("nice", "xinetd-line"),
    ("nice 5", "xinetd-line"),
    ("disable = yes\nthis is not read", "xinetd-disabled"),
    ("disable = YES", "xinetd-entry"),
    ("instances = some", "xinetd-entry"),
    ("cps = 1 x", "xinetd-entry"),
    ("max_load = 0", "xinetd-entry"),
    ("nice = much", "xinetd-entry"),
    ("umask = 8", "xinetd-entry"),
    ("rlimit_as = 1G", "xinetd-entry"),
    ("access_times = 8-9", "xinetd-entry"),
    ("access_times = 25:00-26:00", "xinetd-entry"),
    ("env = A", "xinetd-entry"),
    ("flags = DISABLE", "xinetd-entry"),
    ("log_on_success = TRAFFIC", "xinetd-entry"),
    ("log_type = FILE relative", "xinetd-entry"),
    ("log_type = SYSLOG nothing", "xinetd-entry"),
    ("log_type = PRINTER", "xinetd-entry"),
    ("redirect = not/a/host 80", "xinetd-entry"),
    ("banner_fail = /nonexistent", "xinetd-entry"),
    ("flags = LABELED", "xinetd-labeled"),
    ("flags = IDONLY\nlog_on_failure = USERID", "xinetd-ident"),
];

#[test]
fn each_attribute_becomes_what_it_meant() {
    let mut problems = Vec::new();
    for (lines, parts, notes) in LINES {
        let (services, said) = converted(&plain(lines), false);
        let shown = format!("{lines}\n{services:#?}\n{said:?}");
        if services.len() != 1 {
            problems.push(format!("there is no service\n{shown}"));
            continue;
        }
        let missing = parts.iter().filter(|part| !services[0].contains(**part));
        problems.extend(missing.map(|part| format!("{part} is missing\n{shown}")));
        let missing = notes.iter().filter(|note| !said.contains(note));
        problems.extend(missing.map(|note| format!("{note} is missing\n{shown}")));
        let more = said.iter().filter(|note| !notes.contains(note) && !USUAL.contains(note));
        problems.extend(more.map(|note| format!("{note} is too much\n{shown}")));
    }
    for (lines, note) in LOST {
        let (services, said) = converted(&plain(lines), false);
        if !services.is_empty() || !said.contains(note) {
            problems.push(format!("{lines} is served: {services:?}\n{said:?}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

/// Whole files, what their services have, and what is said.
type File = (&'static str, &'static [&'static [&'static str]], &'static [&'static str]);

static FILES: &[File] = &[
    // Sections.
    (
        "service echo {\n type = INTERNAL\n}\nservice time\n{\n type = INTERNAL\n socket_type = stream\n wait = no\n}\n",
        &[&[r#"builtin = "time""#, r#"listen = "tcp:*:time""#]],
        &["xinetd-line"],
    ),
    (
        "service echo more words\n{\n type = INTERNAL\n socket_type = stream\n wait = no\n}\n",
        &[&[r#"builtin = "echo""#]],
        &["xinetd-name-words"],
    ),
    (
        "  # comment\n\nservice echo\n\n{\n# comment\n type = INTERNAL\n socket_type = stream\n wait = no\n}\n",
        &[&[r#"builtin = "echo""#]],
        &[],
    ),
    ("service\n{\n}\nservice echo\n{\n type = INTERNAL\n", &[], &["xinetd-line"]),
    ("servce echo\n", &[], &["xinetd-line"]),
    ("service echo\n{\n type = INTERNAL\n socket_type = stream\n}\n", &[], &["xinetd-entry"]),
    ("service echo\n{\n type = INTERNAL\n wait = no\n}\n", &[], &["xinetd-entry"]),
    (
        "service x\n{\n type = UNLISTED\n port = 1\n socket_type = stream\n wait = no\n}\n",
        &[],
        &["xinetd-entry"],
    ),
    (
        "service x\n{\n type = UNLISTED\n socket_type = stream\n wait = no\n user = u\n server = /bin/x\n}\n",
        &[],
        &["xinetd-entry"],
    ),
    (
        "service daytime\n{\n type = INTERNAL\n port = 2013\n socket_type = stream\n wait = no\n}\n",
        &[&[r#"listen = "tcp:*:2013""#]],
        &["xinetd-port"],
    ),
    // Internal services.
    (
        "service daytime\n{\n type = INTERNAL\n id = day\n socket_type = dgram\n wait = yes\n user = root\n}\nservice chargen\n{\n type = INTERNAL\n socket_type = stream\n wait = no\n}\n",
        &[
            &[r#"id = "day""#, r#"listen = "udp:*:daytime""#, r#"builtin = "daytime""#],
            &[r#"builtin = "chargen""#],
        ],
        &["dgram-builtin", "xinetd-chargen"],
    ),
    (
        "service services\n{\n type = INTERNAL UNLISTED\n port = 9098\n socket_type = stream\n protocol = tcp\n wait = no\n}\n",
        &[],
        &["builtin-unknown"],
    ),
    (
        "service tcpmux\n{\n type = INTERNAL\n socket_type = stream\n wait = no\n}\nservice inside\n{\n type = TCPMUXPLUS UNLISTED\n id = other\n socket_type = stream\n protocol = tcp\n wait = no\n user = u\n server = /bin/a\n}\nservice old\n{\n type = TCPMUX UNLISTED\n socket_type = stream\n protocol = tcp\n wait = no\n user = u\n server = /bin/a\n}\n",
        &[&[r#"builtin = "tcpmux""#], &[r#"id = "inside""#, "tcpmux = true"]],
        &["xinetd-mux-nul", "mux-handshake"],
    ),
    // Datagrams, other sockets.
    (
        "service tftp\n{\n socket_type = dgram\n wait = yes\n user = root\n server = /bin/a\n server_args = -s /srv\n}\n",
        &[&[r#"listen = "udp:*:tftp""#, r#"mode = "wait""#, r#"capabilities = "all""#]],
        &["xinetd-drain", "program-root"],
    ),
    (
        "service tftp\n{\n socket_type = dgram\n wait = no\n user = u\n server = /bin/a\n}\n",
        &[&[r#"mode = "wait""#]],
        &["dgram-nowait"],
    ),
    (
        "service tftp\n{\n socket_type = dgram\n wait = yes\n user = u\n server = /bin/a\n only_from = 1.2.3.4\n}\n",
        &[&[r#"allow = "1.2.3.4""#]],
        &["xinetd-wait-access", "xinetd-drain"],
    ),
    (
        "service x\n{\n socket_type = raw\n protocol = icmp\n wait = yes\n}\nservice y\n{\n socket_type = seqpacket\n wait = no\n}\nservice z\n{\n type = RPC\n socket_type = stream\n wait = yes\n rpc_version = 2-4\n}\n",
        &[],
        &["socket-type", "rpc"],
    ),
    (
        "service x\n{\n type = UNLISTED\n port = 5\n socket_type = stream\n protocol = udp\n wait = no\n user = u\n server = /bin/x\n}\n",
        &[],
        &["xinetd-entry"],
    ),
    (
        "service x\n{\n type = UNLISTED\n port = 5\n socket_type = stream\n protocol = tcp\n wait = no\n user = 33\n server = /bin/x\n}\n",
        &[&[r#"user = "33""#, r#"group = "33""#]],
        &["xinetd-numeric-user"],
    ),
    // Defaults.
    (
        "defaults\n{\n only_from = 10.0.0.0\n only_from = 10.0.0.5\n instances = 7\n log_type = FILE /var/log/x\n log_on_success = PID\n cps = 9 10\n}\nservice time\n{\n type = INTERNAL\n socket_type = stream\n wait = no\n only_from += 1.2.3.4\n instances = 3\n}\nservice echo\n{\n type = INTERNAL\n socket_type = stream\n wait = no\n only_from = 1.2.3.4\n}\n",
        &[
            &[r#"allow = ["10.0.0.0/8", "10.0.0.5", "1.2.3.4"]"#, "most = 3", r#"most = "9/s:9""#],
            &[r#"allow = "1.2.3.4""#, "most = 7"],
        ],
        &["xinetd-zero-octets", "xinetd-log-fields", "xinetd-refuse", "xinetd-cps"],
    ),
    (
        "service time\n{\n type = INTERNAL\n socket_type = stream\n wait = no\n}\ndefaults\n{\n no_access = 1.2.3.4\n log_type = SYSLOG auth\n}\n",
        &[&[r#"deny = "1.2.3.4""#]],
        &["xinetd-defaults-order"],
    ),
    (
        "defaults\n{\n instances = many\n}\nservice time\n{\n type = INTERNAL\n socket_type = stream\n wait = no\n}\n",
        &[],
        &["xinetd-defaults-value"],
    ),
    ("defaults\n{\n env = A=1\n port = 5\n}\n", &[], &["xinetd-unknown"]),
    ("defaults\n{\n}\ndefaults\n{\n}\n", &[], &["xinetd-line"]),
    (
        "defaults\n{\n disabled = b\n}\nservice time\n{\n id = b\n type = INTERNAL\n socket_type = stream\n wait = no\n}\nservice echo\n{\n type = INTERNAL\n socket_type = stream\n wait = no\n}\n",
        &[&[r#"id = "echo""#]],
        &["xinetd-disabled"],
    ),
    (
        "defaults\n{\n enabled = b\n}\nservice time\n{\n id = b\n type = INTERNAL\n socket_type = stream\n wait = no\n}\nservice echo\n{\n type = INTERNAL\n socket_type = stream\n wait = no\n}\n",
        &[&[r#"id = "b""#]],
        &["xinetd-disabled"],
    ),
    // Two on one place; two of one name.
    (
        "service time\n{\n type = INTERNAL\n socket_type = stream\n wait = no\n}\nservice time\n{\n type = INTERNAL\n socket_type = stream\n wait = no\n}\nservice time\n{\n type = INTERNAL\n socket_type = stream\n wait = no\n bind = 127.0.0.1\n}\n",
        &[&[r#"id = "time""#], &[r#"id = "time-2""#, "127.0.0.1"]],
        &["xinetd-duplicate"],
    ),
    // Two logs.
    (
        "service time\n{\n type = INTERNAL\n socket_type = stream\n wait = no\n log_type = SYSLOG auth\n}\nservice echo\n{\n type = INTERNAL\n socket_type = stream\n wait = no\n log_type = FILE /var/log/echo\n}\n",
        &[&[], &[]],
        &["xinetd-log-service"],
    ),
    ("include /nonexistent/file\nincludedir /nonexistent/directory\ninclude\n", &[], &["xinetd-line"]),
];

#[test]
fn whole_files_become_what_they_meant() {
    let mut problems = Vec::new();
    for (text, services, notes) in FILES {
        let (have, said) = converted(text, false);
        let shown = format!("{text}\n{have:#?}\n{said:?}");
        if have.len() != services.len() {
            problems.push(format!("{} services expected\n{shown}", services.len()));
        }
        for (service, parts) in have.iter().zip(*services) {
            let missing = parts.iter().filter(|part| !service.contains(**part));
            problems.extend(missing.map(|part| format!("{part} is missing\n{shown}")));
        }
        let missing = notes.iter().filter(|note| !said.contains(note));
        problems.extend(missing.map(|note| format!("{note} is missing\n{shown}")));
        let more = said.iter().filter(|note| !notes.contains(note) && !USUAL.contains(note));
        problems.extend(more.map(|note| format!("{note} is too much\n{shown}")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

#[test]
fn compat_keeps_the_old_ways() {
    let cases: [(&str, &[&str]); 5] = [
        ("only_from = 10.1.0.0/16\nno_access = 10.0.0.0/8", &["both_deny = true"]),
        ("v6only = no", &[r#"listen = "tcp:[::]:79,v6only=on""#]),
        ("instances = 5 # five", &[r#"stderr = "client""#, "no_new_privs = false"]),
        ("only_from = 10.0.0.1,2 1.2.3.4", &[r#"allow = "1.2.3.4""#]),
        ("only_from = nonsense!", &[r#"deny = "all""#]),
    ];
    for (lines, parts) in cases {
        let (services, said) = converted(&plain(lines), true);
        assert_eq!(services.len(), 1, "{lines} {said:?}");
        for part in parts {
            assert!(services[0].contains(part), "{lines}: {part} is missing in {services:?}");
        }
        assert!(legacy(&plain(lines), true).0.is_accepted(true), "{lines} {said:?}");
    }
    for lines in ["access_times = 12:00-24:00", "nice=5"] {
        assert_eq!(converted(&plain(lines), true).0.len(), 0, "{lines}");
    }
    for text in [plain("no_access = 10.0.0.1,2"), "defaults\n{\n instances = many\n}\n".to_owned()] {
        assert!(!legacy(&text, true).0.is_accepted(true), "{text}");
    }
}
