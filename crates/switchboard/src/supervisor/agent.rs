//! [`View`]: what the built-in `agent` knows of the server that it speaks for: the counters that all processes share,
//! whether the end was announced, and what cannot be served. It is asked in a worker, which asks nobody.

use super::unit::Unit;
use crate::plan::{Plan, ServicePlan};
use std::sync::Arc;
use switchboard_net::{Announced, Scoreboard};
use switchboard_proto::{Condition, Recipe, Service, Watched};

/// The name of the row.
const AGENT: &str = "agent";

/// The services, as they were when the worker was started.
pub(super) struct View {
    known: Arc<Known>,
}

struct Known {
    scores: &'static Scoreboard,
    /// Every service with its place on the board and its limit of connections.
    services: Vec<(String, usize, Option<u64>)>,
    /// The place of the agent itself, and whether it has it to itself.
    own: (usize, bool),
    /// The limit of all services together.
    most: Option<u64>,
}

impl View {
    /// From a worker of the unit `own`, beside which there are `others`.
    pub(super) fn new(scores: &'static Scoreboard, plan: &Plan, others: &[Unit], own: &Unit) -> View {
        let limit = |service: &ServicePlan| {
            let bound = service.admission.connections.map(|bound| u64::from(bound.most));
            bound.or(service.limits.max_connections.map(|most| most as u64))
        };
        let units = others.iter().chain([own]);
        let services = units.flat_map(|unit| {
            unit.services.iter().map(move |service| (service.id.clone(), unit.slot, limit(service)))
        });
        let services = services.collect();
        let own = (own.slot, own.services.len() == 1);
        let known = Known { scores, services, own, most: plan.max_connections.map(u64::from) };
        View { known: Arc::new(known) }
    }

    /// How an agent is made that looks from here; nothing for any other service.
    pub(super) fn recipe(&self, row: &Service, settings: &[(String, String)]) -> Option<Recipe> {
        let options: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let known = Arc::clone(&self.known);
        let recipe = (row.name == AGENT).then(|| Recipe::agent(&options, move |watched| known.look(watched)));
        // The plan has tried these options.
        recipe.and_then(Result::ok)
    }
}

impl Known {
    fn look(&self, watched: &Watched) -> Condition {
        if self.scores.is_draining() {
            return Condition::Draining;
        }
        let (open, most) = match &watched.service {
            None => (self.open_in_all(), self.most),
            Some(id) => {
                let Some((_, place, most)) = self.services.iter().find(|(known, ..)| known == id) else {
                    return Condition::Down(format!("there is no service {id}"));
                };
                if self.scores.has_failed(*place) {
                    return Condition::Down(format!("{id} cannot be served"));
                }
                match self.scores.announced(*place) {
                    Announced::Serving => {}
                    Announced::Draining => return Condition::Draining,
                    Announced::Maintenance => return Condition::Maintenance,
                }
                (self.scores.services[*place].read().open(), *most)
            }
        };
        let full = if watched.full > 0 { watched.full } else { most.unwrap_or(0) };
        Condition::of_load(open, full)
    }

    /// Connections of all services but those of whoever asks for this.
    fn open_in_all(&self) -> u64 {
        let (own, alone) = self.own;
        let own = if alone { self.scores.services[own].read().open() } else { 1 };
        self.scores.total().open().saturating_sub(own)
    }
}
