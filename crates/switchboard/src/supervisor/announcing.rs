//! What the operator says of one service to balancers: that it wants no more work, or any again. It is told to whoever
//! asks the agent, and remembered over reloads and upgrades. Listener, queue and limits stay as they are: who comes all
//! the same is served, since a balancer needs a moment to ask, and others than it may never do so.

use super::Supervisor;
use switchboard_net::Announced;

impl Supervisor {
    pub(super) fn announce(&mut self, id: &str, announced: Announced) -> Result<Vec<String>, String> {
        let unit = self.units.iter().find(|unit| unit.services.iter().any(|service| service.id == id));
        let Some(unit) = unit else {
            let known: Vec<&str> =
                self.units.iter().flat_map(|unit| &unit.services).map(|one| one.id.as_str()).collect();
            return Err(format!("there is no service {}; there are {}", id.escape_debug(), known.join(", ")));
        };
        if unit.services.len() > 1 {
            return Err(format!(
                "{id} shares its worker and its counters with others: only services of a file can be drained one by one"
            ));
        }
        let open = self.board.of(unit.slot).read().open();
        self.board.scores.announce(unit.slot, announced);
        let said = match announced {
            Announced::Serving => format!("{id} takes work again"),
            Announced::Draining => format!("{id} wants no new connections; {open} are open"),
            Announced::Maintenance => format!("{id} is under maintenance; {open} connections are open"),
        };
        self.journal.event(&format!("announced: {said}"));
        Ok(vec![said])
    }
}
