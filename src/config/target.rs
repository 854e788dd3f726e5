//! Who is asked.

use super::problem::{Problem, suggestion};
use super::raw::{Items, RawDefaults, RawPrice, RawTarget};
use super::resolve::Context;
use super::scenario::NamedScenario;
use super::{
    TargetPlan, aws, credentials, defaults, google, governor, matrix, reach, resources, retrieval,
};
use crate::base::label::{self, UserLabels};
use crate::measure::cost::{Price, PriceError, Rate};
use crate::probe::TargetSettings;
use crate::runtime::{self, RUNTIMES, RuntimeSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A target that the file names, whether or not it can be used.
pub(super) struct NamedTarget {
    pub(super) name: String,
    /// Names of the scenarios that it is asked.
    pub(super) scenarios: Vec<String>,
    pub(super) labels: UserLabels,
    /// Whether its tokens have a price, be it a wrong one.
    pub(super) priced: bool,
    pub(super) plan: Option<TargetPlan>,
}

/// Every target.
pub(super) fn targets(
    raw: Items<RawTarget>,
    scenarios: &[NamedScenario],
    defaults: &RawDefaults,
    context: &mut Context<'_>,
) -> Vec<NamedTarget> {
    let listed = raw.unwrap_or_default();
    if listed.is_empty() {
        let remedy = "add `targets: [{url: \"http://127.0.0.1:11434\"}]`, or start with `--url`";
        context.refuse("targets", "is empty: there is nobody to ask", remedy);
    }
    let mut taken = BTreeSet::new();
    let mut named = Vec::new();
    for (index, raw) in listed.into_iter().enumerate() {
        if let Some(raw) = raw {
            let place = format!("targets[{index}]");
            let mut make = |raw, context: &mut Context<'_>| {
                target(&place, raw, (scenarios, defaults, &mut taken), context)
            };
            match raw.matrix.is_some() {
                true => named.extend(matrix::targets((index, &place), &raw, make, context)),
                false => {
                    if raw.exclude.is_some() {
                        let key = format!("{place}.exclude");
                        context.refuse(&key, "is given without a `matrix`", "take it out");
                    }
                    named.push(make(raw, context));
                }
            }
        }
    }
    named
}

fn target(
    place: &str,
    raw: RawTarget,
    (scenarios, defaults, taken): (&[NamedScenario], &RawDefaults, &mut BTreeSet<String>),
    context: &mut Context<'_>,
) -> NamedTarget {
    let RawTarget {
        name,
        runtime,
        url,
        model,
        auth,
        labels,
        scenarios: wanted,
        ..
    } = raw;
    let way = reach::Way {
        http: raw.http,
        proxy: raw.proxy,
        tls: raw.tls,
        metrics_url: raw.metrics_url,
    };
    let RawTarget {
        headers,
        headers_env,
        headers_file,
        max_in_flight,
        price: raw_price,
        budget,
        back_off,
        process,
        ..
    } = raw;
    let endpoint = reach::endpoint(place, url.as_deref(), runtime.as_deref(), context);
    let name = name.unwrap_or_else(|| reach::default_name(endpoint.as_ref()));
    if endpoint.is_some() || !name.is_empty() {
        context.check_name(&format!("{place}.name"), &name, taken);
    }
    let host = endpoint.as_ref().map(|endpoint| endpoint.host.as_str());
    let runtime = runtime_setting(place, runtime.as_deref(), host, context);
    google::check_url(place, runtime, endpoint.as_ref(), context);
    check_model_is_named(place, runtime, model.as_deref(), context);
    check_model_can_be_asked(place, runtime, model.as_deref(), context);
    if model
        .as_deref()
        .is_some_and(|model| model.trim().is_empty())
    {
        let remedy = "leave it out for the first model that the endpoint offers";
        context.refuse(&format!("{place}.model"), "is empty", remedy);
    }
    let peer = aws::Peer {
        runtime: runtime.map(|runtime| runtime.name),
        service: runtime.and_then(|runtime| runtime.adapter.aws_service()),
        host,
    };
    let auth = credentials::auth(place, auth.unwrap_or_default(), peer, context);
    let headers = [
        ("headers", headers),
        ("headers_env", headers_env),
        ("headers_file", headers_file),
    ];
    let headers = credentials::headers(place, headers, context);
    let auth = aws::unless_proved(place, auth, &headers, peer, context);
    let auth = google::unless_proved(place, auth, &headers, runtime, context);
    let region = google::location(runtime, endpoint.as_ref()).or(peer.region());
    let labels = labels.unwrap_or_default();
    check_labels(place, &labels, context);
    let labels = with_what_names_say(labels, (runtime, model.as_deref()), region);
    let (names, plans) = pick_scenarios((place, &name), wanted, (scenarios, runtime), context);
    let max_in_flight = max_in_flight
        .or(defaults.max_in_flight)
        .unwrap_or(defaults::MAX_IN_FLIGHT);
    if max_in_flight == 0 && defaults.max_in_flight != Some(0) {
        let key = format!("{place}.max_in_flight");
        context.refuse(&key, "leaves no run in flight", "write 1 or more");
    }
    let priced = raw_price.is_some();
    let price = raw_price.and_then(|raw| price(place, raw, context));
    let (budget, back_off) = (budget.unwrap_or_default(), back_off.unwrap_or_default());
    let limits = governor::limits(place, budget, back_off, priced, context);
    let process = process.map(|raw| resources::process_match(place, raw, context));
    let connected = endpoint.and_then(|mut endpoint| {
        endpoint.auth = auth;
        endpoint.headers = headers;
        reach::connect(place, endpoint, way, context)
    });
    let plan = connected.map(|(endpoint, dialer, runtime_page)| TargetPlan {
        settings: TargetSettings {
            name: Arc::from(name.as_str()),
            runtime,
            endpoint,
            model: model.as_deref().map(Arc::from),
            labels: labels.clone(),
            max_in_flight,
            price,
        },
        matrix: None,
        dialer,
        process,
        limits,
        runtime_page,
        scenarios: plans,
    });
    NamedTarget {
        name,
        scenarios: names,
        labels,
        priced,
        plan,
    }
}

/// `None` where something about it is wrong.
fn price(place: &str, raw: RawPrice, context: &mut Context<'_>) -> Option<Price> {
    let RawPrice {
        input,
        output,
        cached_input,
    } = raw;
    let mut rate = |field: &str, usd: Option<f64>, required: bool| {
        let key = format!("{place}.price.{field}");
        let Some(usd) = usd else {
            if required {
                let remedy = "write USD per million tokens, `0` where they cost nothing";
                context.refuse(&key, "is required where there is a price", remedy);
            }
            return None;
        };
        let error = match Rate::per_million(usd) {
            Ok(rate) => return Some(rate),
            Err(error) => error,
        };
        let remedy = match error {
            PriceError::Negative => "write `0` where they cost nothing",
            PriceError::NotFinite | PriceError::Form => "write USD per million tokens",
        };
        context
            .findings
            .add(Problem::new(key, error, remedy).found(usd));
        None
    };
    let input = rate("input", input, true);
    let output = rate("output", output, true);
    let cached = rate("cached_input", cached_input, false);
    Some(Price {
        input: input?,
        output: output?,
        cached_input: cached,
    })
}

/// Whoever keeps keys in a header of its own, or wants signatures or access tokens, is not asked what it is, nor which models it has.
fn check_model_is_named(
    place: &str,
    runtime: Option<&RuntimeSpec>,
    model: Option<&str>,
    context: &mut Context<'_>,
) {
    let wants_proof = |adapter: &dyn runtime::Runtime| {
        adapter.key_header().is_some()
            || adapter.aws_service().is_some()
            || adapter.takes_google_tokens()
    };
    let hosted = runtime.filter(|runtime| wants_proof(runtime.adapter));
    if let (Some(runtime), None) = (hosted, model) {
        let rule = format!("is required where the runtime is `{}`", runtime.name);
        context.refuse(&format!("{place}.model"), rule, "name the model to ask");
    }
}

/// Some names of models have to say more than which model it is.
fn check_model_can_be_asked(
    place: &str,
    runtime: Option<&RuntimeSpec>,
    model: Option<&str>,
    context: &mut Context<'_>,
) {
    let (Some(runtime), Some(model)) = (runtime, model) else {
        return;
    };
    if let Err(found) = runtime.adapter.check_model(model) {
        let key = format!("{place}.model");
        let problem = Problem::new(key, found.rule, found.remedy).found(model);
        context.findings.add(problem);
    }
}

/// The user's labels, and what the names of model and host say where the user says nothing.
fn with_what_names_say(
    mut labels: UserLabels,
    (runtime, model): (Option<&RuntimeSpec>, Option<&str>),
    region: Option<&str>,
) -> UserLabels {
    let said = runtime.zip(model);
    let said = said.map(|(runtime, model)| runtime.adapter.model_labels(model));
    let region = region.map(|region| ("region", region.to_owned()));
    for (name, value) in said.into_iter().flatten().chain(region) {
        labels.entry(name.to_owned()).or_insert(value);
    }
    labels
}

/// `None` is `auto`: nothing is known but by asking.
fn runtime_setting(
    place: &str,
    name: Option<&str>,
    host: Option<&str>,
    context: &mut Context<'_>,
) -> Option<&'static RuntimeSpec> {
    let Some(name) = name.filter(|name| *name != "auto") else {
        return host.and_then(runtime::of_host);
    };
    let found = runtime::find(name);
    if found.is_none() {
        let names = ["auto"]
            .into_iter()
            .chain(RUNTIMES.iter().map(|spec| spec.name));
        let remedy = suggestion(name, names, "write one of");
        let problem = Problem::new(
            format!("{place}.runtime"),
            "is no runtime that Sonde knows",
            remedy,
        );
        context.findings.add(problem.found(name));
    }
    found
}

fn check_labels(place: &str, labels: &BTreeMap<String, String>, context: &mut Context<'_>) {
    for name in labels.keys() {
        if let Err(error) = label::check_name(name) {
            let key = format!("{place}.labels.{name}");
            let remedy = match error {
                label::LabelError::Name => "rename it, `_` for whatever else was meant".to_owned(),
                label::LabelError::Reserved => format!("rename it, such as to `llm_{name}`"),
            };
            context.findings.add(Problem::new(key, error, remedy));
        }
    }
}

/// The scenarios wanted, or all: their names, and the plans of those that can be used.
fn pick_scenarios(
    (place, target): (&str, &str),
    wanted: Items<String>,
    (scenarios, runtime): (&[NamedScenario], Option<&RuntimeSpec>),
    context: &mut Context<'_>,
) -> (Vec<String>, Vec<super::ScenarioPlan>) {
    let Some(wanted) = wanted else {
        let suiting = retrieval::suiting((place, target), scenarios, runtime, context);
        let names = suiting.iter().map(|scenario| scenario.name.clone());
        let plans = suiting.iter().filter_map(|scenario| scenario.plan.clone());
        return (names.collect(), plans.collect());
    };
    if wanted.is_empty() {
        let key = format!("{place}.scenarios");
        context.refuse(
            &key,
            "is empty: it is asked nothing",
            "leave it out for all scenarios",
        );
    }
    let (mut names, mut plans) = (Vec::new(), Vec::new());
    for (index, name) in wanted.into_iter().enumerate() {
        let Some(name) = name else {
            continue;
        };
        let key = format!("{place}.scenarios[{index}]");
        let Some(scenario) = scenarios.iter().find(|scenario| scenario.name == name) else {
            let known = scenarios.iter().map(|scenario| scenario.name.as_str());
            let remedy = suggestion(&name, known, "the scenarios are");
            context
                .findings
                .add(Problem::new(key, "is no scenario", remedy).found(&name));
            continue;
        };
        if names.contains(&name) {
            let problem = Problem::new(key, "is listed twice", "keep one of them").found(&name);
            context.findings.add(problem);
            continue;
        }
        retrieval::check_named(&key, scenario, runtime, context);
        plans.extend(scenario.plan.clone());
        names.push(name);
    }
    (names, plans)
}
