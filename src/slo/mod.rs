//! Layer 5: objectives, the exact judgement of each run against them, and rules for Prometheus.

mod burn;
mod objective;
pub mod rules;

pub use burn::{BurnPolicy, BurnRule, LEAST_BAD, RUNS_IN_SHORT, Shortfall, Urgency};
pub use objective::{Conditions, Judgement, Objective, Selector};
