//! [`Shard`]: which part of a plan is done here, when several processes or machines share it.

use crate::error::Error;
use std::fmt;
use std::str::FromStr;

/// Most shards of one run.
pub const MOST_SHARDS: usize = 10_000;

/// Part `i` of `n`, written `i/n`, counted from 1. Connection number `c` and request number `r` belong to part
/// `c mod n + 1` and `r mod n + 1`, so that the parts together do what one process would do alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// All of it.
    pub const WHOLE: Shard = Shard { index: 0, count: 1 };

    /// Part `number` of `count`, counted from 1.
    ///
    /// # Errors
    /// There is no such part.
    pub fn new(number: usize, count: usize) -> Result<Shard, Error> {
        if (1..=MOST_SHARDS).contains(&count) && (1..=count).contains(&number) {
            return Ok(Shard { index: number - 1, count });
        }
        Err(Error::Config(format!("shard {number}/{count}: use I/N with 1 ≤ I ≤ N ≤ {MOST_SHARDS}")))
    }

    /// From 0.
    pub fn index(self) -> usize {
        self.index
    }

    /// How many parts there are.
    pub fn count(self) -> usize {
        self.count
    }

    /// The numbers below `all` that belong to this part.
    pub fn own(self, all: usize) -> impl ExactSizeIterator<Item = usize> {
        (self.index..all).step_by(self.count)
    }
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Shard, Error> {
        let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        let (number, count) = parts.ok_or_else(|| {
            Error::Config(format!("`{}` is not a shard: use I/N, as in 2/8", text.escape_default()))
        })?;
        Shard::new(number, count)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index + 1, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_read_and_written() {
        for text in ["1/1", "2/8", "8/8"] {
            assert_eq!(text.parse::<Shard>().unwrap().to_string(), text);
        }
        for bad in ["", "1", "0/2", "3/2", "a/b", "1/0", "1/10001"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
}
