//! Numbers as users write them: durations, sizes and rates with their units, processors in ranges.

use crate::error::Error;
use std::time::Duration;

/// `500ms`, `3s`, `1.5m`, `2h`, `1d`, a bare number of seconds, or `0` for none.
///
/// # Errors
/// What is not a number, not a unit, negative, or beyond 10,000 days.
pub fn duration(text: &str) -> Result<Duration, Error> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3_600.0),
        ("d", 86_400.0),
    ];
    let seconds = scaled(text, "duration", &UNITS, "s", "500ms, 3s, 1.5m, 2h")?;
    if seconds > 10_000.0 * 86_400.0 {
        return Err(Error::Config(format!("duration `{text}` is longer than 10,000 days")));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// `64k`, `1.5MiB`, `10MB`, or a bare number of bytes; k, M and G are powers of 1,000, Ki, Mi and Gi of 1,024.
///
/// # Errors
/// What is not a number, not a unit, or does not fit.
pub fn bytes(text: &str) -> Result<usize, Error> {
    const UNITS: [(&str, f64); 14] = [
        ("B", 1.0),
        ("k", 1e3),
        ("K", 1e3),
        ("kB", 1e3),
        ("KB", 1e3),
        ("Ki", 1024.0),
        ("KiB", 1024.0),
        ("M", 1e6),
        ("MB", 1e6),
        ("Mi", 1_048_576.0),
        ("MiB", 1_048_576.0),
        ("G", 1e9),
        ("GB", 1e9),
        ("GiB", 1_073_741_824.0),
    ];
    let bytes = scaled(text, "size", &UNITS, "B", "65536, 64KiB, 1.5MB")?;
    Ok(bytes.round() as usize)
}

/// A rate of data in bits per second: `100Mbit/s`, `1Gbit`, `10Gbps`.
///
/// # Errors
/// What is not a number or not a unit.
pub fn bit_rate(text: &str) -> Result<f64, Error> {
    const UNITS: [(&str, f64); 8] = [
        ("bit", 1.0),
        ("kbit", 1e3),
        ("Mbit", 1e6),
        ("Gbit", 1e9),
        ("bps", 1.0),
        ("kbps", 1e3),
        ("Mbps", 1e6),
        ("Gbps", 1e9),
    ];
    scaled(text.strip_suffix("/s").unwrap_or(text), "rate", &UNITS, "", "100Mbit/s, 1Gbit/s")
}

/// A count, `10k` being 10,000.
///
/// # Errors
/// What is not a whole number, or beyond 4 · 10⁹.
pub fn count(text: &str) -> Result<usize, Error> {
    let n = scaled(text, "number", &[("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9)], "", "50, 10k, 1M")?;
    if n.fract() != 0.0 || n > 4e9 {
        return Err(Error::Config(format!("number `{text}` is not a whole number up to 4 · 10⁹")));
    }
    Ok(n as usize)
}

/// `0`, `0,2`, `1-3`: numbers of processors, as in taskset(1).
///
/// # Errors
/// What is not a number or not a range.
pub fn processors(text: &str) -> Result<Vec<usize>, Error> {
    let wrong = || {
        let text = text.escape_default();
        Error::Config(format!("`{text}` are no processors: use numbers and ranges, as in 0,2-3"))
    };
    let mut processors = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|n| *n < 1_024).ok_or_else(wrong);
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(wrong());
        }
        processors.extend(first..=last);
    }
    Ok(processors)
}

/// Buffer for a path that carries `bits_per_s` with a round trip of `rtt`: the bandwidth-delay product, bytes.
pub fn bandwidth_delay_product(bits_per_s: f64, rtt: Duration) -> usize {
    (bits_per_s / 8.0 * rtt.as_secs_f64()).ceil() as usize
}

fn scaled(
    text: &str,
    what: &str,
    units: &[(&str, f64)],
    default_unit: &str,
    examples: &str,
) -> Result<f64, Error> {
    let wrong = |problem: String| {
        Error::Config(format!("{what} `{}`: {problem}; for example {examples}", text.escape_default()))
    };
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = (&text[..split], text[split..].trim());
    let number: f64 = digits.parse().map_err(|_| wrong(format!("`{digits}` is not a number")))?;
    let unit = if unit.is_empty() { default_unit } else { unit };
    match units.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => Ok(number * factor),
        None if unit.is_empty() && number == 0.0 => Ok(0.0),
        None => Err(wrong(format!(
            "`{}` is not a unit; units are {}",
            unit.escape_default(),
            units
                .iter()
                .map(|(name, _)| *name)
                .filter(|name| !name.is_empty())
                .collect::<Vec<_>>()
                .join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_scale() {
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("1.5m").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("7").unwrap(), Duration::from_secs(7));
        assert_eq!(bytes("64KiB").unwrap(), 65_536);
        assert_eq!(bytes("1.5MB").unwrap(), 1_500_000);
        assert_eq!(count("10k").unwrap(), 10_000);
        assert_eq!(bit_rate("1Gbit/s").unwrap(), 1e9);
        assert_eq!(bandwidth_delay_product(1e9, Duration::from_millis(20)), 2_500_000);
    }

    #[test]
    fn processors_are_ranges() {
        assert_eq!(processors("0,2-3").unwrap(), [0, 2, 3]);
        for bad in ["", "a", "3-1", "1024"] {
            assert!(processors(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (result, part) in [
            (duration("5 parsecs").map(|_| ()), "not a unit"),
            (duration("-5s").map(|_| ()), "not a number"),
            (bytes("").map(|_| ()), "not a number"),
            (bit_rate("5").map(|_| ()), "not a unit"),
            (count("1.5").map(|_| ()), "whole number"),
        ] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
