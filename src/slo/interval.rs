//! How sure one can be of a ratio of good events, when bad ones come in bursts.

use super::rolling::Tally;
use serde::Serialize;

/// The standard normal's quantile at 0.975: of what is estimated, 95 % lies between the bounds.
const Z_95: f64 = 1.959_963_984_540_054;

/// Lower and upper bound of a ratio, each 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The ratio is hardly below.
    pub lower: f64,
    /// Nor above.
    pub upper: f64,
}

/// The 95 % score interval of Wilson (J. Am. Stat. Assoc. 22, 1927, p. 209) around a ratio that was
/// seen among so many independent events. `None` without events.
pub fn wilson(ratio: f64, events: f64) -> Option<Interval> {
    if !(events > 0.0 && (0.0..=1.0).contains(&ratio)) {
        return None;
    }
    let z2 = Z_95 * Z_95;
    let centre = ratio + z2 / (2.0 * events);
    let spread = ratio * (1.0 - ratio) / events + z2 / (4.0 * events * events);
    let half = Z_95 * spread.sqrt();
    let scale = 1.0 + z2 / events;
    // At a ratio of 0 or 1 one bound is that ratio, which rounding may miss by a hair.
    Some(Interval {
        lower: ((centre - half) / scale).clamp(0.0, ratio),
        upper: ((centre + half) / scale).clamp(ratio, 1.0),
    })
}

/// As how many independent events these count: n (1 − ρ) / (1 + ρ), with the autocorrelation ρ of
/// neighbouring events, no less than 0 (Bayley and Hammersley, J. R. Stat. Soc. Suppl. 8, 1946,
/// p. 184, for a sequence whose autocorrelation at lag k is ρᵏ). An outage of 60 runs is one event that
/// lasts, and not 60 that agree. Never less than 1 where there is any.
pub fn effective_events(events: u64, autocorrelation: f64) -> f64 {
    let events = events as f64;
    let rho = autocorrelation.clamp(0.0, 1.0);
    (events * (1.0 - rho) / (1.0 + rho)).max(events.min(1.0))
}

impl Tally {
    /// The autocorrelation at lag 1 of a chain of two states: the share of bad events after a bad one
    /// less that after a good one, for which the autocorrelation at lag k is exactly its k-th power.
    /// 0 where only one state was seen.
    pub(super) fn autocorrelation(&self) -> f64 {
        let after_bad = self.bad_after_bad + self.good_after_bad;
        let after_good = self.counts.judged() - after_bad;
        if after_bad == 0 || after_good == 0 {
            return 0.0;
        }
        let bad_after_good = self.counts.bad - self.bad_after_bad;
        self.bad_after_bad as f64 / after_bad as f64 - bad_after_good as f64 / after_good as f64
    }
}
