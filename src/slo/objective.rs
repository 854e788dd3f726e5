//! An objective, stated once; each run is judged once and exactly, not by bucket.

use crate::base::label::UserLabels;
use crate::measure::quantiles::quantile;
use crate::probe::{Observation, Outcome};
use serde::Serialize;
use std::time::Duration;

/// Which probes an objective speaks of. Absent means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The target's name.
    pub target: Option<String>,
    /// The scenario's name.
    pub scenario: Option<String>,
    /// Labels that the user has given the target, each with exactly this value.
    pub labels: UserLabels,
}

impl Selector {
    /// Whether the objective speaks of the probe of this target, with these labels of its own, and
    /// this scenario.
    pub fn matches(&self, target: &str, labels: &UserLabels, scenario: &str) -> bool {
        let fits = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        let mut wanted = self.labels.iter();
        fits(&self.target, target)
            && fits(&self.scenario, scenario)
            && wanted.all(|(name, value)| labels.get(name) == Some(value))
    }
}

/// What a good run is, besides a successful one. All that are given must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    /// TTFT, any token, below.
    pub first_token_under: Option<Duration>,
    /// TTFT, visible token, below.
    pub first_visible_under: Option<Duration>,
    /// 95th percentile of the run's own gaps between arrivals below (nearest rank: a gap that occurred,
    /// and the longest where there are fewer than 20).
    pub inter_token_p95_under: Option<Duration>,
    /// TPOT below.
    pub per_output_token_under: Option<Duration>,
    /// Longest gap below.
    pub max_stall_under: Option<Duration>,
    /// E2E below.
    pub inference_under: Option<Duration>,
    /// Decode speed above, tokens per second.
    pub decode_tps_over: Option<f64>,
    /// What the run's tokens cost together, in USD, below.
    pub cost_under_usd: Option<f64>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
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
        match run.outcome.is_success() && self.conditions.breaches(run).is_empty() {
            true => Judgement::Good,
            false => Judgement::Bad,
        }
    }
}

/// A condition that a run did not keep.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Breach {
    /// Its key in the configuration.
    pub condition: &'static str,
    /// What was promised: seconds, tokens per second, or USD, as the condition's figure is.
    pub limit: f64,
    /// What the run had; absent where it had no such figure.
    pub found: Option<f64>,
}

/// A condition of a run that does not have the condition's figure.
#[derive(Clone, Copy, PartialEq)]
enum Absent {
    /// A success without this figure has not kept the promise.
    Breaks,
    /// An answer of one arrival cannot have it: there is nothing slow about it.
    Keeps,
}

impl Conditions {
    /// The conditions that a successful run breaks. A figure equal to its limit does: under is under.
    pub fn breaches(&self, run: &Observation) -> Vec<Breach> {
        let latency = &run.latency;
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        let inter_token = || {
            let mut gaps = run.gaps.clone();
            gaps.sort_unstable();
            quantile(&gaps, 0.95)
        };
        let inter_token = self.inter_token_p95_under.and_then(|_| inter_token());
        let below = [
            (
                "first_token_under",
                seconds(self.first_token_under),
                seconds(latency.first_token),
                Absent::Breaks,
            ),
            (
                "first_visible_under",
                seconds(self.first_visible_under),
                seconds(latency.first_visible),
                Absent::Breaks,
            ),
            (
                "inter_token_p95_under",
                seconds(self.inter_token_p95_under),
                seconds(inter_token),
                Absent::Keeps,
            ),
            (
                "per_output_token_under",
                seconds(self.per_output_token_under),
                seconds(latency.per_output_token),
                Absent::Keeps,
            ),
            (
                "max_stall_under",
                seconds(self.max_stall_under),
                seconds(latency.max_stall),
                Absent::Keeps,
            ),
            (
                "inference_under",
                seconds(self.inference_under),
                Some(latency.inference.as_secs_f64()),
                Absent::Breaks,
            ),
            (
                "cost_under_usd",
                self.cost_under_usd,
                run.cost_usd.map(|cost| cost.total),
                Absent::Breaks,
            ),
        ];
        let decode = (
            "decode_tps_over",
            self.decode_tps_over,
            latency.decode_tps,
            Absent::Keeps,
        );
        let is_below: fn(f64, f64) -> bool = |found, limit| found < limit;
        let is_above: fn(f64, f64) -> bool = |found, limit| found > limit;
        let below = below.into_iter().map(|condition| (condition, is_below));
        below
            .chain([(decode, is_above)])
            .filter_map(|((condition, limit, found, absent), keeps)| {
                let limit = limit?;
                let kept = found.map_or(absent == Absent::Keeps, |found| keeps(found, limit));
                (!kept).then_some(Breach {
                    condition,
                    limit,
                    found,
                })
            })
            .collect()
    }
}
