//! One log line when a probe begins to fail, fails otherwise, recovers, or is held back; none for repeats.

use super::{Sink, SkipReason, Tick};
use crate::base::label::ProbeLabels;
use crate::probe::{Observation, Outcome};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Logs transitions of outcomes.
#[derive(Debug, Default)]
pub struct Transitions {
    last: Mutex<HashMap<ProbeLabels, Outcome>>,
    skipped: Mutex<HashMap<ProbeLabels, SkipReason>>,
}

impl Sink for Transitions {
    fn observe(&self, run: &Arc<Observation>) {
        self.skipped.lock().remove(&run.labels);
        let before = self.last.lock().insert(run.labels.clone(), run.outcome);
        if before == Some(run.outcome) || run.outcome == Outcome::Cancelled {
            return;
        }
        let probe = &run.labels;
        let run_id = run.run_id;
        match &run.failure {
            None => {
                let ttft_ms = run.latency.first_token.map(|time| time.as_millis());
                tracing::info!(%probe, %run_id, ttft_ms, "probe succeeds");
            }
            Some(failure) => {
                let (outcome, reason) = (run.outcome, &failure.message);
                tracing::warn!(%probe, %run_id, %outcome, %reason, "probe fails");
            }
        }
    }

    fn tick(&self, probe: &ProbeLabels, tick: Tick) {
        let Tick::Skipped(reason) = tick else {
            return;
        };
        let before = self.skipped.lock().insert(probe.clone(), reason);
        // The scheduler's own two come and go with every slow run.
        let passing = matches!(reason, SkipReason::Overlap | SkipReason::TargetBusy);
        if before != Some(reason) && !passing {
            let (reason, why) = (reason.as_str(), reason.meaning());
            tracing::info!(%probe, reason, "probe is held back: {why}");
        }
    }
}
