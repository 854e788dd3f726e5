//! Layer 5: objectives, and the exact judgement of each run against them.

mod burn;
mod objective;

pub use burn::{BurnPolicy, BurnRule, LEAST_BAD, RUNS_IN_SHORT, Shortfall, Urgency};
pub use objective::{Conditions, Judgement, Objective, Selector};
