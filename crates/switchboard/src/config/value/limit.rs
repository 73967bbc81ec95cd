//! Limits: how often, and what happens beyond.

use super::super::read::{Node, Reader, Value};
use super::{Time, as_text};
use serde::{Serialize, Serializer};
use std::fmt;
use std::time::Duration;
use switchboard_net::admission::{Policy, rate};
use switchboard_net::{Rate, quantity};

as_text!(Frequency Speed Otherwise);

/// How often: `"50/s"`, `"256/m:20"`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Frequency {
    /// So many …
    pub(crate) count: u32,
    /// … in this time.
    pub(crate) per: Per,
    /// At most so many at once; none: `count`.
    pub(crate) burst: Option<u32>,
}

/// A unit of time for [`Frequency`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Per {
    Second,
    Minute,
    Hour,
    Day,
}

impl Frequency {
    /// As on the command line: see [`rate`].
    fn parse(text: &str) -> Option<Frequency> {
        rate(text).ok()?;
        let (whole, burst) = text.split_once(':').map_or((text, None), |(whole, burst)| (whole, Some(burst)));
        let (count, unit) = whole.split_once('/')?;
        let per = match unit {
            "s" => Per::Second,
            "m" | "min" => Per::Minute,
            "h" => Per::Hour,
            _ => Per::Day,
        };
        let number = |text| quantity::count(text).ok().and_then(|n| u32::try_from(n).ok());
        let burst = match burst {
            Some(text) => Some(number(text)?),
            None => None,
        };
        Some(Frequency { count: number(count)?, per, burst })
    }

    /// The token bucket.
    pub(crate) fn bucket(self) -> Rate {
        let seconds = match self.per {
            Per::Second => 1.0,
            Per::Minute => 60.0,
            Per::Hour => 3_600.0,
            Per::Day => 86_400.0,
        };
        Rate {
            per_second: f64::from(self.count) / seconds,
            burst: self.burst.unwrap_or(self.count).max(1).into(),
        }
    }
}

impl Value for Frequency {
    const VALUES: &'static str = "a rate: \"50/s\", \"256/m:20\"";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Frequency> {
        let rate = node.get_ref().as_str().and_then(Frequency::parse);
        rate.or_else(|| reader.wrong(node, "a rate such as \"50/s\", \"256/m\" or \"10/s:20\""))
    }
}

impl fmt::Display for Frequency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per {
            Per::Second => "s",
            Per::Minute => "m",
            Per::Hour => "h",
            Per::Day => "d",
        };
        write!(f, "{}/{unit}", self.count)?;
        self.burst.map_or(Ok(()), |burst| write!(f, ":{burst}"))
    }
}

/// A rate, or `off`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Speed(pub(crate) Option<Frequency>);

impl Value for Speed {
    const VALUES: &'static str = "a rate: \"100/s:2000\", or \"off\"";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Speed> {
        match node.get_ref().as_str() {
            Some("off") => Some(Speed(None)),
            text => text
                .and_then(Frequency::parse)
                .map(|rate| Speed(Some(rate)))
                .or_else(|| reader.wrong(node, "a rate such as \"100/s:2000\", or \"off\"")),
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(rate) => rate.fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// What happens to a client who comes when a limit is reached: a [`Policy`], as on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Otherwise {
    /// He waits in the kernel's queue.
    Queue,
    /// He is reset.
    Reset,
    /// He is closed, after the message if there is one.
    Close,
    /// He waits inside for at most so long, then is refused.
    Delay(Duration),
}

impl Otherwise {
    /// The same, as the doors have it.
    pub(crate) fn policy(self) -> Policy {
        match self {
            Otherwise::Queue => Policy::Queue,
            Otherwise::Reset => Policy::Reset,
            Otherwise::Close => Policy::Close,
            Otherwise::Delay(time) => Policy::Delay(time),
        }
    }
}

impl Value for Otherwise {
    const VALUES: &'static str = "\"queue\", \"reset\", \"close\" or \"delay:DURATION\"";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Otherwise> {
        let Some(text) = node.get_ref().as_str() else {
            return reader.wrong(node, "`queue`, `reset`, `close` or `delay:DURATION`, in quotes");
        };
        match text.parse() {
            Ok(Policy::Queue) => Some(Otherwise::Queue),
            Ok(Policy::Reset) => Some(Otherwise::Reset),
            Ok(Policy::Close) => Some(Otherwise::Close),
            Ok(Policy::Delay(time)) => Some(Otherwise::Delay(time)),
            Err(_) if text.starts_with("delay") => {
                reader.complain(node, "`delay` for how long?", "a duration, as in \"delay:5s\"")
            }
            Err(_) => reader.unknown(node, text, &["queue", "reset", "close", "delay:DURATION"]),
        }
    }
}

impl fmt::Display for Otherwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Otherwise::Queue => f.write_str("queue"),
            Otherwise::Reset => f.write_str("reset"),
            Otherwise::Close => f.write_str("close"),
            Otherwise::Delay(time) => write!(f, "delay:{}", Time(*time)),
        }
    }
}
