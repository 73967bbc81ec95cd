//! [`Log`]: where all observers of a run write to, and where the steps read from.

use crate::record::{Event, Header, HostId, HostInfo, Nanos, Recording, What};
use crate::scenario::roles::Roles;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Events as they arrive, shared by all threads of a run.
#[derive(Clone)]
pub(super) struct Log(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

pub(super) struct State {
    pub(super) events: Vec<Event>,
    pub(super) roles: Roles,
    closed: bool,
}

impl Log {
    pub(super) fn new(hosts: Vec<String>) -> Log {
        let state = State { events: Vec::new(), roles: Roles::new(hosts), closed: false };
        Log(Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }))
    }

    /// What observers are given to write to.
    pub(super) fn sink(&self) -> Box<dyn FnMut(Event) + Send> {
        let log = self.clone();
        Box::new(move |event| log.add(event))
    }

    pub(super) fn add(&self, event: Event) {
        let mut state = self.lock();
        if !state.closed {
            state.roles.see(&event);
            state.events.push(event);
            drop(state);
            self.0.changed.notify_all();
        }
    }

    pub(super) fn say(&self, host: Option<HostId>, what: What) -> usize {
        self.add(Event { at_ns: crate::wire::now(), host, what });
        self.lock().events.len().saturating_sub(1)
    }

    pub(super) fn note(&self, text: impl Into<String>) {
        self.say(None, What::Note { text: text.into() });
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `answer` has one, at most until `deadline`. `answer` is asked again whenever something was added.
    pub(super) fn wait<T>(
        &self,
        deadline: Instant,
        mut answer: impl FnMut(&State) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(answer) = answer(&state) {
                return Some(answer);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            // Now and then also without news: an answer may depend on the time.
            let nap = left.min(Duration::from_millis(50));
            state = self.0.changed.wait_timeout(state, nap).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Nothing is added from now on; the events in the order in which they happened, and who was who.
    pub(super) fn close(&self) -> (Vec<Event>, Roles) {
        let mut state = self.lock();
        state.closed = true;
        let mut events = std::mem::take(&mut state.events);
        events.sort_by_key(|event| event.at_ns);
        (events, state.roles.clone())
    }
}

/// A recording of nothing.
pub(super) fn empty(scenario: &str) -> Recording {
    recording(scenario, "", 0, Vec::new(), Vec::new(), crate::wire::now())
}

pub(super) fn recording(
    scenario: &str,
    title: &str,
    seed: u64,
    hosts: Vec<HostInfo>,
    events: Vec<Event>,
    began_at_ns: Nanos,
) -> Recording {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let age = crate::wire::now().saturating_sub(began_at_ns);
    let header = Header {
        version: 1,
        scenario: scenario.to_owned(),
        title: title.to_owned(),
        seed,
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        began_at_ns,
        began_unix_ns: u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX).saturating_sub(age),
        hosts,
    };
    Recording { header, events }
}
