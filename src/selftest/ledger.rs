//! The errors by one clock, and whether its error bars hold.

use super::join::{Figure, Joined};
use super::report::Summary;
use crate::probe::Instrument;
use crate::transport::ClockKind;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The errors of all runs by one clock.
#[derive(Clone, Debug, Serialize)]
pub struct ClockErrors {
    /// Which.
    pub clock: ClockKind,
    /// Runs that it saw all of, and that were compared.
    pub runs: usize,
    /// Runs that the prober itself marks as not to be trusted. They are counted in like the others.
    pub tainted: usize,
    /// Writes with tokens.
    pub writes: usize,
    /// Writes that shared an arrival with an earlier one.
    pub merged_writes: usize,
    /// Observed − true, by figure.
    pub errors: BTreeMap<Figure, Summary>,
    /// TTFT errors of the runs that are not tainted.
    pub untainted_ttft_seconds: Option<Summary>,
    /// Whether the error bars hold.
    pub promise: Promise,
    /// See [`Joined::resolution`].
    pub truth_resolution_seconds: Option<Summary>,
    /// See [`Joined::received_late`].
    pub received_late_seconds: Option<Summary>,
}

/// What every run promises: if it is further off than its limit it is tainted, and if it is not tainted
/// it is at most twice its error bar off.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Promise {
    /// Runs further off than their limit.
    pub beyond_limit: usize,
    /// Those of them that are not tainted. None may be.
    pub beyond_limit_untainted: usize,
    /// Runs that are not tainted and further off than twice their error bar. None may be.
    pub beyond_twice_bound: usize,
    /// The largest error over its error bar, of runs that are not tainted.
    pub worst_ratio: Option<f64>,
    /// Error bars of all runs.
    pub error_bound_seconds: Option<Summary>,
}

impl Promise {
    /// Whether it was kept.
    pub fn holds(&self) -> bool {
        self.beyond_limit_untainted == 0 && self.beyond_twice_bound == 0
    }
}

impl ClockErrors {
    pub(super) fn problems(&self, max_error: Duration, calm: bool) -> Vec<String> {
        let mut problems = Vec::new();
        let name = self.clock.as_str();
        let median = self.untainted_ttft_seconds.map(|ttft| ttft.p50);
        if let Some(median) = median.filter(|median| median.abs() > max_error.as_secs_f64()) {
            let millis = median * 1e3;
            problems.push(format!(
                "the median error of TTFT by the clock `{name}` is {millis:.3} ms"
            ));
        }
        if calm && self.tainted == self.runs {
            problems.push(format!("every run by the clock `{name}` is tainted"));
        }
        let promise = &self.promise;
        if promise.beyond_limit_untainted > 0 {
            let count = promise.beyond_limit_untainted;
            problems.push(format!(
                "{count} runs by the clock `{name}` are further off than their limit and not tainted"
            ));
        }
        if promise.beyond_twice_bound > 0 {
            let count = promise.beyond_twice_bound;
            problems.push(format!(
                "{count} runs by the clock `{name}` are further off than twice their error bar and not tainted"
            ));
        }
        problems
    }
}

/// Errors by the run, before they are summed up.
#[derive(Default)]
pub(super) struct Ledger {
    runs: usize,
    tainted: usize,
    writes: usize,
    merged: usize,
    errors: BTreeMap<Figure, Vec<f64>>,
    untainted_ttft: Vec<f64>,
    bounds: Vec<f64>,
    promise: Promise,
    resolution: Vec<f64>,
    received_late: Vec<f64>,
}

impl Ledger {
    pub(super) fn enter(&mut self, instrument: &Instrument, joined: Joined) {
        let Joined {
            errors,
            largest,
            resolution,
            received_late,
            writes,
            merged,
        } = joined;
        self.runs += 1;
        self.writes += writes;
        self.merged += merged;
        self.resolution.extend(resolution);
        self.received_late.extend(received_late);
        let untainted = instrument.taint.is_none();
        self.tainted += usize::from(!untainted);
        self.hold_to_its_word(instrument, largest);
        for (figure, error) in errors {
            if figure == Figure::Ttft && untainted {
                self.untainted_ttft.push(error);
            }
            self.errors.entry(figure).or_default().push(error);
        }
    }

    fn hold_to_its_word(&mut self, instrument: &Instrument, off: f64) {
        let promise = &mut self.promise;
        let untainted = instrument.taint.is_none();
        let limit = instrument.error_limit.map(|limit| limit.as_secs_f64());
        let bound = instrument.error_bound.map(|bound| bound.as_secs_f64());
        if limit.is_some_and(|limit| off > limit) {
            promise.beyond_limit += 1;
            promise.beyond_limit_untainted += usize::from(untainted);
        }
        let Some(bound) = bound else {
            return;
        };
        self.bounds.push(bound);
        if untainted {
            promise.beyond_twice_bound += usize::from(off > 2.0 * bound);
            let ratio = off / bound;
            let worst = promise.worst_ratio.unwrap_or(0.0);
            promise.worst_ratio = Some(ratio.max(worst));
        }
    }

    pub(super) fn close(self, clock: ClockKind) -> ClockErrors {
        let errors = self.errors.into_iter();
        ClockErrors {
            clock,
            runs: self.runs,
            tainted: self.tainted,
            writes: self.writes,
            merged_writes: self.merged,
            errors: errors
                .filter_map(|(figure, values)| Some((figure, Summary::of(values)?)))
                .collect(),
            untainted_ttft_seconds: Summary::of(self.untainted_ttft),
            promise: Promise {
                error_bound_seconds: Summary::of(self.bounds),
                ..self.promise
            },
            truth_resolution_seconds: Summary::of(self.resolution),
            received_late_seconds: Summary::of(self.received_late),
        }
    }
}
