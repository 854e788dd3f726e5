//! Regressions at equal load.

use super::family::{FamilySpec, Kind, Labels};
use super::store::State;
use crate::slo::regression::Verdict;

const LABELS: &[&str] = &["target", "runtime", "model", "scenario", "quantity"];

macro_rules! gauge {
    ($name:literal, $help:literal, $value:expr) => {
        FamilySpec {
            name: $name,
            kind: Kind::Gauge,
            labels: LABELS,
            help: $help,
            collect: |state: &State, samples| {
                let value: fn(&Verdict) -> Option<f64> = $value;
                for verdict in state.regressions.verdicts() {
                    let labels = Labels::probe(&verdict.probe);
                    let labels = labels.with("quantity", verdict.quantity.as_str());
                    samples.gauge(labels, value(&verdict));
                }
            },
        }
    };
}

pub(super) const FAMILIES: &[FamilySpec] = &[
    gauge!(
        "llm_probe_regression",
        "Whether a quantity (ttft: time to the first token of any kind; tps: decode tokens per second) has become worse at equal load and is not back (1), or not (0); absent while too few runs are known",
        |verdict| verdict
            .regressed
            .map(|regressed| f64::from(u8::from(regressed)))
    ),
    gauge!(
        "llm_probe_regression_effect_ratio",
        "Level of the latest runs (up to 32; of a change that is found, its own only) divided by the reference, at equal load: 1 is no change, more is slower for ttft and faster for tps; absent while too few runs are known",
        |verdict| verdict.ratio
    ),
];
