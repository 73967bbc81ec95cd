//! [`Pins`]: the processors that the workers of a service are pinned to.

use super::super::read::{Node, Reader, Value};
use super::{as_text, quantity_text};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use switchboard_net::sys::processors::allowed;
use switchboard_net::{ENGINES, EngineRow, Error, Workers, quantity};

as_text!(Pins);

/// Processors by number, or all that this process may use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Pins {
    All,
    These(Vec<usize>),
}

impl Pins {
    /// The processors' numbers, in the order of the workers.
    ///
    /// # Errors
    /// For people: those that this process may not use, and those that it may.
    pub(crate) fn here(&self) -> Result<Vec<usize>, String> {
        let allowed = allowed().map_err(|errno| format!("the allowed processors cannot be read: {errno}"))?;
        let Pins::These(wanted) = self else { return Ok(allowed) };
        match wanted.iter().find(|one| !allowed.contains(one)) {
            None => Ok(wanted.clone()),
            Some(one) => {
                Err(format!("processor {one} is none of those that may be used here: {}", Ranges(&allowed)))
            }
        }
    }
}

/// Why workers of this engine cannot be pinned, and which ones can; none: they can be.
pub(crate) fn why_not(engine: &EngineRow) -> Option<(String, String)> {
    let apart = |row: &EngineRow| row.workers == Workers::ReusePort;
    let able: Vec<&str> = ENGINES.iter().filter(|row| apart(row)).map(|row| row.name).collect();
    let why = || format!("the workers of engine {} share one listener", engine.name);
    (!apart(engine)).then(|| (why(), able.join(", ")))
}

/// As many workers as processors that they are pinned to; none if they are not.
pub(crate) fn one_for_each(pins: &[usize]) -> Option<u16> {
    u16::try_from(pins.len()).ok().filter(|count| *count > 0)
}

impl FromStr for Pins {
    type Err = Error;

    fn from_str(text: &str) -> Result<Pins, Error> {
        if text == "all" { Ok(Pins::All) } else { quantity::processors(text).map(Pins::These) }
    }
}

impl Value for Pins {
    const VALUES: &'static str = "processors: \"0,2-3\", or \"all\"";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Pins> {
        let pins = quantity_text(node).and_then(|text| text.parse().ok());
        pins.or_else(|| reader.wrong(node, "numbers and ranges of processors such as \"0,2-3\", or \"all\""))
    }
}

impl fmt::Display for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pins::All => f.write_str("all"),
            Pins::These(numbers) => Ranges(numbers).fmt(f),
        }
    }
}

/// Numbers as taskset(1) writes them.
struct Ranges<'a>(&'a [usize]);

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.0.chunk_by(|one, next| one + 1 == *next).enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match range {
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                _ => write!(f, "{comma}{}", range[0])?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["all", "0", "3,1", "0-2,7,9-10", "1,1"] {
            assert_eq!(text.parse::<Pins>().unwrap().to_string(), text);
        }
        assert_eq!("2-3,0".parse::<Pins>().unwrap(), Pins::These(vec![2, 3, 0]));
        for bad in ["", "All", "-1", "3-1", "1,", "x", "1024"] {
            assert!(bad.parse::<Pins>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_what_is_allowed_is_had() {
        let here = Pins::All.here().unwrap();
        assert_eq!(Pins::These(vec![here[0]; 3]).here().unwrap(), [here[0]; 3]);
        let said = Pins::These(vec![here[0], 1_023]).here().unwrap_err();
        assert!(said.contains("processor 1023") && said.contains(&Ranges(&here).to_string()), "{said}");
    }
}
