use super::*;
use crate::base::units::parse_duration;
use crate::slo::{Conditions, Selector};
use std::collections::BTreeSet;

fn probe(target: &str, scenario: &str, interval: &str) -> WatchedProbe {
    WatchedProbe {
        target: target.to_owned(),
        scenario: scenario.to_owned(),
        interval: parse_duration(interval).unwrap(),
        timeout: Duration::from_secs(180),
    }
}

fn watched(name: &str, objective: f64, probes: &[WatchedProbe]) -> Watched {
    Watched {
        objective: Objective {
            name: name.to_owned(),
            selector: Selector::default(),
            objective,
            window: Duration::from_secs(30 * 86_400),
            conditions: Conditions::default(),
        },
        probes: probes.to_vec(),
    }
}

fn parts(rule: &Rule) -> (&str, &str) {
    match rule {
        Rule::Record {
            name, expression, ..
        } => (name, expression),
        Rule::Alert {
            name, expression, ..
        } => (name, expression),
    }
}

#[test]
fn probes_of_other_cadences_have_rules_of_their_own() {
    let probes = [
        probe("a", "chat.v1", "15s"),
        probe("b", "code", "15s"),
        probe("a", "cold", "10m"),
    ];
    let rules = RuleSet::of(&[watched("ttft", 0.99, &probes)]);
    let names: Vec<&str> = rules
        .groups
        .iter()
        .map(|group| group.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "sonde-objective-ttft-every-15s",
            "sonde-objective-ttft-every-15s-slow",
            "sonde-objective-ttft-every-10m",
            "sonde-objective-ttft-every-10m-slow",
        ]
    );
    for (index, matcher) in [
        (
            0,
            r#"{slo="ttft", scenario=~"chat[.]v1|code", result="bad"}"#,
        ),
        (2, r#"{slo="ttft", scenario="cold", result="bad"}"#),
    ] {
        let group = &rules.groups[index];
        assert!(parts(&group.rules[0]).1.contains(matcher), "{group:?}");
    }
}

#[test]
fn alerts_read_only_what_is_recorded_and_nothing_is_recorded_twice() {
    for (interval, objective) in [("15s", 0.999), ("60s", 0.999), ("5m", 0.99), ("2h", 0.9)] {
        let rules = RuleSet::of(&[watched("o", objective, &[probe("t", "s", interval)])]);
        let mut recorded = BTreeSet::new();
        for rule in rules.groups.iter().flat_map(|group| &group.rules) {
            let (name, expression) = parts(rule);
            for word in expression.split(|c: char| !(c.is_alphanumeric() || "_:".contains(c))) {
                let missing = word.starts_with("slo_target_scenario:") && !recorded.contains(word);
                assert!(!missing, "{name} reads {word}");
            }
            if matches!(rule, Rule::Record { .. }) {
                assert!(recorded.insert(name.to_owned()), "{name} twice");
            }
        }
    }
}

#[test]
fn every_target_is_missed_by_its_own_name() {
    let probes = [probe("a", "chat", "15s"), probe("b", "chat", "15s")];
    let rules = RuleSet::of(&[watched("ttft", 0.99, &probes)]);
    let mut all = rules
        .groups
        .iter()
        .flat_map(|group| &group.rules)
        .map(parts);
    let (_, expression) = all.find(|(name, _)| *name == DATA_ABSENT).unwrap();
    for target in ["a", "b"] {
        let absent = format!(
            r#"absent(llm_probe_slo_events_total{{slo="ttft", target="{target}", scenario="chat", result="good"}})"#
        );
        assert!(expression.contains(&absent), "{expression}");
    }
}

#[test]
fn every_alert_has_its_section_in_the_runbooks() {
    let runbooks = std::fs::read_to_string("docs/runbooks.md").unwrap();
    for alert in [BURN_FAST, BURN_SLOW, DATA_ABSENT] {
        assert!(runbooks.contains(&format!("\n## {alert}\n")), "{alert}");
    }
}

#[test]
fn figures_are_written_without_the_noise_of_binary_fractions() {
    assert_eq!(expression::number(14.4 * (1.0 - 0.99)), "0.144");
    assert_eq!(expression::number(1e-7 * 3.0), "0.0000003");
    assert_eq!(expression::percent(1.0 - 0.999), "0.1%");
}
