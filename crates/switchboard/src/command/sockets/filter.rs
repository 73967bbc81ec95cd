//! [`Filter`]: which of the sockets are shown.

use switchboard_lab::diag::{Entry, Owners, STATES, State};

/// What a socket must be like; what is not said may be anything.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) states: Vec<State>,
    pub(super) port: Option<u16>,
    pub(super) sport: Option<u16>,
    pub(super) dport: Option<u16>,
    pub(super) program: Option<String>,
}

/// The states that one word stands for.
#[derive(Clone, Debug)]
pub(super) struct States(pub(super) Vec<State>);

/// `listen`, `CLOSE_WAIT`, `fin-wait-1`, `connected`, …
pub(super) fn states(text: &str) -> Result<States, String> {
    let plain = |text: &str| text.replace(['-', '_'], "").to_lowercase();
    let wanted = plain(text);
    let all = STATES.iter().map(|(state, _)| *state);
    if wanted == "connected" {
        let quiet = [State::Listen, State::Closed, State::Bound];
        return Ok(States(all.filter(|state| !quiet.contains(state)).collect()));
    }
    if wanted == "unconnected" {
        return Ok(States(vec![State::Closed]));
    }
    let known = STATES.iter().find(|(_, name)| plain(name) == wanted);
    known.map(|(state, _)| States(vec![*state])).ok_or_else(|| {
        let names: Vec<String> =
            STATES.iter().map(|(_, name)| name.to_lowercase().replace('_', "-")).collect();
        format!(
            "there is no state `{}`; there are {}, connected, unconnected",
            text.escape_default(),
            names.join(", ")
        )
    })
}

impl Filter {
    /// Whether everything passes.
    pub(super) fn is_open(&self) -> bool {
        let Filter { states, port, sport, dport, program } = self;
        states.is_empty() && program.is_none() && [port, sport, dport].iter().all(|port| port.is_none())
    }

    pub(super) fn passes(&self, entry: &Entry, owners: &Owners) -> bool {
        let local = entry.local.port();
        let peer = entry.peer.as_ref().and_then(|peer| peer.port());
        let is = |wanted: Option<u16>, port: Option<u16>| wanted.is_none() || wanted == port;
        (self.states.is_empty() || self.states.contains(&entry.state))
            && (is(self.port, local) || is(self.port, peer))
            && is(self.sport, local)
            && is(self.dport, peer)
            && self.program.as_ref().is_none_or(|program| is_held_by(entry, owners, program))
    }
}

/// By process number, or by name as far as the kernel keeps it: 15 bytes (proc_pid_comm(5)).
fn is_held_by(entry: &Entry, owners: &Owners, program: &str) -> bool {
    let pid: Option<i32> = program.parse().ok();
    let named = |pid: i32| {
        owners
            .program(pid)
            .is_some_and(|known| known.name.as_bytes() == &program.as_bytes()[..program.len().min(15)])
    };
    owners.of(entry.inode).iter().any(|holder| Some(holder.pid) == pid || named(holder.pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_named_in_every_way_in_use() {
        for word in ["fin-wait-1", "FIN_WAIT1", "FinWait1", "fin_wait_1"] {
            assert_eq!(states(word).expect("a state").0, [State::FinWait1], "{word}");
        }
        assert_eq!(states("connected").expect("a group").0.len(), STATES.len() - 3);
        let error = states("listening").expect_err("no state");
        assert!(error.contains("`listening`") && error.contains("time-wait"), "{error}");
    }
}
