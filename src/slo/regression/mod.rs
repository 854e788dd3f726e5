//! Whether TTFT or speed has moved at equal load. Each run is compared with the reference of its own load
//! regime; what is left when that is taken off comes from one sequence, whatever the load does, and is
//! what a change-point detector reads. docs/measurement.md says how good it is.

mod detector;
mod evidence;
mod reference;
mod regime;
mod watch;

pub use detector::{Detector, Direction, News, Sample};
pub use reference::{MEMORY_RUNS, REFERENCE_RUNS};
pub use regime::{Band, Regime};
pub use watch::{Quantity, RegressionWatch, Verdict};

/// The change that is looked for, as a ratio. Half of it, in the logarithm, is never reported for long;
/// what is larger is found sooner.
pub const DESIGN_EFFECT: f64 = 1.15;

/// Log-likelihood ratio at which a change counts as proved. By simulation (`benches/regression.rs`), at 8 an alarm is
/// false about once in 80 000 independent runs of such noise as there is; less is quicker and wrong more often.
pub const THRESHOLD: f64 = 8.0;

/// Runs that wait before they enter their reference: most changes worth a word are proved within so many.
pub const GUARD_RUNS: usize = 64;

/// The latest runs that an effect is told from, at most.
pub const EFFECT_RUNS: usize = 32;

/// The fewest runs that an effect is told from. Fewer cannot prove a change either.
pub const FEWEST_RUNS: usize = 5;

/// Runs for which a changed level must last to become the reference: at one run in 30 s, 8 hours.
pub const ACCEPTED_AFTER: u32 = 1000;
