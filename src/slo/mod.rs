//! Layer 5: objectives, the exact judgement of each run against them, and regressions at equal load.

mod objective;
pub mod regression;

pub use objective::{Conditions, Judgement, Objective, Selector};
