//! Scenarios that ask for vectors or ranks, and which targets they suit.

use super::problem::Problem;
use super::raw::{RawExpect, RawOperation, RawScenario, RawWorkload};
use super::resolve::Context;
use super::scenario::NamedScenario;
use crate::probe::RetrievalSettings;
use crate::runtime::{Retrieval, RuntimeSpec};

/// Texts of one request, where the scenario does not say: one, as an application embeds a question.
pub(super) const EMBEDDED: u32 = 1;
/// Documents that a search hands on to be ranked.
pub(super) const RANKED: u32 = 10;
/// The OpenAI API takes no more in one request.
const MOST_INPUTS: u32 = 2048;

/// Fields of the request that the workload decides.
const OWN_FIELDS: [&str; 6] = ["input", "inputs", "texts", "documents", "query", "requests"];

/// `None` is text.
pub(super) fn kind(operation: Option<RawOperation>) -> Option<Retrieval> {
    match operation {
        Some(RawOperation::Embeddings) => Some(Retrieval::Embeddings),
        Some(RawOperation::Rerank) => Some(Retrieval::Rerank),
        Some(RawOperation::Chat | RawOperation::Completion) | None => None,
    }
}

/// The value of `operation` that a scenario has or is taken to have.
pub(super) fn operation(raw: Option<RawOperation>) -> &'static str {
    match (kind(raw), raw) {
        (Some(kind), _) => kind.as_str(),
        (None, Some(RawOperation::Completion)) => "completion",
        (None, _) => "chat",
    }
}

/// What is asked for, if it is no text. Refuses keys that would say nothing.
pub(super) fn settings(
    place: &str,
    raw: &RawScenario,
    context: &mut Context<'_>,
) -> Option<RetrievalSettings> {
    let no_workload = RawWorkload::default();
    let no_expect = RawExpect::default();
    let workload = raw.workload.as_ref().unwrap_or(&no_workload);
    let expect = raw.expect.as_ref().unwrap_or(&no_expect);
    let kind = kind(raw.operation);
    let ranked = kind == Some(Retrieval::Rerank);
    let of_text = kind.is_none();
    let idle = [
        ("workload.inputs", workload.inputs.is_some() && of_text),
        (
            "expect.dimensions",
            expect.dimensions.is_some() && (of_text || ranked),
        ),
        ("stream", raw.stream == Some(true) && !of_text),
        ("temperature", raw.temperature.is_some() && !of_text),
        ("workload.system", workload.system.is_some() && !of_text),
        (
            "workload.output_tokens",
            workload.output_tokens.is_some() && !of_text,
        ),
        ("expect.contains", expect.contains.is_some() && !of_text),
        (
            "expect.min_output_tokens",
            expect.min_output_tokens.is_some() && !of_text,
        ),
    ];
    let named = operation(raw.operation);
    for (key, _) in idle.into_iter().filter(|(_, idle)| *idle) {
        let rule = format!("means nothing where `operation` is `{named}`");
        context.refuse(
            &format!("{place}.{key}"),
            rule,
            "take it out, or change `operation`",
        );
    }
    let kind = kind?;
    for field in OWN_FIELDS {
        if raw
            .body
            .as_ref()
            .is_some_and(|body| body.contains_key(field))
        {
            let key = format!("{place}.body.{field}");
            let rule = "is Sonde's own: the answer is checked against what it writes there";
            context.refuse(&key, rule, "set `workload`");
        }
    }
    let inputs = workload
        .inputs
        .unwrap_or(if ranked { RANKED } else { EMBEDDED });
    if !(1..=MOST_INPUTS).contains(&inputs) {
        let rule = format!("must be from 1 to {MOST_INPUTS}");
        let key = format!("{place}.workload.inputs");
        let problem = Problem::new(key, rule, "send more requests rather than longer ones");
        context.findings.add(problem.found(inputs));
    }
    if expect.dimensions == Some(0) {
        let key = format!("{place}.expect.dimensions");
        context.refuse(&key, "must be at least 1", "leave it out for any number");
    }
    Some(RetrievalSettings {
        kind,
        inputs,
        dimensions: expect.dimensions,
    })
}

/// A scenario that a target names although its runtime has no such operation.
pub(super) fn check_named(
    key: &str,
    scenario: &NamedScenario,
    runtime: Option<&RuntimeSpec>,
    context: &mut Context<'_>,
) {
    let Some(runtime) = runtime.filter(|runtime| !runtime.offers(scenario.retrieval)) else {
        return;
    };
    let (name, operation) = (runtime.name, scenario.operation);
    let rule = format!("has `operation: {operation}`, and the runtime `{name}` has none such");
    let remedy = format!(
        "take it out, or change the scenario's `operation`: {}",
        list(runtime)
    );
    let problem = Problem::new(key.to_owned(), rule, remedy);
    context.findings.add(problem.found(&scenario.name));
}

/// Those of all scenarios that suit a target which names none. It would be a fault to ask it the others, and no
/// surprise to leave them out; but somebody has to hear of it.
pub(super) fn suiting<'a>(
    (place, target): (&str, &str),
    scenarios: &'a [NamedScenario],
    runtime: Option<&RuntimeSpec>,
    context: &mut Context<'_>,
) -> Vec<&'a NamedScenario> {
    let Some(runtime) = runtime else {
        return scenarios.iter().collect();
    };
    let suits = |scenario: &&NamedScenario| runtime.offers(scenario.retrieval);
    let (suiting, others): (Vec<_>, Vec<_>) = scenarios.iter().partition(suits);
    let name = runtime.name;
    if suiting.is_empty() {
        let rule = format!("is `{name}`, which has none of the scenarios' operations");
        let remedy = format!("add a scenario whose `operation` it has: {}", list(runtime));
        context.refuse(&format!("{place}.runtime"), rule, &remedy);
        return suiting;
    }
    for NamedScenario {
        name: scenario,
        operation,
        ..
    } in others
    {
        context.findings.warn(format!(
            "target `{target}` is not asked scenario `{scenario}`: its runtime `{name}` has no `{operation}`; \
             hint: list its `scenarios`"
        ));
    }
    suiting
}

fn list(runtime: &RuntimeSpec) -> String {
    let names: Vec<String> = runtime
        .operations()
        .map(|name| format!("`{name}`"))
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use crate::config::{Environment, LoadInput, Settings, load};

    fn try_load(scenarios: &str, targets: &str) -> Result<Settings, String> {
        let text = format!("scenarios: [{scenarios}]\ntargets: [{targets}]\n");
        let input = LoadInput {
            path: None,
            file: Some(&text),
            environment: &Environment::from_pairs([("", ""); 0]),
            overrides: Vec::new(),
        };
        load(input).map_err(|problems| problems.to_string())
    }

    const TEI: &str = "{name: t, runtime: tei, url: 'http://h', model: m}";

    #[test]
    fn a_scenario_of_embeddings_is_not_streamed_and_has_its_texts() {
        let settings = try_load(
            "{name: e, operation: embeddings, workload: {inputs: 32}}",
            TEI,
        )
        .unwrap();
        let scenario = &settings.targets[0].scenarios[0].scenario.settings;
        assert!(!scenario.stream);
        assert_eq!(scenario.retrieval.unwrap().inputs, 32);
        let settings = try_load("{name: r, operation: rerank}", TEI).unwrap();
        let scenario = &settings.targets[0].scenarios[0].scenario.settings;
        assert_eq!(scenario.retrieval.unwrap().inputs, super::RANKED);
    }

    #[test]
    fn keys_that_would_say_nothing_are_refused() {
        for (scenario, told) in [
            (
                "{name: s, operation: embeddings, stream: true}",
                "scenarios[0].stream: means nothing where `operation` is `embeddings`",
            ),
            (
                "{name: s, operation: rerank, expect: {dimensions: 3}}",
                "scenarios[0].expect.dimensions: means nothing where `operation` is `rerank`",
            ),
            (
                "{name: s, operation: embeddings, workload: {output_tokens: 3}}",
                "scenarios[0].workload.output_tokens: means nothing",
            ),
            (
                "{name: s, operation: embeddings, body: {input: x}}",
                "scenarios[0].body.input: is Sonde's own",
            ),
            (
                "{name: s, operation: embeddings, workload: {inputs: 5000}}",
                "must be from 1 to 2048",
            ),
        ] {
            let problems = try_load(scenario, TEI).unwrap_err();
            assert!(problems.contains(told), "{problems}");
        }
        let chat = "{name: t, runtime: vllm, url: 'http://h', model: m}";
        let problems = try_load("{name: s, workload: {inputs: 3}}", chat).unwrap_err();
        assert!(
            problems.contains("workload.inputs: means nothing where `operation` is `chat`"),
            "{problems}"
        );
    }

    #[test]
    fn a_target_is_asked_what_its_runtime_has_and_hears_of_the_rest() {
        const BOTH: &str = "{name: chat}, {name: embed, operation: embeddings}";
        let settings = try_load(BOTH, TEI).unwrap();
        let asked: Vec<&str> = settings.targets[0]
            .scenarios
            .iter()
            .map(|plan| &*plan.scenario.settings.name)
            .collect();
        assert_eq!(asked, ["embed"]);
        assert!(settings.warnings.contains(
            &"target `t` is not asked scenario `chat`: its runtime `tei` has no `chat`; hint: list its `scenarios`"
                .to_owned()
        ));
        let named = "{name: t, runtime: anthropic, url: 'http://h', model: m, scenarios: [embed]}";
        let problems = try_load(BOTH, named).unwrap_err();
        for part in [
            "targets[0].scenarios[0]",
            "has `operation: embeddings`, and the runtime `anthropic` has none such",
            "`chat`, `completion`",
        ] {
            assert!(problems.contains(part), "{problems}");
        }
        let problems = try_load("{name: chat}", TEI).unwrap_err();
        assert!(
            problems.contains(
                "targets[0].runtime: is `tei`, which has none of the scenarios' operations"
            ),
            "{problems}"
        );
    }
}
