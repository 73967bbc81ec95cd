//! The bandwidth-delay product of a path, and whether this machine lets a socket have it (tcp(7), socket(7)).

use crate::quantity;
use crate::report::{Fact, Row, Sheet};
use std::time::Duration;
use switchboard_net::Error;

/// `RATE RTT` or `RATE,RTT`.
pub(crate) fn explain(words: &[&str]) -> Result<Sheet, Error> {
    let parts: Vec<&str> = words.iter().flat_map(|word| word.split(',')).map(str::trim).collect();
    let [rate, rtt] = parts.as_slice() else {
        return Err(Error::Config(format!(
            "bdp {}: write a rate and a round-trip time, for example bdp 100Mbit/s 80ms",
            words.join(" ").escape_default()
        )));
    };
    Ok(sheet(rate, quantity::bit_rate(rate)?, rtt, quantity::duration(rtt)?))
}

fn sheet(rate_text: &str, rate: f64, rtt_text: &str, rtt: Duration) -> Sheet {
    /// What a window can say without the scaling of RFC 7323.
    const UNSCALED: f64 = 65_535.0;
    let bytes = quantity::bandwidth_delay_product(rate, rtt) as u64;
    let mut sheet = Sheet::new("bdp", format!("{rate_text} with a round trip of {rtt_text}"));
    sheet.add("product_bytes", bytes);
    sheet.add("meaning", "bandwidth × delay: so much is under way before the first acknowledgement is back");
    sheet.add("set", format!("--option sndbuf={bytes} --option rcvbuf={bytes}"));
    if !rtt.is_zero() {
        let most = UNSCALED * 8.0 / rtt.as_secs_f64() / 1e6;
        sheet.add(
            "without_window_scaling",
            format!("{most:.3} Mbit/s at most (64 KiB a round trip; RFC 7323)"),
        );
    }
    let mut limits = Vec::new();
    for (option, sysctl, of) in [
        ("sndbuf", "net.core.wmem_max", "what may be set"),
        ("rcvbuf", "net.core.rmem_max", "what may be set"),
        ("sndbuf", "net.ipv4.tcp_wmem", "how far TCP tunes itself, unset"),
        ("rcvbuf", "net.ipv4.tcp_rmem", "how far TCP tunes itself, unset"),
    ] {
        limits.extend(limit(option, sysctl, of, bytes));
    }
    sheet.add("limits_here", limits);
    sheet
}

/// Whether a sysctl allows `bytes`; nothing where it cannot be read.
fn limit(option: &str, sysctl: &str, of: &str, bytes: u64) -> Option<Row> {
    let text = std::fs::read_to_string(format!("/proc/sys/{}", sysctl.replace('.', "/"))).ok()?;
    // tcp_wmem and tcp_rmem have three numbers: least, at first, and most.
    let limit: u64 = text.split_whitespace().next_back()?.parse().ok()?;
    let verdict = if limit >= bytes { "is enough" } else { "is too small: raise it first" };
    Some(vec![
        ("option", Fact::from(option)),
        ("sysctl", sysctl.into()),
        ("limit_bytes", limit.into()),
        ("verdict", verdict.into()),
        ("limits", of.into()),
    ])
}
