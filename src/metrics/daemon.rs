//! Families of the daemon itself and of its configuration.

use super::family::{FamilySpec, Kind, Labels};
use crate::base::build::{REVISION, VERSION};

pub(super) const FAMILIES: &[FamilySpec] = &[
    FamilySpec {
        name: "llm_probe_target_info",
        kind: Kind::Gauge,
        labels: &["target", "runtime", "model", "url_host"],
        help: "A target's facts, always 1: the host of its URL and the labels that its configuration gives it",
        collect: |state, samples| {
            for facts in &state.targets {
                let mut labels = Labels::default()
                    .with("target", &facts.target)
                    .with("runtime", &facts.runtime)
                    .with("model", &facts.model)
                    .with("url_host", &facts.authority);
                for (name, value) in &facts.labels {
                    labels = labels.with(name, value);
                }
                samples.gauge(labels, Some(1.0));
            }
        },
    },
    FamilySpec {
        name: "sonde_build_info",
        kind: Kind::Gauge,
        labels: &["version", "revision"],
        help: "The daemon's version and source revision, always 1",
        collect: |_, samples| {
            let labels = Labels::default()
                .with("version", VERSION)
                .with("revision", REVISION);
            samples.gauge(labels, Some(1.0));
        },
    },
    FamilySpec {
        name: "sonde_config_last_reload_successful",
        kind: Kind::Gauge,
        labels: &[],
        help: "Whether the last load of the configuration succeeded; after a failure the old one stays in force",
        collect: |state, samples| {
            let value = f64::from(u8::from(state.reload.successful));
            samples.gauge(Labels::default(), Some(value));
        },
    },
    FamilySpec {
        name: "sonde_config_last_reload_success_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "When the configuration was last loaded with success, Unix time",
        collect: |state, samples| {
            samples.gauge(Labels::default(), Some(state.reload_success_seconds()));
        },
    },
    FamilySpec {
        name: "sonde_dropped_events_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Runs and ticks that a full recorder queue dropped; above 0, the accounting of runs has a hole",
        collect: |state, samples| {
            let value = state.dropped_events as f64;
            samples.counter(Labels::default(), value, state.started);
        },
    },
];
