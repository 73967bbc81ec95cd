//! When the kernel gives up: the arithmetic behind tcp(7)'s time-outs, without a kernel. Figures in comments of the
//! tests were measured on Linux 6.18; a measured time is never earlier than the formula says, and later by at most
//! one more wait of the timer.

use std::time::Duration;

/// The least retransmission time-out (`tcp_rto_min_us`, RFC 6298 wants 1 s, Linux takes 0.2 s).
const RTO_MIN: Duration = Duration::from_millis(200);
/// How long a closed connection's addresses stay reserved. A constant of Linux: no sysctl changes it.
pub const TIME_WAIT: Duration = Duration::from_secs(60);
/// A peer that died while its window was closed: 15 probes without answer. Measured; not tunable within reason.
pub const ZERO_WINDOW: Duration = Duration::from_secs(1320);

/// The sysctls that decide, per network namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Knobs {
    /// `net.ipv4.tcp_syn_retries`.
    pub syn_retries: u32,
    /// `net.ipv4.tcp_syn_linear_timeouts` (Linux 6.5 and later).
    pub syn_linear: u32,
    /// `net.ipv4.tcp_retries2`.
    pub retries2: u32,
    /// `net.ipv4.tcp_rto_max_ms` (Linux 6.15 and later; 120 s before).
    pub rto_max: Duration,
    /// `net.ipv4.tcp_keepalive_time`.
    pub keepalive_idle: Duration,
    /// `net.ipv4.tcp_keepalive_intvl`.
    pub keepalive_interval: Duration,
    /// `net.ipv4.tcp_keepalive_probes`.
    pub keepalive_count: u32,
    /// `net.ipv4.tcp_fin_timeout`.
    pub fin_timeout: Duration,
}

/// What Linux comes with.
pub const DEFAULT: Knobs = Knobs {
    syn_retries: 6,
    syn_linear: 4,
    retries2: 15,
    rto_max: Duration::from_secs(120),
    keepalive_idle: Duration::from_secs(7200),
    keepalive_interval: Duration::from_secs(75),
    keepalive_count: 9,
    fin_timeout: Duration::from_secs(60),
};

/// The same laws in seconds instead of minutes, for showing.
pub const COMPRESSED: Knobs = Knobs {
    syn_retries: 2,
    syn_linear: 0,
    retries2: 8,
    rto_max: Duration::from_secs(1),
    keepalive_idle: Duration::from_secs(2),
    keepalive_interval: Duration::from_secs(1),
    keepalive_count: 3,
    fin_timeout: Duration::from_secs(3),
};

impl Knobs {
    /// The sysctls by name, for a host. `tcp_rto_max_ms` and `tcp_syn_linear_timeouts` are missing on older kernels.
    pub fn sysctls(&self) -> Vec<(String, String)> {
        let seconds = |time: Duration| time.as_secs().to_string();
        [
            ("tcp_syn_retries", self.syn_retries.to_string()),
            ("tcp_syn_linear_timeouts", self.syn_linear.to_string()),
            ("tcp_retries2", self.retries2.to_string()),
            ("tcp_rto_max_ms", self.rto_max.as_millis().to_string()),
            ("tcp_keepalive_time", seconds(self.keepalive_idle)),
            ("tcp_keepalive_intvl", seconds(self.keepalive_interval)),
            ("tcp_keepalive_probes", self.keepalive_count.to_string()),
            ("tcp_fin_timeout", seconds(self.fin_timeout)),
        ]
        .into_iter()
        .map(|(name, value)| (format!("net.ipv4.{name}"), value))
        .collect()
    }

    /// When connect(2) to a silent host fails with ETIMEDOUT: at the first expiry of the timer that is not before
    /// 2^(n+1) − 1 seconds, or what that comes to where `rto_max` caps the doubling. The first `syn_linear` waits do not
    /// double.
    pub fn connect(&self) -> Duration {
        const FIRST: Duration = Duration::from_secs(1);
        let limit = backed_off(FIRST, self.syn_retries, self.rto_max);
        let mut wait = FIRST;
        let mut at = wait;
        let mut expiries = 1;
        while at < limit {
            if expiries > self.syn_linear {
                wait = (wait * 2).min(self.rto_max);
            }
            at += wait;
            expiries += 1;
        }
        at
    }

    /// The time, counted from the first retransmission, after which the next expiry of the timer ends an established
    /// connection whose data is not acknowledged (`tcp_retries2`, RFC 1122 4.2.3.5).
    pub fn retransmission(&self) -> Duration {
        backed_off(RTO_MIN, self.retries2, self.rto_max)
    }

    /// When a connection with data in flight dies of silence (ETIMEDOUT), counted from the send: the timer's expiries
    /// one after another on a path with this smoothed round-trip time.
    pub fn established(&self, round_trip: Duration) -> Duration {
        let first = (RTO_MIN + round_trip).min(self.rto_max);
        let mut wait = first;
        let mut at = first;
        while at - first < self.retransmission() {
            wait = (wait * 2).min(self.rto_max);
            at += wait;
        }
        at
    }

    /// When an idle connection with SO_KEEPALIVE to a dead peer fails.
    pub fn keepalive(&self) -> Duration {
        keepalive(self.keepalive_idle, self.keepalive_interval, self.keepalive_count, None)
    }
}

/// The sum of waits that begin with `first` and double until `most` (tcp_model_timeout in the kernel).
fn backed_off(first: Duration, retries: u32, most: Duration) -> Duration {
    let doublings = (most.as_secs_f64() / first.as_secs_f64()).log2().max(0.0).floor() as u32;
    let doubled = |n: u32| first * ((1_u32 << (n + 1)) - 1);
    if retries <= doublings { doubled(retries) } else { doubled(doublings) + most * (retries - doublings) }
}

/// When an idle connection with these keepalive settings fails; TCP_USER_TIMEOUT replaces the number of probes by "at
/// the first probe not before".
pub fn keepalive(idle: Duration, interval: Duration, count: u32, user_timeout: Option<Duration>) -> Duration {
    match user_timeout {
        None => idle + interval * count,
        Some(limit) => {
            let mut at = idle;
            while at < limit && !interval.is_zero() {
                at += interval;
            }
            at
        }
    }
}

/// When data in flight fails under TCP_USER_TIMEOUT: that long after the first retransmission.
pub fn user_timeout(limit: Duration, round_trip: Duration) -> Duration {
    RTO_MIN + round_trip + limit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(time: Duration) -> f64 {
        time.as_secs_f64()
    }

    #[test]
    fn a_connect_to_nobody_fails_at_the_first_expiry_after_the_limit() {
        // (retries, linear, by the formula, measured)
        let rows = [(1, 4, 3, 3.08), (2, 4, 7, 7.14), (3, 4, 19, 19.5), (6, 4, 131, 135.2)];
        let without = [(1, 0, 3, 3.05), (2, 0, 7, 7.05), (3, 0, 15, 15.2)];
        // A greatest wait of one second: measured 3.07 s and 2.05 s.
        assert_eq!(COMPRESSED.connect(), Duration::from_secs(3));
        assert_eq!(Knobs { syn_retries: 1, ..COMPRESSED }.connect(), Duration::from_secs(2));
        for (syn_retries, syn_linear, formula, measured) in rows.into_iter().chain(without) {
            let at = Knobs { syn_retries, syn_linear, ..DEFAULT }.connect();
            assert_eq!(at, Duration::from_secs(formula), "tcp_syn_retries {syn_retries}");
            assert!((0.0..=0.04).contains(&(measured / seconds(at) - 1.0)), "{measured} against {at:?}");
        }
    }

    #[test]
    fn data_in_flight_fails_at_the_first_expiry_after_the_limit() {
        // (retries2, rto_max in seconds, by the formula from the first retransmission, measured from the send)
        let rows = [
            (15, 120, 924.6, 947.3),
            (8, 1, 7.4, 7.89),
            (5, 1, 4.4, 5.8),
            (3, 120, 3.0, 3.48),
            (2, 120, 1.4, 3.35),
            (1, 120, 0.6, 1.67),
            (0, 120, 0.2, 0.86),
        ];
        for (retries2, rto_max, formula, measured) in rows {
            let knobs = Knobs { retries2, rto_max: Duration::from_secs(rto_max), ..DEFAULT };
            assert!((seconds(knobs.retransmission()) - formula).abs() < 0.01, "{retries2}: {knobs:?}");
            let expiry = seconds(knobs.established(Duration::from_millis(22)));
            let one_more = (rto_max as f64).min(expiry);
            assert!(formula <= measured && measured <= expiry + one_more, "{measured} after {expiry}");
        }
        let default = seconds(DEFAULT.established(Duration::from_millis(22)));
        assert!((default - 947.3).abs() < 1.0, "{default}");
    }

    #[test]
    fn keepalive_counts_probes_unless_there_is_a_user_timeout() {
        let at = |user_timeout: Option<u64>| {
            let s = Duration::from_secs;
            keepalive(s(2), s(1), 3, user_timeout.map(s)).as_secs()
        };
        assert_eq!(at(None), 5); // measured 5.07
        assert_eq!(at(Some(4)), 4); // measured 4.06
        assert_eq!(at(Some(9)), 9); // measured 9.18
        assert_eq!(DEFAULT.keepalive().as_secs(), 7875);
        let silent = user_timeout(Duration::from_secs(4), Duration::from_millis(22));
        assert!((seconds(silent) - 4.46).abs() < 0.3); // measured 4.46
    }

    #[test]
    fn a_host_gets_every_knob_by_name() {
        let sysctls = COMPRESSED.sysctls();
        assert!(sysctls.contains(&("net.ipv4.tcp_rto_max_ms".to_owned(), "1000".to_owned())));
        assert_eq!(sysctls.len(), 8);
    }
}
