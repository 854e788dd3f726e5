//! Layer 3: one run of one probe, and its immutable record.

mod conclusion;
mod contamination;
mod flight;
#[cfg(fuzzing)]
pub mod fuzzing;
mod instrument;
#[cfg(any(test, fuzzing))]
mod judged;
mod observation;
mod outcome;
mod prober;
mod retrieval;
mod run;
mod settings;
mod stream;
#[cfg(test)]
mod transcripts;
mod verdict;

pub use contamination::{CACHE_ALLOWANCE_RATIO, CACHE_ALLOWANCE_TOKENS, Contamination};
pub use flight::{Flight, Flights};
pub use observation::{
    ConnectionState, Failure, Instrument, Observation, Phases, RunId, RunResources, Taint, Trigger,
};
pub use outcome::Outcome;
pub use prober::{Prober, RunContext};
pub use settings::{
    Assertion, ConnectionPolicy, InstrumentSettings, Limits, Probe, RetrievalSettings, Scenario,
    ScenarioSettings, Target, TargetSettings, Timeouts,
};
