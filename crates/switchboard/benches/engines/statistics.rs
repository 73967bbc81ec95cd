//! Medians and quartiles: what a handful of rounds on a shared machine can honestly be reduced to.

/// The middle of a set of measurements, and the half of them that lies around it.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// Quartiles, interpolated between neighbours; nothing if there is no finite value.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let quantile = |share: f64| {
            let place = share * last as f64;
            let below = values[place.floor() as usize];
            below + (values[place.ceil() as usize] - below) * place.fract()
        };
        Some(Spread { low: quantile(0.25), median: quantile(0.5), high: quantile(0.75) })
    }
}

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
