//! What each target's runtime says of itself, under one set of names.

use super::family::{FamilySpec, Kind, Labels};
use super::store::State;
use crate::base::clock::unix_seconds;
use crate::resource::FamilyKind;
use crate::resource::runtime_metrics::{Quantity, RuntimeReport, ScrapeFailure};

const LABELS: &[&str] = &["target", "runtime", "model"];

/// Those that there is anything to ask of.
fn supported(state: &State) -> impl Iterator<Item = &RuntimeReport> {
    state.runtimes.values().filter(|report| report.supported)
}

fn labels(report: &RuntimeReport) -> Labels {
    Labels::default()
        .with("target", &report.labels.target)
        .with("runtime", &report.labels.runtime)
        .with("model", &report.labels.model)
}

macro_rules! told {
    ($quantity:ident) => {
        FamilySpec {
            name: Quantity::$quantity.family().name,
            kind: match Quantity::$quantity.family().kind {
                FamilyKind::Counter => Kind::Counter,
                FamilyKind::Gauge => Kind::Gauge,
            },
            labels: LABELS,
            help: Quantity::$quantity.family().help,
            collect: |state, samples| {
                for report in supported(state) {
                    let value = report.values.get(&Quantity::$quantity).copied();
                    match (Quantity::$quantity.family().kind, value) {
                        // It has counted since the runtime started: nobody knows when.
                        (FamilyKind::Counter, Some(value)) => {
                            samples.counter(labels(report), value, None);
                        }
                        (_, value) => samples.gauge(labels(report), value),
                    }
                }
            },
        }
    };
}

pub(super) const FAMILIES: &[FamilySpec] = &[
    FamilySpec {
        name: "llm_runtime_up",
        kind: Kind::Gauge,
        labels: LABELS,
        help: "Whether the runtime's own metrics could be read (1) or not (0); absent where it has none",
        collect: |state, samples| {
            for report in supported(state) {
                let up = f64::from(u8::from(report.up));
                samples.gauge(labels(report), Some(up));
            }
        },
    },
    told!(RequestsRunning),
    told!(RequestsWaiting),
    told!(KvCacheUsage),
    told!(PrefixCacheHits),
    told!(PrefixCacheQueries),
    told!(Preemptions),
    told!(GenerationTokens),
    told!(PromptTokens),
    told!(ModelLoaded),
    told!(ModelMemory),
    told!(ModelGpuMemory),
    FamilySpec {
        name: "llm_runtime_scrape_duration_seconds",
        kind: Kind::Gauge,
        labels: LABELS,
        help: "How long the last reading of the runtime's own metrics took, connection included",
        collect: |state, samples| {
            for report in supported(state) {
                let seconds = report.duration.as_secs_f64();
                samples.gauge(labels(report), Some(seconds));
            }
        },
    },
    FamilySpec {
        name: "llm_runtime_last_scrape_timestamp_seconds",
        kind: Kind::Gauge,
        labels: LABELS,
        help: "When the runtime's own metrics could last be read, Unix time; absent before the first time",
        collect: |state, samples| {
            for report in supported(state) {
                samples.gauge(labels(report), report.answered.map(unix_seconds));
            }
        },
    },
    FamilySpec {
        name: "llm_runtime_scrape_failures_total",
        kind: Kind::Counter,
        labels: &["target", "runtime", "model", "reason"],
        help: "Readings of the runtime's own metrics that failed, by reason; one that has none has no failures",
        collect: |state, samples| {
            for report in supported(state) {
                for failure in ScrapeFailure::ALL {
                    let labels = labels(report).with("reason", failure.as_str());
                    let count = report.failures.get(&failure).copied().unwrap_or_default();
                    samples.counter(labels, count as f64, report.since);
                }
            }
        },
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::wall_now;
    use crate::metrics::encode::Format;
    use crate::metrics::{MetricsSettings, Store};
    use crate::resource::runtime_metrics::RuntimeLabels;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    fn report() -> RuntimeReport {
        RuntimeReport {
            labels: RuntimeLabels {
                target: Arc::from("a"),
                runtime: Arc::from("vllm"),
                model: Arc::from("m"),
            },
            supported: true,
            up: true,
            duration: Duration::from_millis(20),
            answered: Some(wall_now()),
            values: Quantity::ALL.iter().map(|of| (*of, 0.5)).collect(),
            failed: None,
            failures: [(ScrapeFailure::Timeout, 3)].into(),
            since: wall_now(),
        }
    }

    fn exposition(store: &Store) -> String {
        let mut out = Vec::new();
        let ours = |spec: &FamilySpec| spec.name.starts_with("llm_runtime_");
        store.encode(Format::Text, &mut out, ours).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_quantity_is_exposed_as_its_family() {
        let store = Store::new(MetricsSettings::default(), Arc::default());
        store.set_runtime(report());
        let text = exposition(&store);
        for family in Quantity::ALL.map(Quantity::family) {
            assert_eq!(family.labels, LABELS);
            let kind = match family.kind {
                FamilyKind::Counter => "counter",
                FamilyKind::Gauge => "gauge",
            };
            let name = family.name;
            let lines = format!(
                "# TYPE {name} {kind}\n{name}{{target=\"a\",runtime=\"vllm\",model=\"m\"}} 0.5\n"
            );
            assert!(text.contains(&lines), "{lines}{text}");
        }
        let failures =
            "llm_runtime_scrape_failures_total{target=\"a\",runtime=\"vllm\",model=\"m\"";
        assert!(text.contains(&format!("{failures},reason=\"timeout\"}} 3\n")));
        assert!(text.contains(&format!("{failures},reason=\"tls\"}} 0\n")));
    }

    #[test]
    fn a_runtime_that_does_not_answer_is_down_and_tells_nothing() {
        let store = Store::new(MetricsSettings::default(), Arc::default());
        store.set_runtime(RuntimeReport {
            up: false,
            answered: None,
            values: BTreeMap::new(),
            ..report()
        });
        let text = exposition(&store);
        let series: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let labels = "{target=\"a\",runtime=\"vllm\",model=\"m\"}";
        assert_eq!(series[0], format!("llm_runtime_up{labels} 0"));
        assert_eq!(series.len(), 2 + ScrapeFailure::ALL.len(), "{text}");
    }

    #[test]
    fn a_runtime_without_metrics_and_one_that_is_gone_have_no_series() {
        let store = Store::new(MetricsSettings::default(), Arc::default());
        store.set_runtime(RuntimeReport {
            supported: false,
            ..report()
        });
        assert_eq!(exposition(&store), "");
        store.set_runtime(report());
        assert_ne!(exposition(&store), "");
        store.retain_runtimes(|target| target == "b");
        assert_eq!(exposition(&store), "");
    }
}
