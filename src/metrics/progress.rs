//! The verdict on each runtime's forward progress.

use super::family::{FamilySpec, Kind, Labels};
use crate::record::Progress;
use std::time::Instant;

pub(super) const FAMILIES: &[FamilySpec] = &[FamilySpec {
    name: "llm_probe_forward_progress",
    kind: Kind::Gauge,
    labels: &["target", "runtime", "model", "state"],
    help: "Whether the runtime makes progress, 1 for the state that holds: idle, busy (it works, or its counters move while requests wait), stalled (a request gets nowhere and no counter moves), dead (nothing answers), unknown; told from the streams of runs, the runtime's own counters and its processes' CPU time",
    collect: |state, samples| {
        for (watched, verdict) in state.progress.verdicts(Instant::now()) {
            for progress in Progress::ALL {
                let labels = Labels::default()
                    .with("target", &watched.target)
                    .with("runtime", &watched.runtime)
                    .with("model", &watched.model)
                    .with("state", progress.as_str());
                let holds = f64::from(u8::from(progress == verdict));
                samples.gauge(labels, Some(holds));
            }
        }
    },
}];
