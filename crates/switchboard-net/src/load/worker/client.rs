//! [`Client`]: one connection of a worker, or its lack, and what goes on there.

use crate::channel::Channel;
use crate::load::Plan;
use crate::tls;
use rustix::fd::OwnedFd;
use std::collections::VecDeque;
use switchboard_proto::workload::{Packets, Stream};
use switchboard_proto::{Dialogue, Instant, Shape};

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// When it was to start.
    pub(super) intended: Instant,
    /// When it did.
    pub(super) started: Instant,
    pub(super) first_byte_seen: bool,
}

pub(super) enum State {
    Off,
    Connecting(OwnedFd, Instant),
    /// The server's accept queue is full, since then.
    Knocking(Instant),
    /// Shaking hands, since then.
    Shaking(Channel, Instant),
    /// Since then.
    Open(Channel, Instant),
    /// Nothing more is wanted; the peer's end is awaited, since then.
    Leaving(Channel, Instant),
}

/// What goes on.
pub(super) enum Line {
    Requests(Requests),
    Stream(Flow),
    Packets(Box<Packets<Asked>>),
}

pub(super) struct Requests {
    pub(super) dialogue: Box<dyn Dialogue>,
    pub(super) asked: VecDeque<Asked>,
}

pub(super) struct Flow {
    pub(super) stream: Stream,
    /// A byte whose return is waited for: its place, and when it was sent.
    pub(super) mark: Option<(u64, Instant)>,
}

pub(super) struct Client {
    /// Among all of the run.
    pub(super) number: usize,
    pub(super) state: State,
    /// How it speaks TLS, if it remembers its sessions.
    pub(super) memory: Option<tls::Client>,
    pub(super) line: Line,
    /// What is to be sent, and how much of it was.
    pub(super) out: Vec<u8>,
    pub(super) written: usize,
    pub(super) wants_write: bool,
    /// Whether it waits in the queue of those who can take a request.
    pub(super) is_free: bool,
    /// Whether it is held: it has answered for the first time.
    pub(super) is_made: bool,
    /// Whether it rests after an answer or a failure.
    pub(super) is_resting: bool,
}

impl Client {
    pub(super) fn new(plan: &Plan, number: usize) -> Client {
        let errand = &plan.errand;
        let connection = number as u64;
        let line = match errand.shape() {
            Shape::Flow(_) => Line::Stream(Flow { stream: errand.stream(connection), mark: None }),
            Shape::Packets => Line::Packets(Box::new(errand.packets(connection))),
            Shape::Stay | Shape::Once | Shape::Hold => {
                let dialogue = errand.dialogue(connection).expect("these shapes have one");
                Line::Requests(Requests { dialogue, asked: VecDeque::new() })
            }
        };
        Client {
            number,
            state: State::Off,
            memory: plan
                .secure
                .as_ref()
                .filter(|secure| secure.resumes)
                .map(|secure| secure.client.remembering(true)),
            line,
            out: Vec::new(),
            written: 0,
            wants_write: false,
            is_free: false,
            is_made: false,
            is_resting: false,
        }
    }

    pub(super) fn requests(&self) -> Option<&Requests> {
        match &self.line {
            Line::Requests(requests) => Some(requests),
            _ => None,
        }
    }

    pub(super) fn requests_mut(&mut self) -> Option<&mut Requests> {
        match &mut self.line {
            Line::Requests(requests) => Some(requests),
            _ => None,
        }
    }

    pub(super) fn packets_mut(&mut self) -> Option<&mut Packets<Asked>> {
        match &mut self.line {
            Line::Packets(packets) => Some(packets),
            _ => None,
        }
    }

    /// Since when something is waited for, if anything is.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        let asked = self.requests().and_then(|requests| requests.asked.front());
        match self.state {
            _ if asked.is_some() => asked.map(|asked| asked.started),
            State::Connecting(_, since) | State::Knocking(since) | State::Shaking(_, since) => Some(since),
            State::Open(_, opened) => {
                self.requests().filter(|requests| !requests.dialogue.is_ready()).map(|_| opened)
            }
            State::Off | State::Leaving(..) => None,
        }
    }

    /// How many answers are waited for of requests that were to start at `from` or later.
    pub(super) fn waiting_since(&self, from: Instant) -> usize {
        let counts = |asked: &&Asked| asked.intended >= from;
        match &self.line {
            Line::Requests(requests) => requests.asked.iter().filter(counts).count(),
            Line::Packets(packets) => packets.asked().filter(counts).count(),
            Line::Stream(_) => 0,
        }
    }

    /// Whether no answer is waited for.
    pub(super) fn is_quiet(&self) -> bool {
        match &self.line {
            Line::Requests(requests) => requests.asked.is_empty(),
            Line::Packets(packets) => packets.waiting() == 0,
            Line::Stream(_) => true,
        }
    }

    /// Closes the connection, and forgets what was to be sent there.
    pub(super) fn disconnect(&mut self) {
        if let State::Open(channel, _) = &mut self.state
            && channel.is_secure()
        {
            // What comes without close_notify before its end looks cut short.
            let _ = channel.finish();
        }
        // Closing takes it out of the epoll: no other descriptor refers to it.
        self.state = State::Off;
        self.out.clear();
        self.written = 0;
        self.wants_write = false;
        match &mut self.line {
            Line::Requests(requests) => requests.dialogue.restart(),
            Line::Stream(flow) => {
                flow.stream.restart();
                flow.mark = None;
            }
            // Numbers go on, and what still waits is counted as lost in its time.
            Line::Packets(_) => {}
        }
    }
}
