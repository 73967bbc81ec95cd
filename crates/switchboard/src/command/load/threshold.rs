//! [`Threshold`]: a condition under which a run counts as failed, as `p99>5ms`.

use super::record::Facts;
use super::summary::{bytes, latency, people};
use std::fmt;
use std::str::FromStr;
use switchboard_net::load::Tally;
use switchboard_net::{Error, quantity};

/// `METRIC>VALUE`, `METRIC<VALUE`, with `=` after the sign or not.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Threshold {
    text: String,
    metric: Metric,
    sign: Sign,
    /// Nanoseconds for times.
    value: f64,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Metric {
    Quantile(f64),
    Mean,
    Errors,
    Unsent,
    Rate,
    Throughput,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sign {
    More,
    AtLeast,
    Less,
    AtMost,
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Threshold, String> {
        let shape = || {
            format!(
                "`{text}`: a condition is a metric (min, mean, p50, p99.9, max, errors, unsent, rate, throughput), >, >=, < or <=, \
                 and a value, as in p99>5ms"
            )
        };
        let at = text.find(['>', '<']).ok_or_else(shape)?;
        let (name, rest) = text.split_at(at);
        let (sign, value) = match (&rest[..1], rest[1..].strip_prefix('=')) {
            (">", Some(value)) => (Sign::AtLeast, value),
            (">", None) => (Sign::More, &rest[1..]),
            (_, Some(value)) => (Sign::AtMost, value),
            (_, None) => (Sign::Less, &rest[1..]),
        };
        let metric = match name.trim() {
            "min" => Metric::Quantile(0.0),
            "max" => Metric::Quantile(1.0),
            "mean" => Metric::Mean,
            "errors" => Metric::Errors,
            "unsent" => Metric::Unsent,
            "rate" => Metric::Rate,
            "throughput" => Metric::Throughput,
            other => {
                let percent = other.strip_prefix('p').and_then(|n| n.parse::<f64>().ok());
                let percent = percent.filter(|percent| (0.0..=100.0).contains(percent)).ok_or_else(shape)?;
                Metric::Quantile(percent / 100.0)
            }
        };
        let value = value.trim();
        let value = match metric {
            Metric::Errors | Metric::Unsent | Metric::Rate => {
                let plain =
                    value.parse::<f64>().ok().or_else(|| quantity::count(value).ok().map(|n| n as f64));
                plain.filter(|value| value.is_finite()).ok_or_else(shape)?
            }
            // Elsewhere these are seconds, and who thinks of another unit would never fail.
            Metric::Quantile(_) | Metric::Mean if value.parse::<f64>().is_ok() => {
                return Err(format!("`{text}`: a time needs its unit, as in {}ms", text.trim_end()));
            }
            Metric::Throughput => quantity::bytes(value).map_err(|error| error.to_string())? as f64,
            _ => quantity::duration(value).map_err(|error| error.to_string())?.as_nanos() as f64,
        };
        Ok(Threshold { text: text.to_owned(), metric, sign, value })
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Threshold {
    /// Looks whether such a run has what is asked for.
    ///
    /// # Errors
    /// Answers of a stream, or times of one that goes only one way: there are none.
    pub(super) fn check(&self, facts: &Facts) -> Result<(), Error> {
        let Some(way) = &facts.direction else { return Ok(()) };
        let wrong = match self.metric {
            Metric::Rate => "a stream has no answers; of its bytes there is the throughput",
            Metric::Unsent => "a stream has no requests that a rate could be kept of",
            Metric::Quantile(_) | Metric::Mean if way != "both" => {
                "a stream that goes one way has no times; there is the throughput"
            }
            _ => return Ok(()),
        };
        Err(Error::Config(format!("--fail-if {self}: {wrong}")))
    }

    /// What was measured, if the condition is met. A time that nobody measured meets every condition: no answer is no
    /// good answer.
    pub(super) fn is_met(&self, facts: &Facts, tally: &Tally) -> Option<String> {
        let times = latency(facts, tally);
        let (value, said) = match self.metric {
            Metric::Errors => (tally.failed() as f64, format!("{} errors", tally.failed())),
            Metric::Unsent => (tally.unsent as f64, format!("{} requests were not sent", tally.unsent)),
            Metric::Rate => (tally.rate(), format!("{:.1} answers/s", tally.rate())),
            Metric::Throughput => {
                let per_s = tally.bytes_rate();
                (per_s, format!("{}/s", bytes(per_s)))
            }
            _ if tally.answers() == 0 => return Some("no answer was measured".to_owned()),
            Metric::Quantile(0.0) => (times.min() as f64, people(times.min() as f64)),
            Metric::Quantile(at) => {
                let value = times.value_at_quantile(at) as f64;
                (value, people(value))
            }
            Metric::Mean => (times.mean(), people(times.mean())),
        };
        let is_met = match self.sign {
            Sign::More => value > self.value,
            Sign::AtLeast => value >= self.value,
            Sign::Less => value < self.value,
            Sign::AtMost => value <= self.value,
        };
        is_met.then_some(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read() {
        let read = |text: &str| text.parse::<Threshold>().map(|t| (t.metric, t.sign, t.value));
        assert_eq!(read("p99>5ms"), Ok((Metric::Quantile(0.99), Sign::More, 5e6)));
        assert_eq!(read("max >= 1s"), Ok((Metric::Quantile(1.0), Sign::AtLeast, 1e9)));
        assert_eq!(read("errors>0"), Ok((Metric::Errors, Sign::More, 0.0)));
        assert_eq!(read("rate<=1e3"), Ok((Metric::Rate, Sign::AtMost, 1e3)));
        assert_eq!(read("rate<20k"), Ok((Metric::Rate, Sign::Less, 20e3)));
        for bad in [
            "",
            "p99",
            "p99>5",
            "p101>1s",
            "q>1",
            "p99>",
            "p99>fast",
            "errors>",
            "errors>nan",
            ">5",
            "p99=>5ms",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
