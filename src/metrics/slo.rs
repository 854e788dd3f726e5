//! Families of the objectives: what was judged, what is left of the budget, and how sure that is.

use super::family::{FamilySpec, Kind, Labels};
use crate::base::units::format_duration;
use crate::slo::{Judgement, Standing};

/// Series of one objective of one probe in a text scrape.
pub(super) const SERIES: usize = Judgement::ALL.len() + GAUGES + BURN_WINDOWS;
/// Objective, window, good ratio and its two bounds, effective events, and budget.
const GAUGES: usize = 7;
/// Windows of the textbook's rules; others differ by one or two.
const BURN_WINDOWS: usize = 7;

const LABELS: &[&str] = &["target", "runtime", "model", "scenario", "slo"];

fn labels(standing: &Standing) -> Labels {
    Labels::probe(&standing.labels).with("slo", &standing.objective.name)
}

macro_rules! gauge {
    ($name:literal, $help:literal, $value:expr) => {
        FamilySpec {
            name: $name,
            kind: Kind::Gauge,
            labels: LABELS,
            help: $help,
            collect: |state, samples| {
                for standing in &state.standings {
                    let value: fn(&Standing) -> Option<f64> = $value;
                    samples.gauge(labels(standing), value(standing));
                }
            },
        }
    };
}

pub(super) const FAMILIES: &[FamilySpec] = &[
    FamilySpec {
        name: "llm_probe_slo_events_total",
        kind: Kind::Counter,
        labels: &["target", "runtime", "model", "scenario", "slo", "result"],
        help: "Runs judged against an objective, each once and exactly: good, bad (failures and timeouts are), or excluded (tainted, cancelled, our own fault)",
        collect: |state, samples| {
            for standing in &state.standings {
                for judgement in Judgement::ALL {
                    let labels = labels(standing).with("result", judgement.as_str());
                    let count = standing.total.of(judgement) as f64;
                    samples.counter(labels, count, standing.since);
                }
            }
        },
    },
    gauge!(
        "llm_probe_slo_objective_ratio",
        "Share of good events that an objective promises, 0 to 1",
        |standing| Some(standing.objective.objective)
    ),
    gauge!(
        "llm_probe_slo_window_seconds",
        "Time over which an objective promises its share",
        |standing| Some(standing.objective.window.as_secs_f64())
    ),
    gauge!(
        "llm_probe_slo_good_ratio",
        "Share of good events among good and bad ones within the objective's window, since the daemon started at the earliest; absent without any",
        |standing| standing.good_ratio
    ),
    FamilySpec {
        name: "llm_probe_slo_good_ratio_bound",
        kind: Kind::Gauge,
        labels: &["target", "runtime", "model", "scenario", "slo", "bound"],
        help: "Where the true share of good events lies with 95 % confidence (Wilson's interval over the effective events): lower and upper bound; absent without events",
        collect: |state, samples| {
            for standing in &state.standings {
                let Some(bounds) = standing.bounds else {
                    continue;
                };
                for (name, value) in [("lower", bounds.lower), ("upper", bounds.upper)] {
                    samples.gauge(labels(standing).with("bound", name), Some(value));
                }
            }
        },
    },
    gauge!(
        "llm_probe_slo_effective_events",
        "As how many independent events those within the window count, since bad runs come in bursts: n (1 - r) / (1 + r) with their autocorrelation r; absent without events",
        |standing| standing.effective_events
    ),
    gauge!(
        "llm_probe_slo_error_budget_remaining_ratio",
        "What is left of the error budget within the objective's window: 1 untouched, 0 spent, negative overspent; since the daemon started at the earliest; absent without events",
        |standing| standing.budget_remaining
    ),
    FamilySpec {
        name: "llm_probe_slo_burn_rate",
        kind: Kind::Gauge,
        labels: &["target", "runtime", "model", "scenario", "slo", "window"],
        help: "Share of bad events within this time divided by the share that the objective allows: at 1 the budget lasts as long as the objective's window; absent without events",
        collect: |state, samples| {
            for standing in &state.standings {
                for burn in &standing.burn {
                    let labels = labels(standing).with("window", &format_duration(burn.window));
                    samples.gauge(labels, burn.rate);
                }
            }
        },
    },
];

#[cfg(test)]
mod tests {
    use crate::metrics::{MetricsSettings, ProbeShape, Store, encode};
    use crate::probe::{Outcome, Probe, Prober, RunContext};
    use crate::record::Sink;
    use crate::slo::{Conditions, Objective, ProbeObjectives, Selector};
    use std::sync::Arc;
    use std::time::{Duration, Instant};
    use tokio_util::sync::CancellationToken;

    fn exposition(store: &Store) -> String {
        let mut out = Vec::new();
        let format = encode::Format::Text;
        store
            .encode(format, &mut out, |spec| spec.name.contains("_slo_"))
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_objective_tells_what_is_left_of_it_and_nothing_before_the_first_event() {
        let probe = Probe::example();
        let objective = Objective {
            name: "o".to_owned(),
            selector: Selector::default(),
            objective: 0.75,
            window: Duration::from_secs(30 * 86_400),
            conditions: Conditions::default(),
        };
        let store = Store::new(MetricsSettings::default(), Arc::default());
        let shape = ProbeShape::of(&probe, std::slice::from_ref(&objective));
        let booked = ProbeObjectives {
            labels: probe.labels.clone(),
            objectives: vec![objective],
            period: Duration::from_secs(30),
        };
        store.retain_probes(vec![(probe.labels.clone(), shape)]);
        store.book().retain(vec![booked], Instant::now());
        let of = r#"target="t",runtime="openai",model="m",scenario="s",slo="o""#;
        let before = exposition(&store);
        for absent in ["good_ratio", "effective", "budget", "burn_rate"] {
            assert!(!before.contains(absent), "{absent}\n{before}");
        }
        assert!(before.contains(&format!(
            "llm_probe_slo_events_total{{{of},result=\"bad\"}} 0\n"
        )));

        let context = RunContext::on_demand(CancellationToken::new());
        let mut run = Prober::default().aborted(&probe, &context);
        for outcome in [
            Outcome::Success,
            Outcome::Stalled,
            Outcome::Success,
            Outcome::Internal,
        ] {
            run.outcome = outcome;
            store.observe(&Arc::new(run.clone()));
        }
        let text = exposition(&store);
        // 1 of 3 is bad, where 1 of 4 may be; bounds from statsmodels 0.15.0, 2 of 3.
        for line in [
            format!("llm_probe_slo_events_total{{{of},result=\"good\"}} 2"),
            format!("llm_probe_slo_events_total{{{of},result=\"bad\"}} 1"),
            format!("llm_probe_slo_events_total{{{of},result=\"excluded\"}} 1"),
            format!("llm_probe_slo_objective_ratio{{{of}}} 0.75"),
            format!("llm_probe_slo_window_seconds{{{of}}} 2592000"),
            format!("llm_probe_slo_good_ratio{{{of}}} 0.6666666666666666"),
            format!("llm_probe_slo_effective_events{{{of}}} 3"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(name));
            line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
        };
        for (name, expected) in [
            (
                "llm_probe_slo_error_budget_remaining_ratio{",
                1.0 - (1.0 / 3.0) / 0.25,
            ),
            (
                &format!("llm_probe_slo_good_ratio_bound{{{of},bound=\"lower\"}}"),
                0.207_659_600_802_047_7,
            ),
            (
                &format!("llm_probe_slo_good_ratio_bound{{{of},bound=\"upper\"}}"),
                0.938_508_055_279_603_7,
            ),
            (
                &format!("llm_probe_slo_burn_rate{{{of},window=\"1h\"}}"),
                4.0 / 3.0,
            ),
        ] {
            assert!((value(name) - expected).abs() < 1e-9, "{name}\n{text}");
        }
    }

    #[test]
    fn the_estimate_of_series_is_that_of_an_ordinary_cadence() {
        let policy = crate::slo::BurnPolicy::derive(
            Duration::from_secs(30),
            0.99,
            Duration::from_secs(30 * 86_400),
        );
        assert_eq!(policy.windows().len(), super::BURN_WINDOWS);
    }
}
