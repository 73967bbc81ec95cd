//! The clients.

use std::process::Command;

/// A client, and how it is called for each job. HOST and PORT stand for themselves.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    program: &'static str,
    tcp: &'static [&'static str],
    udp: &'static [&'static str],
    /// TLS with who is certified by the authority in the file CA; nothing if it does not speak it.
    tls: &'static [&'static str],
    /// From one port of 127.0.0.1 to another: FROM and PORT.
    relay: &'static [&'static str],
}

const SUBJECTS: [Subject; 7] = [
    Subject {
        name: "switchboard",
        program: env!("CARGO_BIN_EXE_switchboard"),
        tcp: &["connect", "HOST", "PORT"],
        udp: &["connect", "udp:HOST", "PORT"],
        tls: &["connect", "-4", "--ca", "CA", "tls:HOST:PORT"],
        relay: &["connect", "listen:127.0.0.1:FROM", "127.0.0.1:PORT"],
    },
    Subject {
        name: "our nc",
        program: env!("CARGO_BIN_EXE_switchboard"),
        tcp: &["nc", "HOST", "PORT"],
        udp: &["nc", "-u", "HOST", "PORT"],
        tls: &[],
        relay: &[],
    },
    Subject {
        name: "nc",
        program: "nc.openbsd",
        tcp: &["HOST", "PORT"],
        udp: &["-u", "HOST", "PORT"],
        tls: &[],
        relay: &[],
    },
    Subject {
        name: "nc -N",
        program: "nc.openbsd",
        tcp: &["-N", "HOST", "PORT"],
        udp: &["-u", "-N", "HOST", "PORT"],
        tls: &[],
        relay: &[],
    },
    Subject {
        name: "nc.traditional",
        program: "nc.traditional",
        tcp: &["HOST", "PORT"],
        udp: &["-u", "HOST", "PORT"],
        tls: &[],
        relay: &[],
    },
    Subject {
        name: "ncat",
        program: "ncat",
        tcp: &["HOST", "PORT"],
        udp: &["-u", "HOST", "PORT"],
        tls: &["-4", "--ssl-verify", "--ssl-trustfile", "CA", "HOST", "PORT"],
        relay: &["-l", "127.0.0.1", "FROM", "--sh-exec", "ncat 127.0.0.1 PORT"],
    },
    Subject {
        name: "socat",
        program: "socat",
        tcp: &["-", "TCP:HOST:PORT"],
        udp: &["-", "UDP:HOST:PORT"],
        tls: &["-", "OPENSSL:HOST:PORT,pf=ip4,cafile=CA"],
        relay: &["TCP-LISTEN:FROM,bind=127.0.0.1,reuseaddr", "TCP:127.0.0.1:PORT"],
    },
];

/// Those that are here.
pub(crate) fn installed(missing: &mut dyn FnMut(&str)) -> Vec<Subject> {
    let is_here = |subject: &Subject| {
        let asked = Command::new("sh").args(["-c", "command -v \"$0\" >/dev/null", subject.program]).status();
        let here = asked.is_ok_and(|status| status.success());
        if !here {
            missing(subject.name);
        }
        here
    };
    SUBJECTS.into_iter().filter(is_here).collect()
}

impl Subject {
    fn command(&self, words: &[&str], names: &[(&str, &str)]) -> Command {
        let mut command = Command::new(self.program);
        command.env_remove("SWITCHBOARD_FAULT");
        for word in words {
            let word = names.iter().fold((*word).to_owned(), |word, (name, value)| word.replace(name, value));
            command.arg(word);
        }
        command
    }

    pub(crate) fn tcp(&self, host: &str, port: u16) -> Command {
        self.command(self.tcp, &[("HOST", host), ("PORT", &port.to_string())])
    }

    pub(crate) fn udp(&self, host: &str, port: u16) -> Command {
        self.command(self.udp, &[("HOST", host), ("PORT", &port.to_string())])
    }

    /// If it speaks TLS.
    pub(crate) fn tls(&self, host: &str, port: u16, ca: &str) -> Option<Command> {
        let names = [("HOST", host), ("PORT", &*port.to_string()), ("CA", ca)];
        (!self.tls.is_empty()).then(|| self.command(self.tls, &names))
    }

    /// What passes bytes from one port to another, if it does that.
    pub(crate) fn relay(&self, from: u16, to: u16) -> Option<Command> {
        let names = [("FROM", &*from.to_string()), ("PORT", &*to.to_string())];
        (!self.relay.is_empty()).then(|| self.command(self.relay, &names))
    }
}
