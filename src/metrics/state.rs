//! Gauges of the last run. They vanish after a failure, so that no good old value misleads.

use super::family::{FamilySpec, Kind, Labels};
use super::series::ProbeSeries;
use super::store::State;

const PROBE: &[&str] = &super::family::PROBE;

macro_rules! gauge {
    ($name:literal, $help:literal, $value:expr) => {
        FamilySpec {
            name: $name,
            kind: Kind::Gauge,
            labels: PROBE,
            help: $help,
            collect: |state: &State, samples| {
                let value: fn(&ProbeSeries) -> Option<f64> = $value;
                for probe in state.probes.values() {
                    samples.gauge(Labels::probe(&probe.labels), value(probe));
                }
            },
        }
    };
}

pub(super) const FAMILIES: &[FamilySpec] = &[
    gauge!(
        "llm_probe_success",
        "Whether the last run was a success (1) or not (0); absent before the first",
        |probe| probe.success.map(|good| f64::from(u8::from(good)))
    ),
    gauge!(
        "llm_probe_last_time_to_first_token_seconds",
        "TTFT (any token) of the last run; absent after a failure",
        |probe| probe.last.first_token
    ),
    gauge!(
        "llm_probe_last_inference_seconds",
        "Inference time of the last run; absent after a failure",
        |probe| probe.last.inference
    ),
    gauge!(
        "llm_probe_last_output_tokens_per_second",
        "Speed of the last run, decode where it streams, else end to end; absent after a failure",
        |probe| probe.last.output_tps
    ),
    gauge!(
        "llm_probe_cpu_seconds_per_token",
        "CPU time of the runtime's processes during the last run per output token, what they did for others meanwhile included; absent after a failure and where it cannot be measured",
        |probe| probe.last.cpu_per_token
    ),
    gauge!(
        "llm_probe_energy_joules_per_token",
        "Energy of the runtime's GPUs during the last run per output token, what they did for others meanwhile included; absent after a failure and where it cannot be measured",
        |probe| probe.last.energy_per_token
    ),
    gauge!(
        "llm_probe_last_run_timestamp_seconds",
        "When the last run ended, Unix time; absent before the first",
        |probe| probe.last_run
    ),
    gauge!(
        "llm_probe_last_success_timestamp_seconds",
        "When the last successful run ended, Unix time; absent before the first",
        |probe| probe.last_success
    ),
    gauge!(
        "llm_probe_next_run_timestamp_seconds",
        "When the next run is due, Unix time; absent when the schedule has ended",
        |probe| probe.next_run
    ),
];
