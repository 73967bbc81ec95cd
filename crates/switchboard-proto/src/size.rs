//! [`Sizes`]: how long requests are.

use crate::random::Random;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A distribution of sizes in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sizes {
    /// Always the same.
    Fixed(usize),
    /// Every size from the first to the second is as likely.
    Uniform(usize, usize),
    /// Many small and few large ones: of the doublings of the first up to the second, the k-th is chosen with a
    /// probability in proportion to 1/k (Zipf's law by rank).
    Zipf(usize, usize),
    /// These sizes, in proportion to their weights.
    Mix(Arc<[(usize, u32)]>),
}

impl Sizes {
    /// The next size.
    pub fn next(&self, random: &mut Random) -> usize {
        match self {
            Sizes::Fixed(size) => *size,
            Sizes::Uniform(least, most) => least + random.below(most - least + 1),
            Sizes::Zipf(least, most) => {
                let weights = (1..=doublings(*least, *most)).map(|k| WHOLE / k);
                let rank = pick(weights, random);
                (least << rank).min(*most)
            }
            Sizes::Mix(sizes) => sizes[pick(sizes.iter().map(|(_, weight)| *weight as usize), random)].0,
        }
    }

    /// The smallest and the largest size there is.
    pub fn bounds(&self) -> (usize, usize) {
        match self {
            Sizes::Fixed(size) => (*size, *size),
            Sizes::Uniform(least, most) | Sizes::Zipf(least, most) => (*least, *most),
            Sizes::Mix(sizes) => {
                let of = |fold: fn(usize, usize) -> usize| sizes.iter().map(|(size, _)| *size).reduce(fold);
                (of(Ord::min).unwrap_or(0), of(Ord::max).unwrap_or(0))
            }
        }
    }

    /// The mean size.
    pub fn mean(&self) -> f64 {
        let weighted = |sizes: Vec<(usize, usize)>| {
            let weights: f64 = sizes.iter().map(|(_, weight)| *weight as f64).sum();
            sizes.iter().map(|(size, weight)| *size as f64 * *weight as f64).sum::<f64>() / weights
        };
        match self {
            Sizes::Fixed(size) => *size as f64,
            Sizes::Uniform(least, most) => (*least as f64 + *most as f64) / 2.0,
            Sizes::Zipf(least, most) => {
                let ranks = 0..doublings(*least, *most);
                weighted(ranks.map(|rank| ((least << rank).min(*most), WHOLE / (rank + 1))).collect())
            }
            Sizes::Mix(sizes) => {
                weighted(sizes.iter().map(|(size, weight)| (*size, *weight as usize)).collect())
            }
        }
    }
}

/// Divided by every rank without a rest worth speaking of.
const WHOLE: usize = 720_720;

/// How many sizes there are from `least` to `most`, each twice the one before and the last cut.
fn doublings(least: usize, most: usize) -> usize {
    let mut count = 1;
    let mut size = least.max(1);
    while size < most {
        size = size.saturating_mul(2);
        count += 1;
    }
    count
}

/// A place, in proportion to the weights.
fn pick(weights: impl Iterator<Item = usize> + Clone, random: &mut Random) -> usize {
    let mut rest = random.below(weights.clone().sum());
    for (place, weight) in weights.enumerate() {
        if rest < weight {
            return place;
        }
        rest -= weight;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_keep_to_their_bounds_and_mean() {
        let mix = Sizes::Mix([(10, 9), (1_000, 1)].into());
        for sizes in [Sizes::Fixed(64), Sizes::Uniform(64, 4_096), Sizes::Zipf(64, 5_000), mix] {
            let mut random = Random::new(1);
            let (least, most) = sizes.bounds();
            let mut sum = 0;
            for _ in 0..20_000 {
                let size = sizes.next(&mut random);
                assert!((least..=most).contains(&size), "{sizes:?}: {size}");
                sum += size;
            }
            let mean = sum as f64 / 20_000.0;
            assert!((mean / sizes.mean() - 1.0).abs() < 0.05, "{sizes:?}: {mean} for {}", sizes.mean());
        }
    }

    #[test]
    fn small_ones_are_the_most_frequent_by_rank() {
        let sizes = Sizes::Zipf(64, 256);
        let mut random = Random::new(2);
        let mut counts = [0_u32; 3];
        for _ in 0..11_000 {
            counts[match sizes.next(&mut random) {
                64 => 0,
                128 => 1,
                _ => 2,
            }] += 1;
        }
        // 1 : 1/2 : 1/3 is 6 : 3 : 2 of 11.
        for (count, share) in counts.into_iter().zip([6_000, 3_000, 2_000]) {
            assert!(count.abs_diff(share) < 300, "{counts:?}");
        }
    }
}
