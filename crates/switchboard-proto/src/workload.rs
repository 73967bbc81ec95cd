//! [`Workload`]: what load clients do on their connections; [`WORKLOADS`]: the table; one a file in `workload/`.
//!
//! A row with its settings is an [`Errand`], which every client of a run shares.

use crate::dialogue::Dialogue;
use crate::size::Sizes;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

mod connect;
mod datagram;
mod idle;
mod ping;
mod script;
mod stream;
mod sum;

pub use datagram::{Arrival, Packets};
pub use ping::Exchange;
pub use script::{Script, Step};
pub use stream::{Direction, Stream};

/// Every workload, in the order in which they are listed.
pub static WORKLOADS: &[Workload] = &[
    ping::WORKLOAD,
    stream::WORKLOAD,
    connect::WORKLOAD,
    idle::WORKLOAD,
    sum::WORKLOAD,
    datagram::WORKLOAD,
    script::WORKLOAD,
];

/// A row of the table.
#[derive(Debug)]
pub struct Workload {
    /// The name users write.
    pub name: &'static str,
    /// One line: what clients do.
    pub summary: &'static str,
    /// The service of ours that answers it; empty: that depends.
    pub service: &'static str,
    /// Bytes of a request if nothing is said of them.
    pub size_bytes: usize,
    /// What becomes of a connection.
    shape: fn(&Errand) -> Shape,
    /// The conversation of a connection of this number, if it is one of requests.
    dialogue: Option<MakeDialogue>,
}

/// Makes the conversation of a connection of this number.
type MakeDialogue = fn(&Errand, u64) -> Box<dyn Dialogue>;

/// What becomes of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// It stays: request after request, counted one by one.
    Stay,
    /// It is made for one request and closed after the answer; the time is that of all of it.
    Once,
    /// It is made and held. It must answer once at its beginning and once at the end of the run.
    Hold,
    /// It carries bytes as fast as they go.
    Flow(Direction),
    /// It is a socket for datagrams, each a request that may be lost.
    Packets,
}

/// A workload and its settings: what all clients of a run do.
#[derive(Clone, Debug)]
pub struct Errand {
    /// The row.
    pub workload: &'static Workload,
    /// How long requests are; for a stream how long one write is. 0 with `connect`: the connection is all.
    pub sizes: Sizes,
    /// Which way a stream goes.
    pub direction: Direction,
    /// What a script says.
    pub script: Option<Arc<Script>>,
    seed: u64,
    pattern: Arc<[u8]>,
}

impl Workload {
    /// The workload of this name.
    pub fn find(name: &str) -> Option<&'static Workload> {
        WORKLOADS.iter().find(|workload| workload.name == name)
    }

    fn pattern(&self, sizes: &Sizes, seed: u64) -> Arc<[u8]> {
        match self.name {
            "stream" => stream::pattern(sizes, seed),
            _ => ping::pattern(sizes, seed),
        }
    }

    /// With the settings that it has if nothing is said. `seed` chooses what is in requests.
    pub fn errand(&'static self, seed: u64) -> Errand {
        let sizes = Sizes::Fixed(self.size_bytes);
        let pattern = self.pattern(&sizes, seed);
        Errand { workload: self, sizes, direction: Direction::Both, script: None, seed, pattern }
    }
}

impl Errand {
    /// With requests of these sizes.
    pub fn sized(mut self, sizes: Sizes) -> Errand {
        self.pattern = self.workload.pattern(&sizes, self.seed);
        self.sizes = sizes;
        self
    }

    /// What becomes of a connection.
    pub fn shape(&self) -> Shape {
        (self.workload.shape)(self)
    }

    /// The conversation of connection number `connection`; `None` for [`Shape::Flow`] and [`Shape::Packets`].
    pub fn dialogue(&self, connection: u64) -> Option<Box<dyn Dialogue>> {
        self.workload.dialogue.map(|make| make(self, connection))
    }

    /// The datagrams of socket number `connection`. `T` is what the caller wants to know of each when it is answered.
    pub fn packets<T: Copy>(&self, connection: u64) -> Packets<T> {
        Packets::new(self, connection)
    }

    /// The bytes of connection number `connection`, for a stream.
    pub fn stream(&self, connection: u64) -> Stream {
        Stream::new(self, connection)
    }

    /// Whether a request can wait behind another one.
    pub fn can_be_deep(&self) -> bool {
        self.script.is_none() && matches!(self.shape(), Shape::Stay | Shape::Packets)
    }

    /// Looks for what cannot be done.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        let name = self.workload.name;
        if name == script::WORKLOAD.name && self.script.is_none() {
            return Err("the workload `script` needs a script: --script FILE".into());
        }
        let (least, most) = self.sizes.bounds();
        match self.shape() {
            _ if self.script.is_some() || name == sum::WORKLOAD.name => Ok(()),
            Shape::Once if most == 0 => Ok(()),
            _ if least == 0 => Err(format!("{name}: requests of 0 bytes: at least 1 is needed")),
            Shape::Packets if least < datagram::NUMBER_BYTES => Err(format!(
                "datagrams of {least} bytes: their number alone takes {}",
                datagram::NUMBER_BYTES
            )),
            Shape::Packets if most > crate::datagram::MAX_DATAGRAM => {
                let limit = crate::datagram::MAX_DATAGRAM;
                Err(format!("datagrams of {most} bytes: a datagram holds at most {limit}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_errands_are_good() {
        for workload in WORKLOADS {
            assert_eq!(WORKLOADS.iter().filter(|other| other.name == workload.name).count(), 1);
            assert!(Workload::find(workload.name).is_some_and(|found| found.summary == workload.summary));
            let errand = workload.errand(1);
            assert_eq!(errand.check().is_ok(), workload.name != "script", "{}", workload.name);
        }
        assert!(Workload::find("pong").is_none());
    }
}
