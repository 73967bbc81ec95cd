//! [`When`]: the laws by which the kernel ends waiting.

use crate::formula::{self, DEFAULT, Knobs};
use serde::Deserialize;
use std::time::Duration;

/// A law of the kernel's about time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Within a round trip.
    AtOnce,
    /// `tcp_syn_retries`.
    Connect,
    /// `tcp_retries2`.
    Established,
    /// `tcp_keepalive_*`.
    Keepalive,
    /// A peer that died with a closed window.
    ZeroWindow,
    /// 60 s.
    TimeWait,
    /// `tcp_fin_timeout`.
    FinTimeout,
    /// Nothing ends it.
    Never,
}

impl When {
    /// How long under these settings; `None` is never.
    pub fn under(self, knobs: &Knobs) -> Option<Duration> {
        let round_trip = Duration::from_millis(22);
        match self {
            When::AtOnce => Some(Duration::ZERO),
            When::Connect => Some(knobs.connect()),
            When::Established => Some(knobs.established(round_trip)),
            When::Keepalive => Some(knobs.keepalive()),
            When::ZeroWindow => Some(formula::ZERO_WINDOW),
            When::TimeWait => Some(formula::TIME_WAIT),
            When::FinTimeout => Some(knobs.fin_timeout),
            When::Never => None,
        }
    }

    /// The law as people write it.
    pub fn law(self) -> &'static str {
        match self {
            When::AtOnce => "as soon as the answer has travelled",
            When::Connect => {
                "the first expiry of the timer not before 2^(tcp_syn_retries + 1) − 1 s; it starts at 1 s, stays there \
                 tcp_syn_linear_timeouts times, then doubles up to tcp_rto_max_ms"
            }
            When::Established => {
                "the first expiry of the timer not before the sum of tcp_retries2 + 1 waits; they start at 200 ms plus \
                 the round trip and double up to tcp_rto_max_ms"
            }
            When::Keepalive => "tcp_keepalive_time + tcp_keepalive_intvl × tcp_keepalive_probes",
            When::ZeroWindow => "15 window probes without an answer",
            When::TimeWait => "60 s, a constant of the kernel's",
            When::FinTimeout => "tcp_fin_timeout",
            When::Never => "no timer of the kernel's runs",
        }
    }

    /// In words, with the settings that Linux comes with: `never`, `947 s`.
    pub fn by_default(self) -> String {
        self.in_words(&DEFAULT)
    }

    /// The same with other settings.
    pub fn in_words(self, knobs: &Knobs) -> String {
        match self.under(knobs) {
            None => "never".to_owned(),
            Some(Duration::ZERO) => "at once".to_owned(),
            Some(time) => format!("{:.0} s", time.as_secs_f64()),
        }
    }
}
