//! Objectives that their probes run too rarely for.

use super::TargetPlan;
use super::resolve::Context;
use crate::base::units::format_duration;
use crate::slo::{LEAST_BAD, Objective, Shortfall};
use std::collections::BTreeSet;

/// One line per objective and cadence: what is wrong, in runs, and what would do.
pub(super) fn warn_of_shortfall(
    objectives: &[Objective],
    targets: &[&TargetPlan],
    context: &mut Context<'_>,
) {
    for (index, objective) in objectives.iter().enumerate() {
        // Where it is out of range there is a problem already, and no budget.
        if !(objective.objective > 0.0 && objective.objective < 1.0) {
            continue;
        }
        let mut told = BTreeSet::new();
        for plan in targets {
            for scenario in &plan.scenarios {
                let name = scenario.scenario.settings.name.as_ref();
                let interval = scenario.cadence.schedule.typical_interval();
                let matches =
                    objective
                        .selector
                        .matches(&plan.settings.name, &plan.settings.labels, name);
                if !matches || !told.insert(interval) {
                    continue;
                }
                if let Some(short) = Shortfall::of(interval, objective.objective, objective.window)
                {
                    let every = format_duration(interval);
                    let what = format!("slos[{index}]: scenario `{name}` every {every}");
                    context.findings.warn(sentence(&what, objective, &short));
                }
            }
        }
    }
}

fn sentence(what: &str, objective: &Objective, short: &Shortfall) -> String {
    let percent = |share: f64| format!("{}%", (share * 1e8).round() / 1e6);
    let lax = match short.objective {
        Some(share) => format!("promise at most {}, ", percent(share)),
        None => String::new(),
    };
    format!(
        "{what} is too rare for {} over {}: the error budget is {:.1} runs, and alerts wait for {LEAST_BAD} bad ones; \
         hint: probe at least every {}, {lax}or judge over {}",
        percent(objective.objective),
        format_duration(objective.window),
        short.budget_runs,
        format_duration(short.interval),
        format_duration(short.window),
    )
}

#[cfg(test)]
mod tests {
    use crate::config::{Environment, LoadInput, Settings, load};

    fn warnings(schedule: &str, slos: &str) -> Vec<String> {
        let text = format!(
            "scenarios: [{{name: chat, schedule: '{schedule}', workload: {{kind: fixed, prompt: hi}}}}]\n\
             targets: [{{name: a, url: 'http://h', model: m}}, {{name: b, url: 'http://i', model: m}}]\n\
             slos: {slos}"
        );
        let input = LoadInput {
            path: None,
            file: Some(&text),
            environment: &Environment::from_pairs([("", ""); 0]),
            overrides: Vec::new(),
        };
        let Settings { warnings, .. } = load(input).unwrap();
        warnings
    }

    #[test]
    fn a_cadence_too_low_for_its_objective_is_told_once_with_what_would_do() {
        assert_eq!(
            warnings(
                "@every 5m",
                "[{name: lax, objective: 99%}, {name: strict, objective: 99.9%}]"
            ),
            [
                "slos[1]: scenario `chat` every 5m is too rare for 99.9% over 30d: the error budget is 8.6 runs, and \
                 alerts wait for 3 bad ones; hint: probe at least every 1m26s, promise at most 99.65%, or judge over 105d"
            ]
        );
    }

    #[test]
    fn what_the_hint_says_does() {
        for (schedule, slo) in [
            ("@every 86s", "{name: o, objective: 99.9%}"),
            ("@every 5m", "{name: o, objective: 99.65%}"),
            ("@every 5m", "{name: o, objective: 99.9%, window: 105d}"),
        ] {
            let none = Vec::<String>::new();
            assert_eq!(
                warnings(schedule, &format!("[{slo}]")),
                none,
                "{schedule} {slo}"
            );
        }
    }

    #[test]
    fn a_probe_that_hardly_runs_is_told_of_no_objective() {
        let told = warnings("0 0 * * 0", "[{name: o, objective: 99%}]");
        assert!(
            told[0].contains("hint: probe at least every 14m24s, or judge over 21000d"),
            "{told:?}"
        );
    }
}
