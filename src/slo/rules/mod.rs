//! Rules for Prometheus, made from the objectives: recorded shares of bad runs, alerts on burn rates
//! and on missing data. Pure; see [`super::BurnPolicy`] for the windows.
//!
//! Only what Google Managed Prometheus accepts too is used: no `keep_firing_for`, no labels, limits or
//! offsets of groups, intervals of whole seconds.

mod expression;
mod generate;
mod render;
mod story;
#[cfg(test)]
mod tests;
mod unit_tests;
mod yaml;

pub use render::{Format, Metadata};

use super::Objective;
use std::time::Duration;

/// An objective and the probes that it speaks of.
#[derive(Clone, Debug)]
pub struct Watched {
    /// What was promised.
    pub objective: Objective,
    /// By whom. Never empty.
    pub probes: Vec<WatchedProbe>,
}

/// A probe as far as rules must know it. Probes of one scenario have one cadence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedProbe {
    /// Label `target`.
    pub target: String,
    /// Label `scenario`.
    pub scenario: String,
    /// Time between two runs.
    pub interval: Duration,
    /// The total timeout: no run tells anything later than this.
    pub timeout: Duration,
}

/// Everything that a rules file says.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSet {
    /// In the order of the objectives.
    pub groups: Vec<Group>,
}

/// Rules that are evaluated one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Unique within the file.
    pub name: String,
    /// Time between two evaluations.
    pub interval: Duration,
    /// Those that record come before those that read them.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// Stores the result of an expression.
    Record {
        /// `level:metric:operation`.
        name: String,
        /// PromQL.
        expression: String,
        /// What tells it from the rules of that name for other objectives and cadences.
        labels: RuleLabels,
    },
    /// Fires for every series that an expression yields.
    Alert {
        /// Label `alertname`.
        name: &'static str,
        /// PromQL.
        expression: String,
        /// How long it must yield it.
        hold: Duration,
        /// As of a recording rule.
        labels: RuleLabels,
        /// `critical` or `warning`.
        severity: &'static str,
        /// One line.
        summary: String,
        /// What is wrong, in figures.
        description: String,
    },
}

/// The labels of every rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleLabels {
    /// The objective's name.
    pub slo: String,
    /// Time between two runs of its probes.
    pub cadence: String,
}

/// A budget that is being spent fast: someone must get up.
pub const BURN_FAST: &str = "SondeObjectiveBurnFast";
/// A budget that is being spent slowly.
pub const BURN_SLOW: &str = "SondeObjectiveBurnSlow";
/// Nothing is known about an objective.
pub const DATA_ABSENT: &str = "SondeObjectiveDataAbsent";

impl RuleSet {
    /// The rules of these objectives.
    pub fn of(watched: &[Watched]) -> Self {
        let cadences = generate::cadences(watched);
        Self {
            groups: cadences.iter().flat_map(generate::groups).collect(),
        }
    }

    /// The rules as a file or as a Kubernetes object, in YAML.
    pub fn render(&self, format: Format, metadata: &Metadata) -> String {
        render::render(self, format, metadata)
    }
}

/// Unit tests in promtool's format for exactly the rules of these objectives, which are found in
/// `rule_file` (a path relative to the tests).
pub fn unit_tests(watched: &[Watched], rule_file: &str) -> String {
    unit_tests::render(&generate::cadences(watched), rule_file)
}
