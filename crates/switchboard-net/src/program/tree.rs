//! What is left below this worker when its programs have ended: daemons that have made themselves sessions of their
//! own. They are the worker's children since it is their subreaper, and end with it.

use super::worker::Worker;
use crate::admission::look_ups;
use crate::confine::Tree;
use crate::sys::process;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use switchboard_proto::Instant;

/// How far the end of orphans has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Orphans {
    /// They are left alone.
    Left,
    /// They were sent SIGTERM; SIGKILL follows at this time.
    Asked(Instant),
}

impl Worker<'_> {
    /// Once the programs have ended: ends what they left behind. True if there is nothing.
    pub(super) fn end_orphans(&mut self) -> bool {
        if self.site.stop.is_patient() {
            return true;
        }
        let mut left = process::children();
        // It has nobody's process below it, and ends with us.
        left.retain(|pid| Some(*pid) != look_ups());
        if self.orphans == Orphans::Left {
            // Below a worker that was killed there may be some who are not our children.
            let abandoned = self.launcher.group().map(|group| group.abandoned());
            self.trees.extend(abandoned.unwrap_or_default());
        }
        self.trees.retain(|tree| !tree.remove());
        if left.is_empty() && self.trees.is_empty() {
            return true;
        }
        match self.orphans {
            Orphans::Left => {
                self.orphans = Orphans::Asked(self.now + self.site.program.grace);
                self.trees.iter().for_each(|tree| tree.signal(Signal::TERM, None));
                left.into_iter()
                    .filter(|pid| Tree::of(*pid).is_none())
                    .for_each(|pid| signal(pid, Signal::TERM));
            }
            // Those below whoever is killed now come to us next, and find that the time is over.
            Orphans::Asked(until) if until <= self.now => {
                self.trees.iter().for_each(Tree::kill);
                left.into_iter().for_each(|pid| signal(pid, Signal::KILL));
            }
            Orphans::Asked(_) => {}
        }
        false
    }
}

/// Signals a child with its group, unless that is our own. Children are not reaped meanwhile, so that the number is
/// theirs.
fn signal(child: Pid, signal: Signal) {
    // As process 1 of a container, our group may be one that is outside, and then its number is 0.
    let group = |pid| process::stat(pid).and_then(|stat| Pid::from_raw(stat.group));
    let _ = match group(child) {
        Some(theirs) if group(process::id()) != Some(theirs) => kill_process_group(theirs, signal),
        _ => kill_process(child, signal),
    };
}
