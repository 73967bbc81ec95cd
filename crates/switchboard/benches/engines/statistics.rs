//! What measurements say about what was wanted.

pub(crate) use switchboard_net::load::Spread;

/// What a measurement says about a limit it was held against.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Verdict {
    Within,
    Beyond,
    CannotTell,
}

impl Verdict {
    /// The value should be `limit` or more.
    pub(crate) fn at_least(spread: Option<Spread>, limit: f64) -> Verdict {
        match spread {
            Some(spread) if spread.low >= limit => Verdict::Within,
            Some(spread) if spread.high < limit => Verdict::Beyond,
            _ => Verdict::CannotTell,
        }
    }

    /// The value should be `limit` or less.
    pub(crate) fn at_most(spread: Option<Spread>, limit: f64) -> Verdict {
        match spread {
            Some(spread) if spread.high <= limit => Verdict::Within,
            Some(spread) if spread.low > limit => Verdict::Beyond,
            _ => Verdict::CannotTell,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Verdict::Within => "within",
            Verdict::Beyond => "beyond",
            Verdict::CannotTell => "cannot tell",
        }
    }
}
