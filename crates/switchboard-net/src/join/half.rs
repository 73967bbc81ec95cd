//! [`Half`]: one direction of two joined sockets.

use crate::channel::Channel;
use crate::endpoint::Kind;
use crate::relay::direction::{Direction, Moved, Pipes};
use crate::sys::socket;
use crate::sys::splice::is_non_blocking;
use rustix::io::Errno;

/// The largest message: that of a UDP datagram is smaller, Unix sockets carry as much as their buffers hold.
const MESSAGE: usize = 256 * 1024;
/// What is read of a stream at once.
const PIECE: usize = 64 * 1024;

/// One direction.
pub(super) struct Half {
    how: How,
    /// What ended it before its time.
    pub(super) broke: Option<Broke>,
}

/// Which end of a half failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broke {
    Sender(Errno),
    Receiver(Errno),
}

enum How {
    Splice(Direction),
    Copy(Copy),
}

/// A direction through our memory.
struct Copy {
    room: Vec<u8>,
    /// What of `room` is still to be sent.
    left: std::ops::Range<usize>,
    /// An empty message is to be passed on.
    empty: bool,
    ended: bool,
    over: bool,
    bytes: u64,
}

fn is_stream(side: &Channel) -> bool {
    side.kind().is_stream()
}

impl Half {
    pub(super) fn new(from: &Channel, to: &Channel) -> Half {
        // Older kernels do not splice into vsock.
        let spliced = [from, to].into_iter().all(|side| {
            matches!(side.kind(), Kind::Tcp | Kind::Unix) && is_non_blocking(side) && !side.is_secure()
        });
        let how = if spliced {
            How::Splice(Direction::default())
        } else {
            How::Copy(Copy {
                room: vec![0; if is_stream(from) { PIECE } else { MESSAGE }],
                left: 0..0,
                empty: false,
                ended: false,
                over: false,
                bytes: 0,
            })
        };
        Half { how, broke: None }
    }

    /// Bytes delivered.
    pub(super) fn bytes(&self) -> u64 {
        match &self.how {
            How::Splice(direction) => direction.bytes,
            How::Copy(copy) => copy.bytes,
        }
    }

    /// Bytes that were taken and not delivered.
    pub(super) fn held(&self) -> u64 {
        match &self.how {
            How::Splice(direction) => direction.held() as u64,
            How::Copy(copy) => copy.left.len() as u64,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        let done = match &self.how {
            How::Splice(direction) => direction.over,
            How::Copy(copy) => copy.over,
        };
        done || self.broke.is_some()
    }

    pub(super) fn sender_broke(&self) -> bool {
        matches!(self.broke, Some(Broke::Sender(_)))
    }

    pub(super) fn wants_input(&self) -> bool {
        !self.is_over()
            && match &self.how {
                How::Splice(direction) => direction.wants_input(),
                How::Copy(copy) => copy.left.is_empty() && !copy.empty && !copy.ended,
            }
    }

    pub(super) fn wants_room(&self, to: &Channel) -> bool {
        !self.is_over()
            && match &self.how {
                How::Splice(direction) => direction.wants_room(),
                How::Copy(copy) => !copy.left.is_empty() || copy.empty || to.has_output(),
            }
    }

    /// The receiver has left: what is in here is lost, and if there is nothing, this half is just over.
    pub(super) fn nobody_reads(&mut self, from: &Channel) {
        if self.is_over() {
            return;
        }
        if self.held() > 0 || from.has_input() || socket::queued(from) > 0 {
            self.broke = Some(Broke::Receiver(Errno::PIPE));
            return;
        }
        self.set_over();
    }

    /// What looked like a break of the sender was its end.
    pub(super) fn excuse(&mut self, to: &Channel) {
        self.broke = None;
        socket::shutdown_write(to);
        self.set_over();
    }

    fn set_over(&mut self) {
        match &mut self.how {
            How::Splice(direction) => direction.over = true,
            How::Copy(copy) => copy.over = true,
        }
    }

    /// Moves what can be moved now; whether anything did.
    pub(super) fn pump(&mut self, from: &mut Channel, to: &mut Channel, pipes: &mut Pipes) -> bool {
        if self.is_over() {
            return false;
        }
        let moved = match &mut self.how {
            How::Splice(direction) => direction.pump(from.socket(), to.socket(), pipes),
            How::Copy(copy) => copy.pump(from, to),
        };
        match moved {
            Moved::Some(some) => some,
            Moved::SenderBroke(errno) => {
                self.broke = Some(Broke::Sender(errno));
                false
            }
            Moved::ReceiverBroke(errno) => {
                self.broke = Some(Broke::Receiver(errno));
                false
            }
        }
    }
}

impl Copy {
    fn pump(&mut self, from: &mut Channel, to: &mut Channel) -> Moved {
        match to.flush() {
            Ok(()) => {}
            Err(Errno::AGAIN) => return Moved::Some(false),
            Err(errno) => return Moved::ReceiverBroke(errno),
        }
        if self.left.is_empty() && !self.empty && !self.ended {
            match self.fill(from, is_stream(to)) {
                Ok(()) => {}
                Err(Errno::AGAIN) => return Moved::Some(false),
                Err(errno) => return Moved::SenderBroke(errno),
            }
        }
        if self.left.is_empty() && !self.empty {
            if self.ended {
                match to.finish() {
                    Err(Errno::AGAIN) => return Moved::Some(true),
                    // Whether what was sent has arrived is seen in the end.
                    Ok(()) | Err(_) => self.over = true,
                }
            }
            return Moved::Some(true);
        }
        let bytes = &self.room[self.left.clone()];
        let sent = if is_stream(to) { to.send(bytes) } else { socket::send_message(&*to, bytes) };
        match sent {
            Ok(n) => {
                self.empty = false;
                self.left.start += n;
                self.bytes += n as u64;
                Moved::Some(true)
            }
            Err(Errno::AGAIN) => Moved::Some(false),
            Err(errno) => Moved::ReceiverBroke(errno),
        }
    }

    fn fill(&mut self, from: &mut Channel, to_stream: bool) -> Result<(), Errno> {
        let n = if is_stream(from) { from.recv(&mut self.room)? } else { from.recv_message(&mut self.room)? };
        self.left = 0..n;
        if n == 0 && from.failure().is_some() {
            // Cut short: not an end that could be passed on.
            return Err(Errno::PROTO);
        }
        if n == 0 {
            // An empty datagram is one; an empty seqpacket cannot be told from the end.
            self.ended = !from.kind().is_datagram();
            self.empty = !self.ended && !to_stream;
        }
        Ok(())
    }
}
