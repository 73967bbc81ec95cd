//! A link that carries so many bits a second, and a queue before it.

use super::{Fate, Impair, Impairment, Passing};
use crate::record::Nanos;
use switchboard_net::quantity;

pub(super) const IMPAIRMENT: Impairment = Impairment {
    name: "rate",
    summary: "so many bits a second, after a queue of so many bytes (256 KiB) that drops what does not fit",
    examples: &["8Mbit/s", "1Mbit/s 20kB"],
    make: |text| Ok(Box::new(parse(text)?)),
};

/// Bytes that wait before a link, unless it is said.
const QUEUE: u64 = 256 * 1024;

struct Rate {
    bits_per_s: f64,
    queue_bytes: u64,
    /// When the last packet that was taken will have left.
    free_at: Nanos,
}

fn parse(text: &str) -> Result<Rate, String> {
    let (rate, queue) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
    let bits_per_s = quantity::bit_rate(rate).map_err(|error| error.to_string())?;
    // Below a bit a second a packet would take hours; that is a black hole.
    if !bits_per_s.is_finite() || bits_per_s < 1.0 {
        return Err(format!("`{rate}`: at least 1 bit/s"));
    }
    let queue_bytes = match queue.trim() {
        "" => QUEUE,
        queue => quantity::bytes(queue).map_err(|error| error.to_string())? as u64,
    };
    Ok(Rate { bits_per_s, queue_bytes, free_at: 0 })
}

impl Impair for Rate {
    fn meet(&mut self, passing: &mut Passing<'_>) -> Fate {
        let bytes = passing.frame.packet().len() as u64;
        let start = self.free_at.max(passing.now);
        let waiting_bytes = (start - passing.now) as f64 * self.bits_per_s / 8e9;
        // Whatever its size, a packet that finds nobody waiting is taken.
        if start > passing.now && waiting_bytes + bytes as f64 > self.queue_bytes as f64 {
            return Fate::Drop("the queue of the link is full");
        }
        let took = (bytes as f64 * 8e9 / self.bits_per_s).round() as Nanos;
        self.free_at = start.saturating_add(took);
        passing.due = passing.due.saturating_add(self.free_at - passing.now);
        Fate::Pass
    }
}
