//! [`Action`]: what a step of a scenario does to the world.

use super::pattern::words;
use crate::names;
use crate::wire::{Act, Way};

/// See the module. A `role` is an actor's or the program's name, a `host` a machine's.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Nothing: the step only waits.
    Mark,
    /// Starts a role that was not started at the beginning.
    Start(String),
    /// Lets an actor that stands at `wait` go on; for a program, feeds the next line.
    Go(String),
    /// Feeds these bytes to standard input.
    Feed(String, String),
    /// Ends standard input.
    EndInput(String),
    /// Sends a signal to a role, or to its newest child (`server.child`).
    Kill(String, i32),
    /// The host's power goes: nothing is sent, nothing runs any more.
    Crash(String),
    /// Power is back, with a fresh memory and the same address; programs are not started.
    Reboot(String),
    /// SIGTERM to all, then SIGKILL, while the network still works.
    Shutdown(String),
    /// This impairment of the wire (see [`crate::wire::impairment::IMPAIRMENTS`]), with its value.
    Impair(Direction, String, String),
    /// The wire is as it was at the beginning.
    Mend,
    /// A RST with the right numbers arrives at this host.
    Reset(String),
    /// The administrator destroys the host's connections (`ss -K`).
    Destroy(String),
    /// The n-th call of that name is changed.
    Inject(Injection),
}

/// Which way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Both.
    Both,
    /// From the first host to the second.
    Between(String, String),
    /// Whatever this host sends.
    OutOf(String),
}

/// A system call that goes another way than the kernel would.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Injection {
    /// Whose.
    pub role: String,
    /// Name of the call.
    pub call: String,
    /// Which of them, from 1; 0 is every one.
    pub nth: u32,
    /// How.
    pub how: How,
}

/// See [`Injection`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// It fails with this errno and is not made.
    Fail(i32),
    /// It is made for at most this many bytes.
    Short(u32),
}

impl Action {
    /// Reads `kill server.child`, `cut client>server`, `inject client send 1 short 3`, …
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Action, String> {
        let words = words(text)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let own = |word: &str| word.to_owned();
        Ok(match *words {
            ["mark"] => Action::Mark,
            ["start", role] => Action::Start(own(role)),
            ["go", role] => Action::Go(own(role)),
            ["feed", role, line] => Action::Feed(own(role), own(line)),
            ["end-input", role] => Action::EndInput(own(role)),
            ["kill", role] => Action::Kill(own(role), libc::SIGKILL),
            ["kill", role, signal] => Action::Kill(
                own(role),
                names::signal(signal).ok_or_else(|| format!("no signal is named `{signal}`"))?,
            ),
            ["crash", host] => Action::Crash(own(host)),
            ["reboot", host] => Action::Reboot(own(host)),
            ["shutdown", host] => Action::Shutdown(own(host)),
            ["cut"] => impair(Direction::Both, "black-hole", "on")?,
            ["cut", direction] => impair(way(direction)?, "black-hole", "on")?,
            ["unreachable", host, code] => impair(Direction::OutOf(own(host)), "unreachable", code)?,
            ["drop", direction, ref what @ ..] => impair(way(direction)?, "drop-next", &what.join(" "))?,
            ["mtu", ref size @ ..] => impair(Direction::Both, "mtu", &size.join(" "))?,
            ["impair", direction, name, ref value @ ..] => impair(way(direction)?, name, &value.join(" "))?,
            ["mend"] => Action::Mend,
            ["reset", host] => Action::Reset(own(host)),
            ["destroy", host] => Action::Destroy(own(host)),
            ["inject", role, call, nth, how, value] => {
                let how = match how {
                    "fail" => How::Fail(names::errno(value).ok_or_else(|| format!("no errno is `{value}`"))?),
                    "short" => How::Short(number(value)?),
                    _ => return Err(format!("`{how}` is neither fail nor short")),
                };
                let nth = if nth == "every" { 0 } else { number(nth)? };
                Action::Inject(Injection { role: own(role), call: own(call), nth, how })
            }
            _ => return Err(format!("`{text}` is nothing that a step can do")),
        })
    }

    /// Whether it is done to a simulated host or its wire, and not to a process.
    pub fn needs_host(&self) -> bool {
        !matches!(
            self,
            Action::Mark
                | Action::Start(_)
                | Action::Go(_)
                | Action::Feed(..)
                | Action::EndInput(_)
                | Action::Kill(..)
                | Action::Inject(_)
        )
    }

    /// Whether it is part of the fault; the others only move the actors along.
    pub fn is_fault(&self) -> bool {
        !matches!(
            self,
            Action::Mark | Action::Start(_) | Action::Go(_) | Action::Feed(..) | Action::EndInput(_)
        )
    }
}

/// Reads `delay=20ms loss=2%`: impairments of the whole wire, by name and value.
///
/// # Errors
/// What is wrong with it, in words.
pub fn line(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut line = Vec::new();
    for word in text.split_whitespace() {
        let (name, value) = word.split_once('=').ok_or_else(|| format!("`{word}` is not NAME=VALUE"))?;
        Act::impair(Way::ALL, name, value)?;
        line.push((name.to_owned(), value.to_owned()));
    }
    Ok(line)
}

fn impair(direction: Direction, name: &str, value: &str) -> Result<Action, String> {
    Act::impair(Way::ALL, name, value)?;
    Ok(Action::Impair(direction, name.to_owned(), value.to_owned()))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number that fits here"))
}

fn way(text: &str) -> Result<Direction, String> {
    let (from, to) =
        text.split_once('>').ok_or_else(|| format!("`{text}` is no direction such as client>server"))?;
    Ok(Direction::Between(from.to_owned(), to.to_owned()))
}
