//! [`Paired`]: what pairs of measurements say of a ratio, and how surely.

/// The ratio of two contenders.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Paired {
    /// Medians, to be shown.
    pub(super) a: f64,
    pub(super) b: f64,
    /// Geometric mean of B/A.
    pub(super) ratio: f64,
    /// Ends of its 99 % confidence interval.
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) pairs: usize,
}

/// What can be said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Differs,
    CannotTell,
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Verdict::Differs => "differs",
            Verdict::CannotTell => "cannot tell",
        }
    }
}

/// Two-sided 99 % quantiles of Student's t by degrees of freedom. Several figures are compared at once, so 95 % would be
/// too often wrong.
const STUDENT: [(usize, f64); 26] = [
    (1, 63.657),
    (2, 9.925),
    (3, 5.841),
    (4, 4.604),
    (5, 4.032),
    (6, 3.707),
    (7, 3.499),
    (8, 3.355),
    (9, 3.250),
    (10, 3.169),
    (11, 3.106),
    (12, 3.055),
    (13, 3.012),
    (14, 2.977),
    (15, 2.947),
    (16, 2.921),
    (17, 2.898),
    (18, 2.878),
    (19, 2.861),
    (20, 2.845),
    (25, 2.787),
    (30, 2.750),
    (40, 2.704),
    (60, 2.660),
    (120, 2.617),
    (1_000, 2.581),
];

/// The quantile for at least so many degrees of freedom; between two of the table the larger one, which is careful.
fn student(freedom: usize) -> f64 {
    let below = STUDENT.iter().rev().find(|(known, _)| *known <= freedom);
    below.map_or(STUDENT[0].1, |(_, quantile)| *quantile)
}

impl Paired {
    /// Of pairs of positive values; `None` if there are fewer than two.
    pub(super) fn of(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Paired> {
        let pairs: Vec<(f64, f64)> = pairs.into_iter().collect();
        let n = pairs.len();
        if n < 2 {
            return None;
        }
        let logs: Vec<f64> = pairs.iter().map(|(a, b)| (b / a).ln()).collect();
        let mean = logs.iter().sum::<f64>() / n as f64;
        let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
        let half = student(n - 1) * (variance / n as f64).sqrt();
        let median = |of: fn(&(f64, f64)) -> f64| {
            let mut values: Vec<f64> = pairs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            (values[(n - 1) / 2] + values[n / 2]) / 2.0
        };
        Some(Paired {
            a: median(|pair| pair.0),
            b: median(|pair| pair.1),
            ratio: mean.exp(),
            low: (mean - half).exp(),
            high: (mean + half).exp(),
            pairs: n,
        })
    }

    pub(super) fn verdict(&self) -> Verdict {
        if self.low > 1.0 || self.high < 1.0 { Verdict::Differs } else { Verdict::CannotTell }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_proto::Random;

    #[test]
    fn a_known_ratio_is_found_and_drift_cancels_out() {
        // Both get slower by half from pair to pair; B is always 1.2 times A.
        let pairs = (0..8).map(|n| 100.0 * 0.5_f64.powi(n)).map(|a| (a, 1.2 * a));
        let paired = Paired::of(pairs).unwrap();
        assert!((paired.ratio - 1.2).abs() < 1e-9 && paired.verdict() == Verdict::Differs, "{paired:?}");
        assert!(Paired::of([(1.0, 2.0)]).is_none());
    }

    #[test]
    fn noise_alone_is_rarely_called_a_difference() {
        let mut random = Random::new(7);
        let mut noise = || 1.0 + random.below(1_000) as f64 / 5_000.0;
        let trials = 2_000;
        let differing = (0..trials)
            .filter(|_| {
                let paired = Paired::of((0..10).map(|_| (noise(), noise()))).unwrap();
                paired.verdict() == Verdict::Differs
            })
            .count();
        // 1 % are expected; the seed is fixed.
        assert!((5..40).contains(&differing), "{differing} of {trials}");
    }

    #[test]
    fn few_degrees_of_freedom_are_wide() {
        assert_eq!(student(1), 63.657);
        assert_eq!(student(22), 2.845);
        assert_eq!(student(1_000_000), 2.581);
    }
}
