//! Layer 5: objectives, the exact judgement of each run against them and the account of it all,
//! regressions at equal load, and rules for Prometheus.

mod assessment;
mod baseline;
mod book;
mod burn;
mod comparison;
mod evidence;
mod interval;
mod objective;
pub mod regression;
mod rolling;
pub mod rules;
mod verdict;

pub use assessment::{Assessment, Judged};
pub use baseline::{Baseline, BaselineError, Recording, Sample};
pub use book::{Burn, Event, Health, ProbeObjectives, SloBook, Standing};
pub use burn::{BurnPolicy, BurnRule, LEAST_BAD, RUNS_IN_SHORT, Shortfall, Urgency};
pub use comparison::{Compared, Comparison, Quantity, compare};
pub use evidence::{Burning, Evidence, Recent, Silence};
pub use interval::{Interval, effective_events, wilson};
pub use objective::{Breach, Conditions, Judgement, Objective, Selector};
pub use rolling::Counts;
pub use verdict::{Reason, Verdict, judge, runs_wanted};
