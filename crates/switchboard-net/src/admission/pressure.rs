//! [`Pressure`]: how loaded the machine is, read at most once a second.

use switchboard_proto::Instant;

/// Load average of one minute, and memory that can be had without swapping.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Reading {
    pub(super) load: f64,
    /// Bytes.
    pub(super) available: u64,
}

/// The last reading. What cannot be read (no /proc) does not count as pressure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pressure {
    reading: Reading,
    read_at: Option<Instant>,
}

/// Time for which a reading is good.
pub(super) const FRESH_NS: u64 = 1_000_000_000;

impl Default for Pressure {
    fn default() -> Pressure {
        Pressure { reading: Reading { load: 0.0, available: u64::MAX }, read_at: None }
    }
}

impl Pressure {
    /// The pressure now, and when it will be read anew.
    pub(super) fn at(&mut self, now: Instant) -> (Reading, Instant) {
        let fresh = self.read_at.filter(|read_at| now.0.saturating_sub(read_at.0) < FRESH_NS);
        let read_at = fresh.unwrap_or_else(|| {
            let read = |path| std::fs::read_to_string(path).unwrap_or_default();
            self.reading = Reading {
                load: load(&read("/proc/loadavg")).unwrap_or(0.0),
                available: available(&read("/proc/meminfo")).unwrap_or(u64::MAX),
            };
            self.read_at = Some(now);
            now
        });
        (self.reading, Instant(read_at.0.saturating_add(FRESH_NS)))
    }
}

/// proc_loadavg(5).
fn load(text: &str) -> Option<f64> {
    text.split(' ').next()?.parse().ok()
}

/// proc_meminfo(5), `MemAvailable` (Linux 3.14), which is given in KiB.
fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_says() {
        assert_eq!(load("0.42 1.00 2.00 1/234 5678\n"), Some(0.42));
        assert_eq!(available("MemTotal: 5 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!((load(""), available("MemAvailable: x kB")), (None, None));
        let mut pressure = Pressure::default();
        let (reading, until) = pressure.at(Instant(5));
        assert!(reading.available > 0 && reading.load >= 0.0);
        assert_eq!(until, Instant(5 + FRESH_NS));
        assert_eq!(pressure.at(Instant(9)).1, until, "read once a second");
    }
}
