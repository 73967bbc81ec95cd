//! How rules are written, on the command line and in files: clients, hours, policies, rates.

use super::{Policy, Span, Who};
use crate::error::Error;
use crate::limits::Rate;
use crate::quantity;
use std::net::IpAddr;
use std::str::FromStr;

impl FromStr for Who {
    type Err = Error;

    /// `all`, an address, `ADDRESS/LENGTH`, a host name, `.domain`, `uid:N`, `gid:N`.
    fn from_str(text: &str) -> Result<Who, Error> {
        let wrong = |why: &str| {
            Error::Config(format!(
                "`{text}` is not a client: {why}. Write all, an address, ADDRESS/LENGTH, a host name, .domain, \
                 uid:N or gid:N"
            ))
        };
        if text.eq_ignore_ascii_case("all") {
            return Ok(Who::All);
        }
        if let Some(uid) = text.strip_prefix("uid:") {
            return uid.parse().map(Who::Uid).map_err(|_| wrong("that is no user id"));
        }
        if let Some(gid) = text.strip_prefix("gid:") {
            return gid.parse().map(Who::Gid).map_err(|_| wrong("that is no group id"));
        }
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            let width = if ip.is_ipv4() { 32 } else { 128 };
            let len =
                match len {
                    None => width,
                    Some(len) => len.parse().ok().filter(|len| *len <= width).ok_or_else(|| {
                        wrong(&format!("a prefix of such an address has 0 to {width} bits"))
                    })?,
                };
            return Ok(Who::Net(ip, len));
        }
        let name = text.strip_prefix('.').unwrap_or(text);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        // What looks like an address that is mistyped is not taken for a name.
        let numeric =
            name.split('.').next_back().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if len.is_some() || numeric || name.len() > 253 || !name.trim_end_matches('.').split('.').all(label) {
            return Err(wrong("neither an address nor a name"));
        }
        Ok(Who::Name(text.to_ascii_lowercase()))
    }
}

impl FromStr for Span {
    type Err = Error;

    /// `HH:MM-HH:MM`, both ends included; past midnight if it ends before it begins. `24:00` is the end of the day.
    fn from_str(text: &str) -> Result<Span, Error> {
        let wrong = || Error::Config(format!("`{text}` is not a span of the day: write HH:MM-HH:MM"));
        let minute = |text: &str| {
            let (hour, minute) = text.trim().split_once(':')?;
            let digits =
                |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            if !(digits(hour) && digits(minute)) {
                return None;
            }
            let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
            (hour < 24 && minute < 60 || (hour, minute) == (24, 0)).then_some(hour * 60 + minute)
        };
        let (from, to) = text.split_once('-').ok_or_else(wrong)?;
        let (from, to) = (minute(from).ok_or_else(wrong)?, minute(to).ok_or_else(wrong)?);
        if from == 24 * 60 {
            return Err(wrong());
        }
        Ok(Span { from, to: to.min(24 * 60 - 1) })
    }
}

impl FromStr for Policy {
    type Err = Error;

    /// `queue`, `reset`, `close`, `delay:DURATION`.
    fn from_str(text: &str) -> Result<Policy, Error> {
        match text.split_once(':') {
            Some(("delay", limit)) => quantity::duration(limit).map(Policy::Delay),
            None if text == "queue" => Ok(Policy::Queue),
            None if text == "reset" => Ok(Policy::Reset),
            None if text == "close" => Ok(Policy::Close),
            _ => Err(Error::Config(format!(
                "`{text}` is not a policy: write queue, reset, close or delay:DURATION such as delay:2s"
            ))),
        }
    }
}

/// `10/s`, `100/m`, `1000/h`, `5/d`; the burst after a colon, `10/s:50`; without one as many as the rate names.
///
/// # Errors
/// No number, no unit, a burst of nothing.
pub fn rate(text: &str) -> Result<Rate, Error> {
    let wrong = || {
        Error::Config(format!("`{text}` is not a rate: write N/s, N/m, N/h or N/d, and :BURST if it differs"))
    };
    let (rate, burst) = match text.split_once(':') {
        Some((rate, burst)) => (rate, Some(burst)),
        None => (text, None),
    };
    let (count, unit) = rate.split_once('/').ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    let count = quantity::count(count)? as f64;
    let burst = burst.map_or(Ok(count), |burst| quantity::count(burst).map(|burst| burst as f64))?;
    if burst < 1.0 {
        return Err(Error::Config(format!("`{text}`: with a burst of nothing nobody could ever come in")));
    }
    Ok(Rate { per_second: count / seconds, burst })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn clients() {
        for (text, who) in [
            ("all", Who::All),
            ("10.0.0.0/8", Who::Net("10.0.0.0".parse().unwrap(), 8)),
            ("10.0.0.1", Who::Net("10.0.0.1".parse().unwrap(), 32)),
            ("[2001:db8::]/32", Who::Net("2001:db8::".parse().unwrap(), 32)),
            ("::1", Who::Net("::1".parse().unwrap(), 128)),
            (".Example.org", Who::Name(".example.org".into())),
            ("localhost", Who::Name("localhost".into())),
            ("uid:0", Who::Uid(0)),
            ("gid:100", Who::Gid(100)),
        ] {
            assert_eq!(text.parse::<Who>().unwrap(), who, "{text}");
        }
        for text in
            ["", "10.0.0.0/33", "10.0.0", "1.2.3.4.5", "::1/129", "uid:x", "a b", "host/8", "..", "300.1.1.1"]
        {
            assert!(text.parse::<Who>().is_err(), "{text}");
        }
    }

    #[test]
    fn spans_policies_rates() {
        assert_eq!("22:00-5:30".parse::<Span>().unwrap(), Span { from: 1_320, to: 330 });
        assert_eq!("12:00-24:00".parse::<Span>().unwrap(), Span { from: 720, to: 1_439 });
        for text in ["", "1-2", "25:00-1:00", "24:00-1:00", "1:60-2:00", "1:00", "+1:00-2:00"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert_eq!("delay:2s".parse::<Policy>().unwrap(), Policy::Delay(Duration::from_secs(2)));
        assert_eq!("queue".parse::<Policy>().unwrap(), Policy::Queue);
        assert!("delay".parse::<Policy>().is_err() && "drop".parse::<Policy>().is_err());
        assert_eq!(rate("60/m").unwrap(), Rate { per_second: 1.0, burst: 60.0 });
        assert_eq!(rate("10/s:5").unwrap(), Rate { per_second: 10.0, burst: 5.0 });
        for text in ["10", "10/x", "/s", "10/s:0", "0/s", "x/s"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
