//! An objective, stated once; each run is judged once and exactly, not by bucket.

use crate::base::label::ProbeLabels;
use crate::probe::{Observation, Outcome};
use std::time::Duration;

/// Which probes an objective speaks of. Absent means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The target's name.
    pub target: Option<String>,
    /// The scenario's name.
    pub scenario: Option<String>,
}

impl Selector {
    /// Whether the objective speaks of this probe.
    pub fn matches(&self, labels: &ProbeLabels) -> bool {
        self.matches_names(&labels.target, &labels.scenario)
    }

    /// Whether the objective speaks of the probe of this target and scenario.
    pub fn matches_names(&self, target: &str, scenario: &str) -> bool {
        let fits = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        fits(&self.target, target) && fits(&self.scenario, scenario)
    }
}

/// What a good run is, besides a successful one. All that are given must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    /// TTFT, any token, below.
    pub first_token_under: Option<Duration>,
    /// TTFT, visible token, below.
    pub first_visible_under: Option<Duration>,
    /// TPOT below.
    pub per_output_token_under: Option<Duration>,
    /// Longest gap below.
    pub max_stall_under: Option<Duration>,
    /// E2E below.
    pub inference_under: Option<Duration>,
    /// Decode speed above, tokens per second.
    pub decode_tps_over: Option<f64>,
}

/// One objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// Unique; the label's value.
    pub name: String,
    /// Whom it concerns.
    pub selector: Selector,
    /// Share of good events that is promised, 0 to 1.
    pub objective: f64,
    /// Over which time.
    pub window: Duration,
    /// What good means.
    pub conditions: Conditions,
}

/// What a run counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Judgement {
    /// Kept the promise.
    Good,
    /// Broke it. Failures and timeouts are bad.
    Bad,
    /// Says nothing about the runtime: tainted, cancelled, or our own fault.
    Excluded,
}

impl Judgement {
    /// Every judgement.
    pub const ALL: [Self; 3] = [Self::Good, Self::Bad, Self::Excluded];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Excluded => "excluded",
        }
    }
}

impl Objective {
    /// Judges one run that the selector matches.
    pub fn judge(&self, run: &Observation) -> Judgement {
        if run.is_tainted() || matches!(run.outcome, Outcome::Cancelled | Outcome::Internal) {
            return Judgement::Excluded;
        }
        match run.outcome.is_success() && self.conditions.hold(run) {
            true => Judgement::Good,
            false => Judgement::Bad,
        }
    }
}

impl Conditions {
    /// A figure that a successful run does not have breaks the condition on it, but for the two
    /// that one-token answers cannot have (TPOT and stall): there is nothing slow about them.
    fn hold(&self, run: &Observation) -> bool {
        let under = |limit: Option<Duration>, found: Option<Duration>, absent: bool| match limit {
            None => true,
            Some(limit) => found.map_or(absent, |found| found < limit),
        };
        let latency = &run.latency;
        under(self.first_token_under, latency.first_token, false)
            && under(self.first_visible_under, latency.first_visible, false)
            && under(self.per_output_token_under, latency.per_output_token, true)
            && under(self.max_stall_under, latency.max_stall, true)
            && under(self.inference_under, Some(latency.inference), false)
            && self
                .decode_tps_over
                .is_none_or(|least| latency.decode_tps.is_none_or(|found| found > least))
    }
}
