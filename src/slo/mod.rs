//! Layer 5: objectives, the exact judgement of each run against them, and the account of it all.

mod book;
mod interval;
mod objective;
mod rolling;

pub use book::{Burn, Event, ProbeObjectives, SloBook, Standing};
pub use interval::{Interval, effective_events, wilson};
pub use objective::{Breach, Conditions, Judgement, Objective, Selector};
pub use rolling::Counts;
