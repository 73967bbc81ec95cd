//! [`Spread`]: what a handful of rounds on a shared machine can honestly be reduced to.

/// The middle of a set of measurements, and the half of them that lies around it: quartiles.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spread {
    /// A quarter of the measurements is below.
    pub low: f64,
    /// Half of them is.
    pub median: f64,
    /// Three quarters are.
    pub high: f64,
}

impl Spread {
    /// Quartiles, interpolated between neighbours; nothing if there is no finite value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_neighbours() {
        assert_eq!(
            Spread::of([4.0, 1.0, f64::NAN, 2.0, 3.0]),
            Some(Spread { low: 1.75, median: 2.5, high: 3.25 })
        );
        assert_eq!(Spread::of([7.0]), Some(Spread { low: 7.0, median: 7.0, high: 7.0 }));
        assert_eq!(Spread::of([f64::INFINITY]), None);
    }
}
