//! Agent: tells a load balancer how much work the server wants, in HAProxy's words: one line, then the end.
//!
//! A balancer multiplies the weight that it has for the server by the percentage, so give it one that can be
//! multiplied: HAProxy's default of 1 makes any percentage below 100 a 0, which is "no more work". What an agent has
//! taken away only the agent gives back: so with every percentage it says `ready`, which ends `drain` and `maint`.

use super::{Board, Datagram, Example, OptionError, Over, Recipe, Service, ServiceOption, Settings, TryIt};
use crate::session::{Flow, Io, Session};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::{self, Write};

/// Longest reason that is told, characters.
const MAX_REASON: usize = 100;

pub(super) const SERVICE: Service = Service {
    name: "agent",
    summary: "tells a load balancer how much work is wanted",
    source: "HAProxy agent-check",
    port: 0,
    board: Board { tcp: &[7099], udp: &[] },
    datagram: Datagram::Silent,
    options: &[
        ServiceOption {
            name: "state",
            values: "auto|up|drain|maint|down",
            default: "auto",
            summary: "what it says: what the server knows of itself, or what its operator says",
        },
        ServiceOption {
            name: "of",
            values: "ID",
            default: "",
            summary: "the service whose connections are counted; otherwise those of all",
        },
        ServiceOption {
            name: "full",
            values: "NUMBER",
            default: "0",
            summary: "connections with which no more work is wanted: 1%; 0: the limit that is configured, if there is one",
        },
        ServiceOption {
            name: "reason",
            values: "TEXT",
            default: "the operator says so",
            summary: "why, for `down`; one line",
        },
    ],
    try_it: TryIt { ask: "", show: "" },
    examples: &[
        Example {
            title: "a server that has nothing to do",
            options: &[],
            unix_s: 0,
            input: b"",
            output: b"up 100% ready\n",
            over: Over::Stream,
        },
        Example {
            title: "whatever is asked, the answer is the same",
            options: &[("state", "up")],
            unix_s: 0,
            input: b"how are you?\n",
            output: b"up 100% ready\n",
            over: Over::Stream,
        },
        Example {
            title: "no new work, please",
            options: &[("state", "drain")],
            unix_s: 0,
            input: b"",
            output: b"drain\n",
            over: Over::Stream,
        },
        Example {
            title: "no work at all",
            options: &[("state", "maint")],
            unix_s: 0,
            input: b"",
            output: b"maint\n",
            over: Over::Stream,
        },
        Example {
            title: "broken, and why",
            options: &[("state", "down"), ("reason", "the disk is full")],
            unix_s: 0,
            input: b"",
            output: b"down #the disk is full\n",
            over: Over::Stream,
        },
    ],
    make: |settings| {
        let said = said(settings)?.unwrap_or(Condition::Up { percent: 100 });
        Ok(Arc::new(move |_| Box::new(Agent { condition: said.clone() })))
    },
};

/// How a server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// It works, and wants this part of the work that it could be given, 1 to 100.
    Up {
        /// See above.
        percent: u8,
    },
    /// It wants no new connections; those that are there go on.
    Draining,
    /// It wants no connections, because its operator says so.
    Maintenance,
    /// It does not work, for this reason.
    Down(String),
}

impl Condition {
    /// Of a server with `open` connections, which is full with `full` of them: never quite nothing, since a weight of
    /// 0 would be read as `drain`.
    pub fn of_load(open: u64, full: u64) -> Condition {
        let left = u128::from(full.saturating_sub(open));
        let percent = (100 * left).checked_div(u128::from(full)).unwrap_or(100);
        Condition::Up { percent: percent.clamp(1, 100) as u8 }
    }
}

/// The line's words.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Up { percent } => write!(f, "up {percent}% ready"),
            Condition::Draining => f.write_str("drain"),
            Condition::Maintenance => f.write_str("maint"),
            Condition::Down(reason) => {
                f.write_str("down #")?;
                // One line, whatever it says.
                let plain = |c: char| if c.is_control() { ' ' } else { c };
                reason.chars().take(MAX_REASON).map(plain).try_for_each(|c| f.write_char(c))
            }
        }
    }
}

/// What the operator has said; nothing for `auto`.
fn said(settings: &Settings<'_>) -> Result<Option<Condition>, OptionError> {
    full(settings)?;
    match settings.value("state") {
        "auto" => Ok(None),
        "up" => Ok(Some(Condition::Up { percent: 100 })),
        "drain" => Ok(Some(Condition::Draining)),
        "maint" => Ok(Some(Condition::Maintenance)),
        "down" => Ok(Some(Condition::Down(String::from(settings.value("reason"))))),
        _ => Err(settings.bad("state")),
    }
}

fn full(settings: &Settings<'_>) -> Result<u64, OptionError> {
    settings.value("full").parse().map_err(|_| settings.bad("full"))
}

/// What an agent watches, as its options say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watched {
    /// The service whose connections count; none: all.
    pub service: Option<String>,
    /// Connections with which it is full; 0: not said.
    pub full: u64,
}

impl Recipe {
    /// The service `agent` with these options, and a condition that is asked for each time unless the operator says
    /// which it is.
    ///
    /// # Errors
    /// Options that it does not have, or does not take.
    pub fn agent<F>(options: &[(&str, &str)], look: F) -> Result<Recipe, OptionError>
    where
        F: Fn(&Watched) -> Condition + Send + Sync + 'static,
    {
        let mut recipe = SERVICE.recipe(options)?;
        let settings = Settings { rows: SERVICE.options, given: options };
        if said(&settings)?.is_none() {
            let of = settings.value("of");
            let service = (!of.is_empty()).then(|| String::from(of));
            let watched = Watched { service, full: full(&settings)? };
            recipe.make = Arc::new(move |_| Box::new(Agent { condition: look(&watched) }));
        }
        Ok(recipe)
    }
}

struct Agent {
    condition: Condition,
}

impl Session for Agent {
    fn advance(&mut self, io: &mut Io<'_>) -> Flow {
        match writeln!(io.tx, "{}", self.condition) {
            Ok(()) => Flow::Finish,
            // The output queue takes everything; there is nothing else that could fail.
            Err(fmt::Error) => Flow::Abort,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn work_is_wanted_as_long_as_there_is_room() {
        for (open, full, percent) in
            [(0, 0, 100), (9, 0, 100), (0, 10, 100), (1, 10, 90), (5, 10, 50), (10, 10, 1), (99, 10, 1)]
        {
            assert_eq!(Condition::of_load(open, full), Condition::Up { percent }, "{open} of {full}");
        }
        assert_eq!(Condition::of_load(u64::MAX, u64::MAX), Condition::Up { percent: 1 });
    }

    #[test]
    fn a_reason_is_one_line() {
        let reason = "a\nb\r".to_string() + &"x".repeat(1_000);
        let line = Condition::Down(reason).to_string();
        assert!(line.starts_with("down #a b x") && line.len() == 6 + MAX_REASON, "{line}");
    }

    #[test]
    fn options_that_cannot_be_are_refused() {
        for options in [[("full", "many")], [("state", "fine")], [("off", "x")]] {
            assert!(Recipe::agent(&options, |_| Condition::Draining).is_err(), "{options:?}");
        }
    }
}
