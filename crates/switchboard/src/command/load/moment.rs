//! [`Moment`]: a time of day at which several machines begin together, as `2026-01-31T12:00:00Z` or `@1769860800`.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Moment(SystemTime);

impl Moment {
    /// How long it is until then; nothing if it is over.
    pub(super) fn wait(self) -> Duration {
        self.0.duration_since(SystemTime::now()).unwrap_or_default()
    }

    /// How long it is over; nothing if it is not.
    pub(super) fn ago(self) -> Duration {
        SystemTime::now().duration_since(self.0).unwrap_or_default()
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        let seconds = match text.strip_prefix('@') {
            Some(seconds) => seconds.parse::<f64>().ok(),
            None => rfc3339(text),
        };
        let seconds = seconds.filter(|seconds| (0.0..1e12).contains(seconds)).ok_or_else(|| {
            format!("`{text}` is no time: use 2026-01-31T12:00:00Z, with an offset as +01:00, or @SECONDS since 1970")
        })?;
        Ok(Moment(UNIX_EPOCH + Duration::from_secs_f64(seconds)))
    }
}

/// Seconds since 1970 (RFC 3339 section 5.6).
fn rfc3339(text: &str) -> Option<f64> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let zone = rest.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = rest.split_at(zone);
    let number = |text: &str, digits: usize| {
        let is_plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| text.parse::<i64>().ok()).flatten()
    };
    let mut date = date.split('-');
    let (year, month, day) = (number(date.next()?, 4)?, number(date.next()?, 2)?, number(date.next()?, 2)?);
    let mut clock = time.split(':');
    let (hour, minute) = (number(clock.next()?, 2)?, number(clock.next()?, 2)?);
    let second = clock.next()?;
    number(second.get(..2)?, 2)?;
    let second = second.parse::<f64>().ok()?;
    let offset_min = match zone {
        "Z" | "z" => 0,
        _ => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let minutes = 60 * number(hours, 2)? + number(minutes, 2)?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day) && date.next().is_none();
    let is_time = hour < 24 && minute < 60 && second < 61.0 && clock.next().is_none();
    if !is_date || !is_time {
        return None;
    }
    // Days since 1970 of the proleptic Gregorian calendar, with years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let days =
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some((days * 86_400 + hour * 3_600 + minute * 60 - offset_min * 60) as f64 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0.0),
            ("2024-02-29T12:30:15.5Z", 1_709_209_815.5),
            ("2026-01-31T12:00:00+01:00", 1_769_857_200.0),
            ("2000-03-01 00:00:00-00:30", 951_870_600.0),
        ] {
            assert_eq!(rfc3339(text), Some(seconds), "{text}");
        }
        assert_eq!("@12.5".parse::<Moment>().unwrap().0, UNIX_EPOCH + Duration::from_millis(12_500));
        for bad in [
            "",
            "soon",
            "2026-13-01T00:00:00Z",
            "2026-01-01",
            "2026-01-01T25:00:00Z",
            "2026-01-01T00:00:00",
            "@x",
            "@-1",
        ] {
            assert!(bad.parse::<Moment>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_over_is_not_waited_for() {
        assert_eq!("@1".parse::<Moment>().unwrap().wait(), Duration::ZERO);
    }
}
