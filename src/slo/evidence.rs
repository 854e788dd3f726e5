//! What is known of one objective of one probe, as a verdict needs it.

use super::book::{Burn, Standing};
use super::burn::Urgency;
use super::interval::Interval;
use super::objective::Conditions;
use super::rolling::Counts;
use crate::base::units::format_duration;
use crate::probe::Outcome;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is known of one objective of one probe.
#[derive(Clone, Debug, Serialize)]
pub struct Evidence {
    /// The objective's name.
    pub slo: String,
    /// The target's name.
    pub target: String,
    /// The scenario's name.
    pub scenario: String,
    /// The promised share of good runs, 0 to 1.
    pub objective: f64,
    /// What a good run is besides successful, in words; empty: successful is all.
    pub promise: String,
    /// All runs that count.
    #[serde(flatten)]
    pub counts: Counts,
    /// Good ÷ (good + bad).
    pub good_ratio: Option<f64>,
    /// Where the true ratio lies, with 95 % confidence.
    pub bounds: Option<Interval>,
    /// As how many independent runs those that were judged count.
    pub effective_events: Option<f64>,
    /// What is left of the error budget, 0 to 1; negative where it is overspent.
    pub budget_remaining: Option<f64>,
    /// How it goes now.
    pub recent: Recent,
    /// A rule on burn rates that holds.
    pub burning: Option<Burning>,
    /// Set where runs that were due did not come.
    #[serde(skip)]
    pub silence: Option<Silence>,
}

/// The latest runs that were judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recent {
    /// How many.
    pub judged: u64,
    /// How many of them were no success at all, whatever the objective's conditions.
    pub failed: u64,
    /// How many of the last failed without one between them that did not.
    pub failed_in_a_row: u64,
    /// The failures by their outcome.
    pub failures: BTreeMap<Outcome, u64>,
}

impl Recent {
    /// Of these runs, oldest first: those that say something about the runtime, see
    /// [`crate::probe::Observation::tells_of_runtime`].
    pub fn of(outcomes: impl IntoIterator<Item = Outcome>) -> Self {
        let mut recent = Self::default();
        for outcome in outcomes {
            recent.judged += 1;
            if outcome.is_success() {
                recent.failed_in_a_row = 0;
            } else {
                recent.failed += 1;
                recent.failed_in_a_row += 1;
                *recent.failures.entry(outcome).or_default() += 1;
            }
        }
        recent
    }
}

/// A rule on burn rates that holds: both windows burn faster than its factor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Burning {
    /// The rule's factor: at 1 the budget lasts exactly as long as the objective's window.
    pub factor: f64,
    /// The longer window, in seconds.
    #[serde(rename = "long_seconds", serialize_with = "seconds")]
    pub long: Duration,
    /// The burn rate over it.
    pub long_rate: f64,
    /// The shorter window, in seconds.
    #[serde(rename = "short_seconds", serialize_with = "seconds")]
    pub short: Duration,
    /// The burn rate over it.
    pub short_rate: f64,
}

impl Burning {
    /// The first of the rules for pages that holds; those for tickets are about weeks.
    fn of(standing: &Standing) -> Option<Self> {
        standing.policy.of(Urgency::Page).find_map(|rule| {
            let within = |window: Duration| {
                let mut burns = standing.burn.iter();
                let burn: &Burn = burns.find(|burn| burn.window == window)?;
                burn.rate.map(|rate| (rate, burn.counts.bad))
            };
            let (long_rate, bad) = within(rule.long)?;
            let (short_rate, _) = within(rule.short)?;
            let holds = long_rate > rule.factor
                && short_rate > rule.factor
                && bad >= u64::from(rule.least_bad);
            holds.then_some(Self {
                factor: rule.factor,
                long: rule.long,
                long_rate,
                short: rule.short,
                short_rate,
            })
        })
    }
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// Runs that were due did not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Since the last run ended.
    pub since: Duration,
    /// Typical time between two runs.
    pub period: Duration,
    /// Why the latest was suppressed, where it was.
    pub why: Option<String>,
}

/// Periods without a run after which what is known is no longer about now.
const SILENT_PERIODS: u32 = 3;
/// A run may take its time: three minutes is the longest unless a scenario says otherwise.
const LONGEST_RUN: Duration = Duration::from_secs(180);

impl Silence {
    /// Whether so much time without a run is too much.
    pub fn of(since: Duration, period: Duration, why: Option<String>) -> Option<Self> {
        let limit = (period * SILENT_PERIODS).max(period + LONGEST_RUN);
        (since > limit).then_some(Self { since, period, why })
    }
}

impl Evidence {
    /// What an account tells, and how it goes now.
    pub fn of(standing: &Standing, recent: Recent, silence: Option<Silence>) -> Self {
        let objective = &standing.objective;
        Self {
            slo: objective.name.clone(),
            target: standing.labels.target.to_string(),
            scenario: standing.labels.scenario.to_string(),
            objective: objective.objective,
            promise: objective.conditions.in_words(),
            counts: standing.counts,
            good_ratio: standing.good_ratio,
            bounds: standing.bounds,
            effective_events: standing.effective_events,
            budget_remaining: standing.budget_remaining,
            recent,
            burning: Burning::of(standing),
            silence,
        }
    }
}

impl Conditions {
    /// What a good run is besides successful: `first token under 800ms, inference under 5s`.
    pub fn in_words(&self) -> String {
        let Self {
            first_token_under,
            first_visible_under,
            inter_token_p95_under,
            per_output_token_under,
            max_stall_under,
            inference_under,
            decode_tps_over,
            cost_under_usd,
        } = self;
        let times = [
            ("first token", first_token_under),
            ("first visible token", first_visible_under),
            ("95th percentile of gaps", inter_token_p95_under),
            ("time per output token", per_output_token_under),
            ("longest stall", max_stall_under),
            ("inference", inference_under),
        ];
        let mut words: Vec<String> = times
            .into_iter()
            .filter_map(|(name, limit)| Some((name, (*limit)?)))
            .map(|(name, limit)| format!("{name} under {}", format_duration(limit)))
            .collect();
        words.extend(decode_tps_over.map(|least| format!("decode speed over {least} tokens/s")));
        words.extend(cost_under_usd.map(|most| format!("cost under ${most}")));
        words.join(", ")
    }
}
