//! The configuration file as users meet it: errors, all at once and each in its place; what is in force; the example.

mod harness;

use harness::{Scratch, program};
use serde_json::Value;
use std::fs;
use std::process::Output;

struct File {
    scratch: Scratch,
}

impl File {
    fn new(text: &str) -> File {
        let scratch = Scratch::new();
        fs::write(scratch.path("a.toml"), text).expect("a scratch file");
        File { scratch }
    }

    fn beside(self, name: &str, text: &str) -> File {
        let path = self.scratch.0.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a scratch folder");
        fs::write(path, text).expect("a scratch file");
        self
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = program();
        command.arg("check").args(arguments).arg("a.toml").current_dir(&self.scratch.0);
        command.output().expect("the program runs")
    }

    /// The complaints, as people see them.
    fn complaints(&self) -> String {
        let output = self.run(&[]);
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(78), ""), "{stderr}");
        stderr
    }

    /// The first line of every complaint.
    fn problems(&self) -> Vec<String> {
        let stderr = self.complaints();
        stderr.lines().filter_map(|line| line.strip_prefix("error: ")).map(str::to_owned).collect()
    }

    fn json(&self, arguments: &[&str], code: i32) -> Value {
        let output = self.run(&[&["--format", "json"], arguments].concat());
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(code), ""));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The whole output, with several mistakes in one file.
#[test]
fn all_mistakes_are_said_at_once_each_in_its_place() {
    let file = File::new(
        "version = 1
drain_timout = \"5s\"

[[service]]
builtin = \"ecko\"
engine = \"iterative\"
options = { ecko = 1 }

[[service]]
id = \"git\"
listen = [\"tcp:*:9418\", \"udp:9418\"]
exec = \"/no/such/git daemon\"
per_source = { most = 3, otherwise = \"queue\" }

[[service]]
id = \"git\"
listen = \"tcp:127.0.0.1:9418\"
builtin = \"daytime\"
socket_options = { nodely = true }
umask = 22
",
    );
    let expected = "\
error: `drain_timout` is not a key of the file
 --> a.toml:2:1
  |
2 | drain_timout = \"5s\"
  | ^^^^^^^^^^^^ unknown key
  |
  = help: did you mean `drain_timeout`?
";
    let said = file.complaints();
    assert!(said.starts_with(expected), "{said}");
    assert_eq!(said, include_str!("config/mistakes.txt"), "{said}");
}

#[test]
fn what_is_not_toml_is_said_with_the_rest() {
    let problems =
        File::new("version = 1\nwatch = maybe\nlog = { format = \"jsn\" }\n[[service]\nid = \"x\"\n")
            .problems();
    assert!(
        problems.iter().filter(|line| line.starts_with("this is not TOML: ")).count() >= 2,
        "{problems:?}"
    );
    assert!(problems.contains(&"`format` cannot be `jsn`".to_owned()), "{problems:?}");
}

/// What is wrong is found, and nothing else is said besides.
#[test]
fn each_mistake_has_its_own_words() {
    let service = |keys: &str| format!("version = 1\n[[service]]\n{keys}\n");
    let echo = |keys: &str| service(&format!("builtin = \"echo\"\nlisten = \"0\"\n{keys}"));
    let cat = |keys: &str| service(&format!("exec = \"cat\"\nlisten = \"0\"\n{keys}"));
    for (text, problem) in [
        (String::new(), "the file does not say the version of its format"),
        ("version = 2".into(), "there is no version 2 of this format"),
        ("version = 1\nservice = 3".into(), "`service` is not a list of tables"),
        ("version = 1\nmetrics = \"tcp:*:9000\"".into(), "metrics are for this machine only"),
        ("version = 1\ncontrol = \"control\"".into(), "`control` depends on where the program is started"),
        ("version = 1\nlog.to = \"syslog:demon\"".into(), "`to` cannot be `demon`"),
        ("version = 1\n[defaults]\nid = \"x\"".into(), "`id` cannot be a default"),
        ("version = 1\n[defaults]\nper_source = { most = 1, otherwise = \"queue\" }\n[[service]]\nbuiltin = \"echo\"\n[[service]]\nbuiltin = \"time\"".into(), "clients beyond `per_source` cannot wait in the kernel's queue: it is one for all sources"),
        ("version = 1\nmax_connections = 0".into(), "with `max_connections = 0` nobody could come in"),
        (service("listen = \"0\""), "the service does not say what is done with a connection"),
        (service("exec = \"cat\""), "the service does not say where it listens"),
        (service("builtin = \"echo\"\nexec = \"cat\""), "a service cannot have both `builtin` and `exec`"),
        (service("builtin = \"eko\""), "there is no built-in service `eko`"),
        (service("builtin = \"tcpmux\"\nlisten = \"0\""), "tcpmux has nothing to offer"),
        (cat("tcpmux = true"), "no service of this configuration is tcpmux"),
        (
            format!("{}[[service]]\nbuiltin = \"tcpmux\"\nlisten = \"0\"", echo("tcpmux = true\nid = \"x\"")),
            "a built-in service cannot be offered by tcpmux",
        ),
        (echo("engine = \"epol\""), "there is no engine `epol`"),
        (echo("workers = 5000"), "5000 is out of range"),
        (
            echo("options = { amplify = \"maybe\" }"),
            "option amplify: `maybe` is not a value it takes; use on|off",
        ),
        (echo("options = { nodelay = true }"), "service echo has no option `nodelay`"),
        (echo("socket_options = { nodelay = 7 }"), "option nodelay: `7` is not a value it takes; use on|off"),
        (echo("socket_mode = \"0600\""), "`socket_mode` does nothing for this service"),
        (echo("when_gone = \"terminate\""), "`when_gone` does nothing for this service"),
        (echo("id = \"a b\""), "`a b` cannot be an id"),
        (echo("user = \"no such user\""), "there is no user `no such user`"),
        (echo("user = \"4000000000\""), "user 4000000000 has no entry that would say its group"),
        (echo("umask = \"888\""), "`umask` cannot be `888`"),
        (echo("nice = 20"), "20 is not a nice value"),
        (echo("rlimits = { nofiles = 3 }"), "`nofiles` is not a key of rlimits"),
        (echo("rlimits = { nofile = [5, 3] }"), "the soft limit is above the hard one"),
        (echo("capabilities = [\"net_rw\"]"), "there is no capability `net_rw`"),
        (echo("landlock = { bind = 70000 }"), "70000 is not a port"),
        (echo("ipv6_prefix = 129"), "an IPv6 prefix of 129 bits does not exist"),
        (echo("access.times = \"8-18\""), "`8-18` is not a span of the day"),
        (echo("access.allow = []"), "an empty list of those who are let in lets nobody in"),
        (
            echo("access.allow = \"10.0.0.1/8\""),
            "`10.0.0.1/8` has bits beyond its prefix; write 10.0.0.1 or 10.0.0.0/8",
        ),
        (echo("access.deny = \"user:root\""), "who the client is can be known on Unix sockets only"),
        (echo("per_source = { otherwise = \"close\" }"), "the limit does not say how much"),
        (
            echo("rate_per_source = { most = \"1/s\", otherwise = \"queue\" }"),
            "clients beyond `rate_per_source` cannot wait in the kernel's queue: it is one for all sources",
        ),
        (echo("rate = { most = \"1/s\", otherwise = \"delay\" }"), "`delay` for how long?"),
        (echo("idle_timeout = \"5 parsecs\""), "`idle_timeout` cannot be `5 parsecs`"),
        (cat("idle_timeout = \"5s\""), "`idle_timeout` does nothing for this service"),
        (cat("engine = \"epoll\""), "`engine` does nothing for this service"),
        (cat("directory = \"/no/such\""), "there is no directory /no/such"),
        (cat("env = { \"A=B\" = \"c\" }"), "`A=B` cannot be the name of a variable"),
        (cat("mode = \"per-datagram\""), "`per-datagram` is for datagrams"),
        (
            cat("mode = \"nowait\"\npool = 3"),
            "the processes of a pool get the listening socket, so their mode is `wait`",
        ),
        (
            service("exec = \"cat\"\nlisten = \"udp:0\"\nmode = \"nowait\""),
            "datagrams have no connection that `nowait` could give to a process",
        ),
        (
            service("exec = \"cat\"\nlisten = [\"udp:0\", \"0\"]"),
            "the program's mode is not clear: there are streams and datagrams",
        ),
        (
            service("exec = \"cat | sort\"\nlisten = \"0\""),
            "`|` is for a shell, and none is started: quote it, or write [\"sh\", \"-c\", \"…\"]",
        ),
        (service("exec = \"/etc/passwd\"\nlisten = \"0\""), "/etc/passwd is not executable"),
        (service("exec = \"bin/cat\"\nlisten = \"0\""), "`bin/cat` depends on where this is started"),
        (
            service("exec = \"no-such-program\"\nlisten = \"0\""),
            "there is no program `no-such-program` in PATH",
        ),
        (
            service("builtin = \"echo\"\nengine = \"fork\"\nlisten = \"udp:0\""),
            "engine fork serves streams only",
        ),
        (service("builtin = \"echo\"\nlisten = \"tcp:*:7,nodely=on\""), "there is no socket option `nodely`"),
        (
            service("builtin = \"echo\"\nlisten = \"unix:/x\"\nsocket_options = { nodelay = true }"),
            "option `nodelay` applies to none of the sockets of this service",
        ),
        (service("builtin = \"echo\"\nlisten = [\"7\", \"tcp:*:7\"]"), "tcp:*:7 is taken already"),
        (service("builtin = \"echo\"\nlisten = [\"tcp:[::]:7\", \"tcp:127.0.0.1:7\"]"), "tcp:127.0.0.1:7 is taken already"),
        (service("builtin = \"echo\"\nlisten = [\"tcp:127.0.0.1:7\", \"tcp:[::]:7\"]"), "tcp:[::]:7 is taken already"),
        (service("builtin = \"echo\"\nlisten = [\"unix:/a\", \"unix-dgram:/a\"]"), "unix-dgram:/a is taken already"),
        (service("builtin = \"echo\"\n[[service]]\nbuiltin = \"echo\""), "tcp:7007 is taken already"),
        (
            service("forward = \"udp:1.2.3.4:5\"\nlisten = \"0\""),
            "streams and datagrams cannot be relayed to each other",
        ),
        (
            service("forward = \"tcp:[::1]:5\"\nlisten = \"tcp:[::1]:5\""),
            "the relay would connect to itself, without end",
        ),
        (service("forward = { source = \"::1\" }\nlisten = \"0\""), "the relay does not say where to"),
        (service("forward = \"10.0.0.2\"\nlisten = \"0\""), "the target has no port"),
        (service("forward = \"10.0.0.2:0\"\nlisten = \"0\""), "nobody can be connected to at port 0"),
        (
            service("forward = \"host:nosuch\"\nlisten = \"0\""),
            "cannot resolve port nosuch: the services database has no tcp/nosuch; use a number",
        ),
    ] {
        let found = File::new(&text).problems();
        assert_eq!(found.first().map(String::as_str), Some(problem), "{text}: {found:?}");
        let again = if problem.contains("taken") { usize::MAX } else { 1 };
        assert!(found.len() <= again, "{text}: {found:?}");
    }
}

#[test]
fn different_sockets_on_one_port_do_not_collide() {
    let file = File::new(
        "version = 1
[[service]]
builtin = \"echo\"
listen = [\"tcp:127.0.0.1:7007\", \"udp:*:7007\", \"tcp:127.0.0.2:7007\", \"unix:@a\", \"unix-dgram:@a\", \"0\", \"0\"]
[[service]]
builtin = \"daytime\"
listen = [\"tcp:[::]:7007,v6only=on\", \"tcp:*:7008,device=lo\", \"tcp:*:7008,device=eth7\"]
",
    );
    let good = file.json(&[], 0);
    assert_eq!(good["services"], serde_json::json!(["echo", "daytime"]));
}

#[test]
fn defaults_hold_unless_a_service_says_otherwise_and_their_origin_is_told() {
    let file = File::new(
        "version = 1
[defaults]
per_source = { most = 5, otherwise = \"close\" }
engine = \"poll\"
socket_options = { backlog = 9, nodelay = false }
access.deny = \"10.0.0.0/8\"
[[service]]
builtin = \"echo\"
per_source = 7
socket_options = { nodelay = true }
access.allow = [\"::1\"]
[[service]]
exec = \"cat\"
listen = \"unix:/tmp/x\"
",
    );
    let good = file.json(&["--explain"], 0);
    let sections = good["effective"].as_array().expect("sections");
    let value = |service: usize, key: &str| {
        let values = sections[service]["values"].as_array().expect("values");
        let found = values.iter().find(|line| line["key"] == key);
        found.map(|line| (line["value"].as_str().expect("text").to_owned(), line["at"]["line"].as_u64()))
    };
    let some = |value: &str, line| Some((value.to_owned(), line));
    assert_eq!(value(1, "engine"), some("\"poll\"", Some(4)));
    assert_eq!(value(1, "per_source.most"), some("7", Some(9)));
    assert_eq!(value(1, "per_source.otherwise"), some("\"close\"", Some(3)));
    assert_eq!(value(1, "access.allow"), some("\"::1\"", Some(11)));
    assert_eq!(value(1, "access.deny"), some("\"10.0.0.0/8\"", Some(6)));
    assert_eq!(value(1, "lifetime"), some("never", None));
    assert_eq!(value(0, "drain_timeout"), some("5s", None));
    assert!(
        value(1, "socket_options").is_some_and(|(text, _)| text.contains("backlog") && text.contains("true"))
    );
    assert_eq!(value(2, "engine"), None, "a program has no engine");
    assert_eq!(value(2, "id"), some("cat", None));
    let people = text(&file.run(&["--explain"]).stdout);
    assert!(people.contains("a.toml:4") && people.contains("built in"), "{people}");
}

#[test]
fn files_and_directories_are_included_in_order() {
    let service = |name: &str| format!("[[service]]\nbuiltin = \"{name}\"\nlisten = \"0\"\n");
    let file = File::new(&format!("version = 1\ninclude = [\"d\", \"one.conf\"]\n{}", service("echo")))
        .beside("d/20.toml", &service("time"))
        .beside("d/10.toml", &format!("version = 1\n{}", service("daytime")))
        .beside("d/.hidden.toml", "what?")
        .beside("d/README", "what?")
        .beside("one.conf", &service("discard"));
    assert_eq!(file.json(&[], 0)["services"], serde_json::json!(["echo", "daytime", "time", "discard"]));
    let file = File::new("version = 1\ninclude = [\"b.toml\", \"none.toml\"]\n")
        .beside("b.toml", "watch = true\ninclude = \"a.toml\"\n[[service]]\nbuiltin = \"eko\"\n");
    let problems = file.problems();
    assert!(
        problems.iter().any(|line| line == "./a.toml includes itself" || line == "a.toml includes itself"),
        "{problems:?}"
    );
    assert!(problems.iter().any(|line| line.starts_with("none.toml: ")), "{problems:?}");
    assert!(problems.iter().any(|line| line.contains("`eko`")), "{problems:?}");
    let file =
        File::new("version = 1\ninclude = \"b.toml\"\nwatch = true\n").beside("b.toml", "watch = false\n");
    assert_eq!(file.problems(), ["`watch` is said twice"]);
}

#[test]
fn what_cannot_be_read_is_said() {
    for (bytes, part) in [(&b"version = 1\n\xff"[..], "line 2 is not UTF-8"), (b"\0", "not TOML")] {
        let file = File::new("");
        fs::write(file.scratch.path("a.toml"), bytes).expect("a scratch file");
        assert!(file.complaints().contains(part), "{part}");
    }
    let file = File::new("");
    fs::remove_file(file.scratch.path("a.toml")).expect("it is there");
    assert!(file.complaints().contains("a.toml: no such file"), "{}", file.complaints());
}

/// The example is right as it is, and with any of its keys.
#[test]
fn the_example_is_right_and_has_every_key() {
    let output = program().args(["config", "example"]).output().expect("the program runs");
    let example = text(&output.stdout);
    assert_eq!(File::new(&example).json(&[], 0)["services"], serde_json::json!(["echo"]));
    let reference = text(&program().args(["config", "reference"]).output().expect("the program runs").stdout);
    let keys = reference.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut count = 0;
    for key in keys {
        count += 1;
        let told = [format!("#{key} = "), format!("{key} = "), format!("  {key}: ")];
        assert!(told.iter().any(|text| example.contains(text)), "`{key}` is not in the example");
    }
    assert!(count > 60, "{reference}");
}

#[test]
fn complaints_are_told_to_programs_too() {
    let bad = File::new("version = 1\nwach = true\n").json(&[], 78);
    assert_eq!(bad["good"], false);
    assert_eq!(bad["complaints"][0]["problem"], "`wach` is not a key of the file");
    assert_eq!(bad["complaints"][0]["help"], "did you mean `watch`?");
    assert_eq!(
        bad["complaints"][0]["marks"][0]["at"],
        serde_json::json!({"file": "a.toml", "line": 2, "column": 1, "length_bytes": 4})
    );
}

#[test]
fn very_many_mistakes_are_counted_and_the_first_are_shown() {
    let text: String = (0..300).map(|n| format!("nonsense{n} = 1\n")).collect();
    let said = File::new(&format!("version = 1\n{text}")).complaints();
    assert_eq!(said.matches("error: ").count(), 100, "{said}");
    assert!(said.ends_with("and 200 more\n\nswitchboard: a.toml: 300 errors\n"), "{said}");
    let services = "[[service]]\nbuiltin = \"echo\"\nlisten = \"0\"\n".repeat(1_025);
    assert_eq!(
        File::new(&format!("version = 1\n{services}")).problems(),
        ["there are 1025 services, 1024 is the most"]
    );
}

/// What can be said on the command line can be said in the file.
#[test]
fn every_option_of_serve_has_a_key() {
    let help = text(&program().args(["serve", "--help"]).output().expect("the program runs").stdout);
    let reference = text(&program().args(["config", "reference"]).output().expect("the program runs").stdout);
    let options = help.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line
            .strip_prefix('-')
            .filter(|_| line.starts_with("--"))
            .or(line.split_once(", -").map(|(_, rest)| rest))?;
        line.strip_prefix('-')?.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).next()
    });
    let mut count = 0;
    for option in options {
        count += 1;
        let key = match option {
            // What is said of a run, not of a configuration.
            "help" | "version" | "format" | "verbose" | "config" | "inetd" | "xinetd" | "compat"
            | "dialect" | "set" | "pid-file" | "upgrade" => continue,
            // Its opposite is said of a service.
            "strict" => "optional",
            "option" => "socket_options",
            "hours" => "times",
            "hosts-access" => "hosts_files",
            "max-connections-per-source" => "per_source",
            "refusal" => "message",
            "accept-proxy" => "proxy_in",
            "proxy-only" => "proxy_others",
            "client-cert" => "client",
            "tls-min" => "min_version",
            "tls-max" => "max_version",
            "log-file" => "to",
            "log-names" => "names",
            "log-mask" => "mask",
            same => &same.replace('-', "_"),
        };
        assert!(reference.contains(&format!("| `{key}`")), "--{option} has no key `{key}`");
    }
    assert!(count > 20, "{help}");
}
