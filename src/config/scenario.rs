//! What is sent and when.

use super::cadence::{self, CadenceText};
use super::problem::{Problem, suggestion};
use super::raw::{
    Items, RawDefaults, RawExpect, RawLimits, RawOperation, RawScenario, RawTemperature,
    RawWorkload,
};
use super::resolve::Context;
use super::{ScenarioPlan, defaults, retrieval};
use crate::probe::{Assertion, ConnectionPolicy, Limits, Scenario, ScenarioSettings};
use crate::runtime::{Generation, Operation, Retrieval};
use crate::schedule::Wake;
use crate::workload::{CachePolicy, WORKLOADS, WorkloadError, WorkloadSettings};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Fields of the request that the scenario's own keys decide: what is sent would not be what the
/// labels say, or the answer would not be read as it comes.
const OWN_FIELDS: [(&str, &str); 4] = [
    ("model", "set the target's `model`"),
    ("stream", "set the scenario's `stream`"),
    ("messages", "set `workload.prompt` and `workload.system`"),
    ("prompt", "set `workload.prompt`"),
];

/// A scenario that the file names, whether or not it can be used.
pub(super) struct NamedScenario {
    pub(super) name: String,
    pub(super) streamed: bool,
    /// The value of `operation`.
    pub(super) operation: &'static str,
    /// What it asks for, if it is no text.
    pub(super) retrieval: Option<Retrieval>,
    pub(super) plan: Option<ScenarioPlan>,
}

/// Every scenario, or the one that there is without any.
pub(super) fn scenarios(
    raw: Items<RawScenario>,
    defaults: &RawDefaults,
    context: &mut Context<'_>,
) -> Vec<NamedScenario> {
    let listed = raw.filter(|list| !list.is_empty()).unwrap_or_else(|| {
        vec![Some(RawScenario {
            name: Some(defaults::SCENARIO.to_owned()),
            ..RawScenario::default()
        })]
    });
    let mut taken = BTreeSet::new();
    let mut named = Vec::new();
    for (index, raw) in listed.into_iter().enumerate() {
        let Some(raw) = raw else {
            continue;
        };
        let place = format!("scenarios[{index}]");
        let key = format!("{place}.name");
        match &raw.name {
            Some(name) => context.check_name(&key, name, &mut taken),
            None => context.refuse(
                &key,
                "is required",
                "give the scenario a name such as `chat`",
            ),
        }
        named.push(scenario(&place, raw, defaults, context));
    }
    named
}

fn scenario(
    place: &str,
    raw: RawScenario,
    defaults: &RawDefaults,
    context: &mut Context<'_>,
) -> NamedScenario {
    let inherited = CadenceText::of_defaults(defaults);
    let cadence = cadence::cadence(place, CadenceText::of_scenario(&raw), inherited, context);
    let retrieval = retrieval::settings(place, &raw, context);
    let RawScenario {
        name,
        workload,
        cache,
        connection,
        wake,
        ride_along,
        operation,
        stream,
        ..
    } = raw;
    let RawScenario {
        temperature,
        body,
        timeouts,
        limits,
        expect,
        ..
    } = raw;
    let name = name.unwrap_or_default();
    let streamed = stream.unwrap_or(true) && retrieval.is_none();
    let workload = workload.unwrap_or_default();
    let output_tokens = workload.output_tokens.unwrap_or(defaults::OUTPUT_TOKENS);
    if output_tokens == 0 {
        let key = format!("{place}.workload.output_tokens");
        context.refuse(
            &key,
            "must be at least 1",
            "an answer without tokens measures nothing",
        );
    }
    let settings = ScenarioSettings {
        name: Arc::from(name.as_str()),
        workload: workload_settings(place, workload, cache_policy(cache), context),
        connection: connection_policy(connection),
        operation: match operation {
            Some(RawOperation::Completion) => Operation::Completion,
            _ => Operation::Chat,
        },
        retrieval,
        stream: streamed,
        generation: Generation {
            output_tokens: Some(output_tokens),
            temperature: temperature_setting(place, temperature, context),
            extra_body: extra_body(place, body.unwrap_or_default(), context),
        },
        timeouts: cadence::timeouts(
            place,
            &timeouts.unwrap_or_default(),
            &defaults.timeouts.unwrap_or_default(),
            context,
        ),
        limits: limit_settings(place, limits.unwrap_or_default(), context),
        assertion: assertion(place, expect.unwrap_or_default(), output_tokens, context),
    };
    let scenario = build(place, settings, context);
    let plan = scenario
        .zip(cadence)
        .map(|(scenario, cadence)| ScenarioPlan {
            scenario: Arc::new(scenario),
            cadence,
            wake: waking(wake, ride_along, defaults),
        });
    NamedScenario {
        name,
        streamed,
        operation: retrieval::operation(operation),
        retrieval: retrieval.map(|settings| settings.kind),
        plan,
    }
}

/// A scenario's own word goes before the defaults', and `wake` before `ride_along`.
fn waking(wake: Option<bool>, ride_along: Option<bool>, defaults: &RawDefaults) -> Wake {
    if wake.or(defaults.wake) == Some(true) {
        Wake::Always
    } else if ride_along.or(defaults.ride_along) == Some(true) {
        Wake::AfterUse
    } else {
        Wake::Never
    }
}

fn cache_policy(raw: Option<RawTemperature>) -> CachePolicy {
    match raw {
        Some(RawTemperature::Cold) => CachePolicy::Cold,
        Some(RawTemperature::Warm) => CachePolicy::Warm,
        None => CachePolicy::default(),
    }
}

fn connection_policy(raw: Option<RawTemperature>) -> ConnectionPolicy {
    match raw {
        Some(RawTemperature::Cold) => ConnectionPolicy::Cold,
        Some(RawTemperature::Warm) => ConnectionPolicy::Warm,
        None => ConnectionPolicy::default(),
    }
}

fn workload_settings(
    place: &str,
    raw: RawWorkload,
    cache: CachePolicy,
    context: &mut Context<'_>,
) -> WorkloadSettings {
    let RawWorkload {
        kind,
        prompt,
        system,
        input_tokens,
        inputs: _,
        output_tokens: _,
        tokenizer_file,
    } = raw;
    let kind = kind.unwrap_or_else(|| {
        let kind = if prompt.is_some() {
            "fixed"
        } else {
            "synthetic"
        };
        kind.to_owned()
    });
    let spec = WORKLOADS.iter().find(|spec| spec.name == kind);
    let reads = |key: &str| spec.is_none_or(|spec| spec.keys.contains(&key));
    let given = [
        ("prompt", prompt.is_some()),
        ("input_tokens", input_tokens.is_some()),
    ];
    for (key, _) in given
        .into_iter()
        .filter(|(key, given)| *given && !reads(key))
    {
        let rule = format!("is not read by the workload `{kind}`");
        let problem = Problem::new(
            format!("{place}.workload.{key}"),
            rule,
            "take it out, or change `kind`",
        );
        context.findings.add(problem);
    }
    let default_length = reads("input_tokens").then_some(defaults::INPUT_TOKENS);
    WorkloadSettings {
        cache,
        system,
        prompt,
        input_tokens: input_tokens.or(default_length),
        tokenizer_file: tokenizer_file
            .map(|name| context.path(&format!("{place}.workload.tokenizer_file"), &name)),
        kind,
    }
}

/// Written so that NaN fails.
fn temperature_setting(
    place: &str,
    temperature: Option<f64>,
    context: &mut Context<'_>,
) -> Option<f64> {
    let value = temperature?;
    if !(value >= 0.0 && value.is_finite()) {
        let key = format!("{place}.temperature");
        let problem = Problem::new(key, "is below 0", "write `0` for greedy sampling");
        context.findings.add(problem.found(value));
    }
    Some(value)
}

fn extra_body(
    place: &str,
    body: Map<String, Value>,
    context: &mut Context<'_>,
) -> Map<String, Value> {
    for (field, instead) in OWN_FIELDS
        .iter()
        .filter(|(field, _)| body.contains_key(*field))
    {
        let key = format!("{place}.body.{field}");
        let rule = "is Sonde's own: labels and reader rely on what it writes there";
        context.refuse(&key, rule, instead);
    }
    body
}

fn limit_settings(place: &str, raw: RawLimits, context: &mut Context<'_>) -> Limits {
    let RawLimits {
        frame_bytes,
        body_bytes,
    } = raw;
    for (field, zero) in [
        ("frame_bytes", frame_bytes == Some(0)),
        ("body_bytes", body_bytes == Some(0)),
    ] {
        if zero {
            let key = format!("{place}.limits.{field}");
            context.refuse(&key, "must be at least 1", "leave it out for the default");
        }
    }
    let standard = Limits::default();
    Limits {
        frame_bytes: frame_bytes.unwrap_or(standard.frame_bytes),
        body_bytes: body_bytes.unwrap_or(standard.body_bytes),
    }
}

fn assertion(
    place: &str,
    raw: RawExpect,
    output_tokens: u32,
    context: &mut Context<'_>,
) -> Assertion {
    let RawExpect {
        contains,
        min_output_tokens,
        dimensions: _,
    } = raw;
    if contains.as_deref() == Some("") {
        let key = format!("{place}.expect.contains");
        context.refuse(&key, "is empty: every answer has that", "take it out");
    }
    if let Some(least) = min_output_tokens.filter(|least| *least > u64::from(output_tokens)) {
        let key = format!("{place}.expect.min_output_tokens");
        let rule = format!("is more than `output_tokens`, which is `{output_tokens}`");
        let problem = Problem::new(key, rule, "lower it, or raise `workload.output_tokens`");
        context.findings.add(problem.found(least));
    }
    Assertion {
        contains,
        min_output_tokens,
    }
}

/// Loads what the workload needs.
fn build(place: &str, settings: ScenarioSettings, context: &mut Context<'_>) -> Option<Scenario> {
    let kind = settings.workload.kind.clone();
    let error = match Scenario::build(settings) {
        Ok(scenario) => return Some(scenario),
        Err(error) => error,
    };
    let key = |field: &str| format!("{place}.workload.{field}");
    let problem = match error {
        WorkloadError::UnknownKind(found) => {
            let names = WORKLOADS.iter().map(|spec| spec.name);
            let remedy = suggestion(&found, names, "write one of");
            Problem::new(key("kind"), "is no kind of workload", remedy).found(found)
        }
        WorkloadError::Missing { key: field } => {
            let rule = format!("is required by the workload `{kind}`");
            Problem::new(key(field), rule, "add it")
        }
        WorkloadError::Range { key: field, rule } => {
            Problem::new(key(field), format!("must be {rule}"), "write one that is")
        }
        WorkloadError::Tokenizer(error) => Problem::new(
            key("tokenizer_file"),
            error,
            "leave it out to count without it",
        ),
    };
    context.findings.add(problem);
    None
}
