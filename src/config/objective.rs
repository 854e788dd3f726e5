//! What was promised.

use super::defaults;
use super::problem::{Problem, suggestion};
use super::raw::{Items, RawSlo};
use super::resolve::Context;
use super::scalar::DurationText;
use super::scenario::NamedScenario;
use super::target::NamedTarget;
use crate::base::units::parse_duration;
use crate::slo::{Conditions, Objective, Selector};
use std::collections::BTreeSet;
use std::time::Duration;

/// Every objective. Those with a problem are in the list too; nobody sees it then.
pub(super) fn objectives(
    raw: Items<RawSlo>,
    scenarios: &[NamedScenario],
    targets: &[NamedTarget],
    context: &mut Context<'_>,
) -> Vec<Objective> {
    let mut taken = BTreeSet::new();
    let mut objectives = Vec::new();
    for (index, raw) in raw.unwrap_or_default().into_iter().enumerate() {
        let Some(raw) = raw else {
            continue;
        };
        let place = format!("slos[{index}]");
        let key = format!("{place}.name");
        match &raw.name {
            Some(name) => context.check_name(&key, name, &mut taken),
            None => context.refuse(
                &key,
                "is required",
                "give the objective a name such as `ttft`",
            ),
        }
        let selector = Selector {
            target: raw.target.clone(),
            scenario: raw.scenario.clone(),
            labels: raw.labels.clone().unwrap_or_default(),
        };
        check_selector(&place, &selector, (scenarios, targets), context);
        check_conditions(&place, &raw, context);
        check_streams(&place, (&raw, &selector), (scenarios, targets), context);
        check_prices(&place, (&raw, &selector), targets, context);
        objectives.push(Objective {
            objective: share(&place, &raw, context),
            window: window(&place, &raw, context),
            conditions: conditions(&raw),
            name: raw.name.unwrap_or_default(),
            selector,
        });
    }
    objectives
}

fn conditions(raw: &RawSlo) -> Conditions {
    Conditions {
        first_token_under: raw.first_token_under.map(duration),
        first_visible_under: raw.first_visible_under.map(duration),
        inter_token_p95_under: raw.inter_token_p95_under.map(duration),
        per_output_token_under: raw.per_output_token_under.map(duration),
        max_stall_under: raw.max_stall_under.map(duration),
        inference_under: raw.inference_under.map(duration),
        decode_tps_over: raw.decode_tps_over,
        cost_under_usd: raw.cost_under_usd,
    }
}

fn duration(DurationText(duration): DurationText) -> Duration {
    duration
}

/// A promise of 0 says nothing, and one of 1 leaves no budget to burn: both divide by zero in
/// every rule on burn rates. Written so that NaN fails.
fn share(place: &str, raw: &RawSlo, context: &mut Context<'_>) -> f64 {
    let key = format!("{place}.objective");
    let Some(share) = raw.objective.map(|ratio| ratio.0) else {
        context.refuse(
            &key,
            "is required",
            "write the promised share of good runs, such as `99%`",
        );
        return 0.0;
    };
    if !(share > 0.0 && share < 1.0) {
        let rule = "is not strictly between 0 and 1";
        let remedy = "write `99%` or `99.9%`; an objective of all leaves no error budget";
        context
            .findings
            .add(Problem::new(key, rule, remedy).found(share));
    }
    share
}

fn window(place: &str, raw: &RawSlo, context: &mut Context<'_>) -> Duration {
    let standard = parse_duration(defaults::WINDOW).unwrap_or_default();
    let window = raw.window.map_or(standard, duration);
    if window.is_zero() {
        let problem = Problem::new(
            format!("{place}.window"),
            "is no time at all",
            "write `30d`",
        );
        context.findings.add(problem);
    }
    window
}

fn check_conditions(place: &str, raw: &RawSlo, context: &mut Context<'_>) {
    for (field, limit) in [
        ("first_token_under", raw.first_token_under),
        ("first_visible_under", raw.first_visible_under),
        ("inter_token_p95_under", raw.inter_token_p95_under),
        ("per_output_token_under", raw.per_output_token_under),
        ("max_stall_under", raw.max_stall_under),
        ("inference_under", raw.inference_under),
    ] {
        if limit.is_some_and(|limit| limit.0.is_zero()) {
            let key = format!("{place}.{field}");
            context.refuse(
                &key,
                "is 0, which no run stays under",
                "write a duration such as `800ms`",
            );
        }
    }
    for (field, limit, remedy) in [
        (
            "decode_tps_over",
            raw.decode_tps_over,
            "write tokens per second, such as `20`",
        ),
        (
            "cost_under_usd",
            raw.cost_under_usd,
            "write US dollars a run, such as `0.002`",
        ),
    ] {
        if let Some(limit) = limit.filter(|limit| !(*limit > 0.0 && limit.is_finite())) {
            let key = format!("{place}.{field}");
            let problem = Problem::new(key, "is not above 0", remedy);
            context.findings.add(problem.found(limit));
        }
    }
}

fn check_selector(
    place: &str,
    selector: &Selector,
    (scenarios, targets): (&[NamedScenario], &[NamedTarget]),
    context: &mut Context<'_>,
) {
    let known_targets = targets.iter().map(|target| target.name.as_str());
    let known_scenarios = scenarios.iter().map(|scenario| scenario.name.as_str());
    for (field, wanted, known, plural) in [
        (
            "target",
            &selector.target,
            known_targets.collect::<Vec<_>>(),
            "the targets are",
        ),
        (
            "scenario",
            &selector.scenario,
            known_scenarios.collect(),
            "the scenarios are",
        ),
    ] {
        let Some(wanted) = wanted.as_deref().filter(|wanted| !known.contains(wanted)) else {
            continue;
        };
        let remedy = suggestion(wanted, known, plural);
        let problem = Problem::new(format!("{place}.{field}"), format!("is no {field}"), remedy);
        context.findings.add(problem.found(wanted));
    }
    // Where targets are broken, what they would have been asked is not known.
    if context.findings.has_below(place) || context.findings.has_below("targets") {
        return;
    }
    if matching(selector, targets).next().is_some() {
        return;
    }
    let of_labels = Selector {
        labels: selector.labels.clone(),
        ..Selector::default()
    };
    if matching(&of_labels, targets).next().is_none() {
        let rule = "are those of no target";
        let remedy = "write them as they are under `labels` of a target, values included";
        context.refuse(&format!("{place}.labels"), rule, remedy);
    } else {
        let rule = "speaks of no probe: this target is not asked this scenario";
        let remedy = "add the scenario to the target, or widen the objective";
        context.refuse(place, rule, remedy);
    }
}

/// The probes, by target and scenario, that an objective speaks of.
fn matching<'a>(
    selector: &'a Selector,
    targets: &'a [NamedTarget],
) -> impl Iterator<Item = (&'a NamedTarget, &'a str)> {
    let all = targets.iter().flat_map(|target| {
        let scenarios = target.scenarios.iter();
        scenarios.map(move |scenario| (target, scenario.as_str()))
    });
    all.filter(|(target, scenario)| selector.matches(&target.name, &target.labels, scenario))
}

/// Without a stream there is no first token, so that every run would break such a promise; and there
/// is no gap, so that every run would keep one on gaps.
fn check_streams(
    place: &str,
    (raw, selector): (&RawSlo, &Selector),
    (scenarios, targets): (&[NamedScenario], &[NamedTarget]),
    context: &mut Context<'_>,
) {
    let (never, always) = ("can never be kept", "can never be broken");
    let of_streams = [
        ("first_token_under", raw.first_token_under.is_some(), never),
        (
            "first_visible_under",
            raw.first_visible_under.is_some(),
            never,
        ),
        (
            "inter_token_p95_under",
            raw.inter_token_p95_under.is_some(),
            always,
        ),
        (
            "per_output_token_under",
            raw.per_output_token_under.is_some(),
            always,
        ),
        ("max_stall_under", raw.max_stall_under.is_some(), always),
        ("decode_tps_over", raw.decode_tps_over.is_some(), always),
    ];
    let mut given = of_streams.into_iter().filter(|(_, given, _)| *given);
    let Some((field, _, verdict)) = given.next() else {
        return;
    };
    let unstreamed = |name: &str| {
        scenarios
            .iter()
            .any(|scenario| scenario.name == name && !scenario.streamed)
    };
    if let Some((_, scenario)) = matching(selector, targets).find(|(_, name)| unstreamed(name)) {
        let rule = format!("{verdict} by the scenario `{scenario}`, which is not streamed");
        let remedy = "stream the scenario, or name another with `scenario`";
        context.refuse(&format!("{place}.{field}"), rule, remedy);
    }
}

/// Without a price there is no cost: every run would break a promise on it.
fn check_prices(
    place: &str,
    (raw, selector): (&RawSlo, &Selector),
    targets: &[NamedTarget],
    context: &mut Context<'_>,
) {
    if raw.cost_under_usd.is_none() {
        return;
    }
    if let Some((target, _)) = matching(selector, targets).find(|(target, _)| !target.priced) {
        let rule = format!(
            "can never be kept by the target `{}`, which has no price",
            target.name
        );
        let remedy = "give the target a `price`, or name another with `target` or `labels`";
        context.refuse(&format!("{place}.cost_under_usd"), rule, remedy);
    }
}
