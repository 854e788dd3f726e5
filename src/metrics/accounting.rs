//! Families that account for every tick and every run.

use super::family::{FamilySpec, Kind, Labels};
use crate::probe::{Contamination, Outcome};
use crate::record::{MissReason, SkipReason};

const PROBE: &[&str] = &super::family::PROBE;
const BY_REASON: &[&str] = &["target", "runtime", "model", "scenario", "reason"];

pub(super) const FAMILIES: &[FamilySpec] = &[
    FamilySpec {
        name: "llm_probe_runs_total",
        kind: Kind::Counter,
        labels: PROBE,
        help: "Runs that have ended, however they ended",
        collect: |state, samples| {
            for probe in state.probes.values() {
                let labels = Labels::probe(&probe.labels);
                samples.counter(labels, probe.runs as f64, probe.created);
            }
        },
    },
    FamilySpec {
        name: "llm_probe_failures_total",
        kind: Kind::Counter,
        labels: BY_REASON,
        help: "Runs that were no success, by outcome; every reason exists from the start",
        collect: |state, samples| {
            for probe in state.probes.values() {
                for outcome in Outcome::ALL.into_iter().filter(|o| !o.is_success()) {
                    let labels = Labels::probe(&probe.labels).with("reason", outcome.as_str());
                    let count = probe.failures.get(&outcome).copied().unwrap_or(0);
                    samples.counter(labels, count as f64, probe.created);
                }
            }
        },
    },
    FamilySpec {
        name: "llm_probe_scheduled_total",
        kind: Kind::Counter,
        labels: PROBE,
        help: "Ticks of the schedule that were due; scheduled = runs + missed + skipped + in flight",
        collect: |state, samples| {
            for probe in state.probes.values() {
                let labels = Labels::probe(&probe.labels);
                samples.counter(labels, probe.scheduled as f64, probe.created);
            }
        },
    },
    FamilySpec {
        name: "llm_probe_missed_total",
        kind: Kind::Counter,
        labels: BY_REASON,
        help: "Ticks not run because the daemon woke too late (late), was stopping (shutdown), or changed the probe while the tick waited for its target (reload)",
        collect: |state, samples| {
            for probe in state.probes.values() {
                for (reason, count) in MissReason::ALL.iter().zip(probe.missed) {
                    let labels = Labels::probe(&probe.labels).with("reason", reason.as_str());
                    samples.counter(labels, count as f64, probe.created);
                }
            }
        },
    },
    FamilySpec {
        name: "llm_probe_skipped_total",
        kind: Kind::Counter,
        labels: BY_REASON,
        help: "Ticks suppressed on purpose: the run before was still going on (overlap), the target had its limit of runs in flight (target_busy), the runtime has enough to do (saturated), a budget is spent (token_budget, cost_budget, token_share), the model is not in memory (model_unloaded), or a run would keep it there for longer (model_idle)",
        collect: |state, samples| {
            for probe in state.probes.values() {
                for (reason, count) in SkipReason::ALL.iter().zip(probe.skipped) {
                    let labels = Labels::probe(&probe.labels).with("reason", reason.as_str());
                    samples.counter(labels, count as f64, probe.created);
                }
            }
        },
    },
    FamilySpec {
        name: "llm_probe_contaminated_total",
        kind: Kind::Counter,
        labels: BY_REASON,
        help: "Successful runs whose cached prompt tokens belie the scenario: a cold one had more than its allowance from the cache (unexpected_cache_hit, kept out of TTFT and first byte), a warm one had none (unexpected_cache_miss); they stay SLO events",
        collect: |state, samples| {
            for probe in state.probes.values() {
                for (reason, count) in Contamination::ALL.iter().zip(probe.contaminated) {
                    let labels = Labels::probe(&probe.labels).with("reason", reason.as_str());
                    samples.counter(labels, count as f64, probe.created);
                }
            }
        },
    },
    FamilySpec {
        name: "llm_probe_server_overclaims_total",
        kind: Kind::Counter,
        labels: PROBE,
        help: "Runs of which the runtime reported more time than the exchange took; their unattributed time is 0, by rounding or because the runtime counts something else",
        collect: |state, samples| {
            for probe in state.probes.values() {
                let labels = Labels::probe(&probe.labels);
                samples.counter(labels, probe.overclaimed as f64, probe.created);
            }
        },
    },
    FamilySpec {
        name: "llm_probe_in_flight",
        kind: Kind::Gauge,
        labels: PROBE,
        help: "Ticks that are due and neither run, missed nor skipped yet",
        collect: |state, samples| {
            for probe in state.probes.values() {
                let value = probe.in_flight() as f64;
                samples.gauge(Labels::probe(&probe.labels), Some(value));
            }
        },
    },
    FamilySpec {
        name: "llm_probe_cpu_seconds_total",
        kind: Kind::Counter,
        labels: PROBE,
        help: "CPU time of the runtime's processes during runs, what they did for others meanwhile included; absent where it cannot be measured",
        collect: |state, samples| {
            for probe in state.probes.values() {
                if let Some(seconds) = probe.cpu_seconds {
                    samples.counter(Labels::probe(&probe.labels), seconds, probe.created);
                }
            }
        },
    },
    FamilySpec {
        name: "llm_probe_energy_joules_total",
        kind: Kind::Counter,
        labels: PROBE,
        help: "Energy of the runtime's GPUs during runs, what they did for others meanwhile included; absent where it cannot be measured",
        collect: |state, samples| {
            for probe in state.probes.values() {
                if let Some(joules) = probe.energy_joules {
                    samples.counter(Labels::probe(&probe.labels), joules, probe.created);
                }
            }
        },
    },
];
