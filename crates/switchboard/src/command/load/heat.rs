//! [`Heat`]: how many answers took how long, when: the grid behind the heat maps in terminal and report.

use hdrhistogram::Histogram;

/// Rows of a decade: a row is a quarter longer than the one below it.
pub(super) const ROWS_PER_DECADE: usize = 10;
/// Rows: from 100 ns to 1,000 s.
const ROWS: usize = 10 * ROWS_PER_DECADE;
/// The lower end of the lowest row, in nanoseconds.
const LEAST_NS: f64 = 100.0;

/// Columns of time, rows of latency on a logarithmic scale.
#[derive(Clone, Debug)]
pub(super) struct Heat {
    columns: Vec<[u64; ROWS]>,
    most_columns: usize,
    /// Slices in one column.
    slices: usize,
    /// Slices in the last column.
    filled: usize,
}

impl Heat {
    /// With at most so many columns: when there would be more, two become one.
    pub(super) fn new(most_columns: usize) -> Heat {
        Heat { columns: Vec::new(), most_columns: most_columns.max(2), slices: 1, filled: 1 }
    }

    /// Adds the next slice of time.
    pub(super) fn add(&mut self, times: &Histogram<u64>) {
        if self.filled < self.slices {
            self.filled += 1;
        } else {
            if self.columns.len() == self.most_columns {
                let pairs = self.columns.chunks(2).map(|pair| {
                    let mut sum = pair[0];
                    pair[1..].iter().for_each(|more| sum.iter_mut().zip(more).for_each(|(sum, n)| *sum += n));
                    sum
                });
                self.columns = pairs.collect();
                self.slices *= 2;
            }
            self.columns.push([0; ROWS]);
            self.filled = 1;
        }
        let Some(column) = self.columns.last_mut() else { return };
        for value in times.iter_recorded() {
            column[row(value.value_iterated_to())] += value.count_since_last_iteration();
        }
    }

    /// How many slices a column stands for.
    pub(super) fn slices_per_column(&self) -> usize {
        self.slices
    }

    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    /// The rows in which there is anything: first and last.
    pub(super) fn rows(&self) -> Option<(usize, usize)> {
        let used = |row: &usize| self.columns.iter().any(|column| column[*row] > 0);
        Some(((0..ROWS).find(used)?, (0..ROWS).rev().find(used)?))
    }

    pub(super) fn count(&self, column: usize, row: usize) -> u64 {
        self.columns.get(column).and_then(|column| column.get(row)).copied().unwrap_or(0)
    }

    /// The greatest count of all.
    pub(super) fn most(&self) -> u64 {
        self.columns.iter().flatten().copied().max().unwrap_or(0)
    }
}

/// The row of a time.
fn row(ns: u64) -> usize {
    let decades = (ns.max(1) as f64 / LEAST_NS).log10();
    ((decades * ROWS_PER_DECADE as f64).floor().max(0.0) as usize).min(ROWS - 1)
}

/// The lower end of a row in nanoseconds.
pub(super) fn floor_ns(row: usize) -> f64 {
    LEAST_NS * 10_f64.powf(row as f64 / ROWS_PER_DECADE as f64)
}

/// How strong a count is against the greatest, from 0 (none) to 1: by its logarithm, so that a single answer is seen
/// beside a million.
pub(super) fn strength(count: u64, most: u64) -> f64 {
    if count == 0 { 0.0 } else { ((count + 1) as f64).ln() / ((most + 1) as f64).ln().max(f64::MIN_POSITIVE) }
}

/// The map in braille: every letter is two columns wide and four rows high. The top is the longest time; lines begin
/// with it.
pub(super) fn braille(heat: &Heat) -> Vec<String> {
    /// Bits of the dots of a braille letter, row by row from the top.
    const DOTS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
    /// Shades of one hue, from weak to strong, in the palette of 256; weak ones are still seen on black and white.
    const SHADES: [u8; 5] = [67, 68, 74, 215, 208];
    let Some((low, high)) = heat.rows() else { return Vec::new() };
    let most = heat.most();
    let lines = (high - low) / 4 + 1;
    let top = low + lines * 4 - 1;
    let line = |line: usize| {
        let label = super::summary::people(floor_ns(top - 4 * line - 3));
        let mut text = format!("{label:>9} ");
        for letter in 0..heat.width().div_ceil(2) {
            let (mut dots, mut strongest) = (0, 0);
            for (down, bits) in DOTS.iter().enumerate() {
                for (across, bit) in bits.iter().enumerate() {
                    let count = heat.count(2 * letter + across, top - 4 * line - down);
                    dots |= if count > 0 { *bit } else { 0 };
                    strongest = strongest.max(count);
                }
            }
            let shade = (strength(strongest, most) * SHADES.len() as f64).ceil() as usize;
            let letter = char::from_u32(0x2800 + dots).unwrap_or(' ');
            match shade.checked_sub(1) {
                Some(shade) => {
                    let colour = anstyle::Ansi256Color(SHADES[shade.min(SHADES.len() - 1)]).on_default();
                    text += &format!("{colour}{letter}{colour:#}");
                }
                None => text.push(' '),
            }
        }
        text
    };
    (0..lines).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_net::load::times;

    #[test]
    fn columns_are_merged_and_nothing_is_lost() {
        let mut heat = Heat::new(4);
        for n in 1..=37_u64 {
            let mut slice = times();
            slice.record_n(n * 1_000, n).unwrap();
            heat.add(&slice);
        }
        assert!(heat.width() <= 4 && heat.slices_per_column() >= 10);
        let (low, high) = heat.rows().unwrap();
        let sum: u64 = (0..heat.width())
            .flat_map(|c| (low..=high).map(move |r| (c, r)))
            .map(|(c, r)| heat.count(c, r))
            .sum();
        assert_eq!(sum, (1..=37).sum::<u64>());
    }

    #[test]
    fn a_dot_stands_where_its_time_belongs() {
        let mut heat = Heat::new(8);
        for ns in [1_000, 1_000, 1_000_000] {
            let mut slice = times();
            slice.record(ns).unwrap();
            heat.add(&slice);
        }
        let lines: Vec<String> =
            braille(&heat).iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect();
        assert!(lines[0].contains("ms") || lines[0].contains("µs"), "{lines:?}");
        assert_eq!(lines[0].trim_end().chars().last().map(|c| c > '\u{2800}'), Some(true), "{lines:?}");
        assert!(lines.last().unwrap().ends_with(' '), "the last column holds only the long time: {lines:?}");
    }

    #[test]
    fn rows_go_up_with_time_and_nothing_is_outside() {
        assert!(row(0) == 0 && row(1) == 0 && row(u64::MAX) == ROWS - 1);
        for r in 0..ROWS - 1 {
            assert_eq!(row((floor_ns(r) * 1.1) as u64), r);
        }
    }
}
