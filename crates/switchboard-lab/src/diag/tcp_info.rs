//! [`TcpInfo`]: what the kernel tells of a TCP connection (`struct tcp_info`, tcp(7), linux/tcp.h).
//!
//! Kernels append fields and never move one: each is read at its offset, and is 0 where the kernel is too old to
//! have it.

use super::netlink::Fields;
use serde::Serialize;

/// A connection's innermost numbers, as of the moment they were asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct TcpInfo {
    /// `open`, `disorder`, `cwr`, `recovery`, `loss`: how congestion control sees the path.
    pub congestion_state: &'static str,
    /// `timestamps`, `sack`, `window-scaling`, `ecn`, `ecn-seen`, `fast-open`: what both sides agreed on.
    pub options: Vec<&'static str>,
    /// Shift of the window that the peer announces.
    pub send_window_shift: u8,
    /// Shift of the window that this side announces.
    pub receive_window_shift: u8,
    /// Retransmissions by time-out of the oldest segment that is in flight.
    pub retransmits: u8,
    /// Unanswered probes of a closed window or of a silent peer.
    pub probes: u8,
    /// How often the time-out was doubled.
    pub backoff: u8,
    /// Retransmission time-out.
    pub rto_us: u32,
    /// Segment size towards the peer.
    pub send_mss_bytes: u32,
    /// Segment size seen from the peer.
    pub receive_mss_bytes: u32,
    /// Segments in flight that nobody has acknowledged.
    pub unacknowledged_segments: u32,
    /// Of them: given up for lost.
    pub lost_segments: u32,
    /// Of them: sent again and not yet acknowledged.
    pub retransmitted_segments: u32,
    /// Since data was sent last.
    pub last_data_sent_ms: u32,
    /// Since data came last.
    pub last_data_received_ms: u32,
    /// Since an acknowledgement came last.
    pub last_ack_received_ms: u32,
    /// What the path takes in one packet.
    pub path_mtu_bytes: u32,
    /// Smoothed round-trip time.
    pub rtt_us: u32,
    /// Its mean deviation.
    pub rtt_deviation_us: u32,
    /// The least round-trip time of the last minutes.
    pub least_rtt_us: u32,
    /// Congestion window.
    pub congestion_window_segments: u32,
    /// Slow start ends here; `u32::MAX` halved before anything was lost.
    pub slow_start_threshold_segments: u32,
    /// Retransmissions over the connection's life.
    pub total_retransmits: u32,
    /// Rate at which this side paces its packets, if it does.
    pub pacing_rate_bytes_per_s: Option<u64>,
    /// Rate at which data last arrived at the peer.
    pub delivery_rate_bytes_per_s: u64,
    /// Bytes that the peer has acknowledged.
    pub acknowledged_bytes: u64,
    /// Bytes that came.
    pub received_bytes: u64,
    /// Bytes that were sent, repetitions included (Linux 4.19).
    pub sent_bytes: u64,
    /// Bytes that were sent again (Linux 4.19).
    pub retransmitted_bytes: u64,
    /// Segments sent.
    pub sent_segments: u32,
    /// Segments that came.
    pub received_segments: u32,
    /// Bytes in the send queue that were not sent even once.
    pub unsent_bytes: u32,
    /// Time with something to send.
    pub busy_us: u64,
    /// Of it: held back by the peer's window.
    pub limited_by_peer_us: u64,
    /// Of it: held back by this side's buffer.
    pub limited_by_buffer_us: u64,
    /// Segments that came out of order (Linux 5.4).
    pub out_of_order_segments: u32,
    /// The window that the peer announces (Linux 5.4).
    pub peer_window_bytes: u32,
}

/// Bits of `tcpi_options`.
const OPTIONS: [(u8, &str); 6] =
    [(1, "timestamps"), (2, "sack"), (4, "window-scaling"), (8, "ecn"), (16, "ecn-seen"), (32, "fast-open")];
const CONGESTION_STATES: [&str; 5] = ["open", "disorder", "cwr", "recovery", "loss"];

impl TcpInfo {
    /// From the kernel's structure, of whatever length.
    pub(super) fn read(bytes: &[u8]) -> TcpInfo {
        let fields = Fields(bytes);
        let byte = |at| fields.u8(at).unwrap_or(0);
        let short = |at| fields.u32(at).unwrap_or(0);
        let long = |at| fields.u64(at).unwrap_or(0);
        let options = OPTIONS.iter().filter(|(bit, _)| byte(5) & bit != 0).map(|(_, name)| *name);
        TcpInfo {
            congestion_state: CONGESTION_STATES.get(usize::from(byte(1))).copied().unwrap_or("unknown"),
            options: options.collect(),
            send_window_shift: byte(6) & 15,
            receive_window_shift: byte(6) >> 4,
            retransmits: byte(2),
            probes: byte(3),
            backoff: byte(4),
            rto_us: short(8),
            send_mss_bytes: short(16),
            receive_mss_bytes: short(20),
            unacknowledged_segments: short(24),
            lost_segments: short(32),
            retransmitted_segments: short(36),
            last_data_sent_ms: short(44),
            last_data_received_ms: short(52),
            last_ack_received_ms: short(56),
            path_mtu_bytes: short(60),
            rtt_us: short(68),
            rtt_deviation_us: short(72),
            slow_start_threshold_segments: short(76),
            congestion_window_segments: short(80),
            total_retransmits: short(100),
            pacing_rate_bytes_per_s: fields.u64(104).filter(|rate| *rate != u64::MAX),
            acknowledged_bytes: long(120),
            received_bytes: long(128),
            sent_segments: short(136),
            received_segments: short(140),
            unsent_bytes: short(144),
            least_rtt_us: short(148),
            delivery_rate_bytes_per_s: long(160),
            busy_us: long(168),
            limited_by_peer_us: long(176),
            limited_by_buffer_us: long(184),
            sent_bytes: long(200),
            retransmitted_bytes: long(208),
            out_of_order_segments: short(224),
            peer_window_bytes: short(228),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_kernels_shorter_structure_is_read_as_far_as_it_goes() {
        let mut bytes = [0u8; 232];
        bytes[1] = 4;
        bytes[5] = 7;
        bytes[6] = 0x97;
        bytes[68..72].copy_from_slice(&1234u32.to_ne_bytes());
        bytes[228..].copy_from_slice(&65535u32.to_ne_bytes());
        let info = TcpInfo::read(&bytes);
        assert_eq!(
            (info.congestion_state, info.send_window_shift, info.receive_window_shift),
            ("loss", 7, 9)
        );
        assert_eq!(info.options, ["timestamps", "sack", "window-scaling"]);
        assert_eq!((info.rtt_us, info.peer_window_bytes), (1234, 65535));
        for cut in 0..bytes.len() {
            let info = TcpInfo::read(&bytes[..cut]);
            assert_eq!(info.peer_window_bytes, 0, "cut to {cut}");
            assert_eq!(info.rtt_us, if cut < 72 { 0 } else { 1234 }, "cut to {cut}");
        }
    }
}
