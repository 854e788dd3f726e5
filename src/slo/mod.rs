//! Layer 5: objectives, and the exact judgement of each run against them.

mod objective;

pub use objective::{Conditions, Judgement, Objective, Selector};
