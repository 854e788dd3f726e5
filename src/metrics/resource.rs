//! What the samplers said, by the families that they declare.

use super::family::{Labels, Samples};
use super::store::State;
use super::{FamilySpec, Kind};
use crate::resource::{FamilyKind, SAMPLERS};
use std::collections::HashSet;

/// Families of every sampler, made from what the samplers declare. Scopes share families.
pub(super) fn families() -> Vec<FamilySpec> {
    let mut seen = HashSet::new();
    let declared = SAMPLERS.iter().flat_map(|spec| spec.families);
    declared
        .filter(|family| seen.insert(family.name))
        .map(|family| FamilySpec {
            name: family.name,
            kind: match family.kind {
                FamilyKind::Counter => Kind::Counter,
                FamilyKind::Gauge => Kind::Gauge,
            },
            labels: family.labels,
            help: family.help,
            collect: |_, _| {},
        })
        .collect()
}

/// Samples of a family that samplers declare.
pub(super) fn collect(spec: &FamilySpec, state: &State, samples: &mut Samples) {
    let readings = state
        .samplers
        .iter()
        .flat_map(|(report, _)| &report.readings);
    for reading in readings.filter(|reading| reading.family == spec.name) {
        let labels = reading
            .labels
            .iter()
            .fold(Labels::default(), |labels, (name, value)| {
                labels.with(name, value)
            });
        match spec.kind {
            // It has counted since the machine, the group or the driver started: nobody knows when.
            Kind::Counter => samples.counter(labels, reading.value, None),
            _ => samples.gauge(labels, Some(reading.value)),
        }
    }
}

/// How the samplers themselves are doing.
pub(super) const FAMILIES: &[FamilySpec] = &[
    FamilySpec {
        name: "sonde_sampler_success",
        kind: Kind::Gauge,
        labels: &["sampler"],
        help: "Whether a sampler's last sample succeeded; absent where the machine does not support it",
        collect: |state, samples| {
            for (report, _) in state.samplers.iter().filter(|(report, _)| report.supported) {
                let labels = Labels::default().with("sampler", report.sampler);
                samples.gauge(labels, Some(f64::from(u8::from(report.success))));
            }
        },
    },
    FamilySpec {
        name: "sonde_sampler_duration_seconds",
        kind: Kind::Gauge,
        labels: &["sampler"],
        help: "How long a sampler's last sample took",
        collect: |state, samples| {
            for (report, _) in state.samplers.iter().filter(|(report, _)| report.supported) {
                let labels = Labels::default().with("sampler", report.sampler);
                samples.gauge(labels, Some(report.duration.as_secs_f64()));
            }
        },
    },
    FamilySpec {
        name: "sonde_sampler_last_sample_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &["sampler"],
        help: "When a sampler's readings were taken, Unix time",
        collect: |state, samples| {
            for (report, taken) in state.samplers.iter().filter(|(report, _)| report.supported) {
                let labels = Labels::default().with("sampler", report.sampler);
                samples.gauge(labels, Some(*taken));
            }
        },
    },
    FamilySpec {
        name: "sonde_sampler_errors_total",
        kind: Kind::Counter,
        labels: &["sampler"],
        help: "Samples that failed; a sampler that the machine does not support has none",
        collect: |state, samples| {
            for (report, _) in state.samplers.iter().filter(|(report, _)| report.supported) {
                let labels = Labels::default().with("sampler", report.sampler);
                samples.counter(labels, report.errors_total as f64, state.started);
            }
        },
    },
];

#[cfg(test)]
mod tests {
    use crate::metrics::encode::Format;
    use crate::metrics::{MetricsSettings, Store};
    use crate::resource::{Reading, SamplerReport};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    fn reading(target: &str) -> Reading {
        Reading {
            family: "llm_resource_threads",
            labels: vec![
                ("scope", "process".to_owned()),
                ("target", target.to_owned()),
            ],
            value: 3.0,
        }
    }

    fn exposition(store: &Store, format: Format) -> String {
        let mut out = Vec::new();
        let wanted = |spec: &crate::metrics::FamilySpec| spec.name == "llm_resource_threads";
        store.encode(format, &mut out, wanted).unwrap();
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn a_label_without_a_value_is_written_in_no_format() {
        let store = Store::new(MetricsSettings::default(), Arc::default());
        store.set_samplers(vec![SamplerReport {
            sampler: "process",
            supported: true,
            success: true,
            duration: Duration::ZERO,
            taken: Instant::now(),
            readings: vec![reading(""), reading("a")],
            errors_total: 0,
        }]);
        for format in [Format::Text, Format::OpenMetrics] {
            let text = exposition(&store, format);
            assert!(text.contains("{scope=\"process\"} 3\n"), "{text}");
            assert!(
                text.contains("{scope=\"process\",target=\"a\"} 3\n"),
                "{text}"
            );
        }
        let protobuf = exposition(&store, Format::Protobuf);
        let names = |name: &str| protobuf.matches(name).count();
        assert_eq!((names("scope"), names("target\u{12}")), (2, 1));
    }
}
