//! [`Service`]: a row of the table of services; [`SERVICES`]: the table; one protocol a file in `service/`.

use crate::datagram::MAX_DATAGRAM;
use crate::session::{Session, Start};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

mod acknowledge;
mod agent;
mod chargen;
mod daytime;
mod discard;
mod echo;
mod qotd;
mod sum;
mod sum_binary;
mod time;

pub use agent::{Condition, Watched};

/// Every service, in the order in which they are listed.
pub static SERVICES: &[Service] = &[
    echo::SERVICE,
    discard::SERVICE,
    daytime::SERVICE,
    qotd::SERVICE,
    chargen::SERVICE,
    time::SERVICE,
    acknowledge::SERVICE,
    sum::SERVICE,
    sum_binary::SERVICE,
    agent::SERVICE,
];

/// A row of the table: what a protocol is, and how to make its sessions.
#[derive(Clone, Copy)]
pub struct Service {
    /// The name users write; where there is one, the name in the services database.
    pub name: &'static str,
    /// One line: what it does.
    pub summary: &'static str,
    /// Where it is specified.
    pub source: &'static str,
    /// The port assigned by IANA; 0 if none.
    pub port: u16,
    /// Ports of the default board, above 1023, for streams and datagrams; 0 if it is not on it.
    pub board: Board,
    /// What becomes of a datagram.
    pub datagram: Datagram,
    /// Options of this service.
    pub options: &'static [ServiceOption],
    /// How a newcomer tries it in a shell: what writes the request, and what shows the answer; empty for neither.
    pub try_it: TryIt,
    /// Worked examples; they are run as tests and shown in the documentation.
    pub examples: &'static [Example],
    /// Checks the options and returns the maker of sessions.
    pub make: fn(&Settings<'_>) -> Result<Maker, OptionError>,
}

/// Makes a session for each conversation.
pub type Maker = Arc<dyn Fn(&Start) -> Box<dyn Session> + Send + Sync>;

/// Shell commands before and after a client, to try a service by hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TryIt {
    /// Writes a request; empty: the service speaks first.
    pub ask: &'static str,
    /// Shows the answer; empty: it is text.
    pub show: &'static str,
}

/// Unprivileged ports where a service is found when nothing was asked for; 0 = not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Board {
    /// TCP ports: the one of the board, and the one of classic course material.
    pub tcp: &'static [u16],
    /// UDP ports.
    pub udp: &'static [u16],
}

/// What a service does with a datagram, and how long its answer may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Datagram {
    /// Takes it, never answers.
    Silent,
    /// Answers with at most as many bytes as it was sent, unless the operator asks for `amplify`: an answer
    /// longer than the request turns a forged source address into an attack on its owner.
    Bounded,
    /// Answers with at most this many bytes, whatever it was sent (a service whose request is empty by design).
    Fixed(usize),
}

/// An option of a service.
#[derive(Clone, Copy, Debug)]
pub struct ServiceOption {
    /// Its name, as in `--option name=value`.
    pub name: &'static str,
    /// What values it takes, for messages: `strict|lenient`, `TEXT`.
    pub values: &'static str,
    /// The value if it is not given.
    pub default: &'static str,
    /// One line: what it does.
    pub summary: &'static str,
}

/// A worked example: these bytes in, those bytes out.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// What it shows.
    pub title: &'static str,
    /// Options that differ from the defaults.
    pub options: &'static [(&'static str, &'static str)],
    /// The date, for services that tell it: seconds since 1970, UTC.
    pub unix_s: i64,
    /// What the client sends before it ends its input.
    pub input: &'static [u8],
    /// What the client receives: all of it, or its beginning for a service that sends without end.
    pub output: &'static [u8],
    /// Where the example applies.
    pub over: Over,
}

/// Where a worked example applies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    /// On a stream and in one datagram.
    Both,
    /// On a stream.
    Stream,
    /// On a stream, and the output shown is only its beginning.
    Endless,
    /// In one datagram; an answer is sent.
    Datagram,
    /// In one datagram; there is no answer.
    Silence,
}

/// A configured service, ready to make sessions: what an engine is given.
#[derive(Clone)]
pub struct Recipe {
    /// Name for logs and tables.
    pub name: Arc<str>,
    /// What becomes of a datagram.
    pub datagram: Datagram,
    make: Maker,
}

impl Recipe {
    /// A service of your own: `make` is called for each conversation. Datagrams are answered with no more bytes
    /// than they brought; change [`datagram`](Recipe::datagram) for another policy.
    pub fn new<S, F>(name: &str, make: F) -> Recipe
    where
        S: Session + 'static,
        F: Fn(&Start) -> S + Send + Sync + 'static,
    {
        Recipe {
            name: Arc::from(name),
            datagram: Datagram::Bounded,
            make: Arc::new(move |start| Box::new(make(start))),
        }
    }

    /// A session for a conversation that starts now.
    pub fn session(&self, start: &Start) -> Box<dyn Session> {
        (self.make)(start)
    }
}

impl Service {
    /// The row called `name`.
    pub fn find(name: &str) -> Option<&'static Service> {
        SERVICES.iter().find(|service| service.name == name)
    }

    /// Checks `options` and returns the configured service.
    ///
    /// # Errors
    /// The first option that this service does not have, or whose value it does not take.
    pub fn recipe(&self, options: &[(&str, &str)]) -> Result<Recipe, OptionError> {
        for (name, _) in options {
            if *name != AMPLIFY.name && !self.options.iter().any(|option| option.name == *name) {
                return Err(OptionError {
                    name: String::from(*name),
                    problem: format!("service {} has no such option", self.name),
                });
            }
        }
        let settings = Settings { rows: self.options, given: options };
        let mut recipe =
            Recipe { name: Arc::from(self.name), datagram: self.datagram, make: (self.make)(&settings)? };
        match settings.value(AMPLIFY.name) {
            "off" => {}
            "on" if recipe.datagram == Datagram::Bounded => recipe.datagram = Datagram::Fixed(MAX_DATAGRAM),
            "on" => {}
            _ => return Err(settings.bad(AMPLIFY.name)),
        }
        Ok(recipe)
    }
}

/// The option that every datagram service has: answers may be longer than requests.
pub static AMPLIFY: ServiceOption = ServiceOption {
    name: "amplify",
    values: "on|off",
    default: "off",
    summary: "datagrams may be answered with more bytes than they brought (RFC behaviour; a risk to others)",
};

/// The options given for a service, over its defaults.
pub struct Settings<'a> {
    rows: &'static [ServiceOption],
    given: &'a [(&'a str, &'a str)],
}

impl<'a> Settings<'a> {
    /// The value of `name`: the last one given, else the row's default.
    pub fn value(&self, name: &str) -> &'a str {
        let default = || self.row(name).map_or("", |row| row.default);
        self.get(name).unwrap_or_else(default)
    }

    fn row(&self, name: &str) -> Option<&'static ServiceOption> {
        self.rows.iter().chain([&AMPLIFY]).find(|row| row.name == name)
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.given.iter().rev().find(|(given, _)| *given == name).map(|(_, value)| *value)
    }

    /// The error for a value that is none of those the row names.
    pub fn bad(&self, name: &str) -> OptionError {
        let values = self.row(name).map_or("", |row| row.values);
        OptionError {
            name: String::from(name),
            problem: format!("`{}` is not a value it takes; use {values}", self.value(name)),
        }
    }
}

/// An option that a service does not take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OptionError {
    /// The option's name as given.
    pub name: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "option {}: {}", self.name, self.problem)
    }
}

impl core::error::Error for OptionError {}
