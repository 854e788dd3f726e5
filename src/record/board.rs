//! The last run of every probe, for people: the status page and the API.

use super::{Sink, SkipReason, Tick};
use crate::base::label::ProbeLabels;
use crate::probe::{Observation, Outcome};
use jiff::Timestamp;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How many outcomes are remembered of each probe.
const RECENT: usize = 40;

/// What is known of one probe.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// The last run.
    pub last: Option<Arc<Observation>>,
    /// Whether each of the last runs was good, oldest first.
    pub recent: VecDeque<bool>,
    /// How each of the last runs ended that say something about the runtime, oldest first.
    pub outcomes: VecDeque<Outcome>,
    /// Why the latest tick was suppressed, if it was.
    pub skipped: Option<SkipReason>,
    /// When the next run is due.
    pub next: Option<Timestamp>,
}

/// Remembers; hands out copies.
#[derive(Debug, Default)]
pub struct Board {
    standings: Mutex<BTreeMap<ProbeLabels, Standing>>,
}

impl Board {
    /// Forgets every probe that is not among these, and begins to remember the new ones.
    pub fn retain(&self, probes: &[ProbeLabels]) {
        let mut standings = self.standings.lock();
        standings.retain(|labels, _| probes.contains(labels));
        for labels in probes {
            standings.entry(labels.clone()).or_default();
        }
    }

    /// Every probe and what is known of it, in label order.
    pub fn snapshot(&self) -> Vec<(ProbeLabels, Standing)> {
        let standings = self.standings.lock();
        standings
            .iter()
            .map(|(labels, standing)| (labels.clone(), standing.clone()))
            .collect()
    }
}

impl Sink for Board {
    fn observe(&self, observation: &Arc<Observation>) {
        if let Some(standing) = self.standings.lock().get_mut(&observation.labels) {
            if standing.recent.len() == RECENT {
                standing.recent.pop_front();
            }
            standing.recent.push_back(observation.outcome.is_success());
            if observation.tells_of_runtime() {
                if standing.outcomes.len() == RECENT {
                    standing.outcomes.pop_front();
                }
                standing.outcomes.push_back(observation.outcome);
            }
            standing.last = Some(observation.clone());
            standing.skipped = None;
        }
    }

    fn tick(&self, labels: &ProbeLabels, tick: Tick) {
        if let Some(standing) = self.standings.lock().get_mut(labels) {
            match tick {
                Tick::Next(next) => standing.next = next,
                Tick::Skipped(reason) => standing.skipped = Some(reason),
                Tick::Scheduled | Tick::Late(_) | Tick::Missed(_) => {}
            }
        }
    }
}
