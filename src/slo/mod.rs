//! Layer 5: objectives, the exact judgement of each run against them, the account of it all, and regressions
//! at equal load.

mod book;
mod burn;
mod interval;
mod objective;
pub mod regression;
mod rolling;

pub use book::{Burn, Event, Health, ProbeObjectives, SloBook, Standing};
pub use burn::{BurnPolicy, BurnRule, LEAST_BAD, RUNS_IN_SHORT, Shortfall, Urgency};
pub use interval::{Interval, effective_events, wilson};
pub use objective::{Breach, Conditions, Judgement, Objective, Selector};
pub use rolling::Counts;
