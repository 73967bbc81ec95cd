//! Time as an argument: an [`Instant`] that only counts, and the [`Wall`] clock as the caller read it.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

/// A point in time: nanoseconds since an epoch that the caller chose (monotonic; 584 years fit).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// Later than every instant that can happen: "no deadline".
    pub const NEVER: Instant = Instant(u64::MAX);

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, d: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Instant) -> Duration {
        self.since(earlier)
    }
}

/// The wall clock at one moment, with the caller's time zone already applied to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wall {
    /// Seconds since 1970-01-01T00:00:00Z, leap seconds not counted (POSIX `time_t`).
    pub unix_s: i64,
    /// Seconds east of UTC of the local zone at that moment.
    pub offset_s: i32,
    /// Abbreviation of the local zone ("UTC", "CEST", "+0530").
    pub zone: Zone,
}

impl Wall {
    /// The wall clock in UTC at `unix_s` seconds after 1970.
    pub const fn utc(unix_s: i64) -> Wall {
        Wall { unix_s, offset_s: 0, zone: Zone::UTC }
    }

    /// Local date and time, proleptic Gregorian.
    pub fn civil(&self) -> Civil {
        Civil::from_unix(self.unix_s.saturating_add(i64::from(self.offset_s)))
    }
}

/// A time zone's abbreviation: up to eight printable ASCII characters, longer ones are cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Zone([u8; 8]);

impl Zone {
    /// Coordinated Universal Time.
    pub const UTC: Zone = Zone(*b"UTC\0\0\0\0\0");

    /// From a zone name as `tzname` or `tm_zone` gives it; bytes that are not printable ASCII are left out.
    pub fn new(name: &[u8]) -> Zone {
        let mut zone = [0; 8];
        let letters = name.iter().filter(|b| b.is_ascii_graphic());
        for (to, from) in zone.iter_mut().zip(letters) {
            *to = *from;
        }
        Zone(zone)
    }
}

impl Default for Zone {
    fn default() -> Zone {
        Zone::UTC
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take_while(|b| **b != 0).try_for_each(|b| fmt::Write::write_char(f, char::from(*b)))
    }
}

/// Date and time of day as people write it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Civil {
    /// Year of the Gregorian calendar.
    pub year: i64,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, 1 to 31.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub minute: u8,
    /// Second, 0 to 59.
    pub second: u8,
    /// Day of the week, 0 = Sunday.
    pub weekday: u8,
}

impl Civil {
    /// Month names as RFC 867's examples and `ctime(3)` abbreviate them.
    pub const MONTHS: [&'static str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    /// Day names as `ctime(3)` abbreviates them.
    pub const WEEKDAYS: [&'static str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

    /// Splits seconds since 1970 into a date and a time of day.
    pub fn from_unix(unix_s: i64) -> Civil {
        let (days, rest) = (unix_s.div_euclid(86_400), unix_s.rem_euclid(86_400));
        // Days since 0000-03-01, in eras of 400 years: the leap day is the last day of such a year.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        // Every value below is reduced by a modulus that fits the type it is put in.
        Civil {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month: month as u8,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8,
            hour: (rest / 3_600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
            weekday: (days + 4).rem_euclid(7) as u8,
        }
    }

    /// The month's three-letter name.
    pub fn month_name(&self) -> &'static str {
        Civil::MONTHS[usize::from(self.month.clamp(1, 12)) - 1]
    }

    /// The weekday's three-letter name.
    pub fn weekday_name(&self) -> &'static str {
        Civil::WEEKDAYS[usize::from(self.weekday) % 7]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn civil_dates_at_the_edges() {
        let at = |s| {
            let c = Civil::from_unix(s);
            (c.year, c.month, c.day, c.hour, c.minute, c.second, c.weekday_name())
        };
        assert_eq!(at(0), (1970, 1, 1, 0, 0, 0, "Thu"));
        assert_eq!(at(-1), (1969, 12, 31, 23, 59, 59, "Wed"));
        assert_eq!(at(951_782_400), (2000, 2, 29, 0, 0, 0, "Tue"));
        assert_eq!(at(2_085_978_495), (2036, 2, 7, 6, 28, 15, "Thu"));
        assert_eq!(at(4_107_542_400), (2100, 3, 1, 0, 0, 0, "Mon"));
    }

    #[test]
    fn zones_keep_printable_ascii_only() {
        extern crate std;
        use std::string::ToString;
        assert_eq!(Zone::new(b"CE\x1bST\n").to_string(), "CEST");
        assert_eq!(Zone::new(b"ABCDEFGHIJ").to_string(), "ABCDEFGH");
    }
}
