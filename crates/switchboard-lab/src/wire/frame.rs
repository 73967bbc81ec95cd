//! [`Frame`]: one IP packet on its way, with what the kernel left for a network card to do.

use crate::wire::checksum;

/// Room before the IP header for what ports put there.
pub(crate) const HEADROOM: usize = VNET + ETHERNET;
/// Length of `struct virtio_net_hdr`.
pub(crate) const VNET: usize = 10;
/// Length of an Ethernet header.
pub(crate) const ETHERNET: usize = 14;
/// The longest frame: headroom and the longest IP packet.
pub(crate) const LONGEST: usize = HEADROOM + 65_535 + 40;

/// Up to this length a packet is copied, so that many that wait take no more memory than they need.
const COPIED: usize = 16 * 1024;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM` (`linux/virtio_net.h`).
const NEEDS_CHECKSUM: u8 = 1;

/// An IP packet; in segmented mode possibly one that stands for several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// `HEADROOM` bytes, then the packet.
    buffer: Vec<u8>,
    /// What a network card would have to do.
    offload: Offload,
}

/// See [`Frame`]; offsets are from the IP header on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Offload {
    /// Where the checksummed part begins, and where in it the checksum stands.
    checksum: Option<(u16, u16)>,
    /// Kind of segmentation, length of headers, payload of each segment.
    segments: Option<(u8, u16, u16)>,
}

impl Frame {
    /// A whole packet with all its checksums.
    pub fn new(packet: &[u8]) -> Frame {
        let mut buffer = Vec::with_capacity(HEADROOM + packet.len());
        buffer.resize(HEADROOM, 0);
        buffer.extend_from_slice(packet);
        Frame { buffer, offload: Offload::default() }
    }

    /// A packet as a port has read it: `bytes` has its `virtio_net_hdr` at `at`, and the packet from [`HEADROOM`] to
    /// `end`. None if what the header says does not fit the packet. Long packets take the bytes away.
    pub(crate) fn read(bytes: &mut Vec<u8>, at: usize, end: usize) -> Option<Frame> {
        let head: [u8; VNET] = bytes.get(at..at + VNET)?.try_into().ok()?;
        // Offsets in the header count from its end.
        let before = HEADROOM - at - VNET;
        let packet = bytes.get(HEADROOM..end)?;
        let [flags, kind, h0, h1, g0, g1, s0, s1, o0, o1] = head;
        let number = |low, high| usize::from(u16::from_ne_bytes([low, high]));
        let mut offload = Offload::default();
        if flags & NEEDS_CHECKSUM != 0 {
            let (start, offset) = (number(s0, s1).checked_sub(before)?, number(o0, o1));
            packet.get(start + offset..start + offset + 2)?;
            offload.checksum = Some((start as u16, offset as u16));
        }
        if kind != 0 {
            let length = number(h0, h1).saturating_sub(before);
            offload.segments = Some((kind, length as u16, number(g0, g1) as u16));
        }
        let buffer = if end > COPIED {
            bytes.truncate(end);
            std::mem::take(bytes)
        } else {
            bytes[..end].to_vec()
        };
        Some(Frame { buffer, offload })
    }

    /// Its bytes, to be read into again, if they are many.
    pub(crate) fn into_long_buffer(self) -> Option<Vec<u8>> {
        (self.buffer.len() > COPIED).then_some(self.buffer)
    }

    /// The packet, from the IP header on.
    pub fn packet(&self) -> &[u8] {
        &self.buffer[HEADROOM..]
    }

    /// The packet, to change it.
    pub fn packet_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[HEADROOM..]
    }

    /// Computes the checksum that the kernel left to the network card. Not for a packet that stands for several.
    pub(crate) fn complete(&mut self) {
        if self.offload.segments.is_some() {
            return;
        }
        if let Some((start, offset)) = self.offload.checksum.take() {
            checksum::fill(self.packet_mut(), start.into(), offset.into());
        }
    }

    /// Whether this is one packet, with its checksum.
    pub fn is_complete(&self) -> bool {
        self.offload == Offload::default()
    }

    /// Length of the longest packet on a cable that this stands for, with its IP header.
    pub fn longest_packet(&self) -> usize {
        match self.offload.segments {
            Some((_, headers, size)) => usize::from(headers) + usize::from(size),
            None => self.packet().len(),
        }
    }

    /// The bytes to write to a port that begins with a `virtio_net_hdr`, followed by this Ethernet header if any.
    pub(crate) fn written(&mut self, ethernet: Option<[u8; ETHERNET]>) -> &[u8] {
        let before = if ethernet.is_some() { ETHERNET } else { 0 };
        let at = HEADROOM - before - VNET;
        let mut head = [0; VNET];
        let mut put =
            |at: usize, value: usize| head[at..at + 2].copy_from_slice(&(value as u16).to_ne_bytes());
        if let Some((kind, length, size)) = self.offload.segments {
            put(2, usize::from(length) + before);
            put(4, size.into());
            head[1] = kind;
        }
        if let Some((start, offset)) = self.offload.checksum {
            let mut put =
                |at: usize, value: usize| head[at..at + 2].copy_from_slice(&(value as u16).to_ne_bytes());
            put(6, usize::from(start) + before);
            put(8, offset.into());
            head[0] = NEEDS_CHECKSUM;
        }
        self.buffer[at..at + VNET].copy_from_slice(&head);
        if let Some(ethernet) = ethernet {
            self.buffer[VNET..HEADROOM].copy_from_slice(&ethernet);
        }
        &self.buffer[at..]
    }
}
